"""Looks at an SQLite store as it is on disk: its pages, its numbers, its heap of bodies."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from xmppd.storage.backend import Flaw
from xmppd.storage.codec import unpack
from xmppd.storage.sqlite_schema import connect

CACHE_KIB: Final = 32768
AT_ONCE: Final = 100
"""Damaged places that `PRAGMA integrity_check` tells of."""

_ENTRY = "coalesce(o.name, ''), coalesce(l.name, 'box ' || e.box) || '#' || e.id"
_OF_BOX = "LEFT JOIN box x ON x.id = e.box LEFT JOIN jid o ON o.id = x.owner LEFT JOIN name l ON l.id = x.log"
_ORPHANS: Final = (
    (
        f"SELECT {_ENTRY} FROM entry e {_OF_BOX} WHERE x.id IS NULL OR o.id IS NULL OR l.id IS NULL",
        "the entry belongs to no log of an owner",
    ),
    (
        f"SELECT {_ENTRY} FROM entry e {_OF_BOX} WHERE NOT EXISTS (SELECT 1 FROM jid j WHERE j.id = e.peer)",
        "the entry's peer has no name, so nobody sees the entry",
    ),
    (
        f"SELECT {_ENTRY} FROM entry e {_OF_BOX} WHERE NOT EXISTS (SELECT 1 FROM body b WHERE b.id = e.body)",
        "the entry's body is gone, so nobody sees the entry",
    ),
    (
        "SELECT coalesce(o.name, ''), coalesce(m.name, 'map ' || r.map) || '/' || r.key FROM record r"
        " LEFT JOIN jid o ON o.id = r.owner LEFT JOIN name m ON m.id = r.map WHERE o.id IS NULL OR m.id IS NULL",
        "the record belongs to no map of an owner",
    ),
    (
        "SELECT coalesce(o.name, ''), 'sending ' || s.id FROM sending s LEFT JOIN jid o ON o.id = s.owner"
        " LEFT JOIN jid p ON p.id = s.peer WHERE o.id IS NULL OR p.id IS NULL",
        "the sending does not say from whom and to whom, so nobody hears it",
    ),
    (
        "SELECT j.name, 'domain ' || j.domain FROM jid j WHERE j.domain != domain_of(j.name)",
        "the owner is listed under another domain, so nobody finds what it has there",
    ),
)
"""Rows that refer to nothing: what is selected is owner and place."""
_BODIES: Final = (
    "SELECT b.id, b.refs, coalesce(c.number, 0) FROM body b"
    " LEFT JOIN (SELECT body, count(*) AS number FROM entry GROUP BY body) c ON c.body = b.id"
    " WHERE b.refs != coalesce(c.number, 0)"
)
_PLACES: Final = (
    # CROSS JOIN: owners first, in the order of their index.
    "SELECT j.name, m.name FROM jid j CROSS JOIN record r CROSS JOIN name m WHERE r.owner = j.id AND m.id = r.map"
    " GROUP BY j.name, r.map",
    "SELECT j.name, m.name FROM jid j CROSS JOIN box x CROSS JOIN name m WHERE x.owner = j.id AND m.id = x.log"
    " AND EXISTS (SELECT 1 FROM entry e WHERE e.box = x.id) ORDER BY j.name",
)


class Inspector:
    """A connection of its own, which only reads. Used by one thread at a time; all that reads raises sqlite3.Error."""

    def __init__(self, path: str) -> None:
        self._db = connect(path, CACHE_KIB)
        self._db.create_function("domain_of", 1, lambda name: name.rpartition("@")[2], deterministic=True)
        self._db.execute("PRAGMA query_only=1")
        self._db.execute("PRAGMA temp_store=FILE")  # counts of all bodies may need much room

    def close(self) -> None:
        self._db.close()

    def flaws(self) -> Iterator[Flaw]:
        damage = self._damage()
        yield from (Flaw("", "the file", line) for line in damage)
        if damage:
            return  # what the tables say is not to be believed
        for statement, what in _ORPHANS:
            for owner, where in self._db.execute(statement):
                yield Flaw(owner, where, what)
        for body, refs, number in self._db.execute(_BODIES):
            if not number:
                yield Flaw("", f"body {body}", f"no entry has it ({refs} are said to), so it is never deleted")
            else:
                yield Flaw("", f"body {body}", f"{refs} entries are said to have it, and {number} have it")
        yield from self._records()

    def _damage(self) -> list[str]:
        """What SQLite itself finds wrong."""
        try:
            rows = self._db.execute(f"PRAGMA integrity_check({AT_ONCE})").fetchall()
        except sqlite3.DatabaseError as error:
            if (error.sqlite_errorcode & 0xFF) not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise
            return [str(error)]
        return [line for (text,) in rows for line in str(text).splitlines() if line != "ok"]

    def _records(self) -> Iterator[Flaw]:
        rows = self._db.execute(
            "SELECT j.name, m.name, r.key, r.value"
            " FROM record r JOIN jid j ON j.id = r.owner JOIN name m ON m.id = r.map"
        )
        for owner, map, key, value in rows:
            try:
                unpack(value)
            except (msgspec.MsgspecError, ValueError, TypeError) as error:
                yield Flaw(owner, f"{map}/{key}" if key else map, f"the record is no MessagePack: {error}")

    def places(self) -> Iterator[tuple[str, str]]:
        for statement in _PLACES:
            yield from self._db.execute(statement)


def chunk(source: Iterator[Any], size: int = 500) -> list[Any]:
    """The next ones of what an inspector gives; an empty list is the end."""
    found: list[Any] = []
    for each in source:
        found.append(each)
        if len(found) == size:
            break
    return found
