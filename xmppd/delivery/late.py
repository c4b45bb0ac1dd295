"""The delay stamps of what is sent later than it was accepted (XEP-0203)."""

from __future__ import annotations

from ..contracts.core import Account
from ..stanza import Kind, appended, look_at
from ..storage.api import Entry, Flags
from ..xep.elements import DELAY_NS, delay_bytes, stanza_id_bytes
from ..xml import children


def stamped_late(data: bytes, domain: str, at: int) -> bytes:
    """Add the <delay/> of this server to a stanza that was accepted at that time (microseconds since 1970 UTC), once.

    A presence that says itself since when it holds gets none.
    """
    if DELAY_NS.encode() in data:
        stanza = look_at(data)
        for delay in children(stanza.xml, DELAY_NS, "delay"):
            if stanza.kind is Kind.PRESENCE or delay.get("from") == domain:
                return data
    return appended(data, delay_bytes(domain, at))


def delayed(entry: Entry, account: Account) -> bytes:
    """A log entry as it is sent later: with its time (XEP-0203) and its archive id (XEP-0359)."""
    extra = delay_bytes(account.host.domain, entry.id)
    if not entry.flags & Flags.HIDDEN:
        extra = stanza_id_bytes(account.bare, entry.id) + extra
    return appended(entry.body, extra)
