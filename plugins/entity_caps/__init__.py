"""XEP-0115: Entity Capabilities: of the server itself, in its stream features, and of its clients."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

from xmppd.cache import Cache
from xmppd.config import option
from xmppd.contracts.caps import CAPS, INTERESTED, Interest
from xmppd.contracts.disco import DISCO, DISCO_ALIASES, DISCO_CHANGED, DiscoAsk
from xmppd.contracts.routing import CONTACT_PRESENCE, Inbound
from xmppd.contracts.sessions import AVAILABLE, RESTORED, SEEING, SHOWN, Seeing
from xmppd.contracts.stream_features import FEATURES, FeatureAsk
from xmppd.plugin import JID, E, Plugin, Session, SessionKey, Stanza, Written, Xep, on
from xmppd.storage.api import Write
from xmppd.xml import written

from .elsewhere import ContactsElsewhere
from .verify import HASHES, INFO_NS, believable, features, verification

NS = "http://jabber.org/protocol/caps"
TAG = f"{NS}|c"
OURS = re.compile(rb"""\sxmlns=["']%s["']""" % NS.encode()).search
WRITTEN = re.compile(rb"""<c(?:\s+[\w:.-]+\s*=\s*(?:'[^'<]*'|"[^"<]*"))+\s*/?>""")
REFRESH = 300.0
NOTIFY = "+notify"
LONGEST = 500
NAMES = 200
KNOWN_BYTES = 16 << 20
"""In memory, of all that is remembered."""
"""So many interests of one client are remembered."""
VER = SessionKey[str]("caps-ver", "", durable=True)
"""What the session has announced last: hash, node and ver."""
SEEN = SessionKey("caps-seen", 0)
"""A hash of the same <c/> as the client has written it; 0 for one that is written in an unusual way."""
NOTHING: frozenset[str] = frozenset()
INTERESTS = SessionKey[frozenset[str]]("caps-interests", NOTHING, durable=True)
"""Clients of one kind share the set."""


@dataclass(frozen=True)
class Config:
    node: str = option("https://xmppd.example/", "The address that names this software (section 4).", low=1, high=500)
    known: int = option(10_000, "Kinds of clients that are remembered.", low=1, high=1_000_000)


@dataclass(frozen=True, slots=True)
class Known:
    """What a verified hash stands for: its interests. `at`: seconds since 1970 UTC."""

    interests: tuple[str, ...]
    at: float


@lru_cache(16)
def _feature(node: str, ver: str) -> Written:
    return written(E("c", NS, {"hash": "sha-1", "node": node, "ver": ver}))


class EntityCaps(Plugin[Config]):
    """Implements `contracts.caps.Caps`."""

    xeps = (Xep(115, "1.6.0", "of clients: interests (+notify); what cannot be verified counts for one session"),)
    features = (NS,)
    uses = (DISCO,)
    provides = (CAPS,)

    def setup(self) -> None:
        self.ver = ""
        self.stored = self.host.storage.map("caps", Known)
        self.known: Cache[str, frozenset[str]] = Cache(self.config.known, KNOWN_BYTES)
        self.elsewhere = ContactsElsewhere(self)

    async def start(self) -> None:
        for key, known in (await self.stored.read_all(self.host.domain)).items():
            self.known.put(key, frozenset(known.interests))
        await self.refresh()
        # A changed configuration may add to what the host shows.
        self.every(REFRESH, self.refresh, "refresh")

    @on(RESTORED)
    async def all_started(self, host: JID) -> None:
        """Plugins that started later may show more."""
        await self.refresh()

    @on(DISCO_CHANGED)
    async def changed(self, host: JID) -> None:
        await self.refresh()

    async def refresh(self) -> None:
        info = await self.host.service(DISCO).info(DiscoAsk(self.host.jid))
        self.ver = verification(info)

    # ---- the server's own

    @on(FEATURES)
    def stream_feature(self, ask: FeatureAsk) -> Iterable[Written]:
        """Section 6.3."""
        return (_feature(self.config.node, self.ver),) if ask.signed_in and self.ver else ()

    @on(DISCO_ALIASES)
    def alias(self, ask: DiscoAsk) -> Iterable[str]:
        """Section 6.2: who has seen the <c/> asks for its node and ver."""
        if ask.account is None and ask.node == f"{self.config.node}#{self.ver}":
            yield ""

    # ---- those of the clients

    def wants(self, session: Session, node: str) -> bool:
        """See contracts.caps."""
        return session.presence is not None and node in session[INTERESTS]

    def wanted_elsewhere(self, account: str, contact: str, node: str) -> Sequence[JID]:
        """See contracts.caps."""
        return self.elsewhere.interested(account, contact, node)

    @on(CONTACT_PRESENCE)
    def contact_shown(self, event: Inbound) -> None:
        self.elsewhere.presence_came(event.owner, event.stanza)

    @on(AVAILABLE)
    def became_available(self, session: Session) -> None:
        """All of its interests are new."""
        session[VER], session[SEEN] = "", 0
        session[INTERESTS] = NOTHING

    @on(SEEING)
    def contact_seen(self, seeing: Seeing) -> None:
        """What the sessions have announced goes for the new contact, too."""
        for session in seeing.account.available():
            if session[INTERESTS]:
                self.host.tell(INTERESTED, Interest(session, session[INTERESTS], seeing.contact.bare))

    @on(SHOWN)
    def presence_sent(self, session: Session) -> None:
        """Only a new <c/> is parsed."""
        presence = session.presence
        if presence is None or TAG not in presence.tags:
            return
        written = WRITTEN.findall(presence.inside)
        seen = hash(written[0]) if len(written) == 1 and OURS(written[0]) else 0
        if seen and session[SEEN] == seen:
            return
        session[SEEN] = seen
        c = presence.child(NS, "c")
        assert c is not None
        method, node, ver = (str(c.get(name, ""))[:LONGEST] for name in ("hash", "node", "ver"))
        announced = f"{method}\n{node}\n{ver}"
        if session[VER] == announced:
            return
        session[VER] = announced

        def learned(interests: frozenset[str]) -> None:
            if not session.ended and session[VER] == announced:
                self._set_interests(session, interests)

        self.learn(session.jid, method, node, ver, learned)

    def learn(self, who: JID, method: str, node: str, ver: str, learned: Callable[[frozenset[str]], None]) -> None:
        """What a client is interested in that has announced this: known, or asked for. `learned` is not called where no
        answer comes."""
        known = self.known.get(f"{method} {ver}")
        if known is not None:
            learned(known)
            return
        query = E("query", INFO_NS, {"node": f"{node}#{ver}"} if node else {})
        self.host.ask(who, query, partial(self._answered, learned, method, ver))

    def _answered(self, learned: Callable[[frozenset[str]], None], hash: str, ver: str, answer: Stanza | None) -> None:
        """Section 5.4: what is not verified counts for this client alone, so a forged hash deceives nobody else."""
        info = answer.payload if answer is not None and not answer.is_error else None
        if info is None:
            return
        names = {each.removesuffix(NOTIFY) for each in features(info) if each.endswith(NOTIFY)}
        interests = frozenset(sorted(name for name in names if len(name) <= LONGEST)[:NAMES])
        if hash in HASHES and believable(info, hash, ver):
            self.spawn(self._store(f"{hash} {ver}", interests), "store")
        learned(interests)

    async def _store(self, key: str, interests: frozenset[str]) -> None:
        known = Known(tuple(sorted(interests)), self.host.clock.now())
        self.known.most = self.config.known
        writes: list[Write] = [self.stored.put(self.host.domain, key, known)]
        writes += [self.stored.delete(self.host.domain, old) for old in self.known.put(key, interests)]
        await self.host.storage.commit(writes)

    def _set_interests(self, session: Session, interests: frozenset[str]) -> None:
        before = session[INTERESTS]
        new = interests - before
        session[INTERESTS] = interests
        if new and session.presence is not None:
            self.host.tell(INTERESTED, Interest(session, new))
