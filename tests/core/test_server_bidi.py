"""Streams between servers that serve both directions (XEP-0288), whoever has opened them; and those that several of our
domains use (XEP-0220 section 2.5.1)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from tests.core.test_server_out import BOB, OTHER, STREAM_ERROR, Told, calls, give, side
from tests.harness import Client, Element, Harness, xml
from tests.harness.authority import Authority
from tests.harness.peer_stream import (
    BIDI,
    BIDI_FEATURE,
    DIALBACK,
    EXTERNAL,
    SASL,
    SERVER,
    SM,
    SM_FEATURE,
    CalledStream,
    Federation,
    PeerStream,
    federate,
)
from xmppd.config import RemoteDomainConfig
from xmppd.streams import remote_domains, remote_lines, server_stream

EVIL, THIRD = "evil.example", "third.example"
RESULT, VERIFY = f"{{{DIALBACK}}}result", f"{{{DIALBACK}}}verify"
CLOSED = b"</stream:stream>"
pytestmark = pytest.mark.server(hosts={"second.localhost": {}})


def chat(id: int | str = 1, sender: str = BOB, to: str = "romeo@localhost") -> str:
    return f"<message from='{sender}' to='{to}' type='chat' id='{id}'><body>{id}</body></message>"


def ids(found: list[Element]) -> list[str]:
    return [str(each.get("id")) for each in found if each.tag.endswith("}message")]


def handled(found: Iterable[Element]) -> list[str]:
    return [str(each.get("h")) for each in found if each.tag == f"{{{SM}}}a"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def certificate(authority: Authority) -> tuple[bytes, ...]:
    return authority.certificate(dns=[OTHER]).ders


@pytest.fixture
def fed(server: Harness, authority: Authority) -> Federation:
    return federate(server, authority)


@pytest.fixture
async def romeo(server: Harness) -> Client:
    return await server.login("romeo", "x", presence=True)


@pytest.fixture
async def peer(fed: Federation, certificate: tuple[bytes, ...]) -> PeerStream:
    """It has opened a stream, for both ways, with XEP-0198."""
    peer = await PeerStream(fed, OTHER, certificate).sign_in_external(bidi=True)
    peer.send(f"<enable xmlns='{SM}'/>")
    assert (await peer.receive()).tag == f"{{{SM}}}enabled"
    return peer


def give_from(fed: Federation, local: str, *ids: str, remote: str = OTHER) -> list[Told]:
    made = [Told(each, to=f"bob@{remote}") for each in ids]
    for each in made:
        fed.remotes.send(local, remote, each)
    return made


# ---- theirs: it is offered, and enabled


async def test_it_is_offered_behind_tls_and_before_the_sign_in(fed: Federation, certificate: tuple[bytes, ...]) -> None:
    peer = PeerStream(fed, OTHER, certificate)
    peer.header()
    assert "bidi" not in xml(await peer.receive())
    other = PeerStream(fed, OTHER, certificate)
    features = await other.starttls()
    assert "{urn:xmpp:features:bidi}bidi" in [each.tag for each in features]
    other.auth()
    await other.receive()
    other.header()
    assert "bidi" not in xml(await other.receive())


@pytest.mark.parametrize("options", [{"bidi": False}, {"domains": {OTHER: RemoteDomainConfig(bidi=False)}}])
async def test_it_is_not_offered(server: Harness, authority: Authority, options: dict[str, Any]) -> None:
    fed = federate(server, authority, **options)
    peer = PeerStream(fed, OTHER, authority.certificate(dns=[OTHER]).ders)
    assert "bidi" not in xml(await peer.starttls())
    peer.send(BIDI)
    assert await peer.stream_error() == "not-authorized"


async def test_in_clear(server: Harness) -> None:
    fed = federate(server, tls=False)
    peer = PeerStream(fed)
    peer.header()
    assert "bidi" not in xml(await peer.receive())
    peer.send(BIDI)
    assert await peer.stream_error() == "not-authorized"


async def test_enabled_twice(fed: Federation, certificate: tuple[bytes, ...]) -> None:
    peer = PeerStream(fed, OTHER, certificate)
    await peer.starttls()
    peer.send(BIDI + BIDI)
    assert await peer.stream_error() == "not-authorized"


async def test_enabled_behind_the_sign_in(fed: Federation, certificate: tuple[bytes, ...]) -> None:
    peer = await PeerStream(fed, OTHER, certificate).sign_in_external()
    peer.send(BIDI)
    assert await peer.stream_error() == "unsupported-stanza-type"


@pytest.mark.parametrize("said", [BIDI, BIDI_FEATURE], ids=["element", "feature"])
async def test_our_stanzas_go_over_it(
    server: Harness, fed: Federation, certificate: tuple[bytes, ...], romeo: Client, said: str
) -> None:
    """Whichever namespace it has taken for the right one. Without XEP-0198 the answer to a ping counts."""
    peer = PeerStream(fed, OTHER, certificate)
    await peer.starttls()
    peer.send(said)
    peer.auth()
    await peer.receive()
    peer.header()
    await peer.receive()
    romeo.send(f"<message to='{BOB}' type='chat' id='m1'><body>hi</body></message>")
    message, ping = await peer.receive_all()
    assert (message.get("id"), message.get("from")) == ("m1", romeo.jid) and not fed.called
    assert "urn:xmpp:ping" in xml(ping)
    assert len(await server.storage.unheard("localhost")) == 1
    peer.send(f"<iq type='result' id='{ping.get('id')}' from='{OTHER}' to='localhost'/>" + chat(2))
    assert ids(await romeo.receive_all()) == ["2"]
    assert len(await server.storage.unheard("localhost")) == 0


async def test_acknowledgements_both_ways(server: Harness, fed: Federation, romeo: Client, peer: PeerStream) -> None:
    told = give(fed, "1", "2")
    found = await peer.receive_all()
    assert ids(found) == ["1", "2"] and found[1].tag == f"{{{SM}}}r" and not fed.called
    peer.send(chat(1) + f"<r xmlns='{SM}'/><a xmlns='{SM}' h='1'/>")
    assert handled(await peer.receive_all()) == ["1"]
    assert calls(told) == [["delivered"], []]
    peer.send(f"<a xmlns='{SM}' h='2'/>")
    assert calls(told) == [["delivered"], ["delivered"]] and fed.remotes.waiting == 0


async def test_what_goes_before_xep_0198_is_on_is_not_counted(
    server: Harness, fed: Federation, certificate: tuple[bytes, ...]
) -> None:
    """Prosody sends what waits, and enables it then."""
    peer = await PeerStream(fed, OTHER, certificate).sign_in_external(bidi=True)
    told = give(fed, "1")
    _, ping = await peer.receive_all()
    peer.send(f"<enable xmlns='{SM}'/>")
    told += give(fed, "2", "3")
    assert ids(await peer.receive_all()) == ["2", "3"]
    peer.send(f"<iq type='result' id='{ping.get('id')}' from='{OTHER}' to='localhost'/>")
    await server.quiet()
    assert calls(told) == [["delivered"], [], []]
    assert f"{{{SM}}}r" in [each.tag for each in await peer.receive_all()]
    peer.send(f"<a xmlns='{SM}' h='2'/>")
    assert calls(told) == [["delivered"]] * 3


async def test_a_ping_counts_once_xep_0198_is_on(
    server: Harness, fed: Federation, certificate: tuple[bytes, ...]
) -> None:
    """It is a stanza like others."""
    peer = await PeerStream(fed, OTHER, certificate).sign_in_external(bidi=True)
    told = give(fed, "1")
    _, ping = await peer.receive_all()
    told += give(fed, "2")
    peer.send(f"<enable xmlns='{SM}'/>")
    peer.send(f"<iq type='result' id='{ping.get('id')}' from='{OTHER}' to='localhost'/>")
    found = await peer.receive_all()
    assert ids(found) == ["2"] and "urn:xmpp:ping" in xml(found[-1])
    told += give(fed, "3")
    assert ids(await peer.receive_all()) == ["3"]
    peer.send(f"<a xmlns='{SM}' h='2'/>")
    assert calls(told) == [["delivered"]] * 3 and not peer.closed


async def test_acknowledged_too_much(server: Harness, fed: Federation, peer: PeerStream) -> None:
    told = give(fed, "1", "2")
    await peer.receive_all()
    peer.send(f"<a xmlns='{SM}' h='3'/>")
    assert "handled-count-too-high" in "".join(map(xml, await peer.receive_all())) and calls(told) == [[], []]
    await server.advance(5)
    called = await (await fed.next_call()).accept()
    assert await called.stanzas() == ["1", "2"]
    called.acknowledge(2)
    assert calls(told) == [["delivered"]] * 2


async def test_by_dialback(server: Harness, fed: Federation) -> None:
    peer = PeerStream(fed)
    await peer.starttls()
    peer.send(BIDI)
    peer.result()
    called = await fed.next_call()
    told = give(fed, "1")
    ours = await fed.next_call(1)
    await called.encrypt(BIDI_FEATURE)
    asked = await called.receive()
    assert asked.tag == VERIFY, "not for who is only asked about a key"
    assert await peer.receive_all() == [], "nothing before the proof"
    called.send(f"<db:verify from='{OTHER}' to='localhost' id='{asked.get('id')}' type='valid'/>")
    answer, message, _ = await peer.receive_all()
    assert (answer.get("type"), message.get("id")) == ("valid", "1") and told[0].calls == []
    await ours.accept()
    told += give(fed, "2")
    assert ids(await peer.receive_all()) == ["2"] and await ours.stanzas() == [], "each line is on one stream"
    peer.cut()
    assert await ours.stanzas() == ["1", "2"]


async def test_only_the_pairs_that_it_has_proved(
    server: Harness, fed: Federation, peer: PeerStream, authority: Authority
) -> None:
    """The inverse of each, and no other."""
    side(fed, lambda called: called.accept())
    give_from(fed, "second.localhost", "1")
    give_from(fed, "localhost", "2", remote=THIRD)
    give(fed, "3")
    assert ids(await peer.receive_all()) == ["3"]
    assert sorted((each.local, each.name) for each in fed.called) == [
        ("localhost", THIRD),
        ("second.localhost", OTHER),
    ]
    for each in fed.called:
        each.close()
    await server.quiet()
    peer.result(to="second.localhost")
    assert (await peer.receive()).get("type") == "valid"
    (told,) = give_from(fed, "second.localhost", "4")
    assert ids(await peer.receive_all()) == ["1", "4"] and told.calls == []


async def test_who_has_not_asked_for_it_is_sent_nothing(
    server: Harness, fed: Federation, certificate: tuple[bytes, ...]
) -> None:
    peer = await PeerStream(fed, OTHER, certificate).sign_in_external()
    give(fed, "1")
    await fed.next_call()
    assert await peer.receive_all() == []


@pytest.mark.parametrize(
    "said",
    [
        f"<db:result from='{OTHER}' to='localhost' type='valid'/>",
        f"<db:result from='{EVIL}' to='localhost' type='valid'/>",
        f"<db:verify from='{EVIL}' to='localhost' id='x' type='valid'/>",
    ],
)
async def test_answers_that_nobody_has_asked_for(fed: Federation, romeo: Client, peer: PeerStream, said: str) -> None:
    """The unsolicited dialback of XEP-0220 section 3.1."""
    peer.send(said + chat(1, sender=f"x@{EVIL}"))
    assert await peer.stream_error() == "unsupported-stanza-type"
    assert await romeo.receive_all() == []


async def test_it_never_reads(server: Harness, fed: Federation, romeo: Client, peer: PeerStream) -> None:
    """It is read on, since it may have something to say; what it asks for is bounded."""
    peer.link.stalled = True
    told = give(fed, *(f"x{number}" for number in range(60)), size=20_000)
    peer.send(chat(1))
    assert ids(await romeo.receive_all()) == ["1"] and not peer.link.paused
    for _ in range(5000):
        peer.send(f"<r xmlns='{SM}'/>")
    assert peer.link.paused and peer.link.write_buffer_size < 300_000
    await server.advance(remote_lines.SILENCE + 10)
    assert peer.link.closed and not any(calls(told))


async def test_it_closes_while_we_write(server: Harness, fed: Federation, peer: PeerStream) -> None:
    told = give(fed, "1")
    await peer.receive_all()
    peer.send(f"<a xmlns='{SM}' h='1'/>")
    told += give(fed, "2", "3")
    peer.close()
    called = await (await fed.next_call()).accept()
    assert await called.stanzas() == ["2", "3"]
    called.acknowledge(2)
    assert calls(told) == [["delivered"]] * 3


async def test_both_sides_open_streams_at_once(
    server: Harness, fed: Federation, certificate: tuple[bytes, ...]
) -> None:
    """What was written to the first that was there is not written to the other one; both stay."""
    told = give(fed, "1")
    called = await fed.next_call()
    peer = await PeerStream(fed, OTHER, certificate).sign_in_external(bidi=True)
    await called.accept(bidi=True)
    assert ids(await peer.receive_all()) == ["1"] and await called.stanzas() == []
    assert not called.closed and not peer.closed
    told += give(fed, "2")
    peer.cut()
    assert await called.stanzas() == ["1", "2"] and fed.calls == 1
    called.acknowledge(2)
    assert calls(told) == [["delivered"]] * 2


async def test_a_server_that_cannot_be_called(server: Harness, fed: Federation, certificate: tuple[bytes, ...]) -> None:
    """What waits for it goes as soon as it calls."""
    fed.refuses[OTHER] = ConnectionRefusedError()
    told = give(fed, "1")
    await server.advance(100)
    peer = await PeerStream(fed, OTHER, certificate).sign_in_external(bidi=True)
    assert ids(await peer.receive_all()) == ["1"]
    peer.cut()
    peer = await PeerStream(fed, OTHER, certificate).sign_in_external(bidi=True)
    peer.send(f"<enable xmlns='{SM}'/>")
    (asked,) = give(fed, "2", patient=False)
    assert ids(await peer.receive_all()) == ["1", "2"]
    assert told[0].calls == [] and asked.calls == []


async def test_what_ends_streams_goes_alone_on_them(
    server: Harness, fed: Federation, certificate: tuple[bytes, ...]
) -> None:
    """Of two domains of ours on streams of a server that cannot be called: neither waits for ever."""
    fed.refuses[OTHER] = ConnectionRefusedError()

    async def call() -> PeerStream:
        peer = await PeerStream(fed, OTHER, certificate).sign_in_external(bidi=True)
        peer.result(to="second.localhost")
        return peer

    def pong(found: list[Element]) -> None:
        (ping,) = [each for each in found if "urn:xmpp:ping" in xml(each)]
        peer.send(f"<iq type='result' id='{ping.get('id')}' from='{OTHER}' to='{ping.get('from')}'/>")

    told = give(fed, "1") + give_from(fed, "second.localhost", "2")
    for _ in range(2):
        peer = await call()
        assert ids(await peer.receive_all()) == ["1", "2"]
        peer.cut()
    peer = await call()
    for id in ("1", "2", "3"):
        while not (found := await peer.receive_all()):
            await server.advance(1)
        assert ids(found) == [id]
        if id == "2":
            told += give(fed, "3")
        await server.advance(30)
        assert await peer.receive_all() == [], "nothing else is on the stream"
        pong(found)
        await server.quiet()
    assert calls(told) == [["delivered"]] * 3 and not peer.closed


async def test_nobody_joins_who_goes_alone(server: Harness, fed: Federation, certificate: tuple[bytes, ...]) -> None:
    told = give(fed, "1")
    fed.refuses[OTHER] = ConnectionRefusedError()
    for last in (False, False, True):
        peer = await PeerStream(fed, OTHER, certificate).sign_in_external(bidi=True)
        peer.result(to="second.localhost")
        assert ids(await peer.receive_all()) == ["1"]
        if not last:
            peer.cut()
    told += give_from(fed, "second.localhost", "2")
    assert ids(await peer.receive_all()) == [] and calls(told) == [[], []]


async def test_no_parallel_stream_for_who_is_idle(server: Harness, fed: Federation, peer: PeerStream) -> None:
    """What we send counts as use, too."""
    for number in range(4):
        await server.advance(500)
        give(fed, f"m{number}")
        peer.send(f"<a xmlns='{SM}' h='{number + 1}'/>")
    assert not peer.closed and not fed.called
    await server.advance(1300)
    assert peer.stream.leaving or peer.closed


# ---- ours


@pytest.mark.parametrize("feature", [BIDI_FEATURE, BIDI], ids=["feature", "element"])
async def test_we_enable_it(server: Harness, fed: Federation, feature: str) -> None:
    give(fed, "1")
    called = await fed.next_call()
    await called.encrypt(EXTERNAL, feature)
    assert [each.tag for each in await called.receive_all()] == ["{urn:xmpp:bidi}bidi", f"{{{SASL}}}auth"]


@pytest.mark.parametrize("options", [{"bidi": False}, {"domains": {OTHER: RemoteDomainConfig(bidi=False)}}])
async def test_we_do_not_enable_it(server: Harness, options: dict[str, Any]) -> None:
    fed = federate(server, **options)
    give(fed, "1")
    called = await fed.next_call()
    await called.encrypt(EXTERNAL, BIDI_FEATURE)
    assert [each.tag for each in await called.receive_all()] == [f"{{{SASL}}}auth"]


async def test_we_do_not_enable_it_in_clear(server: Harness) -> None:
    fed = federate(server, tls=False)
    give(fed, "1")
    called = await fed.next_call()
    called.answer(BIDI_FEATURE)
    assert [each.tag for each in await called.receive_all()] == [RESULT]


@pytest.fixture
async def called(fed: Federation) -> CalledStream:
    """A stream of ours, for both ways, with XEP-0198; "0" was sent on it."""
    give(fed, "0")
    called = await (await fed.next_call()).accept(bidi=True)
    await fed.harness.quiet()
    called.acknowledge(1)
    await called.receive_all()
    return called


async def test_they_send_on_it(server: Harness, fed: Federation, romeo: Client, called: CalledStream) -> None:
    server.backend.hold()
    called.send(chat(1) + chat(2, sender=OTHER) + f"<r xmlns='{SM}'/>")
    await server.quiet()
    assert await called.receive_all() == [], "not before it is on the disk"
    server.backend.release()
    assert handled(await called.receive_all()) == ["2"]
    assert ids(await romeo.receive_all()) == ["1", "2"]
    romeo.send(f"<message to='{BOB}' type='chat' id='m1'><body>hi</body></message>")
    assert await called.stanzas() == ["m1"] and fed.calls == 1


async def test_a_flood_on_it_is_read_slowly(
    server: Harness, fed: Federation, romeo: Client, called: CalledStream
) -> None:
    server.backend.hold()
    for number in range(2000):
        called.send(chat(f"f{number}"))
    await server.quiet()
    assert called.link.paused and called.stream.received - called.stream.handled < 700
    assert called.stream.pool is not None and called.stream.rate is not None
    server.backend.release()
    await server.advance(5)
    assert "f1999" in ids(await romeo.receive_all())


@pytest.mark.parametrize(
    ("said", "condition"),
    [
        (chat(sender=f"x@{EVIL}"), "invalid-from"),
        (chat(sender="romeo@localhost"), "invalid-from"),
        (chat(sender=f"x@sub.{OTHER}"), "invalid-from"),
        (chat(to="a@third.example"), "host-unknown"),
        ("<message to='romeo@localhost'/>", "improper-addressing"),
        (f"<db:result from='{EVIL}' to='localhost' type='valid'/>" + chat(sender=f"x@{EVIL}"), "invalid-from"),
        (BIDI, "unsupported-stanza-type"),
    ],
)
async def test_what_they_may_not_send(romeo: Client, called: CalledStream, said: str, condition: str) -> None:
    called.send(said + chat(9))
    found = "".join(map(xml, await called.receive_all()))
    assert condition in found and called.closed and await romeo.receive_all() == []


@pytest.mark.parametrize("enabled", [True, False])
async def test_stanzas_before_they_have_taken_us(
    server: Harness, fed: Federation, romeo: Client, enabled: bool
) -> None:
    """They have no right to send anything, and who has no bidi never has it."""
    give(fed, "1")
    called = await fed.next_call()
    await called.encrypt(EXTERNAL, *([BIDI_FEATURE] if enabled else []))
    called.send(chat(1))
    assert "not-authorized" in xml((await called.receive_all())[-1]) and called.closed
    assert await romeo.receive_all() == []


async def test_stanzas_on_a_stream_that_goes_one_way(server: Harness, fed: Federation, romeo: Client) -> None:
    give(fed, "1")
    called = await (await fed.next_call()).accept()
    called.send(chat(1))
    assert "not-authorized" in xml((await called.receive_all())[-1]) and called.closed
    assert await romeo.receive_all() == []


async def test_they_send_before_xep_0198_is_on(server: Harness, fed: Federation, romeo: Client) -> None:
    """It does not count then."""
    give(fed, "1")
    called = await fed.next_call()
    await called.encrypt(EXTERNAL, BIDI_FEATURE)
    await called.receive_all()
    called.send(f"<success xmlns='{SASL}'/>")
    called.answer(SM_FEATURE)
    called.send(chat(1))
    await called.receive_all()
    called.send(f"<enabled xmlns='{SM}'/>" + chat(2) + f"<r xmlns='{SM}'/>")
    assert ids(await romeo.receive_all()) == ["1", "2"]
    assert handled(await called.receive_all()) == ["1"]


@pytest.mark.parametrize("shown", [{"dns": [OTHER]}, {"dns": [EVIL]}, None], ids=["named", "another", "none"])
async def test_what_their_side_proves(
    server: Harness, fed: Federation, authority: Authority, romeo: Client, shown: dict[str, Any] | None
) -> None:
    """Without a certificate that names them, they are those that DNS has led us to, as with dialback."""
    give(fed, "1")
    called = await fed.next_call()
    called.certificate = authority.certificate(**shown).ders if shown else ()
    await called.encrypt(BIDI_FEATURE)
    assert [each.tag for each in await called.receive_all()] == ["{urn:xmpp:bidi}bidi", RESULT]
    called.send(f"<db:result from='{OTHER}' to='localhost' type='valid'/>" + chat(1))
    assert ids(await romeo.receive_all()) == ["1"]
    proof = "certificate" if shown == {"dns": [OTHER]} else "dialback"
    assert called.stream.pairs == {(OTHER, "localhost"): proof}
    fed.configure(dialback=False)
    assert called.closed == (proof == "dialback")


async def test_keys_of_further_domains_of_theirs(
    server: Harness, fed: Federation, authority: Authority, romeo: Client
) -> None:
    """Only by certificate: the id of this stream is their own, so a key for it may be one that they have heard."""
    give(fed, "1")
    called = await fed.next_call()
    called.certificate = authority.certificate(dns=[OTHER, f"rooms.{OTHER}"]).ders
    await called.accept(bidi=True)
    called.send(f"<db:result from='rooms.{OTHER}' to='localhost'>key</db:result>")
    called.send(f"<db:result from='{EVIL}' to='localhost'>key</db:result>")
    answers = [each for each in await called.receive_all() if each.tag == RESULT]
    assert [(each.get("to"), each.get("type")) for each in answers] == [(f"rooms.{OTHER}", "valid"), (EVIL, "error")]
    assert "not-authorized" in xml(answers[1]) and fed.calls == 1
    called.send(chat(1, sender=f"x@rooms.{OTHER}"))
    assert ids(await romeo.receive_all()) == ["1"]
    called.send(chat(2, sender=f"x@{EVIL}"))
    assert called.closed and await romeo.receive_all() == []


async def test_they_ask_whether_a_key_is_ours(fed: Federation, called: CalledStream) -> None:
    """Prosody asks on any stream that it has."""
    key = fed.remotes.keys.key(f"rooms.{OTHER}", "localhost", "another-id")
    for each in (key, "forged"):
        called.send(f"<db:verify from='rooms.{OTHER}' to='localhost' id='another-id'>{each}</db:verify>")
    assert [each.get("type") for each in await called.receive_all()] == ["valid", "invalid"]


async def test_what_they_send_keeps_it_open(server: Harness, romeo: Client, called: CalledStream) -> None:
    for number in range(4):
        await server.advance(400)
        called.send(chat(number))
    assert not called.closed and not called.stream.leaving


async def test_goodbye_in_order(server: Harness, fed: Federation, called: CalledStream) -> None:
    """What they had on their way when we closed it still counts (RFC 6120 section 4.4)."""
    await server.advance(606)
    romeo = await server.login("romeo", "x", presence=True)
    assert called.link.written.endswith(CLOSED) and called.stream.leaving and not called.link.closed
    called.send(chat(1) + f"<r xmlns='{SM}'/>")
    assert ids(await romeo.receive_all()) == ["1"]
    give(fed, "2")
    again = await (await fed.next_call(1)).accept(bidi=True)
    assert await again.stanzas() == ["2"]
    called.send(CLOSED.decode())
    assert called.link.closed and called.link.written.count(CLOSED) == 1 and called.link.written.endswith(CLOSED)


async def test_goodbye_without_an_answer(server: Harness, fed: Federation, called: CalledStream) -> None:
    await server.advance(606)
    assert called.stream.leaving and not called.link.closed
    await server.advance(server_stream.GOODBYE + 1)
    assert called.link.closed and called.stream not in fed.remotes.outgoing


async def test_what_they_send_again(server: Harness, fed: Federation, romeo: Client, called: CalledStream) -> None:
    """The stream broke before they heard that we have it."""
    called.send(chat("m1"))
    assert ids(await romeo.receive_all()) == ["m1"]
    called.cut()
    give(fed, "1")
    again = await (await fed.next_call(1)).accept(bidi=True)
    again.send(chat("m1") + chat("m2"))
    assert ids(await romeo.receive_all()) == ["m2"]


# ---- other options, the end


async def test_it_is_switched_off(server: Harness, fed: Federation, romeo: Client, peer: PeerStream) -> None:
    """In order: what is on its way counts, what was not confirmed goes again."""
    told = give(fed, "1")
    await peer.receive_all()
    fed.configure(bidi=False)
    assert peer.link.written.endswith(CLOSED) and not peer.link.closed
    peer.send(chat(1))
    assert ids(await romeo.receive_all()) == ["1"]
    called = await (await fed.next_call()).accept()
    assert await called.stanzas() == ["1"]
    called.acknowledge(1)
    assert told[0].calls == ["delivered"]
    peer.send(CLOSED.decode())
    assert peer.link.closed and not fed.remotes.incoming


async def test_nothing_is_put_on_what_was_left(server: Harness, fed: Federation, peer: PeerStream) -> None:
    """Behind our goodbye it would be written to nobody."""
    fed.configure(bidi=False)
    assert peer.stream.leaving and not peer.link.closed
    peer.result(to="second.localhost")
    await server.quiet()
    (told,) = give_from(fed, "second.localhost", "1")
    called = await (await fed.next_call()).accept()
    assert await called.stanzas() == ["1"] and told.calls == []


async def test_a_domain_is_blocked(server: Harness, fed: Federation, peer: PeerStream) -> None:
    told = give(fed, "1")
    await peer.receive_all()
    fed.configure(block=(OTHER,))
    assert await peer.stream_error() == "policy-violation" and told[0].calls == ["not-allowed"]


async def test_a_stop_hears_the_last_acknowledgements(
    server: Harness, fed: Federation, romeo: Client, peer: PeerStream, certificate: tuple[bytes, ...]
) -> None:
    """Of streams in both directions; what comes behind the stop is not taken, and not acknowledged."""
    told = give(fed, "1")
    called = await (await give_third(fed)).accept(bidi=True)
    peer.send(chat("a"))
    await server.quiet()
    stop = asyncio.create_task(server.stop())
    assert await server.until(lambda: server.server.stopping)
    for end in (peer, called):
        end.send(chat("late", sender=f"x@{end.name}") + f"<a xmlns='{SM}' h='1'/>")
    await stop
    assert told[0].calls == ["delivered"] and called.told.calls == ["delivered"]  # type: ignore[attr-defined]
    assert handled(peer.inbox)[-1] == "1" and handled(called.inbox)[-1] == "0"
    assert "late" not in ids(await romeo.receive_all())
    assert not fed.remotes.incoming and not fed.remotes.outgoing


async def give_third(fed: Federation) -> CalledStream:
    (told,) = give_from(fed, "localhost", "third", remote=THIRD)
    called = await fed.next_call()
    called.told = told  # type: ignore[attr-defined]
    return called


# ---- several domains of ours on one stream


async def test_two_domains_of_ours_share_a_stream(server: Harness, fed: Federation) -> None:
    told = give(fed, "1")
    called = await (await fed.next_call()).accept(shared=True)
    assert await called.stanzas() == ["1"]
    more = give_from(fed, "second.localhost", "2", "3")
    asked = await called.receive()
    assert (asked.tag, asked.get("from"), asked.get("to")) == (RESULT, "second.localhost", OTHER)
    assert fed.remotes.keys.is_valid(str(asked.text), OTHER, "second.localhost", "their-id")
    assert await called.stanzas() == [], "not before they have taken it"
    called.send(f"<db:result from='{OTHER}' to='second.localhost' type='valid'/>")
    assert await called.stanzas() == ["2", "3"] and fed.calls == 1
    told += give(fed, "4")
    called.acknowledge(3)
    assert calls(told) == [["delivered"], []] and calls(more) == [["delivered"], ["delivered"]]
    called.acknowledge(4)
    assert calls(told) == [["delivered"], ["delivered"]]
    called.send(STREAM_ERROR.format("reset"))
    await server.quiet()
    assert fed.remotes.waiting == 0


@pytest.mark.parametrize("answer", ["invalid", "error", "closed", "silence"])
async def test_they_do_not_share(
    server: Harness, fed: Federation, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets a stream of its own, and is not asked for again and again."""
    monkeypatch.setattr(remote_domains, "SHARING", 0.1)
    told = give(fed, "1")
    called = await (await fed.next_call()).accept(shared=True)
    await server.quiet()
    called.acknowledge(1)
    told += give_from(fed, "second.localhost", "2")
    await called.receive_all()
    if answer == "closed":
        called.send(STREAM_ERROR.format("not-authorized"))
    elif answer != "silence":
        error = "<error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
        inner = error if answer == "error" else ""
        called.send(f"<db:result from='{OTHER}' to='second.localhost' type='{answer}'>{inner}</db:result>")
    else:
        await asyncio.sleep(0.2)
    own = await (await fed.next_call(1)).accept()
    assert own.local == "second.localhost" and await own.stanzas() == ["2"]
    own.acknowledge(1)
    assert calls(told) == [["delivered"]] * 2
    own.cut()
    give_from(fed, "second.localhost", "3")
    await fed.next_call(2)
    assert RESULT not in [each.tag for each in await called.receive_all()]


async def test_they_do_not_offer_it(server: Harness, fed: Federation) -> None:
    """As ejabberd, which would say nothing."""
    give(fed, "1")
    called = await (await fed.next_call()).accept()
    await called.receive_all()
    give_from(fed, "second.localhost", "2")
    await fed.next_call(1)
    assert await called.receive_all() == []


async def test_two_domains_that_begin_at_once(server: Harness, fed: Federation) -> None:
    told = give(fed, "1") + give_from(fed, "second.localhost", "2")
    called = await (await fed.next_call()).accept(shared=True)
    await server.quiet()
    called.send(f"<db:result from='{OTHER}' to='second.localhost' type='valid'/>")
    assert sorted(await called.stanzas()) == ["1", "2"] and fed.calls == 1
    called.acknowledge(2)
    assert calls(told) == [["delivered"]] * 2


async def test_the_first_attempt_of_two_fails(server: Harness, fed: Federation) -> None:
    told = give(fed, "1") + give_from(fed, "second.localhost", "2")
    called = await fed.next_call()
    called.answer()
    own = await (await fed.next_call(1)).accept()
    assert await own.stanzas() == ["2"] and called.closed
    own.acknowledge(1)
    assert calls(told) == [[], ["delivered"]]


@pytest.mark.parametrize("domain", [THIRD, "localhost", OTHER])
async def test_answers_about_domains_that_were_not_asked_for(fed: Federation, domain: str) -> None:
    give(fed, "1")
    called = await (await fed.next_call()).accept(shared=True)
    await called.receive_all()
    called.send(f"<db:result from='{OTHER}' to='{domain}' type='valid'/>")
    assert called.stream.granted == {"localhost"}


async def test_a_stanza_that_ends_a_shared_stream_stops_no_other_domain(server: Harness, fed: Federation) -> None:
    """ "bad" of the one is not taken; what the other one sends is not taken for the reason."""

    async def act(called: CalledStream) -> None:
        await called.accept(shared=True)
        had = 0
        while True:
            element = await called.receive()
            if element.get("id") == "bad":
                called.send(STREAM_ERROR.format("policy-violation"))
                return
            if element.tag == RESULT:
                called.send(f"<db:result from='{OTHER}' to='{element.get('from')}' type='valid'/>")
            had += element.tag.startswith(SERVER)
            if element.tag == f"{{{SM}}}r":
                called.acknowledge(had)

    side(fed, act)
    told = give(fed, "1", "bad", "2") + give_from(fed, "second.localhost", *"3456789")
    await server.advance(300)
    assert calls(told) == [["delivered"], ["remote-server-timeout"]] + [["delivered"]] * 8
    assert len(fed.called) < 16


async def test_who_is_only_asked_about_keys(fed: Federation) -> None:
    peer = PeerStream(fed)
    await peer.starttls()
    peer.result()
    called = await fed.next_call()
    await called.encrypt(EXTERNAL, BIDI_FEATURE)
    assert [each.tag for each in await called.receive_all()] == [VERIFY]
