"""Voice that a moderator has given or taken lasts over visits (XEP-0045 section 5.1)."""

from __future__ import annotations

import pytest

from plugins.muc.account_removal import forget_account
from plugins.muc.administration import AdminItem, administer
from plugins.muc.configuration import configure
from plugins.muc.model import Affiliation, Role
from plugins.muc.occupancy import leave_silently
from plugins.muc.room import KEPT_ROLES, RoomState
from tests.plugins.muc.rooms import JULIET, NURSE, ROMEO, ROMEO_PHONE, add, make
from xmppd.jid import JID
from xmppd.xml import E


def give(room: RoomState, nick: str, role: Role) -> None:
    administer(room, ROMEO, [AdminItem(nick=nick, role=role)]).apply()


def again(room: RoomState, who: JID, nick: str) -> Role:
    """Leaves, and enters under another nick."""
    plan = leave_silently(room, who)
    if plan is not None:
        plan.apply()
    add(room, who, nick)
    return room.sessions[who.full].role


@pytest.mark.parametrize(("moderated", "role"), [(True, Role.PARTICIPANT), (False, Role.VISITOR)])
def test_voice_is_what_it_was(moderated: bool, role: Role) -> None:
    room = make(moderatedroom=moderated)
    add(room, JULIET, "juliet")
    usual = room.sessions[JULIET.full].role
    give(room, "juliet", role)
    assert again(room, JULIET, "girl") is role is not usual
    assert again(room, NURSE, "nurse") is usual
    give(room, "girl", usual)
    assert again(room, JULIET, "juliet") is usual and not len(room.kept_roles)


def test_who_is_kicked_has_no_more_voice_than_before() -> None:
    room = make()
    add(room, JULIET, "juliet")
    give(room, "juliet", Role.VISITOR)
    give(room, "juliet", Role.NONE)
    assert again(room, JULIET, "juliet") is Role.VISITOR


def test_moderation_is_not_kept() -> None:
    room = make(moderatedroom=True)
    add(room, JULIET, "juliet")
    give(room, "juliet", Role.MODERATOR)
    assert again(room, JULIET, "juliet") is Role.VISITOR


@pytest.mark.parametrize(
    ("affiliation", "role"), [(Affiliation.MEMBER, Role.PARTICIPANT), (Affiliation.OWNER, Role.MODERATOR)]
)
def test_another_affiliation_ends_it(affiliation: Affiliation, role: Role) -> None:
    room = make()
    add(room, JULIET, "juliet")
    give(room, "juliet", Role.VISITOR)
    administer(room, ROMEO, [AdminItem(jid=JULIET.to_bare(), affiliation=affiliation)]).apply()
    assert again(room, JULIET, "juliet") is role


def test_admins_enter_as_moderators() -> None:
    room = make()
    room.kept_roles.put(ROMEO.bare, Role.VISITOR)
    assert again(room, ROMEO_PHONE, "phone") is Role.MODERATOR


def test_it_ends_when_all_get_voice() -> None:
    room = make(moderatedroom=True)
    add(room, JULIET, "juliet")
    room.kept_roles.put(NURSE.bare, Role.VISITOR)
    value = E("value", "jabber:x:data", {}, "0")
    field = E("field", "jabber:x:data", {"var": "muc#roomconfig_moderatedroom"}, value)
    x = E("x", "jabber:x:data", {"type": "submit"}, field)
    configure(room, ROMEO, E("query", "http://jabber.org/protocol/muc#owner", {}, x)).apply()
    assert again(room, NURSE, "nurse") is Role.PARTICIPANT


def test_a_removed_account_leaves_nothing_and_the_list_is_bounded() -> None:
    room = make()
    room.kept_roles.put(JULIET.bare, Role.VISITOR)
    forget_account(room, JULIET.bare)
    assert again(room, JULIET, "juliet") is Role.PARTICIPANT
    for number in range(KEPT_ROLES + 10):
        room.kept_roles.put(f"{number}@capulet.lit", Role.VISITOR)
    assert len(room.kept_roles) <= KEPT_ROLES
