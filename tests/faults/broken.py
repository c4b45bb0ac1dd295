"""Servers that break the promise on purpose, one that is only slow, one whose clock jumps: what the checker must tell
apart. The last four cheat with the journal, and do on MongoDB alone.

`python -m tests.faults.broken ack-before-commit run --config …`. Every commit takes `SLOW` seconds longer here, as on
an old disk, and with a journal applying it as much, so that a crash finds something in between; that alone breaks
nothing.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from xmppd.delivery.channel import DeliveryChannel
from xmppd.net.loop import RealClock
from xmppd.routing.release import release_inbound
from xmppd.routing.transaction import StanzaTransaction
from xmppd.storage.api import Write
from xmppd.storage.journal import sealing
from xmppd.storage.journal.applying import Applier
from xmppd.storage.journal.backend import JournalBackend
from xmppd.storage.journal.rounds import Committed
from xmppd.storage.journal.statements import ROOM, Documents
from xmppd.storage.sqlite_write import Writer

SLOW, BEHIND = 0.04, 0.3
"""Seconds for a commit, and for applying what is committed."""


def slow_disk() -> None:
    """Every commit takes longer. Nothing is wrong with that."""
    write = Writer.write

    def later(self: Writer, writes: Sequence[Write]) -> None:
        time.sleep(SLOW)
        write(self, writes)

    Writer.write = later  # type: ignore[method-assign]
    apply = Applier.apply

    async def behind(self: Applier, batches: Sequence[Committed]) -> None:
        await asyncio.sleep(BEHIND)
        await apply(self, batches)

    Applier.apply = behind  # type: ignore[method-assign]


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


async def _believe(documents: Documents, run: int, last: dict[str, Any] | None) -> sealing.Sealed:
    """Whatever a journal holds."""
    low = last["low"] if last is not None else 1
    rows = await documents.find("journal", run * ROOM + low, run * ROOM + ROOM - 1, 1000)
    batches = [row for row in rows if "seal" not in row]
    return sealing.Sealed(run, batches, batches[-1]["_id"] % ROOM + 1 if batches else 1)


def no_seal() -> None:
    """Who takes over applies what is there, and stops nobody."""

    async def insert_seals(documents: Documents, incarnation: int, behind: int, by: int) -> None:
        """None."""

    sealing.insert_seals = insert_seals
    sealing.look_again = _believe


def seal_believed() -> None:
    """The journal is not read again behind the seals, though it may have gone on above them."""
    sealing.look_again = _believe


def duplicate_is_success() -> None:
    """A number that is taken is a lost answer, whoever has taken it."""

    async def take_number(self: JournalBackend, attempt: Any) -> None:
        await self.documents.insert("journal", attempt.document)

    JournalBackend._take_number = take_number  # type: ignore[method-assign]


def over_ignored() -> None:
    """A server that was replaced goes on."""
    duplicate_is_success()

    def end(self: JournalBackend, why: str) -> None:
        """Who cares."""

    JournalBackend._end = end  # type: ignore[method-assign]


BUILDS: dict[str, Callable[[], None]] = {
    "slow-disk": lambda: None,
    "jumping-clock": jumping_clock,
    "ack-before-commit": ack_before_commit,
    "delivery-before-commit": delivery_before_commit,
    "cursor-at-write": cursor_at_write,
    "no-seal": no_seal,
    "seal-believed": seal_believed,
    "duplicate-is-success": duplicate_is_success,
    "over-ignored": over_ignored,
}

if __name__ == "__main__":
    slow_disk()
    BUILDS[sys.argv.pop(1)]()
    from xmppd.cli import main

    main()
