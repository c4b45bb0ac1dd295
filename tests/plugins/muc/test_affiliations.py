"""Reserved nicks are found without looking at all, and one request stays cheap (XEP-0045 sections 7.10, 9, 10)."""

from __future__ import annotations

from random import Random

import pytest

from plugins.muc import affiliations as module
from plugins.muc.administration import ITEMS, AdminItem, administer
from plugins.muc.affiliation_changes import TOLD
from plugins.muc.affiliations import AffiliationList
from plugins.muc.model import Affiliation, AffiliationRecord
from plugins.muc.nicks import NickForms, nick_forms
from plugins.muc.owner_lists import owner_list_fields
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
        members = AffiliationList({f"a{n}@lit": AffiliationRecord("member", random.choice(NICKS)) for n in range(3)})
        for _ in range(30):
            bare, nick = f"a{random.randrange(6)}@lit", random.choice(NICKS)
            if random.random() < 0.3:
                members.discard(bare)
            else:
                members[bare] = AffiliationRecord("member", nick)
            members = AffiliationList(members) if random.random() < 0.1 else members
            known = {each: nick_forms(member.nick) for each, member in members.items() if member.nick.strip("\0")}
            for wanted in NICKS[1:-1]:
                mine = nick_forms(wanted)
                owners = {each for each, found in known.items() if found.key == mine.key}
                assert members.nick_owner(mine.key) in (owners or {None})
                for asker in ("a0@lit", "z@lit"):
                    alike = any(mine.confusable_with(found) for each, found in known.items() if each != asker)
                    assert members.resembles_reserved(wanted, asker) is alike


def test_many_reserved_nicks_cost_no_look_at_all_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    room = make()
    for number in range(1500):
        room.affiliations[f"u{number}@lit"] = AffiliationRecord("member", f"nick number {number}")
    looked = 0

    def counted(nick: str) -> NickForms:
        nonlocal looked
        looked += 1
        return nick_forms(nick)

    monkeypatch.setattr(module, "nick_forms", counted)
    items = [AdminItem(jid=JID.parse(f"v{n}@lit"), affiliation=Affiliation.MEMBER, reserve=f"x{n}") for n in range(190)]
    administer(room, ROMEO, items).apply()
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
        effects = administer(room, ROMEO, items).apply()
        assert len(to(effects, ROMEO)) == told
        assert len(room.affiliations) == number + 1


def test_a_list_that_could_not_be_sent_back_is_not_in_the_form() -> None:
    members = {f"u{n}@lit": AffiliationRecord("admin") for n in range(MAX_VALUES)}
    assert [len(each.values) for each in owner_list_fields(members)] == [MAX_VALUES, 0]
    members["one@more"] = AffiliationRecord("admin")
    assert [each.var for each in owner_list_fields(members)] == ["muc#roomconfig_roomowners"]
