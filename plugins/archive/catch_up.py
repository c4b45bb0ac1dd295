"""Recognises devices that catch up from their archive by themselves (docs/explanation/delivery.md).

Such a device does not get as offline messages what it has just read. So that nothing is lost, only what its queries
really have returned counts: pages forward up to their last entry, pages backward once they reach down to the first
entry that is not acknowledged.
"""

from __future__ import annotations

from xmppd.plugin import Session, SessionKey
from xmppd.xep.mam import Page, Query

PAGED = SessionKey[tuple[int, int]]("archive-paged", (0, 0))
"""Paging backwards from the newest: the newest id, and how far down the pages have come."""


def page_read(session: Session, query: Query, page: Page, released: int) -> None:
    """Counts the page of an answered query as delivered to its session. `released`: the id up to which the log was
    released then.

    Before initial presence the delivery begins where the reading ended. After it, paging forward or a finished catch-up
    shows that this device will read its archive again when it comes back under its resource.
    """
    if not query.everybody or query.most == 0:
        return
    read = _read_up_to(session, query, page, max(released, 1))
    if not read:
        return
    if session.presence is None:
        session.channel.read_by_client(read)
    elif not query.backwards or query.range.low is not None or query.range.after is not None:
        session.account.cursor.reads_archive(session.resource)


def _read_up_to(session: Session, query: Query, page: Page, newest: int) -> int:
    """The id up to which the device has now read all that is to be delivered to it, 0 for not yet."""
    entries = page.entries
    if not query.backwards:
        return newest if page.complete else entries[-1].id
    before = query.page.before
    high, low = session[PAGED]
    if before is None:
        high, low = newest, entries[0].id if entries else 0
    elif high and before == low:
        low = entries[0].id if entries else 0
    else:
        return 0  # somewhere in the middle
    session[PAGED] = (high, low)
    return high if page.complete or low <= session.account.cursor.position + 1 else 0
