"""XEP-0359 section 5 and XEP-0203 section 5 (R03, R05): what only the server may say."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.harness import Client, Element, Harness
from tests.harness.peer import Peer
from tests.plugins.muc.people import ROOM, tavern
from xmppd.stanza import Stanza

SID = "urn:xmpp:sid:0"
DELAY = "urn:xmpp:delay"
MAM = "urn:xmpp:mam:2"

OWN = [
    "juliet@localhost",
    "JULIET@localhost",
    "juliet@LocalHost",
    "juliet@localhost.",
    "ｊｕｌｉｅｔ@localhost",
    "juliet@localhost/balcony",
    "juliet&#64;localhost",
]
HOSTED = [
    "localhost",
    "LOCALHOST",
    "localhost/x",
    "mallory@localhost",
    "nobody@localhost",
    "conference.localhost",
    "room@conference.localhost",
    "room@conference.localhost/nick",
]
OTHERS = ["juliet.localhost", "juliet@example.org", "room@conference.example.org", "@@", ""]


def stanza_id(by: str, id: str = "forged") -> str:
    return f"<stanza-id xmlns='{SID}' by='{by}' id='{id}'/>"


def ids(element: Element) -> list[tuple[str | None, str | None]]:
    return [(each.get("by"), each.get("id")) for each in element.iter(f"{{{SID}}}stanza-id")]


def delays(element: Element) -> list[str | None]:
    return [each.get("from") for each in element.findall(f"{{{DELAY}}}delay")]


async def pair(server: Harness) -> tuple[Client, Client]:
    return await server.login("romeo", "orchard", True), await server.login("juliet", "balcony", True)


@pytest.mark.parametrize("body", ["<body>hi</body>", "<composing xmlns='http://jabber.org/protocol/chatstates'/>"])
async def test_own_ids_are_taken_out_in_every_spelling(server: Harness, body: str) -> None:
    romeo, juliet = await pair(server)
    forged = "".join(stanza_id(by) for by in [*OWN, *OWN])
    romeo.send(f"<message to='juliet@localhost' type='chat'>{forged}{body}{forged}</message>")
    found = ids(await juliet.receive())
    assert "forged" not in [id for _, id in found]
    assert [by for by, _ in found] == (["juliet@localhost"] if "<body>" in body else [])


async def test_prefixes_hide_nothing(server: Harness) -> None:
    """T18: the namespace counts, however it is written; what only looks like it stays."""
    romeo, juliet = await pair(server)
    forged = f"<s:stanza-id xmlns:s='{SID}' by='juliet@localhost' id='forged'/>"
    other = "<stanza-id xmlns='urn:other' by='juliet@localhost' id='other'/>"
    inner = f"<x xmlns='urn:x'>{stanza_id('juliet@localhost', 'inner')}</x>"
    romeo.send(f"<message to='juliet@localhost' type='chat'>{forged}{other}{inner}<body>hi</body></message>")
    got = await juliet.receive()
    assert [child.tag for child in got][:3] == ["{urn:other}stanza-id", "{urn:x}x", "{jabber:client}body"]
    assert ids(got)[0][1] == "inner"
    assert len(got.findall(f"{{{SID}}}stanza-id")) == 1


@pytest.mark.parametrize("by", HOSTED)
async def test_ids_in_the_name_of_anything_hosted_here_are_taken_out(server: Harness, by: str) -> None:
    """The host, accounts, services and rooms; live and in both archives."""
    romeo, juliet = await pair(server)
    romeo.send(f"<message to='juliet@localhost' type='chat'><body>hi</body>{stanza_id(by)}</message>")
    assert ids(await juliet.receive())[0][0] == "juliet@localhost"
    for client in (romeo, juliet):
        await client.iq(f"<query xmlns='{MAM}'/>", "set")
        (result,) = await client.receive_all()
        assert "forged" not in [id for _, id in ids(result)]


@pytest.mark.parametrize("by", HOSTED)
async def test_in_a_room_too(server: Harness, by: str) -> None:
    """Also the room's own archive, and what it passes on privately."""
    romeo, juliet = await tavern(server, "juliet")
    romeo.send(f"<message to='{ROOM}' type='groupchat'><body>hi</body>{stanza_id(by)}{stanza_id(ROOM)}</message>")
    for client in (romeo, juliet):
        assert [named for named, _ in ids(await client.receive())] == [ROOM]
    romeo.send(f"<message to='{ROOM}/juliet' type='chat'><body>hi</body>{stanza_id(by)}</message>")
    assert "forged" not in [id for _, id in ids(await juliet.receive())]
    await juliet.iq(f"<query xmlns='{MAM}'/>", "set", to=ROOM)
    (result,) = [each for each in await juliet.receive_all() if each.find(f"{{{MAM}}}result") is not None]
    assert "forged" not in [id for _, id in ids(result)]


@pytest.mark.parametrize("by", OTHERS)
async def test_ids_of_others_stay(server: Harness, by: str) -> None:
    romeo, juliet = await pair(server)
    romeo.send(f"<message to='juliet@localhost' type='chat'><body>hi</body>{stanza_id(by, 'x')}</message>")
    assert ids(await juliet.receive())[0] == (by, "x")


async def test_the_senders_archive_holds_no_forged_id_of_the_sender(server: Harness) -> None:
    romeo, juliet = await pair(server)
    forged = stanza_id("romeo@localhost/x") + stanza_id("juliet@localhost") + stanza_id("other@example.org", "kept")
    romeo.send(f"<message to='juliet@localhost' type='chat'><body>hi</body>{forged}</message>")
    live = ids(await juliet.receive())
    assert [pair[0] for pair in live] == ["other@example.org", "juliet@localhost"]
    for client, stays in ((romeo, ["other@example.org"]), (juliet, ["other@example.org"])):
        await client.iq(f"<query xmlns='{MAM}'/>", "set")
        (result,) = await client.receive_all()
        assert [by for by, _ in ids(result)] == stays


async def test_the_rest_of_the_message_is_as_it_was(server: Harness) -> None:
    romeo, juliet = await pair(server)
    rest = "<body>a &lt; b &amp; ü</body><x xmlns='urn:x'><y xmlns='' z='&apos;'/></x>"
    rest += "<origin-id xmlns='urn:xmpp:sid:0' id='o'/>"
    romeo.send(f"<message to='juliet@localhost' type='chat'>{stanza_id('juliet@localhost')}{rest}</message>")
    got = await juliet.receive()
    assert [child.tag for child in got][:3] == ["{jabber:client}body", "{urn:x}x", f"{{{SID}}}origin-id"]
    assert got[0].text == "a < b & ü"
    assert (got[1][0].tag, got[1][0].get("z")) == ("y", "'")


@pytest.mark.parametrize(
    "sender", ["localhost", "LOCALHOST", "juliet@localhost", "Juliet@localhost", "romeo@localhost"]
)
async def test_delays_in_the_servers_name_are_taken_out(server: Harness, sender: str) -> None:
    romeo, juliet = await pair(server)
    delay = f"<delay xmlns='{DELAY}' from='{sender}' stamp='2002-09-10T23:08:25Z'/>"
    romeo.send(f"<message to='juliet@localhost' type='chat'>{delay}<body>hi</body>{delay}</message>")
    assert delays(await juliet.receive()) == []


@pytest.mark.parametrize("sender", ["from='romeo@localhost/orchard'", "from='example.org'", "", "from='@'"])
async def test_delays_of_others_stay(server: Harness, sender: str) -> None:
    romeo, juliet = await pair(server)
    delay = f"<delay xmlns='{DELAY}' {sender} stamp='2002-09-10T23:08:25Z'/>"
    romeo.send(f"<message to='juliet@localhost' type='chat'>{delay}<body>hi</body></message>")
    assert len(delays(await juliet.receive())) == 1


async def test_it_is_announced(server: Harness) -> None:
    romeo = await server.login("romeo")
    for to in ("localhost", "romeo@localhost"):
        answer = await romeo.iq("<query xmlns='http://jabber.org/protocol/disco#info'/>", to=to)
        assert SID in [each.get("var") for each in answer[0]]


async def test_in_a_room_an_id_in_the_name_of_an_occupant_is_taken_out(server: Harness) -> None:
    people = [await server.login(name, "pc", True) for name in ("romeo", "juliet", "nurse")]
    for each in people:
        each.send(
            f"<presence to='r@conference.localhost/{each.bare}'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
        )
        await server.quiet()
        if each is people[0]:
            unlock = (
                "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>"
            )
            await each.iq(unlock, "set", to="r@conference.localhost")
    for each in people:
        await each.receive_all()
    romeo, juliet, nurse = people
    said = f"<body>hi</body>{stanza_id('JULIET@localhost/x')}{stanza_id('else@example.org')}"
    romeo.send(f"<message to='r@conference.localhost' type='groupchat'>{said}</message>")
    for client in (juliet, nurse):
        (got,) = await client.receive_all()
        assert [by for by, _ in ids(got)] == ["else@example.org", "r@conference.localhost"]


async def test_copies_of_a_room_elsewhere_are_read_once(server: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sends one to each occupant here."""
    people = [await server.login(name, presence=True) for name in ("romeo", "juliet", "nurse")]
    peer = Peer(server, "rooms.example")
    reads: list[Stanza] = []
    tree: Callable[[Stanza], Element] = Stanza.xml.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(Stanza, "xml", property(lambda stanza: (reads.append(stanza), tree(stanza))[1]))
    room = "hall@rooms.example"
    for body in ("one", "two"):
        for each in people:
            peer.send(
                f"<message from='{room}/eve' to='{each.jid}' type='groupchat' id='m'><body>{body}</body>"
                f"{stanza_id(room, 'theirs')}</message>"
            )
    for each in people:
        assert [ids(message) for message in await each.receive_all()] == [[(room, "theirs")]] * 2
    assert len([each for each in reads if b"theirs" in each.inside]) == 2
