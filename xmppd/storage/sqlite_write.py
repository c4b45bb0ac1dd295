"""How writes become rows: one transaction per batch, multi-row statements, every body once."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from typing import Any

from xmppd.storage.api import (
    NOT_SENT,
    AbsoluteWrite,
    Heard,
    LogAppend,
    LogDelete,
    LogReplace,
    LogTrim,
    MapClear,
    MapDelete,
    MapPut,
    OwnerDelete,
    Send,
)
from xmppd.storage.codec import TWICE, clamp, pack
from xmppd.storage.sqlite_schema import connect

log = logging.getLogger("xmppd.storage")

ROWS = 64
"""Rows of one INSERT. executemany takes and gives back the GIL for each row, which the loop pays for."""
KNOWN = 200_000
KNOWN_BYTES = 16 << 20
"""How many numbers of owners and boxes are remembered, and how long their names are in all."""

_INSERTS = {
    "entry": ("INSERT OR IGNORE INTO entry VALUES ", "(?,?,?,?,?,?)", ""),
    "body": ("INSERT INTO body VALUES ", "(?,?,?)", ""),
    "record": (
        "INSERT INTO record VALUES ",
        "(?,?,?,?)",
        " ON CONFLICT (owner, map, key) DO UPDATE SET value = excluded.value",
    ),
    "sending": ("INSERT INTO sending VALUES ", "(?,?,?,?)", " ON CONFLICT (id) DO NOTHING"),
}
_WIDTHS = {"entry": 6, "body": 3, "record": 4, "sending": 4}
_STATEMENTS = {
    (table, rows): head + ",".join([row] * rows) + tail
    for table, (head, row, tail) in _INSERTS.items()
    for rows in range(1, ROWS + 1)
}


class _Repeated(Exception):
    """Some entries are there already: the batch, or a part of it, was written before."""


class Writer:
    """The one connection that writes. Used by one thread."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._names: dict[str, int] = {}
        self._jids: dict[str, int] = {}
        self._boxes: dict[tuple[str, str], int] = {}
        self._known_size = 0
        self._next_body = 1
        self._next_sending = 1
        """Of this process no number is given twice, also when the sending is gone."""
        self._careful = False
        self._entries: list[Any] = []
        self._bodies: dict[bytes, list[int]] = {}
        self._records: dict[tuple[int, int, str], bytes | None] = {}
        self._seen: set[tuple[int, int]] = set()
        self._sendings: list[Any] = []
        self._heard: list[int] = []
        self._made: set[int] = set()
        """Of which sendings this batch has made something."""

    def open(self) -> None:
        """Connect and read what is remembered. Raises sqlite3.Error."""
        db = connect(self._path, 65536)
        try:
            db.execute("CREATE TEMP TABLE gone (body INTEGER PRIMARY KEY, number INTEGER NOT NULL)")
            self._next_body = 1 + db.execute("SELECT coalesce(max(id), 0) FROM body").fetchone()[0]
            last = db.execute("SELECT coalesce(max(id), 0) FROM sending").fetchone()[0]
            self._next_sending = max(self._next_sending, 1 + last)
        except BaseException:
            db.close()
            raise
        self._db = db

    def close(self) -> None:
        """Forget everything; the next write connects again and reads back."""
        db, self._db = self._db, None
        self._forget()
        if db is not None:
            db.close()

    def write(self, writes: Sequence[AbsoluteWrite]) -> None:
        """All of the writes, or none and an exception. When it returns they are on disk."""
        if self._db is None:
            self.open()
        if len(self._jids) + len(self._boxes) > KNOWN or self._known_size > KNOWN_BYTES:
            self._forget()
        try:
            self._transaction(writes, careful=False)
        except _Repeated:
            self._transaction(writes, careful=True)

    def _transaction(self, writes: Sequence[AbsoluteWrite], careful: bool) -> None:
        assert self._db is not None
        self._careful = careful
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for write in writes:
                if type(write) is LogAppend:
                    self._append(write)
                else:
                    self._other(write)
            self._flush_log()
            self._flush_records()
            self._flush_sendings()
            self._db.execute("COMMIT")
        except BaseException:
            self._forget()
            self._roll_back()
            raise
        finally:
            self._entries.clear()
            self._bodies.clear()
            self._records.clear()
            self._seen.clear()
            self._sendings.clear()
            self._heard.clear()
            self._made.clear()

    def _roll_back(self) -> None:
        """Quietly: the error that led here is the one to report."""
        assert self._db is not None
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error:
            self.close()

    def _forget(self) -> None:
        self._names.clear()
        self._jids.clear()
        self._boxes.clear()
        self._known_size = 0

    # --- numbers ---

    def _name(self, name: str) -> int:
        number = self._names.get(name)
        if number is None:
            number = self._names[name] = self._number("name", "name", (name,))
        return number

    def _jid(self, jid: str) -> int:
        number = self._jids.get(jid)
        if number is None:
            number = self._jids[jid] = self._number("jid", "name, domain", (jid, jid.rpartition("@")[2]))
            self._known_size += len(jid)
        return number

    def _box(self, log: str, owner: str) -> int:
        number = self._boxes.get((log, owner))
        if number is None:
            place = (self._jid(owner), self._name(log))
            number = self._boxes[log, owner] = self._number("box", "owner, log", place)
            self._known_size += len(owner)
        return number

    def _number(self, table: str, columns: str, values: tuple[Any, ...]) -> int:
        """The row number of these values, given now if they are new."""
        assert self._db is not None
        key = {"name": "name = ?", "jid": "name = ?", "box": "owner = ? AND log = ?"}[table]
        found = self._db.execute(f"SELECT id FROM {table} WHERE {key}", values[: key.count("?")]).fetchone()
        if found is not None:
            return int(found[0])
        marks = ",".join("?" * len(values))
        number = self._db.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", values).lastrowid
        assert number is not None
        return number

    # --- collecting ---

    def _append(self, write: LogAppend) -> None:
        entry = write.entry
        box = self._boxes.get((write.log, write.owner)) or self._box(write.log, write.owner)
        if write.source is not None and not self._is_first(box, write):
            return
        if self._careful and self._exists(box, entry.id):
            return
        body = self._bodies.get(entry.body)
        if body is None:
            body = self._bodies[entry.body] = [self._next_body, 0]
            self._next_body += 1
        body[1] += 1
        peer = self._jids.get(entry.peer) or self._jid(entry.peer)
        self._entries += (box, entry.id, peer, entry.resource, entry.flags, body[0])

    def _is_first(self, box: int, write: LogAppend) -> bool:
        """Whether nothing else was made of its sending."""
        assert self._db is not None and write.source is not None
        number = write.source[1]
        if number not in self._made:
            if self._db.execute("SELECT 1 FROM sending WHERE id = ?", (number,)).fetchone() is not None:
                self._made.add(number)
                return True
            there = self._db.execute("SELECT 1 FROM entry WHERE box = ? AND id = ?", (box, write.entry.id)).fetchone()
            if there is not None:  # a batch that is repeated
                return False
        log.error(TWICE, number, write.entry.id, write.owner)
        return False

    def _exists(self, box: int, id: int) -> bool:
        assert self._db is not None
        place = (box, id)
        if place in self._seen:
            return True
        self._seen.add(place)
        return self._db.execute("SELECT 1 FROM entry WHERE box = ? AND id = ?", place).fetchone() is not None

    def _other(self, write: AbsoluteWrite) -> None:
        """What is not an append. Changes of a log see the appends before them; records are written last."""
        if isinstance(write, (MapPut, MapDelete)):
            place = (self._name(write.map), self._jid(write.owner), write.key)
            self._records[place] = pack(write.value) if isinstance(write, MapPut) else None
        elif isinstance(write, MapClear):
            self._flush_records()
            self._run(
                "DELETE FROM record WHERE owner = ? AND map = ?",
                self._jid(write.owner),
                self._name(write.map),
            )
        elif isinstance(write, LogReplace):
            self._flush_log()
            self._replace(write)
        elif isinstance(write, LogDelete):
            self._flush_log()
            box = self._box(write.log, write.owner)
            for start in range(0, len(write.ids), 500):
                ids = [clamp(id) for id in write.ids[start : start + 500]]
                self._delete(f"box = ? AND id IN ({','.join('?' * len(ids))})", box, *ids)
        elif isinstance(write, LogTrim):
            self._flush_log()
            self._delete("box = ? AND id < ?", self._box(write.log, write.owner), clamp(write.before))
        elif isinstance(write, OwnerDelete):
            self._delete_owner(write.owner)
        elif isinstance(write, Send):
            self._send(write)
        elif isinstance(write, Heard):
            self._heard.append(write.source[1])

    def _send(self, write: Send) -> None:
        """An attempt whose answer was lost may have stored it: it keeps its number."""
        if write.source == NOT_SENT:
            write.source = (0, self._next_sending)
            self._next_sending += 1
        self._sendings += (write.source[1], self._jid(write.owner), self._jid(write.to), write.data)

    def _run(self, statement: str, *values: Any) -> int:
        assert self._db is not None
        return self._db.execute(statement, values).rowcount

    # --- rows ---

    def _flush_log(self) -> None:
        self._seen.clear()
        if not self._entries:
            return
        bodies: list[Any] = []
        for data, (number, refs) in self._bodies.items():
            bodies += (number, refs, data)
        self._insert("body", bodies)
        expected = len(self._entries) // _WIDTHS["entry"]
        if self._insert("entry", self._entries) != expected:
            if not self._careful:
                raise _Repeated
            raise ValueError("an entry is not of the right types")
        self._entries.clear()
        self._bodies.clear()

    def _flush_records(self) -> None:
        if not self._records:
            return
        rows: list[Any] = []
        for (map, owner, key), value in self._records.items():
            if value is None:
                self._run("DELETE FROM record WHERE owner = ? AND map = ? AND key = ?", owner, map, key)
            else:
                rows += (owner, map, key, value)
        self._insert("record", rows)
        self._records.clear()

    def _flush_sendings(self) -> None:
        """What is heard goes last: what was made of it asks whether it is there."""
        self._insert("sending", self._sendings)
        for start in range(0, len(self._heard), 500):
            numbers = self._heard[start : start + 500]
            self._run(f"DELETE FROM sending WHERE id IN ({','.join('?' * len(numbers))})", *numbers)

    def _insert(self, table: str, values: list[Any]) -> int:
        """Insert rows (their values one after the other); how many went in."""
        assert self._db is not None
        width = _WIDTHS[table]
        inserted = 0
        for start in range(0, len(values), ROWS * width):
            part = values[start : start + ROWS * width]
            inserted += self._db.execute(_STATEMENTS[table, len(part) // width], part).rowcount
        return inserted

    def _replace(self, write: LogReplace) -> None:
        box, entry = self._box(write.log, write.owner), write.entry
        assert self._db is not None
        found = self._db.execute("SELECT body FROM entry WHERE box = ? AND id = ?", (box, entry.id)).fetchone()
        if found is None:
            return
        body, self._next_body = self._next_body, self._next_body + 1
        self._run("INSERT INTO body VALUES (?, 1, ?)", body, entry.body)
        self._run("UPDATE entry SET flags = ?, body = ? WHERE box = ? AND id = ?", entry.flags, body, box, entry.id)
        self._run("INSERT INTO gone VALUES (?, 1)", found[0])
        self._release_bodies()

    def _delete(self, where: str, *values: Any) -> None:
        """Delete entries, and the bodies that no entry shares any more."""
        self._run(f"INSERT INTO gone SELECT body, count(*) FROM entry WHERE {where} GROUP BY body", *values)
        self._run(f"DELETE FROM entry WHERE {where}", *values)
        self._release_bodies()

    def _release_bodies(self) -> None:
        self._run("UPDATE body SET refs = refs - gone.number FROM gone WHERE body.id = gone.body")
        self._run("DELETE FROM body WHERE id IN (SELECT body FROM gone) AND refs <= 0")
        self._run("DELETE FROM gone")

    def _delete_owner(self, name: str) -> None:
        self._flush_log()
        self._flush_records()
        owner = self._jid(name)
        self._run("DELETE FROM record WHERE owner = ?", owner)
        self._delete("box IN (SELECT id FROM box WHERE owner = ?)", owner)
        self._run("DELETE FROM box WHERE owner = ?", owner)
        self._boxes = {place: box for place, box in self._boxes.items() if place[1] != name}
