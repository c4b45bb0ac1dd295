"""A server on a store of each kind, and its successor on the same data."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.server_matrix.harness import RealHarness

MONGODB = pytest.param("mongodb", marks=pytest.mark.mongodb)
Start = Callable[[], Awaitable[RealHarness]]


@pytest.fixture(params=["memory", "sqlite", MONGODB])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return _url(request.param, request, tmp_path)


@pytest.fixture(params=["sqlite", MONGODB])
def lasting_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store that outlives the process."""
    return _url(request.param, request, tmp_path)


def _url(kind: str, request: pytest.FixtureRequest, folder: Path) -> str:
    if kind == "sqlite":
        return f"sqlite:///{folder}/store.db"
    return str(request.getfixturevalue("mongodb_database")) if kind == "mongodb" else "memory:"


@pytest.fixture
async def server(url: str) -> AsyncIterator[RealHarness]:  # takes the place of the fixture for all tests
    harness = await RealHarness.on(url)
    yield harness
    await harness.stop()


@pytest.fixture
async def start(lasting_url: str) -> AsyncIterator[Start]:
    """Starts a server on the store; a former one is stopped first."""
    running: list[RealHarness] = []

    async def again() -> RealHarness:
        if running:
            await running.pop().stop()
        running.append(await RealHarness.on(lasting_url))
        return running[0]

    yield again
    for harness in running:
        await harness.stop()
