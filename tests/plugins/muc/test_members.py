"""Reserved nicks are found without looking at all, and one request stays cheap (XEP-0045 sections 7.10, 9, 10)."""

from __future__ import annotations

from random import Random

import pytest

from plugins.muc import members as module
from plugins.muc.admin import ITEMS, TOLD, AdminItem
from plugins.muc.full_lists import fields
from plugins.muc.looks import Looks, looks
from plugins.muc.members import Members
from plugins.muc.model import Affiliation, Member
from tests.plugins.muc.rooms import JULIET, ROMEO, add, make, to
from xmppd.errors import Conflict
from xmppd.jid import JID
from xmppd.xep.forms import MAX_VALUES

NICKS = (
    "",
    "bob",
    "Bob",
    "BOB",
    "ВОВ",
    "b0b",
    "anna",
    "ΑΝΝΑ",
    "Iago",
    "lago",
    "iago",
    "IAGO",
    "lAGO",
    "king",
    "kіng",
    "\u0000",
)


def test_the_index_says_what_a_look_at_all_says() -> None:
    random = Random(7)
    for _ in range(50):
        members = Members({f"a{n}@lit": Member("member", random.choice(NICKS)) for n in range(3)})
        for _ in range(30):
            bare, nick = f"a{random.randrange(6)}@lit", random.choice(NICKS)
            if random.random() < 0.3:
                members.discard(bare)
            else:
                members[bare] = Member("member", nick)
            members = Members(members) if random.random() < 0.1 else members
            known = {each: looks(member.nick) for each, member in members.items() if member.nick.strip("\0")}
            for wanted in NICKS[1:-1]:
                mine = looks(wanted)
                owners = {each for each, found in known.items() if found.key == mine.key}
                assert members.reserved_for(mine.key) in (owners or {None})
                for asker in ("a0@lit", "z@lit"):
                    alike = any(mine.alike(found) for each, found in known.items() if each != asker)
                    assert members.looks_reserved(wanted, asker) is alike


def test_many_reserved_nicks_cost_no_look_at_all_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    room = make()
    for number in range(1500):
        room.members[f"u{number}@lit"] = Member("member", f"nick number {number}")
    looked = 0

    def counted(nick: str) -> Looks:
        nonlocal looked
        looked += 1
        return looks(nick)

    monkeypatch.setattr(module, "looks", counted)
    items = [AdminItem(jid=JID.parse(f"v{n}@lit"), affiliation=Affiliation.MEMBER, reserve=f"x{n}") for n in range(190)]
    room.administer(ROMEO, items).apply()
    assert looked < 1500 + 4 * len(items)
    looked = 0
    add(room, JULIET, "juliet")
    with pytest.raises(Conflict):
        add(room, JULIET, "X18")
    assert looked < 10


def test_a_crowd_that_is_not_there_is_not_told_one_by_one() -> None:
    """Sections 10.3 and 10.6 allow to tell; each telling goes to everybody who sees addresses."""
    for number, told in ((TOLD, TOLD), (ITEMS, 0)):
        room = make()
        items = [AdminItem(jid=JID.parse(f"u{n}@lit"), affiliation=Affiliation.ADMIN) for n in range(number)]
        effects = room.administer(ROMEO, items).apply()
        assert len(to(effects, ROMEO)) == told
        assert len(room.members) == number + 1


def test_a_list_that_could_not_be_sent_back_is_not_in_the_form() -> None:
    members = {f"u{n}@lit": Member("admin") for n in range(MAX_VALUES)}
    assert [len(each.values) for each in fields(members)] == [MAX_VALUES, 0]
    members["one@more"] = Member("admin")
    assert [each.var for each in fields(members)] == ["muc#roomconfig_roomowners"]
