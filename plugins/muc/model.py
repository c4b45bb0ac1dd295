"""What a room is made of: affiliations, roles, occupants, and the records that are stored of it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from xmppd.jid import JID
from xmppd.stanza import Stanza
from xmppd.storage.api import Entry

MUC_NS: Final = "http://jabber.org/protocol/muc"
USER_NS: Final = MUC_NS + "#user"
ADMIN_NS: Final = MUC_NS + "#admin"
OWNER_NS: Final = MUC_NS + "#owner"
OCCUPANT_ID_NS: Final = "urn:xmpp:occupant-id:0"

Value = bool | int | str
"""The value of a room option."""


class Affiliation(enum.IntEnum):
    """XEP-0045 section 5.2, in order of rank."""

    OUTCAST = 0
    NONE = 1
    MEMBER = 2
    ADMIN = 3
    OWNER = 4


class Role(enum.IntEnum):
    """XEP-0045 section 5.1, in order of rank."""

    NONE = 0
    VISITOR = 1
    PARTICIPANT = 2
    MODERATOR = 3


AFFILIATIONS: Final = {each.name.lower(): each for each in Affiliation}
ROLES: Final = {each.name.lower(): each for each in Role}


# ---- stored


@dataclass(frozen=True, slots=True)
class StoredRoom:
    """`created`, `subject_at`: microseconds since 1970. `secret`: hex key of the occupant ids (XEP-0421).

    `subject`: the reflected message that set it. `locked`: not configured yet (section 10.1).
    """

    creator: str
    created: int
    secret: str
    locked: bool = False
    options: dict[str, Value] = field(default_factory=dict)
    subject: str = ""
    subject_at: int = 0


@dataclass(frozen=True, slots=True)
class Member:
    """What a room knows of a bare JID. `nick`: reserved for it (section 7.10), "" for none."""

    affiliation: str
    nick: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """A room in the directory of its service."""

    name: str
    public: bool
    persistent: bool
    creator: str


@dataclass(frozen=True, slots=True)
class KeptSeat:
    """A seat whose session outlives the process. `presence`: the cleaned one, as text.

    `place`: its place among the seats of the room, the one that spoke last behind the others. `id`: the occupant-id.
    """

    nick: str
    role: int
    presence: str
    place: int = 0
    id: str = ""


# ---- alive


@dataclass(slots=True)
class Seat:
    """One client of an occupant: its full JID and the last presence it sent, cleaned."""

    jid: JID
    presence: Stanza


@dataclass(slots=True)
class Occupant:
    """One nick. Several clients of one user may share it (section 7.2.8)."""

    jid: JID
    key: str
    bare: str
    role: Role
    id: bytes
    seats: dict[str, Seat] = field(default_factory=dict)

    @property
    def nick(self) -> str:
        return self.jid.resource

    @property
    def main(self) -> Seat:
        """The seat that spoke last: its presence is the occupant's."""
        return next(reversed(self.seats.values()))


# ---- effects


@dataclass(frozen=True, slots=True)
class Cast:
    """One stanza to many clients."""

    stanza: Stanza
    to: tuple[JID, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """A stanza to where its `to` says."""

    stanza: Stanza


Effect = Cast | Send


@dataclass(frozen=True, slots=True)
class SaveRoom:
    record: StoredRoom


@dataclass(frozen=True, slots=True)
class SaveMember:
    """None: forget."""

    bare: str
    member: Member | None


@dataclass(frozen=True, slots=True)
class Keep:
    """Put into the room's archive."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Vanish:
    """Delete everything that the room owns."""


Save = SaveRoom | SaveMember | Keep | Vanish


def _nothing() -> list[Effect]:
    return []


@dataclass(slots=True)
class Plan:
    """A decided change: commit `saves`, then call `apply`, which changes the room and says what to send.

    `ahead`: so many of the effects go out before the answer to who asked, the others behind it; set by `apply`.
    `regardless`: it has happened already (somebody has left) and is applied even if the store does not answer.
    """

    saves: list[Save] = field(default_factory=list)
    apply: Callable[[], list[Effect]] = _nothing
    regardless: bool = False
    ahead: int = 0

    @property
    def ends(self) -> bool:
        """The room is gone after it."""
        return any(isinstance(save, Vanish) for save in self.saves)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the service allows its rooms. `defaults`: values of room options that differ from the built-in ones.

    `searched`: archives can be searched for words.
    """

    max_occupants: int = 500
    history: int = 20
    nick_length: int = 64
    affiliations: int = 2000
    defaults: dict[str, Value] = field(default_factory=dict)
    lock: bool = True
    searched: bool = False
