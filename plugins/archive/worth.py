"""What is kept of the messages of an account: the tables, and the question.

XEP-0313 section 5.1.1 (what belongs in an archive), XEP-0160 section 3 (what waits for who is offline),
XEP-0334 (what the sender asks for).

| type                       | payload                               | hint               | kept for |
|----------------------------|---------------------------------------|--------------------|----------|
| error, groupchat, headline | any                                   | any                | nothing  |
| chat, normal               | any                                   | no-store           | nothing  |
| chat, normal               | any                                   | store              | archive  |
| chat, normal               | one of CONTENT                        | none               | archive  |
| normal                     | INVITATION                            | none               | archive  |
| chat, normal               | what is archived without the hint     | no-permanent-store | delivery |
| chat, normal               | any other that is not of the MOMENT   | none, no-permanent | delivery |
| chat, normal               | only what is of the MOMENT, or none   | none, no-permanent | nothing  |

Of store and no-permanent-store together the more careful one counts: delivery.
"""

from __future__ import annotations

from typing import Final

from xmppd.contracts.archive import Worth
from xmppd.stanza import Stanza, tag

HINTS_NS: Final = "urn:xmpp:hints"
NO_STORE: Final = tag(HINTS_NS, "no-store")
NO_PERMANENT_STORE: Final = tag(HINTS_NS, "no-permanent-store")
STORE: Final = tag(HINTS_NS, "store")
STORAGE_HINTS: Final = frozenset((NO_STORE, NO_PERMANENT_STORE, STORE))

_RECEIPTS = "urn:xmpp:receipts"
_MARKERS = "urn:xmpp:chat-markers:0"
_CALLS = "urn:xmpp:jingle-message:0"
_STATES = "http://jabber.org/protocol/chatstates"

CONTENT: Final = frozenset(
    (
        # what people say
        "jabber:client|body",
        "jabber:client|subject",
        "jabber:x:oob|x",
        "urn:xmpp:sfs:0|file-sharing",
        "urn:xmpp:sims:1|media-sharing",
        # the same, encrypted: OMEMO, OpenPGP
        "eu.siacs.conversations.axolotl|encrypted",
        "urn:xmpp:omemo:1|encrypted",
        "urn:xmpp:omemo:2|encrypted",
        "urn:xmpp:openpgp:0|openpgp",
        "jabber:x:encrypted|x",
        # what changes the meaning of something said: correction, retraction, reaction, attachment
        "urn:xmpp:message-correct:0|replace",
        "urn:xmpp:message-retract:0|retract",
        "urn:xmpp:message-retract:1|retract",
        "urn:xmpp:fasten:0|apply-to",
        "urn:xmpp:reactions:0|reactions",
        "urn:xmpp:message-attaching:1|attach-to",
        "urn:xmpp:reference:0|reference",
        # what became of it: received, read
        f"{_RECEIPTS}|received",
        f"{_MARKERS}|received",
        f"{_MARKERS}|displayed",
        f"{_MARKERS}|acknowledged",
        # calls: who rang, who answered
        f"{_CALLS}|propose",
        f"{_CALLS}|proceed",
        f"{_CALLS}|accept",
        f"{_CALLS}|reject",
        f"{_CALLS}|retract",
        f"{_CALLS}|finish",
        "urn:xmpp:call-invites:0|invite",
        "urn:xmpp:call-invites:0|accept",
        "urn:xmpp:call-invites:0|reject",
        "urn:xmpp:call-invites:0|retract",
        "urn:xmpp:call-invites:0|left",
        # direct invitations to rooms
        "jabber:x:conference|x",
    )
)

INVITATION: Final = "http://jabber.org/protocol/muc#user|x"
"""In a normal message a mediated invitation; in a chat message the mark of a private message in a room."""

MOMENT: Final = frozenset(
    (
        *(f"{_STATES}|{state}" for state in ("active", "composing", "paused", "inactive", "gone")),
        f"{_CALLS}|ringing",
        "urn:xmpp:attention:0|attention",
        "urn:xmpp:rtt:0|rtt",
        "http://jabber.org/protocol/ibb|data",
        "http://jabber.org/protocol/pubsub#event|event",
        # labels and requests: nothing by themselves
        "jabber:client|thread",
        "http://jabber.org/protocol/nick|nick",
        f"{_RECEIPTS}|request",
        f"{_MARKERS}|markable",
        "urn:xmpp:sid:0|origin-id",
        "urn:xmpp:sid:0|stanza-id",
        "urn:xmpp:delay|delay",
        "urn:xmpp:eme:0|encryption",
        "urn:xmpp:fallback:0|fallback",
        INVITATION,
        "urn:xmpp:carbons:2|private",
        "urn:xmpp:carbons:2|sent",
        "urn:xmpp:carbons:2|received",
        "urn:xmpp:mam:2|result",
        f"{HINTS_NS}|no-copy",
        NO_STORE,
        NO_PERMANENT_STORE,
    )
)


def worth(stanza: Stanza) -> Worth:
    """The table above. A third of a microsecond for an ordinary message."""
    if stanza.type not in ("chat", "normal"):
        return Worth.NOTHING
    tags = stanza.tags
    if STORAGE_HINTS.isdisjoint(tags):
        return _unasked(stanza)
    if NO_STORE in tags:
        return Worth.NOTHING
    if NO_PERMANENT_STORE in tags:
        return Worth.DELIVERY if STORE in tags or _unasked(stanza) else Worth.NOTHING
    return Worth.ARCHIVE


def _unasked(stanza: Stanza) -> Worth:
    """Without a hint."""
    tags = stanza.tags
    if not CONTENT.isdisjoint(tags) or (stanza.type == "normal" and INVITATION in tags):
        return Worth.ARCHIVE
    return Worth.NOTHING if MOMENT.issuperset(tags) else Worth.DELIVERY
