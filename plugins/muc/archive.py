"""The archive of a room (XEP-0313): who may read it, and what they see."""

from __future__ import annotations

from functools import partial
from typing import Final

from xmppd.errors import FeatureNotImplemented, Forbidden
from xmppd.jid import JID
from xmppd.stanza import Stanza
from xmppd.xep import mam
from xmppd.xep.mam import MAM_NS, Page, Query, fields, fin, metadata, read_page
from xmppd.xml import Element

from .entering import visible
from .model import Affiliation, Role
from .options import MEMBERS_ONLY, PASSWORD
from .room import Room

__all__ = ["MAM_NS", "check_access", "fields", "fin", "metadata", "read_page", "read_query", "results"]

PAGE: Final = 50


def check_access(room: Room, who: JID) -> None:
    """Who may enter may read (section 5.1.2, T35). Raises Forbidden."""
    affiliation = room.affiliation(who)
    if affiliation is Affiliation.OUTCAST or room.record.locked:
        raise Forbidden()
    if affiliation >= Affiliation.MEMBER or who.full in room.seats:
        return
    # A stranger has shown no password; and a private room tells strangers nothing.
    if MEMBERS_ONLY.of(room) or PASSWORD.of(room) or room.is_private():
        raise Forbidden("the archive is for those who may enter the room")


def read_query(query: Element, room: Room) -> Query:
    """Messages are found by who said them in the room (section 4.1.1). Raises like mam.read_query."""
    found = mam.read_query(query, PAGE, PAGE)
    if found.range.peer not in (None, room.jid.bare):
        raise FeatureNotImplemented("this archive knows its authors by their nicks")
    return found


def results(room: Room, who: JID, query: Query, page: Page) -> list[Stanza]:
    """With real addresses for those who may see them."""
    seat = room.seats.get(who.full)
    addresses = (
        room.is_open()
        or (seat is not None and seat.role is Role.MODERATOR)
        or room.affiliation(who) >= Affiliation.ADMIN
    )
    return mam.results(room.jid, who, query, page, partial(visible, addresses=addresses))
