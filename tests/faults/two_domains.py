"""A trial with two servers that talk to each other: people of both write to people of both, and the servers are killed
in turn. The ledger and its checker are those of one server: an end of either is an epoch."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

from tests.harness.authority import Authority
from tests.harness.dns import DnsServer
from tests.process.two_servers import Domain

from .client import Actor, read_archive
from .ledger import Device, Kind, Ledger
from .trial import Plan

PEOPLE: dict[str, dict[str, tuple[Kind, ...]]] = {
    "montague": {"romeo": (Kind.ARCHIVE, Kind.ACKS), "benvolio": (Kind.ARCHIVE,)},
    "capulet": {"juliet": (Kind.ARCHIVE,), "nurse": (Kind.ACKS,)},
}
SETTLES = 180.0
"""Seconds for what waits: a server tries again after a minute at most."""
QUIET = 3.0


class TwoDomains:
    """`run` gives the ledger. Of the plan count the seed, the kills (of both servers together), the stops, the pace."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder, self.plan = folder, plan
        self.chance = random.Random(plan.seed)
        self.ledger = Ledger(homes=2, domains=2)
        self.actors: list[Actor] = []
        self.domains: list[Domain] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> Ledger:
        self.folder.mkdir(parents=True, exist_ok=True)
        async with DnsServer({}) as dns:
            authority = Authority(self.folder)
            try:
                for name in PEOPLE:
                    self.domains.append(Domain(self.folder / name, f"{name}.test", "", dns, authority))
                for domain in self.domains:
                    await domain.start()
                    await domain.server.account(*PEOPLE[domain.name.partition(".")[0]], domain=domain.name)
                self._people()
                await self._trouble()
                await self._settle()
                await self._audit()
            finally:
                for actor, task in zip(self.actors, self._tasks, strict=True):
                    actor.leave()
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)
                for domain in self.domains:
                    domain.server.kill()
        return self.ledger

    def _people(self) -> None:
        everybody = [f"{who}@{name}.test" for name, people in PEOPLE.items() for who in people]
        number = 0
        for domain in self.domains:
            for who, kinds in PEOPLE[domain.name.partition(".")[0]].items():
                for kind in kinds:
                    number += 1
                    account = f"{who}@{domain.name}"
                    device = Device(f"{account}/d{number}", account, kind, 0)
                    self.ledger.devices[device.name] = device
                    actor = Actor(self.ledger, device, domain.server.port("none"), random.Random(self.chance.random()))
                    actor.peers = [each for each in everybody if each != account]
                    actor.pause, actor.talks = self.plan.pace, True
                    self.actors.append(actor)
                    self._tasks.append(asyncio.create_task(actor.run(), name=device.name))

    def _of(self, domain: Domain) -> list[Actor]:
        return [actor for actor in self.actors if actor.device.account.endswith(f"@{domain.name}")]

    async def _trouble(self) -> None:
        ended = 0
        while ended < self.plan.kills:
            await asyncio.sleep(self.chance.uniform(0.5, 2.5))
            self._failed()
            if self.chance.random() < 0.3:
                self.chance.choice(self.actors).cut(self.chance.choice(("abort", "stanza", "deaf")))
            domain = self.chance.choice(self.domains)
            stop = self.chance.random() < self.plan.stops
            if stop:
                await domain.server.stop(within=40)
            else:
                await domain.server.crash()
                ended += 1
            self.ledger.ends.append("stop" if stop else "kill")
            assert "Traceback" not in domain.server.log, domain.server.log
            if self.chance.random() < 0.3:
                await asyncio.sleep(self.chance.uniform(0.2, 3.0))
            await domain.start()
            self.plan.progress(self.ledger)
            for actor in self._of(domain):
                actor.port = domain.server.port("none")

    async def _settle(self) -> None:
        for actor in self.actors:
            actor.talks = False
        end = time.monotonic() + SETTLES
        while not all(actor.idle for actor in self.actors):
            self._failed()
            assert time.monotonic() < end, [(each.device.name, each.online, each.device.errors) for each in self.actors]
            await asyncio.sleep(0.2)
        while time.monotonic() < end:
            if await self._arrived():
                break
            await asyncio.sleep(2.0)
        count = -1
        while count != (now := sum(len(actor.device.receipts) for actor in self.actors)):
            count = now
            await asyncio.sleep(QUIET)

    async def _arrived(self) -> bool:
        """Nothing waits for the other server any more: all that was accepted is there."""
        await self._audit()
        kept = {owner: {key for _, key in entries} for owner, entries in self.ledger.archives.items()}
        return all(each.key in kept[each.to] for each in self.ledger.messages.values() if each.accepted and each.kept)

    async def _audit(self) -> None:
        for domain in self.domains:
            for who in PEOPLE[domain.name.partition(".")[0]]:
                port = domain.server.port("none")
                self.ledger.archives[f"{who}@{domain.name}"] = await read_archive(port, who, domain=domain.name)

    def _failed(self) -> None:
        for task in self._tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                task.result()


def run(folder: Path, plan: Plan) -> Ledger:
    """A trial in a folder of its own, from outside a loop."""
    return asyncio.run(TwoDomains(folder, plan).run())
