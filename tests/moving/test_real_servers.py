"""People move in from a real Prosody and a real ejabberd, sign in with their old passwords, and find what they had."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from tests.moving.lives import DEVICES, NODE, PHOTO, ROOM, SERVICE, publish
from tests.moving.old_servers import Ejabberd
from tests.process.client import SignInFailed, Wire, body
from tests.process.server import ServerProcess, invoke

pytestmark = pytest.mark.interop
MAM = "urn:xmpp:mam:2"
WHOLE = ("prosody_files", "prosody_sqlite", "ejabberd_dump")
"""What these hold is all; the export of ejabberd 23.01 lacks nodes, archives and rooms."""


@pytest.fixture(params=[*WHOLE, "ejabberd_export"])
def source(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


def import_(source: Path, folder: Path, *options: str) -> Any:
    """The report."""
    outcome = invoke("import", str(source), "--config", str(folder / "xmppd.yaml"), "--json", *options)
    assert outcome.status in (0, 1), outcome.text
    assert "Traceback" not in outcome.text
    return json.loads(outcome.out)


@pytest.fixture
def moved(source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """They have moved in: the report."""
    monkeypatch.chdir(folder)
    return import_(source, folder)


async def items(wire: Wire, node: str, to: str = "") -> list[Any]:
    answer = await wire.iq(f"<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='{node}'/></pubsub>", to=to)
    return list(answer.iter("{http://jabber.org/protocol/pubsub}item"))


async def archive(wire: Wire, to: str = "") -> list[tuple[str, str]]:
    """Sender and text of all messages."""
    address = f" to='{to}'" if to else ""
    wire.send(f"<iq type='set' id='mam'{address}><query xmlns='{MAM}'/></iq>")
    found = []
    while (stanza := await wire.receive()).get("id") != "mam":
        message = stanza.find(f"{{{MAM}}}result/{{*}}forwarded/{{*}}message")
        if message is not None:
            found.append((str(message.get("from")), body(message)))
    return found


def test_everything_is_carried(moved: Any) -> None:
    assert moved["not_carried"] == []
    assert moved["problems"] == []
    assert moved["hosts"]["localhost"]["accounts"] == {"added": 5, "there_already": 0}
    assert 5 in [each["number"] for each in moved["notes"]], "all have keys for SCRAM-SHA-1 only"


async def test_people_keep_their_passwords(moved: Any, server: ServerProcess) -> None:
    await server.start()
    for name in ("romeo", "juliet", "nurse", "tybalt", "françois"):
        for mechanism in ("", "PLAIN"):
            async with await Wire.connect(server.port()) as wire:
                assert "SCRAM-SHA-256" not in wire.mechanisms, "they would be locked out"
                await wire.sign_in(name, "pencil", mechanism)
                await wire.bind()
    async with await Wire.connect(server.port()) as wire:
        with pytest.raises(SignInFailed):
            await wire.sign_in("romeo", "pen")


async def test_stronger_mechanisms_come_back(moved: Any, server: ServerProcess) -> None:
    """When everybody's password was seen."""
    await server.start()
    for name in ("romeo", "juliet", "nurse", "tybalt", "françois"):
        async with await Wire.connect(server.port()) as wire:
            await wire.sign_in(name, "pencil", "PLAIN")
            await wire.bind()
    await server.stop()
    await server.start()
    async with await Wire.connect(server.port()) as wire:
        assert "SCRAM-SHA-512" in wire.mechanisms
        assert "SCRAM-SHA-256" in wire.mechanisms
        await wire.sign_in("romeo", "pencil", "SCRAM-SHA-256")


async def test_contacts(moved: Any, server: ServerProcess) -> None:
    await server.start()
    async with await Wire.login(server.port(), "romeo") as wire:
        answer = await wire.iq("<query xmlns='jabber:iq:roster'/>")
        found = {each.get("jid"): each for each in answer[0]}
        juliet = found["juliet@localhost"]
        assert juliet.get("subscription") == "both"
        assert juliet.get("name") == "Juliet"
        assert sorted(group.text for group in juliet) == ["Capulet", "Love <3"]
        assert found["mercutio@elsewhere.example"].get("ask") == "subscribe"
    async with await Wire.login(server.port(), "nurse") as wire:
        await wire.iq("<query xmlns='jabber:iq:roster'/>")
        wire.send("<presence/>")
        asked = await wire.find("presence", type="subscribe")
        assert asked.get("from") == "romeo@localhost"
        assert asked.findtext("{jabber:client}status") == "It is I"
    async with await Wire.login(server.port(), "françois") as wire:
        answer = await wire.iq("<query xmlns='jabber:iq:roster'/>")
        assert answer[0][0].get("name") == "Roméo ☕"


async def test_belongings(moved: Any, server: ServerProcess, source: Path) -> None:
    await server.start()
    async with await Wire.login(server.port(), "juliet") as wire:
        answer = await wire.iq("<vCard xmlns='vcard-temp'/>")
        assert answer.findtext("{vcard-temp}vCard/{vcard-temp}FN") == "Juliet Capulet"
        assert answer.findtext("{vcard-temp}vCard/{vcard-temp}PHOTO/{vcard-temp}BINVAL") == PHOTO
        assert len(await items(wire, "urn:xmpp:avatar:metadata")) == 1
        answer = await wire.iq("<query xmlns='jabber:iq:private'><exodus xmlns='exodus:prefs'/></query>")
        assert answer[0][0][0].text == "Hamlet & Söhne"
        answer = await wire.iq("<blocklist xmlns='urn:xmpp:blocking'/>")
        assert [each.get("jid") for each in answer[0]] == ["tybalt@localhost"]
        if "export" not in str(source):
            nick = await items(wire, "http://jabber.org/protocol/nick")
            assert nick[0][0].text == "Jule"
            bookmark = await items(wire, "urn:xmpp:bookmarks:1")
            assert bookmark[0].get("id") == ROOM
            assert bookmark[0][0].get("autojoin") == "true"
        wire.send("<presence/>")
        presence = await wire.find("presence", **{"from": wire.jid})
        assert presence.find("{vcard-temp:x:update}x/{*}photo") is not None, "the picture is announced"
    if "export" not in str(source):
        async with await Wire.login(server.port(), "romeo") as wire:
            assert len(await items(wire, DEVICES, "juliet@localhost")) == 1, "devices for OMEMO are open"
            answer = await wire.iq(
                "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:bookmarks:1'/></pubsub>",
                to="juliet@localhost",
            )
            assert answer.get("type") == "error", "bookmarks are private"


async def test_messages(moved: Any, server: ServerProcess, source: Path) -> None:
    """The history is there, once, and only what nobody has had is delivered."""
    await server.start()
    async with await Wire.login(server.port(), "nurse") as wire:
        wire.send("<presence/>")
        assert body(await wire.find("message", id="off1")) == "Commend me to thy lady"
        last = await wire.find("message")
        assert body(last) == "And stay, good nurse"
        assert last.find("{urn:xmpp:delay}delay") is not None
        assert [text for _, text in await archive(wire)] == ["Commend me to thy lady", "And stay, good nurse"]
    async with await Wire.login(server.port(), "juliet") as wire:
        wire.send("<presence/>")
        wire.send("<message type='chat' to='juliet@localhost' id='mark'><body>mark</body></message>")
        assert (await wire.find("message")).get("id") == "mark", "nothing old is delivered"
        if "export" not in str(source):
            found = await archive(wire)
            assert found[:2] == [("romeo@localhost/old", "Call me love 0"), ("juliet@localhost/old", "What man 0?")]
            assert len(found) == 7
            wire.send("<iq type='get' id='inbox'><inbox xmlns='urn:xmpp:inbox:1'/></iq>")
            listed = []
            while (stanza := await wire.receive()).get("id") != "inbox":
                listed.append(etree.tostring(stanza).decode())
            assert any("romeo@localhost" in each and "unread='0'" in each.replace('"', "'") for each in listed)


def test_what_came_by_the_export_is_not_doubled_by_the_dump(
    ejabberd: tuple[Path, Path], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline messages are in both, by other times."""
    monkeypatch.chdir(folder)
    import_(ejabberd[0], folder)
    found = import_(ejabberd[1], folder)["hosts"]["localhost"]
    assert found["accounts"]["added"] == 0
    assert found["archived messages"] == {"added": 14, "there_already": 2}
    assert found["offline messages"] == {"added": 0, "there_already": 2}


@pytest.mark.parametrize("source", WHOLE, indirect=True)
async def test_rooms(moved: Any, server: ServerProcess) -> None:
    await server.start()
    muc = "http://jabber.org/protocol/muc"
    async with await Wire.login(server.port(), "juliet") as wire:
        wire.send(f"<presence to='{ROOM}/Juliet'><x xmlns='{muc}'><password>montague</password></x></presence>")
        own = await wire.find("presence", **{"from": f"{ROOM}/Juliet"})
        item = own.find(f"{{{muc}#user}}x/{{{muc}#user}}item")
        assert item is not None
        assert item.get("affiliation") == "admin"
        texts = []
        while not texts or texts[-1] != "Two households":
            message = await wire.find("message", type="groupchat")
            texts.append(body(message) or message.findtext("{jabber:client}subject") or "")
        assert texts == ["In fair Verona 0", "In fair Verona 1", "In fair Verona 2", "Two households"]
        assert (f"{ROOM}/Romeo", "In fair Verona 0") in await archive(wire, ROOM)
    async with await Wire.login(server.port(), "nurse") as wire:
        wire.send(f"<presence to='{ROOM}/Nurse'><x xmlns='{muc}'/></presence>")
        refused = await wire.find("presence", type="error")
        assert refused.find("{*}error/{*}not-authorized") is not None, "the password holds"
    async with await Wire.login(server.port(), "tybalt") as wire:
        wire.send(f"<presence to='{ROOM}/Tybalt'><x xmlns='{muc}'><password>montague</password></x></presence>")
        assert (await wire.find("presence", type="error")).find("{*}error/{*}forbidden") is not None, "banned"


@pytest.mark.parametrize("source", WHOLE, indirect=True)
async def test_nodes_of_a_service(moved: Any, server: ServerProcess) -> None:
    """With their items, who may read them, who owns them, and who hears of new ones."""
    await server.start()
    async with await Wire.login(server.port(), "nurse") as wire:
        request = f"<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='{NODE}'/></pubsub>"
        assert (await wire.iq(request, to=SERVICE)).get("type") == "error", "it is for those who are on its list"
    async with await Wire.login(server.port(), "juliet") as juliet, await Wire.login(server.port(), "romeo") as romeo:
        juliet.send("<presence/>")
        found = [(each.get("id"), each.findtext("{urn:tales}tale")) for each in await items(juliet, NODE, SERVICE)]
        assert sorted(found) == [("tale0", "Tale 0 ö"), ("tale1", "Tale 1 ö")]
        owner = "http://jabber.org/protocol/pubsub#owner"
        answer = await romeo.iq(f"<pubsub xmlns='{owner}'><affiliations node='{NODE}'/></pubsub>", to=SERVICE)
        people = {each.get("jid"): each.get("affiliation") for each in answer.iter(f"{{{owner}}}affiliation")}
        assert people["romeo@localhost"] == "owner"
        assert people["juliet@localhost"] == "publisher"
        assert people["tybalt@localhost"] == "outcast"
        answer = await romeo.iq(publish(NODE, "tale2", "<tale xmlns='urn:tales'/>"), "set", SERVICE)
        assert answer.get("type") == "result"
        event = await juliet.find("message", **{"from": SERVICE})
        item = event.find("{*}event/{*}items/{*}item")
        assert item is not None
        assert item.get("id") == "tale2", "juliet is a subscriber"


def counted(report: Any, what: str) -> int:
    return sum(each[what] for host in report["hosts"].values() for each in host.values())


def test_twice_is_once(moved: Any, source: Path, folder: Path) -> None:
    first = counted(moved, "added")
    again = import_(source, folder)
    assert counted(again, "added") == 0
    assert 0 < counted(again, "there_already") <= first
    outcome = invoke("store", "check", "--config", "xmppd.yaml")
    assert outcome.status == 0, outcome.text


def test_a_dry_run_changes_nothing(source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    report = import_(source, folder, "--dry-run")
    assert report["dry_run"]
    assert report["hosts"]["localhost"]["accounts"]["added"] == 5
    assert not (folder / "var" / "xmppd.db").exists()


def test_there_and_back(moved: Any, source: Path, folder: Path, other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written, read by an empty server, written again: equal."""
    assert invoke("export", "first", "--config", "xmppd.yaml").status == 0
    monkeypatch.chdir(other)
    report = import_(folder / "first", other)
    assert report["not_carried"] == []
    assert report["problems"] == []
    assert invoke("export", "second", "--config", "xmppd.yaml").status == 0
    first, second = folder / "first", other / "second"
    names = sorted(str(each.relative_to(first)) for each in first.rglob("*") if each.is_file())
    assert names == sorted(str(each.relative_to(second)) for each in second.rglob("*") if each.is_file())
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
        assert (first / name).stat().st_mode & 0o077 == 0, "for nobody else to read"


@pytest.mark.parametrize("source", ["prosody_files"], indirect=True)
def test_people_move_on_to_ejabberd(moved: Any, ejabberd: tuple[Path, Path], folder: Path) -> None:
    """From Prosody over xmppd, with their passwords."""
    assert invoke("export", "leaving", "--for", "ejabberd", "--config", "xmppd.yaml").status == 0
    server = Ejabberd(folder / "ejabberd")

    async def look() -> None:
        wire = await Wire.login(server.port, "juliet", tls="none")
        answer = await wire.iq("<query xmlns='jabber:iq:roster'/>")
        assert [(each.get("jid"), each.get("subscription")) for each in answer[0]] == [("romeo@localhost", "both")]
        answer = await wire.iq("<vCard xmlns='vcard-temp'/>")
        assert answer.findtext("{vcard-temp}vCard/{vcard-temp}FN") == "Juliet Capulet"
        answer = await wire.iq("<blocklist xmlns='urn:xmpp:blocking'/>")
        assert [each.get("jid") for each in answer[0]] == ["tybalt@localhost"]
        wire = await Wire.login(server.port, "nurse", tls="none")
        wire.send("<presence/>")
        assert [body(await wire.find("message")) for _ in range(2)] == [
            "Commend me to thy lady",
            "And stay, good nurse",
        ]

    try:
        server.start()
        assert server.call("import_piefxis", file=str(folder / "leaving" / "server.xml")) == 0
        assert len(server.call("registered_users", host="localhost")) == 5
        asyncio.run(look())
    finally:
        server.stop()
    assert "[error]" not in server.log
