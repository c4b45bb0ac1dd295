"""How one joins a room: who is let in, under which nick, and what one sees then (XEP-0045 sections 7.1 and 7.2).

`handle_join` takes the request, `check_join` decides it. The conditions that the owner sets (members only, password,
most occupants) are in `options`; the first to join a room creates it (`creation`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from xmppd.contracts.routes import Arrival
from xmppd.errors import BadRequest, Forbidden, ItemNotFound, JidMalformed
from xmppd.jid import JID
from xmppd.stanza import Stanza, parse_stanza
from xmppd.storage.api import Entry, Flags, Range
from xmppd.xep.elements import DELAY_NS, delay_bytes, parse_time
from xmppd.xep.mam import PAGE_SIZE, within
from xmppd.xep.numbers import unsigned
from xmppd.xml import Element, find, text_of

from .card import avatar_presence
from .duplicates import expect_duplicates
from .elements import Notice, archived_message, without_forgeries
from .kept_roles import role_on_entering
from .model import (
    MUC_NS,
    Affiliation,
    Effect,
    HistoryLimits,
    JoinRequest,
    Occupant,
    OccupantSession,
    Plan,
    Send,
)
from .nick_conflicts import check_nick, nick_key
from .nicks import prepare_nick
from .occupancy import change_nick
from .options import ARCHIVING, HISTORY, MAY_JOIN
from .presence import presence_if_changed, presence_of, presence_to_others, self_presence
from .registry import RoomSlot
from .room import RoomState
from .service import RoomService, sender_of
from .subject import subject_message


async def handle_join(service: RoomService, slot: RoomSlot, room: RoomState, arrival: Arrival) -> None:
    """Handles a request to join. The history is read under the room's lock, so that nothing comes in between.

    Raises StanzaError, StorageUnavailable.
    """
    who = sender_of(arrival)
    service.count_change(slot, who)
    request = read_join(room, who, arrival.stanza, service.now(), service.incarnation(who))
    check_join(room, request)  # before anything is read for somebody who may not join
    archive = service.rooms.archive
    await expect_duplicates(service.host, slot, archive, room.jid, who)
    wanted, count = history_range(room, request)
    history = await archive.page(room.jid.bare, wanted, count, backwards=True) if count else []
    await service.carry_out(slot, join(room, request, within(history, PAGE_SIZE, True)))


# ---- the request


def read_join(room: RoomState, who: JID, stanza: Stanza, now: int, incarnation: str = "") -> JoinRequest:
    """Parses the request in a presence with <x/> (section 7.2.1). Raises BadRequest, JidMalformed."""
    assert stanza.to is not None
    if not stanza.to.resource:
        raise JidMalformed("a nick is needed")
    x = stanza.child(MUC_NS, "x")
    assert x is not None
    password = text_of(find(x, MUC_NS, "password"))
    presence = without_forgeries(room.jid, stanza)
    return JoinRequest(who, stanza.to.resource, presence, password, read_history_limits(x, now), incarnation)


def read_history_limits(x: Element, now: int) -> HistoryLimits:
    """Parses <history/> below <x/> (section 7.2.13). Raises BadRequest."""
    history = find(x, MUC_NS, "history")
    if history is None:
        return HistoryLimits()
    since = None
    try:
        if (text := history.get("since")) is not None:
            since = parse_time(text)
    except (ValueError, OverflowError):
        raise BadRequest("not a time") from None
    seconds = _number(history.get("seconds"))
    if seconds is not None:
        since = max(since or 0, now - seconds * 1_000_000)
    return HistoryLimits(_number(history.get("maxstanzas")), _number(history.get("maxchars")), since)


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    number = unsigned(text)
    if number is None:
        raise BadRequest("not a number")
    return number


def history_range(room: RoomState, request: JoinRequest) -> tuple[Range, int]:
    """Returns what to read from the archive for a join: a range, and how many of its last entries."""
    count = HISTORY.of(room)
    if request.history.stanzas is not None:
        count = min(count, request.history.stanzas)
    if request.history.chars == 0 or not ARCHIVING.of(room):
        count = 0
    return Range(low=request.history.since, flags=Flags.GROUP), count


# ---- the decision


def check_join(room: RoomState, request: JoinRequest) -> None:
    """Checks that somebody may join, and under this nick. Raises the errors of section 7.2."""
    affiliation = room.affiliation(request.who)
    key = nick_key(room, request.nick)
    if affiliation is Affiliation.OUTCAST:
        raise Forbidden("you are banned from this room")
    if room.record.locked and affiliation is not Affiliation.OWNER:
        raise ItemNotFound("the room is not open yet")
    if request.who.full not in room.sessions:
        for rule in MAY_JOIN:
            rule(room, request, affiliation)
    check_nick(room, request.nick, key, request.who)


def join(room: RoomState, request: JoinRequest, history: Sequence[Entry] = (), created: bool = False) -> Plan:
    """Lets somebody into the room; one who is in already sees everything again (section 7.2.2), or takes a new nick.

    `history`: entries of the archive. `created`: the room is new. Raises StanzaError.
    """
    check_join(room, request)
    present = room.sessions.get(request.who.full)
    if present is not None and prepare_nick(request.nick) != present.key:
        moving = change_nick(room, request.who, request.nick, request.presence)
        return Plan(apply=lambda: [*moving.apply(), *_full_view(room, request, history)])
    return Plan(apply=lambda: _joined(room, request, history, created))


def _joined(room: RoomState, request: JoinRequest, history: Sequence[Entry], created: bool) -> list[Effect]:
    key = nick_key(room, request.nick)
    occupant = room.occupants.get(key)
    rejoining = request.who.full in room.sessions
    if occupant is None:
        role = role_on_entering(room, request.who)
        id = room.occupant_id_element(request.who.bare, request.incarnation)
        occupant = room.new_occupant(request.nick, key, request.who, role, id)
    session = OccupantSession(request.who, request.presence)
    before = occupant.latest if rejoining else None
    room.add_session(occupant, session)
    if before is not None:
        # Section 17.3: it may show otherwise than before, and nobody may see another state than the others.
        return _full_view(room, request, history) + presence_if_changed(room, occupant, before, session)
    others = room.others(occupant)
    own = [each.jid for each in occupant.sessions.values() if each is not session]
    effects = _full_view(room, request, history, [201] if created else [])
    effects += presence_to_others(room, occupant, session, others)
    return effects + self_presence(room, occupant, session, own) if own else effects


# ---- what one sees on joining


def _full_view(
    room: RoomState, request: JoinRequest, history: Sequence[Entry], codes: Iterable[int] = ()
) -> list[Effect]:
    """Returns all that a session gets on joining: the others, itself, the history, the subject (section 7.1)."""
    occupant: Occupant = room.sessions[request.who.full]
    session = occupant.sessions[request.who.full]
    others = room.others(occupant)
    effects = presence_of(room, others, occupant, session)
    codes = [*codes]
    if occupant.nick != request.nick:
        codes.append(210)
    if room.is_non_anonymous():
        codes.append(100)
    if ARCHIVING.of(room):
        codes.append(170)
    effects += self_presence(room, occupant, session, (session.jid,), notice=Notice(tuple(codes)))
    effects += avatar_presence(room, session.jid)
    effects += discussion_history(room, history, request.history, session.jid)
    effects.append(Send(subject_message(room).stamped(to=session.jid)))
    return effects


def discussion_history(room: RoomState, entries: Sequence[Entry], limits: HistoryLimits, to: JID) -> list[Effect]:
    """Returns archived messages as the history of a join: stamped, at most so many characters (section 7.2.12)."""
    effects: list[Effect] = []
    left = limits.chars
    for entry in reversed(entries):
        body = archived_message(entry.body, False)
        delay = delay_bytes(room.jid.bare, entry.id)
        if left is not None:
            left -= len(body.decode()) + len(delay)
            if left < 0:
                break
        stanza = parse_stanza(body).with_child(delay, f"{DELAY_NS}|delay")
        effects.append(Send(stanza.stamped(to=to)))
    effects.reverse()
    return effects
