"""Recognised resends: what a client sends again after a lost connection is acknowledged and changes nothing else.

A client cannot know whether its last messages were stored when its stream broke, so it sends them again (XEP-0198
section 5, with <delay/> and perhaps from another resource). Only looked for after an unclean end of a former stream,
among the last messages of the sender's own archive, so an ordinary message costs a dictionary look-up. Another device
of the account may have sent hundreds meanwhile: the last minutes count, not only the last messages.
"""

from __future__ import annotations

from collections import OrderedDict
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
from xmppd.xep.duplicates import Sent, is_from, latest

if TYPE_CHECKING:
    from xmppd.contracts.core import Told

KEPT = 50_000
SENT_BYTES = 128 << 20
"""Of the last messages of all accounts; the accounts that were looked at first are forgotten first."""
LANES_BYTES = 16 << 20
"""Of the orders of lost streams; those that were lost first are forgotten first."""
EXPECTED = 600.0
"""Seconds after a binding: clients send again at once. So long the last messages of an account stay in memory."""
SWEEP = 60.0
MINUTE = 60_000_000
"""Microseconds."""


@dataclass(frozen=True)
class Config:
    messages: int = option(100, "So many of an account's last messages are looked at, however old.", low=1, high=10_000)
    minutes: int = option(10, "And those of the minutes before the last one, by all devices …", low=0, high=1440)
    most: int = option(5000, "… at most so many.", low=1, high=100_000)


class Resends(Plugin[Config]):
    """Implements `contracts.resends.ResendsExpected`."""

    provides = (RESENDS,)

    def setup(self) -> None:
        self.log = self.host.storage.log(LOG)
        self.sound: OrderedDict[str, bool] = OrderedDict()
        """Accounts whose streams all ended well since they were last looked at. After a start nobody's has. True:
        what was found then was not all taken; a device that has been away since may still come with it."""
        self.broken: Cache[str, tuple[Lane, ...]] = Cache(KEPT, LANES_BYTES, _lanes_size)
        """The orders of lost streams, while they may hold what is on its way into the archive."""
        self.idle: set[str] = set()
        """Those in which nothing was on its way at the last sweep. Not at once: what is decided comes to the store a
        moment after its stream is lost."""
        self.sent: Cache[str, Sent] = Cache(KEPT, SENT_BYTES, lambda bare, sent: sent.size)
        """By account: the messages that may come again."""
        self.until: dict[str, float] = {}
        """Until when (monotonic) they are expected."""
        self.lately: OrderedDict[str, dict[str, Told]] = OrderedDict()
        """By account and full JID of lost streams: what their clients were told. Until the next stream binds."""
        self.told: dict[str, dict[str, Told]] = {}
        """The same of what is in `sent`."""
        self.every(SWEEP, self.sweep, "sweep")
        self.coming: set[str] = set()
        """Accounts of which a stream binds just now: it may take the place of the last session that there is."""

    @on(STREAM_LOST)
    def lost(self, session: Session) -> None:
        bare = session.account.bare
        self.sound.pop(bare, None)
        lanes = self.broken.get(bare) or ()
        if session.lane not in lanes:
            self.broken.put(bare, (*lanes, session.lane))
        if session.told is not None:
            self.lately.setdefault(bare, {})[session.jid.full] = session.told
            while len(self.lately) > KEPT:
                self.lately.popitem(last=False)

    @on(SESSION_RESUMED)
    def resumed(self, session: Session) -> None:
        """Its client is told exactly what is missing."""
        for known in (self.lately.get(session.account.bare), self.told.get(session.account.bare)):
            if known is not None:
                known.pop(session.jid.full, None)
        if not self.lately.get(session.account.bare, True):
            del self.lately[session.account.bare]

    @on(BINDING)
    async def look(self, account: Account) -> None:
        """A new stream after one that broke: what had it stored?"""
        bare = account.bare
        self.coming.add(bare)
        self.until[bare] = self.host.clock.monotonic() + EXPECTED
        doubt = self.sound.get(bare)
        if doubt is False or (doubt and bare in self.sent):
            return
        for lane in self.broken.pop(bare) or ():
            await self.host.router.until_idle(lane)
        told = self.told[bare] = self.lately.pop(bare, {})
        wanted = Range(without=int(Flags.INCOMING))
        config = self.config
        entries = await latest(self.log, bare, wanted, config.messages, config.minutes * MINUTE, config.most)
        sent = Sent(entries, partial(_untold, told), unique_only=bool(doubt))
        self.sound[bare] = False
        for other in self.sent.put(bare, sent):
            self._forget(other)
        while len(self.sound) > KEPT:
            self.sound.popitem(last=False)

    # ---- contracts.resends.ResendsExpected

    def expected(self, owner: str) -> bool:
        return owner in self.sent

    def untold(self, owner: str) -> Mapping[str, Told]:
        return self.told.get(owner, {})

    def counted(self, owner: str) -> None:
        self.lately.pop(owner, None)
        self.told.get(owner, {}).clear()

    # ---- the end

    @on(SESSION_BOUND)
    def bound(self, session: Session) -> None:
        self.coming.discard(session.account.bare)

    @on(SESSION_ENDED)
    def ended(self, session: Session) -> None:
        if not session.account.sessions and session.account.bare not in self.coming:
            self.forget(session.account.bare)

    def sweep(self) -> None:
        now = self.host.clock.monotonic()
        for bare in [bare for bare, until in self.until.items() if until <= now]:
            self.forget(bare)
        idle = {bare for bare, lanes in self.broken.items() if all(lane.idle for lane in lanes)}
        for bare in idle & self.idle:
            self.broken.pop(bare)
        self.idle = idle

    def forget(self, bare: str) -> None:
        """What was not taken is looked up again for the next stream."""
        if self.sent.pop(bare):
            self._forget(bare)
        else:
            self.until.pop(bare, None)
            self.told.pop(bare, None)

    def _forget(self, bare: str) -> None:
        self.until.pop(bare, None)
        self.told.pop(bare, None)
        if bare in self.sound:
            self.sound[bare] = True

    @on(OUTBOUND, Stage.GUARD, (Kind.MESSAGE,))
    def again(self, event: Outbound) -> Verdict | None:
        sent = self.sent.get(event.owner.bare)
        if not sent or sent.take(event.stanza, self.host.clock.now()) is None:
            return None
        return Verdict.DONE


def _lanes_size(bare: str, lanes: tuple[Lane, ...]) -> int:
    return BESIDE + len(bare) + 64 * len(lanes)


def _untold(told: Mapping[str, Told], entry: Entry) -> bool:
    """The client that has said it was sent no acknowledgement since. It may not know that it is stored."""
    return any(entry.id > each.log_id and is_from(entry, full) for full, each in told.items())
