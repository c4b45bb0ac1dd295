"""XEP-0045: Multi-User Chat, with an archive for every room (XEP-0313), stable ids (XEP-0359, XEP-0421) and
self-pings (XEP-0410).

This module is wiring: it finds or makes the room, has it decide, commits and sends. The rules are in room.py, each
room option in a file of options/.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from xmppd.config import option
from xmppd.contracts.accounts import ACCOUNTS_REMOVED
from xmppd.contracts.disco import DISCO_IDENTITIES, DISCO_ITEMS, DiscoAsk, Identity, Item
from xmppd.contracts.expiry import EPHEMERAL_TAG, EXPIRY
from xmppd.contracts.rooms import ROOM_SAID, ROOM_SAYS, ROOMS, RoomSaid
from xmppd.contracts.routing import ENTITIES, Arrival
from xmppd.contracts.search import SEARCH
from xmppd.contracts.sessions import RESTORED
from xmppd.errors import (
    ItemNotFound,
    NotAcceptable,
    NotAllowed,
    ResourceConstraint,
    StanzaError,
    StorageUnavailable,
)
from xmppd.plugin import JID, Host, HostType, Kind, Plugin, Stanza, Xep, on
from xmppd.xep.confusables import skeleton
from xmppd.xep.mam import PAGE_SIZE, within
from xmppd.xep.retraction import RETRACT_NS, PendingRetraction, RetractionWriter, retracted_id

from . import blocks
from .again import expect, said_before
from .discovery import STABLE_ID
from .entering import Entry
from .model import MUC_NS, OCCUPANT_ID_NS, Affiliation, Effect, Member, Plan, SaveMember, SaveRoom, Send, Settings
from .options import MEMBERS_ONLY
from .queries import Reader, answer_query, is_reading
from .retraction import said
from .room import Room
from .service import Live, Rooms
from .speech import is_subject

log = logging.getLogger("xmppd.rooms")
SWEEP = 60.0
"""Seconds between looks for rooms that should be gone."""
JOIN_TAG = f"{MUC_NS}|x"
JOIN = (JOIN_TAG, f"<x xmlns='{MUC_NS}'/>".encode())


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
    listed: int = option(1000, "The most rooms that the list of rooms shows.", low=0)
    lock: bool = option(True, "A new room lets nobody in until its owner has configured it.")
    persistent: bool = option(False, "New rooms stay when the last occupant leaves.")
    public: bool = option(True, "New rooms are in the list of rooms.")
    archive: bool = option(True, "New rooms keep their messages.")

    def settings(self) -> Settings:
        return Settings(
            self.max_occupants,
            self.history,
            self.nick_length,
            self.affiliations,
            {
                "muc#roomconfig_persistentroom": self.persistent,
                "muc#roomconfig_publicroom": self.public,
                "muc#roomconfig_enablearchiving": self.archive,
            },
            self.lock,
        )


class GroupChat(Plugin[Config]):
    xeps = (
        Xep(45, "1.35.5", "no hats, no presence broadcast by role"),
        Xep(249, "1.2"),
        Xep(313, "1.1.3", "rooms"),
        Xep(359, "0.7.0", "rooms"),
        Xep(410, "1.1.0"),
        Xep(421, "1.0.1"),
    )
    features = (RETRACT_NS, f"{RETRACT_NS}#tombstone", MUC_NS, STABLE_ID, OCCUPANT_ID_NS)
    serves = ("rooms",)
    host_types = (HostType("rooms", "a group chat service"),)
    provides = (ENTITIES, ROOMS)

    def setup(self) -> None:
        self.rooms = Rooms(self.host, self.config.settings())

    def reconfigured(self) -> None:
        """Rooms in memory keep the settings that they were opened with until nobody is in them."""
        searched = self.host.find(SEARCH) is not None
        self.rooms.settings = replace(self.config.settings(), searched=searched)

    async def start(self) -> None:
        self.reconfigured()
        skeleton("")  # reads its table: not while somebody enters a room
        await self.rooms.open()
        self.retractions = RetractionWriter(self.host, self.rooms.log, partial(said, self.rooms.log))
        self.retractions.start()
        self.every(SWEEP, self.sweep, "sweep")

    def is_private_group(self, room: str) -> bool:
        """See contracts.rooms."""
        live = self.rooms.live.get(room)
        return live is not None and live.room is not None and bool(MEMBERS_ONLY.of(live.room))

    async def absent(self, room: JID, among: AbstractSet[str]) -> list[tuple[str, str]]:
        """See contracts.rooms."""
        async with self.rooms.held(room) as live:
            return live.room.absent(among) if live.room is not None else []

    async def sweep(self) -> None:
        """Delete temporary rooms that could not be deleted when the last occupant left: the store was away."""
        for bare, live in list(self.rooms.live.items()):
            if live.room is None or live.room.seats or live.room.is_persistent():
                continue
            async with self.rooms.held(JID.parse(bare)) as held:
                if held.room is not None and not held.room.seats and not held.room.is_persistent():
                    await self.carry_out(held, held.room.destroyed())

    async def stop(self) -> None:
        """Occupants whose session ends with the process have left; the others will find their seats."""
        await self.rooms.keep_seats()

    @on(RESTORED)
    async def restored(self, service: JID) -> None:
        """Seats of sessions that outlived the last process; who did not come back leaves for all to see."""
        for room_jid, who in await self.rooms.restore_seats(lambda who: self._is_there(who) is True):
            async with self.rooms.held(room_jid) as live:
                if live.room is not None:
                    await self.carry_out(live, live.room.leave(who, Stanza(Kind.PRESENCE, "unavailable", None, who)))

    # ---- what comes

    def receive(self, arrival: Arrival) -> Awaitable[None] | None:
        """contracts.routing.Entities."""
        stanza = arrival.stanza
        assert stanza.to is not None
        try:
            wait = self._receive(arrival, stanza, stanza.to)
        except StanzaError as error:
            raise self._of_room(error, stanza) from None
        return self._named(wait, stanza) if wait is not None else None

    async def _named(self, wait: Awaitable[None], stanza: Stanza) -> None:
        try:
            await wait
        except StanzaError as error:
            raise self._of_room(error, stanza) from None

    @staticmethod
    def _of_room(error: StanzaError, stanza: Stanza) -> StanzaError:
        """Errors say which room they are of, and those of an attempt to enter that they are (sections 7.2.1 to 7.2.12,
        examples): clients know them by that."""
        assert stanza.to is not None
        error.by = error.by or stanza.to.bare
        if stanza.kind is Kind.PRESENCE and JOIN_TAG in stanza.tags:
            error.echo = JOIN
        return error

    def _receive(self, arrival: Arrival, stanza: Stanza, to: JID) -> Awaitable[None] | None:
        if stanza.kind is Kind.PRESENCE:
            if stanza.type not in ("", "unavailable", "error"):
                return None  # section 17.3.2: neither a request to enter nor to leave
            return self._presence(arrival, to)
        if stanza.kind is Kind.IQ and not to.resource and not stanza.answers:
            return self._query(arrival, to)
        live = self.rooms.live.get(to.bare)
        if live is None or live.room is None:
            if to.local not in self.rooms.directory:
                if stanza.answers:
                    return None
                raise self._absent(stanza)
            return self._later(arrival, to)
        if live.users or not self._passes(stanza, to) or not blocks.at_hand(self.host, live.room, to):
            return self._later(arrival, to)
        self._pass(live, live.room, arrival)
        return None

    @staticmethod
    def _absent(stanza: Stanza) -> StanzaError:
        if stanza.kind is Kind.IQ:  # XEP-0410 section 3.2: item-not-found would mean that one is in the room
            return NotAcceptable("you are not in the room", type="cancel")
        return ItemNotFound("there is no such room")

    @staticmethod
    def _passes(stanza: Stanza, to: JID) -> bool:
        """It changes nothing in the room."""
        if stanza.kind is Kind.IQ:
            return True
        if stanza.type == "groupchat":
            return not is_subject(stanza)
        return bool(to.resource) and stanza.type != "error"

    def _pass(self, live: Live, room: Room, arrival: Arrival) -> None:
        """Decide at once what changes nothing: it waits behind the room's writes, and meets who is there then."""
        stanza, who = arrival.stanza, self._sender(arrival)
        if stanza.kind is Kind.MESSAGE and stanza.type == "groupchat":
            self._say(live, room, arrival, who)
            return
        blocks.check(self.host, room, who, stanza)
        if stanza.kind is Kind.MESSAGE:
            arrival.behind(live.lane)
            for effect in room.whisper(who, stanza):
                self._hand_on(arrival, effect.stanza)
            return
        if stanza.answers:
            effects = room.answered(who, stanza)
        elif stanza.tags[0] == "urn:xmpp:ping|ping" and room.pinged(who, stanza):
            result = stanza.result()
            arrival.then(lambda: self.reply(arrival, result))
            return
        else:
            effects = room.relayed(who, stanza)
        arrival.behind(live.lane)
        arrival.then(lambda: self.perform(effects))

    def _say(self, live: Live, room: Room, arrival: Arrival, who: JID) -> None:
        """A message to all. What is kept of it, or owed for it, is in its batch."""
        stanza = arrival.stanza
        if live.sent:
            again = said_before(live, stanza, who, self.host.clock.now())
            if again is not None:
                arrival.behind(live.lane)
                arrival.then(lambda: self.host.deliver(again))
                return
        out, entry = room.say(who, stanza, self.now())
        if entry is not None:
            arrival.write(self.rooms.log.append(room.jid.bare, entry))
            self.host.router.newest = max(self.host.router.newest, entry.id)
            expiry = self.host.find(EXPIRY) if EPHEMERAL_TAG in stanza.tags else None
            for write in expiry.timed(room.jid.bare, entry.id, stanza) if expiry is not None else ():
                arrival.write(write)
        news = RoomSaid(room.jid, out, entry.id if entry is not None else 0, room.absent, room.attending)
        if news.id:
            for home in self._homes():
                for write in home.gather(ROOM_SAYS, news):
                    arrival.write(write)
        fan_out = self.host.router.fan_out
        arrival.behind(live.lane)
        arrival.then(lambda: fan_out(out, room.everyone(), news.id))
        arrival.then(lambda: self._tell_accounts(news))
        taken_back = retracted_id(stanza)
        if taken_back:
            place, since = entry.id if entry is not None else 0, self.host.router.since(who)
            pending = PendingRetraction(who.bare, taken_back, out.id, since=since)
            if entry is not None:
                arrival.write(self.retractions.store_pending(room.jid.bare, entry.id, pending))
            arrival.then(lambda: self.spawn(self.retractions.write_tombstone(room.jid.bare, place, pending), "retract"))

    def _homes(self) -> Iterator[Host]:
        return (host for host in self.host.server.hosts.values() if host.has_accounts)

    def _tell_accounts(self, news: RoomSaid) -> None:
        """So that those can be woken who belong to the room and are not there."""
        for home in self._homes():
            home.tell(ROOM_SAID, news)

    def _hand_on(self, arrival: Arrival, stanza: Stanza) -> None:
        """In the sender's batch: acknowledged means that the recipient's archive has it, too."""
        try:
            arrival.forward(stanza)
        except StanzaError:  # not at home here, or refused: told by an error to the room, as any delivery
            arrival.then(lambda: self.host.deliver(stanza))

    # ---- what changes a room

    async def _later(self, arrival: Arrival, to: JID) -> None:
        """A message or IQ to a room that must be loaded, is being changed, or will be by it."""
        stanza, who = arrival.stanza, self._sender(arrival)
        async with self.rooms.held(to) as live:
            room = live.room
            if room is None:
                if stanza.answers:
                    return
                raise self._absent(stanza)
            if self._passes(stanza, to):
                await blocks.load(self.host, room, to)
                self._pass(live, room, arrival)
                return
            if stanza.type == "error":
                await self.carry_out(live, room.bounced(who, stanza, self._is_there(who)))
                return
            self._count(live, who)
            if stanza.type == "groupchat":
                await self.carry_out(live, room.change_subject(who, stanza, self.now()))
            else:
                await self._tell_room(live, room, arrival)

    async def _tell_room(self, live: Live, room: Room, arrival: Arrival) -> None:
        """Invitations and answers to them: acknowledged means that the other side's archive has them, too."""
        plan = room.tell_room(self._sender(arrival), arrival.stanza)
        await self.rooms.save(room, plan)
        effects = plan.apply()
        there = [await self._opened(effect) for effect in effects]
        # From here on in one turn: an entry is stored in the order of the ids that are given.
        for effect, at_home in zip(effects, there, strict=True):
            if at_home:
                self._hand_on(arrival, effect.stanza)
            else:
                self.perform((effect,))

    async def _opened(self, effect: Effect) -> bool:
        """A message to an account of this server, which is in memory now."""
        to = effect.stanza.to
        if not isinstance(effect, Send) or effect.stanza.kind is not Kind.MESSAGE or to is None:
            return False
        home = self.host.router.where(to)
        return home is not None and await home.open_account(to) is not None

    async def _presence(self, arrival: Arrival, to: JID) -> None:
        stanza, who = arrival.stanza, self._sender(arrival)
        if stanza.type and to.local not in self.rooms.directory:
            return
        async with self.rooms.held(to) as live:
            room = live.room
            if stanza.type == "unavailable":
                await self.carry_out(live, room.leave(who, stanza) if room is not None else None)
            elif stanza.type == "error":
                plan = room.bounced(who, stanza, self._is_there(who)) if room is not None else None
                await self.carry_out(live, plan)
            elif room is None:
                await self._create(live, who, stanza)
            else:
                self._count(live, who)
                entry = room.read_entry(who, stanza, self.now(), self._incarnation(who))
                await self.carry_out(
                    live, room.present(who, stanza) if entry is None else await self._enter(live, room, entry)
                )

    def _count(self, live: Live, who: JID) -> None:
        live.pace.check(who.bare, self.host.clock.monotonic(), self.config.changes)

    def _incarnation(self, who: JID) -> str:
        account = self.host.router.account(who)
        return account.incarnation if account is not None else ""

    async def _enter(self, live: Live, room: Room, entry: Entry) -> Plan:
        """History is read while nothing can come in between."""
        room.admit(entry)  # before anything is read for somebody who may not enter
        await expect(self.host, live, self.rooms.log, room.jid, entry.who)
        wanted, most = room.history_range(entry)
        history = await self.rooms.log.page(room.jid.bare, wanted, most, backwards=True) if most else []
        return room.enter(entry, within(history, PAGE_SIZE, True))

    async def _create(self, live: Live, who: JID, stanza: Stanza) -> None:
        """Section 10.1. Raises NotAllowed, ResourceConstraint, ItemNotFound."""
        assert stanza.to is not None
        room = Room.created(stanza.to.to_bare(), who, self.rooms.settings, self.now())
        entry = room.read_entry(who, stanza, self.now(), self._incarnation(who))
        if entry is None:
            raise ItemNotFound("there is no such room")
        admin = who.bare in self.host.admins
        local = self.host.router.where(who) is not None
        if not admin and (self.config.create == "admins" or (self.config.create == "local" and not local)):
            raise NotAllowed("you may not make rooms here")
        if not admin and self.rooms.made_by[who.bare] >= self.config.rooms_per_user:
            raise ResourceConstraint("you have made as many rooms as are allowed")
        plan = room.enter(entry, created=True)
        owner = SaveMember(who.bare, Member("owner"))
        plan.saves = [SaveRoom(room.saved()), owner, *plan.saves]
        await self.rooms.save(room, plan)
        live.room = room
        self.perform(plan.apply())

    async def _query(self, arrival: Arrival, to: JID) -> None:
        """An IQ to a room. Reading holds nobody up: what the asker said before is stored by now."""
        if to.local not in self.rooms.directory:
            raise ItemNotFound("there is no such room")
        stanza = arrival.stanza
        live = self.rooms.live.get(to.bare)
        if is_reading(stanza) and live is not None and live.room is not None:
            answer = self._decided(live, arrival)
        else:
            async with self.rooms.held(to) as live:
                if not is_reading(stanza):
                    self._count(live, self._sender(arrival))
                answer = self._decided(live, arrival)
                if isinstance(answer, Plan):
                    await self._change(live, arrival, answer)
        if isinstance(answer, Plan):
            return
        messages, payload = await answer(self.rooms.log, self.host.find(SEARCH))
        for each in messages:
            self.reply(arrival, each)
        self.reply(arrival, stanza.result(payload))

    def _decided(self, live: Live, arrival: Arrival) -> Reader | Plan:
        room, who = live.room, self._sender(arrival)
        if room is None or (room.record.locked and room.affiliation(who) < Affiliation.OWNER):
            raise ItemNotFound("there is no such room")
        return answer_query(room, who, arrival.stanza, who.bare in self.host.admins)

    async def _change(self, live: Live, arrival: Arrival, plan: Plan) -> None:
        room, who = live.room, self._sender(arrival)
        assert room is not None
        was, result = room.affiliation(who), arrival.stanza.result()
        await self.carry_out(live, plan, lambda: self.reply(arrival, result))
        if was is not Affiliation.OWNER and room.affiliation(who) is Affiliation.OWNER:
            log.warning("%s, a service admin, has become an owner of %s", who.bare, room.jid)

    async def carry_out(self, live: Live, plan: Plan | None, then: Callable[[], None] | None = None) -> None:
        """Commit, change, tell what goes ahead of the answer, answer, tell the rest.

        Raises StorageUnavailable, and then nothing has changed.
        """
        if plan is None or live.room is None:
            return
        ends = plan.ends
        try:
            await self.rooms.save(live.room, plan)
        except StorageUnavailable:
            if not plan.regardless:
                raise
            ends = False  # `sweep` deletes it later
        effects = plan.apply()
        if ends:
            live.room = None
        self.perform(effects[: plan.ahead])
        if then is not None:
            then()
        self.perform(effects[plan.ahead :])

    # ---- what goes

    def perform(self, effects: Iterable[Effect]) -> None:
        router = self.host.router
        for effect in effects:
            if isinstance(effect, Send):
                router.deliver(effect.stanza)
            else:
                router.fan_out(effect.stanza, effect.to)

    def reply(self, arrival: Arrival, stanza: Stanza) -> None:
        if arrival.session is None:
            self.host.deliver(stanza)
        elif not arrival.session.ended:
            arrival.session.send(stanza)

    def now(self) -> int:
        return int(self.host.clock.now() * 1_000_000)

    @staticmethod
    def _sender(arrival: Arrival) -> JID:
        assert arrival.stanza.sender is not None
        return arrival.stanza.sender

    def _is_there(self, who: JID) -> bool | None:
        home = self.host.router.where(who)
        return None if home is None else home.session_of(who) is not None

    # ---- hooks

    @on(DISCO_IDENTITIES)
    def identity(self, ask: DiscoAsk) -> Iterable[Identity]:
        if not ask.node:
            yield Identity("conference", "text", self.config.name)

    @on(DISCO_ITEMS)
    def items(self, ask: DiscoAsk) -> Iterable[Item]:
        """The public rooms (section 6.3)."""
        if ask.node:
            return
        public = ((local, room) for local, room in sorted(self.rooms.directory.items()) if room.public)
        for (local, room), _ in zip(public, range(self.config.listed), strict=False):
            yield Item(f"{local}@{self.host.domain}", room.name or local)

    @on(ACCOUNTS_REMOVED)
    async def accounts_removed(self, names: frozenset[str]) -> None:
        """Whoever gets the name later inherits nothing (G02). Raises StorageUnavailable."""
        for room_jid in await self.rooms.naming(names):
            async with self.rooms.held(room_jid) as live:
                for who in live.room.everyone() if live.room is not None else ():
                    if live.room is not None and who.bare in names:
                        await self.carry_out(
                            live, live.room.leave(who, Stanza(Kind.PRESENCE, "unavailable", None, who))
                        )
                for bare in names:
                    if live.room is not None:
                        await self.carry_out(live, live.room.forget(bare))
