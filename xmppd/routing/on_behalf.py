"""Stanzas that somebody else sends in the name of a host or of one of its accounts (XEP-0356)."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from ..contracts.core import Account, Host
from ..contracts.routes import Arrival
from ..contracts.routing import OUTBOUND, Outbound
from ..errors import Forbidden
from ..stanza import Stanza
from .transaction import StanzaTransaction


def send_for(arrival: Arrival, stanza: Stanza, host: Host) -> Awaitable[None] | None:
    """Decide a message as if its `sender` had sent it: through the OUTBOUND chain, so it is archived and its devices
    get copies. Who has given it hears of an error. Raises StanzaError."""
    if TYPE_CHECKING:
        assert isinstance(arrival, StanzaTransaction)
    sender, to = stanza.sender, stanza.to
    assert sender is not None and to is not None
    if not sender.local:
        return arrival.router.routes.find(to).accept(arrival, stanza)
    if not host.ready(sender.bare):
        return _load_first(arrival, stanza, host)
    return _send(arrival, stanza, host.account(sender.bare))


async def _load_first(transaction: StanzaTransaction, stanza: Stanza, host: Host) -> None:
    assert stanza.sender is not None
    wait = _send(transaction, stanza, await host.open_account(stanza.sender))
    if wait is not None:
        await wait


def _send(transaction: StanzaTransaction, stanza: Stanza, account: Account | None) -> Awaitable[None] | None:
    if account is None:
        raise Forbidden("there is no such account")
    host = account.host
    transaction.owner = account.bare
    outbound = Outbound(stanza, account, transaction.origin, transaction.writes)
    if host.run(host.chain(OUTBOUND, stanza), outbound) is not None:
        return None
    transaction.outbound.append(outbound)
    stanza = outbound.stanza
    assert stanza.to is not None
    return transaction.router.routes.find(stanza.to).accept(transaction, stanza)
