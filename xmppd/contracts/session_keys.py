"""Typed state of a session."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar

import msgspec

T = TypeVar("T")


class SessionKey(Generic[T]):
    """Typed state of a session: `session[KEY]`. Durable state survives resumption and a restart.

    `record`: the type of a durable value where the default does not tell it (None).
    """

    __slots__ = ("default", "durable", "name", "record")

    known: ClassVar[dict[str, SessionKey[Any]]] = {}
    """All keys by name."""

    def __init__(self, name: str, default: T, durable: bool = False, record: Any = None) -> None:
        self.name = name
        self.default = default
        self.durable = durable
        self.record = record
        SessionKey.known[name] = self

    def read(self, stored: Any) -> T:
        """A value from what msgspec made of it. Raises msgspec.ValidationError."""
        value: T = msgspec.convert(stored, self.record or type(self.default))
        return value
