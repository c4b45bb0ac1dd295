"""A room without a server, and people for it."""

from __future__ import annotations

from plugins.muc.join import join
from plugins.muc.model import Broadcast, Effect, JoinRequest, ServiceSettings
from plugins.muc.room import RoomState
from xmppd.jid import JID
from xmppd.stanza import Stanza, parse_stanza

ROOM = JID.parse("tavern@rooms.lit")
USER = "{http://jabber.org/protocol/muc#user}"
ROMEO = JID.parse("romeo@montague.lit/orchard")
ROMEO_PHONE = JID.parse("romeo@montague.lit/phone")
JULIET = JID.parse("juliet@capulet.lit/balcony")
NURSE = JID.parse("nurse@capulet.lit/hall")


def stanza(text: str) -> Stanza:
    return parse_stanza(text.encode())


def entry(who: JID, nick: str, inside: str = "") -> JoinRequest:
    return JoinRequest(who, nick, stanza(f"<presence to='{ROOM.bare}/{nick}'>{inside}</presence>"))


def make(**options: bool | str | int) -> RoomState:
    """romeo's open room with romeo in it."""
    room = RoomState.created(ROOM, ROMEO, ServiceSettings(lock=False), 1)
    room.options.update({f"muc#roomconfig_{name}": value for name, value in options.items()})
    join(room, entry(ROMEO, "romeo")).apply()
    return room


def add(room: RoomState, who: JID, nick: str) -> list[Effect]:
    return join(room, entry(who, nick)).apply()


def sent(effects: list[Effect]) -> list[tuple[str, str, list[str], dict[str, str]]]:
    """(to, type, codes, item) for each client that gets something of muc#user."""
    found = []
    for effect in effects:
        targets = effect.to if isinstance(effect, Broadcast) else (effect.stanza.to,)
        x = effect.stanza.child("http://jabber.org/protocol/muc#user", "x")
        item = x.find(f"{USER}item") if x is not None else None
        codes = sorted(str(each.get("code")) for each in x.iter(f"{USER}status")) if x is not None else []
        for to in targets:
            assert to is not None
            found.append(
                (
                    to.full,
                    effect.stanza.type,
                    codes,
                    {str(k): str(v) for k, v in item.attrib.items()} if item is not None else {},
                )
            )
    return found


def to(effects: list[Effect], who: JID) -> list[tuple[str, list[str], dict[str, str]]]:
    return [(type, codes, item) for full, type, codes, item in sent(effects) if full == who.full]
