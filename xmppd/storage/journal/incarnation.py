"""One run of a server on a store: how it becomes the one that decides, and notices that it is not any more.

`nodes`, by incarnation: who runs, and a beat. `table`, by version: which incarnation is the home of all slots, and
since which epoch. Whoever inserts the next version has taken over; before that it has sealed the journal of the former
one and applied what was left of it, so whatever that one believes, it commits nothing any more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xmppd.clock import Clock, pause
from xmppd.errors import StorageUnavailable
from xmppd.storage.api import StoreError
from xmppd.storage.journal.applying import Applier
from xmppd.storage.journal.deletions import Deletions
from xmppd.storage.journal.home import Home, newest
from xmppd.storage.journal.over import Over
from xmppd.storage.journal.process import is_gone, this_process
from xmppd.storage.journal.rounds import portions
from xmppd.storage.journal.sealing import Sealed, committed, seal, tidy
from xmppd.storage.journal.sendings import unheard
from xmppd.storage.journal.statements import Documents

log = logging.getLogger("xmppd.storage")

BEAT = 1.0
"""Seconds between two beats."""
WATCHED = 5.0
"""Seconds that a beat is watched before its process is taken for dead. That it may be alive nevertheless endangers
nothing: its journal is sealed. It would be ended for nothing, that is all."""
LOOK = 0.5


@dataclass(frozen=True)
class Incarnation:
    """`number`: of this run; `epoch`: of all slots while it is their home."""

    number: int
    epoch: int


class Takeover:
    """Of a store, by this process. `insist`: even from a process that lives."""

    def __init__(self, documents: Documents, clock: Clock, insist: bool = False, version: str = "") -> None:
        self._documents = documents
        self._clock = clock
        self._insist = insist
        self._version = version
        self._number = 0
        self._asked = False
        """Whether this number may have been in a table: if that is another's now, it was taken over itself."""
        self._sealed: Sealed | None = None
        """The journal of the former home."""
        self.deletions = Deletions(documents, clock, 0)

    async def run(self) -> Incarnation:
        """Become the home of all slots. Raises StoreError: another server is; StorageUnavailable: try again."""
        while True:
            table = await newest(self._documents, "table")
            if table is not None and table["incarnation"] == self._number:
                return await self._taken(table["_id"], table["epoch"])
            if table is not None:
                await self._refuse_if_alive(table["incarnation"])
            if not self._number or self._asked:
                self._number, self._asked = await self._begin(), False
                self.deletions = Deletions(self._documents, self._clock, self._number)
            if table is not None and not await self._apply_rest(table):
                continue
            version = table["_id"] + 1 if table is not None else 1
            self._asked = True
            mine = {"_id": version, "incarnation": self._number, "epoch": version}
            if await self._documents.insert("table", mine) or await self._is_mine(version):
                return await self._taken(version, version)

    async def _taken(self, version: int, epoch: int) -> Incarnation:
        """Whoever opens the store again is another one: the numbers of this one's journal have been used."""
        await self._tidy(version)
        mine, self._number = Incarnation(self._number, epoch), 0
        return mine

    async def _begin(self) -> int:
        """A number that no run has had."""
        while True:
            former = await newest(self._documents, "nodes")
            number = former["_id"] + 1 if former is not None else 1
            node = {
                "_id": number,
                "process": this_process(),
                "version": self._version,
                "began": int(self._clock.now()),
                "beat": 0,
            }
            if await self._documents.insert("nodes", node):
                return int(number)

    async def _apply_rest(self, table: dict[str, Any]) -> bool:
        """False: another one has taken the store meanwhile."""
        sealed = self._sealed = await seal(self._documents, table["incarnation"], self._number)
        left = [each for each in committed(sealed.batches, table["epoch"]) if each.writes]
        if left:
            log.info("%d batches of run %d may not be applied yet: they are now", len(left), table["incarnation"])
            home = Home(self._documents, self._clock, table["_id"])
            try:
                applier = Applier(self._documents, self._clock, self.deletions, home)
                for batches in portions(left):
                    await applier.apply(batches)
                await applier.park(unheard(left))
            except Over:
                return False
        return True

    async def _tidy(self, version: int) -> None:
        """Journals of former homes, back to where that was done before: who has taken over may have ended too soon."""
        left: list[tuple[int, int]] = []
        while version > 1:
            found = await self._documents.find("table", version - 1, version, 2)
            if len(found) < 2 or found[1].get("tidied"):
                break
            left.append((version, found[0]["incarnation"]))
            version -= 1
        for version, former in reversed(left):  # the oldest first: all before one that is marked are done
            sealed = self._sealed
            if sealed is None or sealed.incarnation != former:
                sealed = await seal(self._documents, former, self._number)
            await tidy(self._documents, sealed)
            await self._documents.set("table", version, {"tidied": True})
        self._sealed = None  # it may be large

    async def _is_mine(self, version: int) -> bool:
        """Whether it is only the answer that was lost."""
        found = await self._documents.find("table", version, version, 1)
        return bool(found) and found[0]["incarnation"] == self._number

    # ---- is the former one alive?

    async def _refuse_if_alive(self, incarnation: int) -> None:
        if self._insist:
            return
        node = await self._node(incarnation)
        if node is None or node.get("ended") or is_gone(node.get("process")):
            return
        process = node.get("process")
        known = process if isinstance(process, dict) else {}
        who = f"process {known.get('pid', '?')} on {known.get('host', '?')}"
        if await self._beats(incarnation, node, who):
            raise StoreError(
                f"the database is in use by another server, {who}: stop that one first, or name another database"
                " (run --take-over ends it)"
            )

    async def _node(self, incarnation: int) -> dict[str, Any] | None:
        found = await self._documents.find("nodes", incarnation, incarnation, 1)
        return found[0] if found else None

    async def _beats(self, incarnation: int, node: dict[str, Any], who: str) -> bool:
        """Whether its record changes while it is watched."""
        log.info("%s had the database: waiting for a sign of life", who)
        end = self._clock.monotonic() + WATCHED
        while self._clock.monotonic() < end:
            await pause(self._clock, LOOK)
            now = await self._node(incarnation)
            if now is None or now.get("ended"):
                return False
            if now.get("beat") != node.get("beat"):
                return True
        return False


class Beat:
    """Tells others that this run lives, and looks whether it is still the home."""

    def __init__(self, documents: Documents, mine: Incarnation, home: Home) -> None:
        self._documents = documents
        self._mine = mine
        self._home = home
        self._count = 0

    async def beat(self) -> None:
        """Raises Over, or StorageUnavailable."""
        self._count += 1
        await self._documents.set("nodes", self._mine.number, {"beat": self._count})
        await self._home.look()

    async def end(self) -> None:
        """Nobody needs to watch it. Raises StorageUnavailable."""
        await self._documents.set("nodes", self._mine.number, {"ended": True})


async def quietly(step: Callable[[], Any]) -> None:
    """What is tried again a second later anyway; the commits tell of the outage."""
    try:
        await step()
    except StorageUnavailable as error:
        log.debug("put off: %s", error)
    except Exception:
        log.exception("a chore of the journal failed; it is tried again")
