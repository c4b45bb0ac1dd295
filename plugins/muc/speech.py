"""What is said: to all, to one, as a subject, and IQs passed between occupants (XEP-0045 sections 7.4, 7.5, 8.1)."""

from __future__ import annotations

from dataclasses import replace
from secrets import token_hex
from typing import Final

from xmppd.errors import BadRequest, Forbidden, ItemNotFound, NotAcceptable
from xmppd.jid import JID
from xmppd.stanza import Kind, Stanza
from xmppd.storage.api import Entry as LogEntry
from xmppd.storage.api import Flags
from xmppd.xep.elements import SID_NS, stanza_id_bytes

from .entering import GHOSTS, Entering, condition_of
from .model import USER_NS, Cast, Effect, Keep, Occupant, Plan, SaveRoom, Send
from .options import ARCHIVING, MAY_SET_SUBJECT, MAY_SPEAK, MAY_WHISPER
from .state import LONGEST_ID, OCCUPANT_ID_TAG, RELAYS, X_TAG, item_text, x_bytes

BODY: Final = "jabber:client|body"
SUBJECT: Final = "jabber:client|subject"
THREAD: Final = "jabber:client|thread"
_HINTS: Final = "urn:xmpp:hints"
NO_STORE: Final = frozenset((f"{_HINTS}|no-store", f"{_HINTS}|no-permanent-store"))
WORTH_KEEPING: Final = frozenset(
    (
        BODY,
        "eu.siacs.conversations.axolotl|encrypted",
        "urn:xmpp:omemo:1|encrypted",
        "urn:xmpp:omemo:2|encrypted",
        "urn:xmpp:openpgp:0|openpgp",
        "jabber:x:encrypted|x",
        "jabber:x:oob|x",
        "jabber:x:conference|x",
        "urn:xmpp:sfs:0|file-sharing",
        "urn:xmpp:sims:1|media-sharing",
        "urn:xmpp:reference:0|reference",
        "urn:xmpp:reactions:0|reactions",
        "urn:xmpp:message-attaching:1|attach-to",
        "urn:xmpp:message-correct:0|replace",
        "urn:xmpp:message-retract:0|retract",
        "urn:xmpp:message-retract:1|retract",
        "urn:xmpp:fasten:0|apply-to",
        *(f"urn:xmpp:call-invites:0|{name}" for name in ("invite", "retract", "accept", "reject", "left")),
    )
)
"""What a message must hold to be kept in the archive (XEP-0313 section 5.1.2, XEP-0334): what the archives of accounts
keep of messages of type chat, too."""
STORE: Final = f"{_HINTS}|store"
NOTED: Final = frozenset(f"urn:xmpp:chat-markers:0|{name}" for name in ("displayed", "acknowledged"))
"""Kept, but no part of the discussion that newcomers are shown: how far everybody has read (XEP-0333)."""
STANZA_ID_TAG: Final = f"{SID_NS}|stanza-id"
TO_BARE: Final = frozenset(("vcard-temp|vCard", "http://jabber.org/protocol/pubsub|pubsub"))
"""Payloads that the account answers for, not the client (section 17.4)."""


def is_subject(stanza: Stanza) -> bool:
    """A change of subject: a subject, neither body nor thread (section 8.1)."""
    tags = stanza.tags
    return SUBJECT in tags and BODY not in tags and THREAD not in tags


class Speech(Entering):
    # ---- to all

    def say(self, who: JID, stanza: Stanza, now: int) -> tuple[Stanza, LogEntry | None]:
        """Section 7.4: the stanza to reflect, and the archive entry to write before. Changes only the last id.

        Raises BadRequest (to an occupant), NotAcceptable (a stranger), Forbidden (no voice).
        """
        assert stanza.to is not None
        occupant = self.seats.get(who.full)
        if occupant is None:
            raise NotAcceptable("you are not in the room", type="cancel")
        if stanza.to.resource:
            raise BadRequest("a groupchat message goes to the room")
        for rule in MAY_SPEAK:
            rule(self, occupant)
        return self.reflected(occupant, who, stanza, now)

    def reflected(
        self, occupant: Occupant, who: JID, stanza: Stanza, now: int, subject: bool = False
    ) -> tuple[Stanza, LogEntry | None]:
        """The stanza as the occupants get it, with occupant-id and, if it is kept, its stanza-id."""
        stanza = self.cleaned(stanza)
        tags = stanza.tags
        noted = not NOTED.isdisjoint(tags)
        said = not subject and (not WORTH_KEEPING.isdisjoint(tags) or (STORE in tags and not noted))
        keep = (said or noted or subject) and ARCHIVING.of(self) and NO_STORE.isdisjoint(tags)
        inside = stanza.inside + occupant.id
        id = stanza.id or token_hex(8)
        if not keep:
            tags = (*tags, OCCUPANT_ID_TAG)
            return Stanza(Kind.MESSAGE, "groupchat", None, occupant.jid, id, inside, tags, stanza.lang), None
        number = self.next_id(now)
        inside += stanza_id_bytes(self.jid.bare, number)
        tags = (*tags, OCCUPANT_ID_TAG, STANZA_ID_TAG)
        out = Stanza(Kind.MESSAGE, "groupchat", None, occupant.jid, id, inside, tags, stanza.lang)
        address = x_bytes(item_text(self.affiliation(who), occupant.role, who.full))
        body = b"<message%s%s</message>" % (out.rest[: -len(b"</message>")], address)
        flags = int(Flags.GROUP) if said else 0  # 0: not part of the discussion history (section 7.2.12)
        return out, LogEntry(number, self.jid.bare, occupant.nick, flags, body)

    # ---- subject

    def change_subject(self, who: JID, stanza: Stanza, now: int) -> Plan:
        """Section 8.1. Raises NotAcceptable, Forbidden."""
        assert stanza.to is not None
        occupant = self.occupant(who)
        if stanza.to.resource:
            raise BadRequest("a subject is set for the room")
        for rule in MAY_SET_SUBJECT:
            rule(self, occupant)
        out, entry = self.reflected(occupant, who, stanza, now, subject=True)
        record = replace(self.saved(), subject=out.data.decode(), subject_at=now)
        plan = Plan([SaveRoom(record)])
        if entry is not None:
            plan.saves.append(Keep(entry))

        def apply() -> list[Effect]:
            self.record = record
            return self._to_all(out)

        plan.apply = apply
        return plan

    def _to_all(self, stanza: Stanza) -> list[Effect]:
        everyone = self.everyone()
        return [Cast(stanza, everyone)] if everyone else []

    # ---- to one

    def whisper(self, who: JID, stanza: Stanza) -> list[Send]:
        """A private message (section 7.5), to all clients of the nick.

        Raises NotAcceptable (a stranger), ItemNotFound (no such occupant), Forbidden.
        """
        assert stanza.to is not None
        occupant = self.occupant(who)
        target = self.named(stanza.to.resource)
        if target is None:
            raise ItemNotFound("nobody of that nick is here")
        if stanza.type != "error":
            for rule in MAY_WHISPER:
                rule(self, occupant, target)
        out = (
            self.cleaned(stanza)
            .with_child(f"<x xmlns='{USER_NS}'/>".encode(), X_TAG)
            .with_child(occupant.id, OCCUPANT_ID_TAG)
            .stamped(sender=occupant.jid)
        )
        return [Send(out.stamped(to=seat.jid)) for seat in target.seats.values()]

    def bounced(self, who: JID, stanza: Stanza, present: bool | None) -> Plan | None:
        """An error came from somebody: a ghost is put out (section 17.2.2), else the other one is told.

        `present`: whether its session is known to be there, None if that cannot be known.
        """
        assert stanza.to is not None
        if who.full not in self.seats:
            return None
        condition = condition_of(stanza)
        if condition in GHOSTS or (condition == "service-unavailable" and not present):
            return self.leave(who, Stanza(Kind.PRESENCE, "unavailable"), (333,))
        if stanza.kind is Kind.MESSAGE and stanza.to.resource and self.named(stanza.to.resource) is not None:
            effects: list[Effect] = [*self.whisper(who, stanza)]
            return Plan(apply=lambda: effects)
        return None

    # ---- IQs between occupants

    def relayed(self, who: JID, stanza: Stanza) -> list[Effect]:
        """Pass a get or set on to an occupant's client (section 17.4). Raises NotAcceptable, ItemNotFound."""
        assert stanza.to is not None
        occupant = self.seats.get(who.full)
        if occupant is None:
            if stanza.tags[0].startswith("http://jabber.org/protocol/disco#"):
                raise BadRequest("you are not in the room")  # section 6.6
            raise NotAcceptable("you are not in the room", type="cancel")
        target = self.named(stanza.to.resource)
        if target is None:
            raise ItemNotFound("nobody of that nick is here")
        real = target.main.jid
        if stanza.tags[0] in TO_BARE:
            if stanza.type == "set":
                raise Forbidden()
            real = real.to_bare()
        if len(stanza.id) > LONGEST_ID:
            raise NotAcceptable("an id is remembered until the answer comes: not one so long")
        id = token_hex(12)
        self.relays[id] = (who, stanza.id, real.full)
        if len(self.relays) > RELAYS:
            self.relays.popitem(last=False)
        return [Send(stanza.stamped(to=real, sender=occupant.jid, id=id))]

    def answered(self, who: JID, stanza: Stanza) -> list[Effect]:
        """The answer to an IQ that was passed on: only the one who was asked may give it (R07)."""
        asked = self.relays.get(stanza.id)
        if asked is None or asked[2] != who.full:
            return []
        del self.relays[stanza.id]
        asker, id, _ = asked
        answering = self.seats.get(who.full) or next(
            (each for each in self.occupants.values() if each.bare == who.bare), None
        )
        if answering is None or asker.full not in self.seats:
            return []
        return [Send(stanza.stamped(to=asker, sender=answering.jid, id=id))]

    def pinged(self, who: JID, stanza: Stanza) -> bool:
        """A ping of one's own nick, which the room answers (XEP-0410 section 4). Raises NotAcceptable."""
        assert stanza.to is not None
        occupant = self.seats.get(who.full)
        if occupant is None:
            raise NotAcceptable("you are not in the room", type="cancel")
        return self.named(stanza.to.resource) is occupant
