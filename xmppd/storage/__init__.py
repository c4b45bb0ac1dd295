"""Where everything durable is: `api` is what others see of it, `make_backend` knows the kinds of store."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from pathlib import Path

    from xmppd.clock import Clock
    from xmppd.storage.backend import Backend
    from xmppd.storage.group_commit import Limits
    from xmppd.storage.store import Store

LINGER = 0.001
"""Seconds; a millisecond that nobody notices saves a quarter of the CPU at 2,000 messages a second."""

# Plugins import xmppd.storage.api, which runs this module: drivers are imported only when one is chosen.


def make_backend(url: str, clock: Clock, take_over: bool = False) -> Backend:
    """The backend that a URL names, not opened.

    `sqlite:///relative/path`, `sqlite:////absolute/path`, `mongodb://…`, `mongodb+srv://…`, `memory:` (tests:
    all is lost at the end). `take_over`: take a database from a server that lives. Raises StoreError for any other.
    """
    from xmppd.storage.api import StoreError

    scheme, _, rest = url.partition(":")
    if scheme == "sqlite" and rest.startswith("///") and len(rest) > 3:
        from xmppd.storage.sqlite import SqliteBackend

        return SqliteBackend(unquote(rest[3:]))
    if scheme in {"mongodb", "mongodb+srv"}:
        from xmppd import __version__
        from xmppd.storage.journal.backend import JournalBackend
        from xmppd.storage.mongodb.store import MongoDocuments

        return JournalBackend(MongoDocuments(url), clock, take_over, __version__)
    if scheme == "memory":
        from xmppd.storage.memory import MemoryBackend

        return MemoryBackend(clock)
    raise StoreError(
        f"{scheme}: is no store that is known here; use sqlite:///file, sqlite:////absolute/file or mongodb://host/name"
    )


def make_storage(
    url: str,
    clock: Clock,
    limits: Limits | None = None,
    max_owners: int = 50_000,
    max_bytes: int = 256 << 20,
    take_over: bool = False,
) -> Store:
    """The store that `url` names (see `make_backend`), not opened. Raises StoreError."""
    from xmppd.storage.group_commit import Limits
    from xmppd.storage.store import Store

    return Store(make_backend(url, clock, take_over), clock, limits or Limits(linger=LINGER), max_owners, max_bytes)


async def open_storage(
    url: str,
    clock: Clock,
    limits: Limits | None = None,
    max_owners: int = 50_000,
    max_bytes: int = 256 << 20,
    take_over: bool = False,
) -> Store:
    """The store that `url` names (see `make_backend`), opened. Raises StoreError, its text for the operator.

    A database server that does not answer is no error: the store is not `available` and recovers by itself.
    """
    store = make_storage(url, clock, limits, max_owners, max_bytes, take_over)
    await store.open()
    return store


_MAGIC = b"SQLite format 3\0"


def file_problem(path: Path) -> str:
    """Why a file that is there cannot be an SQLite store, "" if it can; it is not opened as one. Raises nothing."""
    try:
        with open(path, "rb") as file:
            begin = file.read(len(_MAGIC))
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{path} cannot be opened: {error.strerror or error}"
    return "" if begin in (b"", _MAGIC) else f"{path} cannot be used as a store: file is not a database"


def uri_problem(url: str) -> str:
    """Why the driver of a store would not take its URL, "" if it does. Nothing is connected to."""
    if not url.startswith("mongodb:"):
        return ""
    from xmppd.storage.api import StoreError
    from xmppd.storage.mongodb.client import make_client

    try:
        make_client(url, connect=False).close()
    except StoreError as error:
        return str(error)
    return ""
