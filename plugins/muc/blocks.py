"""Block lists (XEP-0191) on what one occupant says to another through the room.

A block is of a person, whom the room knows: the recipient's server cannot tell by the address in the room. The owner of
a nick is not to be found out by blocking people, so what one sends oneself is refused only where the room shows
addresses. What is said to all is the room's own, and comes.
"""

from __future__ import annotations

from xmppd.contracts.blocking import BLOCKLIST, REFUSED
from xmppd.errors import NotAcceptable, ServiceUnavailable
from xmppd.jid import JID
from xmppd.plugin import Host
from xmppd.stanza import Stanza

from .model import Occupant
from .room import Room


def _asked(host: Host, room: Room, to: JID) -> tuple[Occupant, Host] | None:
    """The occupant of that nick and its home; None if there is none, or none here."""
    target = room.named(to.resource) if to.resource else None
    home = host.router.where(target.main.jid) if target is not None else None
    return (target, home) if target is not None and home is not None else None


def at_hand(host: Host, room: Room, to: JID) -> bool:
    """Whether what that occupant has blocked is in memory."""
    asked = _asked(host, room, to)
    return asked is None or asked[1].ready(asked[0].bare)


async def load(host: Host, room: Room, to: JID) -> None:
    """Raises StorageUnavailable."""
    asked = _asked(host, room, to)
    if asked is not None:
        await asked[1].open_account(asked[0].main.jid)


def check(host: Host, room: Room, who: JID, stanza: Stanza) -> None:
    """Section 3.3. Raises ServiceUnavailable, as from somebody who is not there, and NotAcceptable."""
    assert stanza.to is not None
    target = room.named(stanza.to.resource) if stanza.to.resource else None
    occupant = room.seats.get(who.full)
    if target is None or occupant is None or stanza.answers:
        return
    if _blocks(host, target.main.jid, who):
        raise ServiceUnavailable()
    if room.sees_addresses(occupant) and _blocks(host, who, target.main.jid):
        raise NotAcceptable("You have blocked this address", REFUSED, type="cancel")


def _blocks(host: Host, owner: JID, other: JID) -> bool:
    home = host.router.where(owner)
    blocklist = home.find(BLOCKLIST) if home is not None and home.ready(owner.bare) else None
    return blocklist is not None and blocklist.blocks(owner.bare, other)
