"""What the clients of a server do, the ledger of it, and the state that it should make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from xmppd.errors import StorageUnavailable
from xmppd.storage.api import (
    Entry,
    Heard,
    LogAppend,
    LogDelete,
    LogReplace,
    LogTrim,
    MapClear,
    MapDelete,
    MapPut,
    MapUpdate,
    OwnerDelete,
    Send,
    Write,
)

if TYPE_CHECKING:
    from tests.simulation.process import Process

ALL = "all@example.org"
"""Whose log has an entry for each operation that is committed: the order in which they are."""
OWNERS = ("a@example.org", "b@example.org", "c@example.org")
CACHED = ("count", "cursor")
MAPS = (*CACHED, "notes")
LOGS = ("archive", "chronicle")


@dataclass(eq=False)
class Operation:
    """One item that joined a store: its writes are committed together or not at all. `token`: it names it in the
    chronicle, in the bodies of entries and in values. `epoch`: that of the process, which says who came after whom."""

    token: int
    process: Process
    epoch: int
    joined: float
    writes: Sequence[Write] = ()
    acknowledged: float | None = None
    refused: bool = False
    appended: list[tuple[str, int]] = field(default_factory=list)
    """Owner and id."""
    deleted: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    trimmed: list[tuple[str, int]] = field(default_factory=list)
    owner_deleted: str = ""
    highest: int = 0
    """The last id that its owner had been given by then."""
    sends: tuple[tuple[str, str], ...] = ()
    """From whom to whom."""
    hears: tuple[int, str, str] | None = None
    """Whose sending is decided by it: the operation, from whom to whom."""
    then: Callable[[bool], object] = lambda committed: None
    """Called when it is decided."""

    # ---- Release

    def committed(self) -> None:
        self._decide("acknowledged")
        self.acknowledged = self.process.world.time
        self.then(True)

    def failed(self, error: Exception) -> None:
        self._decide(f"refused ({type(error).__name__}: {error})")
        self.refused = True
        self.then(False)

    def _decide(self, how: str) -> None:
        world = self.process.world
        if world.tracing:
            world.say(f"{self.process.name}: operation {self.token} is {how}")
        if self.process.over:
            world.problem(f"operation {self.token} is {how} by {self.process.name}, which is over")
        if self.acknowledged is not None or self.refused:
            world.problem(f"operation {self.token} is {how}, after it was decided")


class State:
    """What a sequence of operations makes: the reference for all stores."""

    def __init__(self) -> None:
        self.logs: dict[str, dict[int, bytes]] = {}
        self.maps: dict[tuple[str, str], dict[str, Any]] = {}
        self.sent: list[tuple[str, str, bytes]] = []
        """What is not heard, in order: from whom, to whom, what."""

    def apply(self, write: Write) -> None:
        kind = type(write)
        if kind is LogAppend:
            if write.log == "archive":  # type: ignore[union-attr]
                self.logs.setdefault(write.owner, {}).setdefault(write.entry.id, write.entry.body)  # type: ignore[union-attr]
        elif isinstance(write, Send):
            self.sent.append((write.owner, write.to, write.data))
        elif isinstance(write, MapPut):
            self.maps.setdefault((write.owner, write.map), {})[write.key] = write.value
        elif isinstance(write, MapUpdate):
            place = self.maps.setdefault((write.owner, write.map), {})
            place[write.key] = write.function(place.get(write.key))
        elif isinstance(write, MapDelete):
            self.maps.get((write.owner, write.map), {}).pop(write.key, None)
        elif isinstance(write, MapClear):
            self.maps.pop((write.owner, write.map), None)
        elif isinstance(write, LogReplace):
            if write.entry.id in self.logs.get(write.owner, {}):
                self.logs[write.owner][write.entry.id] = write.entry.body
        elif isinstance(write, LogDelete):
            for id in write.ids:
                self.logs.get(write.owner, {}).pop(id, None)
        elif isinstance(write, LogTrim):
            place = self.logs.get(write.owner, {})
            for id in [each for each in place if each < write.before]:
                del place[id]
        elif isinstance(write, OwnerDelete):
            self.logs.pop(write.owner, None)
            for owner, map in [each for each in self.maps if each[0] == write.owner]:
                del self.maps[owner, map]


def plus(number: int) -> Any:
    return lambda old: (old or 0) + number


class Clients:
    """Of one process. `ids`: by owner what is known to be in its archive; `last`: the last id given."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.world = process.world
        self.random = process.world.random
        self.ids: dict[str, list[int]] = {}
        self.last: dict[str, int] = {}

    def act(self, chance: float | None = None) -> None:
        """One operation. `chance`, from 0 to 1, says of which kind."""
        random = self.random
        operation = self.operation()
        owner = random.choice(OWNERS)
        if chance is None:
            chance = random.random()
        if chance < 0.5:
            writes = self._message(operation, owner)
        elif chance < 0.58:
            writes = self._replace(operation, owner)
        elif chance < 0.70:
            writes = self._delete(operation, owner)
        elif chance < 0.76:
            writes = self._trim(operation, owner)
        elif chance < 0.90:
            writes = self._note(operation, owner)
        elif chance < 0.94:
            writes = [MapClear("notes", owner)]
        elif chance < 0.97:
            operation.owner_deleted, operation.highest = owner, self.last.get(owner, 0)
            self.ids[owner] = []
            writes = [OwnerDelete(owner)]
        else:  # no store takes it
            writes = [LogAppend("archive", owner, Entry(self._id(owner), "", "", 1 << 9, b"-1"))]
        self.join(operation, writes)

    def operation(self) -> Operation:
        """One to be filled."""
        return Operation(len(self.process.ledger), self.process, self.process.epoch, self.world.time)

    def join(self, operation: Operation, writes: Sequence[Write]) -> bool:
        """Whether it was taken; one that was not is not in the ledger."""
        process = self.process
        operation.writes = [*writes, LogAppend("chronicle", ALL, self._entry(ALL, operation.token))]
        try:
            process.store.join(operation.writes, operation)
        except StorageUnavailable:
            operation.refused = True
            return False
        process.ledger.append(operation)
        for place, id in operation.appended:
            self.ids.setdefault(place, []).append(id)
        if self.world.tracing:
            self.world.say(f"{process.name}: operation {operation.token} joins: {', '.join(map(_named, writes))}")
        return True

    def _id(self, owner: str) -> int:
        id = self.last[owner] = max(int(self.process.clock.now() * 1_000_000), self.last.get(owner, 0) + 1)
        return id

    def say(self) -> None:
        """One owner says something to another, or to both others; each of them decides what it makes of it."""
        random, operation = self.random, self.operation()
        owner = random.choice(OWNERS)
        others = [each for each in OWNERS if each != owner]
        random.shuffle(others)
        sent = [Send(owner, each, str(operation.token).encode()) for each in others[: random.choice((1, 1, 2))]]
        operation.sends = tuple((each.owner, each.to) for each in sent)
        writes: list[Write] = [*sent]
        if random.random() < 0.7:
            entry = self._entry(owner, operation.token)
            operation.appended.append((owner, entry.id))
            writes.insert(random.randrange(len(writes) + 1), LogAppend("archive", owner, entry))
        if random.random() < 0.5:
            writes.append(MapUpdate("count", owner, "n", plus(1)))
        if random.random() < 0.05:  # what it has said stays said
            operation.owner_deleted, operation.highest = owner, self.last.get(owner, 0)
            operation.appended.clear()
            self.ids[owner] = []
            writes.append(OwnerDelete(owner))
        operation.then = lambda committed: self.process.mail.sent(sent) if committed else None
        self.join(operation, writes)

    def hear(self, sending: Send, then: Callable[[bool], object]) -> None:
        """The recipient decides. `then` is told whether that is committed."""
        operation = self.operation()
        operation.hears = (int(sending.data), sending.owner, sending.to)
        operation.then = then
        entry = self._entry(sending.to, operation.token)
        operation.appended.append((sending.to, entry.id))
        writes: list[Write] = [
            LogAppend("archive", sending.to, entry, sending.source),
            Heard(sending.to, sending.owner, sending.source),
        ]
        if self.random.random() < 0.5:
            self.random.shuffle(writes)
        if self.random.random() < 0.5:
            writes.append(MapUpdate("count", sending.to, "n", plus(1)))
        if not self.join(operation, writes):
            then(False)

    def _entry(self, owner: str, token: int, id: int | None = None) -> Entry:
        return Entry(id or self._id(owner), "peer@example.org", "", 1, str(token).encode())

    def _message(self, operation: Operation, owner: str) -> list[Write]:
        other = self.random.choice([each for each in OWNERS if each != owner])
        writes: list[Write] = []
        for each in (owner, other):
            entry = self._entry(each, operation.token)
            operation.appended.append((each, entry.id))
            writes.append(LogAppend("archive", each, entry))
            if self.random.random() < 0.7:
                writes.append(MapUpdate("count", each, "n", plus(1)))
        if self.random.random() < 0.5:
            writes.append(MapPut("cursor", owner, "c", operation.token))
        if self.random.random() < 0.04:  # what is deleted in the batch that brings it
            each, id = operation.appended.pop()
            operation.deleted.append((each, (id,)))
            writes.append(LogDelete("archive", each, (id,)))
        return writes

    def _known(self, owner: str) -> list[int]:
        return self.ids.get(owner, [])

    def _replace(self, operation: Operation, owner: str) -> list[Write]:
        known = self._known(owner)
        if not known:
            return self._message(operation, owner)
        return [LogReplace("archive", owner, self._entry(owner, operation.token, self.random.choice(known)))]

    def _delete(self, operation: Operation, owner: str) -> list[Write]:
        known = self._known(owner)
        if not known:
            return self._message(operation, owner)
        ids = {self.random.choice(known) for _ in range(self.random.randrange(1, 4))}
        self.ids[owner] = [id for id in known if id not in ids]
        operation.deleted.append((owner, tuple(sorted(ids))))
        return [LogDelete("archive", owner, tuple(sorted(ids))), MapUpdate("count", owner, "n", plus(-len(ids)))]

    def _trim(self, operation: Operation, owner: str) -> list[Write]:
        known = self._known(owner)
        if not known:
            return self._message(operation, owner)
        before = self.random.choice(known)
        self.ids[owner] = [id for id in known if id >= before]
        operation.trimmed.append((owner, before))
        return [LogTrim("archive", owner, before)]

    def _note(self, operation: Operation, owner: str) -> list[Write]:
        key = self.random.choice("xyz")
        if self.random.random() < 0.4:
            return [MapDelete("notes", owner, key)]
        return [MapPut("notes", owner, key, operation.token)]


def _named(write: Any) -> str:
    rest = [str(getattr(write, each)) for each in ("map", "key", "log", "ids", "before") if hasattr(write, each)]
    if hasattr(write, "entry"):
        rest.append(str(write.entry.id))
    return f"{type(write).__name__}({write.owner} {' '.join(rest)})"
