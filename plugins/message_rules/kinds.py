"""The kinds of messages and the policy of each, as data. `policy.py` combines the rows into the policy of a message.

XEP-0313 section 5.1.1 (what belongs in an archive), XEP-0160 section 3 (what waits for who is offline), XEP-0280
section 6.1 (what other devices get a copy of), XEP-0352 section 5 (what a sleeping client can wait for).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from xmppd.contracts.archive import Retention
from xmppd.contracts.messages import Idle, Push

HINTS_NS: Final = "urn:xmpp:hints"
MUC_USER_NS: Final = "http://jabber.org/protocol/muc#user"
ROOM_MARK: Final = f"{MUC_USER_NS}|x"
"""In a normal message a mediated invitation; in a chat message the mark of a private message in a room."""

_CALLS: Final = "urn:xmpp:jingle-message:0"
_INVITES: Final = "urn:xmpp:call-invites:0"
_MARKERS: Final = "urn:xmpp:chat-markers:0"
_STATES: Final = "http://jabber.org/protocol/chatstates"
_CARBONS: Final = "urn:xmpp:carbons:2"

TALK: Final = ("chat", "normal", "groupchat", "headline", "error")
NO_ROOM: Final = ("chat", "normal", "headline", "error")


class Row(NamedTuple):
    """One kind: `tags`, of which a message holds at least one.

    `retention`: of it alone, in a message of type chat or normal without a hint. `copied`: whether a message of type
    normal or error that holds it gets carbons (one of type chat always does). `types`: of messages that it is for.
    """

    kind: str
    tags: tuple[str, ...]
    retention: Retention
    copied: bool
    push: Push
    unread: bool
    idle: Idle
    types: tuple[str, ...] = TALK


_N, _D, _A = Retention.NONE, Retention.OFFLINE, Retention.ARCHIVE
_NEVER, _QUIET, _ALERT, _URGENT = Push.NEVER, Push.QUIET, Push.ALERT, Push.URGENT
_NOW, _LATER, _LATEST = Idle.NOW, Idle.LATER, Idle.LATEST

# fmt: off
UNKNOWN: Final = Row("unknown", (), _D, False, _NEVER, False, _NOW)
"""A payload that stands in no row: it may matter to a program, so it waits for it."""
EMPTY: Final = Row("empty", (), _N, False, _NEVER, False, _LATER)

TABLE: Final = (
    # What changes the meaning of something said: correction (XEP-0308), retraction (0424, moderated 0425), reaction
    # (0444). Most of them hold a body too, for clients that do not know them: these rows come first.
    Row("correction", ("urn:xmpp:message-correct:0|replace",),      _A, True,  _QUIET,  False, _NOW),
    Row("retraction", ("urn:xmpp:message-retract:0|retract", "urn:xmpp:message-retract:1|retract",
                       "urn:xmpp:message-moderate:0|moderated", "urn:xmpp:message-moderate:1|moderated",
                       "urn:xmpp:fasten:0|apply-to"),               _A, True,  _QUIET,  False, _NOW),
    Row("reaction",   ("urn:xmpp:reactions:0|reactions",),          _A, True,  _QUIET,  False, _LATER),
    Row("attachment", ("urn:xmpp:message-attaching:1|attach-to",),  _A, True,  _QUIET,  False, _LATER),

    # Calls (XEP-0353, 0482): all phones ring, and all stop when one answers or the caller gives up.
    Row("call",       (f"{_CALLS}|propose", f"{_INVITES}|invite"),  _A, True,  _URGENT, False, _NOW),
    Row("missed",     (f"{_CALLS}|retract", f"{_INVITES}|retract"), _A, True,  _QUIET,  True,  _NOW),
    Row("answered",   (f"{_CALLS}|proceed", f"{_CALLS}|accept", f"{_CALLS}|reject", f"{_INVITES}|accept",
                       f"{_INVITES}|reject"),                       _A, True,  _QUIET,  False, _NOW),
    Row("hung up",    (f"{_CALLS}|finish", f"{_INVITES}|left"),     _A, True,  _NEVER,  False, _NOW),
    Row("ringing",    (f"{_CALLS}|ringing",),                       _N, True,  _NEVER,  False, _NOW),

    # Invitations to rooms: direct (XEP-0249) and mediated (XEP-0045 section 7.8.2)
    Row("invitation", ("jabber:x:conference|x",),                   _A, True,  _ALERT,  True,  _NOW),
    Row("mediated",   (ROOM_MARK,),                                 _A, False, _ALERT,  True,  _NOW, ("normal",)),

    # What people say; encrypted: OMEMO (XEP-0384; also what only brings keys), OpenPGP (0373, 0027)
    Row("body",       ("jabber:client|body",),                      _A, True,  _ALERT,  True,  _NOW),
    Row("encrypted",  ("eu.siacs.conversations.axolotl|encrypted", "urn:xmpp:omemo:1|encrypted",
                       "urn:xmpp:omemo:2|encrypted", "urn:xmpp:openpgp:0|openpgp", "jabber:x:encrypted|x"),
                                                                    _A, True,  _ALERT,  True,  _NOW),
    Row("file",       ("jabber:x:oob|x", "urn:xmpp:sfs:0|file-sharing", "urn:xmpp:sims:1|media-sharing",
                       "urn:xmpp:reference:0|reference"),           _A, True,  _ALERT,  True,  _NOW),
    Row("subject",    ("jabber:client|subject",),                   _A, True,  _ALERT,  True,  _NOW, NO_ROOM),
    Row("room subject", ("jabber:client|subject",),                 _N, False, _NEVER,  False, _LATER, ("groupchat",)),

    # What became of it: received (XEP-0184), displayed (0333)
    Row("receipt",    ("urn:xmpp:receipts|received", f"{_MARKERS}|received"),
                                                                    _A, True,  _NEVER,  False, _LATER),
    Row("displayed",  (f"{_MARKERS}|displayed", f"{_MARKERS}|acknowledged"),
                                                                    _A, True,  _NEVER,  False, _LATER),

    # What this table does not know
    UNKNOWN,

    # Of the moment: gone when nobody is there
    Row("attention",  ("urn:xmpp:attention:0|attention",),          _N, False, _NEVER,  False, _NOW),
    Row("bytes",      ("http://jabber.org/protocol/ibb|data",),     _N, False, _NEVER,  False, _NOW),
    Row("copy",       (f"{_CARBONS}|sent", f"{_CARBONS}|received", "urn:xmpp:mam:2|result"),
                                                                    _N, False, _NEVER,  False, _NOW),
    Row("error",      ("jabber:client|error",),                     _N, False, _NEVER,  False, _NOW, ("error",)),
    Row("typing",     ("urn:xmpp:rtt:0|rtt",),                      _N, False, _NEVER,  False, _LATER),
    Row("event",      ("http://jabber.org/protocol/pubsub#event|event",),
                                                                    _N, False, _NEVER,  False, _LATER),
    Row("state",      tuple(f"{_STATES}|{name}" for name in ("active", "composing", "paused", "inactive", "gone")),
                                                                    _N, True,  _NEVER,  False, _LATEST),

    # Labels and requests: nothing by themselves. Receipt and marker wanted; thread, nick, ids, delay; XEP-0380,
    # 0428, 0461, 0382, 0393, 0394, 0466, 0033
    Row("asking",     ("urn:xmpp:receipts|request", f"{_MARKERS}|markable"),
                                                                    _N, True,  _NEVER,  False, _LATER),
    Row("room mark",  (ROOM_MARK,),                                 _N, False, _NEVER,  False, _LATER,
                                                                        ("chat", "groupchat", "headline", "error")),
    Row("label",      ("jabber:client|thread", "http://jabber.org/protocol/nick|nick", "urn:xmpp:sid:0|origin-id",
                       "urn:xmpp:sid:0|stanza-id", "urn:xmpp:occupant-id:0|occupant-id", "urn:xmpp:delay|delay",
                       "urn:xmpp:eme:0|encryption", "urn:xmpp:fallback:0|fallback", "urn:xmpp:reply:0|reply",
                       "urn:xmpp:spoiler:0|spoiler", "urn:xmpp:styling:0|unstyled", "urn:xmpp:markup:0|markup",
                       "urn:xmpp:ephemeral:0|ephemeral", "http://jabber.org/protocol/address|addresses",
                       f"{_CARBONS}|private", *(f"{HINTS_NS}|{name}" for name in
                                                ("no-copy", "no-store", "no-permanent-store", "store"))),
                                                                    _N, False, _NEVER,  False, _LATER),
    EMPTY,
)
"""The leading kind first."""
# fmt: on
