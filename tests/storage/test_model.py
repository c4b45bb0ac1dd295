"""Every store against the simplest model there is: a dictionary for each log and each map."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import uuid
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.storage.clocks import LoopClock
from xmppd.storage import open_storage
from xmppd.storage.api import NOT_HIDDEN, Entry, Flags, OwnerDelete, Range, Write
from xmppd.storage.codec import matches

OWNERS = st.sampled_from(["a@x", "b@x", "c@y"])
LOGS = st.sampled_from(["archive", "other"])
IDS = st.integers(1, 30)
PEERS = st.sampled_from(["p@x", "q@x"])
RESOURCES = st.sampled_from(["", "r"])
BODIES = st.sampled_from([b"", b"one", b"two"])
ENTRIES = st.builds(Entry, IDS, PEERS, RESOURCES, st.integers(0, 7), BODIES)
MAYBE_ID = st.none() | st.integers(0, 31)
RANGES = st.builds(
    Range,
    after=MAYBE_ID,
    before=MAYBE_ID,
    low=MAYBE_ID,
    high=MAYBE_ID,
    peer=st.none() | PEERS,
    resource=st.none() | RESOURCES,
    ids=st.none() | st.lists(IDS, max_size=6).map(tuple),
    flags=st.sampled_from([0, 0, 1, 4, 5]),
    without=st.sampled_from([0, 0, 2, 3]),
)

Model = dict[tuple[str, str], dict[int, Entry]]


class Machine(RuleBasedStateMachine):
    """Writes are gathered and committed together, sometimes twice, as after a lost answer."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp(prefix="xmppd-test-")
        url = self.url.format(folder=self.folder, database="model-" + uuid.uuid4().hex[:12])
        self.runner = asyncio.Runner()
        self.store = self.runner.run(open_storage(url, LoopClock()))
        self.map = self.store.map("m", str, cached=True)
        self.logs: Model = {}
        self.records: dict[str, dict[str, str]] = {}
        self.batch: list[Write] = []

    def teardown(self) -> None:
        self.runner.run(self.store.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    def of(self, log: str, owner: str) -> dict[int, Entry]:
        return self.logs.setdefault((log, owner), {})

    @rule(log=LOGS, owners=st.lists(OWNERS, min_size=1, max_size=3), entry=ENTRIES)
    def append(self, log: str, owners: list[str], entry: Entry) -> None:
        for owner in owners:
            there = self.of(log, owner).get(entry.id)  # the same id is never shown once and hidden the other time
            given = entry if there is None else msgspec.structs.replace(entry, flags=there.flags)
            self.batch.append(self.store.log(log).append(owner, given))
            self.of(log, owner).setdefault(entry.id, given)

    @rule(log=LOGS, owner=OWNERS, entry=ENTRIES)
    def replace(self, log: str, owner: str, entry: Entry) -> None:
        self.batch.append(self.store.log(log).replace(owner, entry))
        old = self.of(log, owner).get(entry.id)
        if old is not None:
            self.of(log, owner)[entry.id] = Entry(entry.id, old.peer, old.resource, entry.flags, entry.body)

    @rule(log=LOGS, owner=OWNERS, ids=st.lists(IDS, max_size=5))
    def delete(self, log: str, owner: str, ids: Sequence[int]) -> None:
        self.batch.append(self.store.log(log).delete(owner, ids))
        for id in ids:
            self.of(log, owner).pop(id, None)

    @rule(log=LOGS, owner=OWNERS, before=IDS)
    def trim(self, log: str, owner: str, before: int) -> None:
        self.batch.append(self.store.log(log).trim(owner, before))
        self.logs[log, owner] = {id: e for id, e in self.of(log, owner).items() if id >= before}

    @rule(owner=OWNERS)
    def delete_owner(self, owner: str) -> None:
        self.batch.append(OwnerDelete(owner))
        self.logs = {place: entries for place, entries in self.logs.items() if place[1] != owner}
        self.records.pop(owner, None)

    @rule(owner=OWNERS, key=st.sampled_from(["1", "2"]), value=st.none() | st.sampled_from(["x", "y"]))
    def record(self, owner: str, key: str, value: str | None) -> None:
        records = self.records.setdefault(owner, {})
        if value is None:
            self.batch.append(self.map.delete(owner, key))
            records.pop(key, None)
        else:
            self.batch.append(self.map.put(owner, key, value))
            records[key] = value

    @rule(owner=OWNERS)
    def clear(self, owner: str) -> None:
        self.batch.append(self.map.clear(owner))
        self.records.pop(owner, None)

    @rule(owner=OWNERS)
    def load(self, owner: str) -> None:
        self.commit()
        self.runner.run(self.store.load(owner))

    @rule()
    def commit(self) -> None:
        batch, self.batch = self.batch, []
        self.runner.run(self.store.commit(batch))

    @rule(log=LOGS, owner=OWNERS, range=RANGES, limit=st.integers(1, 5), backwards=st.booleans())
    def page(self, log: str, owner: str, range: Range, limit: int, backwards: bool) -> None:
        self.commit()
        wanted = [e for _, e in sorted(self.of(log, owner).items()) if matches(e, range)]
        part = wanted[-limit:] if backwards else wanted[:limit]
        read = self.store.log(log)
        assert self.runner.run(read.page(owner, range, limit, backwards)) == part
        assert self.runner.run(read.count(owner, range)) == len(wanted)
        assert self.runner.run(read.ends(owner, range)) == ((wanted[0].id, wanted[-1].id) if wanted else (0, 0))
        assert self.runner.run(read.last_id(owner)) >= max(self.of(log, owner), default=0)

    @rule(log=LOGS, owner=OWNERS)
    def what_people_can_read(self, log: str, owner: str) -> None:
        """From memory, once it was asked."""
        self.commit()
        shown = sorted(id for id, entry in self.of(log, owner).items() if not entry.flags & Flags.HIDDEN)
        found = self.runner.run(self.store.log(log).ends(owner, NOT_HIDDEN))
        assert found == ((shown[0], shown[-1]) if shown else (0, 0))

    @invariant()
    def records_are_the_same_in_memory_and_in_the_store(self) -> None:
        if self.batch:
            return
        for owner in ("a@x", "b@x", "c@y"):
            wanted = self.records.get(owner, {})
            if self.store.loaded(owner):
                assert self.map.get(owner) == wanted


@pytest.mark.parametrize(
    ("kind", "examples"), [("memory:", 60), ("sqlite:///{folder}/store.db", 25)], ids=["memory", "sqlite"]
)
def test_a_store_does_what_the_model_does(kind: str, examples: int) -> None:
    run(kind, examples, 30)


@pytest.mark.mongodb
def test_mongodb_does_what_the_model_does(mongodb_uri: str) -> None:
    run(mongodb_uri + "{database}", 5, 25)


def run(url: str, examples: int, steps: int) -> None:
    machine = type("Bound", (Machine,), {"url": url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
