"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.harness import Harness
from tests.mongo_server.fixture import mongodb_uri

__all__ = ["mongodb_uri"]


@pytest.fixture
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Harness]:
    """A running server. `@pytest.mark.server(plugins=…, more=…, rooms=…, hosts=…)` sets it up (see `Harness`)."""
    marker = request.node.get_closest_marker("server")
    harness = Harness(**(marker.kwargs if marker else {}))
    await harness.start()
    yield harness
    await harness.stop()
