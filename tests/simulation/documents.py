"""Statements on their way: carried out, or not, in parts, late, twice; answered, or not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tests.simulation.database import Database, Steps
from xmppd.errors import StorageUnavailable
from xmppd.storage.api import Entry, Range, Send, Source
from xmppd.storage.backend import Row
from xmppd.storage.journal.statements import Document, Refused, Sequences, Statement

if TYPE_CHECKING:
    from tests.simulation.process import Process


LATEST = 0.9
"""Of an hour, within which everything is carried out that will be: done in steps, it takes a little longer."""


class Call:
    """One statement that a process has sent. `future`: who waits for its answer, if anybody does; `answers`: it comes;
    `written`: the last change of a sequence that is its own."""

    __slots__ = ("answers", "future", "make", "name", "process", "result", "steps", "term", "what", "written")

    def __init__(self, process: Process, name: str, what: Any, make: Callable[[], Steps], answers: bool) -> None:
        self.process, self.name, self.what, self.make = process, name, what, make
        self.future: asyncio.Future[Any] | None = process.loop.create_future() if answers else None
        self.answers = answers
        self.steps: Steps | None = None
        self.written = self.term = 0
        self.result: Any = None


class Wire:
    """Between all processes and the database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.world = database.world
        self._waiting: list[Call] = []
        database.reached = self._reached

    def send(self, process: Process, name: str, what: Any, make: Callable[[], Steps]) -> asyncio.Future[Any] | None:
        world, weather = self.world, self.world.weather
        chance = world.random.random
        delay = self._time()
        call = Call(process, name, what, make, True)
        if world.tracing:
            world.say(f"{process.name} sends {name} {_shown(what)}")
        if process.cut or chance() < weather.lost:
            call.answers = False
            kind = chance()
            if (process.cut != "answers" and kind < 0.3) or process.cut == "both":
                world.at(delay + chance() * weather.timeout, self._fail, (call, "not carried out"))
                return call.future
            if kind > 0.65:
                delay += world.hour * LATEST * chance() ** 3
                world.late += 1
            world.at(chance() * weather.timeout, self._fail, (call, "no answer"))
        world.at(delay, self._carry_out, call)
        if chance() < weather.twice:
            again = Call(process, name, what, make, False)
            world.at(world.hour * LATEST * chance() ** 3, self._carry_out, again)
        return call.future

    def _carry_out(self, call: Call) -> None:
        world, database = self.world, self.database
        if call.steps is None:
            call.steps, call.term = call.make(), database.term
            if world.tracing:
                world.say(f"  carried out: {call.name} {_shown(call.what)} of {call.process.name}")
        elif call.term != database.term:  # half done when the primary changed
            self._fail((call, "a new primary does not have it"))
            return
        many = 0 if not world.splits else world.random.randrange(4)
        before, done = database.written, False
        try:
            while True:
                next(call.steps)
                if many:
                    many -= 1
                    if not many:
                        break
        except StopIteration as end:
            call.result, done = end.value, True
        if database.written != before:
            call.written = database.written
            if world.lag:
                world.at(world.lag * world.random.random() ** 4, database.replicate, database.written)
        if done:
            self._is_done(call)
        elif world.random.random() >= world.weather.half:  # else the rest is never done: the server has ended
            world.at(world.weather.latency * world.random.random() * 4, self._carry_out, call)

    def _is_done(self, call: Call) -> None:
        if call.answers:
            if self._holds(call):
                self.world.at(self._time(), self._answer, call)
            else:
                self._waiting.append(call)

    def _time(self) -> float:
        """Seconds that a statement, or an answer, is on its way."""
        weather, chance = self.world.weather, self.world.random.random
        seconds = weather.latency * 2 * chance()
        return seconds * 200 if chance() < weather.slow else seconds

    def _holds(self, call: Call) -> bool:
        """What it has changed is with the majority. One that has changed nothing is answered at once."""
        database = self.database
        return not call.written or (call.written <= database.replicated and database.stale is None)

    def _reached(self) -> None:
        """The majority has more."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            if call.written > self.database.written:
                self._fail((call, "a new primary does not have it"))
            elif self._holds(call):
                self.world.at(0.0, self._answer, call)
            else:
                self._waiting.append(call)

    def _answer(self, call: Call) -> None:
        if call.process.dead or call.future is None or call.future.done():
            return
        if call.process.paused:
            call.process.held.append((self._answer, call))
            return
        if self.world.tracing:
            self.world.say(f"{call.process.name} is told of {call.name}: {_shown(call.result)}")
        call.future.set_result(call.result)
        call.process.run()

    def _fail(self, what: tuple[Call, str]) -> None:
        call, why = what
        if call.process.dead or call.future is None or call.future.done():
            return
        if call.process.paused:
            call.process.held.append((self._fail, what))
            return
        if self.world.tracing:
            self.world.say(f"{call.process.name} is not told of {call.name}: {why}")
        call.future.set_exception(StorageUnavailable(why))
        call.process.run()

    def cut_all(self) -> None:
        """A fail-over ends connections."""
        for call in list(self._waiting):
            if self.world.random.random() < 0.5:
                self._waiting.remove(call)
                self._fail((call, "connection lost"))


class SimDocuments:
    """`journal.statements.Documents` of one process."""

    def __init__(self, wire: Wire, process: Process) -> None:
        self._process = process
        self._database = wire.database
        self._send = wire.send
        self._closed = False

    async def open(self) -> None:
        self._closed = False

    async def close(self) -> None:
        self._closed = True

    async def _ask(self, what: Any, name: str, *args: Any) -> Any:
        if self._closed:
            raise StorageUnavailable("the store is not open")
        method = getattr(self._database, name)
        return await self._send(self._process, name, what, lambda: method(*args))

    async def insert(self, sequence: Sequences, document: Document) -> bool:
        return await self._ask((sequence, document), "insert", sequence, document)  # type: ignore[no-any-return]

    async def insert_where_free(self, sequence: Sequences, documents: Sequence[Document]) -> None:
        await self._ask((sequence, documents[0]), "insert_where_free", sequence, documents)

    async def find(
        self, sequence: Sequences, low: int, high: int, limit: int, backwards: bool = False
    ) -> list[dict[str, Any]]:
        return await self._ask((sequence, low, high), "find", sequence, low, high, limit, backwards)  # type: ignore[no-any-return]

    async def set(self, sequence: Sequences, number: int, fields: Mapping[str, Any]) -> None:
        await self._ask((sequence, number, fields), "set", sequence, number, fields)

    async def remove(self, sequence: Sequences, low: int, high: int) -> None:
        await self._ask((sequence, low, high), "remove", sequence, low, high)

    async def run(self, statement: Statement) -> Sequence[Refused]:
        return await self._ask(statement, "run", statement)  # type: ignore[no-any-return]

    async def keep_refused(self, number: int, why: str) -> None:
        await self._ask(number, "keep_refused", number, why)

    async def load(self, owner: str, maps: Sequence[str]) -> list[Row[Any]]:
        return await self._ask(owner, "load", owner, maps)  # type: ignore[no-any-return]

    async def read(self, map: str, owner: str, key: str) -> Any | None:
        return await self._ask((map, owner, key), "read", map, owner, key)

    async def owners(self, map: str, domain: str, after: str, limit: int) -> list[str]:
        raise NotImplementedError

    async def scan(self, map: str, domain: str, after: tuple[str, str], limit: int) -> list[tuple[str, Row[Any]]]:
        raise NotImplementedError

    async def page(self, log: str, owner: str, range: Range, limit: int, backwards: bool) -> list[Entry]:
        return await self._ask((log, owner), "page", log, owner, range, limit, backwards)  # type: ignore[no-any-return]

    async def ends(self, log: str, owner: str, range: Range) -> tuple[int, int]:
        return await self._ask((log, owner), "ends", log, owner, range)  # type: ignore[no-any-return]

    async def count(self, log: str, owner: str, range: Range, limit: int | None) -> int:
        return await self._ask((log, owner), "count", log, owner, range, limit)  # type: ignore[no-any-return]

    async def last_id(self, log: str, owner: str) -> int:
        return await self._ask((log, owner), "last_id", log, owner)  # type: ignore[no-any-return]

    async def unheard(self, domain: str, after: Source, limit: int) -> list[Send]:
        return await self._ask(domain, "unheard", domain, after, limit)  # type: ignore[no-any-return]

    async def was_heard(self, owner: str, log: str, source: Source) -> bool:
        return await self._ask((log, owner, source), "was_heard", owner, log, source)  # type: ignore[no-any-return]


def _shown(what: Any) -> str:
    """For people: numbers of the journal as run:n."""
    if isinstance(what, bytes):
        return f"<{len(what)}>"
    if isinstance(what, int) and not isinstance(what, bool) and what >= 1 << 40 and what < 1 << 48:
        return f"{what >> 40}:{what & ((1 << 40) - 1)}"
    if isinstance(what, Mapping):
        return "{" + ", ".join(f"{key}: {_shown(value)}" for key, value in what.items() if key != "token") + "}"
    if isinstance(what, (list, tuple)):
        return "(" + ", ".join(_shown(each) for each in what) + ")"
    fields = getattr(what, "__dataclass_fields__", None)
    if fields is not None:
        return f"{type(what).__name__}({', '.join(_shown(getattr(what, name)) for name in fields)})"
    return str(what) if not hasattr(what, "body") else f"#{what.id}={what.body.decode()}"
