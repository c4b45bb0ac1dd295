"""Servers that break the promise on purpose, one that is only slow, one whose clock jumps: what the checker must tell
apart.

`python -m tests.faults.broken ack-before-commit run --config …`. Every commit takes `SLOW` seconds longer here, as on
an old disk, so that a crash finds something in between; that alone breaks nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from xmppd.delivery.channel import DeliveryChannel
from xmppd.net.loop import RealClock
from xmppd.routing.release import release_inbound
from xmppd.routing.transaction import StanzaTransaction
from xmppd.storage.api import Write
from xmppd.storage.sqlite_write import Writer

SLOW = 0.04


def slow_disk() -> None:
    """Every commit takes longer. Nothing is wrong with that."""
    write = Writer.write

    def later(self: Writer, writes: Sequence[Write]) -> None:
        time.sleep(SLOW)
        write(self, writes)

    Writer.write = later  # type: ignore[method-assign]


def jumping_clock() -> None:
    """The wall clock is wrong by what the file `clock` says: seconds. Nothing may rest on it."""
    offset = Path("clock")

    def now() -> float:
        try:
            return time.time() + float(offset.read_text() or 0)
        except FileNotFoundError:
            return time.time()

    RealClock.now = staticmethod(now)


def ack_before_commit() -> None:
    """A stanza counts as handled when it was read."""
    finish, committed = StanzaTransaction.finish, StanzaTransaction.committed

    def early(self: StanzaTransaction) -> None:
        if self.session is not None and self.writes:
            self.session.settled()
        finish(self)

    def counted(self: StanzaTransaction) -> None:
        if self.session is not None and self.writes:
            self.session.handled -= 1  # the router counts it now
        committed(self)

    StanzaTransaction.finish = early  # type: ignore[method-assign]
    StanzaTransaction.committed = counted  # type: ignore[method-assign]


def delivery_before_commit() -> None:
    """The recipient sees it before the disk has it."""
    finish = StanzaTransaction.finish

    def early(self: StanzaTransaction) -> None:
        if self.writes:
            for event in self.inbound:
                release_inbound(event)
            self.inbound = []
        finish(self)

    StanzaTransaction.finish = early  # type: ignore[method-assign]


def cursor_at_write() -> None:
    """What was written to a client, or to its queue, is taken for delivered."""
    put = DeliveryChannel.put

    def careless(self: DeliveryChannel, data: bytes, log_id: int, *rest: float) -> None:
        put(self, data, log_id, *rest)
        if log_id:
            self.session.account.cursor.acknowledge((log_id,))

    DeliveryChannel.put = careless  # type: ignore[method-assign]


BUILDS: dict[str, Callable[[], None]] = {
    "slow-disk": lambda: None,
    "jumping-clock": jumping_clock,
    "ack-before-commit": ack_before_commit,
    "delivery-before-commit": delivery_before_commit,
    "cursor-at-write": cursor_at_write,
}

if __name__ == "__main__":
    slow_disk()
    BUILDS[sys.argv.pop(1)]()
    from xmppd.cli import main

    main()
