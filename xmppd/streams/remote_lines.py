"""What waits for other servers, and goes to them in order.

For each pair of a domain of ours and another one there is a line. What is handed over is written to a stream, and
counts as delivered when the other server says that it has it: by XEP-0198, or, where it does not know that, by an
answer to a ping (XEP-0199) that was sent behind. What a stream takes along is sent again on the next one if the store
keeps it, and fails otherwise. A line is on one stream at a time; several may be on the same, and whoever has opened it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from random import uniform
from typing import TYPE_CHECKING, Final, Protocol

from ..contracts.remote import Handover
from ..errors import NotAllowed, RemoteServerNotFound, RemoteServerTimeout, ResourceConstraint, StanzaError, StreamError
from ..net.dns import NoSuchDomain
from .remote_bounds import LINE, Bounds
from .remote_carrier import Carrier
from .remote_failures import OUT, Failures
from .remote_line import PAUSES, Item, Line, Load
from .remote_writing import Writing, tell
from .server_out import Refused

if TYPE_CHECKING:
    from ..background import Background
    from ..config import FederationConfig
    from .runtime import StreamServer

log = logging.getLogger("xmppd.streams")

RECENT: Final = 3.0
"""After a failed attempt nobody tries again for so many seconds."""
SILENCE: Final = 120.0
"""Seconds without a word about what was written; then the stream ends. Longer than the answer to a ping may take."""
CAREFUL: Final = 2
"""So many streams end without a word about what was written; then it goes one by one, to find what ends them."""
TRIES: Final = 5
"""So many streams end with a stanza that goes alone; then it is that stanza, and fails."""

Pair = tuple[str, str]
"""A domain of ours and another one."""


class Connect(Protocol):
    """Gets a stream from a domain of ours to another. `alone`: one that no other line is on. Raises NoSuchDomain,
    OSError, Refused."""

    async def __call__(self, local: str, remote: str, alone: bool) -> Carrier: ...


class RemoteLines:
    """All lines. `say`: writes a line of the log."""

    def __init__(
        self,
        server: StreamServer,
        background: Background,
        config: FederationConfig,
        connect: Connect,
        failures: Failures,
        say: Callable[..., None],
    ) -> None:
        self.server = server
        self.config = config
        self.bounds = Bounds()
        self.stopping = False
        self._clock = server.clock
        self._background = background
        self._connect = connect
        self._failures = failures
        self._say = say
        self._writing = Writing(server, self.bounds)
        self._lines: dict[Pair, Line] = {}
        self._loads: dict[Carrier, Load] = {}
        self._ways: dict[Pair, list[Load]] = {}
        """By which streams a line may go."""

    @property
    def all(self) -> list[Line]:
        return list(self._lines.values())

    def configure(self, config: FederationConfig) -> None:
        """What waits for a domain to which nothing may go any more fails; whether others can be reached now is tried at
        once. Streams to the first are for somebody else to end."""
        self.config = config
        for line in list(self._lines.values()):
            if config.reaches(line.remote):
                if line.attempt and not line.connecting:
                    self._begin(line)
                continue
            line.waiting.extendleft(reversed(line.take_off()))
            self._fail(line, line.waiting, NotAllowed(f"this server does not talk to {line.remote}"))
            self._forget(line)

    # ---- what is handed over

    def send(self, local: str, remote: str, handover: Handover) -> None:
        """See contracts.remote."""
        line = self._lines.get((local, remote))
        item = Item(handover, self._said_at(handover), line.last if line is not None else None)
        refusal = self._refusal((local, remote), line, item)
        if refusal is not None:
            self._clock.call_soon(partial(tell, partial(handover.failed, refusal)))
            return
        if line is None:
            line = self._lines[local, remote] = Line(local, remote)
            self.bounds.size += LINE
        self.bounds.add(remote, item)
        line.waiting.append(item)
        if line.load is not None:
            self._writing.write(line)
        elif not self._put_on(line) and not line.connecting and (line.timer is None or not handover.patient):
            self._begin(line)

    def _said_at(self, handover: Handover) -> float:
        """Monotonic seconds: what was said before a restart has waited for a while already."""
        waited = self._clock.now() - handover.at / 1_000_000 if handover.at else 0.0
        return self._clock.monotonic() - max(0.0, waited)

    def _refusal(self, pair: Pair, line: Line | None, item: Item) -> StanzaError | None:
        """Why a stanza is not taken."""
        config, remote = self.config, pair[1]
        if not config.reaches(remote):
            return NotAllowed(f"this server does not talk to {remote}")
        if not item.handover.patient and (line is None or line.load is None):
            if self.stopping:
                return RemoteServerTimeout("this server stops")
            if line is not None and item.at - line.failed_at <= RECENT and not self._ways.get(pair):
                return _timeout(remote)
        if self.bounds.full(remote, item.size + (LINE if line is None else 0), config):
            return ResourceConstraint(f"too much waits for {remote}")
        return None

    def _fail(self, line: Line, items: deque[Item], error: StanzaError) -> None:
        """In order. Who is told may hand over more."""
        failed = list(items)
        items.clear()
        for item in failed:
            self.bounds.remove(line.remote, item)
        for item in failed:
            tell(partial(item.handover.failed, error))

    def _fail_some(self, line: Line) -> None:
        """After an attempt: what does not wait for another one, and what has waited long enough."""
        before = self._clock.monotonic() - self.config.wait
        left: deque[Item] = deque()
        failed: deque[Item] = deque()
        for item in line.waiting:
            (left if item.handover.patient and item.at > before else failed).append(item)
        line.waiting = left
        self._fail(line, failed, _timeout(line.remote))

    def _forget(self, line: Line) -> None:
        if line.load is None and not line.connecting and line.empty:
            line.rest()
            if self._lines.pop((line.local, line.remote), None) is not None:
                self.bounds.size -= LINE

    # ---- streams

    def carry(self, local: str, remote: str, carrier: Carrier) -> None:
        """A stream may carry what goes from a domain of ours to another from now on."""
        if self.stopping or carrier.closed or not self.config.reaches(remote):
            return
        load = self._loads.get(carrier)
        if load is None:
            load = self._loads[carrier] = Load(carrier)
            carrier.used = self._clock.monotonic()
            carrier.on_acknowledged = partial(self._writing.acknowledged, load)
            carrier.on_room = partial(self._writing.room, load)
            carrier.on_end = partial(self._ended, load)
        pair = (local, remote)
        if pair not in load.pairs:
            load.pairs.add(pair)
            self._ways.setdefault(pair, []).append(load)
        line = self._lines.get(pair)
        if line is not None and line.load is None:
            self._put_on(line)

    def is_shared(self, carrier: Carrier) -> bool:
        """Whether a further line may go by a stream."""
        load = self._loads.get(carrier)
        return load is not None and not any(line.careful for line in load.lines)

    def let_go(self, *carriers: Carrier) -> None:
        """Nothing goes by these streams any more; what was not confirmed on them is sent again on others."""
        loads = [self._loads[each] for each in carriers if each in self._loads]
        for load in loads:
            self._drop(load)
        for load in loads:
            self._fall_off(load, "", faulty=False)

    def _put_on(self, line: Line) -> bool:
        """By a stream that is there. False: there is none."""
        load = next((each for each in self._ways.get((line.local, line.remote), ()) if each.takes(line)), None)
        if load is None:
            return False
        line.rest()
        for other in list(load.lines) if line.careful else ():
            other.take_off()
            self._forget(other)
        line.put_on(load, self._clock.monotonic())
        self._writing.write(line)
        return True

    def _drop(self, load: Load) -> None:
        """The stream carries nothing any more."""
        load.rest()
        self._loads.pop(load.carrier, None)
        for pair in load.pairs:
            ways = self._ways[pair]
            ways.remove(load)
            if not ways:
                del self._ways[pair]
        load.pairs.clear()

    def _ended(self, load: Load, why: str) -> None:
        if load.carrier in self._loads:
            self._drop(load)
            self._fall_off(load, why, faulty=True)

    def _fall_off(self, load: Load, why: str, faulty: bool) -> None:
        """What was not confirmed is sent again, before what waits; or fails. `faulty`: something that was written may
        have ended the stream."""
        lines = [(line, line.take_off()) for line in list(load.lines)]
        alone = sum(len(written) for _, written in lines) == 1
        for line, _ in lines:
            if why:
                self._say("the stream from %s to %s has ended: %s", line.local, line.remote, why)
        for line, written in lines:
            self._begin_again(line, written, faulty, alone)

    def _begin_again(self, line: Line, written: deque[Item], faulty: bool, alone: bool) -> None:
        """`alone`: nothing else was on the stream but one stanza."""
        again: deque[Item] = deque()
        failed: deque[Item] = deque()
        if written and faulty:
            written[0].tries += alone
            if not line.fruitful:
                line.fruitless += 1
                line.failed_at = self._clock.monotonic()
                if line.fruitless >= CAREFUL:
                    line.careful = max(line.careful, len(written))
        for item in written:
            (again if item.handover.patient and item.tries < TRIES else failed).append(item)
        line.waiting.extendleft(reversed(again))
        self._fail(line, failed, _timeout(line.remote))
        if line.load is not None or (line.waiting and self._put_on(line)):
            return
        if line.fruitless:
            self._fail_some(line)
        self._go_on(line, bool(line.fruitless))

    # ---- connecting

    def _go_on(self, line: Line, pause: bool) -> None:
        """Nothing carries the line now. `pause`: it did not go well."""
        if line.load is not None or line.connecting or line.timer is not None:
            return
        if not line.waiting:
            self._forget(line)
        elif not self.stopping and pause:
            oldest = line.waiting[0].at + self.config.wait
            left = max(0.1, min(line.pause * uniform(0.7, 1.3), oldest - self._clock.monotonic()))
            line.pause = min(line.pause * 1.7, PAUSES[1])
            line.timer = self._clock.call_later(left, partial(self._begin, line))
        elif not self.stopping:
            self._begin(line)

    def _begin(self, line: Line) -> None:
        line.rest()
        if not self.stopping and not self._put_on(line):
            line.connecting = True
            self._background.spawn(self._attempt(line), f"connect to {line.remote}")

    async def _attempt(self, line: Line) -> None:
        """One attempt to get a stream. Meanwhile the other server may have opened one that goes both ways."""
        unknown = False
        try:
            self._connected(line, await self._connect(line.local, line.remote, bool(line.careful)))
        except NoSuchDomain as error:
            self._note(line, str(error))
            unknown = True
        except (OSError, Refused) as error:
            self._note(line, str(error) or type(error).__name__)
        except Exception as error:
            log.exception("to connect to %s failed", line.remote)
            self._note(line, type(error).__name__)
        except BaseException:
            line.connecting = False
            raise
        if line.load is None and not self._put_on(line):
            if unknown:
                self._fail(line, line.waiting, RemoteServerNotFound(f"there is no server of {line.remote}"))
            else:
                self._fail_some(line)
        line.connecting = False
        self._go_on(line, True)

    def _connected(self, line: Line, carrier: Carrier) -> None:
        """`carry` does the rest, unless the stream is closed already, or not for this line."""
        if (self.stopping or not self.config.reaches(line.remote)) and carrier not in self._loads:
            carrier.leave()
        if carrier.closed:
            line.fruitless += 1
            line.failed_at = self._clock.monotonic()
        self.carry(line.local, line.remote, carrier)

    def _note(self, line: Line, text: str) -> None:
        """For the administrator, when it is something new."""
        self._failures.tell(OUT, line.local, line.remote, text)
        line.failed_at = self._clock.monotonic()
        if text != line.said:
            line.said = text
            self._say("%s cannot be reached for %s: %s", line.remote, line.local, text, level=logging.WARNING)

    # ---- time

    def sweep(self, now: float) -> None:
        """Streams of ours that nothing uses end, and those whose other server does not read, or does not say what it
        has."""
        for load in list(self._loads.values()):
            carrier, busy = load.carrier, [line for line in load.lines if not line.empty]
            if carrier.closed:
                continue
            if any(now - line.since > SILENCE for line in busy):
                carrier.fail(StreamError("connection-timeout"))
            elif carrier.outgoing and not busy and now - carrier.used > self.config.idle_time:
                self.let_go(carrier)
                carrier.leave()

    async def close(self, within: float) -> None:
        """Give other servers a moment to say what they have. What is not confirmed stays in the store."""
        self.stopping = True
        end = asyncio.get_running_loop().time() + within
        while any(line.written and line.load is not None for line in self._lines.values()):
            if asyncio.get_running_loop().time() > end:
                break
            await asyncio.sleep(0.01)
        for line in self._lines.values():
            line.rest()
            if line.load is not None and line.written:
                line.load.carrier.abort()
            line.load = None
        for load in list(self._loads.values()):
            self._drop(load)


def _timeout(remote: str) -> RemoteServerTimeout:
    return RemoteServerTimeout(f"the server of {remote} cannot be reached now")
