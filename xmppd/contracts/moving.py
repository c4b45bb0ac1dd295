"""Moving in and out: what an account, a room or a service owns, as elements that other servers understand (XEP-0227).

A plugin that stores something for an owner says how it is given (`give`) and taken (`take`). What others know already
has an element in XEP-0227 or in the XEP of its subject; anything else has one in a namespace of the plugin's own. The
core reads and writes the files, makes the accounts, and commits.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from ..hooks import Collect
from ..jid import JID
from ..storage.api import Write
from ..xml import Element

PIE_NS: Final = "urn:xmpp:pie:0"
SCRAM_NS: Final = f"{PIE_NS}#scram"
ARCHIVE_NS: Final = f"{PIE_NS}#mam"
MOVING_NS: Final = "urn:xmppd:moving:0"
"""What XEP-0227 has no word for: rooms (section "Requirements" leaves them out), and some records of ours."""
PIECE: Final = 100
"""Messages or items that `give` puts into one element at most."""


class OwnerKind(enum.Enum):
    """What owns it: an account, a room, or a host itself (the nodes of a service)."""

    ACCOUNT = "user"
    ROOM = "room"
    HOST = "host"


class Intake(Protocol):
    """What comes in for one owner, and what becomes of it."""

    replace: bool
    """What comes counts more than what is there; else what is there stays, and only what is missing is added."""
    first: bool
    """The owner was made by what comes in now: it has nothing of its own yet."""
    now: int
    """Microseconds since 1970 UTC; nothing that comes is later."""

    def next_id(self, above: int = 0) -> int:
        """An id for a log of items: rising, above all that it gave before and above another one."""
        ...

    def took(self, what: str, number: int = 1) -> None:
        """Count what is taken. `what`: a plural, such as "contacts"."""
        ...

    def kept(self, what: str, number: int = 1) -> None:
        """Count what is there already, and stays."""
        ...

    def lost(self, why: str) -> None:
        """Tell the operator of something that cannot be carried."""
        ...

    def note(self, what: str) -> None:
        """Tell the operator of something that is carried, and has consequences: a sentence about the owner."""
        ...

    def refuse(self, why: str) -> None:
        """Tell the operator that this owner is not taken; the rest of it is passed over."""
        ...

    def deliver(self, ids: Collection[int], archived: Collection[int] = ()) -> None:
        """These entries of the account's log wait for a device. `archived`: incoming entries that are added and do not:
        some device has had them on the other server."""
        ...


Give = Callable[[JID], AsyncIterator[Element]]
Take = Callable[[JID, Element, Intake], Awaitable[Sequence[Write]]]


@dataclass(frozen=True, slots=True)
class Portable:
    """A part of what owners of a kind have.

    `tags`: "namespace|name" of the elements that it takes, children of <user/>, <room/> or <host/>.
    `give`: called with a bare JID; yields such elements. What is large comes in several, each with the start tag of the
    whole and some of its content, PIECE at a time, so nobody needs it all in memory. Raises StorageUnavailable.
    `take`: reads what is stored and returns the writes that add an element; sends nothing, remembers nothing. Elements
    that hold much come in pieces, too, and may come again: taking twice changes nothing. What cannot be stored is told
    (`Intake.lost`), and a StanzaError, MalformedJid or ValueError that it raises is told the same way. Raises
    StorageUnavailable.
    `secret`: it is for the next server, not for the download of a person's own data.
    """

    kind: OwnerKind
    tags: tuple[str, ...]
    give: Give
    take: Take
    secret: bool = False


PORTABLE = Collect[JID, Portable]("portable", plain=True)
"""What a plugin gives and takes, in the order in which it is written. Nothing need be started: a plugin may have had
its `setup` only. Gets the domain of the host."""


@dataclass(frozen=True, slots=True)
class PortableOwners:
    """`owners`: the bare JIDs of all owners of a kind that is not known to the core. Raises StorageUnavailable."""

    kind: OwnerKind
    owners: Callable[[], AsyncIterator[JID]]


PORTABLE_OWNERS = Collect[JID, PortableOwners]("portable-owners", plain=True)
"""Who has something that can move, beside accounts and the host itself. Gets the domain of the host."""


@dataclass(frozen=True, slots=True)
class MovedIn:
    """All parts of an account have come in, and are committed. `messages`: its log got some."""

    owner: JID
    intake: Intake
    messages: bool


MOVED_IN = Collect[MovedIn, Write]("moved-in")
"""What follows from what came in (a chat list from messages): asked once for an account. Raises StorageUnavailable."""
