"""One seed: some seconds in which clients write and everything goes wrong, then calm, and what is left of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.simulation.judge import Judge
from tests.simulation.load import ALL
from tests.simulation.mail import Post
from tests.simulation.process import Process
from tests.simulation.world import HOUR, Failed, Weather, World, scaled
from xmppd.storage.group_commit import Limits
from xmppd.storage.journal.statements import ROOM

SECONDS = 6.0
"""In which things go wrong."""
CALM = 60.0
"""Seconds within which, when nothing goes wrong any more, a server has to serve."""
PLAIN = 0.8
"""The chance of an operation that puts or deletes a record."""
LONGEST_JOURNAL = 5
"""Batches that may be left of a server that has had nothing to do."""


@dataclass
class Outcome:
    seed: int
    failure: str = ""
    lines: list[str] = field(default_factory=list)
    facts: dict[str, int] = field(default_factory=dict)


class Simulation:
    def __init__(self, seed: int, tracing: bool = False) -> None:
        self.world = World(seed, tracing)
        self.judge = Judge(self.world)
        self.servers: list[Process] = []
        self.random = self.world.random
        self._choose()

    def _choose(self) -> None:
        """What kind of seed this is."""
        random, world = self.random, self.world
        rough = random.random() < 0.75
        world.splits = random.random() < 0.5
        world.lag = random.choice((0.0, 0.0, 0.02, 0.5, 3.0))
        world.weather = Weather(
            latency=random.choice((0.0005, 0.002, 0.02)),
            slow=random.choice((0.0, 0.01, 0.1)),
            lost=random.choice((0.01, 0.05, 0.2)) if rough else 0.0,
            half=random.choice((0.0, 0.05)) if rough else 0.0,
            twice=random.choice((0.0, 0.05, 0.2)),
            timeout=random.choice((0.01, 0.3, 3.0)),
        )
        world.post = Post(
            lost=random.choice((0.0, 0.1, 0.4)),
            twice=random.choice((0.0, 0.3)),
            slow=random.choice((0.002, 0.05, 1.0)),
            again=random.choice((0.1, 0.5, 2.0)),
        )
        world.parked = random.choice((0.1, 0.5, 2.0, 10.0))
        world.crowd = random.choice((5, 1_000))
        self.says = random.choice((0.0, 0.2, 0.5))
        """How many operations are something that one owner says to another."""
        self.gap = random.choice((0.01, 0.03, 0.1))
        """Seconds between two operations."""
        self.trouble = random.choice((0.3, 1.0, 3.0))
        """Seconds between two troubles."""
        self.machines = random.choice((1, 3))
        weights = {"start": 5, "fail over": 3, "crash": 4, "pause": 4, "cut": 2, "stop": 2}
        theme = random.choice((*weights, ""))
        if theme:
            weights[theme] += 20
        if theme == "fail over":
            world.lag = random.choice((0.02, 0.5, 3.0))
            self.trouble = 0.3
        self.troubles = [kind for kind, weight in weights.items() for _ in range(weight)]
        self.hours = random.random() < 0.3
        self.end = SECONDS

    # ---- servers

    def start(self, insist: bool) -> Process:
        random = self.random
        limits = Limits(rows=random.choice((3, 20, 2000)), linger=0.0)
        return Process(
            self.world,
            self.servers,
            self.judge,
            insist,
            machine=random.randrange(self.machines),
            skew=random.choice((0.0, 0.0, 3.0, -3.0)),
            limits=limits,
        )

    @property
    def alive(self) -> list[Process]:
        return [each for each in self.servers if not each.dead]

    # ---- while it is rough

    def _client(self, _: Any) -> None:
        if self.world.time > self.end:
            return
        self.world.at(self.gap * 2 * self.random.random(), self._client)
        serving = [each for each in self.servers if each.serving]
        if serving:
            process = self.random.choice(serving)
            if self.random.random() < 0.25:
                process.read()
            else:
                (process.clients.say if self.random.random() < self.says else process.clients.act)()
                process.run()

    def _supervise(self, _: Any) -> None:
        """Whoever has ended is started again. Who is over lives for a while, so that it is seen to be silent."""
        if self.world.time > self.end:
            return
        self.world.at(0.3 + self.random.random(), self._supervise)
        for each in self.alive:
            if each.over and self.random.random() < 0.5:
                each.crash()
        if not any(not each.over and not each.paused for each in self.alive) and len(self.alive) < 4:
            self.start(self.random.random() < 0.7)

    def _trouble(self, _: Any) -> None:
        if self.world.time > self.end:
            return
        world, random = self.world, self.random
        world.at(self.trouble * 2 * random.random(), self._trouble)
        kind, alive = random.choice(self.troubles), self.alive
        one = random.choice(alive) if alive else None
        if kind == "fail over":
            world.fail_over(random.choice((0, 5, 50, 200)), random.choice((0.01, 0.2, 2.0)))
        elif one is None or (kind == "start" and len(alive) < 4):
            self.start(random.random() < 0.7)
        elif kind == "crash":
            self._soon(one, one.crash)
        elif kind == "pause":
            self._soon(one, one.pause)
            suspended = random.random() < 0.5
            seconds = random.choice((0.05, 1.0, 8.0, HOUR * 1.5))
            world.at(seconds, lambda _: one.go_on(suspended))
        elif kind == "cut":
            one.cut = random.choice(("answers", "both"))
            world.say(f"-- {one.name} is cut off ({one.cut})")
            world.at(random.choice((0.2, 2.0, 12.0)), lambda _: self._mend(one))
        elif kind == "stop" and one.serving and not one.closing:
            one.close()

    def _soon(self, process: Process, what: Any) -> None:
        """Between two statements, or in the middle of what its loop does."""
        if self.random.random() < 0.5 and process.run_at_most is None:
            process.run_at_most = (self.random.randrange(6), what)
        else:
            what()

    def _mend(self, process: Process) -> None:
        process.cut = ""
        self.world.say(f"-- {process.name} is connected again")

    # ---- all of it

    def run(self) -> None:
        world = self.world
        self.start(self.random.random() < 0.5)
        world.at(0.01, self._client)
        world.at(self.trouble, self._trouble)
        world.at(0.5, self._supervise)
        world.run(self.end)
        self._calm()
        last = self._last()
        if self.hours:
            self._hours(last)
        self._finish(last)

    def _calm(self) -> None:
        """What is in flight may still be late, but nothing new is lost."""
        world = self.world
        world.say("-- calm")
        world.weather = Weather(latency=world.weather.latency)
        world.post = Post(again=world.post.again)
        for each in self.alive:
            each.cut = ""
            if self.hours and self.random.random() < 0.6:
                each.pause()
            if not each.paused:
                each.crash()

    def _one(self) -> Process:
        """A server that has the store. One that stood still while it took it over may go on meanwhile, and take it."""
        world = self.world
        for _ in range(4):
            one = self.start(True)
            if not world.run(world.time + CALM, lambda: one.ready or one.dead or one.over):  # noqa: B023
                world.problem(f"{one.name} does not serve after {CALM:.0f} s of calm")
            if one.ready:
                return one
            one.crash()
        world.problem("no server serves")

    def _last(self) -> Process:
        """One that is given something."""
        world = self.world
        last = self._one()
        before = len(self.judge.ledger)
        for chance in (None, None, None, *((0.6, 0.75, 0.96) if self.hours else ())):
            last.clients.act(chance)
            last.run()
        if self.says:
            last.clients.say()
            last.run()
        mine = self.judge.ledger[before:]
        if not world.run(
            world.time + CALM, lambda: last.over or all(each.acknowledged is not None or each.refused for each in mine)
        ):
            world.problem(f"{last.name} does not decide what it was given")
        return last

    def _hours(self, last: Process) -> None:
        """Nothing can come late any more: what kept the place of deleted things goes, and the journal is short."""
        world = self.world
        for each in self.alive:
            if each.paused:
                suspended = self.random.random() < 0.5
                at = HOUR * 2 * self.random.random() ** 0.5
                world.at(at, lambda _, each=each, suspended=suspended: each.go_on(suspended))
        for share in (0.3, 0.6, 0.9):
            world.at(HOUR * share * 2, lambda _: last.serving and (last.clients.act(), last.run()))
        world.run(world.time + HOUR * 2)

    def _finish(self, former: Process) -> None:
        world = self.world
        former.crash()
        if self.hours:
            for each in self.alive:
                each.crash()
        last = self._heard(self._one())
        if self.hours:
            last.clients.act(PLAIN)  # else `low` is that of what was heard at last
            last.run()
            notes = world.database.majority["deleted"]
            world.run(world.time + HOUR * 1.3)
            world.run(world.time + CALM, lambda: not world.database.left() and not notes)  # one note after the other
            left = world.database.left()
            if left:
                world.problem(f"after an hour there is still {left[:5]}")
            if notes:
                world.problem(f"after an hour there are still notes {[(k // ROOM, k % ROOM) for k in notes]}")
            self._is_short()
        for each in self.alive:
            if each is not last:
                each.crash()
        for _ in range(3):
            chronicle = self._read(last)
            if chronicle is not None:
                self.judge.finish(chronicle)
                return
            last.crash()  # one that was taking over has inserted its table, and has ended since
            last = self._heard(self._one())
        world.problem("no server answers at the end")

    def _heard(self, last: Process) -> Process:
        """When all that was said is heard there."""
        if not self.world.run(self.world.time + CALM, lambda: last.over or last.mail.idle):
            self.world.problem(f"in {last.name} something that was said is not heard")
        return last

    def _read(self, last: Process) -> list[int] | None:
        """The chronicle, when all else is as it says; None: this one is not the home any more."""
        chronicle: list[int] = []
        is_home: list[bool] = []

        async def read() -> None:
            found = await last.store.log("chronicle").page(ALL, self.judge.WHOLE, 1 << 20)
            chronicle.extend(int(each.body) for each in found)
            is_home.append(await self.judge.look(last))

        last.do(read())
        if not self.world.run(self.world.time + CALM, lambda: is_home):
            self.world.problem(f"{last.name} does not answer at the end")
        return chronicle if is_home[0] else None

    def _is_short(self) -> None:
        """Of each run a last batch. Seals, and what was inserted once more, late, may be there: nobody reads them."""
        journal, again = self.world.database.majority["journal"], self.world.database.brought_back
        for run in {number // ROOM for number in journal}:
            left = [n % ROOM for n in journal if n // ROOM == run and journal[n].get("batch") and n not in again]
            if len(left) > LONGEST_JOURNAL:
                self.world.problem(f"of the journal of run {run} there is still {left}")


def simulate(seed: int, tracing: bool = False) -> Outcome:
    """Run one seed."""
    simulation = Simulation(seed, tracing)
    outcome = Outcome(seed, lines=simulation.world.lines)
    with scaled(simulation.world):
        try:
            simulation.run()
        except Failed as failure:
            outcome.failure = str(failure)
        finally:
            for each in simulation.servers:
                each.end()
    ledger = simulation.judge.ledger
    outcome.facts = {
        "operations": len(ledger),
        "acknowledged": sum(each.acknowledged is not None for each in ledger),
        "refused": sum(each.refused for each in ledger),
        "servers": len(simulation.servers),
        "looks": simulation.judge.looks,
        "statements carried out late": simulation.world.late,
        "over": sum(each.over for each in simulation.servers),
        "heard": sum(each.mail.heard for each in simulation.servers),
        "said again": sum(each.mail.again for each in simulation.servers),
        "known to be heard": sum(each.mail.known for each in simulation.servers),
    }
    return outcome
