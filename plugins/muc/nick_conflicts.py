"""Which nicks one may take in a room: not another's, none reserved for another, none that looks like those
(XEP-0045 sections 7.2.8, 7.10, 17.1.1; UTS 39 section 4)."""

from __future__ import annotations

from xmppd.errors import Conflict, JidMalformed, MalformedJid, NotAcceptable
from xmppd.jid import JID

from .model import Occupant
from .nicks import nick_forms, prepare_nick
from .room import RoomState


def nick_key(room: RoomState, nick: str) -> str:
    """Returns the comparison key of a nick of allowed length. Raises JidMalformed, NotAcceptable."""
    if len(nick) > room.settings.nick_length:  # first, so that what is cached is short
        raise NotAcceptable(f"a nick has at most {room.settings.nick_length} characters")
    try:
        return prepare_nick(nick)
    except MalformedJid:
        raise JidMalformed("not a nick") from None


def is_confusable(room: RoomState, nick: str, bare: str) -> bool:
    """Whether a nick for `bare` looks like one that somebody else has, now or reserved. Raises MalformedJid."""
    forms = nick_forms(nick)
    others = (each.nick for each in room.occupants.values() if each.bare != bare)
    if any(forms.confusable_with(nick_forms(each)) for each in others):
        return True
    return room.affiliations.resembles_reserved(nick, bare)


def check_nick(room: RoomState, nick: str, key: str, who: JID) -> Occupant | None:
    """Checks that a user may take a nick; returns its own occupant with that nick, None if nobody has it.

    Raises Conflict if somebody else has it or has reserved it, or if it looks like one that is; who has reserved a nick
    may use it, whatever it looks like.
    """
    occupant = room.occupants.get(key)
    if occupant is not None and occupant.bare != who.bare:
        raise Conflict("that nick is taken")
    if occupant is None or occupant.nick != nick:
        owner = room.affiliations.nick_owner(key)
        if owner is not None and owner != who.bare:
            raise Conflict("that nick is reserved")
        if owner is None and is_confusable(room, nick, who.bare):
            raise Conflict("that nick looks like another's")
    return occupant
