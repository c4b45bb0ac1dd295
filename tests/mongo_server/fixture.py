"""Fixtures around `tests.mongo_server`.

All tests of a run share one server, whichever worker they run on; a test that stops its server asks for
`mongodb_server`, which is another one. Without any server the tests are skipped, and say so; with CI=true in the
environment they fail.
"""

from __future__ import annotations

import os
import uuid
import warnings
from collections.abc import Iterator
from typing import NoReturn
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.mongo_server import URI, MongoServer, Unavailable, own, shared


@pytest.fixture(scope="session")
def mongodb_uri() -> str:
    """The URI of the server that all tests share, without a database."""
    try:
        return shared.uri()
    except Unavailable as why:
        _missing(why)


@pytest.fixture(scope="session")
def mongodb_own() -> Iterator[MongoServer]:
    """The server of this worker: for `mongodb_server`."""
    try:
        with own() as server:
            yield server
    except Unavailable as why:
        _missing(why)


@pytest.fixture
def mongodb_server(request: pytest.FixtureRequest) -> Iterator[MongoServer]:
    """A server that the test may stop. It runs again behind the test."""
    if os.environ.get(URI):
        pytest.skip(f"the MongoDB server at {URI} is not ours to stop")
    server: MongoServer = request.getfixturevalue("mongodb_own")
    server.start()
    yield server
    server.start()


@pytest.fixture
def mongodb_database(request: pytest.FixtureRequest) -> str:
    """A URI with a database that nobody else uses, on the server that the test may stop if it asks for that one."""
    if "mongodb_server" in request.fixturenames:
        uri = request.getfixturevalue("mongodb_server").uri
    else:
        uri = request.getfixturevalue("mongodb_uri")
    return urlunsplit(urlsplit(uri)._replace(path="/test-" + uuid.uuid4().hex[:12]))


def _missing(why: Unavailable) -> NoReturn:
    """Say it loudly; in CI, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"MONGODB IS NOT TESTED: {why}")
    warnings.warn(f"MONGODB IS NOT TESTED: {why}", stacklevel=2)  # shown at the end, where a skip is only a letter
    pytest.skip(f"MONGODB IS NOT TESTED: {why}")
