"""XEP-0431: messages are found by their words, over real stores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from plugins.search import FOUND
from plugins.search.index import Index, text_of, words
from tests.harness import Client, Element, Harness, condition
from tests.harness.clock import FakeClock
from tests.plugins.stores import KINDS, store_of
from xmppd.contracts.accounts import ACCOUNTS_REMOVED
from xmppd.contracts.search import FULLTEXT_FIELD, FULLTEXT_NS
from xmppd.storage.api import Entry, Range

MAM = "urn:xmpp:mam:2"
MESSAGE = "{jabber:client}message"
BODY = "{jabber:client}body"


@pytest.fixture(params=KINDS)
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Harness]:
    """With the indexes in files, whatever the store is."""
    clock = FakeClock()
    options: dict[str, Any] = {"search": {"folder": str(tmp_path / "search")}}
    harness = Harness(plugins=options, rooms=options, store=store_of(request, tmp_path, clock), clock=clock)
    await harness.start()
    await harness.register("juliet")
    yield harness
    await harness.stop()


async def search(client: Client, text: str, rsm: str = "", to: str | None = None, **fields: str) -> list[str]:
    """The bodies of what is found."""
    given = {"FORM_TYPE": MAM, FULLTEXT_FIELD: text, **fields}
    form = "".join(f"<field var='{name}'><value>{value}</value></field>" for name, value in given.items())
    query = f"<query xmlns='{MAM}'><x xmlns='jabber:x:data' type='submit'>{form}</x>{rsm}</query>"
    answer = await client.iq(query, "set", to=to)
    assert answer.get("type") == "result", condition(answer)
    client.last_fin = answer[0]  # type: ignore[attr-defined]
    return [str(each.findtext(BODY)) for each in await client.receive_all() for each in found(each)]


def found(element: Element) -> list[Element]:
    return list(element.iter(MESSAGE))[1:] if element.tag == MESSAGE else []


def say(client: Client, body: str, to: str = "juliet@localhost", inside: str = "", id: str = "m") -> None:
    client.send(f"<message to='{to}' type='chat' id='{id}'><body>{body}</body>{inside}</message>")


async def test_words_are_found(server: Harness) -> None:
    romeo = await server.login("romeo")
    for body in ("But, soft! what light", "through yonder window breaks?", "It is the East", "Café &amp; Lichtspiel"):
        say(romeo, body)
    await server.quiet()
    assert await search(romeo, "light") == ["But, soft! what light"]
    assert await search(romeo, "LIGHT what") == ["But, soft! what light"], "all words, in any order and case"
    assert await search(romeo, "light east") == []
    assert await search(romeo, "win") == ["through yonder window breaks?"], "a word's beginning"
    assert await search(romeo, "cafe") == ["Café & Lichtspiel"], "accents do not matter"
    assert await search(romeo, "?!") == []
    say(romeo, "and Juliet is the sun")
    await server.quiet()
    assert await search(romeo, "juliet") == ["and Juliet is the sun"], "also what came after the first search"
    juliet = await server.login("juliet")
    assert await search(juliet, "sun") == ["and Juliet is the sun"]
    nurse = await server.login("nurse")
    assert await search(nurse, "sun") == []


async def test_scripts_without_spaces(server: Harness) -> None:
    romeo = await server.login("romeo")
    say(romeo, "但是,輕聲!那邊窗子裏亮起來的是什麼光")
    await server.quiet()
    assert len(await search(romeo, "窗子")) == 1
    assert await search(romeo, "子窗") == [], "the letters in their order"


async def test_with_the_other_fields(server: Harness) -> None:
    await server.register("rosaline")
    romeo = await server.login("romeo")
    say(romeo, "a rose", "juliet@localhost")
    say(romeo, "a rose for Rosaline", "rosaline@localhost")
    await server.quiet()
    both = await search(romeo, "rose")
    assert both == ["a rose", "a rose for Rosaline"]
    assert await search(romeo, "rose", **{"with": "rosaline@localhost"}) == ["a rose for Rosaline"]
    assert await search(romeo, "rose", start="2999-01-01T00:00:00Z") == []


async def test_pages(server: Harness) -> None:
    romeo = await server.login("romeo")
    for number in range(7):
        say(romeo, f"rose {number}" if number % 2 == 0 else f"thorn {number}")
    await server.quiet()
    rsm = "<set xmlns='http://jabber.org/protocol/rsm'><max>3</max>{}</set>"
    assert await search(romeo, "rose", rsm.format("")) == ["rose 0", "rose 2", "rose 4"]
    last = romeo.last_fin.findtext(".//{*}last")  # type: ignore[attr-defined]
    assert await search(romeo, "rose", rsm.format(f"<after>{last}</after>")) == ["rose 6"]
    assert romeo.last_fin.get("complete") == "true"  # type: ignore[attr-defined]
    assert await search(romeo, "rose", rsm.format("<before/>")) == ["rose 2", "rose 4", "rose 6"]


async def test_what_was_taken_back_is_not_found(server: Harness) -> None:
    romeo = await server.login("romeo")
    say(romeo, "a secret", id="s1")
    await server.quiet()
    assert await search(romeo, "secret") == ["a secret"]
    romeo.send(
        "<message to='juliet@localhost' type='chat' id='r'><retract xmlns='urn:xmpp:message-retract:1' id='s1'/>"
        "<store xmlns='urn:xmpp:hints'/></message>"
    )
    await server.quiet()
    assert await search(romeo, "secret") == []


async def test_the_text_beside_what_is_encrypted_is_not_found(server: Harness) -> None:
    romeo = await server.login("romeo")
    say(romeo, "This message is encrypted", inside="<encryption xmlns='urn:xmpp:eme:0' namespace='urn:xmpp:omemo:2'/>")
    await server.quiet()
    assert await search(romeo, "encrypted") == []


async def test_a_room(server: Harness) -> None:
    romeo, stranger = await server.login("romeo"), await server.login("tybalt")
    room = "garden@conference.localhost"
    romeo.send(f"<presence to='{room}/Romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
    owner = "http://jabber.org/protocol/muc#owner"
    await romeo.receive_all()
    form = (
        f"<query xmlns='{owner}'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>"
        "<value>http://jabber.org/protocol/muc#roomconfig</value></field>"
        "<field var='muc#roomconfig_membersonly'><value>1</value></field></x></query>"
    )
    assert (await romeo.iq(form, "set", to=room)).get("type") == "result"
    romeo.send(f"<message to='{room}' type='groupchat' id='1'><body>what light</body></message>")
    romeo.send(f"<message to='{room}' type='groupchat' id='2'><body>what darkness</body></message>")
    await romeo.receive_all()
    assert await search(romeo, "light", to=room) == ["what light"]
    info = await romeo.iq("<query xmlns='http://jabber.org/protocol/disco#info'/>", to=room)
    assert FULLTEXT_NS in [feature.get("var") for feature in info[0]]
    form = (
        f"<field var='FORM_TYPE'><value>{MAM}</value></field><field var='{FULLTEXT_FIELD}'><value>light</value></field>"
    )
    query = f"<query xmlns='{MAM}'><x xmlns='jabber:x:data' type='submit'>{form}</x></query>"
    assert condition(await stranger.iq(query, "set", to=room)) == "forbidden"


async def test_it_is_announced_and_bounded(server: Harness) -> None:
    romeo = await server.login("romeo")
    form = await romeo.iq(f"<query xmlns='{MAM}'/>")
    assert FULLTEXT_FIELD in [field.get("var") for field in form.iter("{jabber:x:data}field")]
    info = await romeo.iq("<query xmlns='http://jabber.org/protocol/disco#info'/>", to="romeo@localhost")
    assert FULLTEXT_NS in [feature.get("var") for feature in info[0]]
    long = f"<field var='{FULLTEXT_FIELD}'><value>{'x' * 1001}</value></field>"
    fields = f"<field var='FORM_TYPE'><value>{MAM}</value></field>{long}"
    query = f"<query xmlns='{MAM}'><x xmlns='jabber:x:data' type='submit'>{fields}</x></query>"
    assert condition(await romeo.iq(query, "set")) == "bad-request"


async def test_an_index_is_no_treasure(server: Harness, tmp_path: Path) -> None:
    """Damaged, deleted, or of an archive that is gone: it is made anew, or goes."""
    romeo = await server.login("romeo")
    say(romeo, "a rose")
    await server.quiet()
    assert await search(romeo, "rose") == ["a rose"]
    plugin = server.host.plugins["search"]
    (path,) = (tmp_path / "search" / "localhost").glob("*.db")
    assert path.stat().st_mode & 0o077 == 0
    await plugin.stop()
    path.write_bytes(b"nonsense" * 1000)
    assert await search(romeo, "rose") == ["a rose"]
    await plugin.sweep()
    assert path.exists()
    log = server.storage.log("archive")
    entries = await log.page("romeo@localhost", Range(), 10)
    await server.storage.commit([log.delete("romeo@localhost", [each.id for each in entries])])
    await plugin.sweep()
    assert not path.exists()
    assert await search(romeo, "rose") == []
    assert await server.host.tell_and_collect_errors(ACCOUNTS_REMOVED, frozenset(("romeo@localhost",))) == []
    assert not path.exists()


async def test_a_long_archive(tmp_path: Path) -> None:
    """Of more than one query finds the first ones, or the last ones."""
    index = Index(tmp_path / "x.db", "romeo@localhost")
    body = b"<message from='a@b' type='chat'><body>rose</body></message>"
    index.add([Entry(id, "a@b", "", 0, body) for id in range(1, FOUND + 101)], FOUND + 100)
    assert index.find(["rose"], Range(), FOUND, False) == tuple(range(1, FOUND + 1))
    assert index.find(["rose"], Range(), FOUND, True) == tuple(range(101, FOUND + 101))
    assert index.find(["rose"], Range(after=FOUND + 98), FOUND, False) == (FOUND + 99, FOUND + 100)
    assert index.find(["rose"], Range(peer="b@a"), FOUND, False) == ()
    index.close()
    again = Index(tmp_path / "x.db", "romeo@localhost")
    assert (again.until, again.count) == (FOUND + 100, FOUND + 100)
    again.close()
    assert Index.owner_of(tmp_path / "x.db") == "romeo@localhost"


def test_words() -> None:
    assert words('  don\'t "quote" me* ') == ["don t", "quote", "me"]
    assert words("窗子 x") == ["窗 子", "x"]
    assert words("(-)") == []
    assert len(words("a " * 100)) == 16


def test_what_is_indexed() -> None:
    def made(inside: str) -> Entry:
        return Entry(1, "a@b", "", 0, f"<message from='a@b'>{inside}</message>".encode())

    assert (
        text_of(made("<subject>one</subject><body>two</body><x xmlns='jabber:x:oob'><url>three</url></x>"))
        == "one\ntwo"
    )
    assert text_of(made("<x xmlns='urn:y'><body>no</body></x>")) == ""
    assert text_of(made("<body>no</body><encrypted xmlns='urn:xmpp:omemo:2'/>")) == ""
