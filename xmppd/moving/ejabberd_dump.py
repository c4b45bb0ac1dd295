"""Reads what `ejabberdctl dump FILE` writes: all tables of ejabberd's own database (Mnesia) as text. It holds what the
export of XEP-0227 leaves out: rooms, archives, nodes.

The file is read twice: first it is noted where the records of each owner begin, then they are read owner by owner.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

from ..contracts.moving import OwnerKind
from ..xml import Element
from .ejabberd_elements import (
    ACCOUNT_ITEMS,
    ACCOUNT_MAKERS,
    KEYS,
    ROOM_ITEMS,
    ROOM_MAKERS,
    Make,
    MakeItem,
    Owner,
    Record,
    node,
    node_item,
    password,
    text_of,
    time_of,
)
from .elements import BROKEN, Item, archive_parts, node_items, offline_parts
from .erlang import parse_term
from .events import Begin, Event, Part, Problem

LONGEST: Final = 16 << 20
"""Bytes of one record."""
OPENING: Final = b"{tables,"
_START: Final = re.compile(rb"\{([a-z_]+),\s*")
OF_PEOPLE: Final = frozenset((*ACCOUNT_MAKERS, *ACCOUNT_ITEMS, *ROOM_MAKERS, *ROOM_ITEMS))
OF_NODES: Final = ("pubsub_item", "pubsub_state")
WORTHLESS: Final = frozenset(
    (
        *("schema", "last_activity", "vcard_search", "caps_features", "pubsub_index", "pubsub_orphan"),
        *("roster_version", "translations", "oauth_token", "oauth_client", "bytestream", "session", "sip_session"),
        *("muc_online_room", "muc_online_users", "reg_users_counter", "captcha", "temporarily_blocked", "motd_users"),
    )
)
PIECES: Final = {"archive_msg": archive_parts, "offline_msg": offline_parts}


class EjabberdDump:
    """A `Source`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size = 2 * path.stat().st_size
        self.position = 0
        self._records: dict[Owner, dict[str, array[int]]] = {}
        """Where the records of an owner begin, by table."""
        self._nodes: dict[int, tuple[Owner, str]] = {}
        """Owner and name of the nodes by their number."""
        self._unknown: dict[str, int] = {}

    @staticmethod
    def recognises(begin: bytes) -> bool:
        return begin.startswith(OPENING)

    def events(self) -> Iterator[Event]:
        try:
            with self._path.open("rb") as file:
                yield from self._index(file)
                for owner in sorted(self._records):
                    yield from self._owner(file, owner, self._records[owner])
        except OSError as error:
            yield Problem(str(self._path), error.strerror or str(error))
        for table, number in sorted(self._unknown.items()):
            yield Problem(str(self._path), f"the table {table!r} with {number} records is not carried")

    # ---- where everything is

    def _index(self, file: IO[bytes]) -> Iterator[Problem]:
        for at, data in self._chunks(file):
            self.position = at
            if not data:
                yield Problem(str(self._path), f"a record is too large (byte {at:,})")
            found = _START.match(data)
            table = found[1].decode() if found is not None else ""
            if found is None or table == "tables" or table in WORTHLESS:
                continue
            try:
                for owner in self._owners(table, data, found.end()):
                    self._records.setdefault(owner, {}).setdefault(table, array("Q")).append(at)
            except BROKEN:
                yield Problem(str(self._path), f"a record of {table!r} cannot be read (byte {at:,})")

    def _chunks(self, file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
        """Place and text of all records, b"" for one that is too large. One begins a line, and no line inside of one
        does."""
        at, lines, size = 0, list[bytes](), 0
        while line := file.readline(LONGEST):
            size += len(line)
            if size <= LONGEST:
                lines.append(line)
            else:
                lines.clear()
            if line.rstrip().endswith(b"}."):
                yield at, b"".join(lines)
                at, lines, size = file.tell(), [], 0
        if size > LONGEST:
            yield at, b""

    def _owners(self, table: str, data: bytes, at: int) -> list[Owner]:
        """Whose a record is; with the domain "", that of a node by its number. Raises what is in `BROKEN`."""
        if table == "pubsub_node":
            record = parse_term(data)
            (node_owner, name), number = record[1], record[2]
            owner = (
                (text_of(node_owner[0]), text_of(node_owner[1]))
                if isinstance(node_owner, tuple)
                else ("", text_of(node_owner))
            )
            self._nodes[number] = owner, text_of(name)
            return [owner]
        key = parse_term(data[at:])
        if table in OF_NODES:
            return [(str(key[1]), "")]
        if table in OF_PEOPLE:
            return [(text_of(key[0]), text_of(key[1]))]
        self._unknown[table] = self._unknown.get(table, 0) + 1
        return []

    def _read(self, file: IO[bytes], place: int) -> Record:
        """Raises what is in `BROKEN`."""
        file.seek(place)
        self.position = self.size // 2 + place
        lines: list[bytes] = []
        while line := file.readline(LONGEST):
            lines.append(line)
            if line.rstrip().endswith(b"}."):
                break
        record = parse_term(b"".join(lines))
        if not isinstance(record, tuple):
            raise ValueError("it is no record")
        return record

    def _each(
        self, file: IO[bytes], places: Iterable[int], read: Callable[[Record], Any], bad: list[str]
    ) -> Iterator[Any]:
        """What `read` finds in records. One that is not as it must be costs itself only, and is told in `bad`."""
        for place in places:
            try:
                yield read(self._read(file, place))
            except BROKEN as error:
                bad.append(str(error)[:200])

    def _in_time(self, file: IO[bytes], places: Iterable[int], time: Callable[[Record], int]) -> list[int]:
        """Messages in their order; the dump has the records of one owner in any."""
        times: list[tuple[int, int]] = []
        for place in places:
            bad: list[str] = []
            times.append((next(self._each(file, (place,), time, bad), 0), place))  # it is told when it is made
        return [place for _, place in sorted(times)]

    # ---- an owner

    def _owner(self, file: IO[bytes], owner: Owner, tables: dict[str, array[int]]) -> Iterator[Event]:
        local, domain = owner
        makers: Mapping[str, Make] = {}
        items: Mapping[str, MakeItem] = {}
        if not domain:
            return  # what is in a node; see `_node`
        if "muc_room" in tables:
            yield Begin(OwnerKind.ROOM, local, domain)
            makers, items = ROOM_MAKERS, ROOM_ITEMS
        elif not local:
            yield Begin(OwnerKind.HOST, "", domain)
        elif KEYS in tables:
            bad: list[str] = []  # it is told with the keys
            found = next(self._each(file, tables[KEYS], password, bad), "")
            yield Begin(OwnerKind.ACCOUNT, local, domain, found or None)
            makers, items = ACCOUNT_MAKERS, ACCOUNT_ITEMS
        else:
            number = sum(map(len, tables.values()))
            yield Problem(f"{local}@{domain}", f"{number} records ({', '.join(sorted(tables))}) of no account or room")
            return
        for table in (*makers, *items):
            bad = []
            for element in self._parts(file, owner, table, tables.get(table, ()), makers, items, bad):
                yield Part(element)
            for why in bad:
                yield Problem("@".join(owner), f"a record of {table!r} cannot be read: {why}")
        for place in tables.get("pubsub_node", ()):
            yield from self._node(file, place)

    def _parts(
        self,
        file: IO[bytes],
        owner: Owner,
        table: str,
        places: Iterable[int],
        makers: Mapping[str, Make],
        items: Mapping[str, MakeItem],
        bad: list[str],
    ) -> Iterator[Element]:
        if table in makers:
            make = makers[table]
            for elements in self._each(file, places, lambda record: list(make(owner, record)), bad):
                yield from elements
            return
        sorted_places = self._in_time(file, places, lambda record: time_of(table, record))
        found = self._each(file, sorted_places, lambda record: items[table](owner, record), bad)
        yield from PIECES[table](item for item in found if item is not None)

    def _node(self, file: IO[bytes], place: int) -> Iterator[Event]:
        bad: list[str] = []

        def configured(record: Record) -> tuple[str, Mapping[str, array[int]], Element]:
            name, of_node = self._nodes[record[2]][1], self._records.get((str(record[2]), ""), {})
            states = self._each(file, of_node.get("pubsub_state", ()), lambda state: state, bad)
            return name, of_node, node(name, record, states)

        for name, of_node, element in self._each(file, (place,), configured, bad):
            yield Part(element)
            for items in node_items(name, self._items(file, of_node.get("pubsub_item", ()), bad)):
                yield Part(items)
        for why in bad:
            yield Problem(str(self._path), f"a node, or something in it, cannot be read: {why}")

    def _items(self, file: IO[bytes], places: Iterable[int], bad: list[str]) -> Iterator[Item]:
        def time(record: Record) -> int:
            item = node_item(record)
            return item.at if item is not None else 0

        found = self._each(file, self._in_time(file, places, time), node_item, bad)
        return (item for item in found if item is not None)
