"""What an owner has decided and another one has to know, kept until the other's home has committed what it makes of it.

What concerns two owners with different homes is two decisions. The words between them (sendings) are committed with the
first one and sent behind that commit; the store keeps them until the second one is committed, which holds the word that
they were heard. So a crash in between loses none: a start sends again what was not heard, each pair of owners in order,
and asks first whether the recipient's log has it already.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Final

from ..background import Background
from ..contracts.archive import LOG
from ..contracts.core import Host
from ..contracts.outbox import Words
from ..errors import NotNow, StorageUnavailable
from ..jid import JID
from ..stanza import Kind, Stanza, parse_stanza
from ..storage.api import Heard, Send, Source, Storage, Write
from .order import OwnOrders
from .release import DELAY_TAG, said_at, with_delay

log = logging.getLogger("xmppd.routing")

AGAIN: Final = 10.0
"""Seconds until something is sent again that could not be decided where it went."""
PAGE: Final = 200
WORDS: Final = 10_000
"""So many words of one owner may wait to be heard …"""
BYTES: Final = 8 << 20
"""… with so many bytes …"""
TOTAL: Final = 64 << 20
"""… and so many bytes of all: what an owner has to say then is refused."""
CROWD: Final = 512 << 10
"""So many bytes of one owner may be on their way before its clients are read no more."""
WORD: Final = 400
"""Bytes that a word needs beside its stanza."""

Pair = tuple[str, str]
"""Bare JIDs: who says something to whom."""


class _Word:
    """One stanza from an owner to another. `sent`: it is on its way. `remote`: to another server, which has bounds of
    its own for what waits. Implements `sent.Sending`."""

    __slots__ = ("again", "at", "outbox", "remote", "send", "sent", "stanza")

    def __init__(
        self, outbox: Outbox, send: Send, stanza: Stanza, remote: bool, at: int, again: bool = False
    ) -> None:  # fmt: skip
        self.at = at
        self.outbox = outbox
        self.send = send
        self.stanza = stanza
        self.remote = remote
        self.again = again
        """It may have been heard before."""
        self.sent = False

    @property
    def size(self) -> int:
        """In memory: `Stanza` keeps its bytes whole, without the address, and those inside."""
        return 3 * len(self.send.data) + WORD

    @property
    def source(self) -> Source:
        return self.send.source

    @property
    def pair(self) -> Pair:
        return self.send.owner, self.send.to

    @property
    def heard(self) -> Heard:
        send = self.send
        return Heard(send.owner if self.remote else send.to, send.owner, send.source)

    @property
    def waits(self) -> bool:
        return self.outbox.is_held(self.pair)

    def undecided(self) -> None:
        self.outbox.hold(self.pair)

    def settled(self, decided: bool) -> None:
        self.outbox.settled(self, decided)


class _Line:
    """The words of a pair that are not heard, in order. `held`: one could not be decided; it and all behind it, on
    their way or not, come again."""

    __slots__ = ("held", "words")

    def __init__(self) -> None:
        self.words: deque[_Word] = deque()
        self.held = False


class _Account:
    """What waits of one owner: so many words, so many bytes; `moving`: of them on their way, bytes. `crowd`: who says
    more waits until that is less."""

    __slots__ = ("count", "crowd", "moving", "size")

    def __init__(self) -> None:
        self.count = self.size = self.moving = 0
        self.crowd: asyncio.Future[None] | None = None


class Outbox:
    """Implements `contracts.outbox.Outbox`, for all owners of this process."""

    def __init__(self, storage: Storage, orders: OwnOrders, background: Background) -> None:
        self._storage = storage
        self._orders = orders
        self._background = background
        self._lines: dict[Pair, _Line] = {}
        self._owners: dict[str, _Account] = {}
        self._size = 0
        self.crowds = 0
        """Owners of whom so much is on its way that they should say no more for a moment."""

    @property
    def busy(self) -> bool:
        """Something is on its way, and will be decided in a moment."""
        return any(not line.held and not line.words[0].remote for line in self._lines.values() if line.words)

    def keep(self, sender: JID, to: JID, stanzas: Sequence[Stanza]) -> Words:
        """Words from one bare JID to another; nothing is sent before `Words.send`. Raises NotNow: too much of the
        sender waits, or of all."""
        if not stanzas:
            return NO_WORDS
        account = self._owners.get(sender.bare)
        if self._size >= TOTAL or (account is not None and (account.count >= WORDS or account.size >= BYTES)):
            raise NotNow("too much waits for others")
        remote = not self._orders.router.routes.serves(to.domain)
        now = int(self._background.clock.now() * 1_000_000)
        return _Said(
            self,
            [
                _Word(self, Send(sender.bare, to.bare, _kept(stanza, sender, now) if remote else stanza.data), stanza,
                      remote, now)
                for stanza in stanzas
            ],
        )  # fmt: skip

    # ---- at the start

    async def read(self, host: Host) -> None:
        """Before anybody of a host decides anything: what was not heard of the last process, once, however often this
        is called. Raises StorageUnavailable."""
        known = {word.source for line in self._lines.values() for word in line.words}
        after: Source = (0, 0)
        while page := await self._storage.unheard(host.domain, after, PAGE):
            for send in page:
                if send.source in known:
                    continue
                try:
                    stanza = parse_stanza(send.data)
                except ValueError as error:
                    log.error(
                        "what %s has said to %s is damaged: it stays in the store (%s)", send.owner, send.to, error
                    )
                    continue
                remote = stanza.to is not None and not self._orders.router.routes.serves(stanza.to.domain)
                at = said_at(stanza, JID.parse(send.owner).domain) if remote else 0
                self._add(_Word(self, send, stanza, remote, at, again=True)).held = True
            after = page[-1].source

    def send_again(self, host: Host) -> None:
        """Send what was read."""
        pairs = [pair for pair, line in self._lines.items() if line.held and pair[0].rpartition("@")[2] == host.domain]
        for pair in pairs:
            self._send_again(pair)
        if pairs:
            log.info("%d owners at %s may not have been heard: what they said is sent again", len(pairs), host.domain)

    def owners(self) -> set[str]:
        """Who has said something that is not heard yet."""
        return set(self._owners)

    # ---- in order: what must be sent again takes all behind it along

    def send(self, words: Sequence[_Word]) -> None:
        """They are committed."""
        for word in words:
            line = self._add(word)
            if not line.held:
                self._deliver(word)

    def _add(self, word: _Word) -> _Line:
        pair = word.pair
        line = self._lines.get(pair)
        if line is None:
            line = self._lines[pair] = _Line()
        line.words.append(word)
        account = self._owners.setdefault(pair[0], _Account())
        account.count += 1
        account.size += word.size
        self._size += word.size if not word.remote else 0
        return line

    def _deliver(self, word: _Word) -> None:
        word.sent = True
        account = self._owners[word.send.owner]
        account.moving += word.size if not word.remote else 0  # which may be away for an hour
        if account.moving > CROWD and account.crowd is None:
            account.crowd = asyncio.get_running_loop().create_future()
            self.crowds += 1
        self._orders.carry(word.stanza, word)

    async def room(self, owner: str) -> None:
        """Wait while much of what an owner has said is on its way: it will be decided in a moment."""
        account = self._owners.get(owner)
        if account is not None and account.crowd is not None:
            await asyncio.shield(account.crowd)

    def is_held(self, pair: Pair) -> bool:
        """Nothing of the pair may be decided now."""
        return self._lines[pair].held

    def hold(self, pair: Pair) -> None:
        """One of its words cannot be decided now: none behind it may be, until all are sent again."""
        line = self._lines[pair]
        if not line.held:
            line.held = True
            self._later(pair)

    def settled(self, word: _Word, decided: bool) -> None:
        """`decided`: it was committed there, or refused for good."""
        account = self._owners[word.send.owner]
        account.moving -= word.size if not word.remote else 0
        if account.crowd is not None and account.moving <= CROWD // 2:
            account.crowd.set_result(None)
            account.crowd = None
            self.crowds -= 1
        if decided:
            self._remove(word)
        else:
            word.sent, word.again = False, True

    def _remove(self, word: _Word) -> None:
        pair = word.pair
        line = self._lines[pair]
        line.words.remove(word)
        if not line.words and not line.held:
            del self._lines[pair]
        account = self._owners[pair[0]]
        account.count -= 1
        account.size -= word.size
        self._size -= word.size if not word.remote else 0
        if not account.count:
            del self._owners[pair[0]]

    def _send_again(self, pair: Pair) -> None:
        self._background.spawn(self._send_line(pair), f"{pair[0]} says again to {pair[1]}")

    def _later(self, pair: Pair) -> None:
        self._background.clock.call_later(AGAIN, partial(self._send_again, pair))

    async def _send_line(self, pair: Pair) -> None:
        """All that is not heard, in order: behind one that could not be decided nothing was."""
        line = self._lines[pair]
        try:
            for word in tuple(line.words):
                if word.sent:  # it was before that one, and its commit takes so long
                    self._later(pair)
                    return
                if word.again and not word.remote and await self._storage.was_heard(pair[1], LOG, word.source):
                    await self._storage.commit([word.heard])
                    self._remove(word)
        except StorageUnavailable:
            self._later(pair)
            return
        except Exception:
            log.exception("what %s has said to %s could not be sent again; later it is tried anew", *pair)
            self._later(pair)
            return
        line.held = False
        for word in tuple(line.words):
            if line.held:
                return
            self._deliver(word)
        if not line.words:
            self._lines.pop(pair, None)


def _kept(stanza: Stanza, sender: JID, now: int) -> bytes:
    """For the store: another server that gets it after a restart of this one should know when it was said (XEP-0203),
    and it waits no longer for that server than it would have."""
    if stanza.kind is not Kind.MESSAGE or DELAY_TAG in stanza.tags:
        return stanza.data
    return with_delay(stanza, sender.domain, now).data


class _Said:
    """Implements `contracts.outbox.Words`."""

    def __init__(self, outbox: Outbox, words: Sequence[_Word]) -> None:
        self._outbox, self._words = outbox, words

    def writes(self) -> Sequence[Write]:
        return [word.send for word in self._words]

    def send(self) -> None:
        self._outbox.send(self._words)


class _Nothing:
    def writes(self) -> Sequence[Write]:
        return ()

    def send(self) -> None:
        """There is nothing to say."""


NO_WORDS: Final = _Nothing()
