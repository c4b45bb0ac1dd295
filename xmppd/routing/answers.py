"""IQ requests that this server answers: their handler decides behind all that came before on the same origin."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from ..contracts.components import DELEGATION
from ..contracts.core import Account, Host
from ..contracts.requests import LATER, Request
from ..contracts.routes import Arrival, To
from ..stanza import Stanza
from ..xml import Written
from .transaction import StanzaTransaction

log = logging.getLogger("xmppd.routing")


def answer_iq(arrival: Arrival, stanza: Stanza, host: Host, account: Account | None, to: To) -> Awaitable[None] | None:
    """Ask the handler of an IQ request; the answer to a request of the host's own goes to who has asked."""
    if stanza.answers:
        host.answered(stanza)
        return None
    delegation = host.find(DELEGATION)
    if delegation is not None and to is not To.ABSENT and delegation.concerns(stanza):
        _inform(arrival)
        arrival.then(partial(delegation.hand_on, stanza, account))
        return None
    return arrival.barrier(_answer(arrival, stanza, host, account, to))


async def _answer(arrival: Arrival, stanza: Stanza, host: Host, account: Account | None, to: To) -> None:
    if TYPE_CHECKING:
        assert isinstance(arrival, StanzaTransaction)
    payload, sender = stanza.payload, stanza.sender
    assert payload is not None and sender is not None
    request = Request(stanza, payload, sender, account, arrival.origin)
    answer = await host.answer(request, to)
    if answer is LATER:
        _inform(arrival)
        return
    result = stanza.result(answer)
    arrival.informative = answer is not None and (isinstance(answer, Written) or len(answer) > 0)
    arrival.then(lambda: arrival.reply(result))
    for action in request.behind:
        arrival.then(partial(_run_after_answer, action))


def _inform(arrival: Arrival) -> None:
    """Its sender learns something, and not now: nothing is put off for its sake (ADR 0007)."""
    if TYPE_CHECKING:
        assert isinstance(arrival, StanzaTransaction)
    arrival.informative = True


def _run_after_answer(action: Callable[[], object]) -> None:
    """What an answered request causes; its answer has been sent."""
    try:
        action()
    except Exception:
        log.exception("what follows an answer failed")
