"""What is read from the stored bytes of a message is what its tree says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmppd.jid import JID
from xmppd.stanza import Kind, Stanza, parse_stanza
from xmppd.storage.api import Entry
from xmppd.xep.duplicates import RecentMessages, keys_of_entry, keys_of_stanza
from xmppd.xep.numbers import HIGHEST, log_id, unsigned
from xmppd.xep.retraction import has_id
from xmppd.xep.stored_message import StoredMessage
from xmppd.xml import E

IDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")) | st.sampled_from("\t\n\r'\"<>&;"))
SID = "urn:xmpp:sid:0"


def message(id: str, type: str = "chat", origin: str = "", inside: str = "") -> Stanza:
    stanza = Stanza(Kind.MESSAGE, type, JID.parse("juliet@localhost/a'b"), JID.parse("romeo@localhost/c&d"), id)
    return stanza.with_inside(
        *([E("origin-id", SID, {"id": origin})] if origin else []),
        *([E("body", "jabber:client", {}, inside)] * bool(inside)),
    )


@given(IDS, IDS, st.sampled_from(["chat", "normal", "groupchat"]))
def test_attributes_are_those_of_the_tree(id: str, origin: str, type: str) -> None:
    stanza = message(id, type, origin)
    stored = StoredMessage(stanza.data)
    tree = parse_stanza(stanza.data)
    assert (stored.id, stored.type) == (tree.id, tree.type) == (id, type)
    assert stored.to == tree.to.full if tree.to is not None else False
    assert stored.sender == "romeo@localhost/c&d"
    assert stored.origin_id == origin
    assert stored.stanza().id == id


def test_what_is_not_there_is_empty() -> None:
    stored = StoredMessage(Stanza(Kind.MESSAGE, "normal").data)
    assert (stored.to, stored.sender, stored.id, stored.origin_id, stored.type) == ("", "", "", "", "normal")
    assert not stored.may_have_text
    assert StoredMessage(message("1", inside=" id='2'").data).may_have_text
    inner = Stanza(Kind.MESSAGE, "normal").with_element(E("forwarded", "urn:x", {"id": "2", "from": "a@b"}))
    assert (StoredMessage(inner.data).id, StoredMessage(inner.data).sender) == ("", "")
    assert StoredMessage(b"<presence id='1'/>").id == ""


@pytest.mark.parametrize("id", ["plain-and-long-enough", 'it\'s <long> & has "marks"', "a&b&c&d&e&f&g&h&i"])
def test_an_id_with_marks_is_recognised(id: str) -> None:
    """In the archive it is escaped."""
    stanza = message(id, inside="hi")
    entry = Entry(1, "juliet@localhost", "a'b", 0, stanza.data)
    assert has_id(entry, id)
    assert keys_of_entry(entry) == keys_of_stanza(stanza)
    assert RecentMessages([entry]).pop_original(stanza, 0.0) is entry


@pytest.mark.parametrize(
    ("text", "number", "id"),
    [
        ("0", 0, None),
        ("7", 7, 7),
        ("007", 7, None),
        (str(HIGHEST), HIGHEST, HIGHEST),
        (str(HIGHEST + 1), HIGHEST, None),
        ("9" * 5000, HIGHEST, None),
        ("0" * 5000 + "1", 1, None),
        ("", None, None),
        ("-1", None, None),
        ("+1", None, None),
        (" 1", None, None),
        ("1_0", None, None),
        ("²", None, None),
        ("٣", None, None),
        ("1.0", None, None),
    ],
)
def test_numbers(text: str, number: int | None, id: int | None) -> None:
    assert (unsigned(text), log_id(text)) == (number, id)


def test_a_number_that_is_too_large_stands_for_the_largest() -> None:
    assert unsigned("4294967296", 0xFFFFFFFF) == 0xFFFFFFFF
    assert unsigned("12", 10) == 10
