"""The release of what is decided and, where it writes, committed: who is there is looked up now."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from ..contracts.core import Host
from ..contracts.routing import ARRIVED, MESSAGE_RULES, SENT, Inbound, Outbound
from ..errors import ServiceUnavailable, StanzaError
from ..stanza import Kind, Stanza
from ..storage.api import Flags
from ..xep.elements import DELAY_NS, LATE, delay_bytes, parse_time
from ..xml import children

DELAY_TAG: Final = f"{DELAY_NS}|delay"
HIDDEN: Final = int(Flags.HIDDEN)
"""A plain number: `&` of an enum costs a microsecond."""


def is_late(host: Host, at: int) -> bool:
    """It was accepted a while ago (XEP-0203). `at`: microseconds since 1970 UTC."""
    return host.clock.now() * 1_000_000 - at > LATE


def with_delay(stanza: Stanza, domain: str, at: int) -> Stanza:
    """With the time when the domain has accepted it (XEP-0203)."""
    return stanza.with_child(delay_bytes(domain, at), DELAY_TAG)


def said_at(stanza: Stanza, domain: str) -> int:
    """When the domain has accepted it, as it says (XEP-0203), microseconds since 1970 UTC; 0: it does not say that."""
    if DELAY_TAG not in stanza.tags:
        return 0
    for delay in children(stanza.xml, DELAY_NS, "delay"):
        if delay.get("from") == domain:
            with suppress(ValueError):
                return parse_time(delay.get("stamp", ""))
    return 0


def release_outbound(event: Outbound) -> None:
    """It has left its sender's account."""
    owner = event.owner
    owner.released = max(owner.released, event.log_id)
    owner.host.tell_these(owner.host.chain(SENT, event.stanza), event)
    late = bool(event.targets) and event.log_id and is_late(owner.host, event.log_id)
    for session, stanza in event.targets:
        session.send(with_delay(stanza, owner.host.domain, event.log_id) if late else stanza)


def release_inbound(event: Inbound) -> Stanza | None:
    """Send it to the sessions of the recipient that get it now. Returns the error if there is none and the sender must
    be told (RFC 6121 section 8.5)."""
    stanza, account, log_id = event.stanza, event.owner, event.log_id
    host = account.host
    if log_id and host.clock.now() * 1_000_000 - log_id > LATE:  # the store was away
        stanza = event.stanza = with_delay(stanza, host.domain, log_id)
    account.released = max(account.released, log_id)
    if log_id and event.entry is not None and event.entry.flags & HIDDEN:
        account.cursor.transient.add(log_id)  # deleted when a device has acknowledged it
    error = _choose_sessions(event, stanza)
    if error is not None:
        return stanza.error(error)
    host.tell_these(host.chain(ARRIVED, stanza), event)
    if log_id and not any(chosen is stanza for _, chosen in event.targets):
        account.cursor.mark_pending(log_id)
    for session, chosen in event.targets:
        if chosen is stanza:
            session.channel.send(chosen.data, log_id, chosen)
        else:
            session.channel.copy(chosen.data, log_id, chosen)
    return None


def _choose_sessions(event: Inbound, stanza: Stanza) -> StanzaError | None:
    """Note who gets it in `targets`. Returns the error that the sender is to be told."""
    account, to = event.owner, stanza.to
    assert to is not None
    if stanza.kind is Kind.MESSAGE:
        rules = account.host.find(MESSAGE_RULES)
        try:
            sessions = rules.targets(event) if rules is not None else account.available()
        except StanzaError as error:
            return error if not event.log_id and not stanza.answers else None
    elif to.resource:
        session = account.sessions.get(to.resource)
        if session is None:
            return ServiceUnavailable() if stanza.kind is Kind.IQ and not stanza.answers else None
        sessions = [session]
    else:
        sessions = account.available()
    event.targets = [(session, stanza) for session in sessions]
    return None
