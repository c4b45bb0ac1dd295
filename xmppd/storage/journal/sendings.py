"""What is sent and not heard (`api.Send`, `api.Heard`). The journal is where it lies: neither is written anywhere else.

Its batch is there as long as `low` of later ones is not above it. What nobody hears for `AFTER` seconds is put into
`sendings` (`InsertSendings`), and holds `low` no more; when it is heard after that, it is deleted there
(`DeleteSendings`). Of a journal that is taken over, all that is not heard goes there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

from xmppd.clock import Clock
from xmppd.storage.api import Heard, Send, Source
from xmppd.storage.journal.rounds import ROWS, SIZE, Committed

AFTER = 10.0
"""Seconds after its commit from which on a sending need not lie in the journal."""
MOST, MOST_BYTES = 16_000, 16 << 20
"""So many, and so many bytes of them, are not put elsewhere earlier: what waits to be heard may not fill the queue of
the store, or those who hear it could not commit that."""
NUMBER = 150
"""Bytes that a sending is taken to need in memory: it is remembered as two numbers."""
PAGE = 8
"""Batches that are read again at a time: each may have 12 MiB."""


class _Held:
    """A batch with sendings that are not heard. `places`: of each its size in the store; `at`: when it was committed;
    `parking`: they may be in `sendings`, too."""

    __slots__ = ("at", "parking", "places")

    def __init__(self, at: float) -> None:
        self.at = at
        self.places: dict[int, int] = {}
        self.parking = False


class Sendings:
    """Those of one incarnation that are only in its journal, as numbers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: OrderedDict[int, _Held] = OrderedDict()
        """By number of the batch, in order."""
        self._rows = self._size = 0

    @property
    def lowest(self) -> int | None:
        """The number of the first batch that must stay."""
        return next(iter(self._held), None)

    @property
    def backlog(self) -> tuple[int, int]:
        """How many they are, and their bytes in the journal."""
        return self._rows, self._size

    def committed(self, batch: Committed) -> None:
        """A batch is in: its sendings have their source. Those heard in it that may lie in `sendings` are `parked`."""
        parked: list[Source] = []
        for place, write in enumerate(batch.writes):
            if type(write) is Send:
                write.source = (batch.number, place)
                self._sent(write.source, NUMBER + len(write.data))
            elif type(write) is Heard and self._heard(write.source):
                parked.append(write.source)
        batch.parked = parked

    def _sent(self, source: Source, size: int) -> None:
        number, place = source
        held = self._held.get(number)
        if held is None:
            held = self._held[number] = _Held(self._clock.monotonic())
        held.places[place] = size
        self._rows += 1
        self._size += size

    def _heard(self, source: Source) -> bool:
        """Whether it may lie in `sendings`."""
        number, place = source
        held = self._held.get(number)
        if held is None or place not in held.places:
            return True
        self._rows -= 1
        self._size -= held.places.pop(place)
        if not held.places:
            del self._held[number]
        return held.parking

    # ---- what nobody hears

    def due(self) -> list[int]:
        """Some batches whose sendings are to be put into `sendings`, at most `PAGE` numbers apart."""
        until = self._clock.monotonic() - AFTER
        found: list[int] = []
        rows, size = self._rows, self._size
        for number, held in self._held.items():
            if held.at > until and rows <= MOST and size <= MOST_BYTES:
                break
            if found and number >= found[0] + PAGE:
                break
            found.append(number)
            rows -= len(held.places)
            size -= sum(held.places.values())
        return found

    def parking(self, sent: Iterable[Send]) -> list[Send]:
        """Those that are still not heard; from now on they may lie in `sendings`."""
        left = []
        for each in sent:
            held = self._held.get(each.source[0])
            if held is not None and each.source[1] in held.places:
                held.parking = True
                left.append(each)
        return left

    def parked(self, numbers: Iterable[int]) -> None:
        """All of these batches that is not heard lies in `sendings`."""
        for number in numbers:
            held = self._held.pop(number, None)
            if held is not None:
                self._rows -= len(held.places)
                self._size -= sum(held.places.values())


def unheard(batches: Sequence[Committed]) -> list[Send]:
    """Of a sealed journal, what was sent and not heard in it, in order."""
    sent = {write.source: write for batch in batches for write in batch.writes if type(write) is Send}
    for batch in batches:
        for write in batch.writes:
            if type(write) is Heard:
                sent.pop(write.source, None)
    return list(sent.values())


def statements(sent: Sequence[Send]) -> Iterator[Sequence[Send]]:
    """As many of them at a time as make one statement."""
    part: list[Send] = []
    size = 0
    for each in sent:
        if part and (len(part) >= ROWS or size + len(each.data) > SIZE):
            yield part
            part, size = [], 0
        part.append(each)
        size += len(each.data)
    if part:
        yield part
