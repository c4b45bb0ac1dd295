"""What a store can do: shapes, not SQL. Plugins see `Map`, `Log` and writes; backends see `Backend`.

A write is a value: absolute and idempotent (a given id, a set value, a delete), because a commit whose answer
was lost is repeated as it was. Every record has an owner: the bare JID of an account or a room, as text.
Writes and entries are msgspec structs: made in a quarter of the time of a frozen dataclass, and every message
takes four of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import Any, Final, Protocol, TypeVar

from msgspec import Struct

T = TypeVar("T")


class Flags(IntFlag):
    """What the server must know of a log entry without reading its body."""

    INCOMING = 1
    """Came to the owner (to an account: is delivered to its devices)."""
    HIDDEN = 2
    """A transient entry: not part of the archive that people read, deleted once it is acknowledged."""
    GROUP = 4
    """A groupchat message."""


class Entry(Struct, frozen=True, gc=False):
    """One message in an owner's log.

    `id`: microseconds since 1970 UTC when accepted, strictly rising per owner, so a time is an id, a page
    is a range.
    `peer`, `resource`: the other party's bare JID and resource (in a room's log: its JID and the nick).
    `flags`: of `Flags`, below 256.
    `body`: the stanza as UTF-8 bytes, default namespace jabber:client. Entries of one batch that hold
    the same bytes may share them in the store.
    """

    id: int
    peer: str
    resource: str
    flags: int
    body: bytes


class MapPut(Struct, frozen=True):
    """Set one record. `value` is the record itself, or the same in builtin types."""

    map: str
    owner: str
    key: str
    value: Any


class MapDelete(Struct, frozen=True, gc=False):
    map: str
    owner: str
    key: str


class MapClear(Struct, frozen=True, gc=False):
    """Delete every key of one owner in one map."""

    map: str
    owner: str


Source = tuple[int, int]
"""Where something was first decided: the number of a batch, the place in it. It names it in whatever log it lies."""
NOT_SENT: Final[Source] = (0, 0)


class LogAppend(Struct, frozen=True, gc=False):
    """Add an entry; the same id again is the same entry (a repeated batch) and changes nothing.

    `source`: the sending that it was made of. Of one sending one entry is stored: if it is decided once more, under
    another id, that entry is left out, and the log has an error, since whoever decides must ask `Storage.was_heard`.
    """

    log: str
    owner: str
    entry: Entry
    source: Source | None = None


class LogReplace(Struct, frozen=True, gc=False):
    """Put another body (a tombstone) and flags in the place of an entry; nothing happens if it is not there.

    Its peer and resource stay what they were.
    """

    log: str
    owner: str
    entry: Entry


class LogDelete(Struct, frozen=True, gc=False):
    log: str
    owner: str
    ids: tuple[int, ...]


class LogTrim(Struct, frozen=True, gc=False):
    """Delete the entries with `id < before`."""

    log: str
    owner: str
    before: int


class OwnerDelete(Struct, frozen=True, gc=False):
    """Delete everything that an owner has, in every map and every log."""

    owner: str


class Send(Struct, gc=False):
    """What an owner has to say to another whose home is elsewhere: it stays in the store until it is heard (`Heard`),
    also when the owner is deleted, because it was acknowledged.

    `owner`: bare JID of who sends; `to`: bare JID of the recipient; `data`: the stanza as UTF-8 bytes. `source` is set
    by the store when it is committed, before its release is called.
    """

    owner: str
    to: str
    data: bytes
    source: Source = NOT_SENT


class Heard(Struct, frozen=True, gc=False):
    """A sending is decided by its recipient: the store need not keep it any more. It belongs in the batch of the
    recipient's decision.

    `owner`: bare JID of the recipient; `sender`: bare JID of who has sent it.
    """

    owner: str
    sender: str
    source: Source


class MapUpdate(Struct, frozen=True):
    """Set one record to what `function` makes of the one that is there (None: there is none, or: delete it).

    The function is called when the batch is committed, behind all that was joined before: updates of one record count
    one another. It may be called more than once (a commit that failed is tried again), so it only computes.
    """

    map: str
    owner: str
    key: str
    function: Callable[[Any], Any]


AbsoluteWrite = (
    MapPut | MapDelete | MapClear | LogAppend | LogReplace | LogDelete | LogTrim | OwnerDelete | Send | Heard
)
"""What a backend is given."""
Write = AbsoluteWrite | MapUpdate


@dataclass(frozen=True, slots=True)
class Range:
    """Which entries of an owner's log. All conditions hold together.

    `after`, `before`: exclusive ids; `low`, `high`: inclusive ids (times in microseconds). `peer` matches the
    bare JID, `resource` as well when not None. `ids`: exactly these. `flags` must all be set, `without` must
    all be clear.
    """

    after: int | None = None
    before: int | None = None
    low: int | None = None
    high: int | None = None
    peer: str | None = None
    resource: str | None = None
    ids: tuple[int, ...] | None = None
    flags: int = 0
    without: int = 0


NOT_HIDDEN: Final = Range(without=Flags.HIDDEN)
"""What people can read. `Log.ends` of this very range is answered from memory, once it was asked."""


class DataError(Exception):
    """The store refuses these writes for what they hold: repeating does not help."""


class StoreError(Exception):
    """The store cannot be used as it is: damaged, of a newer version, in use. The operator must act."""


class Map(Protocol[T]):
    """Records of type T by (owner, key). T is a dataclass that msgspec can convert."""

    name: str
    cached: bool
    in_memory: Mapping[str, Mapping[str, T]]
    """Of a cached map the records of all owners that are loaded, by owner, as `get` gives them: to look at, in loops
    over many owners."""

    def put(self, owner: str, key: str, value: T) -> MapPut: ...
    def delete(self, owner: str, key: str) -> MapDelete: ...
    def clear(self, owner: str) -> MapClear: ...

    def update(self, owner: str, key: str, function: Callable[[T | None], T | None]) -> MapUpdate:
        """Set a record to what `function` makes of the one that is there, in the order of the commits: the way to
        count. None stands for no record. The function computes, and does nothing else: it may be called again."""
        ...

    def get(self, owner: str) -> Mapping[str, T]:
        """All committed records of an owner whose working set is loaded, and what `update` makes of those whose
        commit is on its way: a plain call, no copy.

        What is returned never changes: a later commit shows in the next call only.
        Resident maps only. Raises LocalError when the owner is not loaded.
        """
        ...

    async def read(self, owner: str, key: str) -> T | None: ...

    async def read_stored(self, owner: str, key: str) -> T | None:
        """As `read`, but from the store in any case: what is in memory saves no time."""
        ...

    async def read_all(self, owner: str) -> dict[str, T]: ...

    async def owners(self, domain: str, after: str = "", limit: int = 1000) -> list[str]:
        """Owners at `domain` that have a record in this map, in order, beginning behind `after`."""
        ...

    async def scan(
        self, domain: str, after: tuple[str, str] = ("", ""), limit: int = 200
    ) -> list[tuple[str, str, T | None]]:
        """A page of all records of the owners at `domain`: (owner, key, record), in order of owner and key, beginning
        behind `after` (the two of the last one). None for a record that cannot be read. An empty page is the end.

        For what is done rarely and in the background: it reads everything.
        """
        ...


class Log(Protocol):
    """Entries by (owner, id)."""

    name: str

    def append(self, owner: str, entry: Entry) -> LogAppend: ...
    def replace(self, owner: str, entry: Entry) -> LogReplace: ...
    def delete(self, owner: str, ids: Sequence[int]) -> LogDelete: ...
    def trim(self, owner: str, before: int) -> LogTrim: ...

    async def page(self, owner: str, range: Range, limit: int, backwards: bool = False) -> list[Entry]:
        """At most `limit` entries of the range: its first ones, or its last ones if `backwards`.

        Always in rising order.
        """
        ...

    async def ends(self, owner: str, range: Range) -> tuple[int, int]:
        """The lowest and the highest id of the range; (0, 0) where there is no entry."""
        ...

    async def count(self, owner: str, range: Range, limit: int | None = None) -> int:
        """How many entries; counting may end at `limit`."""
        ...

    async def last_id(self, owner: str) -> int:
        """The highest id, 0 for an empty log; may be that of a deleted entry, since the next id is above it."""
        ...


class Release(Protocol):
    """What waits for a commit. One of the two is called, once, on the event loop, in the order of joining.

    `failed` gets StorageUnavailable (nothing was written) or the store's own error (DataError).
    """

    def committed(self) -> None: ...
    def failed(self, error: Exception) -> None: ...


class _Nobody:
    def committed(self) -> None:
        """Nobody waits."""

    def failed(self, error: Exception) -> None:
        """Nobody waits."""


NOBODY: Final = _Nobody()
"""A `Release` that nobody waits for."""
Item = tuple[Sequence[Write], Release]


class Counter(Protocol):
    """Something whose count is committed with (behind) what it counts: a session's stanzas."""

    def counted(self, count: int) -> Write:
        """The write that makes `count` durable."""
        ...


class Batch:
    """Writes that are committed together, and what is released after them; made by the store.

    `done`: the last of its releases has been called, nothing can follow it. The rest is the store's own:
    the items in order of joining, their number of writes, their approximate size in bytes.
    `number`: batches are committed in rising order of it. `counts`: the last count of each counter that has a part
    in it, written once per batch. `updates`: it holds a `MapUpdate`. `resolved`: the writes of the items that are being
    committed, without updates. `full_ride`: the riders bring all that they have. `sure`: it is committed even if it
    holds nothing.
    """

    __slots__ = ("counts", "done", "full_ride", "items", "number", "resolved", "rows", "size", "sure", "updates")

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.counts: dict[Counter, int] = {}
        self.done = False
        self.items: list[Item] = []
        self.rows = 0
        self.size = 0
        self.updates = False
        self.resolved: list[Sequence[AbsoluteWrite]] | None = None
        self.full_ride = False
        self.sure = False

    def close(self) -> None:
        """It is done. An idle stream or room keeps its last batch as its tail; what was in it need not stay with it."""
        self.done = True
        self.items, self.counts, self.resolved = [], {}, None


class Rider(Protocol):
    """Has something to store that can wait, and goes along with a batch that is committed anyway."""

    def ride(self, rows: int) -> Item | None:
        """At most so many writes, which are taken now, and what to call when they are decided."""
        ...


class Note(Protocol):
    """Something that is to be stored soon."""

    def writes(self) -> Sequence[Write]:
        """What is to be stored, as it is now: called once for each attempt."""
        ...

    def stored(self) -> None: ...
    def failed(self, again: bool) -> None:
        """Not stored. `again`: it will be tried again; else a newer one has its place, or the store refuses it."""
        ...


class WriteBehind(Protocol):
    """Notes by key: stored with the next batch that is committed anyway, or after a delay. A crash may take what is not
    stored yet; while the store is away it is tried again, and at the stop it is stored.

    Who notes reserves the bytes that a note needs in memory (`reserve`), and frees them when it is stored or given up.
    """

    reserved: int
    """Bytes."""

    def note(self, key: Hashable, note: Note) -> None:
        """Store what it writes. One of the same key that waits is replaced, in its place."""
        ...

    def reserve(self, size: int, anyway: bool = False) -> None:
        """So many bytes more wait. Raises ResourceConstraint when that is too much, unless `anyway` (for what is there
        and cannot be refused any more)."""
        ...

    def free(self, size: int) -> None:
        """So many bytes wait no more."""
        ...

    async def flush(self) -> None:
        """Store all that is noted. Raises StorageUnavailable."""
        ...


class Notes(Protocol[T]):
    """Records that are noted now, read at once, and stored soon; a crash may take what is not stored yet.

    They are bounded in bytes, tried again while the store is away, and stored at the stop.
    """

    def put(self, owner: str, key: str, value: T | None) -> None:
        """None: delete it. Raises ResourceConstraint when too much waits."""
        ...

    def update(self, owner: str, key: str, function: Callable[[T | None], T | None]) -> None:
        """Note what `function` makes of the record, or of what is noted of it. As `get` and `put`."""
        ...

    def get(self, owner: str, key: str) -> T | None:
        """What is noted, else what is stored. Raises LocalError if it is neither noted nor in memory (`Map.get`)."""
        ...

    async def read(self, owner: str, key: str) -> T | None:
        """What is noted, else what is stored. Raises StorageUnavailable."""
        ...

    async def flush(self) -> None:
        """Store all that is noted. Raises StorageUnavailable."""
        ...


class Storage(Protocol):
    """The store as the core sees it."""

    available: bool
    """False while commits fail and new writes are refused."""
    congested: bool
    """True while so much waits that senders should be paused; at twice as much `join` refuses."""

    def on_uncongested(self, callback: Callable[[], object]) -> None:
        """Call `callback` once, as soon as the store is not congested (on the next turn if it is not now)."""
        ...

    def map(self, name: str, record: type[T], cached: bool = False) -> Map[T]: ...

    def in_memory(self, name: str) -> Mapping[str, Mapping[str, Any]]:
        """`Map.in_memory` of the cached map of that name. Raises LocalError if there is none."""
        ...

    def log(self, name: str) -> Log: ...

    def join(self, writes: Sequence[Write], release: Release) -> Batch:
        """Add writes to the open batch (plain call, hot path). Raises StorageUnavailable."""
        ...

    def follow(self, batch: Batch, release: Release) -> None:
        """Release behind what is already in `batch`, which must not be done (LocalError).

        Allowed while the releases of `batch` are being called.
        """
        ...

    def add_rider(self, rider: Rider) -> None:
        """Ask it whenever a batch is sealed whether it has something for it."""
        ...

    def write_behind(
        self, delay: float = 1.0, limit: int = 4 << 20, prepare: Callable[[Any], Awaitable[object]] | None = None
    ) -> WriteBehind:
        """For what may be stored a moment later, at the latest after `delay` seconds; `limit`: bytes that may wait.

        `prepare` is for notes that must read before they can be written. It is called with each when the delay is over
        and in `flush` (which a plugin calls in its `stop`), one at a time; then the note goes along. It may raise
        StorageUnavailable, and is called again later; after any other error the note is given up (`Note.failed`). The
        note may be noted again at any time; it is not written again before the last attempt is decided.
        """
        ...

    def notes(self, map: Map[T], delay: float = 1.0, limit: int = 4 << 20) -> Notes[T]:
        """The same for the records of a map; `limit`: bytes (approximate) that may wait."""
        ...

    def send_riders(self, release: Release) -> Batch:
        """Have a batch, even if nothing else waits: the riders bring all that they have. Raises StorageUnavailable."""
        ...

    async def commit(self, writes: Sequence[Write]) -> None:
        """Join and wait. Raises StorageUnavailable, or the store's error if it refuses these writes."""
        ...

    async def unheard(self, domain: str, after: Source = NOT_SENT, limit: int = 200) -> list[Send]:
        """A page of the sendings of owners at a domain that are not heard, in order of their sources, beginning behind
        `after`. It is read at the start, before anybody decides: what is sent later is remembered by who sends it.

        Raises StorageUnavailable.
        """
        ...

    async def was_heard(self, owner: str, log: str, source: Source) -> bool:
        """Whether an owner's log holds what a sending was made into, or has held it within the time for which the
        places of deleted entries are kept (an hour). It waits for what is committed for that owner.

        For a sending that comes again: one that is sent for the first time was not heard. Raises StorageUnavailable.
        """
        ...

    async def commit_each(self, decisions: Iterable[Sequence[Write]]) -> None:
        """Commit decisions of several owners, which may share a batch or not. Raises as `commit`; the others may be in
        then."""
        ...

    async def decided(self, batch: Batch) -> None:
        """Wait until a batch that is not done is committed or has failed, and what was in it before is released."""
        ...

    def loaded(self, owner: str) -> bool:
        """Whether the owner's cached maps are in memory. Counts as a use, which keeps them there longer."""
        ...

    async def load(self, owner: str) -> None:
        """Read all cached maps of an owner at once; "nothing stored" is remembered too.

        Raises StorageUnavailable.
        """
        ...

    def pin(self, owner: str) -> None:
        """Keep an owner's working set in memory (counted) until `unpin`."""
        ...

    def unpin(self, owner: str) -> None: ...

    async def settle(self) -> None:
        """Store what is noted now, and wait until all that has joined is decided and released. Raises
        StorageUnavailable."""
        ...

    def owners(self) -> set[str]:
        """Of whom something is in memory: a working set, the ends of a log."""
        ...

    def in_use(self, owner: str) -> bool:
        """Whether an owner's working set is pinned or being loaded."""
        ...

    def undecided(self) -> set[str]:
        """The owners of writes that have joined and are not decided yet."""
        ...

    def unload(self, owners: Collection[str]) -> None:
        """Take owners out of memory. Raises LocalError if one of them is in use; then nothing has changed."""
        ...
