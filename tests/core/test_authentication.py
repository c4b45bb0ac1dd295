"""Another profile of SASL and another mechanism, as plugins bring them, over the same driver as RFC 6120's."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest
from lxml import etree

from tests.harness import STREAM, Client, Element, Harness, xml
from xmppd.contracts.authentication import (
    MECHANISMS,
    Exchange,
    Mechanism,
    NegotiatingStream,
    SaslContext,
    SaslFailure,
    decode,
    encode,
)
from xmppd.contracts.sessions import BIND_FEATURES, RESUMPTIONS
from xmppd.contracts.stream_features import FEATURES, FeatureAsk
from xmppd.jid import JID
from xmppd.plugin import NO_CONFIG, Account, E, NoConfig, Nonza, Plugin, nonza, on
from xmppd.protocol.sasl import Credentials, NeedCredentials, Step, Success
from xmppd.xml import find, text_of, to_bytes

NS = "urn:test:sasl"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
SM = "urn:xmpp:sm:3"
CARBONS = "urn:xmpp:carbons:2"
CSI = "urn:xmpp:csi:0"


class Profile:
    """What was asked for with the sign-in: to resume, else to bind, with features."""

    namespace = NS
    blanks = True

    def __init__(self, stream: NegotiatingStream, asked: Element) -> None:
        self.stream = stream
        self.asked = asked

    def challenge(self, data: bytes) -> None:
        self.say("challenge", encode(data))

    def failed(self, failure: SaslFailure) -> None:
        self.say("failure", E(failure.condition, SASL))

    def say(self, name: str, *children: Any) -> None:
        self.stream.write(to_bytes(E(name, NS, None, *children)))

    def proven(self, account: Account, success: Success) -> bool:
        return False

    def succeeded(self, account: Account, data: bytes) -> Awaitable[None]:
        return self.carry_on(account, data)

    async def carry_on(self, account: Account, data: bytes) -> None:
        host, stream = self.stream.host, self.stream
        children: list[Any] = [E("data", NS, None, encode(data))] if data else []
        ask = FeatureAsk(True, True)
        for resumption in host.gather(RESUMPTIONS, ask):
            wanted = find(self.asked, resumption.ns, resumption.name)
            found = await resumption.resume(stream, Nonza.of(wanted)) if wanted is not None else None
            if found is not None:
                children.append(etree.fromstring(found.answer.data))
            if found is not None and found.session is not None:
                self.say("success", *children)
                found.go_on()
                return
        wanted = find(self.asked, NS, "bind")
        if wanted is not None:
            session = await stream.bind(text_of(find(wanted, NS, "tag")))
            assert session is not None
            features = {f"{each.ns}|{each.name}": each for each in host.gather(BIND_FEATURES, ask)}
            bound = E("bound", NS, {"jid": session.jid.full})
            for child in wanted:
                request = Nonza.of(child)
                if request.tag in features:
                    answer = features[request.tag].enable(session, request)
                    if answer is not None:
                        bound.append(etree.fromstring(answer.data))
            children.append(bound)
        self.say("success", *children)
        stream.send_features()


class Toy(Plugin[NoConfig]):
    """A profile that needs no stream restart."""

    @on(FEATURES)
    def feature(self, ask: FeatureAsk) -> Iterable[Element]:
        return () if ask.signed_in else (E("authentication", NS),)

    @nonza(NS, "authenticate", state="stranger")
    def authenticate(self, stream: NegotiatingStream, asked: Nonza) -> Awaitable[None] | None:
        profile = Profile(stream, asked.xml)
        initial = text_of(find(asked.xml, NS, "initial"))
        return stream.authentication.start(profile, asked.attributes["mechanism"], decode(initial))

    @nonza(NS, "response", state="stranger")
    def response(self, stream: NegotiatingStream, answer: Nonza) -> Awaitable[None] | None:
        return stream.authentication.respond(Profile(stream, answer.xml), decode(answer.text))

    @nonza(NS, "abort", state="stranger")
    def abort(self, stream: NegotiatingStream, asked: Nonza) -> None:
        stream.authentication.fail(Profile(stream, asked.xml), SaslFailure("aborted"))


class Token:
    """A mechanism with a secret of its own: name, NUL, token."""

    def __init__(self, context: SaslContext) -> None:
        self.name = self.token = ""

    def respond(self, data: bytes) -> Step:
        self.name, _, self.token = data.decode().partition("\0")
        return NeedCredentials(self.name)

    def credentials(self, found: str | None) -> Step:
        if not hmac.compare_digest(self.token, found or "no such token"):
            raise SaslFailure("not-authorized")
        return Success(self.name, b"signed")

    def checked(self, ok: bool) -> Success:
        raise AssertionError("never asked")


class Tokens(Plugin[NoConfig]):
    def setup(self) -> None:
        self.of = {"romeo@localhost": "sesame", "ghost@localhost": "sesame"}

    @on(MECHANISMS)
    def mechanisms(self, ask: FeatureAsk) -> Iterable[Mechanism]:
        start: Callable[[SaslContext], Exchange] = Token
        return (
            Mechanism("X-TOKEN", 35, start, look_up=self.look_up),
            Mechanism("X-BOUND", 99, start, binds=True, look_up=self.look_up),
            Mechanism("X-LISTED", 99, start, listed_in="tokens", look_up=self.look_up),
        )

    async def look_up(self, jid: JID, credentials: Credentials | None, request: object) -> str | None:
        return self.of.get(jid.bare)


class Late(Plugin[NoConfig]):
    @on(MECHANISMS)
    def mechanisms(self, ask: FeatureAsk) -> Iterable[Mechanism]:
        return (Mechanism("X-LATE", 1, Token),)


@pytest.fixture
def toy(server: Harness) -> Toy:
    toy = Toy(server.host, NO_CONFIG)
    server.host.add("toy", toy)
    return toy


@pytest.fixture
def tokens(server: Harness) -> Tokens:
    tokens = Tokens(server.host, NO_CONFIG)
    server.host.add("tokens", tokens)
    return tokens


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def authenticate(user: str, password: str = "pencil", more: str = "", mechanism: str = "PLAIN") -> str:
    initial = b64(f"\0{user}\0{password}")
    return f"<authenticate xmlns='{NS}' mechanism='{mechanism}'><initial>{initial}</initial>{more}</authenticate>"


def bind(inside: str = "") -> str:
    return f"<bind><tag>phone</tag>{inside}</bind>"


async def opened(server: Harness, tls: str = "none") -> Client:
    await server.register("romeo")
    client = server.connect(tls)
    client.open()
    client.features = await client.receive()
    return client


async def signed_in(server: Harness, more: str = "") -> tuple[Client, Element]:
    client = await opened(server)
    client.send(authenticate("romeo", more=more))
    success = await client.receive()
    assert success.tag == f"{{{NS}}}success", xml(success)
    return client, success


# ---- a profile


async def test_a_profile_signs_in_binds_and_enables_in_one_step(server: Harness, toy: Toy) -> None:
    """No new header; the answers of the features stand inside the success."""
    inside = (
        f"<enable xmlns='{CARBONS}'/><enable xmlns='{SM}' resume='true'/><inactive xmlns='{CSI}'/><x xmlns='urn:x'/>"
    )
    client, success = await signed_in(server, bind(inside))
    bound = success.find(f"{{{NS}}}bound")
    assert bound is not None
    assert bound.get("jid") == "romeo@localhost/phone"
    assert [child.tag for child in bound] == [f"{{{SM}}}enabled"]
    assert bound[0].get("resume") == "true"
    features = await client.receive()
    assert features.tag == STREAM + "features"
    offered = {child.tag for child in features}
    assert f"{{{SM}}}sm" not in offered
    assert f"{{{CSI}}}csi" in offered
    assert not any(tag.endswith("}bind") for tag in offered)
    session = server.host.session_of(JID.parse("romeo@localhost/phone"))
    assert session.channel.gate is not None
    client.send(f"<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq><r xmlns='{SM}'/>")
    assert [each.tag.rpartition("}")[2] for each in await client.receive_all()] == ["iq", "a"]
    # and the carbons
    other = await server.login("romeo", "desk")
    await server.register("juliet")
    client.send(f"<active xmlns='{CSI}'/>")
    other.send("<message to='juliet@localhost' type='chat' id='m'><body>hi</body></message>")
    assert "urn:xmpp:carbons:2" in "".join(map(xml, await client.receive_all()))


async def test_what_is_not_enabled_inline_is_offered_behind_it(server: Harness, toy: Toy) -> None:
    client, _ = await signed_in(server, bind())
    assert (await client.receive()).find(f"{{{SM}}}sm") is not None
    client.send(f"<enable xmlns='{SM}'/>")
    assert (await client.receive()).tag == f"{{{SM}}}enabled"


async def test_a_profile_without_a_bind_leaves_the_stream_signed_in(server: Harness, toy: Toy) -> None:
    client, _ = await signed_in(server)
    features = await client.receive()
    assert features.find("{urn:ietf:params:xml:ns:xmpp-bind}bind") is not None
    await client.bind("desk")
    assert client.jid == "romeo@localhost/desk"


async def test_a_challenge_and_its_response(server: Harness, toy: Toy) -> None:
    """SCRAM runs over it, and a wrong proof fails."""
    client = await opened(server)
    start = b64("n,,n=romeo,r=abc")
    client.send(f"<authenticate xmlns='{NS}' mechanism='SCRAM-SHA-1'><initial>{start}</initial></authenticate>")
    challenge = await client.receive()
    assert challenge.tag == f"{{{NS}}}challenge"
    nonce = base64.b64decode(challenge.text or "").decode().partition(",")[0]
    client.send(f"<response xmlns='{NS}'>{b64(f'c=biws,{nonce},p=AAAA')}</response>")
    failure = await client.receive()
    assert failure.tag == f"{{{NS}}}failure"
    assert failure[0].tag == f"{{{SASL}}}not-authorized"


async def test_a_resumption_inside_the_success(server: Harness, toy: Toy) -> None:
    """What was not acknowledged comes behind the success, and the bind is ignored (XEP-0386)."""
    client, success = await signed_in(server, bind(f"<enable xmlns='{SM}' resume='true'/>"))
    id = success[0][0].get("id")
    client.send("<presence/>")
    await client.receive_all()
    juliet = await server.login("juliet")
    client.cut()
    juliet.send("<message to='romeo@localhost' type='chat' id='m'><body>missed</body></message>")
    await server.quiet()
    resume = f"<resume xmlns='{SM}' previd='{id}' h='0'/>"
    again, success = await signed_in(server, resume + bind())
    assert [child.tag for child in success] == [f"{{{SM}}}resumed"]
    assert success[0].get("h") == "1"
    rest = await again.receive_all()
    assert not any(each.tag == STREAM + "features" for each in rest)
    assert "missed" in xml(rest[-2]) or "missed" in xml(rest[-1])
    again.send(f"<r xmlns='{SM}'/>")
    assert [each.get("h") for each in await again.receive_all() if each.tag == f"{{{SM}}}a"] == ["1"]


async def test_a_resumption_that_fails_binds(server: Harness, toy: Toy) -> None:
    resume = f"<resume xmlns='{SM}' previd='nothing' h='0'/>"
    client, success = await signed_in(server, resume + bind(f"<enable xmlns='{SM}'/>"))
    assert [child.tag for child in success] == [f"{{{SM}}}failed", f"{{{NS}}}bound"]
    assert (await client.receive()).tag == STREAM + "features"
    await client.silence()


# ---- what keeps strangers out holds for every profile


async def test_failures_count_and_end_the_stream(server: Harness, toy: Toy) -> None:
    client = await opened(server)
    for _ in range(server.server.limits.sasl_attempts):
        client.send(authenticate("romeo", "wrong"))
    answers = await client.receive_all()
    failures = [each for each in answers if each.tag == f"{{{NS}}}failure"]
    assert len(failures) == server.server.limits.sasl_attempts
    assert client.closed


@pytest.mark.server(more="limits: {sign_in: {account_failures: 2, first_wait: 60}}")
async def test_the_guard_counts_the_failures_of_all_profiles(server: Harness, toy: Toy) -> None:
    client = await opened(server)
    client.send(authenticate("romeo", "wrong"))
    await client.receive()
    other = await opened(server)
    other.send(f"<auth xmlns='{SASL}' mechanism='PLAIN'>{b64(chr(0) + 'romeo' + chr(0) + 'wrong')}</auth>")
    await other.receive()
    third = await opened(server)
    third.send(authenticate("romeo"))
    assert (await third.receive())[0].tag == f"{{{SASL}}}temporary-auth-failure"


async def test_one_profile_for_each_stream(server: Harness, toy: Toy) -> None:
    for first, second in (
        (authenticate("romeo", "wrong"), f"<auth xmlns='{SASL}' mechanism='PLAIN'>{b64('x')}</auth>"),
        (f"<abort xmlns='{SASL}'/>", authenticate("romeo")),
    ):
        client = await opened(server)
        client.send(first)
        await client.receive()
        client.send(second)
        assert await client.stream_error() == "policy-violation"


async def test_no_profile_before_tls(server: Harness, toy: Toy) -> None:
    client = await opened(server, "starttls")
    assert client.features.find(f"{{{NS}}}authentication") is None
    client.send(authenticate("romeo"))
    assert await client.stream_error() == "policy-violation"


async def test_no_second_sign_in(server: Harness, toy: Toy) -> None:
    client, _ = await signed_in(server)
    await client.receive()
    client.send(authenticate("romeo"))
    assert await client.stream_error() == "not-authorized"


async def test_a_deleted_account_does_not_sign_in(server: Harness, toy: Toy) -> None:
    client = await opened(server)
    await server.server.accounts.delete(JID.parse("romeo@localhost"))
    await server.quiet()
    client.send(authenticate("romeo"))
    assert (await client.receive()).tag == f"{{{NS}}}failure"


async def test_an_abort_ends_the_exchange(server: Harness, toy: Toy) -> None:
    client = await opened(server)
    client.send(f"<abort xmlns='{NS}'/>")
    assert (await client.receive())[0].tag == f"{{{SASL}}}aborted"
    client.send(f"<response xmlns='{NS}'>AAAA</response>")
    assert (await client.receive())[0].tag == f"{{{SASL}}}malformed-request"
    client.send(authenticate("romeo"))
    assert (await client.receive()).tag == f"{{{NS}}}success"


# ---- a mechanism


def token(user: str, secret: str, mechanism: str = "X-TOKEN") -> str:
    initial = b64(f"{user}\0{secret}")
    return f"<auth xmlns='{SASL}' mechanism='{mechanism}'>{initial}</auth>"


async def test_a_mechanism_is_announced_by_its_strength(server: Harness, tokens: Tokens) -> None:
    """What needs a binding is not offered where there is none, nor what is of another list."""
    client = await opened(server)
    names = [each.text for each in client.features.iter(f"{{{SASL}}}mechanism")]
    assert names == ["SCRAM-SHA-512", "SCRAM-SHA-256", "X-TOKEN", "SCRAM-SHA-1", "PLAIN"]
    assert client.stream.authentication.mechanisms("tokens") == ("X-LISTED",)


async def test_a_mechanism_signs_in(server: Harness, tokens: Tokens) -> None:
    client = await opened(server)
    client.send(token("romeo", "sesame"))
    success = await client.receive()
    assert success.tag == f"{{{SASL}}}success"
    assert base64.b64decode(success.text or "") == b"signed"
    client.open()
    await client.receive()
    await client.bind("desk")


@pytest.mark.parametrize(
    ("user", "secret", "mechanism", "condition"),
    [
        ("romeo", "wrong", "X-TOKEN", "not-authorized"),
        ("ghost", "sesame", "X-TOKEN", "not-authorized"),  # a token, and no account
        ("nobody", "", "X-TOKEN", "not-authorized"),
        ("romeo", "sesame", "X-BOUND", "invalid-mechanism"),
        ("romeo", "sesame", "X-LISTED", "invalid-mechanism"),
    ],
)
async def test_a_mechanism_refuses(
    server: Harness, tokens: Tokens, user: str, secret: str, mechanism: str, condition: str
) -> None:
    client = await opened(server)
    client.send(token(user, secret, mechanism))
    assert (await client.receive())[0].tag == f"{{{SASL}}}{condition}"


async def test_a_disabled_account_has_no_other_mechanism(server: Harness, tokens: Tokens) -> None:
    client = await opened(server)
    await server.server.accounts.set_disabled(JID.parse("romeo@localhost"), True)
    client.send(token("romeo", "sesame"))
    assert (await client.receive())[0].tag == f"{{{SASL}}}not-authorized"


class Counting(Plugin[NoConfig]):
    """Offers as many features as it was asked for."""

    asked = 0

    @on(FEATURES)
    def feature(self, ask: FeatureAsk) -> Iterable[Element]:
        self.asked += 1
        return (E("asked", f"urn:test:{'known' if ask.signed_in else 'stranger'}:{self.asked}"),)


async def test_strangers_are_told_the_same_for_a_second(server: Harness) -> None:
    """And who has signed in what holds for it."""
    server.host.add("counting", Counting(server.host, NO_CONFIG))
    assert "urn:test:stranger:1" in xml((await opened(server)).features)
    assert "urn:test:stranger:1" in xml((await opened(server)).features)
    other = server.connect()
    other.link.tls_exporter = b"e" * 32
    other.open()
    assert "urn:test:stranger:2" in xml(await other.receive()), "streams of another kind are told their own"
    for number in (3, 4):
        client = await server.login("romeo", resource=f"r{number}")
        assert f"urn:test:known:{number}" in xml(client.features)
    await server.advance(1.0)
    assert "urn:test:stranger:5" in xml((await opened(server)).features)


async def test_what_was_announced_holds_for_the_whole_stream(server: Harness, tokens: Tokens) -> None:
    """A list that changes meanwhile changes nothing for who has seen it."""
    client = await opened(server)
    server.host.add("late", Late(server.host, NO_CONFIG))
    client.send(token("romeo", "sesame", "X-LATE"))
    assert (await client.receive())[0].tag == f"{{{SASL}}}invalid-mechanism"
    assert "X-LATE" in xml((await opened(server)).features)
