"""Streams that this server opens to others, and what waits for them: servers that are slow, away, silent or hostile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Client, Harness, xml
from tests.harness.authority import Authority
from tests.harness.peer_stream import (
    DIALBACK,
    EXTERNAL,
    FEATURES,
    SASL,
    SERVER,
    SM,
    SM_FEATURE,
    STARTTLS,
    TLS,
    CalledStream,
    Federation,
    federate,
    no_such_domain,
)
from xmppd.errors import StanzaError
from xmppd.stanza import Stanza, parse_stanza
from xmppd.streams import remote_bounds, remote_lines, remote_writing

OTHER = "other.example"
BOB = f"bob@{OTHER}"
STREAM_ERROR = "<stream:error><{} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"


class Told:
    """A handover that remembers what it was told. Implements `contracts.remote.Handover`."""

    def __init__(self, id: str, patient: bool = True, to: str = BOB, size: int = 1) -> None:
        self.id = id
        self.patient = patient
        self.at = 0
        text = f"<message from='romeo@localhost/x' to='{to}' id='{id}' type='chat'><body>{'x' * size}</body></message>"
        self.stanza: Stanza = parse_stanza(text.encode())
        self.late = parse_stanza(text.replace("<body>", "<late/><body>").encode())
        self.calls: list[str] = []
        self.then: Callable[[], None] = lambda: None

    def delivered(self) -> None:
        self._told("delivered")

    def failed(self, error: StanzaError) -> None:
        self._told(error.condition)

    def _told(self, what: str) -> None:
        self.calls.append(what)
        self.then()


@pytest.fixture
def fed(server: Harness) -> Federation:
    return federate(server)


def give(fed: Federation, *ids: str, **options: Any) -> list[Told]:
    made = [Told(each, **options) for each in ids]
    for each in made:
        fed.remotes.send("localhost", each.stanza.to.domain, each)  # type: ignore[union-attr]
    return made


def calls(told: list[Told]) -> list[list[str]]:
    return [each.calls for each in told]


def side(fed: Federation, act: Callable[[CalledStream], Awaitable[object]]) -> None:
    """What the other server does on each stream that we open."""

    def talk(called: CalledStream) -> None:
        async def go() -> None:
            await act(called)

        fed.remotes.background.spawn(go(), "their side")

    fed.talks = talk


def nothing_left(fed: Federation) -> None:
    lines = fed.remotes._lines
    assert (fed.remotes.waiting, lines.bounds.size, dict(lines.bounds.sizes), lines._lines) == (0, 0, {}, {})


async def accepted(fed: Federation, *ids: str, managed: bool = True) -> tuple[CalledStream, list[Told]]:
    """Stanzas were given, and a stream was opened for them."""
    told = give(fed, *ids)
    called = await (await fed.next_call()).accept(managed)
    await fed.harness.quiet()
    return called, told


# ---- negotiation


async def test_delivered_is_what_was_acknowledged(server: Harness, fed: Federation) -> None:
    called, told = await accepted(fed, "1", "2", "3")
    assert await called.stanzas() == ["1", "2", "3"] and calls(told) == [[], [], []]
    called.acknowledge(2)
    assert calls(told) == [["delivered"], ["delivered"], []]
    called.acknowledge(3)
    assert told[2].calls == ["delivered"] and fed.remotes.waiting == 0
    assert [each.get("from") for each in called.headers] == ["localhost"] * 3


async def test_direct_tls(server: Harness, fed: Federation) -> None:
    fed.direct_tls = True
    told = give(fed, "1")
    called = await fed.next_call()
    assert called.link.secure and len(called.headers) == 1
    called.answer(EXTERNAL)
    assert (await called.receive()).tag == f"{{{SASL}}}auth"
    called.send(f"<success xmlns='{SASL}'/>")
    called.answer(SM_FEATURE)
    await called.receive()
    called.send(f"<enabled xmlns='{SM}'/>")
    assert await called.stanzas() == ["1"] and told[0].calls == []


@pytest.mark.parametrize("refused", [False, True], ids=["not-offered", "refused"])
async def test_dialback(server: Harness, fed: Federation, refused: bool) -> None:
    told = give(fed, "1")
    called = await fed.next_call()
    await called.encrypt(*([EXTERNAL] if refused else []))
    if refused:
        assert (await called.receive()).tag == f"{{{SASL}}}auth"
        called.send(f"<failure xmlns='{SASL}'><not-authorized/></failure>")
    asked = await called.receive()
    assert asked.tag == f"{{{DIALBACK}}}result" and (asked.get("from"), asked.get("to")) == ("localhost", OTHER)
    assert fed.remotes.keys.is_valid(str(asked.text), OTHER, "localhost", "their-id")
    assert await called.stanzas() == []
    called.send(f"<db:result from='{OTHER}' to='localhost' type='valid'/>")
    message, ping = await called.receive_all()
    assert message.get("id") == "1" and told[0].calls == [] and "urn:xmpp:ping" in xml(ping)


Step = Callable[[CalledStream], Awaitable[object]]


async def _features_only(called: CalledStream) -> None:
    called.answer()


async def _no_version(called: CalledStream) -> None:
    called.answer(version="")


async def _sends(called: CalledStream, text: str) -> None:
    called.send(text)


async def _header_then(called: CalledStream, text: str) -> None:
    called.answer(STARTTLS)
    called.send(text)


async def _encrypted_then(called: CalledStream, text: str, *features: str, id: str = "their-id") -> None:
    await called.encrypt(*features, id=id)
    called.send(text)


REFUSALS: dict[str, Step] = {
    "no tls": _features_only,
    "no version": _no_version,
    "http": lambda called: _sends(called, "HTTP/1.1 400 Bad Request\r\n\r\n<html>"),
    "an error first": lambda called: _header_then(called, STREAM_ERROR.format("host-unknown")),
    "see-other-host": lambda called: _header_then(called, STREAM_ERROR.format("see-other-host")),
    "tls failure": lambda called: _header_then(called, f"<failure xmlns='{TLS}'/>"),
    "success without auth": lambda called: _header_then(called, f"<success xmlns='{SASL}'/>"),
    "enabled without enable": lambda called: _encrypted_then(called, f"<enabled xmlns='{SM}'/>"),
    "a stanza": lambda called: _encrypted_then(called, f"<message from='{BOB}' to='romeo@localhost'/>"),
    "a key of its own": lambda called: _encrypted_then(
        called, f"<db:result from='{OTHER}' to='localhost'>key</db:result>"
    ),
    "result from another": lambda called: _encrypted_then(
        called, "<db:result from='evil.example' to='localhost' type='valid'/>"
    ),
    "result to another": lambda called: _encrypted_then(
        called, f"<db:result from='{OTHER}' to='x.example' type='valid'/>"
    ),
    "invalid": lambda called: _encrypted_then(called, f"<db:result from='{OTHER}' to='localhost' type='invalid'/>"),
    "two failures": lambda called: _encrypted_then(called, f"<failure xmlns='{SASL}'/>" * 2, EXTERNAL),
    "no id": lambda called: called.encrypt(id=""),
    "it closes": lambda called: _header_then(called, "</stream:stream>"),
    "second header": lambda called: _header_then(called, "<stream:stream xmlns='jabber:server'/>"),
    "huge features": lambda called: _sends(
        called, "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' id='1' "
        "version='1.0'><stream:features>" + "<x xmlns='urn:x'/>" * 100_000
    ),
    "deep features": lambda called: _sends(
        called, "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' id='1' "
        "version='1.0'><stream:features>" + "<x xmlns='urn:x'>" * 500
    ),
    "another namespace": lambda called: _sends(
        called, "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='1' "
        "version='1.0'>"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
async def test_what_no_stream_comes_of(server: Harness, fed: Federation, name: str) -> None:
    """Nothing is sent, who does not wait is told, what waits goes later, and to one that is right."""
    side(fed, REFUSALS[name])
    told = give(fed, "1", "2") + give(fed, "3", patient=False)
    await server.quiet()
    assert calls(told) == [[], [], ["remote-server-timeout"]], name
    called = fed.called[0]
    assert called.closed and not fed.remotes.outgoing and b"<body>" not in bytes(called.link.written)
    assert len(fed.called) == 1
    side(fed, lambda called: called.accept())
    await server.advance(10)
    assert (await fed.called[1].stanzas())[-2:] == ["1", "2"]
    fed.called[1].acknowledge(2)
    assert calls(told)[:2] == [["delivered"]] * 2


async def test_who_says_nothing(server: Harness, fed: Federation) -> None:
    """Time limits of the negotiation: no word at all, and a byte now and then."""
    told = give(fed, "1") + give(fed, "2", patient=False)
    await server.quiet()
    await server.advance(19)
    assert calls(told) == [[], []] and not fed.called[0].closed
    await server.advance(2)
    assert calls(told) == [[], ["remote-server-timeout"]] and fed.called[0].closed
    await server.advance(5)
    slow = fed.called[1]
    for byte in "<stream:streammmmmmmmmmmmmmmmmmmmmm":
        slow.send(byte)
        await server.advance(1)
    assert slow.closed


async def test_features_again_and_again(server: Harness, fed: Federation) -> None:
    give(fed, "1")
    called = await fed.next_call()
    called.answer(STARTTLS)
    called.send(FEATURES.format(STARTTLS) * 50)
    assert len(await called.receive_all()) == 1
    called.send(f"<proceed xmlns='{TLS}'/>")
    await server.quiet()
    called.answer(EXTERNAL)
    called.send(FEATURES.format(EXTERNAL) * 50)
    assert len(await called.receive_all()) == 1
    called.send(f"<success xmlns='{SASL}'/>")
    called.answer(SM_FEATURE)
    called.send(FEATURES.format(SM_FEATURE) * 50)
    assert len(await called.receive_all()) == 1


async def test_plaintext_behind_proceed(server: Harness, fed: Federation) -> None:
    told = give(fed, "1")
    called = await fed.next_call()
    called.answer(STARTTLS)
    await called.receive()
    called.send(f"<proceed xmlns='{TLS}'/><success xmlns='{SASL}'/>" + FEATURES.format(SM_FEATURE))
    await server.quiet()
    assert await called.stanzas() == [] and not called.closed
    assert told[0].calls == []


@pytest.mark.parametrize(
    ("shown", "managed"), [({"dns": [OTHER]}, True), ({"dns": ["evil.example"]}, False), (None, False)]
)
async def test_without_dialback_their_certificate_counts(
    server: Harness, tmp_path: Path, shown: dict[str, Any] | None, managed: bool
) -> None:
    authority = Authority(tmp_path)
    fed = federate(server, authority, dialback=False)
    certificate = authority.certificate(**shown).ders if shown is not None else ()

    async def act(called: CalledStream) -> None:
        called.certificate = certificate
        await called.encrypt(EXTERNAL)

    side(fed, act)
    give(fed, "1")
    await server.quiet()
    assert (b"<auth" in bytes(fed.called[0].link.written)) == managed
    assert fed.called[0].closed == (not managed)


# ---- on a stream


async def test_order_across_streams(server: Harness, fed: Federation) -> None:
    called, told = await accepted(fed, "1", "2", "3")
    await called.receive_all()
    called.acknowledge(1)
    called.cut()
    told += give(fed, "4")
    again = await (await fed.next_call(1)).accept()
    assert await again.stanzas() == ["2", "3", "4"]
    again.acknowledge(3)
    assert calls(told) == [["delivered"]] * 4


async def test_who_does_not_wait_fails_with_the_stream(server: Harness, fed: Federation) -> None:
    called, _ = await accepted(fed, "1")
    (asked,) = give(fed, "2", patient=False)
    called.cut()
    assert asked.calls == ["remote-server-timeout"]


@pytest.mark.parametrize("text", ["4", "4294967295", "-1", "x", "", "99999999999", "\u0663"])
async def test_acknowledged_too_much(server: Harness, fed: Federation, text: str) -> None:
    called, told = await accepted(fed, "1", "2", "3")
    await called.receive_all()
    called.acknowledge(text)
    assert calls(told) == [[]] * 3
    found = xml((await called.receive_all())[0])
    assert "handled-count-too-high" in found or "bad-format" in found
    assert called.closed


async def test_acknowledged_backwards(server: Harness, fed: Federation) -> None:
    called, told = await accepted(fed, "1", "2", "3")
    called.acknowledge(2)
    called.acknowledge(1)
    assert calls(told) == [["delivered"], ["delivered"], []]
    assert "handled-count-too-high" in "".join(map(xml, await called.receive_all()))


@pytest.mark.parametrize("said", [f"<enabled xmlns='{SM}'/>", f"<failed xmlns='{SM}'/>", f"<resumed xmlns='{SM}'/>"])
async def test_enabled_twice(server: Harness, fed: Federation, said: str) -> None:
    called, told = await accepted(fed, "1")
    await called.receive_all()
    called.send(said)
    assert called.closed and told[0].calls == []


async def test_acknowledged_without_xep_0198(server: Harness, fed: Federation) -> None:
    called, told = await accepted(fed, "1", managed=False)
    await called.receive_all()
    called.acknowledge(1)
    assert called.closed and told[0].calls == []


async def test_no_endless_questions(server: Harness, fed: Federation) -> None:
    """Who answers at once that it has nothing yet is asked again, not at once."""
    called, told = await accepted(fed, "1")
    await called.receive_all()
    for _ in range(20):
        called.acknowledge(0)
    assert await called.receive_all() == []
    await server.advance(remote_writing.ASK_AGAIN + 0.1)
    (asked,) = await called.receive_all()
    assert asked.tag == f"{{{SM}}}r"
    called.acknowledge(1)
    assert told[0].calls == ["delivered"]


@pytest.mark.parametrize("talks", [False, True])
async def test_no_acknowledgement_ever_comes(server: Harness, fed: Federation, talks: bool) -> None:
    """Not by a server that is silent, nor by one that talks all the time: the stream ends, and at last it fails."""
    side(fed, lambda called: called.accept())
    (told,) = give(fed, "1")
    for _ in range(100):
        await server.advance(10)
        for called in fed.called:
            if talks and not called.closed:
                called.acknowledge(0)
    assert told.calls == ["remote-server-timeout"]
    assert len(fed.called) == remote_lines.TRIES
    nothing_left(fed)


async def test_a_stanza_that_ends_the_stream_stops_no_other(server: Harness, fed: Federation) -> None:
    """The other server does not take "3", whatever is sent with it."""

    async def act(called: CalledStream) -> None:
        await called.accept()
        had = 0
        while True:
            element = await called.receive()
            if element.get("id") == "3":
                called.send(STREAM_ERROR.format("policy-violation"))
                return
            had += element.tag.startswith(SERVER)
            if element.tag == f"{{{SM}}}r":
                called.acknowledge(had)

    side(fed, act)
    told = give(fed, "1", "2", "3", "4", "5")
    await server.advance(200)
    wanted = [["delivered"]] * 5
    wanted[2] = ["remote-server-timeout"]
    assert calls(told) == wanted and len(fed.called) < 12


async def test_a_server_that_closes_at_once_is_not_called_without_pause(server: Harness, fed: Federation) -> None:
    async def act(called: CalledStream) -> None:
        await called.accept()
        called.close()

    side(fed, act)
    give(fed, "1")
    await server.quiet()
    assert fed.calls == 1
    await server.advance(1)
    assert fed.calls == 1
    await server.advance(20)
    assert 2 <= fed.calls < 8


async def test_it_never_reads(server: Harness, fed: Federation) -> None:
    called, told = await accepted(fed, "1")
    called.acknowledge(1)
    called.link.stalled = True
    told = give(fed, *(f"x{number}" for number in range(60)), size=20_000)
    assert called.link.write_buffer_size < 300_000
    for _ in range(5000):
        called.send(f"<r xmlns='{SM}'/>")
    assert called.link.write_buffer_size < 300_000
    await server.advance(remote_lines.SILENCE + 10)
    assert called.link.closed and not any(calls(told))
    assert len(fed.called) == 2


async def test_it_reads_on(server: Harness, fed: Federation) -> None:
    called, _ = await accepted(fed, "0")
    called.acknowledge(1)
    await called.receive_all()
    called.link.stalled = True
    told = give(fed, *(str(number) for number in range(60)), size=20_000)
    called.link.go_on()
    assert await called.stanzas() == [str(number) for number in range(60)]
    called.acknowledge(61)
    assert calls(told) == [["delivered"]] * 60


async def test_the_ping_tells(server: Harness, fed: Federation) -> None:
    """To a server without XEP-0198; what comes behind the ping waits for the next one."""
    called, told = await accepted(fed, "1", managed=False)
    _, ping = await called.receive_all()
    told += give(fed, "2")
    fed.remotes.server.router.deliver(
        parse_stanza(f"<iq type='result' id='{ping.get('id')}' from='{OTHER}' to='localhost'/>".encode())
    )
    await server.quiet()
    assert calls(told) == [["delivered"], []]
    await server.advance(remote_writing.PING_TIME + 1)
    assert calls(told) == [["delivered"], ["delivered"]], "a server that answers nobody"


async def test_the_ping_of_a_stream_that_is_gone(server: Harness, fed: Federation) -> None:
    called, told = await accepted(fed, "1", managed=False)
    _, ping = await called.receive_all()
    called.cut()
    await server.advance(5)
    again = await (await fed.next_call(1)).accept(managed=False)
    assert (await again.receive()).get("id") == "1"
    server.server.router.deliver(
        parse_stanza(f"<iq type='result' id='{ping.get('id')}' from='{OTHER}' to='localhost'/>".encode())
    )
    await server.quiet()
    assert told[0].calls == []


async def test_what_was_written_goes_before_what_waited(server: Harness, fed: Federation) -> None:
    called, _ = await accepted(fed, "0")
    called.acknowledge(1)
    give(fed, "1")
    called.link.stalled = True
    give(fed, *(str(number) for number in range(2, 60)), size=20_000)
    called.cut()
    again = await (await fed.next_call(1)).accept()
    assert await again.stanzas() == [str(number) for number in range(1, 60)]


# ---- it cannot be reached


async def test_no_such_domain(server: Harness, fed: Federation) -> None:
    fed.no_name[OTHER] = no_such_domain(OTHER)
    told = give(fed, "1", "2") + give(fed, "3", patient=False)
    await server.quiet()
    assert calls(told) == [["remote-server-not-found"]] * 3
    nothing_left(fed)


async def test_the_dns_fails_and_then_works(server: Harness, fed: Federation) -> None:
    fed.no_name[OTHER] = OSError("no name server answers")
    told = give(fed, "1") + give(fed, "2", patient=False)
    await server.quiet()
    assert calls(told) == [[], ["remote-server-timeout"]]
    del fed.no_name[OTHER]
    await server.advance(5)
    called = await fed.called[0].accept()
    assert await called.stanzas() == ["1"]


@pytest.mark.parametrize("error", [ConnectionRefusedError(), RuntimeError("a bug"), StanzaError("odd")])
async def test_attempts_have_pauses(server: Harness, fed: Federation, error: Exception) -> None:
    fed.refuses[OTHER] = error
    (told,) = give(fed, "1")
    await server.quiet()
    assert fed.calls == 1
    await server.advance(60)
    assert 3 <= fed.calls <= 8
    await server.advance(3500)
    assert told.calls == [] and fed.calls < 120
    await server.advance(200)
    assert told.calls == ["remote-server-timeout"]
    nothing_left(fed)


async def test_what_has_waited_goes_out_as_late(server: Harness, fed: Federation) -> None:
    fed.refuses[OTHER] = ConnectionRefusedError()
    give(fed, "1")
    await server.advance(1)
    del fed.refuses[OTHER]
    await server.advance(4)
    called = await (await fed.next_call()).accept()
    give(fed, "2")
    waited, at_once = [each for each in await called.receive_all() if each.get("id")]
    assert [waited.get("id"), waited[0].tag.partition("}")[2]] == ["1", "late"]
    assert [at_once.get("id"), at_once[0].tag.partition("}")[2]] == ["2", "body"]


async def test_a_restart_is_no_new_beginning(server: Harness, fed: Federation) -> None:
    """What was said before it has waited already; one attempt it gets all the same."""
    fed.refuses[OTHER] = ConnectionRefusedError()
    old, older, young = Told("1"), Told("2"), Told("3")
    now = server.clock.now()
    old.at, older.at = int((now - 3500) * 1e6), int((now - 9000) * 1e6)
    young.at = int((now + 9000) * 1e6)  # the clock was set back meanwhile
    for each in (old, older, young):
        fed.remotes.send("localhost", OTHER, each)
    await server.quiet()
    assert calls([old, older, young]) == [[], ["remote-server-timeout"], []]
    await server.advance(180)
    assert calls([old, young]) == [["remote-server-timeout"], []]


async def test_who_does_not_wait_during_a_pause(server: Harness, fed: Federation) -> None:
    """Just after a failed attempt it fails at once; later it is a reason to try now."""
    fed.refuses[OTHER] = ConnectionRefusedError()
    give(fed, "1")
    await server.advance(40)
    give(fed, "2", patient=False)
    await server.quiet()
    tried = fed.calls
    (told,) = give(fed, "3", patient=False)
    assert told.calls == [], "never from inside the call"
    await server.quiet()
    assert told.calls == ["remote-server-timeout"] and fed.calls == tried
    await server.advance(remote_lines.RECENT + 0.1)
    del fed.refuses[OTHER]
    (told,) = give(fed, "4", patient=False)
    called = await (await fed.next_call()).accept()
    assert await called.stanzas() == ["1", "4"]
    called.acknowledge(2)
    assert told.calls == ["delivered"]


async def test_thousands_of_domains_are_forgotten(server: Harness, fed: Federation) -> None:
    for number in range(3000):
        fed.no_name[f"d{number}.example"] = no_such_domain("x")
        give(fed, "1", to=f"x@d{number}.example")
    await server.quiet()
    nothing_left(fed)


# ---- bounds


async def test_one_domain_is_bounded(server: Harness, fed: Federation) -> None:
    fed.refuses[OTHER] = ConnectionRefusedError()
    told = give(fed, *(str(number) for number in range(200)), size=20_000)
    await server.quiet()
    refused = [each.id for each in told if each.calls]
    assert refused and refused == [str(number) for number in range(200 - len(refused), 200)]
    assert all(each.calls in ([], ["resource-constraint"]) for each in told)
    assert fed.remotes.waiting_bytes <= fed.remotes.config.queue + remote_bounds.LINE
    (small,) = give(fed, "x", to="bob@third.example")
    await server.quiet()
    assert small.calls == []


async def test_all_are_bounded(server: Harness) -> None:
    """However many domains there are."""
    fed = federate(server, queues=1 << 20)
    told: list[Told] = []
    for number in range(100):
        fed.refuses[f"d{number}.example"] = ConnectionRefusedError()
        told += give(fed, "1", to=f"x@d{number}.example", size=20_000)
    await server.quiet()
    assert fed.remotes.waiting_bytes <= 1 << 20
    assert 0 < sum(each.calls == ["resource-constraint"] for each in told) < 100


async def test_the_number_is_bounded(
    server: Harness, fed: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(remote_bounds, "STANZAS", 5)
    fed.refuses[OTHER] = ConnectionRefusedError()
    told = give(fed, *"1234567")
    await server.quiet()
    assert calls(told) == [[]] * 5 + [["resource-constraint"]] * 2


async def test_a_large_one_goes_alone(server: Harness) -> None:
    fed = federate(server, queue=1 << 16, queues=1 << 16)
    told = give(fed, "1", size=100_000) + give(fed, "2")
    await server.quiet()
    assert calls(told) == [[], ["resource-constraint"]]


# ---- who is told


async def test_who_raises(server: Harness, fed: Federation) -> None:
    def fault() -> None:
        raise RuntimeError("a bug elsewhere")

    called, told = await accepted(fed, "1", "2")
    told[0].then = fault
    called.acknowledge(2)
    assert calls(told) == [["delivered"]] * 2 and fed.remotes.waiting == 0
    fed.refuses["third.example"] = ConnectionRefusedError()
    one, two = Told("3", False, "x@third.example"), Told("4", False, "x@third.example")
    one.then = fault
    for each in (one, two):
        fed.remotes.send("localhost", "third.example", each)
    await server.quiet()
    assert calls([one, two]) == [["remote-server-timeout"]] * 2


async def test_who_hands_over_more_when_it_is_told(server: Harness, fed: Federation) -> None:
    """The order stays."""
    more: list[Told] = []
    called, told = await accepted(fed, "1", "2", "3")
    await called.receive_all()
    told[0].then = lambda: more.extend(give(fed, "4"))
    (quick,) = give(fed, "quick", patient=False)
    quick.then = lambda: more.extend(give(fed, "5"))
    called.acknowledge(1)
    called.cut()
    again = await (await fed.next_call(1)).accept()
    assert await again.stanzas() == ["2", "3", "4", "5"]
    assert quick.calls == ["remote-server-timeout"]


# ---- ourselves


async def test_a_domain_whose_server_is_this_one(server: Harness, fed: Federation) -> None:
    """By DNS somebody's domain leads here: we do not serve it."""
    from tests.harness.peer_stream import PeerStream

    give(fed, "1")
    called = await fed.next_call()
    ourselves = PeerStream(fed, "localhost")
    ourselves.send(bytes(called.link.written))
    called.send(bytes(ourselves.link.written))
    await server.quiet()
    assert called.closed and ourselves.closed and fed.calls == 1
    assert b"host-unknown" in ourselves.link.written or b"policy-violation" in ourselves.link.written


async def test_errors_between_two_servers_end(server: Harness, fed: Federation) -> None:
    """The other server refuses our error with an error: nobody answers that."""
    client = await server.login("romeo", "x", presence=True)
    client.send(f"<message to='{BOB}' type='error' id='1'/><message to='{BOB}' id='2'><body>hi</body></message>")
    called = await (await fed.next_call()).accept()
    assert await called.stanzas() == ["1", "2"]
    for _ in range(3):
        server.server.router.deliver(
            parse_stanza(f"<message type='error' from='{BOB}' to='nobody@localhost/x' id='2'/>".encode())
        )
    await server.quiet()
    assert await called.stanzas() == []


# ---- the end, and another configuration


async def test_a_stop(server: Harness, fed: Federation) -> None:
    fed.refuses["third.example"] = ConnectionRefusedError()
    _, told = await accepted(fed, "1")
    told += give(fed, "2", to="x@third.example") + give(fed, "3", to="x@silent.example")
    await server.quiet()
    await fed.remotes.close()
    told += give(fed, "4", to="x@fourth.example") + give(fed, "5", patient=False)
    await server.quiet()
    assert calls(told) == [[], [], [], [], ["remote-server-timeout"]]
    assert all(each.link.closed for each in fed.called) and not fed.remotes.outgoing
    tried = fed.calls
    await server.advance(500)
    assert fed.calls == tried


async def test_a_stop_hears_the_last_acknowledgement(server: Harness, fed: Federation) -> None:
    called, told = await accepted(fed, "1")

    async def act() -> None:
        called.acknowledge(1)

    fed.remotes.background.spawn(act(), "their side")
    await fed.remotes.close()
    assert told[0].calls == ["delivered"]


async def test_a_domain_is_blocked(server: Harness, fed: Federation) -> None:
    called, told = await accepted(fed, "1")
    told += give(fed, "2", "3") + give(fed, "4", to="x@third.example")
    fed.configure(block=(OTHER,))
    assert calls(told) == [["not-allowed"]] * 3 + [[]] and called.closed
    told = give(fed, "5")
    await server.quiet()
    assert told[0].calls == ["not-allowed"]


async def test_a_domain_is_blocked_while_it_is_called(server: Harness, fed: Federation) -> None:
    told = give(fed, "1")
    called = await fed.next_call()
    fed.configure(block=(OTHER,))
    await server.quiet()
    assert called.closed and told[0].calls == ["not-allowed"]
    nothing_left(fed)


async def test_an_idle_stream_ends(server: Harness, fed: Federation) -> None:
    called, _ = await accepted(fed, "1")
    called.acknowledge(1)
    await server.advance(590)
    assert not called.closed
    await server.advance(20)
    assert called.closed
    nothing_left(fed)


async def test_people(server: Harness, fed: Federation) -> None:
    """All the way from a client, and back."""
    client: Client = await server.login("romeo", "x", presence=True)
    client.send(f"<message to='{BOB}' type='chat' id='m1'><body>hi</body></message>")
    called = await (await fed.next_call()).accept()
    assert await called.stanzas() == ["m1"]
    called.acknowledge(1)
    await server.quiet()
    assert len(await server.storage.unheard("localhost")) == 0 and await client.receive_all() == []
