"""What is written down, outside the server, while a trial runs. No judgement here: that is the checker's."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from itertools import groupby


class Kind(Enum):
    """What a client can do."""

    ARCHIVE = "reads its archive"
    """XEP-0198, and before its presence it fetches what is behind the last id it knows (XEP-0313)."""
    ACKS = "XEP-0198 only"
    BARE = "neither"


class How(Enum):
    """The way by which a message came to a client."""

    LIVE = "live"
    """As a message of its own: at once or late."""
    CARBON = "carbon"
    READ = "archive"
    ROOM = "room"


@dataclass(slots=True)
class Attempt:
    """One time that a client wrote a message."""

    epoch: int
    at: float


@dataclass(slots=True)
class Message:
    """`key`: its body, unique. `author`: the device. `number`: its place among all that the author has sent.

    `kept`: it belongs into archives (else it is only to be delivered). `acked_at`: covered by `<a h=…/>`.
    """

    key: str
    author: str
    sender: str
    to: str
    number: int
    kept: bool = True
    room: bool = False
    attempts: list[Attempt] = field(default_factory=list)
    acked_at: float | None = None
    refused: bool = False

    @property
    def accepted(self) -> bool:
        """The server has taken responsibility for it."""
        return self.acked_at is not None and not self.refused


@dataclass(slots=True)
class Receipt:
    """`id`: the archive id it came with, "" for none. `sitting`: which stay in a room, 0 for none: what still came
    for the former session of that name, and all other messages.

    `stream`: counts connections of the device, also those of a resumed session; `session` counts sessions.
    """

    key: str
    id: str
    how: How
    epoch: int
    stream: int
    at: float
    sitting: int = 0
    session: int = 0


@dataclass(slots=True)
class Device:
    """`since`: the archive id where what it knows begins. `killed`: it will not come back, with what it knew."""

    name: str
    account: str
    kind: Kind
    since: int = 0
    killed: bool = False
    killed_at: float = 0.0
    receipts: list[Receipt] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    abandoned: dict[int, float] = field(default_factory=dict)
    """Sessions that it lost while it set them up, and did not resume; when it began another one in their place."""
    denied: int = 0
    """How often the server did not know any more what it had sent (<handled-count-too-high/>)."""


@dataclass
class Ledger:
    """`ends`: how each process of the server ended, process `n` by `ends[n]`: "kill"; "stop"; or by another one that
    took over when it was paused ("pause"), alive ("take-over") or without answers of the database ("deaf").

    `archives`: by owner, in order, (id, key), as read at the end. `earlier`: what was read of them before that.
    `store`: what `xmppd store check` has found wrong, between two processes and at the end; `checks`: how often it has
    looked.
    `homes`: among so many the accounts and rooms are shared out. `domains`: servers that talk
    to each other.
    `stills`: when the process stood still and went on, (from, to). `noticed`: seconds until a process that was taken
    over had ended; `outlived`: those that did not, or not as they should. `counts`: what else was done.
    """

    messages: dict[str, Message] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)
    ends: list[str] = field(default_factory=list)
    archives: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    earlier: dict[str, set[tuple[int, str]]] = field(default_factory=dict)
    rooms: set[str] = field(default_factory=set)
    store: list[str] = field(default_factory=list)
    checks: int = 0
    stills: list[tuple[float, float]] = field(default_factory=list)
    homes: int = 1
    domains: int = 1
    noticed: list[float] = field(default_factory=list)
    outlived: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def sent(self, message: Message, attempt: Attempt) -> None:
        self.messages.setdefault(message.key, message).attempts.append(attempt)

    def acked(self, key: str) -> None:
        message = self.messages[key]
        if message.acked_at is None:
            message.acked_at = time.monotonic()

    def read(self, owner: str, entries: Iterable[tuple[int, str]]) -> None:
        """A part of an archive, read while the trial runs."""
        self.earlier.setdefault(owner, set()).update(entries)

    def crashed(self, first: int, second: int) -> bool:
        """Whether a process ended between two epochs that could write down nothing more."""
        return any(end != "stop" for end in self.ends[first:second])

    def stood(self, begin: float, end: float) -> float:
        """Seconds in this time in which the server stood still."""
        return sum(max(0.0, min(end, last) - max(begin, first)) for first, last in self.stills)

    def sittings(self, device: Device) -> list[list[Receipt]]:
        """What came of rooms, by stay."""
        found = [receipt for receipt in device.receipts if receipt.sitting]
        found.sort(key=lambda receipt: receipt.sitting)
        return [list(group) for _, group in groupby(found, lambda receipt: receipt.sitting)]
