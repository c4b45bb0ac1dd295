"""What a room is made of: affiliations, roles, occupants, stored records, and the plan of a decided change."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from xmppd.jid import JID
from xmppd.stanza import Stanza
from xmppd.storage.api import Entry, Write
from xmppd.xml import Element

MUC_NS: Final = "http://jabber.org/protocol/muc"
USER_NS: Final = MUC_NS + "#user"
ADMIN_NS: Final = MUC_NS + "#admin"
OWNER_NS: Final = MUC_NS + "#owner"
OCCUPANT_ID_NS: Final = "urn:xmpp:occupant-id:0"
HATS_NS: Final = "urn:xmpp:hats:0"
JOIN_TAG: Final = f"{MUC_NS}|x"
"""The child of a presence that asks to join (section 7.2.1)."""

REASON_LENGTH: Final = 1000
"""Characters of a reason that somebody gives; the rest is cut off."""

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


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """The options of the service that its rooms follow (`plugins.muc.Config`).

    `create`: who may create rooms. `rooms_per_user`: the most rooms of one creator. `changes`: the most changes per
    minute of one user in one room. `lock`: new rooms are locked. `defaults`: values of room options that differ from
    the built-in ones. `searched`: archives can be searched for words. `card`: the most bytes of a room's card.
    """

    max_occupants: int = 500
    history: int = 20
    nick_length: int = 64
    affiliations: int = 2000
    defaults: dict[str, Value] = field(default_factory=dict)
    lock: bool = True
    searched: bool = False
    create: Literal["anyone", "local", "admins"] = "local"
    rooms_per_user: int = 100
    changes: int = 60
    card: int = 128 << 10


# ---- stored


@dataclass(frozen=True, slots=True)
class StoredRoom:
    """The record of a room.

    `created`, `subject_at`: microseconds since 1970. `secret`: hex key of the occupant ids (XEP-0421). `subject`: the
    message that set it, as the occupants got it. `locked`: not configured yet (section 10.1). `avatar`: the hashes of
    the pictures in its card (XEP-0486).
    """

    creator: str
    created: int
    secret: str
    locked: bool = False
    options: dict[str, Value] = field(default_factory=dict)
    subject: str = ""
    subject_at: int = 0
    avatar: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AffiliationRecord:
    """The affiliation of a bare JID with a room. `nick`: reserved for it (section 7.10), "" for none."""

    affiliation: str
    nick: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Hat:
    """A title that is given to people in a room (XEP-0317). `hue`: of its colour, in degrees, "" for none; `wearers`:
    bare JIDs."""

    title: str
    hue: str = ""
    wearers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RoomCard:
    """The <vCard/> of a room, as XML that stands alone."""

    xml: str


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """A room in the directory of its service."""

    name: str
    public: bool
    persistent: bool
    creator: str


@dataclass(frozen=True, slots=True)
class StoredSession:
    """An occupant's session, stored at a stop of the server because it can be resumed after the next start.

    `presence`: the last one, without forgeries, as text. `place`: the rank among the sessions of the room, the one that
    spoke last behind the others. `id`: the <occupant-id/> element.
    """

    nick: str
    role: int
    presence: str
    place: int = 0
    id: str = ""


# ---- in memory


@dataclass(slots=True)
class OccupantSession:
    """One client of an occupant: its full JID and the last presence it sent, without forgeries."""

    jid: JID
    presence: Stanza


@dataclass(slots=True)
class Occupant:
    """Who is in a room under one nick. Several clients of one user may share it (section 7.2.8).

    `jid`: the occupant JID. `key`: the nick's comparison key. `bare`: the real bare JID. `id`: the <occupant-id/>
    element. `sessions`: by full JID, the one that sent presence last behind the others.
    """

    jid: JID
    key: str
    bare: str
    role: Role
    id: bytes
    sessions: dict[str, OccupantSession] = field(default_factory=dict)

    @property
    def nick(self) -> str:
        return self.jid.resource

    @property
    def latest(self) -> OccupantSession:
        """The session that sent presence last: its presence is the occupant's."""
        return next(reversed(self.sessions.values()))


@dataclass(frozen=True, slots=True)
class HistoryLimits:
    """How much history a joining client wants (section 7.2.13); None is no limit of its own.

    `since`: microseconds since 1970.
    """

    stanzas: int | None = None
    chars: int | None = None
    since: int | None = None


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """A request to join: presence with <x/> of MUC (section 7.2.1).

    `presence`: without forgeries. `incarnation`: of the account (StoredAccount).
    """

    who: JID
    nick: str
    presence: Stanza
    password: str = ""
    history: HistoryLimits = HistoryLimits()
    incarnation: str = ""


# ---- effects


@dataclass(frozen=True, slots=True)
class Broadcast:
    """One stanza to many clients."""

    stanza: Stanza
    to: tuple[JID, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """A stanza to where its `to` says."""

    stanza: Stanza


Effect = Broadcast | Send


@dataclass(frozen=True, slots=True)
class SaveRoom:
    """Store the record of the room."""

    record: StoredRoom


@dataclass(frozen=True, slots=True)
class SaveAffiliation:
    """Store the affiliation of a bare JID; None deletes it."""

    bare: str
    record: AffiliationRecord | None


@dataclass(frozen=True, slots=True)
class SaveHat:
    """Store the hat of that URI; None deletes it."""

    uri: str
    hat: Hat | None


@dataclass(frozen=True, slots=True)
class SaveCard:
    """Store the card of the room; "" deletes it."""

    xml: str


@dataclass(frozen=True, slots=True)
class AppendEntry:
    """Append an entry to the room's archive."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class DeleteRoom:
    """Delete everything that the room owns."""


@dataclass(frozen=True, slots=True)
class SaveAlso:
    """Commit what another part stores of the change: a retraction to carry out, what wakes absent members."""

    write: Write


Save = SaveRoom | SaveAffiliation | SaveHat | SaveCard | AppendEntry | SaveAlso | DeleteRoom


def _nothing() -> list[Effect]:
    return []


@dataclass(slots=True)
class Plan:
    """A decided change: commit `saves`, then call `apply`, which changes the room and returns what to send.

    `before_reply`: so many of the effects go out before the answer to the request, the others behind it; set by
    `apply`. `apply_unsaved`: what has happened already (somebody has left) is applied even if the store is away.
    `answer`: the payload of the answer to the request.
    """

    saves: list[Save] = field(default_factory=list)
    apply: Callable[[], list[Effect]] = _nothing
    apply_unsaved: bool = False
    before_reply: int = 0
    answer: Element | None = None

    @property
    def deletes_room(self) -> bool:
        """The room no longer exists after it."""
        return any(isinstance(save, DeleteRoom) for save in self.saves)
