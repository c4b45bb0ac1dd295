"""Recognised resends: what a client sends again after a lost connection is acknowledged and changes nothing else.

A client cannot know whether its last messages were stored when its stream broke, so it sends them again (XEP-0198
section 5, with <delay/> and perhaps from another resource). Only looked for after an unclean end of a former stream,
among the last messages of the sender's own archive, so an ordinary message costs a dictionary look-up.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass

from xmppd.config import option
from xmppd.contracts.archive import LOG
from xmppd.contracts.routing import OUTBOUND, Outbound
from xmppd.contracts.sessions import BINDING, SESSION_ENDED, STREAM_LOST
from xmppd.plugin import JID, Account, Kind, Lane, Plugin, Session, Stage, Stanza, Verdict, on
from xmppd.stanza import parse_stanza
from xmppd.storage.api import Entry, Flags, Range
from xmppd.xep import DELAY_NS, SID_NS
from xmppd.xml import name_of, to_bytes

LONG_ID = 16
"""An id of so many characters is not met twice by chance; a shorter one may be a counter that began anew."""
SHORT_ID_TIME = 3_600_000_000
"""Microseconds that a shorter id is looked for."""
STATES_NS = "http://jabber.org/protocol/chatstates"
KEPT = 50_000
_ID = re.compile(rb"""^<message[^>]*?\sid='([^']*)'""")
_TYPE = re.compile(rb"""^<message[^>]*?\stype='([^']*)'""")
_ORIGIN = re.compile(rb"""<origin-id\b[^>]*?\sid=(?:'([^']*)'|"([^"]*)")""")

Key = tuple[str, str, str, str]
"""Bare `to`, type, "origin" or "id", the id."""


@dataclass(frozen=True)
class Config:
    messages: int = option(100, "How many of an account's last messages are looked at.", low=1, high=10_000)


class Resends(Plugin[Config]):
    def setup(self) -> None:
        self.log = self.host.storage.log(LOG)
        self.sound: OrderedDict[str, None] = OrderedDict()
        """Accounts whose streams all ended well since they were last looked at. After a start nobody's has."""
        self.broken: dict[str, list[Lane]] = {}
        """The orders of lost streams, which may still hold what is on its way into the archive."""
        self.sent: dict[str, dict[Key, Entry]] = {}
        """By account: the messages that may come again."""

    @on(STREAM_LOST)
    def lost(self, session: Session) -> None:
        bare = session.account.bare
        self.sound.pop(bare, None)
        self.broken.setdefault(bare, []).append(session.lane)

    @on(BINDING)
    async def look(self, account: Account) -> None:
        """A new stream after one that broke: what had it stored?"""
        bare = account.bare
        if bare in self.sound:
            return
        for lane in self.broken.pop(bare, []):
            await self.host.router.until_idle(lane)
        wanted = Range(without=int(Flags.INCOMING))
        entries = await self.log.page(bare, wanted, self.config.messages, backwards=True)
        self.sent[bare] = {key: entry for entry in entries for key in keys_of_entry(entry)}
        self.sound[bare] = None
        while len(self.sound) > KEPT:
            self.sound.popitem(last=False)

    @on(SESSION_ENDED)
    def ended(self, session: Session) -> None:
        if not session.account.sessions:
            self.sent.pop(session.account.bare, None)

    @on(OUTBOUND, Stage.GUARD, (Kind.MESSAGE,))
    def again(self, event: Outbound) -> Verdict | None:
        sent = self.sent.get(event.owner.bare)
        if not sent:
            return None
        for key in keys_of_stanza(event.stanza):
            entry = sent.get(key)
            if entry is not None and (len(key[3]) >= LONG_ID or self._same(event.stanza, entry)):
                for other in keys_of_entry(entry):
                    sent.pop(other, None)
                return Verdict.DONE
        return None

    def _same(self, stanza: Stanza, entry: Entry) -> bool:
        if self.host.clock.now() * 1_000_000 - entry.id > SHORT_ID_TIME:
            return False
        return payload(stanza) == payload(parse_stanza(entry.body))


def keys_of_entry(entry: Entry) -> list[Key]:
    """From the stored bytes, without a tree: they are our own writing (`Stanza.data`)."""
    body = entry.body
    found_type = _TYPE.match(body)
    place = (entry.peer, found_type[1].decode() if found_type else "normal")
    keys: list[Key] = []
    origin = _ORIGIN.search(body)
    if origin:
        keys.append((*place, "origin", (origin[1] or origin[2] or b"").decode()))
    id = _ID.match(body)
    if id:
        keys.append((*place, "id", id[1].decode()))
    return [key for key in keys if key[3]]


def keys_of_stanza(stanza: Stanza) -> list[Key]:
    to: JID | None = stanza.to
    place = (to.bare if to is not None else "", stanza.type)
    keys: list[Key] = []
    if f"{SID_NS}|origin-id" in stanza.tags:
        element = stanza.child(SID_NS, "origin-id")
        keys.append((*place, "origin", element.get("id", "") if element is not None else ""))
    keys.append((*place, "id", stanza.id))
    return [key for key in keys if key[3]]


def payload(stanza: Stanza) -> list[bytes]:
    """What it says, without what a client adds or leaves out when it sends again."""
    return sorted(to_bytes(child) for child in stanza.xml if name_of(child)[0] not in (DELAY_NS, STATES_NS))
