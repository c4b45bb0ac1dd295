"""What Prosody stores, as elements of XEP-0227: the same for its folder and its database (0.9 to 0.12)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol, TypeVar

from ..contracts.moving import OwnerKind
from ..xml import Element
from .elements import BROKEN, Item, archive_parts, node_items, offline_parts
from .events import Begin, Event, Part, Problem
from .lua import Table
from .prosody_elements import (
    affiliations,
    blocklist,
    card,
    credentials,
    nodes,
    preferences,
    privacy,
    private,
    room_form,
    roster,
    subject,
)

NODES: Final = "pubsub_nodes"
"""The store of the nodes of a service: a node is its user."""
WORTHLESS: Final = frozenset(
    (
        *("accounts", "pep", "persistent", "config", "state", "muc_log_cleanup", "archive_cleanup", "lastlog"),
        *("lastlog2", "caps", "cron", "smacks_h", "account_cleanup", "offline_cleanup", "tombstones", "reserved"),
    )
)
"""Stores that are read with others, or hold nothing that anybody would miss."""

Made = TypeVar("Made")


class ProsodyStores(Protocol):
    """What of Prosody's storage is read. A user is "" for what belongs to the host. Problems are told by `problems`."""

    problems: list[Problem]

    @property
    def size(self) -> int:
        """Accounts."""
        ...

    @property
    def position(self) -> int:
        """Those that were read."""
        ...

    def hosts(self) -> Sequence[str]: ...
    def stores(self, host: str) -> set[str]:
        """The names of all stores of a host."""
        ...

    def users(self, host: str, store: str) -> Iterator[str]:
        """Who has something in a store, in order."""
        ...

    def table(self, host: str, user: str, store: str) -> Table: ...
    def items(self, host: str, user: str, store: str) -> Iterator[Item]: ...


class ProsodySource:
    """`size`, `position`: see `Source`; the stores count them."""

    def __init__(self, stores: ProsodyStores) -> None:
        self._stores = stores

    @property
    def size(self) -> int:
        return self._stores.size

    @property
    def position(self) -> int:
        return self._stores.position

    def events(self) -> Iterator[Event]:
        for host in self._stores.hosts():
            names = self._stores.stores(host)
            if "accounts" in names:
                yield from self._accounts(host, names)
            if "config" in names or "persistent" in names:
                yield from self._rooms(host)
            if NODES in names:
                yield from self._service(host)
            yield from self._told()

    def _told(self) -> Iterator[Problem]:
        found = list(self._stores.problems)
        self._stores.problems.clear()
        yield from found

    # ---- accounts

    def _accounts(self, host: str, names: set[str]) -> Iterator[Event]:
        pep = sorted(name for name in names if name.startswith("pep_"))
        for user in self._stores.users(host, "accounts"):
            account = self._stores.table(host, user, "accounts")
            if not account:
                yield from self._told()
                continue
            password = account.get("password")
            yield Begin(OwnerKind.ACCOUNT, user, host, password if isinstance(password, str) and password else None)
            for element in self._parts(host, user, account, names, pep):
                yield Part(element)
            yield from self._told()
        yield from self._not_carried(host, names)

    def _safely(self, owner: str, store: str, made: Iterator[Made]) -> Iterator[Made]:
        """What is made of a record, up to where it is not as it must be."""
        try:
            yield from made
        except BROKEN as error:
            self._stores.problems.append(Problem(owner, f"{store}: it cannot be read from there on: {error}"[:300]))

    def _parts(self, host: str, user: str, account: Table, names: set[str], pep: list[str]) -> Iterator[Element]:
        yield from self._safely(f"{user}@{host}", "accounts", credentials(account))
        makers: dict[str, Callable[[Table], Iterator[Element]]] = {
            "roster": roster, "vcard": card, "private": private, "blocklist": blocklist, "privacy": privacy,
            "archive_prefs": preferences, "archive2_prefs": preferences, "pep": nodes,
        }  # fmt: skip
        for name, make in makers.items():
            if name in names:
                yield from self._safely(f"{user}@{host}", name, make(self._stores.table(host, user, name)))
        for name in pep:
            yield from node_items(name.removeprefix("pep_"), self._stores.items(host, user, name))
        for name in ("archive", "archive2"):
            if name in names:
                yield from archive_parts(self._stores.items(host, user, name))
        if "offline" in names:
            yield from offline_parts(self._stores.items(host, user, "offline"))

    def _not_carried(self, host: str, names: set[str]) -> Iterator[Problem]:
        known = {"roster", "vcard", "private", "blocklist", "privacy", "archive_prefs", "archive2_prefs", "archive",
                 "archive2", "offline"}  # fmt: skip
        for name in sorted(names - known - WORTHLESS):
            if not name.startswith(("pep_", "pubsub_", "muc_log")):
                number = sum(1 for _ in self._stores.users(host, name))
                yield Problem(host, f"the store {name!r} of {number} users is not carried")

    # ---- rooms

    def _rooms(self, host: str) -> Iterator[Event]:
        listed = self._stores.table(host, "", "persistent")
        for room in self._stores.users(host, "config"):
            stored = self._stores.table(host, room, "config")
            if not stored:
                continue
            data = stored.get("_data")
            bare = f"{room}@{host}"
            yield Begin(OwnerKind.ROOM, room, host)
            persistent = bool(listed.get(bare) or (isinstance(data, dict) and data.get("persistent")))
            for element in self._room(host, room, bare, stored, data if isinstance(data, dict) else {}, persistent):
                yield Part(element)
            yield from self._told()

    def _room(self, host: str, room: str, bare: str, stored: Table, data: Table, persistent: bool) -> Iterator[Element]:
        yield from self._safely(bare, "config", room_form(data, persistent))
        yield from self._safely(bare, "config", affiliations(stored))
        yield from self._safely(bare, "config", subject(bare, data))
        for name in ("muc_log", "archive"):
            if name in self._stores.stores(host):
                yield from archive_parts(self._stores.items(host, room, name))

    # ---- a service for publish-subscribe

    def _service(self, host: str) -> Iterator[Event]:
        yield Begin(OwnerKind.HOST, "", host)
        for name in self._stores.users(host, NODES):
            node = self._stores.table(host, name, NODES)
            for element in self._safely(host, f"the node {name}", nodes({name: node}) if node else iter(())):
                yield Part(element)
            for element in node_items(name, self._stores.items(host, "", f"pubsub_{name}")):
                yield Part(element)
            yield from self._told()
