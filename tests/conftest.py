"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator
from typing import Any

import pytest

from tests.harness import LEAVE, Harness
from tests.harness.homes import HOMES
from tests.mongo_server import shared
from tests.mongo_server.fixture import mongodb_database, mongodb_own, mongodb_server, mongodb_uri

__all__ = ["mongodb_database", "mongodb_own", "mongodb_server", "mongodb_uri"]


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # the process that the workers of pytest-xdist work for, or the only one
        shared.begin()


FIRST = ("process", "faults", "interop", "server_matrix", "simulation")
"""Folders whose tests are long, most because they wait for processes: they begin early, so that no worker ends long
behind another."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        alone = item.get_closest_marker("one_home")
        if HOMES > 1 and alone is not None:
            item.add_marker(pytest.mark.skip(reason=f"one home only: {alone.args[0]}"))
        if LEAVE and item.get_closest_marker("in_memory") is not None:
            item.add_marker(pytest.mark.skip(reason="it looks at what is in memory, which owners have left"))
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not any(folder in item.path.parts for folder in FIRST))


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """What a worker reports goes over a pipe as UTF-8; what a test has logged may be none."""
    return encodable((yield))


def encodable(value: Any) -> Any:
    """The same, with lone surrogates as escapes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {encodable(key): encodable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(encodable, value))
    return value


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shared.end()


@pytest.fixture
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Harness]:
    """A running server. `@pytest.mark.server(plugins=…, more=…, rooms=…, hosts=…, components=…)` sets it up
    (see `Harness`)."""
    marker = request.node.get_closest_marker("server")
    harness = Harness(**(marker.kwargs if marker else {}))
    await harness.start()
    yield harness
    await harness.stop()
