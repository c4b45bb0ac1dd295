"""The path of a stanza: decide, commit, release (docs/explanation/architecture.md). The heart; keep it small.

Who sends is an origin, where it goes is a destination (contracts.routes): between the two there is only this.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from functools import partial

from ..background import Background
from ..contracts.core import Account, Session
from ..contracts.order import Lane
from ..contracts.routes import Origin, To
from ..contracts.routing import ADDRESSES_NS, ENTITIES, MULTICAST, OUTBOUND, Inbound, Outbound
from ..contracts.sessions import PRESENCE
from ..errors import (
    BadRequest,
    FeatureNotImplemented,
    Forbidden,
    InternalServerError,
    JidMalformed,
    PolicyViolation,
    RemoteServerNotFound,
    StanzaError,
)
from ..jid import JID
from ..sessions import availability
from ..stanza import SUBSCRIPTIONS, Kind, Stanza
from ..storage.api import Batch, Storage
from .answers import answer_iq
from .fan_out import FanOut
from .locks import OwnerLocks
from .order import OwnOrders
from .outbox import Outbox
from .routes import Routes
from .transaction import StanzaTransaction

log = logging.getLogger("xmppd.routing")
ADDRESSES = f"{ADDRESSES_NS}|addresses"
PRESENCE_TYPES = frozenset(("", "unavailable", "probe", "error")) | SUBSCRIPTIONS


class Router:
    """Takes stanzas of every origin, and what the server itself sends. `background`: for decisions about the latter
    that take time."""

    def __init__(self, storage: Storage, routes: Routes, background: Background) -> None:
        self.storage = storage
        self.routes = routes
        self.own_orders = OwnOrders(self, routes.elsewhere, background)
        self.locks = OwnerLocks()
        """Who changes an owner's records outside the path of a stanza holds the owner's lock."""
        self.newest = 0
        """The highest id that a log of a service has given: above the time if the clock was set back."""
        self._fan = FanOut(routes, self.own_orders)
        self.outbox = Outbox(storage, self.own_orders, background)
        """What owners have to say to others beside what they decide."""

    def under_way(self) -> set[str]:
        """See contracts.core.Router."""
        return self.locks.owners() | self.own_orders.owners() | self.outbox.owners()

    # ---- from an origin

    def receive(self, origin: Origin, stanza: Stanza) -> Awaitable[None] | None:
        """Take a stanza; that of a session has its `sender` stamped. An awaitable: the origin must wait for it before
        it gives another. What is wrong with the stanza is told to the origin, it raises nothing."""
        transaction = StanzaTransaction(self, stanza, origin)
        session = transaction.session
        try:
            if session is not None:
                wait = self._from_client(transaction, stanza, session)
            else:
                wait = self._from_peer(transaction, stanza, origin)
        except StanzaError as error:
            transaction.refuse(error)
            return None
        except Exception:
            log.exception("%r could not be handled", transaction.stanza)
            transaction.refuse(InternalServerError())
            return None
        if wait is not None:
            return transaction.finish_when(wait)
        transaction.finish()
        if self.outbox.crowds and session is not None:
            return self.outbox.room(session.account.bare)
        return None

    async def until_idle(self, lane: Lane) -> None:
        """Wait until nothing of the lane waits for a commit."""
        while lane.tail is not None and not lane.tail.done:
            await self.storage.decided(lane.tail)
        lane.tail = None

    def _from_peer(self, transaction: StanzaTransaction, stanza: Stanza, origin: Origin) -> Awaitable[None] | None:
        """From an origin that is no session: it may speak for its own addresses only (RFC 6120 section 8.1.2.2), and
        this server is no relay between two others."""
        sender, to = stanza.sender, stanza.to
        if stanza.fault:
            _check_fault(stanza)
        if sender is None or to is None:
            raise BadRequest("a stanza from elsewhere needs a from and a to")  # RFC 6120 section 8.1.1.2
        if not origin.may_send_as(sender):
            raise Forbidden("you do not speak for this address")
        if stanza.kind is Kind.IQ:
            _check_iq(stanza)
        elif stanza.kind is Kind.PRESENCE and stanza.type not in PRESENCE_TYPES:
            raise BadRequest("unknown presence type")
        destination = self.routes.find(to)
        if destination.remote and not origin.relays:
            raise RemoteServerNotFound()
        return destination.accept(transaction, stanza)

    def _from_client(self, transaction: StanzaTransaction, stanza: Stanza, session: Session) -> Awaitable[None] | None:
        host = session.host
        if stanza.fault:
            _check_fault(stanza)
        kind, to = stanza.kind, stanza.to
        if kind is Kind.IQ:
            _check_iq(stanza)
        elif kind is Kind.PRESENCE and len(stanza.inside) > host.server.limits.presence_size:
            raise PolicyViolation("too big", ("urn:xmpp:errors", "stanza-too-big"))
        elif to is not None and not to.local and to.full == host.domain and ADDRESSES in stanza.tags:
            multicast = host.find(MULTICAST)
            if multicast is not None:
                return self._spread(transaction, session, multicast.copies(stanza))
        return self._sent(transaction, stanza, session)

    def _sent(self, transaction: StanzaTransaction, stanza: Stanza, session: Session) -> Awaitable[None] | None:
        kind, host = stanza.kind, session.host
        outbound = Outbound(stanza, session.account, session, transaction.writes)
        if host.run(host.chain(OUTBOUND, stanza), outbound) is not None:
            return None
        transaction.outbound.append(outbound)
        stanza = transaction.stanza = outbound.stanza
        if kind is Kind.PRESENCE:
            return self._presence(transaction, stanza, session)
        to = stanza.to
        if to is None:
            if kind is Kind.IQ:
                return answer_iq(transaction, stanza, host, session.account, To.SELF)
            to = session.account.jid
            stanza = transaction.stanza = stanza.stamped(to=to)  # RFC 6120 section 10.3.1
        return self.routes.find(to).accept(transaction, stanza)

    async def _spread(self, transaction: StanzaTransaction, session: Session, copies: list[Stanza]) -> None:
        """One stanza to many people: decided together, committed in one batch. One that is refused stops no other."""
        outer = transaction.stanza
        session.charge(len(outer.inside) * len(copies), len(copies))
        for copy in copies:
            writes, sent, came = len(transaction.writes), len(transaction.outbound), len(transaction.inbound)
            try:
                if copy.to is not None and self.routes.service(copy.to.domain, ENTITIES) is not None:
                    raise FeatureNotImplemented("not to rooms")
                wait = self._sent(transaction, copy, session)
                if wait is not None:
                    await wait
            except StanzaError as error:
                del transaction.writes[writes:], transaction.outbound[sent:], transaction.inbound[came:]
                if not copy.answers:
                    if copy.kind is Kind.MESSAGE:
                        session.refusing(transaction.number)  # before the counts of what follows
                    transaction.then(partial(session.refuse, transaction.number, copy.error(error)))
        transaction.stanza = outer

    def _presence(self, transaction: StanzaTransaction, stanza: Stanza, session: Session) -> Awaitable[None] | None:
        rules, to = session.host.find(PRESENCE), stanza.to
        if stanza.type not in PRESENCE_TYPES:
            raise BadRequest("unknown presence type")
        if to is None:
            if not stanza.type:
                availability.priority_of(stanza)  # before it is released
                transaction.then(lambda: availability.appear(session, stanza))
            elif stanza.type == "unavailable":
                transaction.then(lambda: availability.leave(session, stanza))
            return None
        if stanza.type in SUBSCRIPTIONS:
            if rules is None:
                return None
            return transaction.barrier(rules.subscription(session, stanza))
        if rules is not None and stanza.type in ("", "unavailable"):
            transaction.then(lambda: rules.directed(session, stanza))
        return self.routes.find(to).accept(transaction, stanza)

    # ---- what the server itself sends

    def deliver(self, stanza: Stanza) -> None:
        """Route a stanza made by the server (`sender` and `to` set). What one entity says to one account comes in the
        order of calls, also where one thing is stored before it is released and the next one is not."""
        self.own_orders.deliver(stanza)

    def expect(self, pairs: Sequence[tuple[str, str]], batch: Batch) -> None:
        """See contracts.core.Router."""
        self.own_orders.expect(pairs, batch)

    def came(self, pairs: Sequence[tuple[str, str]]) -> None:
        """See contracts.core.Router."""
        self.own_orders.came(pairs)

    def carry(self, stanza: Stanza) -> None:
        """Bring a stanza that its sender's home has decided to its recipient's."""
        self.own_orders.carry(stanza)

    def fan_out(self, stanza: Stanza, addresses: Iterable[JID], at: int = 0) -> None:
        """Send one stanza to many addresses (`FanOut.fan_out`)."""
        self._fan.fan_out(stanza, addresses, at)

    def fan_to_contacts(
        self,
        stanza: Stanza,
        account: Account,
        contacts: Iterable[str],
        blocks: Callable[[JID], bool] | None = None,
        own: Iterable[Session] = (),
    ) -> None:
        """Send an account's presence to its contacts (`FanOut.fan_to_contacts`)."""
        self._fan.fan_to_contacts(stanza, account, contacts, blocks, own)

    def fan_to_interested(
        self,
        stanza: Stanza,
        account: Account,
        node: str,
        contacts: Iterable[str],
        may_read: Callable[[JID], bool] | None = None,
    ) -> None:
        """Send an event of a node to who is interested (`FanOut.fan_to_interested`)."""
        self._fan.fan_to_interested(stanza, account, node, contacts, may_read)

    def probe(self, session: Session, contacts: Collection[str]) -> None:
        """Probe contacts for a session (`FanOut.probe`)."""
        self._fan.probe(session, contacts)

    def fan_to(self, stanza: Stanza, sessions: Iterable[Session]) -> None:
        """Send one stanza to many sessions, each through the chains of its account."""
        self._fan.fan_to(stanza, sessions)

    def hand_over(self, stanza: Stanza, account: Account, sessions: list[Session]) -> None:
        """Give a stanza to some of an account's sessions (`FanOut.hand_over`)."""
        self._fan.hand_over(stanza, account, sessions)

    def admit(self, stanza: Stanza, account: Account) -> Inbound | None:
        """Run the INBOUND chain of an account (`FanOut.admit`)."""
        return self._fan.admit(stanza, account)

    def release_to(self, event: Inbound, sessions: list[Session]) -> None:
        """Give what was admitted to some of the account's sessions (`FanOut.release_to`)."""
        self._fan.release_to(event, sessions)


def _check_fault(stanza: Stanza) -> None:
    """What the parser found wrong with it. Raises StanzaError."""
    fault = stanza.fault
    if fault == "too-big":  # XEP-0205 section 4.5: the client knows which, and does not send it for ever
        raise PolicyViolation("too big", ("urn:xmpp:errors", "stanza-too-big"))
    if fault == "long-name":
        raise PolicyViolation("an XML name is too long")
    raise JidMalformed() if fault == "jid-malformed" else BadRequest()


def _check_iq(stanza: Stanza) -> None:
    """RFC 6120 section 8.2.3. Raises BadRequest."""
    if not stanza.id:
        raise BadRequest("an iq needs an id")
    if stanza.type in ("get", "set"):
        if len(stanza.tags) != 1:
            raise BadRequest("a get or set holds exactly one element")
    elif stanza.type not in ("result", "error"):
        raise BadRequest("unknown iq type")
