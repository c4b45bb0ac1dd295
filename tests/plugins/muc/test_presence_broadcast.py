"""muc#roomconfig_presencebroadcast: whose presence the others get (XEP-0045 sections 5.1, 7.2.2, 7.7, 10.2)."""

from __future__ import annotations

import pytest

from plugins.muc.admin_lists import admin_list
from plugins.muc.administration import AdminItem, administer
from plugins.muc.configuration import configure
from plugins.muc.discovery import room_items
from plugins.muc.model import Affiliation, AffiliationRecord, Effect, Role
from plugins.muc.occupancy import leave, update_presence
from plugins.muc.room import RoomState
from tests.plugins.muc.rooms import JULIET, NURSE, ROMEO, ROOM, add, make, stanza, to
from xmppd.errors import NotAcceptable
from xmppd.jid import JID
from xmppd.stanza import Kind
from xmppd.xml import E, Element

VAR = "muc#roomconfig_presencebroadcast"
NO_VISITORS = "moderator participant"


def lobby() -> RoomState:
    """romeo, a moderator, nurse, a member, and juliet, a visitor whose presence is not broadcast."""
    room = make(moderatedroom=True, presencebroadcast=NO_VISITORS)
    room.affiliations[NURSE.bare] = AffiliationRecord("member")
    add(room, NURSE, "nurse")
    add(room, JULIET, "juliet")
    return room


def broadcast(room: RoomState, *roles: str) -> list[Effect]:
    field = E("field", "jabber:x:data", {"var": VAR}, *(E("value", "jabber:x:data", {}, role) for role in roles))
    x = E("x", "jabber:x:data", {"type": "submit"}, field)
    return configure(room, ROMEO, E("query", "http://jabber.org/protocol/muc#owner", {}, x)).apply()


def presences(effects: list[Effect], who: JID) -> list[tuple[str, str, str]]:
    """(nick, type, role) of the presence that somebody gets."""
    found = []
    for effect in effects:
        told = to([effect], who)
        if told and effect.stanza.kind is Kind.PRESENCE and effect.stanza.sender is not None:
            found.append((effect.stanza.sender.resource, effect.stanza.type, told[0][2]["role"]))
    return found


def give(room: RoomState, nick: str, role: Role) -> list[Effect]:
    return administer(room, ROMEO, [AdminItem(nick=nick, role=role)]).apply()


def test_who_enters_unseen_sees_the_others_and_itself() -> None:
    room = make(moderatedroom=True, presencebroadcast=NO_VISITORS)
    effects = add(room, JULIET, "juliet")
    assert presences(effects, JULIET) == [("romeo", "", "moderator"), ("juliet", "", "visitor")]
    assert to(effects, JULIET)[1][1] == ["110", "170"]
    assert to(effects, ROMEO) == []


def test_who_enters_does_not_see_the_unseen() -> None:
    room = lobby()
    tybalt = JID.parse("tybalt@capulet.lit/street")
    assert presences(add(room, tybalt, "tybalt"), tybalt) == [
        ("romeo", "", "moderator"),
        ("nurse", "", "participant"),
        ("tybalt", "", "visitor"),
    ]


def test_changes_of_the_unseen_are_told_to_itself_only() -> None:
    room = lobby()
    away = stanza(f"<presence to='{ROOM.bare}/juliet'><show>away</show></presence>")
    told = update_presence(room, JULIET, away).apply()
    assert presences(told, JULIET) == [("juliet", "", "visitor")] and to(told, ROMEO) == to(told, NURSE) == []
    told = update_presence(room, JULIET, stanza(f"<presence to='{ROOM.bare}/girl'/>")).apply()
    assert presences(told, JULIET) == [("juliet", "unavailable", "visitor"), ("girl", "", "visitor")]
    assert to(told, ROMEO) == to(told, NURSE) == []
    plan = leave(room, JULIET, stanza("<presence type='unavailable'/>"))
    assert plan is not None
    told = plan.apply()
    assert presences(told, JULIET) == [("girl", "unavailable", "none")] and to(told, ROMEO) == to(told, NURSE) == []


def test_voice_brings_into_sight_and_its_loss_out_of_it() -> None:
    room = lobby()
    told = give(room, "juliet", Role.PARTICIPANT)
    assert presences(told, NURSE) == [("juliet", "", "participant")] == presences(told, JULIET)
    told = give(room, "juliet", Role.VISITOR)
    assert presences(told, NURSE) == [("juliet", "unavailable", "none")] == presences(told, ROMEO)
    assert presences(told, JULIET) == [("juliet", "", "visitor")], "she is still there"
    assert all(codes == [] for _, codes, _ in to(told, NURSE))


@pytest.mark.parametrize(
    "item",
    [AdminItem(nick="juliet", role=Role.NONE), AdminItem(jid=JULIET.to_bare(), affiliation=Affiliation.OUTCAST)],
)
def test_who_is_kicked_or_banned_unseen_leaves_unseen(item: AdminItem) -> None:
    room = lobby()
    told = administer(room, ROMEO, [item]).apply()
    assert presences(told, JULIET) == [("juliet", "unavailable", "none")]
    assert to(told, ROMEO) == to(told, NURSE) == []


def test_a_change_of_the_option_shows_and_hides_who_is_in() -> None:
    room = lobby()
    told = broadcast(room, "moderator", "visitor")
    assert presences(told, ROMEO) == [("nurse", "unavailable", "none"), ("juliet", "", "visitor")]
    assert presences(told, JULIET) == [("nurse", "unavailable", "none")], "of herself nothing has changed"
    assert presences(told, NURSE) == [("juliet", "", "visitor")]
    assert to(told, NURSE)[-1][:2] == ("groupchat", ["104"])
    assert presences(broadcast(room), JULIET) == [("romeo", "unavailable", "none")]
    assert room.options[VAR] == ""
    assert to(broadcast(room), JULIET) == [], "nothing has changed"


def test_no_such_role() -> None:
    room = lobby()
    with pytest.raises(NotAcceptable):
        broadcast(room, "moderator", "king")
    assert room.options[VAR] == NO_VISITORS


def test_lists_do_not_tell_who_is_unseen() -> None:
    """The lists of roles do: they are for moderators, who may have to kick or give voice."""
    room = lobby()
    room.options["muc#roomconfig_whois"] = "anyone"

    def nicks(query: Element) -> set[str]:
        return {str(each.get("nick") or each.get("jid", "").partition("/")[2]) for each in query}

    def listed(**attributes: str) -> set[str]:
        item = E("item", "http://jabber.org/protocol/muc#admin", attributes)
        return nicks(admin_list(room, ROMEO, E("query", "http://jabber.org/protocol/muc#admin", {}, item)))

    assert nicks(room_items(room, NURSE)) == {"romeo", "nurse"}
    assert nicks(room_items(room, JULIET)) == {"romeo", "nurse", "juliet"}
    assert listed(role="visitor") == {"juliet"}
    room.affiliations[JULIET.bare] = AffiliationRecord("member")
    assert listed(affiliation="member") == {"nurse", ""}


def test_a_client_that_joins_another_of_its_user_out_of_sight() -> None:
    """Section 7.6: the others are not told the nick of somebody whom they do not see."""
    room = make(moderatedroom=True, presencebroadcast=NO_VISITORS)
    phone = JID.parse(f"{JULIET.bare}/phone")
    for who, nick in ((JULIET, "juliet"), (phone, "girl"), (NURSE, "nurse")):
        add(room, who, nick)
    give(room, "girl", Role.PARTICIPANT)
    told = update_presence(room, phone, stanza(f"<presence to='{ROOM.bare}/juliet'/>")).apply()
    assert presences(told, NURSE) == [("girl", "unavailable", "participant")]
    assert to(told, NURSE)[0][1:] == ([], {"affiliation": "none", "role": "participant"})
