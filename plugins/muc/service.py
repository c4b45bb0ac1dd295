"""The rooms of a service: which there are, which are in memory, what is stored of them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from xmppd.cache import Cache, content
from xmppd.errors import PolicyViolation
from xmppd.jid import JID
from xmppd.plugin import Lane
from xmppd.storage.api import OwnerDelete, Write
from xmppd.xep.duplicates import RecentMessages

from .model import Keep, KeptSeat, Listing, Member, Plan, SaveMember, SaveRoom, Settings, StoredRoom
from .room import Room

if TYPE_CHECKING:
    from xmppd.plugin import Host

log = logging.getLogger("xmppd.rooms")

IDLE: Final = 1000
IDLE_BYTES: Final = 32 << 20
"""So many rooms without occupants stay in memory, of so many bytes."""
AT_ONCE: Final = 200
PACES: Final = 2000
PACES_BYTES: Final = 512 << 10


class Pace:
    """How often each user changes something in a room (G05): a bucket that holds a minute's worth."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left: Cache[str, tuple[float, float]] = Cache(PACES, PACES_BYTES)

    @property
    def used(self) -> int:
        """Bytes."""
        return self._left.used

    def check(self, bare: str, now: float, per_minute: int) -> None:
        """One more change. Raises PolicyViolation of type wait when there were too many."""
        left, since = self._left.get(bare) or (float(per_minute), now)
        left = min(per_minute, left + (now - since) * per_minute / 60)
        self._left.put(bare, (left - 1 if left >= 1 else left, now))
        if left < 1:
            raise PolicyViolation("too many changes: wait a little", type="wait")


class Live:
    """A room in memory, or a place where one is being made. `users`: those who change it now or wait to."""

    __slots__ = ("lane", "pace", "room", "sent", "users")

    def __init__(self) -> None:
        self.room: Room | None = None
        self.lane = Lane()
        self.users = 0
        self.pace = Pace()
        self.sent: dict[str, RecentMessages] = {}
        """By full JID: what an occupant that came back after a broken stream may say again."""


def _weight(bare: str, live: Live) -> int:
    """Roughly the bytes of a room."""
    room = live.room
    if room is None:
        return 4000
    nicks = sum(1200 + 12 * len(each.nick) for each in room.members.values() if each.nick)
    kept = (room.members, room.options, room.record, tuple(room.invitations))
    return 4000 + live.pace.used + 200 * len(room.members) + nicks + sum(map(content, kept))


class Rooms:
    """`directory`: every room by localpart. `made_by`: how many rooms a user has made."""

    def __init__(self, host: Host, settings: Settings) -> None:
        self.host = host
        self.settings = settings
        storage = host.storage
        self.log = storage.log("archive")
        self.records = storage.map("room", StoredRoom)
        self.members = storage.map("room_member", Member)
        self.listings = storage.map("room_directory", Listing)
        self.kept = storage.map("room_seat", KeptSeat)
        self.directory: dict[str, Listing] = {}
        self.made_by: Counter[str] = Counter()
        self.live: dict[str, Live] = {}
        self._idle: Cache[str, Live] = Cache(IDLE, IDLE_BYTES, _weight)

    async def open(self) -> None:
        """Read the directory; what a crash left of temporary rooms is deleted: nobody is in them."""
        found = await self.listings.read_all(self.host.domain)
        seated = set(await self._seated())
        writes: list[Write] = []
        for local, listing in found.items():
            if listing.persistent or JID.of(local, self.host.domain).bare in seated:
                self._list(local, listing)
            else:
                writes += self._deleted(JID.of(local, self.host.domain))
        for start in range(0, len(writes), AT_ONCE):
            await self.host.storage.commit(writes[start : start + AT_ONCE])

    async def _seated(self) -> list[str]:
        """Rooms in which seats are kept."""
        rooms: list[str] = []
        while more := await self.kept.owners(self.host.domain, rooms[-1] if rooms else ""):
            rooms += more
        return rooms

    async def keep_seats(self) -> None:
        """Who is still there at a stop has a session that can be resumed (docs/explanation/delivery.md)."""
        for live in list(self.live.values()):
            room = live.room
            if room is None or not room.seats:
                continue
            seats = [(each, seat) for each in room.occupants.values() for seat in each.seats.values()]
            writes: list[Write] = [
                self.kept.put(
                    room.jid.bare,
                    seat.jid.full,
                    KeptSeat(each.nick, each.role, seat.presence.data.decode(), place, each.id.decode()),
                )
                for place, (each, seat) in enumerate(seats)
            ]
            await self.host.storage.commit(writes)

    async def restore_seats(self, is_there: Callable[[JID], bool]) -> list[tuple[JID, JID]]:
        """Seat them again; (room, full JID) of those whose session is over, who have yet to leave."""
        gone: list[tuple[JID, JID]] = []
        for bare in await self._seated():
            seats = await self.kept.read_all(bare)
            async with self.held(JID.parse(bare)) as live:
                room = live.room
                if room is not None:
                    # In their order: the presence of the seat that spoke last is the occupant's.
                    for full, seat in sorted(seats.items(), key=lambda each: each[1].place):
                        who = JID.parse(full)
                        room.sit_again(who, seat)
                        if not is_there(who):
                            gone.append((room.jid, who))
                await self.host.storage.commit([self.kept.clear(bare)])
        return gone

    def _list(self, local: str, listing: Listing | None) -> None:
        former = self.directory.pop(local, None)
        if former is not None:
            self.made_by[former.creator] -= 1
            if not self.made_by[former.creator]:
                del self.made_by[former.creator]
        if listing is not None:
            self.directory[local] = listing
            self.made_by[listing.creator] += 1

    def _deleted(self, jid: JID) -> list[Write]:
        return [OwnerDelete(jid.bare), self.listings.delete(self.host.domain, jid.local)]

    async def naming(self, names: AbstractSet[str]) -> list[JID]:
        """The rooms that know one of these bare JIDs: by affiliation or reserved nick, as an occupant, as who made it,
        by an invitation. It reads the affiliations of all rooms. Raises StorageUnavailable."""
        found = {JID.of(local, self.host.domain) for local, each in self.directory.items() if each.creator in names}
        found.update(
            live.room.jid
            for live in self.live.values()
            if live.room is not None
            and (
                any(each.bare in names for each in live.room.occupants.values())
                or any(not names.isdisjoint(each) for each in live.room.invitations)
            )
        )
        place = ("", "")
        while page := await self.members.scan(self.host.domain, place):
            place = page[-1][:2]
            found.update(JID.parse(owner) for owner, bare, _ in page if bare in names)
        return sorted(found, key=lambda jid: jid.bare)

    # ---- memory

    @asynccontextmanager
    async def held(self, jid: JID) -> AsyncIterator[Live]:
        """Alone with a room, after all that was said in it is stored; `room` is None if there is none."""
        bare = jid.bare
        live = self.live.get(bare)
        if live is None:
            live = self.live[bare] = Live()
        live.users += 1
        try:
            async with self.host.router.locks.hold(bare):
                if live.room is None and jid.local in self.directory:
                    live.room = await self._load(jid.to_bare())
                await self.host.router.until_idle(live.lane)
                yield live
        finally:
            live.users -= 1
            self._tidy(bare, live)

    async def _load(self, jid: JID) -> Room | None:
        record = await self.records.read(jid.bare, "")
        if record is None:
            log.error("%s is in the directory, but nothing is stored of it", jid)
            await self.host.storage.commit(self._deleted(jid))
            self._list(jid.local, None)
            return None
        members = await self.members.read_all(jid.bare)
        return Room(jid, record, members, self.settings, await self.log.last_id(jid.bare))

    def _tidy(self, bare: str, live: Live) -> None:
        """Forget places without a room at once, rooms without occupants when there are too many."""
        if live.users:
            return
        if live.room is None:
            self.live.pop(bare, None)
            self._idle.pop(bare)
            return
        if live.room.seats:
            self._idle.pop(bare)
            return
        live.room.relays.clear()  # who asked and who would answer have left
        for oldest in self._idle.put(bare, live):
            there = self.live.get(oldest)
            if there is not None and not there.users and there.lane.idle:
                del self.live[oldest]

    # ---- store

    async def save(self, room: Room, plan: Plan) -> None:
        """Commit what a plan says. Raises StorageUnavailable."""
        if not plan.saves:
            return
        jid, writes, listing = room.jid, list[Write](), self.directory.get(room.jid.local)
        if plan.ends:
            writes, listing = self._deleted(jid), None
        else:
            if listing is None:
                # A new room: what a crash may have left under its name must not come back to life in it.
                writes.append(OwnerDelete(jid.bare))
            for save in plan.saves:
                if isinstance(save, SaveRoom):
                    writes.append(self.records.put(jid.bare, "", save.record))
                    listing = room.listing(save.record)
                elif isinstance(save, SaveMember):
                    writes.append(
                        self.members.delete(jid.bare, save.bare)
                        if save.member is None
                        else self.members.put(jid.bare, save.bare, save.member)
                    )
                elif isinstance(save, Keep):
                    writes.append(self.log.append(jid.bare, save.entry))
            if listing is not None and listing != self.directory.get(jid.local):
                writes.append(self.listings.put(self.host.domain, jid.local, listing))
        await self.host.storage.commit(writes)
        if listing != self.directory.get(jid.local):
            self._list(jid.local, listing)
