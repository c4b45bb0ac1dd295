"""XEP-0486 and XEP-0054 for rooms: owners set a picture, whoever may see the room sees it."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1

import pytest

from tests.core.test_delivery import restarted
from tests.harness import Client, Element, Harness, condition, xml
from tests.plugins.muc.people import ROOM, admin, codes, configure, join, tavern

NS = "vcard-temp"
UPDATE = "{vcard-temp:x:update}"
GET = f"<vCard xmlns='{NS}'/>"
INFO = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
DATA = "{jabber:x:data}"
PNG = b"\x89PNG a picture"


def photo(picture: bytes = PNG, type: str = "image/png") -> str:
    return f"<PHOTO><TYPE>{type}</TYPE><BINVAL>{b64encode(picture).decode()}</BINVAL></PHOTO>"


def card(inside: str) -> str:
    return f"<vCard xmlns='{NS}'>{inside}</vCard>"


def hash_of(picture: bytes = PNG) -> str:
    return sha1(picture, usedforsecurity=False).hexdigest()


async def put(client: Client, inside: str) -> Element:
    return await client.iq(card(inside), "set", ROOM)


async def shown_hashes(client: Client) -> list[str]:
    """In the room's form."""
    info = await client.iq(INFO, "get", ROOM)
    return [
        value.text or ""
        for field in info.iter(f"{DATA}field")
        if field.get("var") == "muc#roominfo_avatarhash"
        for value in field.iter(f"{DATA}value")
    ]


def presence_hashes(elements: list[Element]) -> list[str]:
    """In presence of the room itself."""
    return [each.findtext(f"{UPDATE}x/{UPDATE}photo") or "" for each in elements if each.get("from") == ROOM
            and each.tag == "{jabber:client}presence"]  # fmt: skip


async def test_an_avatar_is_set_seen_and_taken_away(server: Harness) -> None:
    romeo, juliet = await tavern(server, "juliet")
    assert await shown_hashes(juliet) == []
    assert (await put(romeo, photo())).get("type") == "result"
    for client in (romeo, juliet):
        got = await client.receive_all()
        assert codes(got[0]) == ["104"] and got[0].get("from") == ROOM
        assert presence_hashes(got) == [hash_of()]
    assert await shown_hashes(juliet) == [hash_of()]
    answer = await juliet.iq(GET, "get", ROOM)
    assert b64encode(PNG).decode() in xml(answer) and answer.get("from") == ROOM
    nurse = await server.login("nurse", presence=True)
    assert presence_hashes(await join(nurse, "nurse")) == [hash_of()]
    await juliet.receive_all()
    assert (await put(romeo, "")).get("type") == "result"
    got = await juliet.receive_all()
    assert codes(got[0]) == ["104"] and presence_hashes(got) == [""]
    assert await shown_hashes(juliet) == []
    assert len((await juliet.iq(GET, "get", ROOM))[0]) == 0
    other = await server.login("mallory", presence=True)
    assert presence_hashes(await join(other, "mallory")) == []


async def test_several_formats(server: Harness) -> None:
    (romeo,) = await tavern(server)
    svg = b"<svg/>"
    await put(romeo, photo(svg, "image/svg+xml") + photo())
    assert await shown_hashes(romeo) == [hash_of(svg), hash_of()]
    assert presence_hashes(await romeo.receive_all()) == [hash_of(svg)]


async def test_a_card_with_the_same_picture_is_no_news(server: Harness) -> None:
    romeo, juliet = await tavern(server, "juliet")
    await put(romeo, photo())
    await juliet.receive_all()
    await put(romeo, "<DESC>a tavern</DESC>" + photo())
    assert not await juliet.receive_all()
    assert "a tavern" in xml(await juliet.iq(GET, "get", ROOM))


async def test_only_owners_set_it(server: Harness) -> None:
    romeo, juliet = await tavern(server, "juliet")
    stranger = await server.login("nurse", presence=True)
    await admin(romeo, "<item jid='juliet@localhost' affiliation='admin'/>")
    for client in (juliet, stranger):
        assert condition(await put(client, photo())) == "forbidden"
    assert await shown_hashes(romeo) == []


async def test_who_may_see_it(server: Harness) -> None:
    """Whoever may see the room; of a private one strangers learn nothing."""
    romeo, juliet = await tavern(server, "juliet")
    await put(romeo, photo())
    stranger = await server.login("nurse", presence=True)
    assert hash_of() in await shown_hashes(stranger)
    assert (await stranger.iq(GET, "get", ROOM)).get("type") == "result"
    await admin(romeo, "<item jid='nurse@localhost' affiliation='outcast'/>")
    assert condition(await stranger.iq(GET, "get", ROOM)) == "forbidden"
    await configure(romeo, muc__roomconfig_publicroom="0")
    other = await server.login("mallory", presence=True)
    assert condition(await other.iq(GET, "get", ROOM)) == "forbidden" and await shown_hashes(other) == []
    assert (await juliet.iq(GET, "get", ROOM)).get("type") == "result"
    assert condition(await other.iq(GET, "get", "none@conference.localhost")) == "item-not-found"


@pytest.mark.parametrize(
    ("inside", "wanted"),
    [
        ("<PHOTO><TYPE>image/png</TYPE><BINVAL>no base64!</BINVAL></PHOTO>", "bad-request"),
        ("<PHOTO><TYPE>image/png</TYPE><BINVAL>abc</BINVAL></PHOTO>", "bad-request"),
        (photo(type="text/html"), "bad-request"),
        (f"<PHOTO><BINVAL>{b64encode(PNG).decode()}</BINVAL></PHOTO>", "bad-request"),
        (photo() * 6, "bad-request"),
        (photo(b"x" * (100 << 10)), "not-acceptable"),
        (f"<DESC>{'x' * (129 << 10)}</DESC>", "not-acceptable"),
    ],
)
async def test_bad_cards(server: Harness, inside: str, wanted: str) -> None:
    romeo, juliet = await tavern(server, "juliet")
    await put(romeo, photo(b"before"))
    await juliet.receive_all()
    assert condition(await put(romeo, inside)) == wanted
    assert not await juliet.receive_all()
    assert await shown_hashes(juliet) == [hash_of(b"before")]


async def test_a_picture_without_content_is_none(server: Harness) -> None:
    (romeo,) = await tavern(server)
    for inside in ("<PHOTO/>", "<PHOTO><BINVAL/></PHOTO>", "<PHOTO><EXTVAL>https://example.org/</EXTVAL></PHOTO>"):
        assert (await put(romeo, inside)).get("type") == "result"
        assert await shown_hashes(romeo) == []


async def test_an_avatar_outlives_a_restart_and_ends_with_the_room(server: Harness) -> None:
    romeo, _ = await tavern(server, "juliet", muc__roomconfig_persistentroom="1")
    await put(romeo, photo())
    second = await restarted(server)
    try:
        juliet = await second.login("juliet", "balcony", presence=True)
        assert presence_hashes(await join(juliet, "juliet")) == [hash_of()]
        assert b64encode(PNG).decode() in xml(await juliet.iq(GET, "get", ROOM))
        romeo = await second.login("romeo", "balcony", presence=True)
        destroy = "<query xmlns='http://jabber.org/protocol/muc#owner'><destroy/></query>"
        assert (await romeo.iq(destroy, "set", ROOM)).get("type") == "result"
        muc = second.server.hosts["conference.localhost"].plugins["muc"]
        assert await muc.rooms.cards.read(ROOM, "") is None  # type: ignore[attr-defined]
    finally:
        await second.stop()


@pytest.mark.in_memory
async def test_nothing_is_told_before_it_is_stored(server: Harness) -> None:
    romeo, juliet = await tavern(server, "juliet")
    server.backend.hold()
    romeo.send(f"<iq type='set' id='set' to='{ROOM}'>{card(photo())}</iq>")
    await server.quiet()
    assert not await romeo.receive_all() and not await juliet.receive_all()
    assert await shown_hashes(juliet) == []
    server.backend.release()
    await server.quiet()
    assert presence_hashes(await juliet.receive_all()) == [hash_of()]
