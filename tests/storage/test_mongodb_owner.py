"""One server at a time on one database."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from tests.process.server import ServerProcess, configuration, xmppd
from tests.storage.test_mongodb import entry
from xmppd.errors import StorageUnavailable
from xmppd.storage import mongodb_owner
from xmppd.storage.api import LogAppend, StoreError
from xmppd.storage.mongodb import MongoBackend
from xmppd.storage.mongodb_owner import OWNER, is_gone, this_process

pytestmark = pytest.mark.mongodb


@pytest.fixture
async def meta(mongodb_database: str) -> AsyncIterator[Any]:
    client: Any = AsyncIOMotorClient(mongodb_database)
    yield client.get_default_database()["meta"]
    client.close()


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mongodb_owner, "BEAT", 0.05)
    monkeypatch.setattr(mongodb_owner, "WATCHED", 0.5)
    monkeypatch.setattr(mongodb_owner, "LOOK", 0.05)


async def test_another_process_is_refused_while_the_server_lives(
    tmp_path: Path, mongodb_database: str, meta: Any
) -> None:
    """A second server, and a command that does not find the first one's control socket."""
    first = ServerProcess(tmp_path, configuration(mongodb_database))
    await first.start()
    try:
        other = tmp_path / "other"
        other.mkdir()
        (other / "xmppd.yaml").write_text(configuration(mongodb_database))
        commands = (["run"], ["user", "add", "romeo@localhost", "-p", "pencil"])
        for outcome in await asyncio.gather(*(xmppd(*each, "--config", "xmppd.yaml", cwd=other) for each in commands)):
            assert outcome.status == 3, outcome.text
            assert f"the database is in use by another server, process {first.pid} on " in outcome.err
        assert await first.operation("ping") == {"note": "pong"}
        await first.crash()
        await first.start()  # at once: the process is seen to be gone
        assert await first.stop() == 0
        assert await meta.find_one(OWNER) is None
    finally:
        first.kill()


async def test_one_that_beats_elsewhere_is_refused(brief: None, mongodb_database: str, meta: Any) -> None:
    await meta.insert_one({**OWNER, "by": 1, "beat": 0, **this_process(), "host": "elsewhere"})

    alive = True

    async def beat() -> None:
        while alive:
            await meta.update_one(OWNER, {"$inc": {"beat": 1}})
            await asyncio.sleep(0.05)

    beating = asyncio.create_task(beat())
    backend = MongoBackend(mongodb_database)
    with pytest.raises(StoreError, match=r"in use by another server, process .* on elsewhere"):
        await backend.open()
    alive = False
    await beating  # in order: an update that is cancelled still goes to the server
    await backend.open()  # silent for the whole time: taken for dead
    assert (await meta.find_one(OWNER))["host"] == this_process()["host"]
    await backend.close()


async def test_one_that_lost_the_database_stores_nothing_more(brief: None, mongodb_database: str, meta: Any) -> None:
    backend = MongoBackend(mongodb_database)
    await backend.open()
    await meta.update_one(OWNER, {"$set": {"by": "another"}})
    async with asyncio.timeout(5):
        while not backend._lost:  # noqa: ASYNC110  the beat of the record sets no event
            await asyncio.sleep(0.02)
    with pytest.raises(StorageUnavailable, match="another server has taken the database"):
        backend.commit([LogAppend("archive", "a@example.org", entry(1))], lambda _: None)
    await backend.close()
    assert (await meta.find_one(OWNER))["by"] == "another"


def test_who_is_gone() -> None:
    mine = this_process()
    assert is_gone(mine)  # an earlier store of this very process
    assert is_gone({**mine, "pid": 2**22 + 1})
    assert is_gone({**mine, "pid": os.getppid(), "started": "1"})  # the number is another process's now
    assert not is_gone({**mine, "host": "elsewhere", "pid": 2**22 + 1})
    assert not is_gone({**mine, "space": "another container", "pid": 2**22 + 1})


@pytest.mark.parametrize("change", [{"pid": "x"}, {"pid": None, "beat": "?"}, {"by": 5}])
async def test_a_damaged_record_is_watched(
    mongodb_database: str, meta: Any, brief: None, change: dict[str, Any]
) -> None:
    await meta.insert_one({**OWNER, **this_process(), **change})
    backend = MongoBackend(mongodb_database)
    await backend.open()
    await backend.close()


async def test_who_was_stopped_for_long_looks_before_it_writes(mongodb_database: str, meta: Any) -> None:
    """Another one has the database since: the first write behind the silence is refused, before any beat."""
    backend = MongoBackend(mongodb_database)
    await backend.open()
    owner = backend._owner
    assert owner is not None
    await meta.update_one(OWNER, {"$set": {"by": "another"}})
    owner._sure -= mongodb_owner.SURE + 1.0  # stopped for so long
    done: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    backend.commit([LogAppend("archive", "romeo@localhost", entry(1))], done.set_result)
    error = await done
    assert isinstance(error, StorageUnavailable)
    assert "another server has taken the database" in str(error)
    await backend.close()


async def test_a_silence_alone_loses_nothing(mongodb_database: str) -> None:
    backend = MongoBackend(mongodb_database)
    await backend.open()
    assert backend._owner is not None
    backend._owner._sure -= mongodb_owner.SURE + 1.0
    done: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    backend.commit([LogAppend("archive", "romeo@localhost", entry(1))], done.set_result)
    assert await done is None
    await backend.close()
