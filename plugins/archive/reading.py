"""Which devices read their archive themselves (docs/explanation/delivery.md).

Such a device does not get as offline messages what it has just read. So nothing is lost, only what its queries
really have given it counts: pages forward up to their last entry, pages backward once they reach down to what is
owed.
"""

from __future__ import annotations

from xmppd.mam import Page, Query
from xmppd.plugin import Session, SessionKey

PAGED = SessionKey[tuple[int, int]]("archive-paged", (0, 0))
"""Paging backwards from the newest: the newest id, and how far down the pages have come."""


def note(session: Session, query: Query, page: Page, released: int) -> None:
    """A query was answered, of the log up to the id `released`.

    Before initial presence the feed begins where the reading ended. After it, paging forward or a finished catch-up
    shows that this device will read its archive again when it comes back under its resource.
    """
    if not query.everybody or query.most == 0:
        return
    read = _until(session, query, page, max(released, 1))
    if not read:
        return
    if session.presence is None:
        session.feed.read_by_client(read)
    elif not query.backwards or query.range.low is not None or query.range.after is not None:
        session.account.mailbox.reads_archive(session.resource)


def _until(session: Session, query: Query, page: Page, newest: int) -> int:
    """The id up to which the device has now read what is owed to it, 0 for not yet."""
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
    return high if page.complete or low <= session.account.mailbox.position + 1 else 0
