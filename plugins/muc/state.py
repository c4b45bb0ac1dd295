"""The state of a room, and the stanzas in which it shows (XEP-0045 sections 5, 7.2.2)."""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import Final, Self

from xmppd.errors import JidMalformed, MalformedJid, NotAcceptable
from xmppd.jid import JID
from xmppd.stanza import Kind, Stanza, parse_stanza
from xmppd.xep.elements import DELAY_NS, SID_NS
from xmppd.xml import Element, escape, quoted

from .looks import prepare_nick
from .members import Members
from .model import (
    AFFILIATIONS,
    MUC_NS,
    OCCUPANT_ID_NS,
    USER_NS,
    Affiliation,
    Cast,
    Effect,
    KeptSeat,
    Listing,
    Member,
    Occupant,
    Role,
    Seat,
    Settings,
    StoredRoom,
    Value,
)
from .options import FEATURES, MEMBERS_ONLY, NAME, PERSISTENT, PUBLIC, ROLE, WHOIS
from .options.base import Option

X_TAG: Final = f"{USER_NS}|x"
OCCUPANT_ID_TAG: Final = f"{OCCUPANT_ID_NS}|occupant-id"
FORGED: Final = frozenset((f"{SID_NS}|stanza-id", OCCUPANT_ID_TAG, X_TAG, f"{MUC_NS}|x", f"{DELAY_NS}|delay"))
"""Children that only the room may write: their presence means a closer look (T28)."""
RELAYS: Final = 500
LONGEST_ID: Final = 1024
"""Of an IQ that is passed on: what is remembered of it is bounded in bytes, too."""
INVITATIONS: Final = 500


@dataclass(frozen=True, slots=True)
class Notice:
    """What a presence tells beside affiliation and role: status codes, who did it and why, the new nick."""

    codes: tuple[int, ...] = ()
    actor: str = ""
    reason: str = ""
    nick: str = ""


PLAIN: Final = Notice()


def x_bytes(item: str, codes: Iterable[int] = ()) -> bytes:
    """<x/> of muc#user around an item, already serialised, and status codes."""
    statuses = "".join(f"<status code='{code}'/>" for code in sorted(set(codes)))
    return f"<x xmlns='{USER_NS}'>{item}{statuses}</x>".encode()


def item_text(affiliation: Affiliation, role: Role, jid: str = "", notice: Notice = PLAIN) -> str:
    """<item/> of muc#user."""
    start = f"<item affiliation='{affiliation.name.lower()}' role='{role.name.lower()}'"
    if jid:
        start += f" jid='{quoted(jid)}'"
    if notice.nick:
        start += f" nick='{quoted(notice.nick)}'"
    inside = f"<actor nick='{quoted(notice.actor)}'/>" if notice.actor else ""
    if notice.reason:
        inside += f"<reason>{escape(notice.reason)}</reason>"
    return f"{start}>{inside}</item>" if inside else f"{start}/>"


class RoomState:
    """Who is in a room, who belongs to it and how it is set up. No I/O; time is passed in.

    `members`: by bare JID (or domain, for a ban). `occupants`: by the nick's comparison key. `seats`: who sits
    where, by full JID. `options`: values by variable name.
    """

    def __init__(
        self, jid: JID, record: StoredRoom, members: Mapping[str, Member], settings: Settings, last_id: int = 0
    ) -> None:
        self.jid = jid
        self.record = record
        self.settings = settings
        self.last_id = last_id
        self.options: dict[str, Value] = {**settings.defaults, **record.options}
        self.members = Members(members)
        self.occupants: dict[str, Occupant] = {}
        self.seats: dict[str, Occupant] = {}
        self.relays: OrderedDict[str, tuple[JID, str, str]] = OrderedDict()
        """IQs passed on, by the id they went with: who asked, under which id, who shall answer."""
        self.invitations: OrderedDict[tuple[str, str], None] = OrderedDict()
        """(invited, inviter): those who may decline, so that a room is no way to write to anybody."""
        self._everyone: tuple[JID, ...] | None = None
        self._bares: frozenset[str] | None = None
        self._secret = bytes.fromhex(record.secret)

    @classmethod
    def created(cls, jid: JID, creator: JID, settings: Settings, now: int) -> Self:
        """A new room of that owner; locked if the service locks new rooms (section 10.1)."""
        record = StoredRoom(creator.bare, now, token_hex(32), settings.lock, dict(settings.defaults))
        return cls(jid, record, {creator.bare: Member("owner")}, settings)

    # ---- questions

    def invited(self, bare: str, inviter: str) -> None:
        """That user may decline to this one."""
        self.invitations[(bare, inviter)] = None
        if len(self.invitations) > INVITATIONS:
            self.invitations.popitem(last=False)

    def next_id(self, now: int) -> int:
        """An id for the archive: microseconds, strictly rising even if the clock is set back."""
        self.last_id = now if now > self.last_id else self.last_id + 1
        return self.last_id

    def affiliation(self, who: JID) -> Affiliation:
        """By bare JID; a whole domain can be banned (section 9.2)."""
        member = self.members.data.get(who.bare)
        if member is None:
            banned = self.members.data.get(who.domain)
            return Affiliation.OUTCAST if banned and banned.affiliation == "outcast" else Affiliation.NONE
        return AFFILIATIONS.get(member.affiliation, Affiliation.NONE)

    def affiliation_of(self, occupant: Occupant) -> Affiliation:
        return self.affiliation(occupant.main.jid)

    def entry_role(self, affiliation: Affiliation) -> Role:
        """The role that one has on entering (section 5.1.2)."""
        if affiliation >= Affiliation.ADMIN:
            return Role.MODERATOR
        for rule in ROLE:
            role: Role | None = rule(self, affiliation)
            if role is not None:
                return role
        return Role.PARTICIPANT

    def occupant(self, who: JID) -> Occupant:
        """Who sits there. Raises NotAcceptable (sections 7.4, 7.5, 8)."""
        found = self.seats.get(who.full)
        if found is None:
            raise NotAcceptable("you are not in the room", type="cancel")
        return found

    def named(self, nick: str) -> Occupant | None:
        """The occupant of that nick, exactly as it is written."""
        try:
            found = self.occupants.get(prepare_nick(nick))
        except MalformedJid:
            return None
        return found if found is not None and found.nick == nick else None

    def is_open(self) -> bool:
        """Non-anonymous."""
        return WHOIS.open(self)

    def is_private(self) -> bool:
        """Its existence is all that strangers may learn."""
        return MEMBERS_ONLY.of(self) or not PUBLIC.of(self)

    def is_persistent(self) -> bool:
        return PERSISTENT.of(self) and not self.record.locked

    def features(self) -> list[str]:
        return [feature for option in FEATURES if (feature := option.feature(self))]

    def listing(self, record: StoredRoom) -> Listing:
        """How a record shows in the directory."""
        options = {**self.settings.defaults, **record.options}

        def value(option: Option) -> Value:
            return options.get(option.var, option.default)

        return Listing(
            str(value(NAME)),
            bool(value(PUBLIC)) and not record.locked,
            bool(value(PERSISTENT)) and not record.locked,
            record.creator,
        )

    def saved(self) -> StoredRoom:
        """The record with the present options."""
        return replace(self.record, options=dict(self.options))

    def occupant_id(self, bare: str, incarnation: str = "") -> str:
        """Stable for room and user, tells nothing about either (XEP-0421 section 4.1). Who gets the name of an account
        that was removed is another user: `incarnation` (StoredAccount) tells them apart. No JID has a NUL."""
        user = f"{bare}\0{incarnation}" if incarnation else bare
        return hmac.digest(self._secret, user.encode(), "sha256").hex()

    def occupant_id_bytes(self, bare: str, incarnation: str = "") -> bytes:
        return f"<occupant-id xmlns='{OCCUPANT_ID_NS}' id='{self.occupant_id(bare, incarnation)}'/>".encode()

    # ---- nicks

    def nick_key(self, nick: str) -> str:
        """What makes two nicks the same to a reader (section 17.1.1). Raises JidMalformed, NotAcceptable."""
        if len(nick) > self.settings.nick_length:  # first, so that what is remembered is short
            raise NotAcceptable(f"a nick has at most {self.settings.nick_length} characters")
        try:
            return prepare_nick(nick)
        except MalformedJid:
            raise JidMalformed("not a nick") from None

    # ---- seats (called when a plan is applied)

    def sit(self, occupant: Occupant, seat: Seat) -> None:
        self.occupants[occupant.key] = occupant
        occupant.seats.pop(seat.jid.full, None)
        occupant.seats[seat.jid.full] = seat
        self.seats[seat.jid.full] = occupant
        self._everyone = self._bares = None

    def sit_again(self, who: JID, kept: KeptSeat) -> None:
        """As before a restart of the server."""
        key = prepare_nick(kept.nick)
        occupant = self.occupants.get(key)
        if occupant is None:
            id = kept.id.encode() or self.occupant_id_bytes(who.bare)
            occupant = self.new_occupant(kept.nick, key, who, Role(kept.role), id)
        self.sit(occupant, Seat(who, parse_stanza(kept.presence.encode())))

    def stand_up(self, occupant: Occupant, full: str) -> None:
        """One seat is empty; without any the occupant is gone."""
        occupant.seats.pop(full, None)
        if self.seats.get(full) is occupant:
            del self.seats[full]
        if not occupant.seats and self.occupants.get(occupant.key) is occupant:
            del self.occupants[occupant.key]
        self._everyone = self._bares = None

    def absent(self, among: AbstractSet[str]) -> list[tuple[str, str]]:
        """Bare JID and reserved nick of those among some who belong to the room and are not in it."""
        found = among & self.members.keys()
        if not found:
            return []
        found -= self.attending(found)
        members = [(bare, self.members[bare]) for bare in sorted(found)]
        return [
            (bare, member.nick)
            for bare, member in members
            if AFFILIATIONS.get(member.affiliation, Affiliation.NONE) >= Affiliation.MEMBER
        ]

    def attending(self, among: AbstractSet[str]) -> AbstractSet[str]:
        """The bare JIDs among some of those who are in the room."""
        bares = self._bares
        if bares is None:
            bares = self._bares = frozenset(jid.bare for jid in self.everyone())
        return among & bares

    def everyone(self) -> tuple[JID, ...]:
        """The full JIDs of all seats."""
        found = self._everyone
        if found is None:
            found = self._everyone = tuple(self._all_seats())
        return found

    def _all_seats(self) -> Iterator[JID]:
        for occupant in self.occupants.values():
            for seat in occupant.seats.values():
                yield seat.jid

    def new_occupant(self, nick: str, key: str, who: JID, role: Role, id: bytes) -> Occupant:
        """`id`: <occupant-id/>."""
        return Occupant(self.jid.with_resource(nick), key, who.bare, role, id)

    # ---- stanzas

    def cleaned(self, stanza: Stanza) -> Stanza:
        """Without what only the room may say (T28): its stanza-ids, all occupant ids, muc#user, its delays."""
        if FORGED.isdisjoint(stanza.tags):
            return stanza
        return (
            stanza.without(OCCUPANT_ID_NS, "occupant-id")
            .without(USER_NS, "x")
            .without(MUC_NS, "x")
            .without(SID_NS, "stanza-id", lambda each: self._ours(each, "by"))
            .without(DELAY_NS, "delay", lambda each: self._ours(each, "from"))
        )

    def _ours(self, element: Element, attribute: str) -> bool:
        """It claims to be of this room, of one of its occupants or of its service."""
        try:
            claimed = JID.parse(element.get(attribute, ""))
        except MalformedJid:
            return True
        return claimed.bare in (self.jid.bare, self.jid.domain)

    def _presence(self, occupant: Occupant, seat: Seat, type: str, x: bytes) -> Stanza:
        shown = seat.presence
        return Stanza(
            Kind.PRESENCE,
            type,
            None,
            occupant.jid,
            shown.id,
            shown.inside + x + occupant.id,
            (*shown.tags, X_TAG, OCCUPANT_ID_TAG),
            shown.lang,
        )

    def sees_addresses(self, occupant: Occupant) -> bool:
        return occupant.role is Role.MODERATOR or self.is_open()

    def shown(
        self,
        about: Occupant,
        seat: Seat,
        to: Iterable[Occupant],
        type: str = "",
        notice: Notice = PLAIN,
        role: Role | None = None,
    ) -> list[Effect]:
        """The presence of an occupant to others, with the real address for those who may see it."""
        affiliation = self.affiliation(seat.jid)
        role = about.role if role is None else role
        seeing: list[JID] = []
        blind: list[JID] = []
        open_room = self.is_open()
        for other in to:
            group = seeing if open_room or other.role is Role.MODERATOR else blind
            group.extend(each.jid for each in other.seats.values())
        effects: list[Effect] = []
        for group, address in ((seeing, seat.jid.full), (blind, "")):
            if group:
                x = x_bytes(item_text(affiliation, role, address, notice), notice.codes)
                effects.append(Cast(self._presence(about, seat, type, x), tuple(group)))
        return effects

    def shown_self(
        self,
        about: Occupant,
        seat: Seat,
        to: Iterable[JID],
        type: str = "",
        notice: Notice = PLAIN,
        role: Role | None = None,
    ) -> list[Effect]:
        """Self-presence: status code 110 (section 7.2.2)."""
        role = about.role if role is None else role
        item = item_text(self.affiliation(seat.jid), role, seat.jid.full, notice)
        stanza = self._presence(about, seat, type, x_bytes(item, (110, *notice.codes)))
        return [Cast(stanza, tuple(to))]

    def updated(self, about: Occupant, notice: Notice = PLAIN) -> list[Effect]:
        """Presence of an occupant, as it is now, to all and to itself."""
        seat = about.main
        others = [other for other in self.occupants.values() if other is not about]
        own = [each.jid for each in about.seats.values()]
        return [*self.shown(about, seat, others, "", notice), *self.shown_self(about, seat, own, "", notice)]

    def restated(self, about: Occupant, before: Seat, shown: Seat | None = None) -> list[Effect]:
        """Presence of an occupant to those to whom it shows otherwise now than from the seat `before`; `shown`: one
        of its own that has seen it."""
        seat = about.main
        others = [other for other in self.occupants.values() if other is not about]
        own = [each.jid for each in about.seats.values() if each is not shown]
        if (seat.presence.inside, seat.presence.lang) == (before.presence.inside, before.presence.lang):
            if seat.jid == before.jid:
                return []
            others = [other for other in others if self.sees_addresses(other)]
        effects = self.shown(about, seat, others)
        return effects + self.shown_self(about, seat, own) if own else effects

    def removed(self, gone: Iterable[tuple[Occupant, Notice]]) -> tuple[list[Effect], list[Effect]]:
        """Take occupants out of the room, all their seats: what they are told, and what those who stay are told."""
        own: list[Effect] = []
        left: list[tuple[Occupant, Seat, Notice]] = []
        for about, notice in gone:
            seat = Seat(about.main.jid, Stanza(Kind.PRESENCE, "unavailable"))
            own += self.shown_self(
                about, seat, [each.jid for each in about.seats.values()], "unavailable", notice, Role.NONE
            )
            for full in list(about.seats):
                self.stand_up(about, full)
            left.append((about, seat, notice))
        rest: list[Effect] = []
        for about, seat, notice in left:
            rest += self.shown(about, seat, self.occupants.values(), "unavailable", notice, Role.NONE)
        return own, rest

    def announced(self, x: bytes) -> list[Effect]:
        """A message of the room itself to all occupants (section 10.2.1)."""
        stanza = Stanza(Kind.MESSAGE, "groupchat", None, self.jid, token_hex(8), x, (X_TAG,))
        everyone = self.everyone()
        return [Cast(stanza, everyone)] if everyone else []
