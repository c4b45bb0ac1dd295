"""The rooms of a service: the directory, the rooms in memory, and what is stored of them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from xmppd.cache import Cache, content
from xmppd.errors import PolicyViolation
from xmppd.jid import JID
from xmppd.plugin import Lane
from xmppd.storage.api import Map, OwnerDelete, Write
from xmppd.xep.duplicates import RecentMessages

from .model import (
    AffiliationRecord,
    AppendEntry,
    DeleteRoom,
    DirectoryEntry,
    Hat,
    Plan,
    RoomCard,
    Save,
    SaveAffiliation,
    SaveAlso,
    SaveCard,
    SaveHat,
    SaveRoom,
    ServiceSettings,
    StoredRoom,
    StoredSession,
)
from .room import RoomState

if TYPE_CHECKING:
    from xmppd.plugin import Host

T = TypeVar("T")

log = logging.getLogger("xmppd.rooms")

EMPTY_ROOMS: Final = 1000
EMPTY_ROOMS_BYTES: Final = 32 << 20
"""So many rooms without occupants stay in memory, of so many bytes."""
WRITES: Final = 200
"""Of one commit that deletes rooms at the start."""
RATES: Final = 2000
RATES_BYTES: Final = 512 << 10


class ChangeRate:
    """The changes per minute of each user in a room (G05): a token bucket for each that holds a minute's worth."""

    __slots__ = ("_buckets",)

    def __init__(self) -> None:
        self._buckets: Cache[str, tuple[float, float]] = Cache(RATES, RATES_BYTES)
        """Bare JID -> tokens left, at which time (seconds)."""

    @property
    def used(self) -> int:
        """Bytes."""
        return self._buckets.used

    def count(self, bare: str, now: float, per_minute: int) -> None:
        """Takes a token for a change. Raises PolicyViolation of type wait when none is left."""
        left, since = self._buckets.get(bare) or (float(per_minute), now)
        left = min(per_minute, left + (now - since) * per_minute / 60)
        self._buckets.put(bare, (left - 1 if left >= 1 else left, now))
        if left < 1:
            raise PolicyViolation("too many changes: wait a little", type="wait")


class RoomSlot:
    """The place of a room in memory: the room, if it exists, its order of stanzas and its lock.

    `users`: how many hold the room's lock or wait for it.
    """

    __slots__ = ("change_rate", "lane", "resendable", "room", "users")

    def __init__(self) -> None:
        self.room: RoomState | None = None
        self.lane = Lane()
        self.users = 0
        self.change_rate = ChangeRate()
        self.resendable: dict[str, RecentMessages] = {}
        """By full JID: what an occupant that rejoined after a broken stream may send again."""


def _weight(bare: str, slot: RoomSlot) -> int:
    """Roughly the bytes of a room."""
    room = slot.room
    if room is None:
        return 4000
    nicks = sum(1200 + 12 * len(each.nick) for each in room.affiliations.values() if each.nick)
    parts = (room.affiliations, room.options, room.record, room.hats, tuple(room.invitations))
    beside = slot.change_rate.used + room.kept_roles.used
    return 4000 + beside + 200 * len(room.affiliations) + nicks + sum(map(content, parts))


def _put_or_delete(map: Map[T], owner: str, key: str, record: T | None) -> Write:
    return map.delete(owner, key) if record is None else map.put(owner, key, record)


class RoomRegistry:
    """`directory`: every room by localpart. `made_by`: how many rooms a user has created. `slots`: those in memory, by
    bare JID."""

    def __init__(self, host: Host, settings: ServiceSettings) -> None:
        self.host = host
        self.settings = settings
        storage = host.storage
        self.archive = storage.log("archive")
        self.records = storage.map("room", StoredRoom)
        self.affiliations = storage.map("room_member", AffiliationRecord)
        self.hats = storage.map("room_hat", Hat)
        self.cards = storage.map("room_card", RoomCard)
        self.directory_entries = storage.map("room_directory", DirectoryEntry)
        self.stored_sessions = storage.map("room_seat", StoredSession)
        self.directory: dict[str, DirectoryEntry] = {}
        self.made_by: Counter[str] = Counter()
        self.slots: dict[str, RoomSlot] = host.owned({}, stays=self._stays)
        self._empty: Cache[str, RoomSlot] = host.owned(Cache(EMPTY_ROOMS, EMPTY_ROOMS_BYTES, _weight))

    async def open(self) -> None:
        """Reads the directory, and deletes temporary rooms that a crash left: nobody is in them."""
        found = await self.directory_entries.read_all(self.host.domain)
        occupied = set(await self._rooms_with_sessions())
        writes: list[Write] = []
        for local, entry in found.items():
            if entry.persistent or JID.of(local, self.host.domain).bare in occupied:
                self._list(local, entry)
            else:
                writes += self._deletion(JID.of(local, self.host.domain))
        for start in range(0, len(writes), WRITES):
            await self.host.storage.commit(writes[start : start + WRITES])

    def _list(self, local: str, entry: DirectoryEntry | None) -> None:
        """Puts a room into the directory; None takes it out."""
        former = self.directory.pop(local, None)
        if former is not None:
            self.made_by[former.creator] -= 1
            if not self.made_by[former.creator]:
                del self.made_by[former.creator]
        if entry is not None:
            self.directory[local] = entry
            self.made_by[entry.creator] += 1

    def _deletion(self, jid: JID) -> list[Write]:
        return [OwnerDelete(jid.bare), self.directory_entries.delete(self.host.domain, jid.local)]

    async def rooms_naming(self, names: AbstractSet[str]) -> list[JID]:
        """Finds the rooms that know one of these bare JIDs: by affiliation or reserved nick, as an occupant, as
        creator, by an invitation or a hat. It reads the affiliations and hats of all rooms.

        Raises StorageUnavailable.
        """
        found = {JID.of(local, self.host.domain) for local, each in self.directory.items() if each.creator in names}
        found.update(
            slot.room.jid
            for slot in self.slots.values()
            if slot.room is not None
            and (
                any(each.bare in names for each in slot.room.occupants.values())
                or any(not names.isdisjoint(each) for each in slot.room.invitations)
                or any(bare in names for bare in slot.room.kept_roles)
            )
        )
        place = ("", "")
        while page := await self.affiliations.scan(self.host.domain, place):
            place = page[-1][:2]
            found.update(JID.parse(owner) for owner, bare, _ in page if bare in names)
        place = ("", "")
        while worn := await self.hats.scan(self.host.domain, place):
            place = worn[-1][:2]
            found.update(JID.parse(owner) for owner, _, hat in worn if hat and not names.isdisjoint(hat.wearers))
        return sorted(found, key=lambda jid: jid.bare)

    # ---- memory

    @asynccontextmanager
    async def exclusive(self, jid: JID) -> AsyncIterator[RoomSlot]:
        """Holds the lock of a room, which is loaded then; all messages to it are stored and sent. `room` is None if it
        does not exist.

        Raises StorageUnavailable.
        """
        bare = jid.bare
        slot = self.slots.get(bare)
        if slot is None:
            slot = self.slots[bare] = RoomSlot()
        slot.users += 1
        try:
            async with self.host.router.locks.hold(bare):
                if slot.room is None and jid.local in self.directory:
                    slot.room = await self._load(jid.to_bare())
                await self.host.router.until_idle(slot.lane)
                yield slot
        finally:
            slot.users -= 1
            self._release(bare, slot)

    async def _load(self, jid: JID) -> RoomState | None:
        record = await self.records.read(jid.bare, "")
        if record is None:
            log.error("%s is in the directory, but nothing is stored of it", jid)
            await self.host.storage.commit(self._deletion(jid))
            self._list(jid.local, None)
            return None
        affiliations = await self.affiliations.read_all(jid.bare)
        last = await self.archive.last_id(jid.bare)
        return RoomState(jid, record, affiliations, self.settings, last, await self.hats.read_all(jid.bare))

    def _release(self, bare: str, slot: RoomSlot) -> None:
        """Drops a slot without a room at once, rooms without occupants when there are too many."""
        if slot.users:
            return
        if slot.room is None:
            self.slots.pop(bare, None)
            self._empty.pop(bare)
            return
        if slot.room.sessions:
            self._empty.pop(bare)
            return
        slot.room.forwarded_iqs.clear()  # who asked and who would answer have left
        for oldest in self._empty.put(bare, slot):
            there = self.slots.get(oldest)
            if there is not None and not there.users and there.lane.idle:
                del self.slots[oldest]

    def _stays(self, bare: str) -> bool:
        """Whether somebody is in a room, or changes it, or it is yet to be deleted."""
        slot = self.slots[bare]
        room = slot.room
        return (
            slot.users > 0
            or not slot.lane.idle
            or (room is not None and (bool(room.sessions) or not room.is_persistent()))
        )

    # ---- store

    async def commit(self, room: RoomState, plan: Plan) -> None:
        """Commits the saves of a plan. Raises StorageUnavailable."""
        if not plan.saves:
            return
        jid, writes, entry = room.jid, list[Write](), self.directory.get(room.jid.local)
        if plan.deletes_room:
            writes, entry = self._deletion(jid), None
        else:
            if entry is None:
                # A new room: what a crash may have left under its name must not come back to life in it.
                writes.append(OwnerDelete(jid.bare))
            for save in plan.saves:
                writes.append(self._write(jid.bare, save))
                if isinstance(save, SaveRoom):
                    entry = room.directory_entry(save.record)
            if entry is not None and entry != self.directory.get(jid.local):
                writes.append(self.directory_entries.put(self.host.domain, jid.local, entry))
        await self.host.storage.commit(writes)
        if entry != self.directory.get(jid.local):
            self._list(jid.local, entry)

    def _write(self, bare: str, save: Save) -> Write:
        match save:
            case SaveRoom():
                return self.records.put(bare, "", save.record)
            case SaveAffiliation():
                return _put_or_delete(self.affiliations, bare, save.bare, save.record)
            case SaveHat():
                return _put_or_delete(self.hats, bare, save.uri, save.hat)
            case SaveCard():
                return _put_or_delete(self.cards, bare, "", RoomCard(save.xml) if save.xml else None)
            case AppendEntry():
                return self.archive.append(bare, save.entry)
            case SaveAlso():
                return save.write
            case DeleteRoom():
                return OwnerDelete(bare)

    # ---- sessions that outlive the process

    async def _rooms_with_sessions(self) -> list[str]:
        """Returns the bare JIDs of the rooms that have stored sessions."""
        rooms: list[str] = []
        while more := await self.stored_sessions.owners(self.host.domain, rooms[-1] if rooms else ""):
            rooms += more
        return rooms

    async def store_sessions(self) -> None:
        """Stores the occupants of all rooms at a stop: their sessions can be resumed (docs/explanation/delivery.md)."""
        for slot in list(self.slots.values()):
            room = slot.room
            if room is None or not room.sessions:
                continue
            sessions = [(each, session) for each in room.occupants.values() for session in each.sessions.values()]
            writes: list[Write] = [
                self.stored_sessions.put(
                    room.jid.bare,
                    session.jid.full,
                    StoredSession(each.nick, each.role, session.presence.data.decode(), place, each.id.decode()),
                )
                for place, (each, session) in enumerate(sessions)
            ]
            await self.host.storage.commit(writes)

    async def restore_sessions(self, is_online: Callable[[JID], bool]) -> list[tuple[JID, JID]]:
        """Puts the stored sessions back into their rooms. Returns (room, full JID) of those whose session is over, who
        have yet to leave."""
        ended: list[tuple[JID, JID]] = []
        for bare in await self._rooms_with_sessions():
            sessions = await self.stored_sessions.read_all(bare)
            async with self.exclusive(JID.parse(bare)) as slot:
                room = slot.room
                if room is not None:
                    # In their order: the presence of the session that spoke last is the occupant's.
                    for full, session in sorted(sessions.items(), key=lambda each: each[1].place):
                        who = JID.parse(full)
                        room.restore_session(who, session)
                        if not is_online(who):
                            ended.append((room.jid, who))
                await self.host.storage.commit([self.stored_sessions.clear(bare)])
        return ended
