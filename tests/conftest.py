"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.harness import Harness
from tests.mongo_server import shared
from tests.mongo_server.fixture import mongodb_database, mongodb_own, mongodb_server, mongodb_uri

__all__ = ["mongodb_database", "mongodb_own", "mongodb_server", "mongodb_uri"]


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # the process that the workers of pytest-xdist work for, or the only one
        shared.begin()


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shared.end()


@pytest.fixture
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Harness]:
    """A running server. `@pytest.mark.server(plugins=…, more=…, rooms=…, hosts=…)` sets it up (see `Harness`)."""
    marker = request.node.get_closest_marker("server")
    harness = Harness(**(marker.kwargs if marker else {}))
    await harness.start()
    yield harness
    await harness.stop()
