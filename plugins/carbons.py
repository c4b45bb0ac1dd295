"""XEP-0280: Message Carbons. Every device of an account sees both sides of its conversations."""

from __future__ import annotations

from collections.abc import Iterable

from xmppd.contracts.routing import ARRIVED, MESSAGE_RULES, SENT
from xmppd.contracts.sessions import BIND_FEATURES, InlineFeature
from xmppd.contracts.stream_features import FeatureAsk
from xmppd.errors import NotAllowed
from xmppd.plugin import (
    Inbound,
    Kind,
    NoConfig,
    Nonza,
    Outbound,
    Plugin,
    Request,
    Session,
    SessionKey,
    Stanza,
    To,
    Xep,
    iq,
    on,
)
from xmppd.stanza import appended, embedded
from xmppd.xep.elements import stanza_id_bytes

NS = "urn:xmpp:carbons:2"
FORWARD_NS = "urn:xmpp:forward:0"
MESSAGES = (Kind.MESSAGE,)
COPIED = ("chat", "normal", "error")
"""Never groupchat nor headline (XEP-0280 section 6.1)."""
ENABLED = SessionKey[bool]("carbons", False, durable=True)


class Carbons(Plugin[NoConfig]):
    xeps = (Xep(280, "1.0.1", "of errors those are copied that answer for a bare address"),)
    features = (NS,)
    uses = (MESSAGE_RULES,)

    def setup(self) -> None:
        self.rules = self.host.service(MESSAGE_RULES)

    @iq("set", NS, "enable", To.SELF)
    async def enable(self, request: Request) -> None:
        self.switch_on(_session(request))

    @on(BIND_FEATURES)
    def inline(self, ask: FeatureAsk) -> Iterable[InlineFeature]:
        """XEP-0386 section 3.2: there is no answer, since it does not fail."""
        return (InlineFeature(NS, "enable", self.switch_on),)

    def switch_on(self, session: Session, nonza: Nonza | None = None) -> None:
        """From now on it gets copies."""
        session[ENABLED] = True

    @iq("set", NS, "disable", To.SELF)
    async def disable(self, request: Request) -> None:
        _session(request)[ENABLED] = False

    @on(ARRIVED, kinds=MESSAGES, types=COPIED)
    def received(self, event: Inbound) -> None:
        """Section 7: a copy to each that has not got it by RFC 6121 section 8.5."""
        sessions, targets = event.owner.sessions, event.targets
        if len(targets) == len(sessions):
            return
        got = {session for session, _ in targets}
        others = [each for each in sessions.values() if each[ENABLED] and each not in got and each is not event.session]
        if not targets and event.log_id:
            # It waits in the log. A device that has not come online yet gets it from there, so not twice.
            others = [each for each in others if each.presence is not None]
        if others and self.rules.policy(event.stanza).carbon_received:
            event.targets.extend(copies("received", event.stanza, event.stanza.data, others))

    @on(SENT, kinds=MESSAGES, types=COPIED)
    def sent(self, event: Outbound) -> None:
        """Section 8. What a user sends to the own account comes to all devices as received."""
        owner, stanza = event.owner, event.stanza
        if len(owner.sessions) < 2 or stanza.to is None or stanza.to.bare == owner.bare:
            return
        others = [each for each in owner.sessions.values() if each[ENABLED] and each is not event.session]
        if others and self.rules.policy(stanza).carbon_sent:
            data = stanza.data
            if event.log_id:  # XEP-0313 section 3.4: where it is in the own archive
                data = appended(data, stanza_id_bytes(owner.bare, event.log_id))
            event.targets.extend(copies("sent", stanza, data, others))


def copies(name: str, stanza: Stanza, data: bytes, sessions: list[Session]) -> list[tuple[Session, Stanza]]:
    """The same copy to each. The wrapping is bytes, built once."""
    inside = b"<%s xmlns='%s'><forwarded xmlns='%s'>%s</forwarded></%s>" % (
        name.encode(),
        NS.encode(),
        FORWARD_NS.encode(),
        embedded(data),
        name.encode(),
    )
    owner = sessions[0].account.jid
    tags = (f"{NS}|{name}",)
    return [(each, Stanza(Kind.MESSAGE, stanza.type, each.jid, owner, "", inside, tags)) for each in sessions]


def _session(request: Request) -> Session:
    """Section 4.1. Raises NotAllowed for who has no session here."""
    if request.session is None:
        raise NotAllowed()
    return request.session
