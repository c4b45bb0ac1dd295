"""What is known of a file, and the words of XEP-0363."""

from __future__ import annotations

import enum
import unicodedata
from dataclasses import dataclass
from typing import Final

NS: Final = "urn:xmpp:http:upload:0"
PURPOSE_NS: Final = "urn:xmpp:http:upload:purpose:0"
NAME_LENGTH: Final = 200
"""Bytes of a file's name in UTF-8."""


class Purpose(enum.StrEnum):
    """Why a file is here (section "Upload purpose")."""

    MESSAGE = "message"
    PROFILE = "profile"
    EPHEMERAL = "ephemeral"
    PERMANENT = "permanent"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A slot, or the file that has filled it. `account`: bare JID of who has it. `type`: as the client named it, ""
    for not. Times are seconds since 1970 UTC: `asked`, `until` (the slot's end), `stored` (0: not yet), `expires` (0:
    never)."""

    account: str
    name: str
    size: int
    type: str
    purpose: str
    asked: float
    until: float
    stored: float = 0.0
    expires: float = 0.0

    def counts(self, now: float) -> bool:
        """Whether it takes room: it is there, or may still come."""
        return not self.is_over(now)

    def is_over(self, now: float) -> bool:
        """Whether it can go: the slot was not filled in time, or the file has expired."""
        if not self.stored:
            return now >= self.until
        return bool(self.expires) and now >= self.expires


def file_name(text: str) -> str:
    """A name as it can stand in an address and on a disk of whoever saves it: without folders, control characters and
    marks that change the direction of writing."""
    name = text.replace("\\", "/").rpartition("/")[2]
    name = "".join(
        each for each in name if unicodedata.category(each) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    )
    name = name.strip(" .")
    stem, dot, ending = name.rpartition(".")
    if len(name.encode()) > NAME_LENGTH:  # the ending stays (section "Requesting a slot")
        ending = dot + ending if dot and len(ending.encode()) <= 20 else ""
        stem = stem if ending else name
        name = stem.encode()[: NAME_LENGTH - len(ending.encode())].decode("utf-8", "ignore") + ending
    return name or "file"
