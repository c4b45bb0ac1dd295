"""A simulation in which a test says what happens: statements are held back, carried out, lost one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.simulation.documents import Call
from tests.simulation.judge import Judge
from tests.simulation.load import ALL, Operation
from tests.simulation.process import Process
from tests.simulation.world import HOUR, Weather, World, scaled
from xmppd.storage.api import Entry, LogAppend, Send, Write
from xmppd.storage.group_commit import Limits
from xmppd.storage.journal.sendings import AFTER

A, B, C = "a@example.org", "b@example.org", "c@example.org"
Wanted = Callable[[Process, str, Any], bool]


class Stage:
    def __init__(self, seed: int = 1, hour: float = HOUR, splits: bool = False, parked: float = AFTER) -> None:
        self.world = World(seed, tracing=True, hour=hour, splits=splits, parked=parked, weather=Weather())
        self.judge = Judge(self.world)
        self.servers: list[Process] = []
        self.held: list[Call] = []
        """Statements that are held back, in order."""
        self.sent = 0
        """Statements that were sent."""
        self._wanted: Wanted | None = None
        self._send = self.world.wire.send
        self.world.wire.send = self._sent  # type: ignore[method-assign]

    # ---- servers

    def begin(self, insist: bool = True, machine: int = 0) -> Process:
        """One that starts."""
        return Process(self.world, self.servers, self.judge, insist, machine, limits=Limits(rows=1))

    def start(self, insist: bool = True, machine: int = 0, within: float = 60.0) -> Process:
        """One that has started, and has found what it should."""
        process = self.begin(insist, machine)
        assert self.wait(lambda: process.ready, within), f"{process.name} does not serve"
        return process

    def wait(self, until: Callable[[], object], within: float = 60.0) -> bool:
        """Let time pass until something is so. Whether it is."""
        return bool(until()) or self.world.run(self.world.time + within, until)

    def sleep(self, seconds: float) -> None:
        self.world.run(self.world.time + seconds)

    # ---- what clients do

    def join(self, process: Process, *writes: Write) -> Operation:
        operation = Operation(len(self.judge.ledger), process, process.epoch, self.world.time)
        self.judge.ledger.append(operation)
        operation.appended = [(each.owner, each.entry.id) for each in writes if type(each) is LogAppend]
        chronicle = LogAppend(
            "chronicle", ALL, Entry(process.clients._id(ALL), "", "", 0, str(operation.token).encode())
        )
        operation.writes = (*writes, chronicle)
        process.store.join(operation.writes, operation)
        process.run()
        return operation

    def write(self, process: Process, *writes: Write) -> None:
        """What is acknowledged, and applied."""
        operation = self.join(process, *writes)
        assert self.wait(lambda: operation.acknowledged is not None)
        assert self.wait(lambda: process.backend.backlog == (0, 0))

    def say(self, process: Process, owner: str, *to: str) -> Operation:
        """One owner says something to others."""
        operation = process.clients.operation()
        sent = [Send(owner, each, str(operation.token).encode()) for each in to]
        operation.sends = tuple((owner, each) for each in to)
        operation.then = lambda committed: process.mail.sent(sent) if committed else None
        assert process.clients.join(operation, sent)
        process.run()
        return operation

    def finish(self) -> None:
        """All that was ever said is heard, once and in order, and nothing of it is left."""
        last = self.start()
        assert self.wait(lambda: last.mail.idle), "it is not heard"
        last.crash()
        self.start()

    def message(self, owner: str, id: int) -> LogAppend:
        """The entry that the next operation brings."""
        return LogAppend("archive", owner, Entry(id, "peer@example.org", "", 1, str(len(self.judge.ledger)).encode()))

    def ask(self, process: Process, question: Any) -> list[Any]:
        """An answer will be in the list."""
        answers: list[Any] = []

        async def asking() -> None:
            answers.append(await question)

        process.do(asking())
        return answers

    def page(self, process: Process, owner: str) -> list[Any]:
        return self.ask(process, process.archive.page(owner, self.judge.WHOLE, 1000))

    # ---- statements

    def hold(self, wanted: Wanted | None) -> None:
        """Hold back what is sent from now on and wanted; None: nothing."""
        self._wanted = wanted

    def _sent(self, process: Process, name: str, what: Any, make: Any) -> Any:
        self.sent += 1
        if self._wanted is None or not self._wanted(process, name, what):
            return self._send(process, name, what, make)
        call = Call(process, name, what, make, True)
        self.world.say(f"{process.name} sends {name}, which is held back")
        self.held.append(call)
        return call.future

    def carry_out(self, call: Call) -> None:
        self.world.wire._carry_out(call)

    def lose(self, call: Call) -> None:
        """Its sender is told that nobody knows."""
        self.world.wire._fail((call, "held back"))


@contextmanager
def stage(**how: Any) -> Iterator[Stage]:
    made = Stage(**how)
    with scaled(made.world):
        try:
            yield made
        except BaseException:
            print("\n".join(made.world.lines[-200:]))
            raise
        finally:
            for each in made.servers:
                each.end()


def runs(kind: type, owner: str = "") -> Wanted:
    """Statements of a kind."""

    def wanted(process: Process, name: str, what: Any) -> bool:
        return name == "run" and isinstance(what, kind) and (not owner or getattr(what, "owner", owner) == owner)

    return wanted


def asks(name: str, sequence: str) -> Wanted:
    """Statements on a sequence."""
    return lambda process, sent, what: sent == name and what[0] == sequence
