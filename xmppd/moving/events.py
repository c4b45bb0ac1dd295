"""What the readers of other servers' data find, one after the other: the import works on these, whatever the source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from ..contracts.moving import OwnerKind
from ..xml import Element


@dataclass(frozen=True, slots=True)
class Begin:
    """What follows belongs to this owner. `local`, `domain`: as they are written; `local` is "" for a host.
    `password`: in clear, if the source has it."""

    kind: OwnerKind
    local: str
    domain: str
    password: str | None = None

    @property
    def text(self) -> str:
        return f"{self.local}@{self.domain}" if self.local else self.domain


@dataclass(frozen=True, slots=True)
class Part:
    """An element of the owner that was begun last, or some of it (`contracts.moving.Portable`)."""

    element: Element


@dataclass(frozen=True, slots=True)
class Problem:
    """Something cannot be read. `where`: a file, with a line if it has lines, or an owner."""

    where: str
    what: str


Event = Begin | Part | Problem


class Source(Protocol):
    """`size`, `position`: how much there is to read, and how much is read, in whatever unit; 0: that is not known."""

    @property
    def size(self) -> int: ...
    @property
    def position(self) -> int: ...

    def events(self) -> Iterator[Event]:
        """Everything, once. What is wrong with the source is a Problem; nothing is raised for it."""
        ...
