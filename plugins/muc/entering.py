"""Coming, going, other nicks, other moods (XEP-0045 sections 7.2, 7.6, 7.7, 7.14)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from xmppd.errors import BadRequest, Conflict, Forbidden, ItemNotFound, JidMalformed
from xmppd.jid import JID
from xmppd.stanza import Kind, Stanza, parse_stanza
from xmppd.storage.api import Entry as LogEntry
from xmppd.storage.api import Flags, Range
from xmppd.xep.elements import DELAY_NS, delay_bytes, parse_time
from xmppd.xml import Element, find, text_of

from .looks import prepare_nick
from .model import MUC_NS, USER_NS, Affiliation, Effect, Occupant, Plan, Role, Seat, Send, Vanish
from .nicks import Nicks
from .options import ARCHIVING, HISTORY, MAY_ENTER
from .state import X_TAG, Notice, item_text, x_bytes

TAIL = f"<x xmlns='{USER_NS}'><item ".encode()
_END = b"</message>"

GHOSTS = frozenset(
    (
        "gone",
        "item-not-found",
        "recipient-unavailable",
        "redirect",
        "remote-server-not-found",
        "remote-server-timeout",
    )
)
"""Errors that say that nobody is there any more (section 17.2.2)."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """How much history one wants (section 7.2.13); None is no limit of one's own."""

    stanzas: int | None = None
    chars: int | None = None
    since: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A request to enter: presence with <x/>. `presence` is cleaned. `incarnation`: of the account (StoredAccount)."""

    who: JID
    nick: str
    presence: Stanza
    password: str = ""
    wanted: Wanted = Wanted()
    incarnation: str = ""


def visible(body: bytes, addresses: bool) -> bytes:
    """An archived message, with the sender's real address only for those who may see it."""
    if addresses:
        return body
    at = body.rfind(TAIL)
    return body if at < 0 else body[:at] + _END


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 12:
        raise BadRequest("not a number")
    return int(text)


def wanted(x: Element, now: int) -> Wanted:
    """<history/> below <x/>. Raises BadRequest."""
    history = find(x, MUC_NS, "history")
    if history is None:
        return Wanted()
    since = None
    try:
        if (text := history.get("since")) is not None:
            since = parse_time(text)
    except (ValueError, OverflowError):
        raise BadRequest("not a time") from None
    seconds = _number(history.get("seconds"))
    if seconds is not None:
        since = max(since or 0, now - seconds * 1_000_000)
    return Wanted(_number(history.get("maxstanzas")), _number(history.get("maxchars")), since)


class Entering(Nicks):
    # ---- requests

    def read_entry(self, who: JID, stanza: Stanza, now: int, incarnation: str = "") -> Entry | None:
        """What a presence asks for: an Entry if it holds <x/> (section 7.2.1). Raises StanzaError."""
        assert stanza.to is not None
        if not stanza.to.resource:
            raise JidMalformed("a nick is needed")
        x = stanza.child(MUC_NS, "x")
        if x is None:
            return None
        password = text_of(find(x, MUC_NS, "password"))
        return Entry(who, stanza.to.resource, self.cleaned(stanza), password, wanted(x, now), incarnation)

    def history_range(self, entry: Entry) -> tuple[Range, int]:
        """What to read from the archive for somebody who enters: a range and how many of its last entries."""
        most = HISTORY.of(self)
        if entry.wanted.stanzas is not None:
            most = min(most, entry.wanted.stanzas)
        if entry.wanted.chars == 0 or not ARCHIVING.of(self):
            most = 0
        return Range(low=entry.wanted.since, flags=Flags.GROUP), most

    # ---- entering

    def admit(self, entry: Entry) -> tuple[Occupant | None, str]:
        """Check a request to enter: the own occupant of that nick, if one is there, and the nick's key.

        Raises the errors of section 7.2.
        """
        affiliation = self.affiliation(entry.who)
        key = self.nick_key(entry.nick)
        if affiliation is Affiliation.OUTCAST:
            raise Forbidden("you are banned from this room")
        if self.record.locked and affiliation is not Affiliation.OWNER:
            raise ItemNotFound("the room is not open yet")
        if entry.who.full not in self.seats:
            for rule in MAY_ENTER:
                rule(self, entry, affiliation)
        return self.free_nick(entry.nick, key, entry.who), key

    def free_nick(self, nick: str, key: str, who: JID) -> Occupant | None:
        """The own occupant that has a nick. Raises Conflict if somebody else has it or has reserved it, or if it looks
        like one that is; who has reserved a nick may use it, whatever it looks like."""
        there = self.occupants.get(key)
        if there is not None and there.bare != who.bare:
            raise Conflict("that nick is taken")
        if there is None or there.nick != nick:
            owner = self.members.reserved_for(key)
            if owner is not None and owner != who.bare:
                raise Conflict("that nick is reserved")
            if owner is None and self.mistaken(nick, who.bare):
                raise Conflict("that nick looks like another's")
        return there

    def enter(self, entry: Entry, history: Sequence[LogEntry] = (), created: bool = False) -> Plan:
        """Section 7.2; from somebody who is in already a request to see everything again (7.2.2), or a new nick."""
        self.admit(entry)
        sitting = self.seats.get(entry.who.full)
        if sitting is not None and prepare_nick(entry.nick) != sitting.key:
            moving = self.change_nick(entry.who, entry.nick, entry.presence)
            return Plan(apply=lambda: [*moving.apply(), *self._all_again(entry, history)])
        return Plan(apply=lambda: self._entered(entry, history, created))

    def _all_again(self, entry: Entry, history: Sequence[LogEntry], codes: Iterable[int] = ()) -> list[Effect]:
        """All that one sees on entering, to the one seat: the others, itself, what was said (section 7.2.2)."""
        there = self.seats[entry.who.full]
        seat = there.seats[entry.who.full]
        effects = self._roster([each for each in self.occupants.values() if each is not there], there, seat)
        codes = [*codes]
        if there.nick != entry.nick:
            codes.append(210)
        if self.is_open():
            codes.append(100)
        if ARCHIVING.of(self):
            codes.append(170)
        effects += self.shown_self(there, seat, (seat.jid,), notice=Notice(tuple(codes)))
        effects += self.history(history, entry.wanted, seat.jid)
        effects.append(Send(self.subject().stamped(to=seat.jid)))
        return effects

    def _entered(self, entry: Entry, history: Sequence[LogEntry], created: bool) -> list[Effect]:
        there, key = self.occupants.get(self.nick_key(entry.nick)), self.nick_key(entry.nick)
        known = entry.who.full in self.seats
        if there is None:
            role = self.entry_role(self.affiliation(entry.who))
            id = self.occupant_id_bytes(entry.who.bare, entry.incarnation)
            there = self.new_occupant(entry.nick, key, entry.who, role, id)
        seat = Seat(entry.who, entry.presence)
        before = there.main if known else None
        self.sit(there, seat)
        if before is not None:
            # Section 17.3: it may show otherwise than before, and nobody may see another state than the others.
            return self._all_again(entry, history) + self.restated(there, before, seat)
        others = [each for each in self.occupants.values() if each is not there]
        own = [each.jid for each in there.seats.values() if each is not seat]
        effects = self._all_again(entry, history, [201] if created else [])
        effects += self.shown(there, seat, others)
        return effects + self.shown_self(there, seat, own) if own else effects

    def _roster(self, others: Sequence[Occupant], newcomer: Occupant, seat: Seat) -> list[Effect]:
        """The presence of all who are there to the one who enters."""
        alone = Occupant(newcomer.jid, newcomer.key, newcomer.bare, newcomer.role, newcomer.id, {"": seat})
        return [effect for each in others for effect in self.shown(each, each.main, (alone,))]

    def history(self, entries: Sequence[LogEntry], wanted: Wanted, to: JID) -> list[Effect]:
        """Section 7.2.12: complete messages, stamped, at most so many characters."""
        effects: list[Effect] = []
        left = wanted.chars
        for entry in reversed(entries):
            body = visible(entry.body, False)
            delay = delay_bytes(self.jid.bare, entry.id)
            if left is not None:
                left -= len(body.decode()) + len(delay)
                if left < 0:
                    break
            stanza = parse_stanza(body).with_child(delay, f"{DELAY_NS}|delay")
            effects.append(Send(stanza.stamped(to=to)))
        effects.reverse()
        return effects

    def subject(self) -> Stanza:
        """Section 7.2.15: the message that ends the entrance."""
        if not self.record.subject:
            tag = "jabber:client|subject"
            return Stanza(Kind.MESSAGE, "groupchat", None, self.jid, "", b"<subject/>", (tag,))
        delay = delay_bytes(self.jid.bare, self.record.subject_at)
        return parse_stanza(self.record.subject.encode()).with_child(delay, f"{DELAY_NS}|delay")

    # ---- presence of those who are in

    def present(self, who: JID, stanza: Stanza) -> Plan:
        """Presence without <x/>: a change of mood or nick; from a stranger a sign that it is out of step (7.2.16)."""
        assert stanza.to is not None
        sitting = self.seats.get(who.full)
        if sitting is None:
            notice = Notice((110, 307, 333), reason="You are not in the room.")
            item = item_text(Affiliation.NONE, Role.NONE, "", notice)
            x = x_bytes(item, notice.codes)
            answer = Stanza(Kind.PRESENCE, "unavailable", who, stanza.to, stanza.id, x, (X_TAG,))
            return Plan(apply=lambda: [Send(answer)])
        if stanza.to.resource != sitting.nick:
            return self.change_nick(who, stanza.to.resource, self.cleaned(stanza))

        def apply() -> list[Effect]:
            self.sit(sitting, Seat(who, self.cleaned(stanza)))
            return self.updated(sitting)

        return Plan(apply=apply)

    def change_nick(self, who: JID, nick: str, presence: Stanza) -> Plan:
        """Section 7.6. One seat of several leaves the others under the old nick. Raises Conflict, JidMalformed."""
        sitting, key = self.occupant(who), self.nick_key(nick)
        target = self.free_nick(nick, key, who)
        if target is sitting and (len(sitting.seats) > 1 or nick == sitting.nick):
            return Plan(apply=lambda: self._moved(sitting, sitting, Seat(who, presence)))

        def apply() -> list[Effect]:
            there = target
            if there is None or there is sitting:
                there = self.new_occupant(nick, key, who, sitting.role, sitting.id)
            return self._moved(sitting, there, Seat(who, presence))

        return Plan(apply=apply)

    def _moved(self, old: Occupant, new: Occupant, seat: Seat) -> list[Effect]:
        if old is new:
            self.sit(old, seat)
            return self.updated(old)
        notice = Notice((303,), nick=new.nick)
        gone = Seat(seat.jid, Stanza(Kind.PRESENCE, "unavailable", id=seat.presence.id))
        last = len(old.seats) == 1
        own = (seat.jid,)
        effects = self.shown_self(old, gone, own, "unavailable", notice)
        if last:
            others = [each for each in self.occupants.values() if each is not old]
            effects += self.shown(old, gone, others, "unavailable", notice)
        before = old.main
        self.stand_up(old, seat.jid.full)
        self.sit(new, seat)
        if not last:
            # Its other clients go on under the old nick, which this one has just seen going.
            effects += self._roster((old,), new, seat) + self.restated(old, before)
        return effects + self.updated(new)

    # ---- leaving

    def leave(self, who: JID, presence: Stanza, codes: tuple[int, ...] = ()) -> Plan | None:
        """Section 7.14, and 17.2.2 with code 333. None if it was not there (17.3.2: silence)."""
        sitting = self.seats.get(who.full)
        if sitting is None:
            return None
        plan = Plan(regardless=True)
        if len(self.seats) == 1 and not self.is_persistent():
            plan.saves.append(Vanish())
        plan.apply = lambda: self._left(sitting, Seat(who, self.cleaned(presence)), Notice(codes))
        return plan

    def _left(self, sitting: Occupant, seat: Seat, notice: Notice) -> list[Effect]:
        effects = self.shown_self(sitting, seat, (seat.jid,), "unavailable", notice, Role.NONE)
        self.stand_up(sitting, seat.jid.full)
        if sitting.seats:
            # Other clients share the nick: it is still there, as the one that spoke last.
            return effects + self.updated(sitting)
        return effects + self.shown(sitting, seat, self.occupants.values(), "unavailable", notice, Role.NONE)


def condition_of(stanza: Stanza) -> str:
    """The condition of an error stanza, "" if it holds none."""
    error = stanza.child("jabber:client", "error")
    if error is not None:
        for each in error:
            namespace, _, name = str(each.tag)[1:].partition("}")
            if namespace == "urn:ietf:params:xml:ns:xmpp-stanzas" and name != "text":
                return name
    return ""
