"""From one owner to another: two decisions, and what may go wrong between them.

The two homes are in one process, as far as the store is concerned they need not be: what is said is delivered late, not
at all, or twice, and so is the word that it was heard. Who says something goes on until it knows that it was heard, one
at a time for each pair; what may have been heard comes marked *again*, and only then the recipient looks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xmppd.errors import StorageUnavailable
from xmppd.storage.api import NOT_SENT, Send, Source

if TYPE_CHECKING:
    from tests.simulation.loop import _Timer
    from tests.simulation.process import Process

DOMAIN = "example.org"
PAGE = 3
"""Sendings that a start reads at a time."""


@dataclass
class Post:
    """How well what is said, and the word that it was heard, arrives. `lost`, `twice`: shares; `slow`: seconds that it
    takes at most; `again`: seconds until it is said again."""

    lost: float = 0.0
    twice: float = 0.0
    slow: float = 0.002
    again: float = 1.0


class Mail:
    """Of all owners at home in one process."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.world = process.world
        self.random = process.world.random
        self._waiting: dict[tuple[str, str], deque[tuple[Send, bool]]] = {}
        """By pair, in order, what is not known to be heard, and whether it comes again; the first is on its way."""
        self._new: dict[Source, _Timer] = {}
        """On their way for the first time: it is a link that delivers in order, so not behind what is said again."""
        self._deciding: set[Source] = set()
        self.heard = self.again = self.known = 0
        """How many were heard, said again, and found to be heard already."""

    @property
    def idle(self) -> bool:
        """All that was said is heard."""
        return not self._waiting

    async def begin(self) -> None:
        """What the former homes have left comes before anything new. Raises StorageUnavailable."""
        found: list[Send] = []
        while page := await self.process.store.unheard(DOMAIN, found[-1].source if found else NOT_SENT, PAGE):
            found += page
        for each in found:
            self._add(each, True)

    def sent(self, sent: list[Send]) -> None:
        """Committed just now."""
        for each in sent:
            if each.source == NOT_SENT:
                self.world.problem(f"{each.owner} has said something, and it has no source")
            self._add(each, False)

    def _add(self, sending: Send, again: bool) -> None:
        pair = (sending.owner, sending.to)
        waiting = self._waiting.setdefault(pair, deque())
        waiting.append((sending, again))
        if len(waiting) == 1:
            self._say(pair)

    # ---- the sender's home

    def _say(self, pair: tuple[str, str]) -> None:
        sending, again = self._waiting[pair][0]
        post, chance = self.world.post, self.random.random
        if self.world.tracing:
            self.world.say(f"{self.process.name}: {_named(sending)} is said{' again' if again else ''}")
        self.again += again
        for _ in range(2 if again and chance() < post.twice else 1):
            if chance() >= post.lost:
                timer = self._later(lambda: self._arrives(sending, again))
                if not again:
                    self._new[sending.source] = timer
        self.process.clock.call_later(post.again * (0.5 + chance()), lambda: self._not_heard(pair, sending))

    def _not_heard(self, pair: tuple[str, str], sending: Send) -> None:
        waiting = self._waiting.get(pair)
        if waiting and waiting[0][0] is sending and not self.process.over:
            new = self._new.pop(sending.source, None)
            if new is not None:
                new.cancel()
            waiting[0] = (sending, True)
            self._say(pair)

    def _is_heard(self, sending: Send) -> None:
        pair = (sending.owner, sending.to)
        waiting = self._waiting.get(pair)
        if not waiting or waiting[0][0].source != sending.source:
            return
        self.heard += 1
        self._new.pop(sending.source, None)
        waiting.popleft()
        if waiting:
            self._say(pair)
        else:
            del self._waiting[pair]

    # ---- the recipient's home

    def _arrives(self, sending: Send, again: bool) -> None:
        if sending.source in self._deciding:
            return
        self._deciding.add(sending.source)
        if again:
            self.process.loop.create_task(self._look(sending))
        else:
            self._decide(sending)

    async def _look(self, sending: Send) -> None:
        try:
            heard = await self.process.store.was_heard(sending.to, "archive", sending.source)
        except StorageUnavailable:
            self._deciding.discard(sending.source)
            return
        if not heard:
            self._decide(sending)
            return
        self.known += 1
        if self.world.tracing:
            self.world.say(f"{self.process.name}: {_named(sending)} was heard before")
        self._decided(sending, True)

    def _decide(self, sending: Send) -> None:
        if self.world.tracing:
            self.world.say(f"{self.process.name}: {sending.to} decides about {_named(sending)}")
        self.process.clients.hear(sending, lambda committed: self._decided(sending, committed))

    def _decided(self, sending: Send, committed: bool) -> None:
        self._deciding.discard(sending.source)
        if committed and self.random.random() >= self.world.post.lost:
            self._later(lambda: self._is_heard(sending))

    def _later(self, call: Callable[[], object]) -> _Timer:
        return self.process.clock.call_later(self.world.post.slow * self.random.random() ** 3, call)


def _named(sending: Send) -> str:
    return f"what {sending.owner} said to {sending.to} in operation {sending.data.decode()}"
