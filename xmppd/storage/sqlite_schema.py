"""The tables of the SQLite store, made in numbered steps, each in a transaction of its own."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from xmppd.errors import StorageUnavailable
from xmppd.storage.api import DataError, StoreError

MINIMUM = (3, 35, 0)
"""UPDATE … FROM is from 3.33, DROP COLUMN (for later steps) from 3.35."""

STEPS: tuple[tuple[str, ...], ...] = (
    (
        # Maps and logs by number.
        "CREATE TABLE name (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
        # Owners and peers by number.
        "CREATE TABLE jid (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, domain TEXT NOT NULL)",
        "CREATE INDEX jid_domain ON jid (domain, name)",
        # Clustered by owner: a working set is a few neighbouring pages.
        "CREATE TABLE record (owner INTEGER NOT NULL, map INTEGER NOT NULL, key TEXT NOT NULL,"
        " value BLOB NOT NULL, PRIMARY KEY (owner, map, key)) WITHOUT ROWID",
        # One log of one owner is a box.
        "CREATE TABLE box (id INTEGER PRIMARY KEY, owner INTEGER NOT NULL, log INTEGER NOT NULL, UNIQUE (owner, log))",
        # Narrow rows in order of (box, id): appending touches one page per owner, a filter reads few pages.
        "CREATE TABLE entry (box INTEGER NOT NULL, id INTEGER NOT NULL CHECK (typeof(id) = 'integer'),"
        " peer INTEGER NOT NULL, resource TEXT NOT NULL,"
        " flags INTEGER NOT NULL CHECK (flags BETWEEN 0 AND 255), body INTEGER NOT NULL,"
        " PRIMARY KEY (box, id)) WITHOUT ROWID",
        # An append-only heap; `refs` entries share a body.
        "CREATE TABLE body (id INTEGER PRIMARY KEY, refs INTEGER NOT NULL,"
        " data BLOB NOT NULL CHECK (typeof(data) = 'blob'))",
    ),
    (
        # What one owner has to say to another and that is not heard; mostly empty.
        "CREATE TABLE sending (id INTEGER PRIMARY KEY, owner INTEGER NOT NULL, peer INTEGER NOT NULL,"
        " data BLOB NOT NULL CHECK (typeof(data) = 'blob'))",
    ),
)
VERSION = len(STEPS)

# What SQLite says when trying again may help (or nothing but an operator does, which comes to the same).
_LATER = {
    sqlite3.SQLITE_BUSY: "is in use by another process",
    sqlite3.SQLITE_LOCKED: "is in use by another process",
    sqlite3.SQLITE_NOMEM: "has no memory",
    sqlite3.SQLITE_READONLY: "cannot be written",
    sqlite3.SQLITE_IOERR: "has an I/O error",
    sqlite3.SQLITE_CORRUPT: "is damaged",
    sqlite3.SQLITE_FULL: "has no room on its disk",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_PROTOCOL: "is in use by another process",
    sqlite3.SQLITE_NOTADB: "is no database any more",
    sqlite3.SQLITE_PERM: "cannot be opened",
    sqlite3.SQLITE_AUTH: "cannot be opened",
}


def translate(error: Exception, path: str) -> Exception:
    """StorageUnavailable or DataError for what went wrong in a read or commit; an unknown error as it is."""
    if isinstance(error, (StorageUnavailable, DataError)):
        return error
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(code, int) and code & 0xFF in _LATER:
        return StorageUnavailable(f"{path} {_LATER[code & 0xFF]} ({error})")
    if isinstance(error, OSError):
        return StorageUnavailable(f"{path}: {error}")
    if isinstance(error, (sqlite3.Error, ValueError, TypeError, OverflowError)):
        # Constraints, types, too big, lone surrogates (UnicodeEncodeError), integers beyond 64 bits.
        return DataError(str(error))
    return error


def connect(path: str, cache_kib: int) -> sqlite3.Connection:
    """A connection with our settings; transactions are begun by hand. For one thread at a time.

    The file must exist: should it vanish under a running server, an empty one must not take its place.
    """
    db = sqlite3.connect(
        f"{Path(path).absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=2.0,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=512,
    )
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA wal_autocheckpoint=4000")
        db.execute("PRAGMA journal_size_limit=67108864")
        db.execute("PRAGMA temp_store=MEMORY")
        db.execute(f"PRAGMA cache_size=-{cache_kib}")
    except BaseException:
        db.close()
        raise
    return db


def prepare(path: str) -> None:
    """Make the file a store of the present version. Raises StoreError with a text for the operator."""
    if sqlite3.sqlite_version_info < MINIMUM:
        raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old: 3.35 or later is needed")
    try:
        Path(path).touch(mode=0o600)
        db = connect(path, 2048)
        try:
            _upgrade(db, path)
        finally:
            db.close()
    except sqlite3.Error as error:
        raise StoreError(f"{path} cannot be used as a store: {error}") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be opened: {error.strerror or error}") from error


def _upgrade(db: sqlite3.Connection, path: str) -> None:
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and "schema" not in tables:
        raise StoreError(f"{path} is a database of another program")
    db.execute("CREATE TABLE IF NOT EXISTS schema (version INTEGER NOT NULL)")
    while True:
        db.execute("BEGIN IMMEDIATE")
        try:
            version = db.execute("SELECT coalesce(max(version), 0) FROM schema").fetchone()[0]
            if version > VERSION:
                raise StoreError(
                    f"{path} was written by a newer version of the server (schema {version}, this one knows {VERSION})"
                )
            if version == VERSION:
                return
            for statement in STEPS[version]:
                db.execute(statement)
            db.execute("INSERT INTO schema VALUES (?)", (version + 1,))
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")
