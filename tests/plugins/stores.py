"""A store of each kind, for tests of plugins that must not depend on one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.clock import FakeClock
from xmppd.storage import make_backend
from xmppd.storage.store import Store

__all__ = ["KINDS", "store_of"]

KINDS = ("memory", "sqlite", "mongodb")


def store_of(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Store:
    """Not open. `request.param`: of `KINDS`."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/store.db"
    elif request.param == "mongodb":
        url = str(request.getfixturevalue("mongodb_database"))
    else:
        url = "memory:"
    return Store(make_backend(url, clock), clock)
