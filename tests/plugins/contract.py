"""What the tests of the plugin contract share: servers with plugins written for the occasion."""

from __future__ import annotations

import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Harness

HEAD = """
from __future__ import annotations
import asyncio, logging
from dataclasses import dataclass
from xmppd.config import option
from xmppd.contracts.routing import ARRIVED, INBOUND, OUTBOUND, SENT
from xmppd.contracts.sessions import AVAILABLE
from xmppd.plugin import *
from xmppd.plugin import Service

log = logging.getLogger("journal")

@dataclass(frozen=True, slots=True)
class Note:
    text: str
"""
PLAIN = """
class A(Plugin[NoConfig]):
    standard = False
"""
Serve = Callable[..., Awaitable[Harness]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "plugins"
    made.mkdir()
    return made


@pytest.fixture
async def serve(folder: Path) -> AsyncIterator[Serve]:
    """Starts a server with these plugins: name → source, `options` by name (all are loaded)."""
    running: list[Harness] = []

    async def start(options: dict[str, dict[str, Any]] | None = None, **sources: str) -> Harness:
        for name, source in sources.items():
            (folder / f"{name}.py").write_text(HEAD + textwrap.dedent(source), "utf-8")
        named: dict[str, dict[str, Any]] = {name: {} for name in sources} | (options or {})
        harness = Harness(plugins=named, more=f"plugin_path: ['{folder}']")
        await harness.start()
        running.append(harness)
        return harness

    yield start
    for harness in running:
        await harness.stop()


def journal(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "journal"]
