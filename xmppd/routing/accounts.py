"""The accounts of a host as a destination: what comes to one of them is decided by its chains and its records."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from ..contracts.core import Account, Host
from ..contracts.routes import Arrival, To
from ..contracts.routing import CONTACT_PRESENCE, INBOUND, Inbound
from ..contracts.sessions import PRESENCE
from ..errors import NotNow, ServiceUnavailable, StanzaError, StorageUnavailable
from ..jid import JID
from ..stanza import SUBSCRIPTIONS, Kind, Stanza
from .answers import answer_iq
from .transaction import StanzaTransaction

SHOWN = ("", "unavailable", "error")
EvenTime = Callable[[], Awaitable[None]]
"""Waits for the time of an even answer (ADR 0007)."""


def check_started(host: Host) -> None:
    """Raises NotNow while the plugins of a host wait for the store."""
    if not host.started:
        raise NotNow("the store does not answer now")


class AccountsDestination:
    """Addresses with a localpart at a host where people sign in (RFC 6121 section 8.5)."""

    remote = False

    def __init__(self, host: Host) -> None:
        self.host = host

    def accept(self, arrival: Arrival, stanza: Stanza) -> Awaitable[None] | None:
        """Decide for the recipient, whose account is loaded first where it is not in memory."""
        if TYPE_CHECKING:
            assert isinstance(arrival, StanzaTransaction)
        to = stanza.to
        assert to is not None
        check_started(self.host)
        if stanza.kind is not Kind.MESSAGE and not arrival.own and _asks_another(stanza, to):
            return self._ask_another(arrival, stanza, to)
        return self._ask(arrival, stanza, to)

    def _ask(self, transaction: StanzaTransaction, stanza: Stanza, to: JID) -> Awaitable[None] | None:
        if not self.host.ready(to.bare):
            return self._load_first(transaction, stanza, to)
        return self._decide(transaction, stanza, self.host.accounts[to.bare])

    async def _load_first(self, transaction: StanzaTransaction, stanza: Stanza, to: JID) -> None:
        wait = self._decide(transaction, stanza, await self.host.open_account(to))
        if wait is not None:
            await wait

    def _decide(
        self, transaction: StanzaTransaction, stanza: Stanza, account: Account | None
    ) -> Awaitable[None] | None:
        kind, to, host = stanza.kind, stanza.to, self.host
        assert to is not None
        if account is None:
            if kind is Kind.PRESENCE and stanza.type != "probe":
                return None  # RFC 6121 section 8.5.1
            if kind is not Kind.PRESENCE:
                return self._absent(transaction, stanza)
        if kind is Kind.PRESENCE and (stanza.type in SUBSCRIPTIONS or stanza.type == "probe"):
            return self._contact(transaction, stanza, account)
        assert account is not None
        if kind is Kind.IQ and to.resource and to.resource not in account.sessions:
            raise ServiceUnavailable()  # RFC 6121 section 8.5.3.2.3
        event = Inbound(stanza, account, transaction.origin, transaction.writes)
        try:
            if host.run(host.chain(INBOUND, stanza), event) is not None:
                return None
        except ServiceUnavailable:
            return self._absent(transaction, stanza)
        if kind is Kind.IQ and not to.resource:
            own = stanza.sender is not None and stanza.sender.bare == account.bare
            return answer_iq(transaction, stanza, host, account, To.SELF if own else To.ACCOUNT)
        transaction.inbound.append(event)
        if kind is Kind.PRESENCE and not to.resource and stanza.type in SHOWN and not transaction.own:
            transaction.then(partial(self._tell_presence, event))
        return None

    def _tell_presence(self, event: Inbound) -> None:
        """Tell plugins of presence from elsewhere: what the clients here show reaches them in other ways."""
        sender = event.stanza.sender
        if sender is not None and not self.host.router.routes.serves_accounts(sender.domain):
            self.host.tell(CONTACT_PRESENCE, event)

    def _contact(
        self, transaction: StanzaTransaction, stanza: Stanza, account: Account | None
    ) -> Awaitable[None] | None:
        """A probe, or what changes a subscription (RFC 6121 sections 3 and 4.3)."""
        rules = self.host.find(PRESENCE)
        if rules is None:
            return None
        if stanza.type == "probe":
            rules.probe(stanza, transaction.reply)
            return None
        assert account is not None
        return rules.arriving_subscription(account, stanza)

    def _absent(self, transaction: StanzaTransaction, stanza: Stanza) -> Awaitable[None] | None:
        """An account is not there, or is to look like that (RFC 6121 section 8.5.1). Raises ServiceUnavailable."""
        assert stanza.to is not None
        if stanza.to.resource or not self.host.answers(stanza, To.ABSENT):
            raise ServiceUnavailable()
        return answer_iq(transaction, stanza, self.host, None, To.ABSENT)

    # ---- questions to another's account

    def _ask_another(self, transaction: StanzaTransaction, stanza: Stanza, to: JID) -> Awaitable[None] | None:
        """An IQ or probe to another's account. Who is not there, or does not show that it is, is told in the same time,
        whatever had to be loaded and decided (ADR 0007). What reaches a session is not held up."""
        server = self.host.server
        step = server.limits.even_answers
        if not step or not self.host.has_accounts:
            return self._ask(transaction, stanza, to)
        even_time = partial(server.answer_times.come, server.answer_times.next(step), step)
        if stanza.kind is Kind.PRESENCE:
            return self._probe_evenly(even_time, transaction, stanza, to)
        try:
            wait = self._ask(transaction, stanza, to)
        except StanzaError as error:
            return _refuse_evenly(even_time, error)
        if wait is None and transaction.inbound:
            return None
        return _answer_evenly(even_time, transaction, wait)

    async def _probe_evenly(self, even_time: EvenTime, transaction: StanzaTransaction, stanza: Stanza, to: JID) -> None:
        account = await self.host.open_account(to)
        await even_time()
        wait = self._decide(transaction, stanza, account)
        if wait is not None:
            await wait


async def _answer_evenly(even_time: EvenTime, transaction: StanzaTransaction, wait: Awaitable[None] | None) -> None:
    try:
        if wait is not None:
            await wait
    except (StanzaError, StorageUnavailable):
        await even_time()
        raise
    if not transaction.informative and not transaction.inbound:
        await even_time()


async def _refuse_evenly(even_time: EvenTime, error: StanzaError) -> None:
    await even_time()
    raise error


def _asks_another(stanza: Stanza, to: JID) -> bool:
    """An IQ or presence is a question to somebody else's account."""
    if stanza.kind is Kind.IQ and stanza.answers:
        return False
    if stanza.kind is Kind.PRESENCE and stanza.type != "probe":
        return False
    return stanza.sender is not None and stanza.sender.bare != to.bare
