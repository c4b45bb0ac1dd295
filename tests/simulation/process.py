"""One server process: a store over a journal over the database, on its own loop, with clients."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.simulation.documents import SimDocuments
from tests.simulation.judge import Judge
from tests.simulation.load import ALL, CACHED, MAPS, OWNERS, Clients, Operation
from tests.simulation.loop import Clock, Loop
from tests.simulation.mail import Mail
from xmppd.clock import pause
from xmppd.errors import StorageUnavailable
from xmppd.storage.api import StoreError
from xmppd.storage.group_commit import Limits
from xmppd.storage.journal.backend import JournalBackend
from xmppd.storage.store import Store

if TYPE_CHECKING:
    from tests.simulation.world import World


class Process:
    """`servers`: all of the world, by number. `machine`: those of one see each other's end at once."""

    def __init__(
        self,
        world: World,
        servers: list[Process],
        judge: Judge,
        insist: bool,
        machine: int = 0,
        skew: float = 0.0,
        limits: Limits | None = None,
    ) -> None:
        self.world = world
        self.servers = servers
        self.judge = judge
        self.ledger: list[Operation] = judge.ledger
        self.machine = machine
        self.number = len(servers)
        self.name = f"p{self.number}"
        servers.append(self)
        self.paused = self.dead = self.over = self.ready = self.refused = self.closing = False
        self.cut = ""
        """"answers": it is told nothing; "both": it cannot send, either."""
        self.held: deque[tuple[Callable[[Any], object], Any]] = deque()
        self.run_at_most: tuple[int, Callable[[], object]] | None = None
        """After so many calls of its loop something happens to it."""
        self.run_number = self.epoch = 0
        self.loop = Loop(self)
        self.clock = Clock(self, skew)
        self.documents = SimDocuments(world.wire, self)
        self.backend = JournalBackend(self.documents, self.clock, insist)  # type: ignore[arg-type]
        self.store = Store(self.backend, self.clock, limits)
        self.store.on_over = self._taken
        for name in MAPS:
            self.store.map(name, int, cached=name in CACHED)
        self.archive = self.store.log("archive")
        self.clients = Clients(self)
        self.mail = Mail(self)
        world.say(f"-- {self.name} starts on machine {machine}{', insists' if insist else ''}")
        self.do(self._main())

    # ---- its loop

    def run(self) -> None:
        """Let it work until it waits."""
        if self.run_at_most is None:
            self.loop.run()
            return
        (calls, then), self.run_at_most = self.run_at_most, None
        self.loop.run(calls)
        then()

    def do(self, coroutine: Any) -> None:
        self.loop.create_task(coroutine)
        self.run()

    def pause(self) -> None:
        if not self.dead and not self.paused:
            self.world.say(f"-- {self.name} stands still")
            self.paused = True
            self._since = self.world.time

    def go_on(self, suspended: bool) -> None:
        """`suspended`: its monotonic clock stood still, too."""
        if self.dead or not self.paused:
            return
        self.world.say(f"-- {self.name} goes on{', its clock stood still' if suspended else ''}")
        self.paused = False
        if suspended:
            self.clock.lost += self.world.time - self._since
        held, self.held = self.held, deque()
        self.run()
        for call, what in held:
            if self.paused:
                self.held.append((call, what))
            else:
                call(what)

    def crash(self) -> None:
        if not self.dead:
            self.world.say(f"-- {self.name} crashes")
            self.end()

    def end(self) -> None:
        self.dead, self.ready = True, False
        self.held.clear()
        self.loop.drop()

    def close(self) -> None:
        self.world.say(f"-- {self.name} is stopped")
        self.closing, self.ready = True, False
        self.do(self._close())

    async def _close(self) -> None:
        await self.store.close(5.0)
        self.world.say(f"-- {self.name} has ended")
        self.end()

    def _taken(self, why: str) -> None:
        self.world.say(f"-- {self.name} is over: {why}")
        self.over, self.ready = True, False
        if not self.world.database.was_taken(self.run_number):
            self.world.problem(f"{self.name} ends, and nobody has taken the store from it")

    @property
    def serving(self) -> bool:
        return self.ready and not self.paused and not self.dead

    # ---- what it does

    async def sleep(self, seconds: float) -> None:
        await pause(self.clock, seconds)

    async def _main(self) -> None:
        try:
            await self.store.open()
        except StoreError as error:
            self.world.say(f"-- {self.name} is refused: {error}")
            self.refused = True
            self.end()
            return
        while not self.store.available:
            if self.store._opening is not None and self.store._opening.done():
                self.refused = True
                self.end()
                return
            await self.sleep(0.1)
        mine = self.backend._mine
        if mine is None:  # it is being stopped
            return
        self.run_number, self.epoch = mine.number, mine.epoch
        self.world.say(f"-- {self.name} serves, as run {mine.number}, epoch {mine.epoch}")
        while not self.over:
            try:
                if not await self.judge.look(self):
                    return
                for owner in (*OWNERS, ALL):
                    log = self.store.log("chronicle" if owner == ALL else "archive")
                    self.clients.last[owner] = await log.last_id(owner)
                await self.mail.begin()
                break
            except StorageUnavailable:
                await self.sleep(0.1)
        if not self.over and not self.closing:
            self.ready = True

    # ---- reads while others write

    def read(self) -> None:
        random = self.world.random
        owner, what = random.choice(OWNERS), random.random()
        self.do(self._page(owner) if what < 0.4 else self._record(owner, what) if what < 0.7 else self._load(owner))

    async def _page(self, owner: str) -> None:
        asked = self.judge.asked_page(self, owner)
        try:
            entries = await self.archive.page(owner, self.judge.WHOLE, 10_000)
        except StorageUnavailable:
            return
        self.judge.saw_page(self, owner, entries, asked)

    async def _record(self, owner: str, chance: float) -> None:
        map, key = ("cursor", "c") if chance < 0.5 else ("notes", "x") if chance < 0.6 else ("count", "n")
        asked = self.judge.asked(self)
        try:
            value = await self.store.map(map, int, cached=map in CACHED).read_stored(owner, key)
        except StorageUnavailable:
            return
        self.judge.saw_record(self, owner, map, key, value, asked)

    async def _load(self, owner: str) -> None:
        if self.store.loaded(owner):
            if self.world.random.random() < 0.3:
                self.store._resident._forget(owner)  # as when there are too many
            else:
                value = self.store.map("cursor", int, cached=True).get(owner).get("c")
                self.judge.saw_record(self, owner, "cursor", "c", value, self.judge.asked(self))
                return
        try:
            await self.store.load(owner)
        except StorageUnavailable:
            return
        if self.store.loaded(owner):
            value = self.store.map("cursor", int, cached=True).get(owner).get("c")
            self.judge.saw_record(self, owner, "cursor", "c", value, self.judge.asked(self))
