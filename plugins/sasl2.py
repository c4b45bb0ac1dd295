"""XEP-0388: Extensible SASL Profile. Signing in with all that belongs to it in one step, and XEP-0509: in the same
breath with the header of the stream."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from functools import lru_cache
from hashlib import sha256
from inspect import isawaitable
from re import compile as pattern
from typing import NamedTuple

from xmppd.contracts.authentication import SASL, NegotiatingStream, SaslFailure, Success, decode, encode
from xmppd.contracts.sessions import RESUMPTIONS, SESSION_BOUND, InlineResumption
from xmppd.contracts.sign_in import (
    CLIENT,
    SIGN_IN_STEPS,
    SIGN_IN_TASKS,
    TASK_OFFERS,
    Order,
    SignIn,
    SignInStep,
    SignInTask,
    UserAgent,
)
from xmppd.contracts.stream_features import FEATURES, FeatureAsk, Offer
from xmppd.errors import StreamError
from xmppd.plugin import Account, Element, NoConfig, Nonza, Plugin, Session, Written, Xep, nonza, on
from xmppd.xml import clean, escape, to_bytes

NS = "urn:xmpp:sasl:2"
SASL_NS = "urn:ietf:params:xml:ns:xmpp-sasl"
IAP_NS = "urn:xmpp:iap:0"
OFFERS = 64
"""So many kinds of offers are remembered with their steps."""
AGENT_TEXT = 200
"""Characters of what a client tells of its software and its device."""
uuid = pattern(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch


class Steps(NamedTuple):
    """`all`: in their order. `lists`: the namespace and the name of an element that asks for a further list of
    mechanisms, and the name of that list. `names`: of all lists."""

    all: tuple[SignInStep, ...]
    lists: tuple[tuple[str, str, str], ...]
    names: tuple[str, ...]


class Profile:
    """A `SaslProfile`: one sign-in."""

    namespace = NS
    blanks = False
    """Section 2.4."""

    def __init__(self, plugin: Sasl2, steps: Iterable[SignInStep], sign_in: SignIn) -> None:
        self.plugin = plugin
        self.steps = steps
        self.sign_in = sign_in
        self.stream = sign_in.stream
        self.why = b""
        """Stands in the next failure beside its condition."""
        self.tasks: list[SignInTask] = []
        self.started = False
        """The first task is under way."""

    def challenge(self, data: bytes) -> None:
        """Section 2.5."""
        self.stream.write(f"<challenge xmlns='{NS}'>{encode(data)}</challenge>".encode())

    def failed(self, failure: SaslFailure) -> None:
        """Section 2.6.2."""
        condition, why = f"<{failure.condition} xmlns='{SASL_NS}'/>".encode(), self.why
        self.why, self.tasks = b"", []
        if failure.advice:
            why += f"<text>{escape(failure.advice)}</text>".encode()
        self.stream.write(b"<failure xmlns='%s'>%s%s</failure>" % (NS.encode(), condition, why))

    def proven(self, account: Account, success: Success) -> bool:
        sign_in = self.sign_in
        sign_in.account, sign_in.proof = account, success.proof
        sign_in.generation = self.stream.host.stored_accounts.get(account.bare)[""].credentials.generation
        if sign_in.listed_in == SASL:
            self.tasks = sorted(self.stream.host.gather(SIGN_IN_TASKS, sign_in), key=lambda task: not task.proves)
        if not self.tasks:
            return False
        self._continue(success.data)
        return True

    def succeeded(self, account: Account, data: bytes) -> Awaitable[None]:
        self.stream.client = self.sign_in.client
        return self._finish(data)

    async def _finish(self, data: bytes) -> None:
        """Section 2.6.1. From the resumption or the binding on there is no turn of the loop before the success is
        written."""
        sign_in, stream = self.sign_in, self.stream
        for step in self.steps:
            work = step.run(sign_in)
            if work is not None:
                await work
            if stream.closed:
                return
        session = sign_in.session
        if session is not None:
            for call in sign_in.on_session:
                call(session)
        name = session.jid.full if session is not None else sign_in.owner
        more = f"<additional-data>{encode(data)}</additional-data>" if data else ""
        who = f"<authorization-identifier>{escape(name)}</authorization-identifier>"
        stream.write(f"<success xmlns='{NS}'>{more}{who}".encode() + b"".join(sign_in.answers) + b"</success>")
        if not sign_in.resumed:
            stream.send_features()
        for done in sign_in.behind:
            done()

    # ---- tasks (section 2.6.3)

    def _continue(self, data: bytes = b"") -> None:
        self.started = False
        more = f"<additional-data>{encode(data)}</additional-data>" if data else ""
        tasks = f"<tasks><task>{escape(self.tasks[0].name)}</task></tasks>"
        self.stream.write(f"<continue xmlns='{NS}'>{more}{tasks}</continue>".encode())

    def task_received(self, nonza: Nonza) -> Awaitable[None] | None:
        """<next/> or <task-data/>."""
        authentication = self.stream.authentication
        first = nonza.name == "next"
        if not self.tasks or first is self.started or (first and nonza.attributes.get("task") != self.tasks[0].name):
            authentication.fail(self, SaslFailure("malformed-request"))
            return None
        self.started = True
        try:
            answer = self.tasks[0].received(nonza.xml)
            return self._await(answer) if isawaitable(answer) else self._told(answer)
        except SaslFailure as failure:
            authentication.fail(self, failure)
            return None

    async def _await(self, answer: Awaitable[Element | None]) -> None:
        try:
            work = self._told(await answer)
        except SaslFailure as failure:
            self.stream.authentication.fail(self, failure)
            return
        if work is not None:
            await work

    def _told(self, answer: Element | None) -> Awaitable[None] | None:
        if self.stream.closed:
            return None
        if answer is not None:
            self.stream.write(b"<task-data xmlns='%s'>%s</task-data>" % (NS.encode(), to_bytes(answer)))
            return None
        del self.tasks[0]
        if self.tasks:
            self._continue()
            return None
        return self.stream.authentication.complete(self)


class Sasl2(Plugin[NoConfig]):
    xeps = (Xep(388, "1.0.4"), Xep(509, "0.2.0", "the one scheme there is, opaque"))

    def setup(self) -> None:
        self._steps: dict[tuple[tuple[str, ...], tuple[str, ...]], Steps] = {}

    def steps(self, offer: Offer) -> Steps:
        """For a stream with that offer; there are a few kinds of them."""
        key = offer.mechanisms(), offer.channel_bindings
        found = self._steps.get(key)
        if found is None:
            ask = FeatureAsk(True, signed_in=False, offer=offer)
            steps = sorted(self.host.gather(SIGN_IN_STEPS, ask), key=lambda step: step.order)
            lists: list[tuple[str, str, str]] = []
            for name, tag in filter(None, [each.mechanisms for each in steps]):
                ns, _, element = tag.rpartition("|")
                lists.append((ns, element, name))
            if len(self._steps) >= OFFERS:
                self._steps.clear()
            found = self._steps[key] = Steps(tuple(steps), tuple(lists), (SASL, *[name for _, _, name in lists]))
        return found

    @on(FEATURES)
    def feature(self, ask: FeatureAsk) -> Iterable[Written]:
        """Section 2.1, whether the header says who comes or not: the list is the same for all."""
        if ask.offer is None or not ask.offer.mechanisms():
            return ()
        return self._announced(ask)

    def _announced(self, ask: FeatureAsk) -> tuple[Written, Written]:
        """What is announced, and its version (XEP-0509)."""
        offer = ask.offer
        assert offer is not None
        inline = b"".join([step.feature for step in self.steps(offer).all])
        tasks = b"".join([each.feature for each in self.host.gather(TASK_OFFERS, ask)])
        return _features(offer.mechanisms(), offer.channel_bindings, inline, tasks)

    @on(SIGN_IN_STEPS)
    def resumption(self, ask: FeatureAsk) -> Iterable[SignInStep]:
        """XEP-0198 as part of the sign-in (section 2.6.1)."""
        ways = self.host.gather(RESUMPTIONS, ask)
        feature = b"".join([each.feature.data for each in ways])
        return (SignInStep(Order.RESUME, feature, lambda sign_in: _resume(sign_in, ways)),) if ways else ()

    @on(SESSION_BOUND)
    def bound(self, session: Session) -> None:
        """Inline, or behind the sign-in."""
        if session.stream is not None and session.stream.client:
            session[CLIENT] = session.stream.client

    # ---- elements

    @nonza(NS, "authenticate", state="stranger")
    def authenticate(self, stream: NegotiatingStream, asked: Nonza) -> Awaitable[None] | None:
        """Section 2.3."""
        authentication = stream.authentication
        steps, lists, names = self.steps(authentication)
        announced = {name: authentication.mechanisms(name) for name in names}
        mechanism = asked.attributes.get("mechanism", "")
        sign_in = SignIn(stream, asked, mechanism, SASL, UserAgent(), announced)
        for ns, name, listed_in in lists:
            if sign_in.asked(ns, name) is not None:
                sign_in.listed_in = listed_in
                break
        sign_in.agent = user_agent(sign_in.asked(NS, "user-agent"))
        profile = Profile(self, steps, sign_in)
        version = sign_in.asked(IAP_NS, "config-version")
        try:
            if version is not None and not self._is_current(authentication, version.attributes.get("value", "")):
                profile.why = f"<config-version-mismatch xmlns='{IAP_NS}'/>".encode()
                raise SaslFailure("aborted", "what the client knows is not what is announced")
            initial = sign_in.asked(NS, "initial-response")
            data = _decode(initial.text) if initial is not None else None
        except SaslFailure as failure:
            authentication.fail(profile, failure)
            return None
        return authentication.start(profile, mechanism, data, sign_in.listed_in, sign_in)

    def _is_current(self, offer: Offer, value: str) -> bool:
        ask = FeatureAsk(True, signed_in=False, offer=offer)
        return f" value='{value}'".encode() in self._announced(ask)[1].data

    @nonza(NS, "response", state="stranger")
    def response(self, stream: NegotiatingStream, answer: Nonza) -> Awaitable[None] | None:
        """Section 2.5."""
        profile = self._profile(stream)
        try:
            data = _decode(answer.text)
        except SaslFailure as failure:
            stream.authentication.fail(profile, failure)
            return None
        return stream.authentication.respond(profile, data)

    @nonza(NS, "next", state="stranger")
    @nonza(NS, "task-data", state="stranger")
    def task(self, stream: NegotiatingStream, data: Nonza) -> Awaitable[None] | None:
        return self._profile(stream).task_received(data)

    @nonza(NS, "abort", state="stranger")
    def abort(self, stream: NegotiatingStream, asked: Nonza) -> None:
        """Section 4.5."""
        stream.authentication.fail(self._profile(stream), SaslFailure("aborted"))

    def _profile(self, stream: NegotiatingStream) -> Profile:
        """That of the sign-in that is under way. Raises StreamError where nothing has begun by this profile."""
        profile = stream.authentication.profile
        if not isinstance(profile, Profile):
            raise StreamError("policy-violation", "nothing has begun")
        return profile


async def _resume(sign_in: SignIn, ways: list[InlineResumption]) -> None:
    for way in ways:
        wanted = sign_in.asked(way.ns, way.name)
        if wanted is None:
            continue
        found = await way.resume(sign_in.stream, wanted)
        if found is None:
            return  # the stream has ended
        sign_in.answers.append(found.answer.data)
        if found.session is not None:
            sign_in.session, sign_in.resumed = found.session, True
            sign_in.behind.append(found.go_on)
            return


def user_agent(found: Nonza | None) -> UserAgent:
    """What the client tells of itself. An id that is no UUID is none."""
    if found is None:
        return UserAgent()
    id = found.attributes.get("id", "").lower()
    id = id if uuid(id) else ""
    if not found.tags:
        return UserAgent(id)
    texts = (clean(found.text_of(NS, name)).strip()[:AGENT_TEXT] for name in ("software", "device"))
    return UserAgent(id, *texts)


@lru_cache(64)
def _features(
    mechanisms: tuple[str, ...], bindings: tuple[str, ...], inline: bytes, tasks: bytes
) -> tuple[Written, Written]:
    names = "".join(f"<mechanism>{name}</mechanism>" for name in mechanisms).encode()
    inline = b"<inline>%s</inline>" % inline if inline else b""
    data = b"<authentication xmlns='%s'>%s%s%s</authentication>" % (NS.encode(), names, inline, tasks)
    value = encode(sha256(data + " ".join(bindings).encode()).digest()[:12])
    version = f"<config-version xmlns='{IAP_NS}' value='{value}'/>".encode()
    return Written(f"{NS}|authentication", data), Written(f"{IAP_NS}|config-version", version)


def _decode(text: str) -> bytes:
    """Section 2.2: an empty element is an empty text, and "=" is none. Raises SaslFailure."""
    if text == "=":
        raise SaslFailure("incorrect-encoding")
    return decode(text)
