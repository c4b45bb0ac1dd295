"""One server at a time on one database: a record says which process has it, and beats while that process lives.

Two processes would each cache, number and write the records of the same owners. What can be seen is refused: a record
that beats, or whose process lives on this machine. A process that was stopped for long, and goes on after another
has taken the database, sees that before its next write: only a write that was on its way when it stopped still comes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from pathlib import Path
from typing import Any, Final

from bson.objectid import ObjectId
from pymongo.errors import DuplicateKeyError, PyMongoError

from xmppd.errors import StorageUnavailable
from xmppd.storage.api import StoreError

log = logging.getLogger("xmppd.storage")

OWNER: Final = {"_id": "owner"}
BEAT: Final = 2.0
"""Seconds between two beats."""
WATCHED: Final = 7.0
"""Seconds that a record is watched before it is taken for a dead one's: three beats, and a slow one."""
LOOK: Final = 0.5
SURE: Final = 5.0
"""Seconds after a beat in which nobody can have taken the database: less than WATCHED."""
RELEASED: Final = 1.0
"""Seconds to tell the database at the end that it is free."""


def this_process() -> dict[str, Any]:
    """What tells this process from all others that this machine can see."""
    return {"host": socket.gethostname(), "space": _space(), "pid": os.getpid(), "started": _started(os.getpid())}


def _space() -> str:
    """The boot and the process namespace: within both, a pid says who it is."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process began, in ticks since the boot; "" when there is no such process (proc(5), stat, field 22)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def is_gone(record: dict[str, Any]) -> bool:
    """Whether the process of a record has ended, or is this one, as far as can be told from here at once."""
    mine = this_process()
    if not mine["space"] or (record.get("host"), record.get("space")) != (mine["host"], mine["space"]):
        return False
    pid = record.get("pid")
    if not isinstance(pid, int):
        return False  # a damaged record is watched
    return pid == mine["pid"] or _started(pid) != record.get("started")


class Ownership:
    """Of one database, by this process. `collection`: where the record is."""

    def __init__(self, collection: Any) -> None:
        self._collection = collection
        self._by = ObjectId()
        self._beating: asyncio.Task[None] | None = None
        self.lost = False
        """Another process has taken the database."""
        self._sure = 0.0
        """When the last beat that arrived was sent; by the clock of the system, which goes on while we are stopped."""

    async def confirm(self) -> None:
        """Before a write: whether the database is still ours, asked when the last beat is too old to know. Raises
        StorageUnavailable: it is not; PyMongoError: it does not answer."""
        if not self.lost and time.monotonic() - self._sure > SURE:
            await self._touch()
        if self.lost:
            raise StorageUnavailable("another server has taken the database")

    async def _touch(self) -> None:
        sent = time.monotonic()
        done = await self._collection.update_one({**OWNER, "by": self._by}, {"$inc": {"beat": 1}})
        if done.matched_count:
            self._sure = sent
        elif not self.lost:
            self.lost = True
            log.critical("another server has taken the database: this one stores nothing any more; stop one of them")

    async def take(self) -> None:
        """Become the owner, after a dead one at once or when its record was watched. Raises StoreError: another server
        has the database; PyMongoError: it does not answer."""
        record = {"by": self._by, "beat": 0, **this_process()}
        while True:
            self._sure = time.monotonic()
            found = await self._collection.find_one(OWNER)
            if found is None:
                try:
                    await self._collection.insert_one({**OWNER, **record})
                    break
                except DuplicateKeyError:
                    continue
            if not is_gone(found) and await self._beats(found):
                raise StoreError(
                    f"the database is in use by another server, process {found.get('pid')} on {found.get('host')}: "
                    "stop that one first, or name another database"
                )
            self._sure = time.monotonic()
            before = {**OWNER, "by": found.get("by"), "beat": found.get("beat")}
            if (await self._collection.update_one(before, {"$set": record})).matched_count:
                break
        self._beating = asyncio.get_running_loop().create_task(self._beat(), name="owner of the database")

    async def _beats(self, found: dict[str, Any]) -> bool:
        """Whether the record changes while it is watched."""
        log.info("process %s on %s had the database: waiting for a sign of life", found.get("pid"), found.get("host"))
        loop = asyncio.get_running_loop()
        end = loop.time() + WATCHED
        while loop.time() < end:
            await asyncio.sleep(LOOK)
            now = await self._collection.find_one(OWNER)
            if now is None:
                return False
            if (now.get("by"), now.get("beat")) != (found.get("by"), found.get("beat")):
                return True
        return False

    async def _beat(self) -> None:
        while not self.lost:
            await asyncio.sleep(BEAT)
            try:
                await self._touch()
            except (PyMongoError, OSError):
                continue  # nobody else can take it either; the store above tells of the outage

    async def release(self) -> None:
        """Let the next one have it at once."""
        beating, self._beating = self._beating, None
        if beating is None:
            return
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        try:
            async with asyncio.timeout(RELEASED):
                await self._collection.delete_one({**OWNER, "by": self._by})
        except (PyMongoError, OSError, TimeoutError) as error:
            log.warning("the record of the owner stays in the database: %s", type(error).__name__)
