"""What must hold of stored rooms: the directory, their records, members, stored occupants and archives (`xmppd store
check`)."""

from __future__ import annotations

from collections.abc import Iterator

from xmppd.contracts.store_check import OwnedPlace, StoreCheck, in_log, in_map
from xmppd.errors import MalformedJid
from xmppd.jid import JID
from xmppd.stanza import Kind, Stanza, look_at
from xmppd.storage.api import Entry, Flags, Range
from xmppd.xml import parse

from .model import AFFILIATIONS, AffiliationRecord, Role, StoredRoom, StoredSession
from .nicks import prepare_nick
from .options import OPTIONS
from .registry import RoomRegistry
from .room import RoomState

TYPES = {option.var: type(option.default) for option in OPTIONS}


class RoomsCheck:
    """Raises StorageUnavailable."""

    def __init__(self, rooms: RoomRegistry, store: StoreCheck) -> None:
        self.rooms = rooms
        self.store = store
        self.domain = rooms.host.domain

    async def check(self) -> None:
        rooms, store, domain = self.rooms, self.store, self.domain
        async for owner, local, _ in store.records(rooms.directory_entries):
            if owner != domain:
                self._problem(owner, rooms.directory_entries.name, local, "no service is there")
                continue
            bare = f"{local}@{domain}"
            if store.concerns(bare) and await rooms.records.read_stored(bare, "") is None:
                self._problem(domain, rooms.directory_entries.name, local, "there is no such room")
        async for bare, key, record in store.records(rooms.records):
            if key:
                self._problem(bare, rooms.records.name, key, "a room has one record, and this is another one")
            elif bare != domain:
                await self._check_room(bare, record)
        async for bare, full, session in store.records(rooms.stored_sessions):
            for what in session_problems(bare, full, session):
                self._problem(bare, rooms.stored_sessions.name, full, what)

    def _problem(self, owner: str, map: str, key: str, what: str) -> None:
        self.store.problem(owner, in_map(map, key), what)

    async def _check_room(self, bare: str, record: StoredRoom) -> None:
        rooms, name = self.rooms, self.rooms.records.name
        listed = await rooms.directory_entries.read_stored(self.domain, bare.rpartition("@")[0])
        for what in record_problems(record):
            self._problem(bare, name, "", what)
        if listed is None:
            self._problem(bare, name, "", "it is not in the directory, so nobody finds it")
        affiliations = await rooms.affiliations.read_all(bare)
        await self._check_hats_and_card(bare)
        for jid, what in affiliation_problems(affiliations):
            self._problem(bare, rooms.affiliations.name, jid, what)
        try:
            room = RoomState(JID.parse(bare), record, affiliations, rooms.settings)
        except (MalformedJid, ValueError) as error:
            self._problem(bare, name, "", f"it cannot be opened: {error}")
            return
        if listed is not None and listed.creator != record.creator:
            self._problem(bare, name, "", f"the directory says that {listed.creator} has made it, not {record.creator}")
        if listed is not None and listed != room.directory_entry(record):
            # Options of the service that have changed since are no fault of the store.
            self.store.note(bare, name, "the directory shows it otherwise, until its configuration changes")
        async for entry in self.store.entries(rooms.archive, bare, Range()):
            for what in entry_problems(bare, entry):
                self.store.problem(bare, in_log(rooms.archive.name, entry.id), what)
            if self.store.is_future(entry.id):
                self.store.problem(bare, in_log(rooms.archive.name, entry.id), "it is from the future")

    async def _check_hats_and_card(self, bare: str) -> None:
        rooms = self.rooms
        card = await rooms.cards.read(bare, "")
        if card is not None:
            try:
                parse(card.xml.encode())
            except ValueError as error:
                self._problem(bare, rooms.cards.name, "", f"it is no XML: {error}")
        for uri, hat in (await rooms.hats.read_all(bare)).items():
            for jid in hat.wearers:
                if not _is_address(jid):
                    self._problem(bare, rooms.hats.name, uri, f"{jid!r}, who wears it, is no address")


async def is_room(rooms: RoomRegistry, place: OwnedPlace) -> bool:
    """Whether a room is in the directory, or has a record at least (which `RoomsCheck` looks at)."""
    local, _, domain = place.owner.rpartition("@")
    if domain != rooms.host.domain or not local:
        return False
    listed = await rooms.directory_entries.read_stored(domain, local)
    return listed is not None or await rooms.records.read_stored(place.owner, "") is not None


def record_problems(record: StoredRoom) -> Iterator[str]:
    for var, value in record.options.items():
        if var in TYPES and type(value) is not TYPES[var]:
            yield f"its option {var} cannot be {value!r}"
    if record.creator and not _is_address(record.creator):
        yield f"its creator, {record.creator!r}, is no address"
    if record.subject:
        try:
            look_at(record.subject.encode())
        except ValueError as error:
            yield f"its subject is no message: {error}"


def affiliation_problems(records: dict[str, AffiliationRecord]) -> Iterator[tuple[str, str]]:
    """By whom each is about."""
    nicks: dict[str, str] = {}
    for jid, record in records.items():
        if record.affiliation not in AFFILIATIONS:
            yield jid, f"there is no affiliation {record.affiliation!r}"
        if not _is_address(jid):
            yield jid, "it is about no address"
        if not record.nick:
            continue
        try:
            other = nicks.setdefault(prepare_nick(record.nick), jid)
        except MalformedJid:
            yield jid, f"its nick, {record.nick!r}, is none"
        else:
            if other != jid:
                yield jid, f"its nick, {record.nick!r}, is reserved for {other}, too"


def session_problems(bare: str, full: str, session: StoredSession) -> Iterator[str]:
    try:
        if not JID.parse(full).resource:
            yield "it is no session"
        JID.parse(bare).with_resource(session.nick)
        Role(session.role)
        kind = look_at(session.presence.encode()).kind
    except (MalformedJid, ValueError) as error:
        yield f"the occupant cannot be brought back: {error}"
        return
    if kind is not Kind.PRESENCE:
        yield "what the occupant has sent last is no presence"


def entry_problems(bare: str, entry: Entry) -> Iterator[str]:
    try:
        stanza: Stanza = look_at(entry.body)
    except ValueError as error:
        yield f"it is no stanza: {error}"
        return
    if stanza.kind is not Kind.MESSAGE or stanza.type != "groupchat":
        yield "it is no message of a room"
    if entry.flags not in (0, Flags.GROUP):
        yield f"its flags, {entry.flags}, are none of a room's"
    listed = f"{entry.peer}/{entry.resource}" if entry.resource else entry.peer
    if entry.peer != bare or stanza.claimed != listed:
        yield f"it is listed as from {listed}, and is from {stanza.claimed or 'nobody'}"


def _is_address(text: str) -> bool:
    try:
        JID.parse(text)
    except MalformedJid:
        return False
    return True
