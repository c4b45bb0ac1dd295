"""XEP-0352: Client State Indication. Stanzas that an inactive client need not see at once are delayed until something
important is sent to it.

A delayed stanza is in no log and was not sent, so no count of XEP-0198 covers it: it is counted when it is sent.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from xmppd.config import Size, option
from xmppd.contracts.messages import Idle
from xmppd.contracts.routing import MESSAGE_RULES, MessageRules
from xmppd.contracts.sessions import BIND_FEATURES, SESSION_ENDED, SESSION_RESUMED, InlineFeature
from xmppd.contracts.stream_features import FEATURES, FeatureAsk
from xmppd.plugin import E, Kind, Nonza, Plugin, Session, Written, Xep, nonza, on
from xmppd.stanza import Stanza, parse_stanza
from xmppd.xml import written

NS = "urn:xmpp:csi:0"
FEATURE = written(E("csi", NS))
EVENT_NS = "http://jabber.org/protocol/pubsub#event"
EVENT_TAG = f"{EVENT_NS}|event"
Key = tuple[str, ...] | int


@dataclass(frozen=True)
class Config:
    held: int = option(500, "Stanzas that are held back for a sleeping client; at one more all go out.", low=1)
    held_size: Size = option(Size("512 KiB"), "Their bytes in all; at more all go out.", low=1024, high=1 << 30)
    presence: bool = option(True, "Hold presence back, the last of each sender.")
    messages: bool = option(True, "Hold back messages that are not important: typing notifications, events …")


class Gate:
    """Delays stanzas in front of the channel of an inactive client (`DeliveryChannel.gate`). Bounded; has neither timer
    nor store."""

    __slots__ = ("config", "delayed", "rules", "serial", "session", "size")

    def __init__(self, session: Session, rules: MessageRules, config: Config) -> None:
        self.session = session
        self.rules = rules
        self.config = config
        self.delayed: OrderedDict[Key, tuple[bytes, int]] = OrderedDict()
        self.serial = 0
        self.size = 0

    def __call__(self, data: bytes, log_id: int, stanza: Stanza | None) -> bool:
        """True: the stanza is delayed. Otherwise all delayed ones are sent before it."""
        key = self.key(stanza or parse_stanza(data)) if not log_id else None
        if key is None:
            self.flush()
            return False
        delayed, channel = self.delayed, self.session.channel
        share = channel.share
        former = delayed.get(key)
        size = len(data) if former is None else len(data) - len(former[0])
        delayed[key] = data, channel.now()
        delayed.move_to_end(key)
        self.size += size
        share.take(size)
        if len(delayed) > self.config.held or self.size > self.config.held_size or share.crowded:
            self.flush()
        return True

    def key(self, stanza: Stanza) -> Key | None:
        """By which a later stanza replaces this one; None: it must not be delayed."""
        if stanza.kind is Kind.PRESENCE:
            if stanza.sender is None or stanza.type not in ("", "unavailable") or not self.config.presence:
                return None
            return "presence", stanza.sender.full
        if stanza.kind is Kind.IQ or not self.config.messages:
            return None
        idle = self.rules.policy(stanza).idle
        if idle is Idle.NOW:
            return None
        if idle is Idle.LATEST:
            return replacement_key(stanza) or self._unique()
        return self._unique()

    def _unique(self) -> Key:
        self.serial += 1
        return self.serial

    def flush(self) -> None:
        """Sends the delayed stanzas, in order."""
        if not self.delayed:
            return
        delayed, self.delayed = self.delayed, OrderedDict()
        channel = self.session.channel
        channel.share.give(self.size)
        self.size = 0
        gate, channel.gate = channel.gate, None
        try:
            for data, at in delayed.values():
                channel.send(channel.late(data, at), 0)
        finally:
            channel.gate = gate

    def waiting(self) -> list[tuple[bytes, int]]:
        """For a restart: the delayed stanzas, with the time when each came."""
        return list(self.delayed.values())


def replacement_key(stanza: Stanza) -> Key | None:
    """The key of a sender's chat state, or of an item of a node; None where a later one does not replace it."""
    sender = stanza.sender.full if stanza.sender is not None else ""
    if EVENT_TAG not in stanza.tags:
        return "state", sender, stanza.type
    event = stanza.child(EVENT_NS, "event")
    items = event.find(f"{{{EVENT_NS}}}items") if event is not None else None
    if items is None or len(items) != 1:
        return None  # a purge, a deletion: what came before it must come before it
    return "item", sender, str(items.get("node", "")), str(items[0].get("id", ""))


class ClientState(Plugin[Config]):
    xeps = (Xep(352, "1.0.0"),)
    uses = (MESSAGE_RULES,)

    @on(FEATURES)
    def feature(self, ask: FeatureAsk) -> Iterable[Written]:
        """Section 4.1."""
        return (FEATURE,) if ask.signed_in else ()

    @nonza(NS, "inactive")
    def inactive(self, session: Session, nonza: Nonza) -> None:
        if session.channel.gate is None:
            session.channel.gate = Gate(session, self.host.service(MESSAGE_RULES), self.config)

    @nonza(NS, "active")
    def active(self, session: Session, nonza: Nonza) -> None:
        """Section 5.1: delayed stanzas are sent before the next one of the client is handled."""
        self._open(session)

    @on(BIND_FEATURES)
    def inline(self, ask: FeatureAsk) -> Iterable[InlineFeature]:
        """XEP-0386 section 3.2: a session may begin inactive."""
        return InlineFeature(NS, "active", self.active), InlineFeature(NS, "inactive", self.inactive)

    @on(SESSION_RESUMED)
    def resumed(self, session: Session) -> None:
        """Section 5.2: a resumed stream begins active."""
        self._open(session)

    @on(SESSION_ENDED)
    def ended(self, session: Session) -> None:
        session.channel.gate = None

    def _open(self, session: Session) -> None:
        gate, session.channel.gate = session.channel.gate, None
        if gate is not None:
            gate.flush()
