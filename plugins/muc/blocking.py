"""Block lists (XEP-0191) on what one occupant says to another through the room.

A block is of a person, whom the room knows: the recipient's server cannot tell by the occupant JID. The owner of a nick
is not to be found out by blocking people, so what one sends oneself is refused only where the room shows addresses.
What is said to all is the room's own, and comes.
"""

from __future__ import annotations

from xmppd.contracts.blocking import BLOCKLIST, REFUSED
from xmppd.errors import NotAcceptable, ServiceUnavailable
from xmppd.jid import JID
from xmppd.plugin import Host
from xmppd.stanza import Stanza

from .room import RoomState


def _target(host: Host, room: RoomState, to: JID) -> JID | None:
    """Returns the address of the occupant that is addressed; None if there is none, or none of this server."""
    target = room.occupant_named(to.resource) if to.resource else None
    if target is None or not host.router.routes.serves_accounts(target.latest.jid.domain):
        return None
    return target.latest.jid


def is_blocklist_loaded(host: Host, room: RoomState, to: JID) -> bool:
    """Whether the block list of the addressed occupant is in memory."""
    found = _target(host, room, to)
    return found is None or host.router.routes.is_loaded(found)


async def load_blocklist(host: Host, room: RoomState, to: JID) -> None:
    """Loads the block list of the addressed occupant. Raises StorageUnavailable."""
    found = _target(host, room, to)
    if found is not None:
        await host.router.routes.open_account(found)


def check_blocklists(host: Host, room: RoomState, who: JID, stanza: Stanza) -> None:
    """Refuses what the recipient has blocked, and what goes to somebody whom the sender has blocked (section 3.3).

    Raises ServiceUnavailable, as for somebody who is not there, and NotAcceptable.
    """
    assert stanza.to is not None
    target = room.occupant_named(stanza.to.resource) if stanza.to.resource else None
    occupant = room.sessions.get(who.full)
    if target is None or occupant is None:
        return
    if _blocks(host, target.latest.jid, who):
        raise ServiceUnavailable()
    if room.sees_addresses(occupant) and _blocks(host, who, target.latest.jid):
        raise NotAcceptable("You have blocked this address", REFUSED, type="cancel")


def _blocks(host: Host, owner: JID, other: JID) -> bool:
    """Whether an account of this server, whose block list is in memory, blocks a JID."""
    routes = host.router.routes
    blocklist = routes.service(owner.domain, BLOCKLIST) if routes.is_loaded(owner) else None
    return blocklist is not None and blocklist.blocks(owner.bare, other)
