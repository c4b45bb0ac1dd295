"""Prosody's SQLite database (`storage = "sql"`): tables `prosody` and `prosodyarchive`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from ..xml import CLIENT_NS, parse
from .elements import BROKEN, LATEST, Item
from .events import Problem
from .lua import LONGEST, Table, finite
from .prosody_elements import element_of

DEPTH: Final = 100
COUNT: Final = "SELECT count(DISTINCT host || char(10) || user) FROM prosody WHERE store = 'accounts'"
OPENING: Final = b"SQLite format 3\0"


class ProsodySql:
    """`ProsodyStores` of a database file, which is opened for reading only. Raises sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.problems: list[Problem] = []
        self._db = sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True)
        self._db.text_factory = lambda data: data.decode("utf-8", "replace")
        tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        self._has_archive = "prosodyarchive" in tables
        self.size = self._db.execute(COUNT).fetchone()[0]
        self.position = 0

    @staticmethod
    def recognises(path: Path) -> bool:
        """Raises OSError."""
        with path.open("rb") as file:
            if file.read(len(OPENING)) != OPENING:
                return False
        try:
            db = sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True)
            try:
                return bool(db.execute("SELECT 1 FROM sqlite_master WHERE name = 'prosody'").fetchone())
            finally:
                db.close()
        except sqlite3.Error:
            return False

    def _rows(self, query: str, *values: str) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._db.execute(query, values)
        except sqlite3.Error as error:
            self.problems.append(Problem(str(self._path), f"cannot be read: {error}"))

    def hosts(self) -> Sequence[str]:
        return sorted(str(host) for (host,) in self._rows("SELECT DISTINCT host FROM prosody") if host)

    def stores(self, host: str) -> set[str]:
        found = {str(name) for (name,) in self._rows("SELECT DISTINCT store FROM prosody WHERE host = ?", host)}
        if self._has_archive:
            rows = self._rows("SELECT DISTINCT store FROM prosodyarchive WHERE host = ?", host)
            found |= {str(name) for (name,) in rows}
        return found

    def users(self, host: str, store: str) -> Iterator[str]:
        query = "SELECT DISTINCT user FROM {} WHERE host = ? AND store = ? AND user != '' ORDER BY user"
        found = [str(user) for (user,) in self._rows(query.format("prosody"), host, store)]
        if not found and self._has_archive:
            found = [str(user) for (user,) in self._rows(query.format("prosodyarchive"), host, store)]
        for user in found:
            if store == "accounts":
                self.position += 1
            yield user

    def table(self, host: str, user: str, store: str) -> Table:
        found: Table = {}
        query = "SELECT key, type, value FROM prosody WHERE host = ? AND user = ? AND store = ?"
        for key, kind, value in self._rows(query, host, user, store):
            try:
                read = _value(str(kind), str(value))
            except BROKEN:
                self.problems.append(Problem(f"{user}@{host}", f"{store}: the value of {key!r} cannot be read"))
                continue
            if key == "" and isinstance(read, dict):
                found.update(read)  # keys that are no texts
            elif key != "":
                found[key] = read
        return found

    def items(self, host: str, user: str, store: str) -> Iterator[Item]:
        if not self._has_archive:
            return
        query = (
            'SELECT key, "when", "with", type, value FROM prosodyarchive WHERE host = ? AND user = ? AND store = ? '
            "ORDER BY sort_id"
        )
        for key, when, by, kind, value in self._rows(query, host, user, store):
            try:
                yield self._item(str(key), float(when), str(by), str(kind), str(value), store)
            except BROKEN:
                self.problems.append(Problem(f"{user}@{host}", f"{store}: the entry {key!r} cannot be read"))

    def _item(self, key: str, when: float, by: str, kind: str, value: str, store: str) -> Item:
        """Raises ValueError."""
        if not 0 < when < LATEST or len(value) > LONGEST:
            raise ValueError(when)
        message = not store.startswith(("pep_", "pubsub_"))
        if kind == "xml":
            text = value.strip()
            if message and text.startswith("<message") and " xmlns=" not in text[: text.find(">")]:
                text = f"<message xmlns='{CLIENT_NS}'{text.removeprefix('<message')}"
            element = parse(text.encode())
        else:
            table = _value(kind, value)
            made = element_of(table, CLIENT_NS if message else "") if isinstance(table, dict) else None
            if made is None:
                raise ValueError("no element")
            element = made
        return Item(key, int(when * 1_000_000), by, element)


def _value(kind: str, value: str) -> Any:
    """Raises ValueError, RecursionError."""
    if kind == "string":
        return value
    if kind == "boolean":
        return value == "true"
    if kind == "number":
        return finite(float(value))
    if len(value) > LONGEST:
        raise ValueError("too large")
    return _lua(json.loads(value), 0)


def _lua(found: Any, depth: int) -> Any:
    """JSON as Prosody writes tables: `__array` holds what has no keys, `__hash` keys that are no texts."""
    if depth > DEPTH:
        raise ValueError("too deep")
    if isinstance(found, list):
        return {number: _lua(each, depth + 1) for number, each in enumerate(found, 1)}
    if isinstance(found, float):
        return finite(found)
    if not isinstance(found, dict):
        return found
    table: Table = {}
    for key, value in found.items():
        if key == "__array" and isinstance(value, list):
            table.update({number: _lua(each, depth + 1) for number, each in enumerate(value, 1)})
        elif key == "__hash" and isinstance(value, list):
            pairs = zip(value[::2], value[1::2], strict=False)
            table.update({each: _lua(of, depth + 1) for each, of in pairs if not isinstance(each, (dict, list))})
        else:
            table[key] = _lua(value, depth + 1)
    return table
