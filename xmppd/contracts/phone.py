"""Codes that prove a telephone number: who sends them (plugins/phone)."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

from ..service import Service


@dataclass(frozen=True, slots=True)
class CodeMessage:
    """`number`: E.164, as +4915112345678. `text`: what its owner reads, the code in it. `id`: random, tells a message
    from another one that says the same."""

    number: str
    text: str
    code: str
    id: str


class CodeNotSent(Exception):
    """The text is for the log. `refused`: nothing can be sent to that number, now or later."""

    def __init__(self, text: str, refused: bool = False) -> None:
        super().__init__(text)
        self.refused = refused


class CodeSender(Protocol):
    """Sends codes to telephones: by text message, by a call, by another network."""

    def send(self, message: CodeMessage) -> Awaitable[None]:
        """Returns when it is on its way; somebody waits for that. Raises CodeNotSent."""
        ...


CODE_SENDER = Service[CodeSender]("code-sender")
