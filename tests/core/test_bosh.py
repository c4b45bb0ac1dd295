"""Clients over BOSH on a whole server: XEP-0206, and the rules of XEP-0124 as a client sees them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from dataclasses import replace

import pytest
from lxml import etree

from tests.harness import Client, Harness
from tests.harness.bosh import BODY, BoshClient, Element
from xmppd.config.limits import ShapingLimits
from xmppd.streams.bosh import SLICE, BoshSession

SM = "urn:xmpp:sm:3"
PING = "<ping xmlns='urn:xmpp:ping'/>"
CLIENT = "{jabber:client}"


def text_of(element: Element) -> str:
    return str(element.findtext(f"{CLIENT}body"))


def chat(text: str, to: str = "romeo@localhost") -> str:
    return f"<message xmlns='jabber:client' to='{to}' type='chat'><body>{text}</body></message>"


async def bodies(client: BoshClient) -> list[str]:
    return [text_of(each) for each in await client.quiet() if each.tag == f"{CLIENT}message"]


async def people(server: Harness, **options: int) -> tuple[BoshClient, Client]:
    """Romeo over BOSH, Juliet over TCP; both available."""
    romeo = await BoshClient.login(server, "romeo", "web", **options)
    romeo.send("<presence xmlns='jabber:client'/>")
    await romeo.quiet()
    return romeo, await server.login("juliet", "balcony", presence=True)


# ---- the beginning of a session


async def test_session_creation_response(server: Harness) -> None:
    client = BoshClient(server)
    body = await client.create("ack='1' content='text/xml; charset=utf-8' from='romeo@localhost'")
    assert len(client.sid) >= 32
    named = {name: body.get(name) for name in ("wait", "requests", "hold", "ver", "inactivity", "polling", "maxpause")}
    assert named == {
        "wait": "50", "requests": "2", "hold": "1", "ver": "1.11", "inactivity": "60", "polling": "2",
        "maxpause": "120",
    }  # fmt: skip
    assert body.get("ack") == str(client.rid)
    assert (body.get("from"), bool(body.get("authid"))) == ("localhost", True)
    assert body.get("{urn:xmpp:xbosh}restartlogic") == "true"
    assert body.get("{urn:xmpp:xbosh}version") == "1.0"
    (features,) = body
    assert features.tag == "{http://etherx.jabber.org/streams}features"
    mechanisms = [each.text for each in features.iter("{urn:ietf:params:xml:ns:xmpp-sasl}mechanism")]
    assert "PLAIN" in mechanisms
    assert not any(str(each).endswith("-PLUS") for each in mechanisms), "no channel is bound"


@pytest.mark.parametrize(
    ("wait", "hold", "granted"),
    [(5, 1, ("5", "1", "2")), (3600, 9, ("50", "2", "3")), (0, 1, ("0", "1", "2")), (60, 0, ("50", "0", "1"))],
)
async def test_terms_are_at_most_what_the_client_wants(
    server: Harness, wait: int, hold: int, granted: tuple[str, str, str]
) -> None:
    body = await BoshClient(server, wait=wait, hold=hold).create()
    assert (body.get("wait"), body.get("hold"), body.get("requests")) == granted


@pytest.mark.parametrize(("asked", "told"), [("1.6", "1.6"), ("1.12", "1.11"), ("2.0", "1.11"), ("", None)])
async def test_the_lower_version_is_told(server: Harness, asked: str, told: str | None) -> None:
    assert (await BoshClient(server).create(version=asked)).get("ver") == told


async def test_every_answer_is_inert_and_may_be_read_by_other_origins(server: Harness) -> None:
    client = BoshClient(server)
    await client.create("content='text/html'")
    for text in (client.text(more="type='terminate'"), "<rubbish>", client.text(rid=1)):
        answer = await client.post(text, Origin="https://localhost").answer()
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "sandbox" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    stranger = await client.post(client.text(rid=1), Origin="https://elsewhere.example").answer()
    assert stranger.status == 403
    options = await server.http("OPTIONS", "/http-bind", headers={"Origin": "https://localhost"})
    assert (options.status, options.headers["access-control-allow-origin"]) == (204, "*")
    assert "POST" in options.headers["access-control-allow-methods"]
    assert "content-type" in options.headers["access-control-allow-headers"].lower()


async def test_the_content_type_is_the_clients(server: Harness) -> None:
    for wanted, told in (("text/plain; charset=utf-8", None), ("evil\r\nX: 1", "text/xml; charset=utf-8")):
        client = BoshClient(server)
        await client.create(f"content='{wanted}'".replace("\r\n", "&#13;&#10;"))
        answer = await client.request(more="type='terminate'").answer()
        assert answer.headers["content-type"] == (told or wanted)


@pytest.mark.parametrize(
    ("domain", "condition"), [("elsewhere.example", "host-unknown"), ("conference.localhost", "host-unknown")]
)
async def test_an_unknown_host(server: Harness, domain: str, condition: str) -> None:
    body = await BoshClient(server).create(domain=domain)
    assert (body.get("type"), body.get("condition"), body.get("sid"), len(body)) == ("terminate", condition, None, 0)


async def test_a_session_of_a_client_that_names_nothing(server: Harness) -> None:
    """Neither `to`, nor `ver`, `wait`, `hold` and a version of XMPP."""
    client = BoshClient(server)
    body = await client.request().body()
    assert body.get("from") == "localhost"
    assert body.find("{http://etherx.jabber.org/streams}features") is not None


# ---- a session as any other


async def test_sign_in_bind_and_chat(server: Harness) -> None:
    romeo, juliet = await people(server)
    assert romeo.jid == "romeo@localhost/web"
    juliet.send(chat("Wherefore art thou?").replace(" xmlns='jabber:client'", ""))
    message = await romeo.receive()
    assert (message.tag, text_of(message)) == (f"{CLIENT}message", "Wherefore art thou?")
    romeo.send(chat("Here", "juliet@localhost"))
    assert text_of(await juliet.receive()) == "Here"


def scram_response(first: str, challenge: str) -> str:
    """RFC 5802 section 3."""
    nonce, salt, rounds = (each[2:] for each in challenge.split(",")[:3])
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", base64.b64decode(salt), int(rounds))
    key = hmac.digest(salted, b"Client Key", "sha256")
    final = f"c=biws,r={nonce}"
    signature = hmac.digest(hashlib.sha256(key).digest(), f"{first},{challenge},{final}".encode(), "sha256")
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True))).decode()
    return base64.b64encode(f"{final},p={proof}".encode()).decode()


async def test_scram_success_goes_out_with_the_request_that_completes_it(server: Harness) -> None:
    """Also for a client that polls: the password is checked in a thread."""
    await server.register("romeo")
    for hold in (1, 0):
        client = BoshClient(server, hold=hold)
        await client.create()
        first = base64.b64encode(b"n,,n=romeo,r=abc").decode()
        auth = f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-256'>{first}</auth>"
        challenge = await client.request(auth).body()
        proof = scram_response("n=romeo,r=abc", base64.b64decode(str(challenge[0].text)).decode())
        response = f"<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{proof}</response>"
        success = await client.request(response).body()
        assert success[0].tag.endswith("}success")


async def test_a_failed_sign_in_and_another_try(server: Harness) -> None:
    await server.register("romeo")
    client = BoshClient(server)
    await client.create()
    auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHJvbWVvAHdyb25n</auth>"
    body = await client.request(auth).body()
    assert body[0].tag.endswith("}failure")
    await client.sign_in("romeo")


async def test_a_restart_needs_no_domain_and_its_payload_is_ignored(server: Harness) -> None:
    await server.register("romeo")
    client = BoshClient(server)
    await client.create()
    auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHJvbWVvAHBlbmNpbA==</auth>"
    await client.request(auth).body()
    body = await client.request(chat("early"), more="xmpp:restart='1'").body()
    assert body[0].find("{urn:ietf:params:xml:ns:xmpp-bind}bind") is not None
    await client.bind()


async def test_no_stanza_between_success_and_restart(server: Harness) -> None:
    await server.register("romeo")
    client = BoshClient(server)
    await client.create()
    auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHJvbWVvAHBlbmNpbA==</auth>"
    await client.request(auth).body()
    body = await client.request(chat("early")).body()
    assert (body.get("condition"), body[0][0].tag) == (
        "remote-stream-error", "{urn:ietf:params:xml:ns:xmpp-streams}bad-format",
    )  # fmt: skip


async def test_stanzas_that_name_no_namespace_are_those_of_clients(server: Harness) -> None:
    """XEP-0206 section 2."""
    romeo, juliet = await people(server)
    romeo.send("<message to='juliet@localhost' type='chat'><body>Plain</body></message>")
    assert text_of(await juliet.receive()) == "Plain"
    romeo.send(
        "<c:message xmlns:c='jabber:client' to='juliet@localhost' type='chat'><c:body>Prefixed</c:body></c:message>"
    )
    assert text_of(await juliet.receive()) == "Prefixed"


async def test_prefixes_of_the_wrapper_count_inside(server: Harness) -> None:
    romeo, juliet = await people(server)
    romeo.send(
        "<message to='juliet@localhost' type='chat'><x:y/><body>See x:y</body></message>", "xmlns:x='urn:example:x'"
    )
    message = await juliet.receive()
    assert message.find("{urn:example:x}y") is not None
    assert text_of(message) == "See x:y"


async def test_a_stream_error_is_told_with_the_stanzas_before_it(server: Harness) -> None:
    """XEP-0206 section 6."""
    romeo, _ = await people(server)
    held = romeo.open[0]
    assert await held.waits()
    await server.login("romeo", "web")  # conflict
    body = await held.body()
    assert (body.get("type"), body.get("condition")) == ("terminate", "remote-stream-error")
    assert body[-1][0].tag == "{urn:ietf:params:xml:ns:xmpp-streams}conflict"


async def test_shutdown(server: Harness) -> None:
    romeo, _ = await people(server)
    other = await BoshClient.login(server, "mercutio")
    held = romeo.open[0]
    assert await held.waits()
    await server.stop()
    body = await held.body()
    assert (body.get("type"), body.get("condition"), len(body)) == ("terminate", "system-shutdown", 0)
    late = await other.request().body()
    assert late.get("condition") == "system-shutdown"
    refused = await BoshClient(server).create()
    assert refused.get("condition") == "system-shutdown"
    await server.start()


# ---- requests and answers


async def test_a_request_waits_until_there_is_something(server: Harness) -> None:
    romeo, _juliet = await people(server)
    await romeo.quiet()
    (held,) = romeo.open
    assert await held.waits()
    await server.advance(40)
    assert await held.waits()
    await server.advance(12)
    assert len(await held.body()) == 0, "after `wait` it is answered, empty"


async def test_another_request_lets_the_older_one_go(server: Harness) -> None:
    romeo, _juliet = await people(server)
    await romeo.quiet()
    older = romeo.open[0]
    newer = romeo.request(chat("hi", "juliet@localhost"))
    assert len(await older.body()) == 0
    assert await newer.waits()


async def test_requests_in_the_wrong_order(server: Harness) -> None:
    romeo, juliet = await people(server)
    await romeo.quiet()
    await server.advance(51)
    await romeo._read()
    first, second = romeo.rid + 1, romeo.rid + 2
    late = romeo.request(chat("two", "juliet@localhost"), second)
    assert await late.waits()
    await juliet.silence()
    early = romeo.request(chat("one", "juliet@localhost"), first)
    assert [text_of(each) for each in await juliet.receive_all()] == ["one", "two"]
    assert len(await early.body()) == 0
    assert await late.waits()


@pytest.mark.parametrize("lost", ["answer", "request"])
async def test_a_repeated_request_gets_the_same_answer(server: Harness, lost: str) -> None:
    romeo, juliet = await people(server)
    await romeo.quiet()
    held = romeo.open[0]
    if lost == "request":
        held.cut()
        await server.advance(31)  # the server notices
    juliet.send(chat("once").replace(" xmlns='jabber:client'", ""))
    await server.quiet()
    first = romeo.post(held.data)
    answer = await first.answer()
    assert b"once" in answer.body
    again = await romeo.post(held.data).answer()
    assert again.body == answer.body
    if lost == "answer":
        assert (await held.answer()).body == answer.body


async def test_the_same_rid_twice_at_once(server: Harness) -> None:
    """Section 14.3: the former one is told to recover, the answer goes to the latest."""
    romeo, juliet = await people(server)
    await romeo.quiet()
    former = romeo.open[0]
    latest = romeo.post(former.data)
    assert (await former.body()).get("type") == "error"
    assert await latest.waits()
    juliet.send(chat("hi").replace(" xmlns='jabber:client'", ""))
    assert text_of((await latest.body())[0]) == "hi"


async def test_a_payload_is_handled_once_however_often_it_comes(server: Harness) -> None:
    romeo, juliet = await people(server)
    text = romeo.text(chat("once", "juliet@localhost"))
    sent = [romeo.post(text) for _ in range(4)]
    assert text_of(await juliet.receive()) == "once"
    await juliet.silence()
    romeo.open = [sent[-1]]
    assert (await romeo.iq(PING)).get("type") == "result"


async def test_who_repeats_a_request_without_end_is_cut_off(server: Harness) -> None:
    romeo, _ = await people(server)
    text = romeo.text()
    for _ in range(31):
        romeo.post(text)
    assert (await romeo.post(text).body()).get("condition") == "item-not-found"
    await server.quiet()
    assert len(server.server.streams) == 1


@pytest.mark.parametrize("distance", [3, 100, -3, -1000])
async def test_a_rid_outside_of_the_window_ends_the_session(server: Harness, distance: int) -> None:
    romeo, _ = await people(server)
    await romeo.quiet()
    held = romeo.open[0]
    body = await romeo.request(rid=romeo.rid + distance).body()
    assert (body.get("type"), body.get("condition")) == ("terminate", "item-not-found")
    assert (await held.body()).get("condition") == "other-request"
    assert (await romeo.request().body()).get("condition") == "item-not-found"


@pytest.mark.parametrize("sid", ["", "0", "x" * 32])
async def test_an_unknown_sid(server: Harness, sid: str) -> None:
    client = BoshClient(server)
    body = await client.post(f"<body rid='1' sid='{sid}' xmlns='{BODY}'/>").body()
    assert (body.get("type"), body.get("condition")) == ("terminate", "item-not-found")


async def test_old_clients_get_http_errors(server: Harness) -> None:
    """Section 17.1."""
    for rid, payload, status in ((9, "", 404), (1, "<unclosed>", 400)):
        client = BoshClient(server)
        await client.create(version="")
        if status == 400:
            answer = await client.post(client.text().replace(f"rid='{client.rid}'", "rid='abc'")).answer()
        else:
            answer = await client.request(payload, client.rid + rid).answer()
        assert answer.status == status
        assert answer.headers["access-control-allow-origin"] == "*"
    client = BoshClient(server)
    await client.create(version="")
    answer = await client.request(more="pause='999'").answer()
    assert answer.status == 403


async def test_too_many_requests_at_once(server: Harness) -> None:
    """Section 11: one is missing, and two more wait for it and a third comes."""
    romeo, _ = await people(server)
    await romeo.quiet()
    client = await BoshClient.login(server, "mercutio")
    await client.quiet()
    rid = client.rid
    client.request(chat("a"), rid + 2)
    body = await client.request(chat("b"), rid + 3).body()
    assert body.get("type") == "terminate"


async def test_empty_requests_that_are_too_frequent(server: Harness) -> None:
    romeo, _ = await people(server)
    await server.advance(5)
    romeo.request()
    body = await romeo.request().body()
    assert (body.get("type"), body.get("condition")) == ("terminate", "policy-violation")


async def test_polling(server: Harness) -> None:
    romeo = await BoshClient.login(server, "romeo", "web", hold=0)
    juliet = await server.login("juliet", "balcony", presence=True)
    await romeo.request("<presence xmlns='jabber:client'/>").body()
    await server.advance(3)
    assert len(await romeo.request().body()) == 0, "it is never kept waiting"
    juliet.send(chat("hi").replace(" xmlns='jabber:client'", ""))
    await server.advance(3)
    assert text_of((await romeo.request().body())[0]) == "hi"
    await server.advance(3)
    await romeo.request().body()
    assert (await romeo.request().body()).get("condition") == "policy-violation"


# ---- the end


async def test_who_does_not_come_back_has_left(server: Harness) -> None:
    romeo, _juliet = await people(server)
    await romeo.quiet()
    await server.advance(52)
    await romeo.open[0].body()
    await server.advance(57)
    await server.quiet()
    assert len(server.server.streams) == 2
    await server.advance(3)
    await server.quiet()
    assert len(server.server.streams) == 1
    assert (await romeo.request().body()).get("condition") == "item-not-found"


async def test_a_connection_that_breaks_is_noticed(server: Harness) -> None:
    romeo, _ = await people(server)
    await romeo.quiet()
    romeo.open[0].cut()
    await server.advance(31)
    await server.quiet()
    assert len(server.server.streams) == 2
    await server.advance(62)
    await server.quiet()
    assert len(server.server.streams) == 1


async def test_a_pause(server: Harness) -> None:
    romeo, juliet = await people(server)
    await romeo.quiet()
    held = romeo.open.pop()
    paused = romeo.request(more="pause='110'")
    assert len(await held.body()) == 0
    assert len(await paused.body()) == 0
    juliet.send(chat("meanwhile").replace(" xmlns='jabber:client'", ""))
    await server.advance(100)
    assert await bodies(romeo) == ["meanwhile"]
    romeo.open.clear()
    await romeo.request(more="pause='5'").body()
    await server.advance(7)
    await server.quiet()
    assert len(server.server.streams) == 1, "a pause may be shorter than usual, too"


async def test_pauses_without_end(server: Harness) -> None:
    """Their answers are not kept for ever, and they come no faster than stanzas may."""
    romeo, _juliet = await people(server)
    await romeo.quiet()
    (session,) = [each.link for each in server.server.streams if isinstance(each.link, BoshSession)]
    repeated = romeo.text(more="pause='1'")
    await romeo.post(repeated).body()
    await romeo.post(repeated).body()
    for _ in range(20):
        await romeo.request(more="pause='1'").body()
        assert len(session.requests.answers) <= 3
    server.server.rate_limiter.configure(replace(server.config.limits, per_connection=ShapingLimits(0, 0, 1, 1)))
    await romeo.request(more="pause='1'").body()
    late = romeo.request(more="pause='1'")
    later = late if await late.waits() else romeo.request(more="pause='1'")
    assert await later.waits()
    await server.advance(30)
    assert len(await later.body()) == 0


async def test_termination_by_the_client(server: Harness) -> None:
    """Section 13: the oldest request hears of it."""
    romeo, juliet = await people(server)
    await romeo.quiet()
    held = romeo.open[0]
    text = romeo.text("<presence xmlns='jabber:client' type='unavailable'/>" + chat("adieu", "juliet@localhost"),
                      more="type='terminate'")  # fmt: skip
    last = romeo.post(text)
    assert (await held.body()).get("type") == "terminate"
    assert (await last.body()).attrib == {}
    assert text_of(await juliet.receive()) == "adieu"
    await server.quiet()
    assert len(server.server.streams) == 1
    assert (await romeo.post(text).body()).attrib == {}, "its answer may be asked for again"
    assert (await romeo.request().body()).get("condition") == "item-not-found"
    await server.advance(62)
    assert (await romeo.post(text).body()).get("condition") == "item-not-found"


async def test_the_end_is_told_to_the_next_request(server: Harness) -> None:
    romeo, _ = await people(server)
    await romeo.quiet()
    await server.advance(52)
    await romeo._read()
    await server.login("romeo", "web")  # conflict, while no request is there
    await server.quiet()
    body = await romeo.request().body()
    assert (body.get("condition"), body[-1][0].tag) == (
        "remote-stream-error", "{urn:ietf:params:xml:ns:xmpp-streams}conflict",
    )  # fmt: skip


# ---- keys


def key_sequence(seed: str, length: int, upper: bool = False) -> list[str]:
    """K(1) to K(n); section 15.3."""
    keys = []
    for _ in range(length):
        seed = hashlib.sha1(seed.encode()).hexdigest()
        seed = seed.upper() if upper else seed
        keys.append(seed)
    return keys


@pytest.mark.parametrize("upper", [False, True])
async def test_key_sequences(server: Harness, upper: bool) -> None:
    client = BoshClient(server)
    keys = key_sequence("a seed", 4, upper)
    await client.create(f"newkey='{keys.pop()}'")
    assert await client.request(more=f"key='{keys.pop()}'").waits()
    await server.advance(3)
    assert await client.request(more=f"key='{keys.pop()}'").waits()
    await server.advance(3)
    wrong = await client.request(more=f"key='{hashlib.sha1(b'x').hexdigest()}'").body()
    assert (wrong.get("type"), wrong.get("condition")) == ("terminate", "item-not-found")
    await server.quiet()
    assert not server.server.streams


async def test_a_new_key_sequence(server: Harness) -> None:
    client = BoshClient(server, hold=0)
    first, second = key_sequence("a seed", 3), key_sequence("another", 3)
    await client.create(f"newkey='{first[2]}'")
    for more in (f"key='{first[1]}'", f"key='{first[0]}' newkey='{second[2]}'", f"key='{second[1]}'"):
        await server.advance(3)
        assert (await client.request(more=more).body()).get("type") is None
    await server.advance(3)
    assert (await client.request().body()).get("condition") == "item-not-found", "no key"


async def test_a_repeated_request_must_have_its_key(server: Harness) -> None:
    client = BoshClient(server, hold=0)
    keys = key_sequence("a seed", 3)
    await client.create(f"newkey='{keys[2]}'")
    await server.advance(3)
    text = client.text(more=f"key='{keys[1]}'")
    await client.post(text).body()
    assert (await client.post(text).body()).get("type") is None
    assert (await client.post(text.replace(keys[1], keys[0])).body()).get("condition") == "item-not-found"


# ---- delivery


async def test_a_message_is_delivered_when_the_client_is_known_to_have_it(server: Harness) -> None:
    """Written to a connection is not delivered: the next requests prove it, and the ping behind it."""
    romeo, juliet = await people(server)
    await romeo.quiet()
    juliet.send(chat("proof").replace(" xmlns='jabber:client'", ""))
    await server.quiet()
    (held,) = romeo.open
    assert held.answered
    for _ in range(2):  # whoever comes now instead is sent it, since the first device is silent
        held.cut()
        await server.advance(65)
    await server.quiet()
    assert len(server.server.streams) == 1
    other = await server.login("romeo", "phone", presence=False)
    other.send("<presence/>")
    assert [text_of(each) for each in await other.receive_all() if each.tag.endswith("}message")] == ["proof"]


async def test_a_client_that_goes_on_acknowledges(server: Harness) -> None:
    romeo, juliet = await people(server)
    await romeo.quiet()
    juliet.send(chat("proof").replace(" xmlns='jabber:client'", ""))
    await server.quiet()
    held = romeo.open.pop()
    assert text_of((await held.body())[0]) == "proof"
    asks = romeo.request()  # R+1: could have been sent without the answer to R
    assert await asks.waits()
    await server.advance(2)
    assert len(await asks.body()) == 0, "answered soon, so that the next one proves it"
    ping = await romeo.request().body()  # R+2
    assert ping[0].find("{urn:xmpp:ping}ping") is not None
    answer = f"<iq xmlns='jabber:client' type='result' id='{ping[0].get('id')}' to='localhost'/>"
    romeo.request(answer)
    await server.quiet()
    other = await server.login("romeo", "phone")
    other.send("<presence/>")
    assert not [each for each in await other.receive_all() if each.tag.endswith("}message")]


async def test_acknowledged_answers(server: Harness) -> None:
    """Section 9: with `ack`, the very next request proves it; what is not acknowledged is reported."""
    romeo = await BoshClient.login(server, "romeo", "web", more="ack='1'")
    juliet = await server.login("juliet", "balcony", presence=True)
    romeo.send("<presence xmlns='jabber:client'/>")
    await romeo.quiet()
    juliet.send(chat("proof").replace(" xmlns='jabber:client'", ""))
    await server.quiet()
    held = romeo.open.pop()
    assert held.answered
    missing = romeo.rid
    await server.advance(3)
    told = await romeo.request(more=f"ack='{missing - 1}'").body()
    assert told.get("report") == str(missing)
    assert int(str(told.get("time"))) >= 3000
    assert text_of((await romeo.post(held.data).body())[0]) == "proof"
    ping = await romeo.request().body()
    assert ping[0].find("{urn:xmpp:ping}ping") is not None, "without `ack` it has all"


async def test_stream_management_and_resumption_by_other_transports(server: Harness) -> None:
    """BOSH to TCP and back to BOSH: nothing lost, nothing twice."""
    romeo, juliet = await people(server)
    romeo.send(f"<enable xmlns='{SM}' resume='true'/>")
    enabled = next(each for each in await romeo.quiet() if each.tag == f"{{{SM}}}enabled")
    juliet.send(chat("one").replace(" xmlns='jabber:client'", ""))
    assert await bodies(romeo) == ["one"]
    romeo.send(f"<a xmlns='{SM}' h='1'/>")
    juliet.send(chat("two").replace(" xmlns='jabber:client'", ""))
    await server.quiet()
    for sent in romeo.open:
        sent.cut()
    await server.advance(95)
    tcp = server.connect()
    await tcp.sign_in("romeo")
    tcp.send(f"<resume xmlns='{SM}' previd='{enabled.get('id')}' h='1'/>")
    got = await tcp.receive_all()
    assert got[0].tag == f"{{{SM}}}resumed"
    assert [text_of(each) for each in got if each.tag.endswith("}message")] == ["two"]
    tcp.send(f"<a xmlns='{SM}' h='2'/>")
    tcp.cut()
    juliet.send(chat("three").replace(" xmlns='jabber:client'", ""))
    await server.quiet()
    back = BoshClient(server)
    await back.create()
    await back.sign_in("romeo")
    back.send(f"<resume xmlns='{SM}' previd='{enabled.get('id')}' h='2'/>")
    got = await back.quiet()
    assert got[0].tag == f"{{{SM}}}resumed"
    assert [text_of(each) for each in got if each.tag.endswith("}message")] == ["three"]
    assert (await back.iq(PING)).get("type") == "result"


async def test_carbons(server: Harness) -> None:
    romeo, _juliet = await people(server)
    await romeo.iq("<enable xmlns='urn:xmpp:carbons:2'/>", "set")
    phone = await server.login("romeo", "phone", presence=True)
    await romeo.quiet()
    phone.send("<message to='juliet@localhost' type='chat'><body>from the phone</body></message>")
    (sent,) = [each for each in await romeo.quiet() if each.tag.endswith("}message")]
    assert sent.find("{urn:xmpp:carbons:2}sent") is not None


async def test_what_a_client_does_not_fetch_waits_in_the_log(server: Harness) -> None:
    """Backpressure: no request, so nothing goes; beyond the mark the channel lags, and the log is the queue."""
    romeo, juliet = await people(server)
    await romeo.quiet()
    await server.advance(51)
    await romeo._read()
    text = "x" * 10_000
    for number in range(40):
        juliet.send(f"<message to='romeo@localhost' type='chat'><body>{number} {text}</body></message>")
        await server.quiet()
    (session,) = server.server.streams - {juliet.stream}
    assert session.link.write_buffer_size < 128 << 10
    assert session.session is not None
    assert not session.session.channel.live
    got = [each.split(" ")[0] for each in await bodies(romeo)]
    assert got == [str(number) for number in range(40)]


# ---- bad input


@pytest.mark.parametrize(
    "text",
    [
        "", "   ", "rubbish", "<", "<body", "<body/>", f"<body xmlns='{BODY}'/>", f"<body xmlns='{BODY}' rid='x'/>",
        f"<body xmlns='{BODY}' rid='0'/>", f"<body xmlns='{BODY}' rid='-1'/>",
        f"<body xmlns='{BODY}' rid='9007199254740992'/>", f"<body xmlns='{BODY}' rid='1'>",
        f"<body xmlns='{BODY}' rid='1'></bode>", f"<body xmlns='{BODY}' rid='1'/><body/>",
        f"<!DOCTYPE body [<!ENTITY a 'b'>]><body xmlns='{BODY}' rid='1'/>",
        f"<?xml version='1.0' encoding='utf-16'?><body xmlns='{BODY}' rid='1'/>",
        f"<body xmlns='{BODY}' rid='1' rid='2'/>", f"<body xmlns='{BODY}' rid='1' a='&b;'/>",
        f"<body xmlns='{BODY}' rid='1' wait='now'/>", f"<body xmlns='{BODY}' rid='1' ver='one'/>",
        f"<body xmlns='{BODY}' rid='1' {' '.join(f'a{n}=' + repr('') for n in range(50))}/>",
        f"<body xmlns='{BODY}' rid='1' to='{'x' * 5000}'/>", f"<!-- --><body xmlns='{BODY}' rid='1'/>",
        "\ufeff<?xml version='1.0'?>" * 3,
    ],
)  # fmt: skip
async def test_what_is_no_request(server: Harness, text: str) -> None:
    answer = await BoshClient(server).post(text).answer()
    assert answer.status in (200, 400)
    if answer.status == 200:
        body = etree.fromstring(answer.body)
        assert (body.get("type"), body.get("condition")) == ("terminate", "bad-request")
    await server.quiet()
    assert not server.server.streams


@pytest.mark.parametrize(
    "payload",
    [
        "<message>", "</message>", "text", "<!-- comment --><presence/>", "<?pi?>", "</stream:stream>",
        "<a xmlns:stream='urn:x'/>&x;", "<![CDATA[</body>", "<presence/></stream:stream><stream:stream>",
        "</body><body>", "<presence/>" * 3 + "<iq", "<iq><!DOCTYPE a></iq>",
    ],
)  # fmt: skip
async def test_payloads_that_are_none(server: Harness, payload: str) -> None:
    romeo, _ = await people(server)
    body = await romeo.request(payload).body()
    while body.get("type") != "terminate":
        body = await romeo.open.pop().body()
    assert body.get("condition") in ("remote-stream-error", "bad-request")
    await server.quiet()
    assert len(server.server.streams) == 1


async def test_entities_are_not_expanded(server: Harness) -> None:
    lol = "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 9))
    text = f"<!DOCTYPE body [<!ENTITY a0 'lol'>{lol}]><body xmlns='{BODY}' rid='1' to='&a8;'/>"
    answer = await BoshClient(server).post(text).answer()
    assert b"bad-request" in answer.body


async def test_strangers_may_send_little(server: Harness) -> None:
    client = BoshClient(server)
    huge = f"<body rid='1' ver='1.6' xmlns='{BODY}'>{'<a/>' * 10_000}</body>"
    assert (await client.post(huge).body()).get("condition") == "policy-violation"
    await client.create()
    body = await client.request("<auth>" + "x" * 100_000 + "</auth>").body()
    assert body.get("condition") == "policy-violation"
    await server.quiet()
    assert not server.server.streams
    assert server.server.memory.incoming == 0


async def test_a_request_without_end_costs_little(server: Harness) -> None:
    romeo, _ = await people(server)
    body = await romeo.request("<message><body>" + "x" * 3_000_000 + "</body></message>").body()
    assert body.get("condition") == "policy-violation"
    assert server.server.memory.incoming == 0


@pytest.mark.server(more="limits: {connections_per_address: 5}")
async def test_sessions_of_one_address_are_bounded(server: Harness) -> None:
    for _ in range(5):
        assert (await BoshClient(server).create()).get("sid")
    assert (await BoshClient(server).create()).get("condition") == "policy-violation"
    assert (await BoshClient(server, peer="192.0.2.7").create()).get("sid"), "others are not held up"
    await server.advance(100)
    await server.quiet()
    assert not server.server.streams
    for _ in range(5):
        client = BoshClient(server)
        assert (await client.create()).get("sid")
        await client.request(more="type='terminate'").answer()
    assert (await BoshClient(server).create()).get("condition") == "policy-violation", "so many, one after the other"


async def test_sessions_of_strangers_are_bounded_in_all(server: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xmppd.streams.bosh.STRANGERS", 4)
    await BoshClient.login(server, "romeo", "web")
    await server.advance(1)  # whoever has signed in is no stranger
    made = [await BoshClient(server, peer=f"192.0.2.{number}").create() for number in range(5)]
    assert [each.get("condition") for each in made] == [None] * 4 + ["policy-violation"]
    await server.advance(100)
    assert (await BoshClient(server, peer="192.0.2.9").create()).get("sid")


async def test_a_session_of_tls_is_used_over_tls_only(server: Harness) -> None:
    """XEP-0124 section 19.1: the session is not ended, or anybody could end it."""
    romeo, _juliet = await people(server)
    await romeo.quiet()
    romeo.secure = False
    assert (await romeo.request(rid=romeo.rid + 1).answer()).status == 403
    romeo.secure = True
    assert (await romeo.iq(PING)).get("type") == "result"


async def test_no_session_in_clear_behind_a_proxy(server: Harness) -> None:
    """As with a WebSocket: the password would be read along."""
    said = {"Content-Type": "text/xml", "X-Forwarded-For": "198.51.100.7"}
    begin = f"<body xmlns='{BODY}' rid='1' to='localhost' ver='1.6'/>".encode()
    for proto, told in (("http", b"condition='policy-violation'"), ("https", b" sid='")):
        headers = {**said, "X-Forwarded-Proto": proto}
        answer = await server.http("POST", "/http-bind", begin, headers, trusted_proxies=("127.0.0.1",))
        assert told in answer.body, answer
    await server.quiet()
    assert len(server.server.streams) == 1


async def test_a_late_sign_in(server: Harness) -> None:
    client = BoshClient(server)
    await client.create()
    held = client.request()
    await server.advance(35)
    body = await held.body()
    assert body[0][0].tag == "{urn:ietf:params:xml:ns:xmpp-streams}connection-timeout"
    await server.quiet()
    assert not server.server.streams


# ---- backpressure and memory


async def test_a_client_that_asks_and_does_not_fetch_can_still_fetch(server: Harness) -> None:
    """It is not heard until it takes its answers; its next requests bring them, and nothing stands still."""
    romeo, _ = await people(server)
    await romeo.quiet()
    await server.advance(51)
    await romeo._read()
    query = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
    number = 400
    many = "".join(f"<iq xmlns='jabber:client' type='get' id='n{n}' to='localhost'>{query}</iq>" for n in range(number))
    romeo.send(many)
    found = []
    while len(found) < number and romeo.ended is None:
        got = [str(each.get("id")) for each in await romeo.quiet() if each.get("type") == "result"]
        await server.advance(3)  # the rate of one client
        found += got
    assert found == [f"n{n}" for n in range(number)]
    assert (await romeo.iq(PING)).get("type") == "result"
    assert server.server.memory.incoming == 0


@pytest.mark.server(more="limits: {per_connection: {bytes: 1 KiB, bytes_burst: 4 KiB}}")
async def test_requests_of_who_sends_too_much_wait(server: Harness) -> None:
    romeo, juliet = await people(server)
    await romeo.quiet()
    romeo.send(chat("a" * 6000, "juliet@localhost"))
    waiting = romeo.send(chat("b" * 6000, "juliet@localhost"))
    await server.quiet()
    assert [text_of(each)[0] for each in await juliet.receive_all()] == ["a"]
    assert server.server.memory.incoming > 6000, "what waits is counted"
    assert not waiting.answered
    juliet.send(chat("meanwhile").replace(" xmlns='jabber:client'", ""))
    assert await bodies(romeo) == ["meanwhile"], "what is there for it does not wait"
    await server.advance(20)
    assert [text_of(each)[0] for each in await juliet.receive_all()] == ["b"]
    assert server.server.memory.incoming == 0


@pytest.mark.parametrize("end", ["", "<message", "</x>"])
async def test_a_large_request_does_not_hold_up_others(end: str) -> None:
    """It is handled in slices, which make no difference to what is in it; what is wrong at its end is found there."""
    unlimited = "{bytes: 0, stanzas: 0}"
    server = await Harness(more=f"limits: {{per_connection: {unlimited}, per_account: {unlimited}}}").start()
    romeo, juliet = await people(server)
    texts = [f"{number} {'é' * 300}" for number in range(500)]
    sent = "".join(chat(text, "juliet@localhost") for text in texts)
    assert len(sent.encode()) > 8 * SLICE
    romeo.send(sent + end, "" if end else "type='terminate'")
    turns = 0
    while not juliet.inbox:
        await asyncio.sleep(0)
        turns += 1
        assert turns < 1000
    assert len(juliet.inbox) < 2 * SLICE // 600, "the loop has turned in between"
    assert [text_of(await juliet.receive()) for _ in texts] == texts
    await server.quiet()
    ends = [(body.get("type"), body.get("condition")) for body in [await each.body() for each in romeo.open]]
    assert ("terminate", "remote-stream-error" if end else None) in ends
    assert server.server.memory.incoming == 0
    await server.stop()


async def test_nothing_is_left_of_a_session(server: Harness) -> None:
    """Ended in each way: by its client, by silence, by an error of BOSH, by the server."""
    before = server.server.memory.used
    for end in ("terminate", "silence", "window", "conflict"):
        romeo, juliet = await people(server)
        juliet.send(chat("x" * 20_000).replace(" xmlns='jabber:client'", ""))
        await romeo.quiet()
        assert server.server.memory.used > before, "answers that may be asked for again are counted"
        if end == "terminate":
            await romeo.request(more="type='terminate'").body()
        elif end == "silence":
            for sent in romeo.open:
                sent.cut()
        elif end == "window":
            await romeo.request(rid=romeo.rid + 50).body()
        else:
            (await server.login("romeo", "web")).close()
        for sent in romeo.open:
            sent.cut()
        juliet.close()
        await server.advance(160)
        assert not server.server.streams
        assert (server.server.memory.used, server.server.memory.incoming) == (before, 0), end


@pytest.mark.parametrize("ended", [False, True])
async def test_a_request_whose_predecessor_never_comes_is_not_counted_for_ever(server: Harness, ended: bool) -> None:
    """Any stranger can send one; a count that only grows would refuse everybody in the end."""
    stranger = BoshClient(server)
    await stranger.create()
    early = stranger.request("<a>" + "x" * 5000 + "</a>", rid=stranger.rid + 2)
    await server.quiet()
    assert server.server.memory.incoming > 5000
    if ended:
        await server.advance(20)  # too late for signing in: told to the next request, which does not come either
    early.cut()
    await server.advance(160)
    await server.quiet()
    assert not server.server.streams
    assert server.server.memory.incoming == 0


async def test_a_message_that_waits_at_the_end_is_not_lost(server: Harness) -> None:
    """It was in no answer, or in one that nobody fetched, when its session ended in an orderly way."""
    romeo, juliet = await people(server)
    await romeo.quiet()
    await server.advance(51)
    await romeo._read()
    juliet.send(chat("unfetched").replace(" xmlns='jabber:client'", ""))
    await server.quiet()
    text = romeo.text(more="type='terminate'")
    romeo.post(text)
    await server.quiet()
    phone = await server.login("romeo", "phone")
    phone.send("<presence/>")
    got = [text_of(each) for each in await phone.receive_all() if each.tag.endswith("}message")]
    assert got == ["unfetched"]
