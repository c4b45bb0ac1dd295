"""Fixtures around `tests.mongo_server`: import them into a conftest.py.

Without any server the tests are skipped, and say so; with CI=true in the environment they fail.
"""

from __future__ import annotations

import atexit
import os
import uuid
from functools import cache
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.mongo_server import MongoServer, Unavailable, start


@pytest.fixture(scope="session")
def mongodb_server() -> MongoServer:
    """One server for the session. A test that stops it starts it again."""
    return _running()


@pytest.fixture(scope="session")
def mongodb_uri() -> str:
    """The URI of the server, without a database."""
    return _running().uri


def _running() -> MongoServer:
    try:
        server = _shared()
    except Unavailable as why:
        if os.environ.get("CI") == "true":
            pytest.fail(f"MONGODB IS NOT TESTED: {why}")
        pytest.skip(f"MONGODB IS NOT TESTED: {why}")
    server.start()
    return server


@cache
def _shared() -> MongoServer:
    """One process, whichever conftest.py files import the fixture; it ends with the session."""
    running = start()
    server = running.__enter__()
    atexit.register(running.__exit__, None, None, None)
    return server


@pytest.fixture
def mongodb_database(mongodb_uri: str) -> str:
    """A URI with a database that nobody else uses."""
    parts = urlsplit(mongodb_uri)
    return urlunsplit(parts._replace(path="/test-" + uuid.uuid4().hex[:12]))
