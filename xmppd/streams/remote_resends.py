"""What another server sends again because it does not know that this one has it: its stream broke before it heard the
acknowledgement, or one of the two was killed. Looked for on the first streams after that only, among the last messages
that the recipient has of the sender, so an ordinary message costs a dictionary look-up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..cache import BESIDE, Cache
from ..clock import Clock
from ..contracts.archive import LOG
from ..contracts.core import Routes
from ..jid import JID
from ..stanza import Stanza
from ..storage.api import Flags, Range, Storage
from ..xep.duplicates import RecentMessages, latest

EXPECTED: Final = 600.0
"""Seconds from the beginning of a stream: servers send again at once."""
DOMAINS: Final = 20_000
PAIRS: Final = 10_000
PAIRS_SIZE: Final = 32 << 20
"""Bytes of the messages that are looked at."""
MESSAGES: Final = 100
"""So many of the last messages of one sender to one recipient, however old …"""
SPAN: Final = 600_000_000
"""… and those of so many microseconds before the last one …"""
MOST: Final = 2000
"""… at most so many."""

Pair = tuple[str, str]
"""Bare JIDs: sender, recipient."""


@dataclass(frozen=True, slots=True)
class _Stream:
    """`until`: so long (monotonic) what comes may have come before. `closed`: in order, so nothing has."""

    number: int
    until: float
    closed: bool = False


class RemoteResends:
    """Of all other domains."""

    def __init__(self, clock: Clock, storage: Storage, routes: Routes) -> None:
        self._clock = clock
        self._log = storage.log(LOG)
        self._routes = routes
        self._streams: Cache[str, _Stream] = Cache(DOMAINS, 8 << 20)
        """By domain: its last one."""
        self._count = 0
        self._recent: Cache[Pair, tuple[int, RecentMessages]] = Cache(
            PAIRS, PAIRS_SIZE, lambda pair, known: BESIDE + known[1].size
        )
        """With the number of the stream for which they were read: on the next one each may be sent again."""

    def opened(self, domain: str) -> None:
        """A stream speaks for a domain from now on. Of one that has had none in this process nobody knows how the last
        one ended."""
        before = self._streams.get(domain)
        if before is None or not before.closed:
            self._count += 1
            self._streams.put(domain, _Stream(self._count, self._clock.monotonic() + EXPECTED))

    def closed(self, domain: str) -> None:
        """Its stream was closed in order."""
        self._streams.put(domain, _Stream(0, 0.0, closed=True))

    def broke(self, domain: str) -> None:
        """Its stream was not."""
        self._streams.pop(domain)

    def expects(self, domain: str) -> bool:
        """Whether a domain may send again what is stored already."""
        stream = self._streams.get(domain)
        return stream is not None and stream.until > self._clock.monotonic()

    def is_new(self, stanza: Stanza) -> bool:
        """Whether it is certain, without asking the store, that the recipient does not have this message: nearly all
        that come on a new stream are such."""
        sender, to = stanza.sender, stanza.to
        if sender is None or to is None or not stanza.id or not self._routes.is_account(to.bare):
            return True
        recent = self._read(sender, to)
        return recent is not None and not recent.may_have(stanza, sender.bare)

    def _number(self, domain: str) -> int:
        """Of the last stream of a domain."""
        stream = self._streams.get(domain)
        return stream.number if stream is not None else 0

    def _read(self, sender: JID, to: JID) -> RecentMessages | None:
        """What was read for that stream."""
        read_for, recent = self._recent.get((sender.bare, to.bare)) or (0, None)
        return recent if read_for == self._number(sender.domain) else None

    async def is_known(self, stanza: Stanza) -> bool:
        """Whether the recipient has this message. Raises StorageUnavailable."""
        sender, to = stanza.sender, stanza.to
        if sender is None or to is None or not stanza.id or not self._routes.is_account(to.bare):
            return False
        recent = self._read(sender, to)
        if recent is None:
            number = self._number(sender.domain)
            wanted = Range(peer=sender.bare, flags=int(Flags.INCOMING))
            entries = await latest(self._log, to.bare, wanted, MESSAGES, SPAN, MOST)
            recent = RecentMessages(entries, lambda entry: True)  # all of them may be meant
            self._recent.put((sender.bare, to.bare), (number, recent))
        return recent.pop_original(stanza, self._clock.now(), sender.bare) is not None
