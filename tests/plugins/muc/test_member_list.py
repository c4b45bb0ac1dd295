"""muc#roomconfig_getmemberlist and muc#roomconfig_pubsub (XEP-0045 sections 6.4, 9.5)."""

from __future__ import annotations

import pytest

from plugins.muc.admin_lists import admin_list
from plugins.muc.configuration import configure
from plugins.muc.discovery import room_info
from plugins.muc.model import AffiliationRecord, Role
from plugins.muc.room import RoomState
from tests.plugins.muc.rooms import JULIET, NURSE, ROMEO, add, make
from xmppd.errors import Forbidden, NotAcceptable
from xmppd.jid import JID
from xmppd.xml import E

ADMIN_NS = "http://jabber.org/protocol/muc#admin"


def members(room: RoomState, who: JID) -> list[str]:
    query = E("query", ADMIN_NS, {}, E("item", ADMIN_NS, {"affiliation": "member"}))
    return [str(each.get("jid")) for each in admin_list(room, who, query)]


def hall(**options: bool | str | int) -> RoomState:
    room = make(whois="anyone", **options)
    room.affiliations[JULIET.bare] = AffiliationRecord("member")
    return room


def test_a_member_reads_the_list_inside_and_outside() -> None:
    room = hall()
    assert members(room, JULIET) == [JULIET.bare]
    add(room, JULIET, "juliet")
    assert members(room, JULIET) == [JULIET.bare]
    with pytest.raises(Forbidden):
        members(room, NURSE)


def test_the_owner_says_which_roles_read_it() -> None:
    room = hall(getmemberlist="moderator")
    with pytest.raises(Forbidden):
        members(room, JULIET)
    add(room, JULIET, "juliet")
    with pytest.raises(Forbidden):
        members(room, JULIET)
    room.occupants["juliet"].role = Role.MODERATOR
    assert members(room, JULIET) == [JULIET.bare]
    assert members(room, ROMEO) == [JULIET.bare]
    room.options["muc#roomconfig_getmemberlist"] = ""
    assert members(room, ROMEO) == [JULIET.bare], "to edit it admins and owners always read it"


def test_no_member_reads_it_where_addresses_are_secret() -> None:
    """Section 5.2.1."""
    room = hall()
    room.options["muc#roomconfig_whois"] = "moderators"
    with pytest.raises(Forbidden):
        members(room, JULIET)


def submit(room: RoomState, uri: str) -> None:
    field = E("field", "jabber:x:data", {"var": "muc#roomconfig_pubsub"}, E("value", "jabber:x:data", {}, uri))
    x = E("x", "jabber:x:data", {"type": "submit"}, field)
    configure(room, ROMEO, E("query", "http://jabber.org/protocol/muc#owner", {}, x)).apply()


def test_the_node_of_a_room_is_told() -> None:
    room = make()
    uri = "xmpp:pubsub.shakespeare.lit?;node=the-coven-node"
    submit(room, uri)
    fields = room_info(room, NURSE, "").iter("{jabber:x:data}field")
    assert [each[0].text for each in fields if each.get("var") == "muc#roomconfig_pubsub"] == [uri]
    with pytest.raises(NotAcceptable):
        submit(room, "https://shakespeare.lit/")
