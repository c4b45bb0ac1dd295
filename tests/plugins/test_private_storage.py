"""XEP-0049."""

from __future__ import annotations

import pytest

from tests.harness import Harness, condition

BOOKMARKS = "<storage xmlns='storage:bookmarks'/>"


def query(inside: str) -> str:
    return f"<query xmlns='jabber:iq:private'>{inside}</query>"


async def test_what_was_stored_comes_back(server: Harness) -> None:
    romeo = await server.login("romeo")
    empty = await romeo.iq(query(BOOKMARKS))
    assert empty[0][0].tag == "{storage:bookmarks}storage" and len(empty[0][0]) == 0
    stored = "<storage xmlns='storage:bookmarks'><conference jid='a@b' name='&lt;x&gt;'/></storage>"
    assert (await romeo.iq(query(stored), "set")).get("type") == "result"
    other = await server.login("romeo")
    found = (await other.iq(query(BOOKMARKS)))[0][0]
    assert found[0].tag == "{storage:bookmarks}conference" and found[0].get("name") == "<x>"


async def test_it_is_private(server: Harness) -> None:
    romeo, juliet = await server.login("romeo"), await server.login("juliet")
    await romeo.iq(query("<a xmlns='urn:x'>secret</a>"), "set")
    assert (await juliet.iq(query("<a xmlns='urn:x'/>")))[0][0].text is None
    for type in ("get", "set"):
        answer = await juliet.iq(query("<a xmlns='urn:x'/>"), type, to="romeo@localhost")
        assert condition(answer) == "service-unavailable"


@pytest.mark.parametrize(
    ("inside", "wanted"),
    [
        ("", "bad-request"),
        ("<a xmlns='urn:x'/><b xmlns='urn:x'/>", "not-acceptable"),
        ("<query xmlns='jabber:iq:roster'/>", "not-acceptable"),
        ("<vCard xmlns='vcard-temp'/>", "not-acceptable"),
        ("<x xmlns='http://jabber.org/protocol/muc'/>", "not-acceptable"),
        ("<a xmlns=''/>", "not-acceptable"),
        ("<a/>", "not-acceptable"),
    ],
)
async def test_what_is_refused(server: Harness, inside: str, wanted: str) -> None:
    romeo = await server.login("romeo")
    for type in ("get", "set"):
        assert condition(await romeo.iq(query(inside), type)) == wanted


@pytest.mark.server(plugins={"private_storage": {"size": "1 KiB", "elements": 2}})
async def test_limits(server: Harness) -> None:
    romeo = await server.login("romeo")
    assert condition(await romeo.iq(query(f"<a xmlns='urn:x'>{'x' * 2000}</a>"), "set")) == "not-acceptable"
    for name in "ab":
        assert (await romeo.iq(query(f"<{name} xmlns='urn:x'/>"), "set")).get("type") == "result"
    assert condition(await romeo.iq(query("<c xmlns='urn:x'/>"), "set")) == "resource-constraint"
    assert (await romeo.iq(query("<a xmlns='urn:x'>new</a>"), "set")).get("type") == "result"


async def test_a_store_that_is_away(server: Harness) -> None:
    romeo = await server.login("romeo")
    server.storage.available = False
    answer = await romeo.iq(query("<a xmlns='urn:x'>1</a>"), "set")
    server.storage.available = True
    assert condition(answer) == "resource-constraint"
    assert (await romeo.iq(query("<a xmlns='urn:x'/>")))[0][0].text is None
