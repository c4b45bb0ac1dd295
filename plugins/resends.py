"""Detects resends: a message that a client sends again after a broken stream is acknowledged, and nothing else happens.

A client cannot know whether its last messages were stored when its stream broke, so it sends them again (XEP-0198
section 5, with <delay/> and perhaps from another resource). Only looked for after an unclean end of a former stream,
among the last messages of the sender's own archive, so an ordinary message costs a dictionary look-up. Another device
of the account may have sent hundreds meanwhile: the last minutes count, not only the last messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from xmppd.cache import BESIDE, Cache
from xmppd.config import option
from xmppd.contracts.archive import LOG
from xmppd.contracts.resends import RESENDS
from xmppd.contracts.routing import OUTBOUND, Outbound
from xmppd.contracts.sessions import BINDING, SESSION_BOUND, SESSION_ENDED, SESSION_RESUMED, STREAM_LOST
from xmppd.plugin import Account, Kind, Lane, Plugin, Session, Stage, Verdict, on
from xmppd.storage.api import Entry, Flags, Range
from xmppd.xep.duplicates import RecentMessages, is_from, latest

if TYPE_CHECKING:
    from xmppd.contracts.core import AcknowledgedUpTo

ACCOUNTS = 50_000
"""In each of the caches."""
RECENT_BYTES = 128 << 20
"""Of the recent messages of all accounts."""
LANES_BYTES = 16 << 20
"""Of the lanes of broken streams."""
STATE_BYTES = 32 << 20
"""Of what is known of the accounts' streams."""
EXPECTED = 600.0
"""Seconds after a binding: clients send again at once. So long the recent messages of an account stay in memory."""
SWEEP = 60.0
MINUTE = 60_000_000
"""Microseconds."""


@dataclass(frozen=True)
class Config:
    messages: int = option(100, "So many of an account's last messages are looked at, however old.", low=1, high=10_000)
    minutes: int = option(10, "And those of the minutes before the last one, by all devices …", low=0, high=1440)
    most: int = option(5000, "… at most so many.", low=1, high=100_000)


class Resends(Plugin[Config]):
    """Implements `contracts.resends.ResendDetection`."""

    provides = (RESENDS,)

    def setup(self) -> None:
        self.log = self.host.storage.log(LOG)
        owned = self.host.owned
        self.clean: Cache[str, bool] = owned(Cache(ACCOUNTS, STATE_BYTES, lambda bare, again: BESIDE + len(bare)))
        """Accounts whose streams all ended cleanly since their recent messages were read; after a start there are none.
        True: some of those messages were not sent again; a device that has been away since may still do it."""
        self.broken: Cache[str, tuple[Lane, ...]] = owned(
            Cache(ACCOUNTS, LANES_BYTES, _lanes_size), stays=self._still_stores
        )
        """The lanes of broken streams, while they may hold messages that are not stored yet."""
        self.idle: set[str] = owned(set())
        """Accounts whose broken lanes were all idle at the last sweep. Not forgotten at once: a message that is decided
        comes to the store a moment after its stream broke."""
        self.recent: Cache[str, RecentMessages] = owned(Cache(ACCOUNTS, RECENT_BYTES, lambda bare, recent: recent.size))
        """By account: the stored messages that may be sent again."""
        self.expected_until: dict[str, float] = owned({})
        """By account: the time (monotonic) until which they are expected."""
        self.acknowledged: Cache[str, dict[str, AcknowledgedUpTo]] = owned(
            Cache(ACCOUNTS, STATE_BYTES, _acknowledged_size)
        )
        """By account and full JID of broken streams: the last acknowledgement. Until the next stream binds."""
        self.acknowledged_of_recent: dict[str, dict[str, AcknowledgedUpTo]] = owned({})
        """The same for the accounts in `recent`."""
        self.binding: set[str] = owned(set())
        """Accounts of which a stream binds just now: it may take the place of their last session."""
        self.every(SWEEP, self.sweep, "sweep")

    @on(STREAM_LOST)
    def stream_lost(self, session: Session) -> None:
        bare = session.account.bare
        self.clean.pop(bare)
        lanes = self.broken.get(bare) or ()
        if session.lane not in lanes:
            self.broken.put(bare, (*lanes, session.lane))
        if session.acknowledged_up_to is not None:
            self.acknowledged.put(
                bare, {**(self.acknowledged.get(bare) or {}), session.jid.full: session.acknowledged_up_to}
            )

    @on(SESSION_RESUMED)
    def resumed(self, session: Session) -> None:
        """Its client learns exactly what is missing."""
        bare, full = session.account.bare, session.jid.full
        self.acknowledged_of_recent.get(bare, {}).pop(full, None)
        left = {jid: told for jid, told in (self.acknowledged.pop(bare) or {}).items() if jid != full}
        if left:
            self.acknowledged.put(bare, left)

    @on(BINDING)
    async def load_recent(self, account: Account) -> None:
        """A new stream after one that broke: reads the messages that it may send again."""
        bare = account.bare
        self.binding.add(bare)
        self.expected_until[bare] = self.host.clock.monotonic() + EXPECTED
        left = self.clean.get(bare)
        if left is False or (left and bare in self.recent):
            return
        for lane in self.broken.pop(bare) or ():
            await self.host.router.until_idle(lane)
        told = self.acknowledged_of_recent[bare] = self.acknowledged.pop(bare) or {}
        wanted = Range(without=int(Flags.INCOMING))
        config = self.config
        entries = await latest(self.log, bare, wanted, config.messages, config.minutes * MINUTE, config.most)
        recent = RecentMessages(entries, partial(_unacknowledged, told), unique_only=bool(left))
        self.clean.put(bare, False)
        for other in self.recent.put(bare, recent):
            self._forgotten(other)

    # ---- contracts.resends.ResendDetection

    def expects(self, owner: str) -> bool:
        return owner in self.recent

    def last_acknowledgements(self, owner: str) -> Mapping[str, AcknowledgedUpTo]:
        return self.acknowledged_of_recent.get(owner, {})

    def all_acknowledged(self, owner: str) -> None:
        self.acknowledged.pop(owner)
        self.acknowledged_of_recent.get(owner, {}).clear()

    # ---- the end

    @on(SESSION_BOUND)
    def bound(self, session: Session) -> None:
        self.binding.discard(session.account.bare)

    @on(SESSION_ENDED)
    def ended(self, session: Session) -> None:
        if not session.account.sessions and session.account.bare not in self.binding:
            self.forget(session.account.bare)

    def sweep(self) -> None:
        now = self.host.clock.monotonic()
        for bare in [bare for bare, until in self.expected_until.items() if until <= now]:
            self.forget(bare)
        idle = {bare for bare, lanes in self.broken.items() if all(lane.idle for lane in lanes)}
        for bare in idle & self.idle:
            self.broken.pop(bare)
        self.idle.clear()
        self.idle.update(idle)

    def _still_stores(self, bare: str) -> bool:
        return not all(lane.idle for lane in self.broken.get(bare) or ())

    def forget(self, bare: str) -> None:
        """Drops the recent messages. If some were not sent again, the next stream reads them anew."""
        if self.recent.pop(bare):
            self._forgotten(bare)
        else:
            self.expected_until.pop(bare, None)
            self.acknowledged_of_recent.pop(bare, None)

    def _forgotten(self, bare: str) -> None:
        self.expected_until.pop(bare, None)
        self.acknowledged_of_recent.pop(bare, None)
        if bare in self.clean:
            self.clean.put(bare, True)

    @on(OUTBOUND, Stage.GUARD, (Kind.MESSAGE,))
    def drop_resend(self, event: Outbound) -> Verdict | None:
        recent = self.recent.get(event.owner.bare)
        if not recent or recent.pop_original(event.stanza, self.host.clock.now()) is None:
            return None
        return Verdict.DONE


def _acknowledged_size(bare: str, acknowledged: dict[str, AcknowledgedUpTo]) -> int:
    return BESIDE + len(bare) + sum(BESIDE + len(full) for full in acknowledged)


def _lanes_size(bare: str, lanes: tuple[Lane, ...]) -> int:
    return BESIDE + len(bare) + 64 * len(lanes)


def _unacknowledged(told: Mapping[str, AcknowledgedUpTo], entry: Entry) -> bool:
    """Whether the client that has sent an entry got no acknowledgement of it: it may not know that it is stored."""
    return any(entry.id > each.log_id and is_from(entry, full) for full, each in told.items())
