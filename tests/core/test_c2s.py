"""Streams of clients over a whole server: negotiation and what is refused (RFC 6120 sections 4 to 8)."""

from __future__ import annotations

import base64

import pytest

from tests.harness import HEADER, Client, Harness, condition, xml
from tests.harness.web_socket import SocketClient

SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
PING = "<ping xmlns='urn:xmpp:ping'/>"


def plain(user: str, password: str = "pencil", authzid: str = "") -> str:
    text = base64.b64encode(f"{authzid}\0{user}\0{password}".encode()).decode()
    return f"<auth xmlns='{SASL}' mechanism='PLAIN'>{text}</auth>"


async def opened(server: Harness, tls: str = "none") -> Client:
    client = server.connect(tls)
    client.open()
    await client.receive()
    return client


# ---- negotiation


async def test_features_before_tls_hold_starttls_only(server: Harness) -> None:
    """T09: nothing else is offered in the clear."""
    client = server.connect("starttls")
    client.open()
    features = await client.receive()
    assert [child.tag for child in features] == ["{urn:ietf:params:xml:ns:xmpp-tls}starttls"]
    assert features[0][0].tag.endswith("}required")


@pytest.mark.parametrize("early", [plain("romeo"), f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-1'>biws</auth>"])
async def test_no_sign_in_before_tls(server: Harness, early: str) -> None:
    client = await opened(server, "starttls")
    client.send(early)
    assert await client.stream_error() == "policy-violation"


async def test_what_follows_starttls_in_the_clear_is_dropped(server: Harness) -> None:
    """T08, in one segment and split."""
    await server.register("romeo")
    for parts in ([0], [5]):
        client = await opened(server, "starttls")
        client.link.start_tls = lambda context, link=client.link: setattr(link, "secure", True)  # type: ignore[method-assign, assignment, misc]
        server.server.tls_context = lambda domain: None  # type: ignore[method-assign, assignment, return-value]
        text = (
            "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>" + HEADER.format(domain="localhost") + plain("romeo")
        )
        client.send(text[: parts[0]])
        client.send(text[parts[0] :])
        proceed = await client.receive()
        assert proceed.tag.endswith("}proceed")
        await client.silence()
        client.stream.secured()
        client.open()
        assert (await client.receive()).find(f"{{{SASL}}}mechanisms") is not None


async def test_mechanisms(server: Harness) -> None:
    client = server.connect()
    client.open()
    names = [each.text for each in (await client.receive()).iter(f"{{{SASL}}}mechanism")]
    assert names == ["SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"]


async def test_header_answer(server: Harness) -> None:
    client = server.connect()
    client.send(HEADER.format(domain="localhost").replace(" to=", " from='romeo@localhost' to="))
    await client.receive()
    start = bytes(client.link.written).split(b">")[1]
    for part in (b"from='localhost'", b"to='romeo@localhost'", b"version='1.0'", b" id='", b"xml:lang='en'"):
        assert part in start


@pytest.mark.parametrize(
    ("header", "error"),
    [
        (HEADER.format(domain="elsewhere.example"), "host-unknown"),
        (HEADER.format(domain="conference.localhost"), "host-unknown"),
        (HEADER.format(domain="localhost").replace("jabber:client", "jabber:server"), "invalid-namespace"),
        (HEADER.format(domain="localhost").replace("localhost' version='1.0'", "localhost'"), "unsupported-version"),
        (
            HEADER.format(domain="localhost").replace("localhost' version='1.0'", "localhost' version='0.9'"),
            "unsupported-version",
        ),
        (
            HEADER.format(domain="localhost").replace("'1.0' ?>", "'1.1'?>").replace("1.0'?>", "1.1'?>"),
            "unsupported-encoding",
        ),
        ("<stream>", "invalid-namespace"),
        ("<html>", "bad-format"),
        ("GET / HTTP/1.1\r\n\r\n", "not-well-formed"),
    ],
)
async def test_bad_header(server: Harness, header: str, error: str) -> None:
    client = server.connect()
    client.send(header)
    assert await client.stream_error() == error


async def test_resource_conflict_ends_the_older_stream(server: Harness) -> None:
    """RFC 6120 section 7.7.2.2."""
    first = await server.login("romeo", "orchard")
    second = await server.login("romeo", "orchard")
    assert await first.stream_error() == "conflict"
    assert (await second.iq(PING)).get("type") == "result"


async def test_bad_resource(server: Harness) -> None:
    await server.register("romeo")
    client = server.connect()
    await client.sign_in("romeo")
    long = "x" * 1024
    answer = await client.iq(
        f"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{long}</resource></bind>", "set"
    )
    assert condition(answer) == "bad-request"
    await client.bind("orchard")


@pytest.mark.server(more="limits: {sessions_per_account: 3}")
async def test_too_many_sessions(server: Harness) -> None:
    for _ in range(3):
        await server.login("romeo")
    client = server.connect()
    await client.sign_in("romeo")
    answer = await client.iq("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>", "set")
    assert condition(answer) == "resource-constraint"


# ---- sign-in


@pytest.mark.parametrize(
    ("auth", "failure"),
    [
        (plain("romeo", "wrong"), "not-authorized"),
        (plain("nobody", "pencil"), "not-authorized"),
        (plain("romeo", authzid="juliet@localhost"), "invalid-authzid"),
        (f"<auth xmlns='{SASL}' mechanism='ANONYMOUS'/>", "invalid-mechanism"),
        (f"<auth xmlns='{SASL}' mechanism='scram-sha-1'/>", "invalid-mechanism"),
        (f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-1-PLUS'/>", "invalid-mechanism"),
        (f"<auth xmlns='{SASL}'/>", "invalid-mechanism"),
        (f"<auth xmlns='{SASL}' mechanism='PLAIN'>YW!x</auth>", "incorrect-encoding"),
        (f"<auth xmlns='{SASL}' mechanism='PLAIN'>YWJj</auth>", "malformed-request"),
        (f"<response xmlns='{SASL}'>YWJj</response>", "malformed-request"),
        (f"<abort xmlns='{SASL}'/>", "aborted"),
    ],
)
async def test_sasl_failures(server: Harness, auth: str, failure: str) -> None:
    """T11, T15; the stream stays for another try."""
    await server.register("romeo")
    client = await opened(server)
    client.send(auth)
    answer = await client.receive()
    assert answer.tag == f"{{{SASL}}}failure"
    assert answer[0].tag == f"{{{SASL}}}{failure}"
    client.send(plain("romeo"))
    assert (await client.receive()).tag == f"{{{SASL}}}success"


async def test_too_many_attempts(server: Harness) -> None:
    client = await opened(server)
    for _ in range(5):
        client.send(plain("romeo", "wrong"))
    assert await client.stream_error() == "policy-violation"


async def test_another_domain_after_sign_in(server: Harness) -> None:
    """T14."""
    await server.register("romeo")
    client = await opened(server)
    client.send(plain("romeo"))
    await client.receive()
    client.open("conference.localhost")
    assert await client.stream_error() == "host-unknown"


# ---- order of things


@pytest.mark.parametrize(
    "early",
    [
        "<message to='juliet@localhost'><body>hi</body></message>",
        f"<iq type='get' id='1'>{PING}</iq>",
        "<presence/>",
        "<inactive xmlns='urn:xmpp:csi:0'/>",
    ],
)
async def test_nothing_before_sign_in(server: Harness, early: str) -> None:
    """T06."""
    juliet = await server.login("juliet", presence=True)
    client = await opened(server)
    client.send(early)
    assert await client.stream_error() == "not-authorized"
    await juliet.silence()


@pytest.mark.parametrize(
    "early", ["<message to='juliet@localhost'><body>hi</body></message>", f"<iq type='get' id='1'>{PING}</iq>"]
)
async def test_nothing_before_binding(server: Harness, early: str) -> None:
    """T06."""
    juliet = await server.login("juliet", presence=True)
    await server.register("romeo")
    client = server.connect()
    await client.sign_in("romeo")
    client.send(early)
    assert await client.stream_error() == "not-authorized"
    await juliet.silence()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("<!DOCTYPE x>", "restricted-xml"),
        ("<message><!-- x --></message>", "restricted-xml"),
        ("<message><body>&lol;</body></message>", "restricted-xml"),
        ("<message>\0</message>", "not-well-formed"),
        ("<foo xmlns='urn:x'/>", "unsupported-stanza-type"),
        ("<foo/>", "unsupported-stanza-type"),
        ("<message xmlns='jabber:server' to='a@b'/>", "invalid-namespace"),
        ("text <message/>", ""),
    ],
)
async def test_bad_stream_content(server: Harness, text: str, error: str) -> None:
    romeo = await server.login("romeo")
    juliet = await server.login("juliet", presence=True)
    romeo.send(text)
    if error:
        assert await romeo.stream_error() == error
        assert romeo.closed
    assert (await juliet.iq(PING)).get("type") == "result", "nobody else is affected"


@pytest.mark.parametrize("claimed", ["juliet@localhost", "romeo@elsewhere/orchard", "localhost", "@@"])
async def test_forged_from(server: Harness, claimed: str) -> None:
    """T24."""
    romeo = await server.login("romeo", "orchard")
    juliet = await server.login("juliet", "balcony", presence=True)
    romeo.send(f"<message from='{claimed}' to='juliet@localhost/balcony'><body>x</body></message>")
    assert await romeo.stream_error() == "invalid-from"
    await juliet.silence()


@pytest.mark.parametrize(
    "claimed",
    [
        "romeo@localhost",
        "romeo@localhost/orchard",
        "ROMEO@localhost/orchard",
        "romeo@localhost/other",
        "rome\uff4f@localhost/x",
    ],
)
async def test_own_from_is_stamped(server: Harness, claimed: str) -> None:
    romeo = await server.login("romeo", "orchard")
    juliet = await server.login("juliet", "balcony", presence=True)
    romeo.send(f"<iq type='get' id='1' from='{claimed}' to='juliet@localhost/balcony'>{PING}</iq>")
    assert (await juliet.receive()).get("from") == "romeo@localhost/orchard"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (f"<iq type='get' to='localhost'>{PING}</iq>", "bad-request"),
        (f"<iq type='get' id='' to='localhost'>{PING}</iq>", "bad-request"),
        ("<iq type='get' id='1' to='localhost'/>", "bad-request"),
        (f"<iq type='get' id='1' to='localhost'>{PING}{PING}</iq>", "bad-request"),
        (f"<iq type='ask' id='1' to='localhost'>{PING}</iq>", "bad-request"),
        (f"<iq id='1' to='localhost'>{PING}</iq>", "bad-request"),
        ("<iq type='get' id='1' to='localhost'><x xmlns='urn:unknown'/></iq>", "service-unavailable"),
        ("<iq type='get' id='1' to='nobody@localhost'><x xmlns='urn:unknown'/></iq>", "service-unavailable"),
        ("<iq type='get' id='1' to='juliet@localhost/gone'><x xmlns='urn:unknown'/></iq>", "service-unavailable"),
        ("<iq type='get' id='1' to='elsewhere.example'><x xmlns='urn:unknown'/></iq>", "remote-server-not-found"),
        ("<message to='nobody@localhost' type='chat'><body>hi</body></message>", "service-unavailable"),
        ("<message to='a@b@localhost' type='chat'><body>hi</body></message>", "jid-malformed"),
        ("<message to='&quot;x@localhost' type='chat'><body>hi</body></message>", "jid-malformed"),
        ("<message to='' type='chat'><body>hi</body></message>", "jid-malformed"),
        (f"<message to='{'x' * 1024}@localhost' type='chat'><body>hi</body></message>", "jid-malformed"),
        ("<presence type='strange' to='juliet@localhost'/>", "bad-request"),
        (
            "<message to='juliet@localhost'><body>x</body><stream:stream xmlns:stream='http://etherx.jabber.org/streams'/></message>",
            "bad-request",
        ),
        (
            "<message to='juliet@localhost'><x xmlns='u'><stream:error/></x></message>",
            "bad-request",
        ),
    ],
)
async def test_bad_stanzas(server: Harness, text: str, error: str) -> None:
    """T17, T18, T22, T23: the sender is told, nobody gets anything, the stream goes on."""
    romeo = await server.login("romeo")
    juliet = await server.login("juliet", presence=True)
    romeo.send(text)
    assert condition(answer := await romeo.receive()) == error, xml(answer)
    assert (await romeo.iq(PING)).get("type") == "result"
    await juliet.silence()


async def test_no_error_answers_an_error(server: Harness) -> None:
    """RFC 6120 section 8.3.1."""
    romeo = await server.login("romeo")
    for text in (
        "<message type='error' to='nobody@localhost'><body>x</body></message>",
        "<iq type='result' id='1' to='nobody@localhost'/>",
        "<iq type='error' id='1' to='localhost'><error type='cancel'/></iq>",
    ):
        romeo.send(text)
    await romeo.silence()


# ---- time


async def test_silence_before_sign_in_ends(server: Harness) -> None:
    """T05 in small: deadlines without a timer per connection."""
    silent, slow = server.connect(), await opened(server)
    await server.advance(9)
    assert not silent.closed
    await server.advance(5)
    assert silent.closed
    assert not slow.closed
    await server.advance(20)
    assert slow.closed


async def test_the_handshake_has_a_time_of_its_own(server: Harness) -> None:
    """Profanity asks its person about the certificate inside it."""
    slow = await opened(server, "starttls")
    slow.link.securing = True
    await server.advance(60)
    assert not slow.closed
    slow.link.securing, slow.link.secure = False, True
    slow.stream.secured()
    await server.advance(9)
    assert not slow.closed
    await server.advance(5)
    assert slow.closed


async def test_an_idle_client_is_asked_and_then_given_up(server: Harness) -> None:
    romeo = await server.login("romeo")
    await server.advance(304)
    ping = await romeo.receive()
    assert ping[0].tag == "{urn:xmpp:ping}ping"
    romeo.send(f"<iq type='result' id='{ping.get('id')}' to='localhost'/>")
    await server.advance(200)
    assert not romeo.closed
    await server.advance(110)
    assert (await romeo.receive())[0].tag == "{urn:xmpp:ping}ping"
    await server.advance(70)
    assert await romeo.stream_error() == "connection-timeout"


async def test_an_idle_stream_holds_no_parser(server: Harness) -> None:
    romeo = await server.login("romeo")
    await server.advance(15)
    assert romeo.stream.parser._parser is None
    assert (await romeo.iq(PING)).get("type") == "result"


async def test_clean_close(server: Harness) -> None:
    romeo = await server.login("romeo")
    romeo.close()
    await romeo.receive_all()
    assert romeo.closed
    assert not server.host.accounts["romeo@localhost"].sessions


async def test_binding_while_the_store_is_away(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """What a plugin must read first cannot be read: an error, for the moment; the stream goes on."""
    await server.register("romeo")
    client = server.connect()
    await client.sign_in("romeo")
    server.backend.unreachable = True
    answer = await client.iq("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>", "set")
    assert condition(answer) == "resource-constraint"
    server.backend.unreachable = False
    assert condition(await client.iq("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>", "set")) == ""
    assert "Traceback" not in caplog.text


async def test_resuming_while_the_store_is_away(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """The client must come back with what it knows: <failed/> would say that its session is over."""
    await server.register("romeo")
    client = server.connect()
    await client.sign_in("romeo")
    server.backend.unreachable = True
    client.send("<resume xmlns='urn:xmpp:sm:3' previd='some-id' h='0'/>")
    assert await client.stream_error() == "resource-constraint"
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("lang", ["x" * 200, "it'", "it en", "-", "de-" + "a" * 9])
async def test_what_is_no_language_is_put_on_nothing(server: Harness, lang: str) -> None:
    """Each stanza would grow by it, for every recipient."""
    romeo = await server.login("romeo", lang=lang.replace("'", "&apos;"))
    await romeo.iq("<ping xmlns='urn:xmpp:ping'/>", to="localhost")
    romeo.send("<message to='romeo@localhost' type='chat'><body>x</body></message>")
    romeo.send("<presence/>")
    assert "xml:lang" not in "".join(xml(each) for each in await romeo.receive_all())


async def test_a_stranger_may_not_send_white_space_for_ever(server: Harness) -> None:
    client = server.connect()
    client.open()
    await client.receive_all()
    for _ in range(100):
        client.send(" " * 100)
    assert "policy-violation" in "".join(xml(each) for each in await client.receive_all())
    assert client.closed
    romeo = await server.login("romeo")
    for _ in range(1000):
        romeo.send("\n" * 100)
    assert (await romeo.iq("<ping xmlns='urn:xmpp:ping'/>", to="localhost")).get("type") == "result"


async def test_a_stanza_cut_anywhere_is_answered_at_once(server: Harness) -> None:
    """Also by an expat that defers: no answer waits for the client's next bytes."""
    romeo = await server.login("romeo")
    ping = b"<iq type='get' id='p' to='localhost'><ping xmlns='urn:xmpp:ping'></ping></iq>"
    for cut in range(1, len(ping)):
        romeo.send(ping[:cut])
        romeo.send(ping[cut:])
        assert (await romeo.receive()).get("type") == "result", ping[:cut]
        if cut % 20 == 0:
            await server.advance(60)
            romeo.stream.parser.rest()


@pytest.mark.parametrize("web", [False, True])
async def test_who_has_signed_in_goes_ahead_of_strangers(server: Harness, web: bool) -> None:
    """Of whom a few have their turn at a time (`net.engine`)."""
    await server.register("romeo")
    client = await SocketClient.connect(server) if web else server.connect()
    if web:
        client.send("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='localhost' version='1.0'/>")
    else:
        client.open()
    await client.receive_all()
    assert not client.link.first
    client.send(plain("romeo"))
    assert (await client.receive()).tag.endswith("}success")
    assert client.link.first
