"""Rooms that move: configuration, affiliations, subject, archive, in a <room/> of our own, since XEP-0227 has no word
for them; what is in it is as clients see it (XEP-0045 sections 9 and 10, XEP-0313)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from secrets import token_hex
from typing import Final

from xmppd.contracts.moving import MOVING_NS, PIECE, Intake, OwnerKind, Portable
from xmppd.errors import MalformedJid, StanzaError
from xmppd.jid import JID
from xmppd.plugin import Kind, Stanza
from xmppd.storage.api import Entry, Flags, Range, Write
from xmppd.xep.elements import DELAY_NS, delay_bytes, parse_time, stanza_id_bytes
from xmppd.xep.forms import NS as DATA_NS
from xmppd.xep.forms import Field, Submitted, form, read_form
from xmppd.xep.moved_messages import ARCHIVE_TAG, archive_element, place, read_archive, stanza_of, stored, tidy
from xmppd.xml import CLIENT_NS, E, Element, alone, children, find, parse, text_of

from .configuration import CONFIG_FORM
from .elements import muc_user_element, muc_user_item, without_forgeries
from .messages import ARCHIVED, MARKERS, STORE, SUBJECT, is_subject
from .model import ADMIN_NS, AFFILIATIONS, USER_NS, Affiliation, AffiliationRecord, Role, StoredRoom, Value
from .nicks import prepare_nick
from .options import OPTIONS
from .options.persistent import Persistent
from .registry import RoomRegistry
from .room import RoomState

PERSISTENT: Final = Persistent.var
SECRET_LENGTH: Final = 64
REASON_LENGTH: Final = 1000


class PortableRooms:
    def __init__(self, rooms: RoomRegistry) -> None:
        self._rooms = rooms

    def parts(self) -> Iterable[Portable]:
        kind = OwnerKind.ROOM
        yield Portable(kind, (f"{MOVING_NS}|made",), self._give_made, self._take_made, secret=True)
        yield Portable(kind, (f"{DATA_NS}|x",), self._give_form, self._take_form)
        yield Portable(kind, (f"{ADMIN_NS}|query",), self._give_people, self._take_people)
        yield Portable(kind, (f"{CLIENT_NS}|message",), self._give_subject, self._take_subject)
        yield Portable(kind, (ARCHIVE_TAG,), self._give_archive, self._take_archive)

    async def owners(self) -> AsyncIterator[JID]:
        """All rooms of the service."""
        domain = self._rooms.host.domain
        for local in sorted(await self._rooms.directory_entries.read_all(domain)):
            yield JID.of(local, domain)

    async def _room(self, jid: JID) -> RoomState | None:
        record = await self._rooms.records.read(jid.bare, "")
        if record is None:
            return None
        return RoomState(jid, record, await self._rooms.affiliations.read_all(jid.bare), self._rooms.settings)

    async def _open(self, jid: JID, intake: Intake) -> tuple[RoomState, list[Write]]:
        """The room, and what makes it if it is not there."""
        room = await self._room(jid)
        if room is not None:
            return room, []
        record = StoredRoom("", intake.now, token_hex(SECRET_LENGTH // 2), options=self._defaults())
        room = RoomState(jid, record, {}, self._rooms.settings)
        return room, self._save(room, record)

    def _defaults(self) -> dict[str, Value]:
        """What moves is meant to stay."""
        return {**self._rooms.settings.defaults, PERSISTENT: True}

    def _save(self, room: RoomState, record: StoredRoom) -> list[Write]:
        rooms = self._rooms
        listed = rooms.directory_entries.put(room.jid.domain, room.jid.local, room.directory_entry(record))
        return [rooms.records.put(room.jid.bare, "", record), listed]

    # ---- how it was made

    async def _give_made(self, owner: JID) -> AsyncIterator[Element]:
        record = await self._rooms.records.read(owner.bare, "")
        if record is not None:
            attributes = {"creator": record.creator, "created": str(record.created), "secret": record.secret}
            yield E("made", MOVING_NS, {name: value for name, value in attributes.items() if value})

    async def _take_made(self, owner: JID, made: Element, intake: Intake) -> Sequence[Write]:
        """Ids of occupants stay what they were (`secret`). Raises MalformedJid, ValueError."""
        room, writes = await self._open(owner, intake)
        if not writes and not intake.replace:
            return ()
        creator, secret = str(made.get("creator", "")), str(made.get("secret", ""))
        record = replace(
            room.current_record(),
            creator=JID.parse(creator).bare if creator else "",
            created=min(max(int(str(made.get("created", "0"))), 0), intake.now),
        )
        if len(secret) == SECRET_LENGTH and bytes.fromhex(secret):
            record = replace(record, secret=secret)
        return self._save(room, record)

    # ---- configuration

    async def _give_form(self, owner: JID) -> AsyncIterator[Element]:
        room = await self._room(owner)
        if room is not None:
            fields = [field for option in OPTIONS for field in option.fields(room)]
            yield form("form", CONFIG_FORM, (Field(field.var, values=field.values) for field in fields))

    async def _take_form(self, owner: JID, given: Element, intake: Intake) -> Sequence[Write]:
        """Raises StanzaError."""
        filled = alone(given)
        filled.set("type", "submit")
        submitted = read_form(E("x", DATA_NS, {}, filled)) or Submitted("submit")
        if submitted.boolean(PERSISTENT) is False:
            intake.refuse("a temporary room, which ends when nobody is in it")
            return ()
        room, made = await self._open(owner, intake)
        if not made and not intake.replace and not intake.first:
            return ()
        options: dict[str, Value] = dict(room.options)
        for option in OPTIONS:
            try:
                value = option.read(submitted, room)
            except StanzaError as error:
                intake.lost(f"the setting {option.var} of a room: {error.text or error.condition}")
                continue
            if value is not None:
                options[option.var] = value
        options[PERSISTENT] = True
        return self._save(room, replace(room.record, options=options, locked=False))

    # ---- people

    async def _give_people(self, owner: JID) -> AsyncIterator[Element]:
        found = sorted((await self._rooms.affiliations.read_all(owner.bare)).items())
        for start in range(0, len(found), PIECE):
            query = E("query", ADMIN_NS)
            for bare, record in found[start : start + PIECE]:
                attributes = {"affiliation": record.affiliation, "jid": bare, "nick": record.nick}
                reason = E("reason", ADMIN_NS, {}, record.reason) if record.reason else None
                query.append(E("item", ADMIN_NS, {name: value for name, value in attributes.items() if value}, reason))
            yield query

    async def _take_people(self, owner: JID, query: Element, intake: Intake) -> Sequence[Write]:
        room, made = await self._open(owner, intake)
        writes: list[Write] = list(made)
        known = dict(await self._rooms.affiliations.read_all(owner.bare))
        nicks = {prepare_nick(each.nick) for each in known.values() if each.nick}
        first = ""
        for item in children(query, ADMIN_NS, "item"):
            word, text = str(item.get("affiliation", "")), str(item.get("jid", ""))
            if word not in AFFILIATIONS or word == "none":
                continue
            try:
                bare = JID.parse(text).bare
            except MalformedJid:
                intake.lost(f"the affiliation of {text!r}, which is no address")
                continue
            if bare in known and not intake.replace:
                intake.kept("affiliations")
                continue
            if len(known) >= self._rooms.settings.affiliations:
                intake.lost("an affiliation: a room has too many (muc.affiliations)")
                continue
            nick = self._free_nick(str(item.get("nick") or ""), nicks)
            reason = text_of(find(item, ADMIN_NS, "reason"))[:REASON_LENGTH]
            known[bare] = AffiliationRecord(word, nick, reason)
            first = first or (bare if word == "owner" else "")
            writes.append(self._rooms.affiliations.put(owner.bare, bare, known[bare]))
            intake.took("affiliations")
        if first and not room.record.creator:
            writes += self._save(room, replace(room.current_record(), creator=first))
        return writes

    @staticmethod
    def _free_nick(nick: str, taken: set[str]) -> str:
        try:
            key = prepare_nick(nick) if nick else ""
        except MalformedJid:
            return ""
        if not key or key in taken:
            return ""
        taken.add(key)
        return nick

    # ---- subject

    async def _give_subject(self, owner: JID) -> AsyncIterator[Element]:
        record = await self._rooms.records.read(owner.bare, "")
        if record is not None and record.subject:
            message = stored(record.subject.encode())
            message.append(parse(delay_bytes(owner.bare, record.subject_at)))
            yield message

    async def _take_subject(self, owner: JID, message: Element, intake: Intake) -> Sequence[Write]:
        """Raises MalformedJid, ValueError."""
        room, made = await self._open(owner, intake)
        if room.record.subject and not intake.replace:
            return made
        at = _stamped(message) or intake.now
        stanza = tidy(without_forgeries(owner, stanza_of(message)))
        if stanza.kind is not Kind.MESSAGE or not is_subject(stanza):
            raise ValueError("a message in a room that is no subject")
        out = Stanza(Kind.MESSAGE, "groupchat", None, self._author(owner, stanza), stanza.id or token_hex(8),
                     stanza.inside, stanza.tags, stanza.lang)  # fmt: skip
        record = replace(room.current_record(), subject=out.data.decode(), subject_at=min(at, intake.now))
        return self._save(room, record)

    @staticmethod
    def _author(owner: JID, stanza: Stanza) -> JID:
        """An occupant, or the room itself."""
        return stanza.sender if stanza.sender is not None and stanza.sender.bare == owner.bare else owner

    # ---- archive

    async def _give_archive(self, owner: JID) -> AsyncIterator[Element]:
        after = 0
        while page := await self._rooms.archive.page(owner.bare, Range(after=after), PIECE):
            yield archive_element(owner.bare, page)
            after = page[-1].id

    async def _take_archive(self, owner: JID, archive: Element, intake: Intake) -> Sequence[Write]:
        room, writes = await self._open(owner, intake)
        wanted: list[tuple[str, Entry]] = []
        real: list[JID | None] = []
        for moved in read_archive(archive):
            if isinstance(moved, str):
                intake.lost(moved)
                continue
            who = _real_address(moved.message)
            try:
                entry = self._entry(owner, stanza_of(moved.message), moved.at)
            except (MalformedJid, ValueError) as error:
                intake.lost(f"a message of a room: {error}")
                continue
            wanted.append((moved.id, entry))
            real.append(who)
        placed = await place(self._rooms.archive, owner.bare, wanted, intake.now)
        intake.kept("messages of rooms", len(placed.there))
        intake.took("messages of rooms", len(placed.entries))
        who_wrote = [who for number, who in enumerate(real) if number not in placed.there]
        for entry, who in zip(placed.entries, who_wrote, strict=True):
            writes.append(self._rooms.archive.append(owner.bare, _marked(room, entry, who)))
        return writes

    def _entry(self, owner: JID, stanza: Stanza, at: int) -> Entry:
        """Raises ValueError."""
        if stanza.kind is not Kind.MESSAGE or stanza.type != "groupchat":
            raise ValueError(f"one of type {stanza.type!r}")
        stanza = tidy(without_forgeries(owner, stanza))
        author = self._author(owner, stanza)
        subject = SUBJECT in stanza.tags and is_subject(stanza)
        marker = not MARKERS.isdisjoint(stanza.tags)
        discussion = not subject and (not ARCHIVED.isdisjoint(stanza.tags) or (STORE in stanza.tags and not marker))
        out = Stanza(Kind.MESSAGE, "groupchat", None, author, _id(stanza, at), stanza.inside, stanza.tags,
                     stanza.lang)  # fmt: skip
        return Entry(at, owner.bare, author.resource, int(Flags.GROUP) if discussion else 0, out.data)


def _id(stanza: Stanza, at: int) -> str:
    """A message without an id gets one, the same whenever it comes."""
    return stanza.id or sha256(b"%d %s" % (at, stanza.inside)).hexdigest()[:16]


def _stamped(message: Element) -> int:
    delay = find(message, DELAY_NS, "delay")
    try:
        return parse_time(str(delay.get("stamp", ""))) if delay is not None else 0
    except (ValueError, OverflowError):
        return 0


def _real_address(message: Element) -> JID | None:
    """Who has written it, as archives of rooms tell those who may know."""
    x = find(message, USER_NS, "x")
    item = find(x, USER_NS, "item") if x is not None else None
    try:
        return JID.parse(str(item.get("jid", ""))) if item is not None and item.get("jid") else None
    except MalformedJid:
        return None


def _marked(room: RoomState, entry: Entry, who: JID | None) -> Entry:
    """With what only the room writes: the id of the occupant, that of the message, and, at the end, the real address,
    which is cut off for those who may not see it (`elements.archived_message`)."""
    marks = stanza_id_bytes(room.jid.bare, entry.id)
    if who is not None:
        marks = room.occupant_id_element(who.bare) + marks
        affiliation = room.affiliation(who)
        role = Role.MODERATOR if affiliation >= Affiliation.ADMIN else Role.PARTICIPANT
        marks += muc_user_element(muc_user_item(affiliation, role, who.full))
    end = b"</message>"
    return Entry(entry.id, entry.peer, entry.resource, entry.flags, entry.body.removesuffix(end) + marks + end)
