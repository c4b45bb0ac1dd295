"""Messages that move between servers: archives as XEP-0227 writes them (section "Message Archive"), and where a message
that comes in has its place in a log, so that none is there twice however often it comes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from ..contracts.moving import ARCHIVE_NS
from ..errors import MalformedJid
from ..jid import JID
from ..stanza import KINDS, Stanza, embedded, look_at
from ..storage.api import Entry, Flags, Log, Range
from ..xml import CLIENT_NS, LANG, E, Element, alone, children, find, in_namespace, parse, tag_of, text_of, to_bytes
from .elements import DELAY_NS, parse_time, stamp
from .mam import FORWARD_NS, MAM_NS
from .numbers import log_id

ARCHIVE_TAG: Final = f"{ARCHIVE_NS}|archive"
SECOND: Final = 1_000_000
"""Most servers know the time of a message to the second."""
MANY: Final = 2000
"""So many entries of one second are compared."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A message of an archive. `id`: as the other server named it; `at`: microseconds since 1970 UTC."""

    id: str
    at: int
    message: Element


def archive_element(owner: str, entries: Iterable[Entry]) -> Element:
    """Some of an archive, as XEP-0227 has it."""
    made = E("archive", ARCHIVE_NS)
    for entry in entries:
        delay = E("delay", DELAY_NS, {"stamp": stamp(entry.id)})
        made.append(
            E("result", MAM_NS, {"id": str(entry.id)}, E("forwarded", FORWARD_NS, {}, delay, stored(entry.body)))
        )
    return made


def stored(body: bytes) -> Element:
    """A stored stanza as an element that can be put anywhere."""
    return alone(parse(embedded(body)))


def json_line(entry: Entry) -> bytes:
    """An archived message as a line of JSON: its time, whom it is from and to, its text, and all of it as XML."""
    found: dict[str, Any] = {"id": str(entry.id), "time": stamp(entry.id)}
    try:
        stanza = look_at(entry.body)
    except ValueError:
        found["broken"] = True
    else:
        body, subject = stanza.child(CLIENT_NS, "body"), stanza.child(CLIENT_NS, "subject")
        found |= {"from": stanza.claimed, "to": stanza.to.full if stanza.to is not None else "", "type": stanza.type}
        if stanza.id:
            found["stanza_id"] = stanza.id
        if subject is not None:
            found["subject"] = text_of(subject)
        if body is not None:
            found["body"] = text_of(body)
    found["xml"] = entry.body.decode("utf-8", "replace")
    return msgspec.json.encode(found) + b"\n"


def read_archive(archive: Element) -> Iterator[Moved | str]:
    """The messages of an <archive/>; a text says what is wrong with one of them."""
    for result in children(archive):
        forwarded = find(result, FORWARD_NS, "forwarded")
        message = find(forwarded, CLIENT_NS, "message") if forwarded is not None else None
        delay = find(forwarded, DELAY_NS, "delay") if forwarded is not None else None
        if message is None or delay is None:
            yield "a message of an archive is none"
            continue
        try:
            at = parse_time(str(delay.get("stamp", "")))
        except (ValueError, OverflowError):
            yield "a message of an archive has no time"
            continue
        if at <= 0:
            yield "a message of an archive has no time"
            continue
        yield Moved(str(result.get("id", "")), at, message)


def stanza_of(element: Element) -> Stanza:
    """A stanza as the server would have read it: `sender` is what it claims. Raises ValueError, MalformedJid."""
    kind = KINDS.get(tag_of(element))
    if kind is None:
        raise ValueError(f"{tag_of(element)} is no stanza")
    if any(each.prefix is not None for each in element.iter("{*}*")):
        element = in_namespace(element, CLIENT_NS, CLIENT_NS)
    else:
        element = alone(element)
    data = to_bytes(element)
    inside = b"" if data.endswith(b"/>") and not len(element) else data[data.index(b">") + 1 : data.rindex(b"</")]
    attributes = {(_LANG if str(key) == LANG else str(key)): str(value) for key, value in element.attrib.items()}
    stanza = Stanza.received(kind, attributes, inside, tuple(map(tag_of, children(element))))
    if stanza.fault:
        raise MalformedJid(f"{attributes.get('to', '')!r} is no address")
    if stanza.claimed:
        stanza.sender = JID.parse(stanza.claimed)
    return stanza


def tidy(stanza: Stanza) -> Stanza:
    """The same, written as a client would have written it: what had children taken away says its namespace again and
    again. Raises ValueError, MalformedJid."""
    return stanza_of(in_namespace(parse(embedded(stanza.data)), CLIENT_NS, CLIENT_NS))


_LANG: Final = LANG.removeprefix("{").replace("}", "|")


def fingerprint(entry: Entry) -> tuple[object, ...]:
    """The same for one message, however its XML is written. A message without an id is known by its content."""
    try:
        stanza = look_at(entry.body)
    except ValueError:
        return entry.peer, entry.resource, entry.body
    incoming = entry.flags & Flags.INCOMING
    body = text_of(stanza.child(CLIENT_NS, "body"))
    if not stanza.id and not body:
        return incoming, entry.peer, entry.resource, stanza.type, tuple(sorted(stanza.tags)), entry.body
    return incoming, entry.peer, entry.resource, stanza.type, stanza.id, body


@dataclass(frozen=True, slots=True)
class Placed:
    """`entries`: new ones, with their ids; `there`: those that are there already, by the place in what was wanted."""

    entries: tuple[Entry, ...]
    there: dict[int, Entry]


async def place(log: Log, owner: str, wanted: Sequence[tuple[str, Entry]], now: int) -> Placed:
    """Where messages belong in a log: each at its time (`Entry.id`, microseconds), behind those of the same time that
    are there, unless it is there already. `wanted`: with the id that the other server has for it; one of ours is kept.

    Raises StorageUnavailable.
    """
    if not wanted:
        return Placed((), {})
    times = [min(entry.id, now) for _, entry in wanted]
    span = Range(low=_second(min(times)) - SECOND, high=_second(max(times)) + 2 * SECOND - 1)
    there: dict[int, Entry] = {}
    seconds = _Seconds(log, owner, empty=not await log.count(owner, span, 1))
    entries: list[Entry] = []
    for number, ((name, entry), at) in enumerate(zip(wanted, times, strict=True)):
        found = await seconds.found(entry, at)
        if found is not None:
            there[number] = found
            continue
        own = log_id(name)
        id = own if own is not None and _second(own) == _second(at) and own <= now else at
        taken = (await seconds.at(at)).taken
        while id in taken:
            id += 1
        taken.add(id)
        entries.append(Entry(id, entry.peer, entry.resource, entry.flags, entry.body))
    return Placed(tuple(entries), there)


@dataclass(slots=True)
class _Second:
    """What a log has in a second. `taken`: ids; `known`: entries that no message that comes in is yet."""

    taken: set[int]
    known: dict[tuple[object, ...], list[Entry]]


class _Seconds:
    """What a log has around the messages that come in. `empty`: nothing."""

    def __init__(self, log: Log, owner: str, empty: bool) -> None:
        self._log = log
        self._owner = owner
        self._empty = empty
        self._read: dict[int, _Second] = {}

    async def at(self, at: int) -> _Second:
        second = _second(at)
        if second not in self._read:
            wanted = Range(low=second, high=second + SECOND - 1)
            page = [] if self._empty else await self._log.page(self._owner, wanted, MANY)
            known: dict[tuple[object, ...], list[Entry]] = {}
            for each in reversed(page):
                known.setdefault(fingerprint(each), []).append(each)
            self._read[second] = _Second({each.id for each in page}, known)
        return self._read[second]

    async def found(self, entry: Entry, at: int) -> Entry | None:
        """The entry that a message is already: of its second, or, since two stores of one server may know its time a
        little differently, of those beside it. Each entry stands for one message."""
        if self._empty:
            return None
        print_ = fingerprint(entry)
        for second in (at, at - SECOND, at + SECOND):
            left = (await self.at(second)).known.get(print_)
            if left:
                return left.pop()
        return None


def _second(id: int) -> int:
    return id - id % SECOND
