"""A store of each kind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.storage.clocks import LoopClock
from xmppd.storage import open_storage
from xmppd.storage.store import Store

KINDS = ["memory", "sqlite", pytest.param("mongodb", marks=pytest.mark.mongodb)]


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty store of each kind is."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    if request.param == "mongodb":
        return str(request.getfixturevalue("mongodb_database"))
    return "memory:"


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    store = await open_storage(url, LoopClock())
    yield store
    await store.close()


class Recorder:
    """Releases that write down what became of them."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, name: str, then: Callable[[], object] | None = None) -> _Noted:
        return _Noted(self.seen, name, then)


class _Noted:
    def __init__(self, seen: list[str], name: str, then: Callable[[], object] | None) -> None:
        self.seen, self.name, self.then = seen, name, then

    def committed(self) -> None:
        self.seen.append(self.name)
        if self.then is not None:
            self.then()

    def failed(self, error: Exception) -> None:
        self.seen.append(f"{self.name}: {type(error).__name__}")


@pytest.fixture
def note() -> Recorder:
    return Recorder()
