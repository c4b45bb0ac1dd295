"""What strangers, logs and the next owner of a name learn: nothing (ADR 0007)."""

from __future__ import annotations

import asyncio
import base64
import logging
from dataclasses import replace
from typing import Any

import pytest

from tests.harness import PASSWORD, Client, Harness, condition, xml
from xmppd.contracts.accounts import ACCOUNT_MAP, StoredAccount
from xmppd.jid import JID
from xmppd.routing.answer_times import AnswerTimes

KINDS = {
    "disco#info": ("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>"),
    "disco#items": ("get", "<query xmlns='http://jabber.org/protocol/disco#items'/>"),
    "last activity": ("get", "<query xmlns='jabber:iq:last'/>"),
    "vcard": ("get", "<vCard xmlns='vcard-temp'/>"),
    "version": ("get", "<query xmlns='jabber:iq:version'/>"),
    "time": ("get", "<time xmlns='urn:xmpp:time'/>"),
    "ping": ("get", "<ping xmlns='urn:xmpp:ping'/>"),
    "archive": ("set", "<query xmlns='urn:xmpp:mam:2'/>"),
    "roster": ("get", "<query xmlns='jabber:iq:roster'/>"),
    "roster set": ("set", "<query xmlns='jabber:iq:roster'><item jid='romeo@localhost'/></query>"),
    "items of a node": ("get", "<query xmlns='http://jabber.org/protocol/disco#items' node='n'/>"),
    "vcard set": ("set", "<vCard xmlns='vcard-temp'><FN>x</FN></vCard>"),
    "offline get": ("get", "<offline xmlns='http://jabber.org/protocol/offline'><fetch/></offline>"),
    "offline set": ("set", "<offline xmlns='http://jabber.org/protocol/offline'><purge/></offline>"),
    "private": ("get", "<query xmlns='jabber:iq:private'><x xmlns='urn:x'/></query>"),
    "pubsub items": ("get", "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='n'/></pubsub>"),
    "pubsub configuration": (
        "get",
        "<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><configure node='n'/></pubsub>",
    ),
    "command": ("set", "<command xmlns='http://jabber.org/protocol/commands' node='n'/>"),
    "command of no language": (
        "set",
        "<command xmlns='http://jabber.org/protocol/commands' node='n' xml:lang='no-language!'/>",
    ),
    "command without a known action": (
        "set",
        "<command xmlns='http://jabber.org/protocol/commands' node='n' action='dance'/>",
    ),
    "pubsub nothing": ("get", "<pubsub xmlns='http://jabber.org/protocol/pubsub'/>"),
    "pubsub unknown": ("set", "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='n'/></pubsub>"),
    "pubsub owner nothing": ("set", "<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'/>"),
    "unknown": ("get", "<x xmlns='urn:x'/>"),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_an_account_cannot_be_found_out_by_asking(server: Harness, kind: str) -> None:
    """T32, P01: it does not exist, it does and is offline, online, invisible, or has blocked the asker."""
    romeo = await server.login("romeo")
    await server.register("offline")
    await server.login("online", "r", presence=True)
    await server.login("invisible", "r")
    blocking = await server.login("blocking", "r", presence=True)
    await blocking.iq("<block xmlns='urn:xmpp:blocking'><item jid='romeo@localhost'/></block>", "set")
    type, payload = KINDS[kind]
    answers = {}
    for name in ("nobody", "offline", "online", "invisible", "blocking"):
        for resource in ("", "/none"):
            answer = xml(await romeo.iq(payload, type, to=f"{name}@localhost{resource}", id="q"))
            answers[name, resource] = answer.replace(f"{name}@localhost", "X")
    if kind == "ping":  # an account answers for itself by what it says of all (XEP-0199 section 4.2)
        return
    assert len({answer for (_, resource), answer in answers.items() if not resource}) == 1, answers
    assert len({answer for (_, resource), answer in answers.items() if resource}) == 1, answers


async def test_nothing_gets_into_a_log_but_one_line(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """T36, P05: names, resources and texts that try to look like lines, colours or formats; no secret."""
    caplog.set_level(logging.DEBUG)
    for resource in ("a\nERROR  forged", "a\x1b[31m", "a\u2028b", "a\x85b", "%s%d", "x" * 300):
        client = server.connect()
        await server.register("romeo")
        await client.sign_in("romeo")
        escaped = "".join(f"&#{ord(each)};" if ord(each) > 126 or ord(each) == 10 else each for each in resource)
        client.send(
            "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
            f"<resource>{escaped}</resource></bind></iq>"
        )
        await client.receive_all()
        client.send("<message to='romeo@localhost' type='chat' id='m'><body>a secret thing</body></message>")
        await server.quiet()
        client.close()
        await server.quiet()
    for record in caplog.records:
        text = record.getMessage()
        assert text.isprintable() or not text.strip("\t"), repr(text)
        assert "secret thing" not in text
        assert "pencil" not in text


async def test_the_next_owner_of_a_name_inherits_nothing(server: Harness) -> None:
    """T37, A13: roster, archive, PEP, vCard, private storage, block list, what others stored of the name in a room."""
    romeo = await server.login("romeo", presence=True)
    juliet = await server.login("juliet", presence=True)
    await juliet.iq("<query xmlns='jabber:iq:roster'><item jid='romeo@localhost'/></query>", "set")
    await juliet.iq("<vCard xmlns='vcard-temp'><FN>J</FN></vCard>", "set")
    await juliet.iq("<query xmlns='jabber:iq:private'><x xmlns='urn:x'>mine</x></query>", "set")
    await juliet.iq("<block xmlns='urn:xmpp:blocking'><item jid='x@localhost'/></block>", "set")
    pubsub = "<pubsub xmlns='http://jabber.org/protocol/pubsub'>{}</pubsub>"
    await juliet.iq(pubsub.format("<publish node='n'><item id='1'><x xmlns='urn:x'/></item></publish>"), "set")
    romeo.send("<message to='juliet@localhost' type='chat' id='m'><body>hers</body></message>")
    await server.quiet()
    await server.server.accounts.delete(JID.parse("juliet@localhost"))
    await server.quiet()
    again = await server.login("juliet", presence=True)
    assert "hers" not in "".join(map(xml, await again.receive_all()))
    assert len((await again.iq("<query xmlns='jabber:iq:roster'/>"))[0]) == 0
    assert len((await again.iq("<vCard xmlns='vcard-temp'/>"))[0]) == 0
    assert "mine" not in xml(await again.iq("<query xmlns='jabber:iq:private'><x xmlns='urn:x'/></query>"))
    assert len((await again.iq("<blocklist xmlns='urn:xmpp:blocking'/>"))[0]) == 0
    assert condition(await again.iq(pubsub.format("<items node='n'/>"))) == "item-not-found"
    again.send("<iq type='set' id='q'><query xmlns='urn:xmpp:mam:2'/></iq>")
    assert "hers" not in "".join(map(xml, await again.receive_all()))


async def test_the_store_holds_no_password(server: Harness) -> None:
    """T37, A09: salted and iterated, another salt for each account."""
    for name in ("romeo", "juliet"):
        await server.server.accounts.create(JID.parse(f"{name}@localhost"), "a password")
    found = [await server.storage.map(ACCOUNT_MAP, StoredAccount, cached=True).read(f"{name}@localhost", "")
             for name in ("romeo", "juliet")]  # fmt: skip
    hashes = ("SHA-1", "SHA-256", "SHA-512")
    keys = [each.credentials.get(hash) for each in found if each is not None for hash in hashes]
    assert all("a password" not in repr(each) for each in found)
    assert len({each.salt for each in keys if each is not None}) == 6
    assert all(each.iterations >= 10_000 for each in keys if each is not None)


async def flood(client: Client, count: int) -> None:
    for number in range(count):
        client.send(f"<message to='juliet@localhost' type='chat' id='{number}'><body>{number}</body></message>")


async def test_a_store_that_stalls_for_a_minute(server: Harness) -> None:
    """T46, D07: the server answers meanwhile, what waits is bounded, nothing is acknowledged; then order is kept."""
    romeo = await server.login("romeo")
    other = await server.login("other")
    juliet = await server.login("juliet", presence=True)
    server.backend.hold()
    await flood(romeo, 2_000)
    await server.advance(5)
    session = next(iter(server.host.account("romeo@localhost").sessions.values()))
    assert session.received - session.handled <= 600, "then the stream is not read"
    answer = await other.iq("<ping xmlns='urn:xmpp:ping'/>", to="localhost")
    assert answer.get("type") == "result"
    assert [each for each in await juliet.receive_all() if each.tag.endswith("message")] == []
    await server.advance(55)
    server.backend.release()
    for _ in range(20):
        await server.advance(1)
    bodies = [int(each.findtext("{jabber:client}body") or -1) for each in await juliet.receive_all()]
    refused = {int(str(each.get("id"))) for each in await romeo.receive_all() if each.get("type") == "error"}
    assert bodies == sorted(set(bodies))
    assert set(bodies) | refused >= set(range(2_000)), "each was delivered or refused"
    assert not set(bodies) & refused


@pytest.fixture
def even(server: Harness) -> None:
    server.server.limits = replace(server.server.limits, even_answers=0.02)


STEP, LAST = 0.0041, 5
"""The fifth step is behind the tick for a question that comes 2 ms behind a tick."""


async def turn(server: Harness, seconds: float) -> None:
    """`Harness.advance` without the patience for threads and disks: none takes part here."""
    end = server.clock.monotonic() + seconds
    while (callback := server.clock.due(end)) is not None:
        callback()
    for _ in range(50):
        await asyncio.sleep(0)


async def steps_to(server: Harness, client: Client, text: str) -> int:
    """How many steps of the clock until something is said to a stanza."""
    now = server.clock.monotonic()
    await turn(server, (int(now / 0.02) + 1) * 0.02 - now + 0.002)  # behind a tick
    client.send(text)
    await turn(server, 0)
    for steps in range(20):
        if client.inbox:
            client.inbox.clear()
            return steps
        await turn(server, STEP)
    raise AssertionError(f"nothing is said to {text}")


@pytest.mark.parametrize("kind", KINDS)
async def test_an_account_cannot_be_found_out_by_the_time(server: Harness, even: None, kind: str) -> None:
    """The answer goes out when it would in any case, whatever was loaded, read and decided for it."""
    romeo = await server.login("romeo")
    await server.register("cold")
    await server.login("online", "r", presence=True)
    blocking = await server.login("blocking", "r", presence=True)
    await blocking.iq("<block xmlns='urn:xmpp:blocking'><item jid='romeo@localhost'/></block>", "set")
    server.host.forget("cold@localhost")
    type, payload = KINDS[kind]
    found = {}
    for to in ("nobody@localhost", "cold@localhost", "online@localhost", "blocking@localhost", "blocking@localhost/r",
               "online@localhost/none", "nobody@localhost/none"):  # fmt: skip
        for again in (False, True):  # then it is in memory
            iq = f"<iq type='{type}' id='q' to='{to}'>{payload}</iq>"
            found[to, again] = await steps_to(server, romeo, iq)
    assert set(found.values()) == {LAST}, found


async def test_probes_take_the_same_time(server: Harness, even: None) -> None:
    romeo = await server.login("romeo", presence=True)
    await server.register("cold")
    await server.login("online", "r", presence=True)
    server.host.forget("cold@localhost")
    probe = "<presence type='probe' to='{}@localhost'/>"
    times = [await steps_to(server, romeo, probe.format(to)) for to in ("nobody", "cold", "online")]
    assert times == [LAST] * 3


async def test_what_tells_more_than_its_time_is_not_held_up(server: Harness, even: None) -> None:
    """An answer that holds something, one's own account, what a session answers itself."""
    romeo = await server.login("romeo")
    juliet = await server.login("juliet", "r", presence=True)
    await juliet.iq("<vCard xmlns='vcard-temp'><FN>J</FN></vCard>", "set")
    await server.quiet()
    card = "<iq type='get' id='q' to='{}'><vCard xmlns='vcard-temp'/></iq>"
    assert await steps_to(server, romeo, card.format("romeo@localhost")) == 0
    romeo.send("<iq type='get' id='p' to='juliet@localhost/r'><ping xmlns='urn:xmpp:ping'/></iq>")
    assert (await juliet.receive()).get("id") == "p"


async def test_a_slow_store_does_not_tell_either(server: Harness) -> None:
    """Work that takes longer ends with a later tick, as it would have for others."""
    times = AnswerTimes(server.clock)
    tick = times.next(0.02)
    assert 0.01 <= tick - server.clock.monotonic() <= 0.03
    await server.advance(0.047)
    waiting = asyncio.ensure_future(times.come(tick, 0.02))
    other = asyncio.ensure_future(times.come(times.next(0.02), 0.02))
    await server.quiet()
    left = (int(server.clock.monotonic() / 0.02) + 1) * 0.02 - server.clock.monotonic()
    await server.advance(left - 0.001)
    assert not waiting.done() and not other.done()
    await server.advance(0.002)
    assert waiting.done()
    await server.advance(0.02)
    assert other.done()


SASL = "urn:ietf:params:xml:ns:xmpp-sasl"


def plain(name: str, password: str) -> str:
    return base64.b64encode(f"\0{name}\0{password}".encode()).decode()


async def stranger(server: Harness) -> Client:
    client = server.connect()
    client.open()
    await client.receive()
    return client


async def everyone(server: Harness) -> tuple[str, ...]:
    """Accounts in every state, and a name that nobody has."""
    await server.register("cold")
    await server.login("warm", "r")
    await server.server.accounts.create(JID.parse("disabled@localhost"), "wherefore")
    await server.server.accounts.set_disabled(JID.parse("disabled@localhost"), True)
    server.host.forget("cold@localhost")
    return "nobody", "cold", "warm", "disabled"


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_the_challenge_takes_the_same_time(server: Harness, even: None, mechanism: str) -> None:
    """For every name, wherever its record is found."""
    found = {}
    for name in await everyone(server):
        first = base64.b64encode(f"n,,n={name},r=abcdefgh".encode()).decode()
        client = await stranger(server)
        auth = f"<auth xmlns='{SASL}' mechanism='{mechanism}'>{first}</auth>"
        found[name] = await steps_to(server, client, auth)
    assert set(found.values()) == {LAST}, found


async def test_a_refusal_by_plain_takes_the_same_time(server: Harness, even: None) -> None:
    """Right passwords are not held up, wrong ones are, to the same tick."""
    for name in await everyone(server):
        client = await stranger(server)
        now = server.clock.monotonic()
        await turn(server, (int(now / 0.02) + 1) * 0.02 - now + 0.002)
        client.send(f"<auth xmlns='{SASL}' mechanism='PLAIN'>{plain(name, 'wrong')}</auth>")
        await server.quiet()
        assert not client.inbox, name
        await turn(server, 0.0175)
        assert not client.inbox, name
        await turn(server, 0.001)
        assert client.inbox[0].tag == f"{{{SASL}}}failure", name
    client = await stranger(server)
    client.send(f"<auth xmlns='{SASL}' mechanism='PLAIN'>{plain('warm', PASSWORD)}</auth>")
    assert (await client.receive()).tag == f"{{{SASL}}}success"


async def test_the_order_within_a_tick_tells_nothing(server: Harness) -> None:
    """Who has been looked up first does not come first."""
    times, came = AnswerTimes(server.clock), []
    tick = times.next(0.02)

    async def answer(number: int) -> None:
        await times.come(tick, 0.02)
        came.append(number)

    tasks = [asyncio.ensure_future(answer(number)) for number in range(100)]
    await turn(server, 0)
    tasks[50].cancel()
    await server.advance(0.03)
    assert sorted(came) == [number for number in range(100) if number != 50]
    assert came != sorted(came)


async def test_sign_in_reads_the_same_for_every_name(server: Harness) -> None:
    """Without even times the first message of SCRAM costs one read of one record, whether there is an account, and
    wherever it is."""
    names = await everyone(server)
    backend, reads = server.backend, []

    def counted(name: str) -> None:
        real = getattr(backend, name)

        async def read(*arguments: Any) -> Any:
            reads.append((name, arguments[0] if name == "read" else ""))
            return await real(*arguments)

        setattr(backend, name, read)

    for name in ("read", "load", "last_id", "page"):
        counted(name)
    for mechanism in ("SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"):
        for user in names:
            client = await stranger(server)
            reads.clear()
            first = base64.b64encode(f"n,,n={user},r=abcdefgh".encode()).decode()
            client.send(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{mechanism}'>{first}</auth>")
            assert (await client.receive()).tag.endswith("}challenge")
            assert reads == [("read", ACCOUNT_MAP)], user
