"""XEP-0045: Multi-User Chat, with an archive for every room (XEP-0313), stable ids (XEP-0359, XEP-0421),
self-pings (XEP-0410), hats (XEP-0317), messages that moderators retract (XEP-0425) and avatars (XEP-0486).

This module declares the plugin and hands each stanza to its handler: the tables below name them all. A handler that
changes nothing in the room runs at once. One that does runs under the room's lock: it decides a Plan, which is
committed and then applied (`service.RoomService.carry_out`). The state of a room is in `room`, each option of a room in
`options`, each subject in the module of its name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, Literal

from xmppd.config import Size, option
from xmppd.contracts.accounts import ACCOUNTS_REMOVED
from xmppd.contracts.block_lists import LISTED
from xmppd.contracts.disco import DISCO_IDENTITIES, DISCO_ITEMS, DiscoAsk, Identity, Item
from xmppd.contracts.moving import PORTABLE, PORTABLE_OWNERS, OwnerKind, Portable, PortableOwners
from xmppd.contracts.owners import OWNERS_ARRIVED
from xmppd.contracts.rooms import ROOMS
from xmppd.contracts.routes import Arrival
from xmppd.contracts.routing import ENTITIES
from xmppd.contracts.sessions import RESTORED
from xmppd.contracts.store_check import CHECK_STORE, OWNED, OwnedPlace, StoreCheck
from xmppd.errors import StanzaError
from xmppd.plugin import JID, HostType, Kind, Plugin, Stanza, Xep, on
from xmppd.xep.confusables import skeleton
from xmppd.xep.retraction import RETRACT_NS

from . import bounces, creation, join, messages, messages_to_room, occupancy, occupant_iqs, private_messages, subject
from .account_removal import remove_accounts
from .block_lists import check_block_lists, kick_listed
from .blocking import is_blocklist_loaded, load_blocklist
from .card import CARD_NS
from .check import RoomsCheck, is_room
from .destruction import destroy_room
from .discovery import STABLE_ID
from .memberships import add_member, may_become_member
from .model import JOIN_TAG, MUC_NS, OCCUPANT_ID_NS, ServiceSettings
from .options import MEMBERS_ONLY, NAME
from .portable import PortableRooms
from .queries import handle_query
from .registry import RoomSlot
from .room import RoomState
from .service import RoomService, no_such_room

SWEEP: Final = 60.0
"""Seconds between looks for temporary rooms that could not be deleted."""
JOIN_ECHO: Final = (JOIN_TAG, f"<x xmlns='{MUC_NS}'/>".encode())

ROOM: Final = False
OCCUPANT: Final = True
Key = tuple[Kind, str, bool]
"""Kind of the stanza, what it is (`key_of`), and whether it goes to an occupant of the room."""
Handler = Callable[[RoomService, RoomSlot, RoomState, Arrival], None]
LockingHandler = Callable[[RoomService, RoomSlot, RoomState, Arrival], Awaitable[None]]

HANDLERS: Final[Mapping[Key, Handler]] = {
    (Kind.MESSAGE, "groupchat", ROOM): messages.handle_groupchat,
    (Kind.MESSAGE, "groupchat", OCCUPANT): messages.handle_groupchat,
    (Kind.MESSAGE, "normal", OCCUPANT): private_messages.handle_private_message,
    (Kind.IQ, "request", OCCUPANT): occupant_iqs.handle_request,
    (Kind.IQ, "answer", OCCUPANT): occupant_iqs.handle_answer,
    (Kind.IQ, "answer", ROOM): occupant_iqs.handle_answer,
}
"""What changes nothing in a room."""
LOCKING_HANDLERS: Final[Mapping[Key, LockingHandler]] = {
    (Kind.MESSAGE, "subject", ROOM): subject.handle_subject,
    (Kind.MESSAGE, "subject", OCCUPANT): subject.handle_subject,
    (Kind.MESSAGE, "normal", ROOM): messages_to_room.handle_message,
    (Kind.MESSAGE, "error", ROOM): bounces.handle_error,
    (Kind.MESSAGE, "error", OCCUPANT): bounces.handle_error,
    (Kind.PRESENCE, "join", ROOM): join.handle_join,
    (Kind.PRESENCE, "join", OCCUPANT): join.handle_join,
    (Kind.PRESENCE, "available", ROOM): occupancy.handle_available,
    (Kind.PRESENCE, "available", OCCUPANT): occupancy.handle_available,
    (Kind.PRESENCE, "unavailable", ROOM): occupancy.handle_unavailable,
    (Kind.PRESENCE, "unavailable", OCCUPANT): occupancy.handle_unavailable,
    (Kind.PRESENCE, "error", ROOM): bounces.handle_error,
    (Kind.PRESENCE, "error", OCCUPANT): bounces.handle_error,
}
"""What changes a room. A get or set to a room is in `queries.QUERIES`; presence that creates one is in `creation`."""


def key_of(stanza: Stanza, to: JID) -> Key:
    """Names a stanza by its key in the tables. Subscriptions are not in them (section 17.3.2)."""
    kind, word = stanza.kind, stanza.type
    if kind is Kind.MESSAGE:
        if word == "groupchat":
            word = "subject" if messages.is_subject(stanza) else word
        elif word != "error":
            word = "normal"
    elif kind is Kind.IQ:
        word = "answer" if stanza.answers else "request"
    elif not word:
        word = "join" if JOIN_TAG in stanza.tags else "available"
    return kind, word, bool(to.resource)


@dataclass(frozen=True)
class Config:
    name: str = option("Chatrooms", "The name of this service, as clients show it.", high=200)
    create: Literal["anyone", "local", "admins"] = option(
        "local", "Who may make rooms: anyone, people with an account on this server, or admins of this host."
    )
    rooms_per_user: int = option(100, "So many rooms may exist that one user has made.", low=1)
    max_occupants: int = option(500, "The most occupants that a room can be set up for.", low=1, high=100_000)
    history: int = option(20, "The most messages that are shown on entering a room.", low=0, high=500)
    nick_length: int = option(64, "The longest nick, in characters.", low=1, high=500)
    affiliations: int = option(2000, "So many members, admins, owners and bans a room can have.", low=10)
    changes: int = option(
        60, "So often per minute one user may enter a room, or change something in it (leaving is free).", low=5
    )
    card: Size = option(Size("128 KiB"), "Bytes of a room's card, its avatar included.", low=1024, high=1 << 24)
    listed: int = option(1000, "The most rooms that the list of rooms shows.", low=0)
    lock: bool = option(True, "A new room lets nobody in until its owner has configured it.")
    persistent: bool = option(False, "New rooms stay when the last occupant leaves.")
    public: bool = option(True, "New rooms are in the list of rooms.")
    archive: bool = option(True, "New rooms keep their messages.")

    def settings(self) -> ServiceSettings:
        """Returns the options that rooms follow."""
        return ServiceSettings(
            max_occupants=self.max_occupants,
            history=self.history,
            nick_length=self.nick_length,
            affiliations=self.affiliations,
            defaults={
                "muc#roomconfig_persistentroom": self.persistent,
                "muc#roomconfig_publicroom": self.public,
                "muc#roomconfig_enablearchiving": self.archive,
            },
            lock=self.lock,
            create=self.create,
            rooms_per_user=self.rooms_per_user,
            changes=self.changes,
            card=int(self.card),
        )


class GroupChat(Plugin[Config]):
    """Implements `contracts.routing.Entities` and `contracts.rooms.Rooms`."""

    xeps = (
        Xep(45, "1.35.5"),
        Xep(54, "1.3.0", "rooms"),
        Xep(153, "1.1", "rooms"),
        Xep(249, "1.2"),
        Xep(313, "1.1.3", "rooms"),
        Xep(317, "0.3.1", "titles in one language; no payloads of others in a hat"),
        Xep(359, "0.7.0", "rooms"),
        Xep(410, "1.1.0"),
        Xep(421, "1.0.1"),
        Xep(425, "0.3.0", "also the requests and announcements of version 0.2"),
        Xep(486, "0.1.0", "also presence of the room, as older clients expect"),
    )
    features = (RETRACT_NS, f"{RETRACT_NS}#tombstone", MUC_NS, STABLE_ID, OCCUPANT_ID_NS, CARD_NS)
    serves = ("rooms",)
    host_types = (HostType("rooms", "a group chat service"),)
    provides = (ENTITIES, ROOMS)

    def setup(self) -> None:
        self.service = RoomService(self.host, self.config.settings(), self.spawn)
        self.rooms = self.service.rooms
        self.retractions = self.service.retractions

    def reconfigured(self) -> None:
        self.service.configure(self.config.settings())

    async def start(self) -> None:
        self.reconfigured()
        self.service.find_block_lists()
        skeleton("")  # reads its table: not while somebody joins a room
        await self.rooms.open()
        self.retractions.start()
        self.every(SWEEP, self.sweep, "sweep")

    async def sweep(self) -> None:
        """Deletes temporary rooms that could not be deleted when the last occupant left: the store was away."""
        for bare, slot in list(self.rooms.slots.items()):
            if slot.room is None or slot.room.sessions or slot.room.is_persistent():
                continue
            async with self.rooms.exclusive(JID.parse(bare)) as slot:
                if slot.room is not None and not slot.room.sessions and not slot.room.is_persistent():
                    await self.service.carry_out(slot, destroy_room(slot.room))

    @on(OWNERS_ARRIVED)
    async def owners_arrived(self, owners: Container[str]) -> None:
        await self.retractions.arrived(owners)

    async def stop(self) -> None:
        """Stores the occupants whose sessions can be resumed; the others have left by now."""
        await self.rooms.store_sessions()

    @on(RESTORED)
    async def restored(self, service: JID) -> None:
        """Puts occupants back whose sessions outlived the last process. Whose session is over leaves, which all see."""
        for room_jid, who in await self.rooms.restore_sessions(lambda who: self.service.is_online(who) is True):
            async with self.rooms.exclusive(room_jid) as slot:
                if slot.room is not None:
                    await self.service.carry_out(slot, occupancy.leave_silently(slot.room, who))

    # ---- stanzas

    def receive(self, arrival: Arrival) -> Awaitable[None] | None:
        """See contracts.routing.Entities."""
        stanza = arrival.stanza
        assert stanza.to is not None
        try:
            wait = self._dispatch(arrival, stanza, stanza.to)
        except StanzaError as error:
            raise self._of_room(error, stanza) from None
        return self._awaited(wait, stanza) if wait is not None else None

    async def _awaited(self, wait: Awaitable[None], stanza: Stanza) -> None:
        try:
            await wait
        except StanzaError as error:
            raise self._of_room(error, stanza) from None

    @staticmethod
    def _of_room(error: StanzaError, stanza: Stanza) -> StanzaError:
        """Puts the room into an error, and <x/> into one that answers a join: clients know it by that (sections 7.2.1
        to 7.2.12, examples)."""
        assert stanza.to is not None
        error.by = error.by or stanza.to.bare
        if stanza.kind is Kind.PRESENCE and JOIN_TAG in stanza.tags:
            error.echo = JOIN_ECHO
        return error

    def _dispatch(self, arrival: Arrival, stanza: Stanza, to: JID) -> Awaitable[None] | None:
        key = key_of(stanza, to)
        handler = HANDLERS.get(key)
        if handler is None:
            return self._dispatch_locking(key, arrival, to)
        slot = self.rooms.slots.get(to.bare)
        room = slot.room if slot is not None else None
        if slot is None or room is None:
            return self._when_loaded(handler, arrival, to) if self._exists(stanza, to) else None
        if slot.users or not is_blocklist_loaded(self.host, room, to):
            return self._when_loaded(handler, arrival, to)
        check_block_lists(self.service, room, stanza)
        handler(self.service, slot, room, arrival)
        return None

    def _dispatch_locking(self, key: Key, arrival: Arrival, to: JID) -> Awaitable[None] | None:
        stanza = arrival.stanza
        if stanza.kind is Kind.IQ:
            return handle_query(self.service, arrival, to)
        handler = LOCKING_HANDLERS.get(key)
        if handler is None:
            return None
        if stanza.kind is Kind.PRESENCE:
            return self._change_presence(handler, arrival, to)
        return self._change(handler, arrival, to) if self._exists(stanza, to) else None

    def _exists(self, stanza: Stanza, to: JID) -> bool:
        """Whether the room is in the directory. Raises StanzaError if it is not and the sender is to know."""
        if to.local in self.rooms.directory:
            return True
        if stanza.answers:
            return False
        raise no_such_room(stanza)

    async def _when_loaded(self, handler: Handler, arrival: Arrival, to: JID) -> None:
        """Runs a handler when the room is loaded and nobody changes it."""
        async with self.rooms.exclusive(to) as slot:
            room = slot.room
            if room is not None:
                check_block_lists(self.service, room, arrival.stanza)
                await load_blocklist(self.host, room, to)
                handler(self.service, slot, room, arrival)
            elif not arrival.stanza.answers:
                raise no_such_room(arrival.stanza)

    async def _change(self, handler: LockingHandler, arrival: Arrival, to: JID) -> None:
        """Runs a handler for a message under the room's lock."""
        async with self.rooms.exclusive(to) as slot:
            if slot.room is not None:
                check_block_lists(self.service, slot.room, arrival.stanza)
                await handler(self.service, slot, slot.room, arrival)
            elif not arrival.stanza.answers:
                raise no_such_room(arrival.stanza)

    async def _change_presence(self, handler: LockingHandler, arrival: Arrival, to: JID) -> None:
        """Runs a handler for presence under the room's lock; presence to a room that does not exist may create it."""
        type = arrival.stanza.type
        if type and to.local not in self.rooms.directory:
            return
        async with self.rooms.exclusive(to) as slot:
            check_block_lists(self.service, slot.room, arrival.stanza)
            if slot.room is not None:
                await handler(self.service, slot, slot.room, arrival)
            elif not type:
                await creation.handle_first_presence(self.service, slot, arrival)

    @on(LISTED)
    def listed(self, domain: JID) -> None:
        self.spawn(kick_listed(self.service), "listed")

    # ---- for other plugins

    def is_private_group(self, room: str) -> bool:
        """See contracts.rooms."""
        slot = self.rooms.slots.get(room)
        return slot is not None and slot.room is not None and bool(MEMBERS_ONLY.of(slot.room))

    async def absent(self, room: JID, among: AbstractSet[str]) -> list[tuple[str, str]]:
        """See contracts.rooms."""
        async with self.rooms.exclusive(room) as slot:
            return slot.room.absent_members(among) if slot.room is not None else []

    def exists(self, room: JID) -> bool:
        """See contracts.rooms."""
        return room.local in self.rooms.directory

    async def add_member(self, room: JID, who: JID, made_before: float) -> str | None:
        """See contracts.rooms."""
        async with self.rooms.exclusive(room.to_bare()) as slot:
            if slot.room is None or slot.room.record.created > made_before * 1_000_000:
                return None
            if not may_become_member(slot.room, who):
                return None
            await self.service.carry_out(slot, add_member(slot.room, who))
            return str(NAME.of(slot.room))

    @on(PORTABLE)
    def portable(self, domain: JID) -> Iterable[Portable]:
        return PortableRooms(self.rooms).parts()

    @on(PORTABLE_OWNERS)
    def portable_rooms(self, domain: JID) -> Iterable[PortableOwners]:
        yield PortableOwners(OwnerKind.ROOM, PortableRooms(self.rooms).owners)

    @on(DISCO_IDENTITIES)
    def identity(self, ask: DiscoAsk) -> Iterable[Identity]:
        if not ask.node:
            yield Identity("conference", "text", self.config.name)

    @on(DISCO_ITEMS)
    def items(self, ask: DiscoAsk) -> Iterable[Item]:
        """Lists the public rooms (section 6.3)."""
        if ask.node:
            return
        public = ((local, room) for local, room in sorted(self.rooms.directory.items()) if room.public)
        for (local, room), _ in zip(public, range(self.config.listed), strict=False):
            yield Item(f"{local}@{self.host.domain}", room.name or local)

    @on(ACCOUNTS_REMOVED)
    async def accounts_removed(self, names: frozenset[str]) -> None:
        """Removes deleted accounts from all rooms. Raises StorageUnavailable."""
        await remove_accounts(self.service, names)

    @on(CHECK_STORE)
    async def check_store(self, store: StoreCheck) -> None:
        """For `xmppd store check`."""
        await RoomsCheck(self.rooms, store).check()
        await self.service.retractions.check(store)

    @on(OWNED)
    async def owned(self, place: OwnedPlace) -> Iterable[bool]:
        return (await is_room(self.rooms, place),)
