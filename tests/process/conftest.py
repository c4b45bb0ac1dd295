"""A server process for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness.dns import DnsServer
from tests.process.server import ServerProcess


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """Started, on SQLite. The test may stop it and start it again."""
    server = ServerProcess(tmp_path)
    await server.start()
    yield server
    server.kill()
    assert "Traceback" not in server.log, server.log


@pytest.fixture
async def dns() -> AsyncIterator[DnsServer]:
    """A name server that knows nothing yet."""
    async with DnsServer({}) as server:
        yield server
