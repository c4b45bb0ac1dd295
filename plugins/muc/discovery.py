"""What a room tells about itself (XEP-0045 sections 6.4 to 6.6, 7.12)."""

from __future__ import annotations

from typing import Final

from xmppd.contracts.commands import NS as COMMANDS_NS
from xmppd.contracts.search import FULLTEXT_NS
from xmppd.errors import ItemNotFound, ServiceUnavailable
from xmppd.jid import JID
from xmppd.stanza import parse_stanza
from xmppd.xep.forms import NS as DATA_NS
from xmppd.xep.forms import Field, form
from xmppd.xep.retraction import RETRACT_NS
from xmppd.xml import E, Element, text_of

from .card import CARD_NS
from .hat_commands import commands_for
from .hats import hats_hash
from .model import HATS_NS, MUC_NS, OCCUPANT_ID_NS, Affiliation
from .moderation import MODERATION_FEATURES
from .options import ARCHIVING, CHANGE_SUBJECT, NAME, OPTIONS
from .registration import REGISTER_FORM, REGISTER_NS, may_register
from .room import RoomState

INFO_NS: Final = "http://jabber.org/protocol/disco#info"
ITEMS_NS: Final = "http://jabber.org/protocol/disco#items"
STABLE_ID: Final = MUC_NS + "#stable_id"
SELF_PING: Final = MUC_NS + "#self-ping-optimization"
ROOM_FEATURES: Final = (
    INFO_NS,
    ITEMS_NS,
    MUC_NS,
    STABLE_ID,
    SELF_PING,
    MUC_NS + "#request",
    MUC_NS + "#roomconfig",
    MUC_NS + "#roominfo",
    OCCUPANT_ID_NS,
    HATS_NS,
    CARD_NS,
    "urn:xmpp:sid:0",
    "urn:xmpp:ping",
)


def is_stranger(room: RoomState, who: JID) -> bool:
    """Whether somebody is neither in the room nor affiliated with it."""
    return who.full not in room.sessions and room.affiliation(who) < Affiliation.MEMBER


def room_info(room: RoomState, who: JID, node: str) -> Element:
    """Answers disco#info of a room. Raises ItemNotFound, ServiceUnavailable."""
    if node == "x-roomuser-item":
        record = room.affiliations.get(who.bare)
        identity = _identity(record.nick) if record is not None and record.nick else None
        return E("query", INFO_NS, {"node": node}, identity)
    if node == MUC_NS + "#traffic":
        raise ServiceUnavailable("all extensions pass")  # section 17.2.1
    if node == COMMANDS_NS:
        return E("query", INFO_NS, {"node": node}, _automation("command-list"))
    if node:
        return _command_info(room, who, node)
    features = [*ROOM_FEATURES, *_option_features(room)]
    if ARCHIVING.of(room):
        features += ["urn:xmpp:mam:2#extended", RETRACT_NS, f"{RETRACT_NS}#tombstone", *MODERATION_FEATURES]
        if room.settings.searched:
            features.append(FULLTEXT_NS)
    if commands_for(room, who):
        features.append(COMMANDS_NS)
    if may_register(room, who):
        features += [REGISTER_NS, REGISTER_FORM]
    hidden = room.is_private() and is_stranger(room, who)
    return E(
        "query",
        INFO_NS,
        {},
        _identity("" if hidden else NAME.of(room) or room.jid.local),
        *(E("feature", INFO_NS, {"var": feature}) for feature in features),
        None if hidden else _room_form(room),
    )


def _command_info(room: RoomState, who: JID, node: str) -> Element:
    """Describes a command (XEP-0050 section 2.2). Raises ItemNotFound."""
    name = commands_for(room, who).get(node)
    if name is None:
        raise ItemNotFound()
    features = (E("feature", INFO_NS, {"var": each}) for each in (COMMANDS_NS, DATA_NS))
    return E("query", INFO_NS, {"node": node}, _automation("command-node", name), *features)


def _automation(type: str, name: str = "") -> Element:
    return E("identity", INFO_NS, {"category": "automation", "type": type, **({"name": name} if name else {})})


def _identity(name: str) -> Element:
    attributes = {"category": "conference", "type": "text"}
    if name:
        attributes["name"] = name
    return E("identity", INFO_NS, attributes)


def _option_features(room: RoomState) -> list[str]:
    return [feature for option in OPTIONS if (feature := option.feature(room))]


def _room_form(room: RoomState) -> Element:
    """Builds the form muc#roominfo (section 15.5.4)."""
    fields = [field for option in OPTIONS if (field := option.info(room)) is not None]
    modifiable = "1" if CHANGE_SUBJECT.of(room) else "0"
    fields.append(Field("muc#roominfo_subjectmod", "boolean", CHANGE_SUBJECT.label, (modifiable,)))
    fields.append(Field("muc#roominfo_occupants", "text-single", "Occupants", (str(len(room.occupants)),)))
    if room.record.subject:
        subject = parse_stanza(room.record.subject.encode()).child("jabber:client", "subject")
        fields.append(Field("muc#roominfo_subject", "text-single", "Subject", (text_of(subject),)))
    if room.record.avatar:
        fields.append(Field("muc#roominfo_avatarhash", "text-multi", "Avatar hash", room.record.avatar))
    if room.hats:
        fields.append(Field("hats#hash", label="Hats", values=(hats_hash(room),)))
    return form("result", MUC_NS + "#roominfo", fields)


def room_items(room: RoomState, who: JID, node: str = "") -> Element:
    """Answers disco#items with the occupants, to those who see them anyway (section 6.5), or with the commands that
    somebody may run (XEP-0050 section 2.1)."""
    if node == COMMANDS_NS:
        found = commands_for(room, who).items()
        commands = (E("item", ITEMS_NS, {"jid": room.jid.bare, "node": each, "name": name}) for each, name in found)
        return E("query", ITEMS_NS, {"node": node}, *commands)
    asking = room.sessions.get(who.full)
    if asking is None:
        return E("query", ITEMS_NS)
    seen = [each for each in room.occupants.values() if each is asking or room.is_shown(each)]
    items = [E("item", ITEMS_NS, {"jid": each.jid.full}) for each in seen]
    return E("query", ITEMS_NS, {}, *items)
