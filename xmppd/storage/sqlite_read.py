"""Reads of the SQLite store: a connection of its own, which sees what is committed and nothing else."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from xmppd.storage.api import Entry, Range, Send, Source
from xmppd.storage.backend import Row
from xmppd.storage.codec import HIGHEST, LOWEST, bounds, unpack
from xmppd.storage.sqlite_schema import connect

_BOX = (
    "e.box = (SELECT x.id FROM box x WHERE x.owner = (SELECT id FROM jid WHERE name = ?)"
    " AND x.log = (SELECT id FROM name WHERE name = ?))"
)


def where(log: str, owner: str, range: Range) -> tuple[str, list[Any]] | None:
    """The condition on `entry e` and its values; None if nothing can match."""
    allowed = bounds(range)
    if allowed is None:
        return None
    parts, values = [_BOX, "e.id BETWEEN ? AND ?"], [owner, log, *allowed]
    if range.peer is not None:
        parts.append("e.peer = (SELECT id FROM jid WHERE name = ?)")
        values.append(range.peer)
    if range.resource is not None:
        parts.append("e.resource = ?")
        values.append(range.resource)
    if range.ids is not None:
        ids = [id for id in range.ids if LOWEST <= id <= HIGHEST]
        parts.append(f"e.id IN ({','.join('?' * len(ids))})")
        values += ids
    if range.flags:
        parts.append("e.flags & ? = ?")
        values += [int(range.flags)] * 2
    if range.without:
        parts.append("e.flags & ? = 0")
        values.append(int(range.without))
    return " AND ".join(parts), values


class Reader:
    """One connection that only reads. Used by one thread."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None

    def _rows(self, statement: str, values: Sequence[Any]) -> list[Any]:
        if self._db is None:
            self._db = connect(self._path, 32768)
            self._db.execute("PRAGMA query_only=1")
        return self._db.execute(statement, values).fetchall()

    def close(self) -> None:
        """The next read connects again."""
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def load(self, owner: str, maps: Sequence[str]) -> list[Row[Any]]:
        rows = self._rows(
            "SELECT n.name, r.key, r.value FROM record r JOIN name n ON n.id = r.map"
            " WHERE r.owner = (SELECT id FROM jid WHERE name = ?)"
            f" AND r.map IN (SELECT id FROM name WHERE name IN ({','.join('?' * len(maps))}))",
            (owner, *maps),
        )
        return [Row(map, key, unpack(value)) for map, key, value in rows]

    def read(self, map: str, owner: str, key: str) -> Any | None:
        rows = self._rows(
            "SELECT value FROM record WHERE owner = (SELECT id FROM jid WHERE name = ?)"
            " AND map = (SELECT id FROM name WHERE name = ?) AND key = ?",
            (owner, map, key),
        )
        return unpack(rows[0][0]) if rows else None

    def owners(self, map: str, domain: str, after: str, limit: int) -> list[str]:
        rows = self._rows(
            "SELECT j.name FROM jid j WHERE j.domain = ? AND j.name > ? AND EXISTS (SELECT 1 FROM record r"
            " WHERE r.owner = j.id AND r.map = (SELECT id FROM name WHERE name = ?)) ORDER BY j.name LIMIT ?",
            (domain, after, map, limit),
        )
        return [name for (name,) in rows]

    def scan(self, map: str, domain: str, after: tuple[str, str], limit: int) -> list[tuple[str, Row[Any]]]:
        # CROSS JOIN: owners first, in the order of their index, so that LIMIT ends the walk.
        rows = self._rows(
            "SELECT j.name, r.key, r.value FROM jid j CROSS JOIN record r"
            " WHERE j.domain = ? AND j.name >= ? AND r.owner = j.id AND r.map = (SELECT id FROM name WHERE name = ?)"
            " AND (j.name > ? OR r.key > ?) ORDER BY j.name, r.key LIMIT ?",
            (domain, after[0], map, *after, limit),
        )
        return [(owner, Row(map, key, unpack(value))) for owner, key, value in rows]

    def page(self, log: str, owner: str, range: Range, limit: int, backwards: bool) -> list[Entry]:
        condition = where(log, owner, range)
        if condition is None or limit <= 0:
            return []
        # CROSS JOIN: entries first, in their order, so that LIMIT ends the walk.
        rows = self._rows(
            "SELECT e.id, j.name, e.resource, e.flags, b.data FROM entry e CROSS JOIN jid j CROSS JOIN body b"
            f" WHERE {condition[0]} AND j.id = e.peer AND b.id = e.body"
            f" ORDER BY e.id {'DESC' if backwards else 'ASC'} LIMIT ?",
            (*condition[1], limit),
        )
        if backwards:
            rows.reverse()
        return [Entry(*row) for row in rows]

    def ends(self, log: str, owner: str, range: Range) -> tuple[int, int]:
        condition = where(log, owner, range)
        if condition is None:
            return 0, 0
        # Not min() and max(): both in one query walk the whole range.
        one = f"coalesce((SELECT e.id FROM entry e WHERE {condition[0]} ORDER BY e.id {{}} LIMIT 1), 0)"
        rows = self._rows(f"SELECT {one.format('ASC')}, {one.format('DESC')}", condition[1] * 2)
        return int(rows[0][0]), int(rows[0][1])

    def count(self, log: str, owner: str, range: Range, limit: int | None) -> int:
        condition = where(log, owner, range)
        if condition is None:
            return 0
        rows = self._rows(
            f"SELECT count(*) FROM (SELECT 1 FROM entry e WHERE {condition[0]} LIMIT ?)",
            (*condition[1], -1 if limit is None else limit),
        )
        return int(rows[0][0])

    def last_id(self, log: str, owner: str) -> int:
        rows = self._rows(f"SELECT coalesce(max(e.id), 0) FROM entry e WHERE {_BOX}", (owner, log))
        return int(rows[0][0])

    def unheard(self, domain: str, after: Source, limit: int) -> list[Send]:
        # CROSS JOIN: sendings first, in their order, so that LIMIT ends the walk.
        rows = self._rows(
            "SELECT o.name, p.name, s.data, s.id FROM sending s CROSS JOIN jid o CROSS JOIN jid p"
            " WHERE s.id > ? AND o.id = s.owner AND o.domain = ? AND p.id = s.peer ORDER BY s.id LIMIT ?",
            (after[1], domain, limit),
        )
        return [Send(owner, to, data, (0, id)) for owner, to, data, id in rows]

    def was_heard(self, owner: str, log: str, source: Source) -> bool:
        """What is heard is deleted in the transaction of what was made of it."""
        return not self._rows("SELECT 1 FROM sending WHERE id = ?", (source[1],))
