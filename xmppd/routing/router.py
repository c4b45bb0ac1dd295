"""The path of a stanza: decide, commit, release (docs/explanation/architecture.md). The heart; keep it small."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Final

from ..contracts.core import Account, Concerned, Handler, Host, Request, Session, To
from ..contracts.order import Lane
from ..contracts.routing import (
    ADDRESSES_NS,
    ARRIVED,
    ENTITIES,
    INBOUND,
    MESSAGE_RULES,
    MULTICAST,
    OUTBOUND,
    SENT,
    Inbound,
    Outbound,
)
from ..contracts.sessions import PRESENCE
from ..errors import (
    BadRequest,
    FeatureNotImplemented,
    InternalServerError,
    JidMalformed,
    PolicyViolation,
    RemoteServerNotFound,
    ResourceConstraint,
    ServiceUnavailable,
    StanzaError,
    StorageUnavailable,
)
from ..jid import JID
from ..sessions import availability
from ..stanza import Kind, Stanza
from ..storage.api import Flags, Storage
from ..xep.elements import DELAY_NS, LATE, delay_bytes
from ..xml import Written
from .locks import OwnerLocks
from .origins import Origins
from .transaction import StanzaTransaction

log = logging.getLogger("xmppd.routing")
DELAY_TAG = f"{DELAY_NS}|delay"
NEVER: Final = 1 << 62
"""Behind all ids of logs."""
Come = Callable[[], Awaitable[None]]
"""Waits for the time of an even answer."""
ADDRESSES = f"{ADDRESSES_NS}|addresses"
HIDDEN = int(Flags.HIDDEN)
"""A plain number: `&` of an enum costs a microsecond."""
SUBSCRIPTIONS = frozenset(("subscribe", "subscribed", "unsubscribe", "unsubscribed"))
PRESENCE_TYPES = frozenset(("", "unavailable", "probe", "error")) | SUBSCRIPTIONS


class Router:
    def __init__(self, storage: Storage, hosts: Mapping[str, Host]) -> None:
        self.storage = storage
        self.hosts = hosts
        self.origins = Origins(self)
        self.locks = OwnerLocks()
        """Who changes an owner's records outside the path of a stanza takes the owner's turn."""
        self.newest = 0
        """The highest id that a log of a service has given: above the time if the clock was set back."""

    def where(self, jid: JID) -> Host | None:
        """The home of an address: a local host, or None for elsewhere."""
        return self.hosts.get(jid.domain)

    def account(self, jid: JID) -> Account | None:
        """The local account of an address, if it is in memory: that of a session is."""
        host = self.hosts.get(jid.domain)
        return host.account(jid.bare) if host is not None else None

    def since(self, sender: JID) -> int:
        """Since when what bears the name of a sender is its own, in microseconds since 1970 UTC: an account that was
        made under a name that had been used before has not said what the former one has. 0 where nothing is known:
        elsewhere, and for what is no account. An account that is just being removed has nothing any more."""
        host = self.hosts.get(sender.domain)
        if host is None or not host.has_accounts or not sender.local:
            return 0
        account = host.account(sender.bare)
        return account.created_at if account is not None else NEVER

    # ---- from a client

    def receive(self, session: Session, stanza: Stanza) -> Awaitable[None] | None:
        """Take a stanza of a bound session, `sender` stamped. An awaitable: the stream must wait for it."""
        transaction = StanzaTransaction(self, stanza, session, session.lane)
        try:
            wait = self._decide(transaction, session)
        except StanzaError as error:
            transaction.refuse(error)
            return None
        if wait is not None:
            return self.wait(transaction, wait)
        transaction.finish()
        return None

    async def wait(self, transaction: StanzaTransaction, wait: Awaitable[None]) -> None:
        try:
            await wait
        except StanzaError as error:
            transaction.refuse(error)
        except StorageUnavailable:
            transaction.refuse(ResourceConstraint("the store does not answer now"))
        except Exception:
            log.exception("%r could not be handled", transaction.stanza)
            transaction.refuse(InternalServerError())
        else:
            transaction.restamp()
            transaction.finish()

    async def _barrier(self, transaction: StanzaTransaction, work: Awaitable[None]) -> None:
        """Decided when all before it on its stream is released."""
        await self.until_idle(transaction.lane)
        await work

    async def until_idle(self, lane: Lane) -> None:
        """Wait until nothing of the lane waits for a commit."""
        while lane.tail is not None and not lane.tail.done:
            await self.storage.decided(lane.tail)
        lane.tail = None

    def _decide(self, transaction: StanzaTransaction, session: Session) -> Awaitable[None] | None:
        stanza, host = transaction.stanza, session.host
        if stanza.fault == "too-big":  # XEP-0205 section 4.5: the client knows which, and does not send it for ever
            raise PolicyViolation("too big", ("urn:xmpp:errors", "stanza-too-big"))
        if stanza.fault == "long-name":
            raise PolicyViolation("an XML name is too long")
        if stanza.fault:
            raise JidMalformed() if stanza.fault == "jid-malformed" else BadRequest()
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
        if stanza.to is None:
            if kind is Kind.IQ:
                return self._answer(transaction, stanza, host, session.account, To.SELF)
            stanza = transaction.stanza = stanza.stamped(to=session.account.jid)  # RFC 6120 section 10.3.1
        return self._inbound(transaction, stanza)

    async def _spread(self, transaction: StanzaTransaction, session: Session, copies: list[Stanza]) -> None:
        """One stanza to many people: decided together, committed in one batch. One that is refused stops no other."""
        outer = transaction.stanza
        if session.stream is not None:
            session.stream.charge(len(outer.inside) * len(copies), len(copies))
        for copy in copies:
            writes, sent, came = len(transaction.writes), len(transaction.outbound), len(transaction.inbound)
            try:
                host = self.hosts.get(copy.to.domain) if copy.to is not None else None
                if host is not None and host.find(ENTITIES) is not None:
                    raise FeatureNotImplemented("not to rooms")
                wait = self._sent(transaction, copy, session)
                if wait is not None:
                    await wait
            except StanzaError as error:
                del transaction.writes[writes:], transaction.outbound[sent:], transaction.inbound[came:]
                if not copy.answers:
                    if copy.kind is Kind.MESSAGE:
                        session.refusing(transaction.number)  # before the counts of what follows
                    transaction.then(partial(transaction.reply, copy.error(error)))
        transaction.stanza = outer

    def _presence(self, transaction: StanzaTransaction, stanza: Stanza, session: Session) -> Awaitable[None] | None:
        rules = session.host.find(PRESENCE)
        if stanza.type not in PRESENCE_TYPES:
            raise BadRequest("unknown presence type")
        if stanza.to is None:
            if not stanza.type:
                availability.priority_of(stanza)  # before it is released
                transaction.then(lambda: availability.appear(session, stanza))
            elif stanza.type == "unavailable":
                transaction.then(lambda: availability.leave(session, stanza))
            return None
        if rules is None:
            return None if stanza.type in SUBSCRIPTIONS else self._inbound(transaction, stanza)
        if stanza.type in SUBSCRIPTIONS:
            return self._barrier(transaction, rules.subscription(session, stanza))
        if stanza.type in ("", "unavailable"):
            transaction.then(lambda: rules.directed(session, stanza))
        return self._inbound(transaction, stanza)

    # ---- to an address

    def _inbound(self, transaction: StanzaTransaction, stanza: Stanza) -> Awaitable[None] | None:
        to = stanza.to
        assert to is not None
        host = self.hosts.get(to.domain)
        if host is None:
            if stanza.kind is Kind.PRESENCE:
                return None
            raise RemoteServerNotFound()
        if not host.started:
            raise ResourceConstraint("the store does not answer now")
        if not to.local:
            if stanza.kind is Kind.IQ:
                return self._answer(transaction, stanza, host, None, To.HOST)
            return None
        entities = host.find(ENTITIES)
        if entities is not None:
            transaction.stanza = stanza
            work = entities.receive(transaction)
            return self._barrier(transaction, work) if work is not None else None
        if stanza.kind is not Kind.MESSAGE and transaction.session is not None and _asks_another(stanza, to):
            return self._ask_another(transaction, stanza, host, to)
        if not host.ready(to.bare):
            return self._load_first(transaction, stanza, host, to)
        return self.to_account(transaction, stanza, host, host.accounts[to.bare])

    def _ask(self, transaction: StanzaTransaction, stanza: Stanza, host: Host, to: JID) -> Awaitable[None] | None:
        if not host.ready(to.bare):
            return self._load_first(transaction, stanza, host, to)
        return self.to_account(transaction, stanza, host, host.accounts[to.bare])

    def _ask_another(
        self, transaction: StanzaTransaction, stanza: Stanza, host: Host, to: JID
    ) -> Awaitable[None] | None:
        """An IQ or probe of a client to another's account. Who is not there, or does not show that it is, is told in
        the same time, whatever had to be loaded and decided (ADR 0007). What reaches a session is not held up."""
        step = host.server.limits.even_answers
        if not step or not host.has_accounts:
            return self._ask(transaction, stanza, host, to)
        come = partial(host.server.answer_times.come, host.server.answer_times.next(step), step)
        if stanza.kind is Kind.PRESENCE:
            return self._probe_evenly(come, transaction, stanza, host, to)
        try:
            wait = self._ask(transaction, stanza, host, to)
        except StanzaError as error:
            return _refused_evenly(come, error)
        if wait is None and transaction.inbound:
            return None
        return self._answer_evenly(come, transaction, wait)

    async def _answer_evenly(self, come: Come, transaction: StanzaTransaction, wait: Awaitable[None] | None) -> None:
        try:
            if wait is not None:
                await wait
        except (StanzaError, StorageUnavailable):
            await come()
            raise
        if not transaction.telling and not transaction.inbound:
            await come()

    async def _probe_evenly(
        self, come: Come, transaction: StanzaTransaction, stanza: Stanza, host: Host, to: JID
    ) -> None:
        account = await host.open_account(to)
        await come()
        wait = self.to_account(transaction, stanza, host, account)
        if wait is not None:
            await wait

    async def _load_first(self, transaction: StanzaTransaction, stanza: Stanza, host: Host, to: JID) -> None:
        wait = self.to_account(transaction, stanza, host, await host.open_account(to))
        if wait is not None:
            await wait

    def to_account(
        self, transaction: StanzaTransaction, stanza: Stanza, host: Host, account: Account | None
    ) -> Awaitable[None] | None:
        """Decide for the recipient."""
        kind, to = stanza.kind, stanza.to
        assert to is not None
        if account is None:
            if kind is Kind.PRESENCE and stanza.type != "probe":
                return None  # RFC 6121 section 8.5.1
            if kind is not Kind.PRESENCE:
                return self._absent(transaction, stanza, host)
        if kind is Kind.PRESENCE and (stanza.type in SUBSCRIPTIONS or stanza.type == "probe"):
            rules = host.find(PRESENCE)
            if rules is None:
                return None
            if stanza.type == "probe":
                rules.probe(stanza, transaction.session)
                return None
            assert account is not None
            return rules.arriving_subscription(account, stanza)
        assert account is not None
        if kind is Kind.IQ and to.resource and to.resource not in account.sessions:
            raise ServiceUnavailable()  # RFC 6121 section 8.5.3.2.3
        event = Inbound(stanza, account, transaction.session, transaction.writes)
        try:
            if host.run(host.chain(INBOUND, stanza), event) is not None:
                return None
        except ServiceUnavailable:
            return self._absent(transaction, stanza, host)
        if kind is Kind.IQ and not to.resource:
            own = stanza.sender is not None and stanza.sender.bare == account.bare
            return self._answer(transaction, stanza, host, account, To.SELF if own else To.ACCOUNT)
        transaction.inbound.append(event)
        return None

    def _absent(self, transaction: StanzaTransaction, stanza: Stanza, host: Host) -> Awaitable[None] | None:
        """An account is not there, or is to look like that (RFC 6121 section 8.5.1). Raises ServiceUnavailable."""
        assert stanza.to is not None
        if stanza.to.resource or not host.answers(stanza, To.ABSENT):
            raise ServiceUnavailable()
        return self._answer(transaction, stanza, host, None, To.ABSENT)

    def _answer(
        self, transaction: StanzaTransaction, stanza: Stanza, host: Host, account: Account | None, to: To
    ) -> Awaitable[None] | None:
        if stanza.answers:
            host.answered(stanza)
            return None
        return self._barrier(transaction, self._answer_now(transaction, stanza, host, account, to))

    async def _answer_now(
        self, transaction: StanzaTransaction, stanza: Stanza, host: Host, account: Account | None, to: To
    ) -> None:
        payload, sender = stanza.payload, stanza.sender
        assert payload is not None and sender is not None
        request = Request(stanza, payload, sender, account, transaction.session, transaction.lane)
        answer = await host.answer(request, to)
        result = stanza.result(answer)
        transaction.telling = answer is not None and (isinstance(answer, Written) or len(answer) > 0)
        transaction.then(lambda: transaction.reply(result))
        for action in request.behind:
            transaction.then(partial(_softly, action))

    # ---- release

    def deliver_inbound(self, transaction: StanzaTransaction, event: Inbound) -> None:
        """Who is there is looked up now."""
        stanza, account = event.stanza, event.owner
        host, to = account.host, stanza.to
        assert to is not None
        kind, log_id = stanza.kind, event.log_id
        if log_id and host.clock.now() * 1_000_000 - log_id > LATE:  # the store was away
            stanza = event.stanza = stanza.with_child(delay_bytes(host.domain, log_id), DELAY_TAG)
        account.released = max(account.released, log_id)
        if log_id and event.entry is not None and event.entry.flags & HIDDEN:
            account.cursor.transient.add(log_id)  # deleted when a device has acknowledged it
        if kind is Kind.MESSAGE:
            try:
                rules = host.find(MESSAGE_RULES)
                chosen_sessions = rules.targets(event) if rules is not None else account.available()
                event.targets = [(session, stanza) for session in chosen_sessions]
            except StanzaError as error:
                if not log_id and not stanza.answers:
                    self._bounce(transaction, stanza, error)
                    return
        elif to.resource:
            session = account.sessions.get(to.resource)
            if session is not None:
                event.targets = [(session, stanza)]
            elif kind is Kind.IQ and not stanza.answers:
                self._bounce(transaction, stanza, ServiceUnavailable())
                return
        else:
            event.targets = [(session, stanza) for session in account.available()]
        host.tell_these(host.chain(ARRIVED, stanza), event)
        if log_id and not any(chosen is stanza for _, chosen in event.targets):
            account.cursor.mark_pending(log_id)
        self._send(event, stanza, log_id)

    def _send(self, event: Inbound, stanza: Stanza, log_id: int) -> None:
        for session, chosen in event.targets:
            if chosen is stanza:
                session.channel.send(chosen.data, log_id, chosen)
            else:
                session.channel.copy(chosen.data, log_id, chosen)

    def _bounce(self, transaction: StanzaTransaction, stanza: Stanza, error: StanzaError) -> None:
        """To who sent it; of what a service has passed on that is the service, which alone may know the address."""
        if stanza.sender == transaction.stanza.sender:
            transaction.reply(stanza.error(error))
        else:
            self.deliver(stanza.error(error))

    def deliver_outbound(self, event: Outbound) -> None:
        owner = event.owner
        owner.released = max(owner.released, event.log_id)
        owner.host.tell_these(owner.host.chain(SENT, event.stanza), event)
        late = bool(event.targets) and event.log_id and _is_late(owner.host, event.log_id)
        for session, stanza in event.targets:
            if late:
                stanza = stanza.with_child(delay_bytes(owner.host.domain, event.log_id), DELAY_TAG)
            session.send(stanza)

    # ---- what the server itself sends

    def deliver(self, stanza: Stanza) -> None:
        """Route a stanza made by the server (`sender` and `to` set). What one entity says to one account comes in the
        order of calls, also where one thing is stored before it is released and the next one is not."""
        to = stanza.to
        assert to is not None
        host = self.hosts.get(to.domain)
        if host is None:
            return
        passing = stanza.kind is Kind.PRESENCE and stanza.type not in SUBSCRIPTIONS
        if passing and to.local and host.has_accounts:
            account = host.account(to.bare)
            if account is None or not account.sessions:
                return  # nobody is there to see it
        self.origins.send(stanza, host)

    def decide_own(self, transaction: StanzaTransaction) -> Awaitable[None] | None:
        """Decide a stanza of the server's own. An awaitable: what it sends to the same account then waits for it.
        Raises StanzaError."""
        return self._inbound(transaction, transaction.stanza)

    def fan_out(self, stanza: Stanza, addresses: Iterable[JID], at: int = 0) -> None:
        """Send one stanza to many full JIDs, serialised once; each gets its own `to` (XEP-0045 section 7.4). `at`: when
        it was accepted (microseconds since 1970 UTC), if it may have waited for the store since; it is told then."""
        hosts = self.hosts
        found: list[Session] = []
        for to in addresses:
            host = hosts.get(to.domain)
            account = host.accounts.get(to.bare) if host is not None else None
            session = account.sessions.get(to.resource) if account is not None else None
            if session is not None:
                found.append(session)
        if at and found and stanza.sender is not None and _is_late(found[0].host, at):
            stanza = stanza.with_child(delay_bytes(stanza.sender.domain, at), DELAY_TAG)
        self.fan_to(stanza, found)

    def fan_to(self, stanza: Stanza, sessions: Iterable[Session]) -> None:
        """The same to sessions."""
        host: Host | None = None
        admit: tuple[Handler, ...] = ()
        told: tuple[Handler, ...] = ()
        concerned: Concerned | None = None
        pending, speaker = self.origins.pending, stanza.sender.bare if stanza.sender is not None else ""
        start, end = stanza.around_address
        for session in sessions:
            account = session.account
            if pending and (speaker, account.bare) in pending:  # behind what was sent there before
                self.deliver(stanza.stamped(to=session.jid))
                continue
            if account.host is not host:
                host = account.host
                admit, told = host.chain(INBOUND, stanza), host.chain(ARRIVED, stanza)
                concerned = host.concerned(stanza)
            if concerned is not None and account.bare not in concerned.names:
                for records in concerned.maps:
                    if records.get(account.bare, True):
                        break
                else:  # no handler has anything to do with this account
                    session.channel.send(b"".join((start, session.address, end)), 0, stanza)
                    continue
            event = Inbound(stanza.stamped(to=session.jid) if admit else stanza, account, None, [])
            try:
                verdict = host.run(admit, event)
            except StanzaError:
                continue
            if event.writes:  # in order with what it writes
                self.origins.send_decided(event, admitted=verdict is None)
                continue
            if verdict is not None:
                continue
            chosen = event.stanza
            if not told:
                session.channel.send(chosen.data_for(session.address), 0, chosen)
                continue
            event.targets = [(session, chosen)]
            host.tell_these(told, event)
            for target, chosen in event.targets:
                data = chosen.data_for(target.address) if target is session else chosen.data
                target.channel.send(data, 0, chosen)

    def hand_over(self, stanza: Stanza, account: Account, sessions: list[Session]) -> None:
        """Give a stanza to some of an account's sessions, through its INBOUND chain, under the address that it has.
        If it is refused nobody is told."""
        host = account.host
        event = Inbound(stanza, account, None, [])
        try:
            verdict = host.run(host.chain(INBOUND, stanza), event)
        except StanzaError:
            return
        if event.writes:
            self.origins.send_decided(event, partial(self._release_to, event, sessions), verdict is None)
        elif verdict is None:
            self._release_to(event, sessions)

    def _release_to(self, event: Inbound, sessions: list[Session]) -> None:
        host, stanza = event.owner.host, event.stanza
        event.targets = [(session, stanza) for session in sessions if not session.ended]
        host.tell_these(host.chain(ARRIVED, stanza), event)
        for session, chosen in event.targets:
            session.channel.send(chosen.data, 0, chosen)


def _softly(action: Callable[[], object]) -> None:
    """What an answered request causes; its answer has been sent."""
    try:
        action()
    except Exception:
        log.exception("what follows an answer failed")


def _is_late(host: Host, at: int) -> bool:
    """It was accepted a while ago (XEP-0203)."""
    return host.clock.now() * 1_000_000 - at > LATE


def _asks_another(stanza: Stanza, to: JID) -> bool:
    """An IQ or presence is a question to somebody else's account."""
    if stanza.kind is Kind.IQ and stanza.answers:
        return False
    if stanza.kind is Kind.PRESENCE and stanza.type != "probe":
        return False
    return stanza.sender is not None and stanza.sender.bare != to.bare


async def _refused_evenly(come: Come, error: StanzaError) -> None:
    await come()
    raise error


def _check_iq(stanza: Stanza) -> None:
    """RFC 6120 section 8.2.3. Raises BadRequest."""
    if not stanza.id:
        raise BadRequest("an iq needs an id")
    if stanza.type in ("get", "set"):
        if len(stanza.tags) != 1:
            raise BadRequest("a get or set holds exactly one element")
    elif stanza.type not in ("result", "error"):
        raise BadRequest("unknown iq type")
