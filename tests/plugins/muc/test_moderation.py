"""XEP-0425: what a moderator retracts is gone for everybody, and only moderators do so."""

from __future__ import annotations

from typing import Any

import pytest

from tests.core.test_delivery import restarted
from tests.harness import Client, Element, Harness, condition, xml
from tests.plugins.muc.people import ROOM, admin, body, join, say, tavern
from tests.plugins.test_files import BASE, status, uploaded
from tests.plugins.test_retraction import archive, never, retract
from xmppd.storage.api import Entry, Flags, Range
from xmppd.xep.retraction import PendingRetraction

RETRACT = "urn:xmpp:message-retract:1"
MODERATE = "urn:xmpp:message-moderate:1"
OLD_RETRACT = "urn:xmpp:message-retract:0"
OLD_MODERATE = "urn:xmpp:message-moderate:0"
FASTEN = "urn:xmpp:fasten:0"


def request(id: str, reason: str = "", more: str = f"<retract xmlns='{RETRACT}'/>") -> str:
    why = f"<reason>{reason}</reason>" if reason else ""
    return f"<moderate xmlns='{MODERATE}' id='{id}'>{more}{why}</moderate>"


def old_request(id: str, reason: str = "", more: str = f"<retract xmlns='{OLD_RETRACT}'/>") -> str:
    why = f"<reason>{reason}</reason>" if reason else ""
    moderate = f"<moderate xmlns='{OLD_MODERATE}'>{more}{why}</moderate>"
    return f"<apply-to xmlns='{FASTEN}' id='{id}'>{moderate}</apply-to>"


async def said(client: Client, reader: Client, text: str = "buy potions", more: str = "") -> str:
    """The stanza-id of what somebody says."""
    client.send(say(text, more=more))
    got = await reader.receive()
    assert body(got) == text
    number = got.find("{urn:xmpp:sid:0}stanza-id")
    assert number is not None
    return str(number.get("id"))


async def told(client: Client) -> list[Element]:
    return [each for each in await client.receive_all() if each.find(f"{{{RETRACT}}}retract") is not None]


@pytest.mark.parametrize("make", [request, old_request], ids=["present", "old"])
async def test_all_occupants_are_told_by_whom_and_why(server: Harness, make: Any) -> None:
    romeo, juliet, mallory = await tavern(server, "juliet", "mallory")
    id = await said(mallory, romeo)
    answer = await romeo.iq(make(id, "spam &amp; worse"), "set", ROOM)
    assert answer.get("type") == "result" and not len(answer)
    for client in (romeo, juliet, mallory):
        (message,) = await told(client)
        assert message.get("from") == ROOM and message.get("type") == "groupchat"
        assert "@localhost/" not in xml(message).replace(f"to='{client.jid}'", "").replace(f'to="{client.jid}"', "")
        present = message.find(f"{{{RETRACT}}}retract")
        old = message.find(f"{{{FASTEN}}}apply-to")
        assert present is not None and old is not None
        assert present.get("id") == old.get("id") == id
        assert present.findtext(f"{{{RETRACT}}}reason") == "spam & worse"
        assert old.findtext(f"{{{OLD_MODERATE}}}moderated/{{{OLD_MODERATE}}}reason") == "spam & worse"
        assert old.find(f"{{{OLD_MODERATE}}}moderated/{{{OLD_RETRACT}}}retract") is not None
        for moderated in (present.find(f"{{{MODERATE}}}moderated"), old.find(f"{{{OLD_MODERATE}}}moderated")):
            assert moderated is not None and moderated.get("by") == f"{ROOM}/romeo"
            occupant = moderated.find("{urn:xmpp:occupant-id:0}occupant-id")
            assert occupant is not None and len(str(occupant.get("id"))) == 64


async def test_the_archive_holds_a_tombstone_and_the_announcement(server: Harness) -> None:
    romeo, juliet = await tavern(server, "juliet")
    id = await said(juliet, romeo, more="<x xmlns='jabber:x:oob'><url>https://potions.example/</url></x>")
    await romeo.iq(request(id, "spam"), "set", ROOM)
    await server.quiet()
    await juliet.receive_all()
    first, last = await archive(juliet, ROOM)
    assert "potions" not in xml(first) and "juliet@localhost" not in xml(first)
    mark, old = first.find(f"{{{RETRACT}}}retracted"), first.find(f"{{{OLD_MODERATE}}}moderated")
    assert mark is not None and mark.get("stamp") and mark.get("id") == last.get("id")
    assert mark.findtext(f"{{{RETRACT}}}reason") == "spam"
    assert old is not None and old.find(f"{{{OLD_RETRACT}}}retracted") is not None
    assert first.get("from") == f"{ROOM}/juliet" and last.get("from") == ROOM
    assert first.find("{urn:xmpp:occupant-id:0}occupant-id") is not None  # section 4: of the author, too
    nurse = await server.login("nurse", presence=True)
    shown = await join(nurse, "nurse", inside="")
    assert "potions" not in "".join(map(xml, shown))
    assert any(each.get("from") == ROOM and each.find(f"{{{RETRACT}}}retract") is not None for each in shown)


async def test_only_moderators(server: Harness) -> None:
    romeo, juliet = await tavern(server, "juliet")
    id = await said(romeo, juliet)
    stranger = await server.login("nurse", presence=True)
    for client in (juliet, stranger):
        for make in (request, old_request):
            assert condition(await client.iq(make(id), "set", ROOM)) == "forbidden"
    assert condition(await juliet.iq(request("12345"), "set", ROOM)) == "forbidden"  # nor does she learn what is there
    await admin(romeo, "<item nick='juliet' role='moderator'/>")
    await juliet.receive_all()
    assert (await juliet.iq(request(id), "set", ROOM)).get("type") == "result"


@pytest.mark.parametrize(
    ("payload", "wanted"),
    [
        (request("12345"), "item-not-found"),
        (request("0"), "item-not-found"),
        (request("99999999999999999999999"), "item-not-found"),
        (request("m"), "item-not-found"),
        (request("٣"), "item-not-found"),
        (old_request("m"), "item-not-found"),
        (request(""), "bad-request"),
        (old_request(""), "bad-request"),
        (request("{id}", more=""), "bad-request"),
        (request("{id}", more=f"<retract xmlns='{OLD_RETRACT}'/>"), "bad-request"),
        (old_request("{id}", more=""), "bad-request"),
        (f"<apply-to xmlns='{FASTEN}' id='{{id}}'><like xmlns='urn:x'/></apply-to>", "service-unavailable"),
    ],
)
async def test_bad_requests(server: Harness, payload: str, wanted: str) -> None:
    romeo, juliet = await tavern(server, "juliet")
    id = await said(juliet, romeo)
    await juliet.receive_all()
    assert condition(await romeo.iq(payload.replace("{id}", id), "set", ROOM)) == wanted
    assert not await told(juliet)
    assert "potions" in "".join(map(xml, await archive(romeo, ROOM)))


async def test_what_is_no_message_of_an_occupant_stays(server: Harness) -> None:
    """Section 5: subjects, markers, what the room itself has said."""
    romeo, juliet = await tavern(server, "juliet")
    first = await said(juliet, romeo)
    romeo.send(f"<message type='groupchat' to='{ROOM}'><subject>Potions</subject></message>")
    subject = (await romeo.receive()).find("{urn:xmpp:sid:0}stanza-id")
    await romeo.iq(request(first), "set", ROOM)
    (message,) = await told(juliet)
    announced = message.find("{urn:xmpp:sid:0}stanza-id")
    for each in (subject, announced):
        assert each is not None
        assert condition(await romeo.iq(request(str(each.get("id"))), "set", ROOM)) == "item-not-found"


async def test_a_tombstone_stays_as_it_is(server: Harness) -> None:
    romeo, juliet = await tavern(server, "juliet")
    mine, moderated = await said(juliet, romeo), await said(juliet, romeo, "buy more")
    retract(juliet, mine, ROOM, "groupchat")
    await romeo.iq(request(moderated, "first"), "set", ROOM)
    await server.quiet()
    await juliet.receive_all()
    for id in (mine, moderated):
        assert (await romeo.iq(request(id, "second"), "set", ROOM)).get("type") == "result"
    await server.quiet()
    assert not await told(juliet)
    assert "second" not in "".join(map(xml, await archive(juliet, ROOM)))


async def test_a_reason_is_cut_off(server: Harness) -> None:
    romeo, juliet = await tavern(server, "juliet")
    id = await said(juliet, romeo)
    await romeo.iq(request(id, "x" * 5000), "set", ROOM)
    (message,) = await told(juliet)
    assert message.findtext(f"{{{RETRACT}}}retract/{{{RETRACT}}}reason") == "x" * 1000


async def test_requests_are_counted(server: Harness) -> None:
    _, juliet = await tavern(server, "juliet")
    answers = [condition(await juliet.iq(request("1"), "set", ROOM)) for _ in range(70)]
    assert answers[0] == "forbidden" and answers[-1] == "policy-violation"


@pytest.mark.server(plugins={"files": {"public_url": BASE}})
async def test_the_file_goes_with_the_message(server: Harness) -> None:
    """The author's, not one that another has uploaded."""
    romeo, juliet = await tavern(server, "juliet")
    mine, hers = await uploaded(server, romeo), await uploaded(server, juliet)
    id = await said(juliet, romeo, f"{BASE}{mine} {BASE}{hers}")
    await romeo.iq(request(id), "set", ROOM)
    await server.quiet()
    assert [await status(server, each) for each in (mine, hers)] == [200, 404]


async def test_a_kill_behind_the_announcement_leaves_nothing_to_read(server: Harness) -> None:
    romeo, juliet = await tavern(server, "juliet", muc__roomconfig_persistentroom="1")
    id = await said(juliet, romeo)
    server.server.hosts["conference.localhost"].plugins["muc"].retractions.find = never  # type: ignore[attr-defined]
    assert (await romeo.iq(request(id, "spam"), "set", ROOM)).get("type") == "result"
    second = await restarted(server)
    try:
        await second.quiet()
        muc = second.server.hosts["conference.localhost"].plugins["muc"]
        first, last = [each.body for each in await muc.rooms.archive.page(ROOM, Range(), 10)]  # type: ignore[attr-defined]
        assert b"potions" not in first and b"<retracted " in first and b"spam" in first
        assert b"<retract " in last
        assert not await second.storage.map("retracted", PendingRetraction).read_all(ROOM)
    finally:
        await second.stop()


@pytest.mark.in_memory
async def test_nothing_is_told_before_it_is_stored(server: Harness) -> None:
    romeo, juliet = await tavern(server, "juliet")
    id = await said(juliet, romeo)
    await juliet.receive_all()
    server.backend.hold()
    romeo.send(f"<iq type='set' id='set' to='{ROOM}'>{request(id)}</iq>")
    await server.quiet()
    assert not await romeo.receive_all() and not await told(juliet)
    server.backend.release()
    await server.quiet()
    assert len(await told(juliet)) == 1


@pytest.mark.in_memory
async def test_an_archive_that_cannot_be_read(server: Harness) -> None:
    romeo, juliet = await tavern(server, "juliet")
    id = await said(juliet, romeo)
    await juliet.receive_all()
    server.backend.unreachable = True
    answer = await romeo.iq(request(id), "set", ROOM)
    assert answer.get("type") == "error"
    server.backend.unreachable = False
    assert not await told(juliet)
    assert "potions" in "".join(map(xml, await archive(romeo, ROOM)))


async def test_only_rooms_with_an_archive_announce_it(server: Harness) -> None:
    info = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
    for archiving in ("1", "0"):
        room = f"r{archiving}@conference.localhost"
        romeo = await server.login("romeo", f"r{archiving}", presence=True)
        await join(romeo, "romeo", room)
        form = f"<field var='muc#roomconfig_enablearchiving'><value>{archiving}</value></field>"
        kind = "<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>"
        query = f"<x xmlns='jabber:x:data' type='submit'>{kind}{form}</x>"
        await romeo.iq(f"<query xmlns='http://jabber.org/protocol/muc#owner'>{query}</query>", "set", room)
        features = xml(await romeo.iq(info, "get", room))
        assert (MODERATE in features and OLD_MODERATE in features) is (archiving == "1")


async def test_a_message_that_does_not_say_who_wrote_it(server: Harness) -> None:
    """As archives have it that were moved here."""
    romeo, juliet = await tavern(server, "juliet")
    muc = server.server.hosts["conference.localhost"].plugins["muc"]
    text = f"<message from='{ROOM}/gone' type='groupchat' id='old'><body>old potions</body></message>"
    entry = Entry(1_700_000_000_000_000, ROOM, "gone", int(Flags.GROUP), text.encode())
    await server.storage.commit([muc.rooms.archive.append(ROOM, entry)])  # type: ignore[attr-defined]
    assert (await romeo.iq(request(str(entry.id)), "set", ROOM)).get("type") == "result"
    await server.quiet()
    assert len(await told(juliet)) == 1
    assert "potions" not in "".join(map(xml, await archive(juliet, ROOM)))
