"""The state of a room: configuration, affiliations, occupants, subject. No I/O and no rules: those are in the modules
named by their subjects."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from secrets import token_hex
from typing import Final, Self

from xmppd.cache import Cache
from xmppd.errors import MalformedJid, NotAcceptable
from xmppd.jid import JID
from xmppd.stanza import parse_stanza
from xmppd.xml import quoted

from .affiliations import AffiliationList
from .model import (
    AFFILIATIONS,
    HATS_NS,
    OCCUPANT_ID_NS,
    Affiliation,
    AffiliationRecord,
    DirectoryEntry,
    Hat,
    Occupant,
    OccupantSession,
    Role,
    ServiceSettings,
    StoredRoom,
    StoredSession,
    Value,
)
from .nicks import prepare_nick
from .options import INITIAL_ROLE, MEMBERS_ONLY, NAME, PERSISTENT, PRESENCE_BROADCAST, PUBLIC, WHOIS
from .options.base import Option

FORWARDED_IQS: Final = 500
"""So many IQs between occupants wait for an answer."""
FORWARDED_IQ_BYTES: Final = 256 << 10
KEPT_ROLES: Final = 500
"""So many roles are kept for the next visit."""
KEPT_ROLE_BYTES: Final = 256 << 10
INVITATIONS: Final = 500
"""So many invitations can be declined."""
INVITATION_BYTES: Final = 256 << 10


class RoomState:
    """Who is in a room, who is affiliated with it and how it is configured. Time is passed in.

    `affiliations`: by bare JID (or domain, for a ban). `occupants`: by the nick's comparison key. `sessions`: the
    occupants by the full JIDs of their clients. `options`: values by variable name. `last_id`: of the archive. `hats`:
    by URI; after a change of them call `forget_worn`.
    """

    def __init__(
        self,
        jid: JID,
        record: StoredRoom,
        affiliations: Mapping[str, AffiliationRecord],
        settings: ServiceSettings,
        last_id: int = 0,
        hats: Mapping[str, Hat] | None = None,
    ) -> None:
        self.jid = jid
        self.record = record
        self.settings = settings
        self.last_id = last_id
        self.options: dict[str, Value] = {**settings.defaults, **record.options}
        self.affiliations = AffiliationList(affiliations)
        self.occupants: dict[str, Occupant] = {}
        self.sessions: dict[str, Occupant] = {}
        self.forwarded_iqs: Cache[str, tuple[JID, str, str]] = Cache(FORWARDED_IQS, FORWARDED_IQ_BYTES)
        """IQs between occupants by the id they were forwarded with: the asker, its own id, who must answer."""
        self.invitations: Cache[tuple[str, str], bool] = Cache(INVITATIONS, INVITATION_BYTES)
        """(invited, inviter): those who may decline, so that a room is no way to write to anybody."""
        self.kept_roles: Cache[str, Role] = Cache(KEPT_ROLES, KEPT_ROLE_BYTES)
        """Visitor or participant by bare JID, where a moderator has decided it (`kept_roles`)."""
        self._all_jids: tuple[JID, ...] | None = None
        self._bare_jids: frozenset[str] | None = None
        self.hats = dict(hats or {})
        self._worn: dict[str, bytes] | None = None
        self._secret = bytes.fromhex(record.secret)

    @classmethod
    def created(cls, jid: JID, creator: JID, settings: ServiceSettings, now: int) -> Self:
        """A new room with its owner; locked if the service locks new rooms (section 10.1)."""
        record = StoredRoom(creator.bare, now, token_hex(32), settings.lock, dict(settings.defaults))
        return cls(jid, record, {creator.bare: AffiliationRecord("owner")}, settings)

    # ---- configuration

    def is_non_anonymous(self) -> bool:
        """All occupants see real addresses (section 7.2.3)."""
        return WHOIS.is_non_anonymous(self)

    def is_private(self) -> bool:
        """Its existence is all that strangers may learn."""
        return MEMBERS_ONLY.of(self) or not PUBLIC.of(self)

    def is_persistent(self) -> bool:
        """It stays when the last occupant leaves; a locked room does not."""
        return PERSISTENT.of(self) and not self.record.locked

    def directory_entry(self, record: StoredRoom) -> DirectoryEntry:
        """Returns the directory entry of a record of this room."""
        options = {**self.settings.defaults, **record.options}

        def value(option: Option) -> Value:
            return options.get(option.var, option.default)

        return DirectoryEntry(
            str(value(NAME)),
            bool(value(PUBLIC)) and not record.locked,
            bool(value(PERSISTENT)) and not record.locked,
            record.creator,
        )

    def current_record(self) -> StoredRoom:
        """Returns the record with the present options."""
        return replace(self.record, options=dict(self.options))

    # ---- affiliations and roles

    def affiliation(self, who: JID) -> Affiliation:
        """Returns the affiliation of a bare JID; a whole domain can be banned (section 9.2)."""
        record = self.affiliations.data.get(who.bare)
        if record is None:
            banned = self.affiliations.data.get(who.domain)
            return Affiliation.OUTCAST if banned and banned.affiliation == "outcast" else Affiliation.NONE
        return AFFILIATIONS.get(record.affiliation, Affiliation.NONE)

    def affiliation_of(self, occupant: Occupant) -> Affiliation:
        return self.affiliation(occupant.latest.jid)

    def initial_role(self, affiliation: Affiliation) -> Role:
        """Returns the role that one has on joining (section 5.1.2)."""
        if affiliation >= Affiliation.ADMIN:
            return Role.MODERATOR
        for rule in INITIAL_ROLE:
            role: Role | None = rule(self, affiliation)
            if role is not None:
                return role
        return Role.PARTICIPANT

    def sees_addresses(self, occupant: Occupant) -> bool:
        """Whether an occupant sees the real addresses of the others."""
        return occupant.role is Role.MODERATOR or self.is_non_anonymous()

    def is_shown(self, occupant: Occupant) -> bool:
        """Whether the others get the presence of an occupant: the room says of which roles (section 5.1)."""
        return PRESENCE_BROADCAST.shows(self, occupant.role)

    def others(self, occupant: Occupant) -> list[Occupant]:
        return [each for each in self.occupants.values() if each is not occupant]

    # ---- hats

    def hats_element(self, bare: str) -> bytes:
        """Serialises <hats/> with what somebody wears (XEP-0317 section 3.1); empty for nothing."""
        if not self.hats:
            return b""
        if self._worn is None:
            inside: dict[str, str] = {}
            for uri, hat in self.hats.items():
                hue = f" hue='{quoted(hat.hue)}'" if hat.hue else ""
                element = f"<hat title='{quoted(hat.title)}' uri='{quoted(uri)}'{hue}/>"
                for each in hat.wearers:
                    inside[each] = inside.get(each, "") + element
            self._worn = {each: f"<hats xmlns='{HATS_NS}'>{worn}</hats>".encode() for each, worn in inside.items()}
        return self._worn.get(bare, b"")

    def forget_worn(self) -> None:
        """Hats have changed: their elements are made anew."""
        self._worn = None

    # ---- occupants and their sessions

    def occupant_of(self, who: JID) -> Occupant:
        """Finds the occupant that a client is. Raises NotAcceptable (sections 7.4, 7.5, 8)."""
        found = self.sessions.get(who.full)
        if found is None:
            raise NotAcceptable("you are not in the room", type="cancel")
        return found

    def occupant_named(self, nick: str) -> Occupant | None:
        """Finds the occupant with that nick, exactly as it is written."""
        try:
            found = self.occupants.get(prepare_nick(nick))
        except MalformedJid:
            return None
        return found if found is not None and found.nick == nick else None

    def new_occupant(self, nick: str, key: str, who: JID, role: Role, id: bytes) -> Occupant:
        """Makes an occupant without sessions, not in the room yet. `id`: the <occupant-id/> element."""
        return Occupant(self.jid.with_resource(nick), key, who.bare, role, id)

    def add_session(self, occupant: Occupant, session: OccupantSession) -> None:
        """Makes a session the latest of an occupant, which is in the room from now on."""
        full = session.jid.full
        self.occupants[occupant.key] = occupant
        occupant.sessions.pop(full, None)
        occupant.sessions[full] = session
        self.sessions[full] = occupant
        self._all_jids = self._bare_jids = None

    def restore_session(self, who: JID, stored: StoredSession) -> None:
        """Adds a session as it was before a restart of the server."""
        key = prepare_nick(stored.nick)
        occupant = self.occupants.get(key)
        if occupant is None:
            id = stored.id.encode() or self.occupant_id_element(who.bare)
            occupant = self.new_occupant(stored.nick, key, who, Role(stored.role), id)
        self.add_session(occupant, OccupantSession(who, parse_stanza(stored.presence.encode())))

    def remove_session(self, occupant: Occupant, full: str) -> None:
        """Removes a session; with its last one an occupant leaves the room."""
        occupant.sessions.pop(full, None)
        if self.sessions.get(full) is occupant:
            del self.sessions[full]
        if not occupant.sessions and self.occupants.get(occupant.key) is occupant:
            del self.occupants[occupant.key]
        self._all_jids = self._bare_jids = None

    def all_jids(self) -> tuple[JID, ...]:
        """Returns the full JIDs of all sessions, occupant by occupant."""
        found = self._all_jids
        if found is None:
            found = self._all_jids = tuple(
                session.jid for occupant in self.occupants.values() for session in occupant.sessions.values()
            )
        return found

    def attending(self, among: AbstractSet[str]) -> AbstractSet[str]:
        """Returns those bare JIDs among some that are in the room."""
        bares = self._bare_jids
        if bares is None:
            bares = self._bare_jids = frozenset(jid.bare for jid in self.all_jids())
        return among & bares

    def absent_members(self, among: AbstractSet[str]) -> list[tuple[str, str]]:
        """Returns bare JID and reserved nick of the members, admins and owners among some who are not in the room."""
        found = among & self.affiliations.keys()
        if not found:
            return []
        found -= self.attending(found)
        records = [(bare, self.affiliations[bare]) for bare in sorted(found)]
        return [
            (bare, record.nick)
            for bare, record in records
            if AFFILIATIONS.get(record.affiliation, Affiliation.NONE) >= Affiliation.MEMBER
        ]

    # ---- ids and invitations

    def next_id(self, now: int) -> int:
        """Returns an id for the archive: microseconds, strictly rising even if the clock is set back."""
        self.last_id = now if now > self.last_id else self.last_id + 1
        return self.last_id

    def occupant_id(self, bare: str, incarnation: str = "") -> str:
        """Returns an id that is stable for room and user, and tells nothing about either (XEP-0421 section 4.1). Who
        gets the name of an account that was removed is another user: `incarnation` (StoredAccount) tells them apart. No
        JID has a NUL."""
        user = f"{bare}\0{incarnation}" if incarnation else bare
        return hmac.digest(self._secret, user.encode(), "sha256").hex()

    def occupant_id_element(self, bare: str, incarnation: str = "") -> bytes:
        return f"<occupant-id xmlns='{OCCUPANT_ID_NS}' id='{self.occupant_id(bare, incarnation)}'/>".encode()

    def allow_decline(self, bare: str, inviter: str) -> None:
        """Remembers that an invited user may decline to its inviter (section 7.8.2)."""
        self.invitations.put((bare, inviter), True)

    def forward_iq(self, id: str, asker: JID, own_id: str, answerer: str) -> None:
        """Remembers an IQ between occupants that is forwarded with another id, so that its answer finds the asker."""
        self.forwarded_iqs.put(id, (asker, own_id, answerer))
