"""One list that is followed: subscribed to, read, told of changes (XEP-0060 sections 6.1, 6.5 and 7), and stored.

What is in memory is what counts; the store has it for the next start. Each write is made from what is in memory at that
moment, and what changes there is written behind it, so the two agree whatever comes while a list is read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from xmppd.background import Signal
from xmppd.errors import StorageUnavailable
from xmppd.plugin import JID, E, Element, Stanza
from xmppd.storage.api import Map, Write
from xmppd.xml import children, find, name_of, text_of

from .model import FollowedList, ListConfig, ListEntry, named, reason_of

if TYPE_CHECKING:
    from xmppd.plugin import Host

log = logging.getLogger("xmppd.block_lists")
NS: Final = "http://jabber.org/protocol/pubsub"
EVENT_NS: Final = f"{NS}#event"
EVENT_TAG: Final = f"{EVENT_NS}|event"
RSM_NS: Final = "http://jabber.org/protocol/rsm"
ITEMS_NS: Final = "http://jabber.org/protocol/disco#items"
NEWEST: Final = 500
"""Items that are asked for where there are no pages: so many fit into a stanza, with their reasons."""
PAGE: Final = 100
WRITES: Final = 500
"""Entries that are stored in one batch."""
FIRST: Final = 3.0
"""Seconds from the start to the first attempt: who proves itself by dialback must be reachable by then."""
ANSWER: Final = 60.0
"""Seconds: the host has given up long before."""
AGAIN: Final = (30.0, 900.0)
"""Seconds until a list that could not be read is asked for again: first, and at the most."""


class Failed(Exception):
    """The publisher does not answer, or answers with an error; the text says which."""


@dataclass(slots=True)
class Reading:
    """A list while it is read. `found`: what is on it; `new`: of that, what was not. `gone`: taken off meanwhile.
    `void`: what was read counts no more, for all of it was taken off meanwhile."""

    found: set[bytes] = field(default_factory=set)
    new: dict[bytes, ListEntry] = field(default_factory=dict)
    gone: set[bytes] = field(default_factory=set)
    void: bool = False


class Followed:
    """`changed`: is called when entries have come (True) or have only gone; `most`: so many entries are taken;
    `interval`: seconds from one reading to the next."""

    def __init__(
        self,
        host: Host,
        config: ListConfig,
        lists: Map[FollowedList],
        entries: Map[ListEntry],
        spawn: Callable[[Coroutine[Any, Any, None], str], None],
        changed: Callable[[bool], None],
        most: int,
        interval: float,
    ) -> None:
        self.host = host
        self.config = config
        self.id = config.id
        self.service = JID.parse(config.service)
        self.entries: set[bytes] = set()
        self.most, self.interval = most, interval
        self.hits = 0
        self.subscribed = False
        self.problem = ""
        self.complete = 0.0
        """When it was read last, seconds since 1970 UTC; 0: not yet."""
        self._lists, self._entries = lists, entries
        self._spawn, self._changed = spawn, changed
        self._reading: Reading | None = None
        self._wait = AGAIN[0]
        self._timer = host.clock.call_later(FIRST, self._due)
        self._cut = self._unsaved = self._ended = False
        self._refusal = ""

    # ---- when

    def _due(self) -> None:
        self._spawn(self.refresh(), "refresh")

    async def refresh(self) -> None:
        """Subscribes and reads the list; what it was stays until all of the new one is there. Sets the next time."""
        async with self.host.locks.hold(f"block-list {self.id}"):
            self._timer.cancel()
            if self._ended:
                return
            try:
                await self._try()
            finally:
                self._go_on()

    async def _try(self) -> None:
        try:
            await self._subscribe()
            await self._read()
        except (Failed, StorageUnavailable) as error:
            if str(error) != self.problem and not self._ended:
                log.warning("the block list %s cannot be read: %s", self.config.name, error)
            self.problem = str(error)
        else:
            self.problem = ""
        finally:
            self._reading = None

    def _go_on(self) -> None:
        """Sets the next time."""
        if self.problem:
            delay, self._wait = self._wait, min(self._wait * 2, AGAIN[1])
        else:
            delay, self._wait = self.interval, AGAIN[0]
        if not self._ended:
            self._timer = self.host.clock.call_later(delay, self._due)

    def end(self) -> None:
        """It is followed no more by this process."""
        self._ended = True
        self._timer.cancel()

    async def _subscribe(self) -> None:
        """Section 6.1. Who is subscribed already hears the same. Raises Failed if nobody answers; who may not
        subscribe may read nevertheless."""
        wanted = E("subscribe", NS, {"node": self.config.node, "jid": self.host.jid.full})
        answer = await self._ask("set", E("pubsub", NS, {}, wanted))
        refusal = "" if answer.type == "result" else _condition(answer)
        if refusal and refusal != self._refusal:
            log.warning("the block list %s takes no subscription: %s", self.config.name, refusal)
        self.subscribed, self._refusal = not refusal, refusal

    def unsubscribe(self) -> None:
        """Section 6.2; whether that is heard does not matter here."""
        self.subscribed = False
        gone = E("unsubscribe", NS, {"node": self.config.node, "jid": self.host.jid.full})
        self.host.ask(self.service, E("pubsub", NS, {}, gone), lambda answer: None, "set")

    # ---- reading (section 6.5)

    async def _read(self) -> None:
        """Raises Failed.

        Prosody (0.12) knows no pages and gives all that is asked for in one stanza, which is refused if it is too
        large: the newest items are asked for first. If that is not all, the names of all are asked for.
        """
        reading = self._reading = Reading()
        newest = await self._asked(self._question(newest=NEWEST))
        whole = True
        if find(newest, RSM_NS, "set") is not None:
            await self._read_pages(reading)
        elif self._take(reading, _items(newest)) >= NEWEST:
            whole = await self._read_names(reading)
        if reading.void:
            raise Failed("it was emptied while it was read")
        if not self._ended:
            await self._replace(reading, whole)
        if not whole:
            raise Failed(f"it is too long to be read at once, and has no pages: only the newest {NEWEST} are taken")

    async def _read_pages(self, reading: Reading) -> None:
        """XEP-0059. Raises Failed."""
        after, seen = "", 0
        while seen < self.most + PAGE and not reading.void:
            page = await self._asked(self._question(after))
            count = self._take(reading, _items(page))
            end = find(page, RSM_NS, "set")
            last = text_of(find(end, RSM_NS, "last")) if end is not None else ""
            if not count or not last or last == after:
                break
            after, seen = last, seen + count

    async def _read_names(self, reading: Reading) -> bool:
        """Section 5.5: what identifies the items, a third of their bytes. False: not even that is to be had."""
        try:
            found = await self._asked(E("query", ITEMS_NS, {"node": self.config.node}))
        except Failed:
            return False
        names = (E("item", NS, {"id": str(each.get("name", ""))}) for each in children(found, ITEMS_NS, "item"))
        return self._take(reading, list(names)) > 0

    def _question(self, after: str = "", newest: int = 0) -> Element:
        page = E("set", RSM_NS, {}, E("max", RSM_NS, {}, str(PAGE)))
        if after:
            page.append(E("after", RSM_NS, {}, after))
        most = {"max_items": str(newest)} if newest else {}
        return E("pubsub", NS, {}, E("items", NS, {"node": self.config.node, **most}), page)

    def _take(self, reading: Reading, items: Sequence[Element]) -> int:
        """Returns how many items there are."""
        for item in items:
            entry = _entry(item)
            if entry is None or entry[0] in reading.gone:
                continue
            if not self._has_room(reading.found, entry[0]):
                break
            reading.found.add(entry[0])
            if self._unsaved or entry[0] not in self.entries:
                reading.new.setdefault(*entry)
        return len(items)

    async def _replace(self, reading: Reading, whole: bool) -> None:
        """`whole`: what was not found is gone."""
        if not whole:
            reading.found |= self.entries - reading.gone
        gone = self.entries - reading.found
        self.entries = reading.found
        self._reading = None
        self.complete = self.host.clock.now() if whole else self.complete
        if len(self.entries) < self.most:
            self._cut = False
        if gone or reading.new:
            self._changed(bool(reading.new))
            log.info("block list %s: %d entries, %d new", self.config.name, len(self.entries), len(reading.new))
        if self._unsaved:
            gone |= await self._stored() - self.entries
            self._unsaved = False
        await self._save(gone, reading.new)
        await self._commit([self._lists.put(self.host.domain, self.id, self._record())])

    def _record(self) -> FollowedList:
        return FollowedList(self.config.service, self.config.node, self.complete)

    # ---- events (section 7.1.2)

    def heard(self, event: Element) -> None:
        """The publisher tells of a change. What is of another node, or nothing known, is passed over."""
        for change in event:
            if change.get("node") != self.config.node:
                continue
            name = name_of(change)[1]
            if name == "items":
                self._items(change)
            elif name in ("purge", "delete"):  # sections 8.4 and 8.5
                self._clear()
                self.subscribed = self.subscribed and name == "purge"

    def _items(self, items: Element) -> None:
        added: dict[bytes, ListEntry] = {}
        removed: set[bytes] = set()
        for each in items:
            name = name_of(each)[1]
            if name == "item" and (entry := _entry(each)) is not None:
                removed.discard(entry[0])
                added[entry[0]] = entry[1]
            elif name == "retract" and (who := named(str(each.get("id", "")))) is not None:
                added.pop(who[0], None)
                removed.add(who[0])
        added = {each: entry for each, entry in added.items() if self._has_room(self.entries, each, len(added))}
        reading = self._reading
        if reading is not None:
            reading.gone = (reading.gone | removed) - added.keys()
            reading.found = (reading.found - removed) | added.keys()
        new = added.keys() - self.entries
        removed &= self.entries
        self.entries -= removed
        self.entries |= added.keys()
        if new or removed:
            self._changed(bool(new))
        if added or removed:
            self._spawn(self._save(removed, added), "save")

    def _clear(self) -> None:
        gone, self.entries = self.entries, set()
        if self._reading is not None:
            self._reading.void = True
        if gone:
            self._changed(False)
            self._spawn(self._save(gone, {}), "save")

    def _has_room(self, among: set[bytes], entry: bytes, more: int = 1) -> bool:
        """Whether one more entry is taken. One warning for a list that is too long."""
        if entry in among or len(among) + more <= self.most:
            return True
        if not self._cut:
            self._cut = True
            log.warning("the block list %s has more than %d entries: the rest is left out", self.config.name, self.most)
        return False

    # ---- the store

    def restore(self, stored: FollowedList | None, records: Iterable[bytes]) -> None:
        """What the last process has left."""
        self.complete = stored.complete if stored is not None else 0.0
        self.entries = set(islice(records, self.most))

    async def _stored(self) -> set[bytes]:
        """Raises StorageUnavailable."""
        return set(digests(await self._entries.read_all(self.host.domain), self.id))

    async def forget(self) -> None:
        """Deletes what is stored of it."""
        gone, self.entries = self.entries, set()
        await self._save(gone, {})
        await self._commit([self._lists.delete(self.host.domain, self.id)])

    async def _save(self, gone: Iterable[bytes], new: Mapping[bytes, ListEntry]) -> None:
        for some in _parts([*gone, *new]):
            await self._commit([self._write(each, new.get(each)) for each in some])

    def _write(self, entry: bytes, record: ListEntry | None) -> Write:
        key = f"{self.id}/{entry.hex()}"
        if entry in self.entries:
            return self._entries.put(self.host.domain, key, record or ListEntry())
        return self._entries.delete(self.host.domain, key)

    async def _commit(self, writes: list[Write]) -> None:
        try:
            await self.host.storage.commit(writes)
        except StorageUnavailable:
            self._unsaved = True  # the next reading compares with what is stored

    async def reason(self, entry: bytes) -> str:
        """Why somebody is on the list. Raises StorageUnavailable."""
        found = await self._entries.read(self.host.domain, f"{self.id}/{entry.hex()}")
        return found.reason if found is not None else ""

    # ---- questions

    async def _asked(self, question: Element) -> Element:
        """What a get brings. Raises Failed."""
        answer = await self._ask("get", question)
        payload = answer.payload
        if answer.type != "result" or payload is None:
            raise Failed(_condition(answer) if answer.type == "error" else "it answers nothing")
        return payload

    async def _ask(self, type: str, payload: Element) -> Stanza:
        """Raises Failed: there is no answer."""
        told, found = Signal(self.host.clock), list[Stanza]()

        def answered(answer: Stanza | None) -> None:
            if answer is not None:
                found.append(answer)
            told.set()

        self.host.ask(self.service, payload, answered, type)
        await told.wait(ANSWER)
        if not found:
            raise Failed("there is no answer")
        return found[0]


def digests(records: Iterable[str], id: str) -> Iterator[bytes]:
    """The entries of one list, among keys of the store."""
    return (bytes.fromhex(key[len(id) + 1 :]) for key in records if key.startswith(f"{id}/"))


def _items(pubsub: Element) -> list[Element]:
    items = find(pubsub, NS, "items")
    return list(children(items, NS, "item")) if items is not None else []


def _entry(item: Element) -> tuple[bytes, ListEntry] | None:
    who = named(str(item.get("id", "")))
    return None if who is None else (who[0], ListEntry(who[1], reason_of(item)))


def _condition(answer: Stanza) -> str:
    """Of an error."""
    error = answer.xml.find("{*}error")
    return "an error" if error is None or not len(error) else name_of(error[0])[1]


def _parts(entries: list[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(entries), WRITES):
        yield entries[start : start + WRITES]
