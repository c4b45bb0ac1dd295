"""Whether it was right: what each process finds when it starts and reads meanwhile, and what is there at the end."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.simulation.load import ALL, MAPS, OWNERS, Operation, State
from tests.simulation.mail import DOMAIN, PAGE
from xmppd.storage.api import NOT_SENT, Entry, MapClear, MapDelete, MapPut, MapUpdate, OwnerDelete, Range, Send

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World


@dataclass
class _Seen:
    """A record that was read. `asked`: what was acknowledged when it was asked for."""

    process: str
    owner: str
    map: str
    key: str
    value: Any
    asked: frozenset[int]
    at: float


class Judge:
    WHOLE = Range()

    def __init__(self, world: World) -> None:
        self.world = world
        self.ledger: list[Operation] = []
        self._seen: list[_Seen] = []
        self._entries: dict[int, str] = {}
        """Tokens of entries that were read, and by whom."""
        self.looks = 0

    # ---- what a process finds when it has the store

    async def look(self, process: Process) -> bool:
        """Compare all that is there with what the chronicle says, before this one decides anything, or when all that
        was said in it is heard. Raises StorageUnavailable. False: it is not the home any more."""
        store = process.store
        chronicle = [int(each.body) for each in await store.log("chronicle").page(ALL, self.WHOLE, 1 << 20)]
        pages: dict[str, list[Entry]] = {}
        records: dict[tuple[str, str], dict[str, Any]] = {}
        for owner in OWNERS:
            pages[owner] = await store.log("archive").page(owner, self.WHOLE, 1 << 20)
            for row in await process.backend.load(owner, MAPS):
                records.setdefault((owner, row.map), {})[row.key] = row.value
        sent: list[Send] = []
        while page := await store.unheard(DOMAIN, sent[-1].source if sent else NOT_SENT, PAGE):
            sent += page
        home = self.world.database.home
        if home is None or home["incarnation"] != process.run_number:
            return False
        self.looks += 1
        self.world.say(f"{process.name} finds {len(chronicle)} operations")
        state = self._replay(chronicle)
        found = [(each.owner, each.to, each.data) for each in sent]
        if found != state.sent:
            self.world.problem(f"{process.name} finds that {found} is not heard, and it is {state.sent}")
        for owner in OWNERS:
            self._compare_log(process, owner, pages[owner], state)
            for map in MAPS:
                self._compare_map(process, (owner, map), records.get((owner, map), {}), state)
            process.clients.ids[owner] = [each.id for each in pages[owner]]
        return True

    def _replay(self, chronicle: Sequence[int]) -> State:
        """The state that they make."""
        for token, times in Counter(chronicle).items():
            if times > 1:
                self.world.problem(f"operation {token} is there {times} times")
        there = set(chronicle)
        for operation in self.ledger:
            if operation.acknowledged is not None and operation.token not in there:
                self.world.problem(f"operation {operation.token} was acknowledged, and is lost")
            if operation.refused and operation.token in there:
                self.world.problem(f"operation {operation.token} was refused, and is there")
        state, last = State(), dict.fromkeys(OWNERS, 0)
        for token in chronicle:
            operation = self.ledger[token]
            if operation.owner_deleted:
                last[operation.owner_deleted] = 0
            for owner, id in operation.appended:
                if id <= last[owner]:
                    self.world.problem(f"id {id} of {owner} was given after {last[owner]}")
                last[owner] = id
            for write in operation.writes:
                state.apply(write)
            if operation.hears is not None:
                self._hear(operation.token, operation.hears, state)
        return state

    def _hear(self, token: int, what: tuple[int, str, str], state: State) -> None:
        """What was said is heard once, in order for two owners."""
        said, owner, to = what
        waiting = [int(data) for sender, recipient, data in state.sent if (sender, recipient) == (owner, to)]
        if said not in waiting:
            self.world.problem(f"operation {token}: {to} hears what {owner} said in {said} once more, or never said")
        if waiting[0] != said:
            self.world.problem(f"operation {token}: {to} hears what {owner} said in {said} before {waiting[0]}")
        state.sent.remove((owner, to, str(said).encode()))

    def _compare_log(self, process: Process, owner: str, page: list[Entry], state: State) -> None:
        wanted = state.logs.get(owner, {})
        if [each.id for each in page] != sorted({each.id for each in page}):
            self.world.problem(f"{process.name} finds ids that do not rise in the log of {owner}")
        found = {each.id: each.body for each in page}
        for id in wanted.keys() - found.keys():
            self.world.problem(f"{process.name} misses entry {id} of {owner}, operation {wanted[id].decode()}")
        for id, body in found.items():
            if id in wanted:
                if body != wanted[id]:
                    self.world.problem(
                        f"{process.name} finds entry {id} of {owner} as operation {body.decode()} made it, not"
                        f" {wanted[id].decode()}"
                    )
            else:
                self.world.problem(
                    f"{process.name} finds entry {id} of {owner}, operation {body.decode()}: it was deleted"
                )

    def _compare_map(self, process: Process, place: tuple[str, str], found: Any, state: State) -> None:
        wanted = state.maps.get(place, {})
        if found != wanted:
            self.world.problem(f"{process.name} finds {found} in {place}, not {wanted}")

    # ---- reads while others write

    def asked(self, process: Process) -> frozenset[int]:
        """What a read of this process must see: what was acknowledged by it, or by one before it."""
        return frozenset(
            each.token for each in self.ledger if each.acknowledged is not None and each.epoch <= process.epoch
        )

    def asked_page(self, process: Process, owner: str) -> tuple[set[int], set[int], list[tuple[int, int]]]:
        """Ids that must be there, that must not, and below which none may be that is older than which operation."""
        there: set[int] = set()
        deleted: set[int] = set()
        trimmed: list[tuple[int, int]] = []
        for token in self.asked(process):
            operation = self.ledger[token]
            there.update(id for place, id in operation.appended if place == owner)
            for place, ids in operation.deleted:
                if place == owner:
                    deleted.update(ids)
            for place, before in operation.trimmed:
                if place == owner:
                    trimmed.append((before, token))
        return there, deleted, trimmed

    def saw_page(self, process: Process, owner: str, page: list[Entry], asked: Any) -> None:
        there, deleted, trimmed = asked
        found = {each.id for each in page}
        for each in page:
            self._entries[int(each.body)] = process.name
        missing = there - found
        if missing:  # another operation that has joined meanwhile may have deleted them
            for operation in self.ledger:
                for place, ids in operation.deleted:
                    if place == owner:
                        missing.difference_update(ids)
                for place, before in operation.trimmed:
                    if place == owner:
                        missing = {id for id in missing if id >= before}
                if operation.owner_deleted == owner:
                    missing = {id for id in missing if id > operation.highest}
            for id in missing:
                self.world.problem(f"{process.name} reads {owner} without entry {id}, which was acknowledged before")
        for id in found & deleted:
            self.world.problem(f"{process.name} reads entry {id} of {owner}, whose deletion was acknowledged before")
        for each in page:
            if any(each.id < before and int(each.body) < token for before, token in trimmed):
                self.world.problem(f"{process.name} reads entry {each.id} of {owner}, which was trimmed before")

    def saw_record(self, process: Process, owner: str, map: str, key: str, value: Any, asked: frozenset[int]) -> None:
        self._seen.append(_Seen(process.name, owner, map, key, value, asked, self.world.time))

    # ---- the end

    def finish(self, chronicle: Sequence[int]) -> None:
        """All that was read was committed, and as new as it had to be."""
        positions = {token: position for position, token in enumerate(chronicle)}
        for token, reader in self._entries.items():
            if token not in positions:
                self.world.problem(f"{reader} has read an entry of operation {token}, which was never committed")
        histories = self._histories(chronicle)
        for seen in self._seen:
            places, values = histories.get((seen.owner, seen.map, seen.key), ([], []))
            since = max((positions[token] for token in seen.asked), default=-1)
            first = bisect_right(places, since)
            allowed = ([values[first - 1]] if first else [None]) + values[first:]
            if seen.value not in allowed:
                self.world.problem(
                    f"{seen.process} has read {seen.value} in {seen.map}/{seen.key} of {seen.owner} at {seen.at:.4f},"
                    f" which must be one of {allowed}"
                )

    def _histories(self, chronicle: Sequence[int]) -> dict[tuple[str, str, str], tuple[list[int], list[Any]]]:
        """By record the positions at which it changed, and what it was from then on."""
        histories: dict[tuple[str, str, str], tuple[list[int], list[Any]]] = {}
        state = State()
        keys = {("cursor", "c"), ("count", "n"), ("notes", "x")}
        for position, token in enumerate(chronicle):
            touched: set[tuple[str, str, str]] = set()
            for write in self.ledger[token].writes:
                state.apply(write)
                if isinstance(write, (MapPut, MapDelete, MapUpdate)):
                    touched.add((write.owner, write.map, write.key))
                elif isinstance(write, (MapClear, OwnerDelete)):
                    touched.update((write.owner, map, key) for map, key in keys)
            for owner, map, key in touched:
                places, values = histories.setdefault((owner, map, key), ([], []))
                places.append(position)
                values.append(state.maps.get((owner, map), {}).get(key))
        return histories
