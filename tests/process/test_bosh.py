"""Clients over BOSH and a server process: what networks do to requests, restarts, and who means harm."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness.sasl2 import b64
from tests.process.bosh_wire import BODY, BoshWire
from tests.process.client import SM, Wire, body
from tests.process.server import ServerProcess, configuration

LISTENERS = [{"port": 0}, {"kind": "http", "port": 0}, {"kind": "http", "port": 0, "tls": "none"}]


def port(process: ServerProcess, label: str) -> int:
    found = re.search(rf"listening on \S+ port (\d+) \({label}\)", process.log)
    assert found is not None, process.log
    return int(found[1])


@pytest.fixture
async def serving(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    server = ServerProcess(tmp_path, configuration(listeners=LISTENERS))
    try:
        await server.start()
        await server.account("romeo", "juliet")
        yield server
    finally:
        server.kill()
    assert "Traceback" not in server.log, server.log


def chat(text: str, to: str) -> str:
    return f"<message xmlns='jabber:client' to='{to}@localhost' type='chat'><body>{text}</body></message>"


async def people(server: ServerProcess) -> tuple[BoshWire, Wire]:
    romeo = await BoshWire.login(port(server, "https"), "romeo")
    await romeo.send("<presence xmlns='jabber:client'/>")
    await romeo.find("presence")
    juliet = await Wire.login(server.port(), "juliet")
    juliet.send("<presence/>")
    await juliet.find("presence")
    return romeo, juliet


async def test_chat_both_ways_and_the_end(serving: ServerProcess) -> None:
    romeo, juliet = await people(serving)
    juliet.send(chat("one", "romeo"))
    assert body(await romeo.find("message")) == "one"
    await romeo.send(chat("two", "juliet"))
    assert body(await juliet.find("message")) == "two"
    await romeo.send(chat("three", "juliet"), "type='terminate'")
    assert body(await juliet.find("message")) == "three"
    with pytest.raises(EOFError):
        await romeo.find("never")
    assert (await (await romeo.request()).body()).get("condition") == "item-not-found"


@pytest.mark.parametrize("inside", ["", "\n  "])
async def test_requests_without_elements_in_the_middle_of_sasl2(serving: ServerProcess, inside: str) -> None:
    """A client asks so for what may have come, and white space in a request is none of the exchange."""
    wire = BoshWire(port(serving, "https"))
    await wire.create()
    found = await (await wire.request("<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'/>")).body()
    assert found[0].tag == "{urn:xmpp:sasl:2}challenge"
    first = await wire.request(inside, "pause='10'")
    assert len(await first.body()) == 0
    response = f"<response xmlns='urn:xmpp:sasl:2'>{b64(chr(0).join(('', 'romeo', 'pencil')))}</response>"
    found = await (await wire.request(response)).body()
    assert found[0].tag == "{urn:xmpp:sasl:2}success"


async def test_an_answer_that_is_lost_comes_again(serving: ServerProcess) -> None:
    """The connection breaks when the message is on it; nobody has it twice."""
    romeo, juliet = await people(serving)
    for number in range(5):
        held = romeo.open.popleft() if romeo.open else await romeo.request()
        held.cut()
        juliet.send(chat(f"lost {number}", "romeo"))
        await juliet.iq("<ping xmlns='urn:xmpp:ping'/>")
        romeo.open.append(await romeo.post(held.data))
        assert body(await romeo.find("message")) == f"lost {number}"
    assert (await romeo.iq("<ping xmlns='urn:xmpp:ping'/>")).get("type") == "result"


async def test_requests_that_are_cut_off_in_the_middle(serving: ServerProcess) -> None:
    """What is not whole does not count; its repetition does."""
    romeo, juliet = await people(serving)
    for number in range(3):
        text = romeo.text(chat(f"part {number}", "juliet"))
        (await romeo.post(text, whole=False)).cut()
        romeo.open.append(await romeo.post(text))
        assert body(await juliet.find("message")) == f"part {number}"
    assert (await romeo.iq("<ping xmlns='urn:xmpp:ping'/>")).get("type") == "result"


async def test_reordered_and_doubled_requests(serving: ServerProcess) -> None:
    romeo, juliet = await people(serving)
    while romeo.open:  # let the one that waits go
        text = romeo.text(chat("zero", "juliet"))
        held, mine = romeo.open.popleft(), await romeo.post(text)
        await held.body()
        assert body(await juliet.find("message")) == "zero"
        await romeo.send(more="pause='100'")
        await mine.body()
        await romeo.open.popleft().body()
    first, second = romeo.text(chat("one", "juliet")), romeo.text(chat("two", "juliet"))
    late = [await romeo.post(second) for _ in range(3)]
    early = await romeo.post(first)
    assert [body(await juliet.find("message")) for _ in range(2)] == ["one", "two"]
    assert [(await each.body()).get("type") for each in late[:2]] == ["error", "error"]
    assert len(await early.body()) == 0
    juliet.send(chat("three", "romeo"))
    assert body((await late[2].body())[0]) == "three"
    again = await (await romeo.post(second)).body()
    assert body(again[0]) == "three", "a repeated request gets the same answer"
    juliet.send("<message to='juliet@localhost' type='chat'><body>end</body></message>")
    assert body(await juliet.find("message")) == "end", "and is not handled again"


async def test_stop_and_resumption_by_any_transport(serving: ServerProcess) -> None:
    """BOSH, the end of the process, TCP, BOSH: each message once."""
    romeo, juliet = await people(serving)
    await romeo.send(f"<enable xmlns='{SM}' resume='true'/>")
    id = str((await romeo.find("enabled")).get("id"))
    juliet.send(chat("one", "romeo"))
    assert body(await romeo.find("message")) == "one"
    if not romeo.open:
        await romeo.send()
    stopped = asyncio.create_task(serving.stop())
    with pytest.raises(EOFError, match="system-shutdown"):
        await romeo.find("never")
    assert await stopped == 0
    await serving.start()
    assert (await (await BoshWire(port(serving, "https")).post(romeo.text())).body()).get("condition") == (
        "item-not-found"
    )
    tcp = await Wire.connect(serving.port())
    await tcp.sign_in("romeo")
    assert (await tcp.resume(id, 1)).tag == f"{{{SM}}}resumed"
    async with await Wire.login(serving.port(), "juliet") as other:
        other.send(chat("two", "romeo"))
        assert body(await tcp.find("message")) == "two"
        tcp.cut()
        back = BoshWire(port(serving, "https"))
        await back.create()
        await back.sign_in("romeo")
        await back.send(f"<resume xmlns='{SM}' previd='{id}' h='2'/>")
        await back.find("resumed")
        other.send(chat("three", "romeo"))
        assert body(await back.find("message")) == "three"
        assert (await back.iq("<ping xmlns='urn:xmpp:ping'/>")).get("type") == "result"


async def test_a_killed_server_delivers_what_was_not_proven(serving: ServerProcess) -> None:
    """The answer with the message was written, and lost with the connection and the process."""
    romeo, juliet = await people(serving)
    if not romeo.open:
        await romeo.send()
    held = romeo.open.popleft()
    juliet.send(chat("not lost", "romeo"))
    await held.read()  # the client's system has it, its program does not
    await serving.crash()
    await serving.start()
    phone = await Wire.login(serving.port(), "romeo", resource="phone")
    phone.send("<presence/>")
    assert body(await phone.find("message")) == "not lost"
    phone.cut()


async def test_who_means_harm(serving: ServerProcess) -> None:
    """Guessed sids, other peoples' requests in the clear, bodies without end, entities, floods of sessions."""
    romeo, juliet = await people(serving)
    attacker = BoshWire(port(serving, "http"), tls=False)
    for number in range(50):
        guess = f"<body rid='{number + 1}' sid='{number:032x}' xmlns='{BODY}'/>".encode()
        assert (await (await attacker.post(guess)).body()).get("condition") == "item-not-found"
    attacker.sid = romeo.sid
    stolen = await attacker.post(attacker.text("<presence type='unavailable'/>", rid=romeo.rid + 1))
    await stolen.read()
    assert stolen.status == 403, "a session of https is not open to http"
    lol = "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 9))
    bomb = f"<!DOCTYPE body [<!ENTITY a0 'lol'>{lol}]><body xmlns='{BODY}' rid='1' to='&a8;'/>".encode()
    assert (await (await attacker.post(bomb)).body()).get("condition") == "bad-request"
    attacker.sid = ""
    huge = await attacker.post(attacker.text("<a/>" * 200_000, "ver='1.6'"))
    assert (await huge.body()).get("condition") == "policy-violation"
    conditions = []
    for _ in range(210):
        conditions.append((await BoshWire(attacker.port, tls=False).create()).get("condition"))
    assert conditions[0] is None
    assert conditions[-1] == "policy-violation", "so many sessions of one address"
    juliet.send(chat("still there", "romeo"))
    assert body(await romeo.find("message")) == "still there"
    assert await serving.stop() == 0
    assert romeo.sid not in serving.log, "a sid is a secret"
