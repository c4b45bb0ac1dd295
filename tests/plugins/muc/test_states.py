"""What one occupant sees of another is what the others see, and what newcomers will see."""

from __future__ import annotations

from plugins.muc.admin_lists import admin_list
from plugins.muc.administration import AdminItem, administer
from plugins.muc.destruction import destroy_room
from plugins.muc.join import join as join_room
from plugins.muc.model import Affiliation, AffiliationRecord, Effect, Role
from plugins.muc.occupancy import update_presence
from plugins.muc.room import RoomState
from tests.core.test_delivery import enable
from tests.core.test_snapshots import again
from tests.harness import Harness
from tests.plugins.muc.people import ROOM as TAVERN
from tests.plugins.muc.people import join, tavern
from tests.plugins.muc.rooms import JULIET, NURSE, ROMEO, ROMEO_PHONE, ROOM, add, entry, make, stanza, to
from xmppd.jid import JID
from xmppd.stanza import Kind
from xmppd.xml import E


def shows(effects: list[Effect], who: JID) -> list[tuple[str, str]]:
    """(nick, show) of the available presences that somebody gets."""
    found = []
    for each in effects:
        targets = getattr(each, "to", (each.stanza.to,))
        if who in targets and each.stanza.tags and not each.stanza.type and each.stanza.kind is Kind.PRESENCE:
            show = each.stanza.xml.findtext("{jabber:client}show") or ""
            found.append((each.stanza.sender.resource if each.stanza.sender is not None else "", show))
    return found


def test_another_state_on_entering_again_is_told() -> None:
    """Sections 7.2.2 and 17.3."""
    room = make()
    add(room, JULIET, "juliet")
    effects = join_room(room, entry(JULIET, "juliet", "<show>away</show>")).apply()
    assert shows(effects, ROMEO) == [("juliet", "away")]
    assert shows(effects, JULIET) == [("romeo", ""), ("juliet", "away")]
    effects = join_room(room, entry(JULIET, "juliet", "<show>away</show>")).apply()
    assert shows(effects, ROMEO) == []
    assert shows(add(room, NURSE, "nurse"), NURSE)[:2] == [("romeo", ""), ("juliet", "away")]


def test_entering_again_under_another_nick_moves_and_shows_all() -> None:
    room = make()
    add(room, JULIET, "juliet")
    add(room, NURSE, "nurse")
    effects = join_room(room, entry(JULIET, "girl", "<show>xa</show>")).apply()
    assert shows(effects, ROMEO) == [("girl", "xa")]
    got = to(effects, JULIET)
    assert {nick for nick, _ in shows(effects, JULIET)} == {"romeo", "nurse", "girl"}
    assert got[-1][0] == "groupchat", "the subject comes last"


def test_a_nick_that_one_of_two_clients_leaves_shows_as_the_other() -> None:
    """Section 7.6."""
    room = make()
    add(room, JULIET, "juliet")
    join_room(room, entry(ROMEO_PHONE, "romeo", "<show>dnd</show>")).apply()
    effects = update_presence(
        room, ROMEO_PHONE, stanza(f"<presence to='{ROOM.bare}/boy'><show>xa</show></presence>")
    ).apply()
    assert shows(effects, JULIET) == [("romeo", ""), ("boy", "xa")]


def test_who_has_no_membership_in_front_of_a_ban_leaves() -> None:
    """Section 9.2: the ban of a domain is about all that have no affiliation of their own."""
    room = make()
    room.affiliations.update({JULIET.bare: AffiliationRecord("member"), JULIET.domain: AffiliationRecord("outcast")})
    add(room, JULIET, "juliet")
    effects = administer(room, ROMEO, [AdminItem(jid=JULIET.to_bare(), affiliation=Affiliation.NONE)]).apply()
    assert to(effects, JULIET)[0][:2] == ("unavailable", ["110", "301"])
    assert JULIET.full not in room.sessions


def test_one_list_may_name_somebody_twice() -> None:
    room = make()
    add(room, JULIET, "juliet")
    turns = [AdminItem(jid=JULIET.to_bare(), affiliation=each) for each in (Affiliation.ADMIN, Affiliation.MEMBER)]
    effects = administer(room, ROMEO, turns).apply()
    assert [item["affiliation"] for _, _, item in to(effects, ROMEO)] == ["member"]
    ban = AdminItem(jid=JULIET.to_bare(), affiliation=Affiliation.OUTCAST)
    kick = AdminItem(nick="juliet", role=Role.NONE)
    effects = administer(room, ROMEO, [kick, ban, kick]).apply()
    assert [type for type, _, _ in to(effects, JULIET)] == ["unavailable"]


def test_no_role_in_what_is_told_about_affiliations() -> None:
    """Section 17.4."""
    room = make()
    room.affiliations[JULIET.bare] = AffiliationRecord("member")
    add(room, JULIET, "juliet")
    query = E("query", "http://jabber.org/protocol/muc#admin", {}, E("item", "http://jabber.org/protocol/muc#admin"))
    query[0].set("affiliation", "member")
    found = admin_list(room, ROMEO, query)
    assert dict(found[0].attrib) == {"affiliation": "member", "jid": JULIET.bare, "nick": "juliet"}
    del query[0].attrib["affiliation"]
    query[0].set("role", "participant")
    assert set(admin_list(room, ROMEO, query)[0].attrib) == {"affiliation", "jid", "nick", "role"}


def test_who_is_told_ahead_of_the_answer() -> None:
    """Sections 8.2 and 10.9: the kicked and the occupants of a destroyed room; section 9.1: nobody."""
    room = make()
    for who in (JULIET, NURSE):
        add(room, who, who.local)
    plan = administer(room, ROMEO, [AdminItem(nick=nick, role=Role.NONE) for nick in ("juliet", "nurse")])
    effects = plan.apply()
    assert plan.before_reply == 2 and [to(effects[:2], who)[0][1] for who in (JULIET, NURSE)] == [["110", "307"]] * 2
    assert [codes for _, codes, _ in to(effects[2:], ROMEO)] == [["307"]] * 2
    assert not to(effects[2:], JULIET) and not to(effects[2:], NURSE)
    for who in (JULIET, NURSE):
        add(room, who, who.local)
    plan = administer(room, ROMEO, [AdminItem(jid=JULIET.to_bare(), affiliation=Affiliation.OUTCAST)])
    assert plan.apply() and plan.before_reply == 0
    plan = destroy_room(room)
    assert len(plan.apply()) == plan.before_reply == 2


async def test_a_restart_changes_no_state(server: Harness) -> None:
    """Two clients under one nick: the one that spoke last is what newcomers see, before and after."""
    await tavern(server, muc__roomconfig_persistentroom="1")
    zoo = await server.login("juliet", "zoo", presence=True)
    await enable(zoo)
    balcony = await server.login("juliet", "balcony", presence=True)
    await enable(balcony)
    await join(zoo, "juliet")
    await join(balcony, "juliet")
    balcony.send(f"<presence to='{TAVERN}/juliet'><show>dnd</show></presence>")
    await balcony.receive_all()
    zoo.send(f"<presence to='{TAVERN}/juliet'><show>xa</show></presence>")
    await zoo.receive_all()
    second = await again(server)
    try:
        nurse = await second.login("nurse", presence=True)
        shown: dict[str, str | None] = {}
        for each in await join(nurse, "nurse"):
            shown[str(each.get("from"))] = each.findtext("{jabber:client}show")
        assert shown[f"{TAVERN}/juliet"] == "xa"
    finally:
        await second.stop()


def test_no_way_of_changing_skips_the_others() -> None:
    """Every way in which a presence changes passes `Room`: none of its plans leaves the others with an old state."""
    room: RoomState = make()
    add(room, JULIET, "juliet")
    seen: dict[str, str] = {"juliet": ""}
    texts = ("", "<show>away</show>", "<show>dnd</show>", "<show>dnd</show><status>busy</status>")
    for number, inside in enumerate(texts * 2):
        nick = ("juliet", "girl")[number % 3 == 0]
        plan = (
            join_room(room, entry(JULIET, nick, inside))
            if number % 2
            else update_presence(room, JULIET, stanza(f"<presence to='{ROOM.bare}/{nick}'>{inside}</presence>"))
        )
        for effect in plan.apply():
            if ROMEO in getattr(effect, "to", ()) and effect.stanza.sender is not None:
                name = effect.stanza.sender.resource
                if effect.stanza.type == "unavailable":
                    seen.pop(name, None)
                else:
                    seen[name] = effect.stanza.xml.findtext("{jabber:client}show") or ""
        now = {
            each.nick: each.latest.presence.xml.findtext("{jabber:client}show") or ""
            for each in room.occupants.values()
            if each.bare != ROMEO.bare
        }
        assert seen == now, number
