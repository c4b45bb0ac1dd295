"""One trial: a server, its clients, what goes wrong, and the ledger of it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness.homes import HOMES
from tests.mongo_server import MongoServer

from .client import ROOM, Actor, read_archive
from .homes import Homes
from .ledger import Device, Kind, Ledger
from .process import RESUME, Process

PEOPLE: dict[str, tuple[Kind, ...]] = {
    "alice": (Kind.ARCHIVE, Kind.ARCHIVE, Kind.ACKS),
    "bob": (Kind.ARCHIVE,),
    "carol": (Kind.ACKS,),
    "dave": (Kind.BARE,),
    "erin": (Kind.ACKS,),
    "frank": (Kind.ARCHIVE,),
    "grace": (Kind.ACKS,),
}
SLEEPERS = ("erin", "frank")
"""Online now and then, for a moment."""
ABSENT = "grace"
"""Comes when all is over."""
BACK, SOME = 20.0, 5
"""Seconds that a trial waits for so many clients, or it would kill a server that has nothing to lose yet."""
SETTLES = 120.0
"""Seconds for what clients still have to send, and the store to apply."""
IN_ROOM = ("alice", "bob", "carol", "dave")


@dataclass
class Plan:
    """`kills` of the server in the whole; `calm`: seconds between two of them, at least and at most.

    `between`: chance of each smaller fault in such a time. `storage`: None for SQLite. `mongo`: a database server to
    stop and start. `volume`: a small file system for the store, to be filled. `jumps`: the server's clock is set
    forward and back (the build "jumping-clock").

    On a MongoDB store: `pauses`: how often the process is stopped for `pause` seconds, at least and at most, and
    another one takes over meanwhile; `takeovers`: how often of one that runs; `deaf`: of one that hears no answers from
    the database; `stills`: how often it is stopped for `pause` seconds and goes on.
    """

    kills: int = 30
    calm: tuple[float, float] = (0.2, 1.2)
    seed: int = 1
    build: str = ""
    tls: str = "none"
    storage: str = "sqlite:///var/xmppd.db"
    mongo: MongoServer | None = None
    volume: Path | None = None
    jumps: bool = False
    stops: float = 0.1
    """How many of the ends of the server are SIGTERM, beside the kills."""
    absences: float = 0.1
    """How often one that has but one device is away when the server ends, for longer than a cursor stays unwritten."""
    looks: float = 0.1
    """How often the store is looked at before the next start; at the end always."""
    pace: float = 0.06
    pauses: int = 0
    pause: tuple[float, float] = (5.0, 30.0)
    takeovers: int = 0
    deaf: int = 0
    stills: int = 0
    slow_seals: float = 0.5
    """How often the seals of who takes over from a process that runs come when that one has gone on for seconds."""
    progress: Callable[[Ledger], None] = field(default=lambda ledger: None)

    @property
    def moves(self) -> int:
        """How much it takes that only a store with a journal has."""
        return self.pauses + self.takeovers + self.deaf + self.stills


class Trial:
    """`run` gives the ledger."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.plan, self.chance, self.ledger = plan, random.Random(plan.seed), Ledger(homes=HOMES)
        self.folder = folder
        self.homes = Homes(folder, plan, self.ledger, self.chance, self._failed)
        self.actors = self.homes.actors
        self.tasks: dict[Actor, asyncio.Task[None]] = {}
        self._serial = 0

    # ---- the whole

    async def run(self) -> Ledger:
        await self.homes.open()
        try:
            await self.process.start()
            await self.process.account(*PEOPLE)
            await self._people()
            for end in self.homes.schedule():
                await self._calm()
                await self.homes.end(end)
                if self.chance.random() < 0.1:
                    await self._look()
                self.plan.progress(self.ledger)
            await self._settle()
            await self._audit()
            assert await self.process.stop() == 0
            await self.homes.check_store()
        finally:
            for actor, task in self.tasks.items():
                actor.leave()
                task.cancel()
            await asyncio.gather(*self.tasks.values(), return_exceptions=True)
            await self.homes.close()
        return self.ledger

    @property
    def process(self) -> Process:
        return self.homes.process

    @property
    def port(self) -> int:
        return self.homes.port

    async def _people(self) -> None:
        """All come, the first one opens the room."""
        for name, kinds in PEOPLE.items():
            for kind in kinds if name != ABSENT else ():
                actor = self._come(f"{name}@localhost", kind)
                if name in IN_ROOM:
                    await self._wait(lambda actor=actor: actor.online, "is online", 20)  # type: ignore[misc]
                if len(self.actors) == 1:
                    await actor.open_room()
        for actor in self.actors:
            actor.talks = True

    def _come(self, account: str, kind: Kind, since: int = 0) -> Actor:
        self._serial += 1
        name = account.partition("@")[0]
        device = Device(f"{account}/d{self._serial}", account, kind, since)
        self.ledger.devices[device.name] = device
        actor = Actor(self.ledger, device, self.port, random.Random(self.chance.random()), self.plan.tls)
        actor.peers = [f"{peer}@localhost" for peer in PEOPLE if peer != name]
        actor.rooms = name in IN_ROOM
        actor.pause = self.plan.pace * (2 if name in SLEEPERS else 1)
        self.actors.append(actor)
        self.tasks[actor] = asyncio.create_task(actor.run(), name=device.name)
        return actor

    # ---- what goes wrong

    async def _calm(self) -> None:
        """Until the next end of the server, with a few smaller faults; on a database not before people are back."""
        back = time.monotonic() + BACK
        while self.plan.moves and time.monotonic() < back and sum(actor.online for actor in self.actors) < SOME:
            await asyncio.sleep(0.05)
            self._failed()
        await self._jump()
        until = time.monotonic() + self.chance.uniform(*self.plan.calm)
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, self.chance.uniform(0.02, 0.3)))
            self._failed()
            fault = self.chance.choices(
                (self._cut, self._away, self._replace, self._freeze, self._starve, self._jump), (8, 3, 1, 1, 1, 1)
            )[0]
            await fault()
        for actor in self.actors:
            name = actor.device.account.partition("@")[0]
            if name in SLEEPERS and not actor.device.killed and self.chance.random() < 0.5:
                actor.away_until = time.monotonic() + self.chance.uniform(0.5, 5)
                actor.cut()
        if self.chance.random() < self.plan.absences:
            await self._absence()

    async def _absence(self) -> None:
        """Messages lie in the queue of a session that waits for its client, when the server ends."""
        lonely = [each for each in self.actors if each.device.account.startswith(("carol@", "erin@"))]
        for actor in lonely:
            actor.away_until = time.monotonic() + 2.5
            actor.cut()
        await asyncio.sleep(1.8)

    async def _cut(self) -> None:
        self.chance.choice(self.actors).cut(self.chance.choice(("abort", "stanza", "deaf")))

    async def _away(self) -> None:
        """A client without network for a while, longer than a session waits for it in one of four."""
        actor = self.chance.choice(self.actors)
        actor.away_until = time.monotonic() + self.chance.uniform(0.3, 1.33 * RESUME)
        actor.cut()

    async def _replace(self) -> None:
        """A client is killed with all it knew; the next one of its kind takes its place."""
        old = self.chance.choice(self.actors)
        old.device.killed, old.device.killed_at = True, time.monotonic()
        old.leave()
        self.actors.remove(old)
        self._come(old.device.account, old.device.kind, old.last_id).talks = True

    async def _freeze(self) -> None:
        """The server does not run for a moment."""
        self.process.pause()
        await asyncio.sleep(self.chance.uniform(0.05, 0.4))
        if self.chance.random() < 0.5:
            self.chance.choice(self.actors).cut()
        self.process.go_on()

    async def _starve(self) -> None:
        """The store fails for a moment: its disk is full, or its database server is away."""
        volume, mongo = self.plan.volume, self.plan.mongo
        if volume is not None:
            ballast = volume / "ballast"
            await asyncio.to_thread(_fill, ballast)
            await asyncio.sleep(self.chance.uniform(0.1, 0.8))
            ballast.unlink()
        elif mongo is not None:
            await asyncio.to_thread(mongo.stop)
            await asyncio.sleep(self.chance.uniform(0.1, 0.8))
            await asyncio.to_thread(mongo.start)

    async def _jump(self) -> None:
        """The clock is set."""
        if self.plan.jumps:
            new = self.folder / "clock.new"
            new.write_text(str(self.chance.choice((0, -90_000, -3_600, -7, 7, 3_600, 90_000))))
            new.rename(self.folder / "clock")

    async def _look(self) -> None:
        """Read an archive in the middle of it all: what is seen there must stay there."""
        name = self.chance.choice(tuple(PEOPLE))
        owner = f"{name}@localhost"
        after = max((id for id, _ in self.ledger.earlier.get(owner, ())), default=0)
        with suppress(OSError, EOFError, TimeoutError):
            self.ledger.read(owner, await read_archive(self.port, name, after=after, tls=self.plan.tls))

    # ---- the end

    async def _settle(self) -> None:
        """Nobody sends any more, all come back, all is acknowledged, all that is owed has come."""
        for actor in self.actors:
            actor.talks, actor.away_until = False, 0.0
        self._come(f"{ABSENT}@localhost", Kind.ACKS)
        await self._wait(lambda: all(actor.idle for actor in self.actors), "all is acknowledged", SETTLES)
        await asyncio.sleep(RESUME + 0.5)  # the sessions of killed clients end
        await self._wait_silence()
        self.homes.clean_log()

    async def _wait_silence(self) -> None:
        count = -1
        while count != (now := sum(len(actor.device.receipts) for actor in self.actors)):
            count = now
            await asyncio.sleep(1.0)
            self._failed()

    async def _audit(self) -> None:
        for name in PEOPLE:
            owner = f"{name}@localhost"
            self.ledger.archives[owner] = await self._read(name)
        self.ledger.rooms.add(ROOM)
        self.ledger.archives[ROOM] = await self._read("alice", ROOM)

    async def _read(self, name: str, room: str = "") -> list[tuple[int, str]]:
        """The whole archive; a slow database may still be applying what is committed."""
        end = time.monotonic() + SETTLES
        while True:
            try:
                return await read_archive(self.port, name, room, tls=self.plan.tls)
            except EOFError:
                if time.monotonic() > end:
                    raise

    async def _wait(self, true: Callable[[], bool], what: str, within: float) -> None:
        end = time.monotonic() + within
        while not true():
            self._failed()
            if time.monotonic() > end:
                states = [
                    (each.device.name, each.online, len(each.unacked), each.device.errors) for each in self.actors
                ]
                raise AssertionError(f"not within {within} s: {what}: {states}\n{self.process.log[-2000:]}")
            await asyncio.sleep(0.05)

    def _failed(self) -> None:
        """A client that saw what no server may say ends the trial."""
        for task in self.tasks.values():
            if task.done() and not task.cancelled() and task.exception() is not None:
                task.result()


def _fill(ballast: Path) -> None:
    """Until nothing fits any more."""
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12):
            with suppress(OSError):
                while True:
                    file.write(b"\0" * size)


def run(folder: Path, plan: Plan) -> Ledger:
    """A trial in a folder of its own, from outside a loop."""
    folder.mkdir(parents=True, exist_ok=True)
    return asyncio.run(Trial(folder, plan).run())
