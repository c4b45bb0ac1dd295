"""The archive of a room (XEP-0313): who may read it, and what they see."""

from __future__ import annotations

from functools import partial
from typing import Final

from xmppd.errors import FeatureNotImplemented, Forbidden
from xmppd.jid import JID
from xmppd.stanza import Stanza
from xmppd.xep import mam
from xmppd.xep.mam import Page, Query
from xmppd.xml import Element

from .elements import archived_message
from .model import Affiliation, Role
from .options import MEMBERS_ONLY, PASSWORD
from .room import RoomState

PAGE: Final = 50
"""Messages of a page, unless the asker wants fewer."""


def check_archive_access(room: RoomState, who: JID) -> None:
    """Checks that somebody may read the archive: who may join may (section 5.1.2, T35). Raises Forbidden."""
    affiliation = room.affiliation(who)
    if affiliation is Affiliation.OUTCAST or room.record.locked:
        raise Forbidden()
    if affiliation >= Affiliation.MEMBER or who.full in room.sessions:
        return
    # A stranger has shown no password; and a private room tells strangers nothing.
    if MEMBERS_ONLY.of(room) or PASSWORD.of(room) or room.is_private():
        raise Forbidden("the archive is for those who may enter the room")


def read_query(query: Element, room: RoomState) -> Query:
    """Parses a query of the archive. Authors are occupants, not addresses (section 4.1.1). Raises like
    mam.read_query."""
    found = mam.read_query(query, PAGE, PAGE)
    if found.range.peer not in (None, room.jid.bare):
        raise FeatureNotImplemented("this archive knows its authors by their nicks")
    return found


def results(room: RoomState, who: JID, query: Query, page: Page) -> list[Stanza]:
    """Builds the messages of a page, with real addresses for those who may see them."""
    occupant = room.sessions.get(who.full)
    addresses = (
        room.is_non_anonymous()
        or (occupant is not None and occupant.role is Role.MODERATOR)
        or room.affiliation(who) >= Affiliation.ADMIN
    )
    return mam.results(room.jid, who, query, page, partial(archived_message, addresses=addresses))
