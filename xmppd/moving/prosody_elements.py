"""What Prosody stores, record by record, as elements of XEP-0227."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from typing import Any, Final

from ..contracts.moving import MOVING_NS, SCRAM_NS
from ..errors import MalformedJid
from ..jid import JID
from ..protocol.sasl import HASHES
from ..xep.elements import DELAY_NS, stamp
from ..xep.forms import Field, form
from ..xep.mam import MAM_NS
from ..xml import CLIENT_NS, E, Element, clean
from .elements import ADMIN_NS, LATEST, PUBSUB
from .lua import Table

LENGTHS: Final = {20: "SHA-1", 32: "SHA-256", 64: "SHA-512"}
"""Hashes by the bytes of their keys."""
NODE_FIELDS: Final = {
    "title": "title", "description": "description", "payload_type": "type", "max_items": "max_items",
    "persist_items": "persist_items", "access_model": "access_model", "publish_model": "publish_model",
    "send_last_published_item": "send_last_published_item", "notify_items": "deliver_notifications",
    "include_payload": "deliver_payloads", "notify_retract": "notify_retract", "notify_delete": "notify_delete",
    "itemreply": "itemreply", "roster_groups_allowed": "roster_groups_allowed",
}  # fmt: skip
"""The names that Prosody gives to the fields of a node's form."""
ROOM_FIELDS: Final = {
    "name": "muc#roomconfig_roomname", "description": "muc#roomconfig_roomdesc", "language": "muc#roomconfig_lang",
    "whois": "muc#roomconfig_whois", "moderated": "muc#roomconfig_moderatedroom",
    "members_only": "muc#roomconfig_membersonly", "changesubject": "muc#roomconfig_changesubject",
    "allow_member_invites": "muc#roomconfig_allowinvites", "archiving": "muc#roomconfig_enablearchiving",
    "history_length": "muc#maxhistoryfetch",
}  # fmt: skip

PREFERENCES: Final = {True: "always", False: "never", "roster": "roster"}


def _texts(table: Any) -> Iterator[tuple[str, Any]]:
    """What stands in a table under texts."""
    if isinstance(table, dict):
        yield from ((key, value) for key, value in table.items() if isinstance(key, str))


def credentials(account: Table) -> Iterator[Element]:
    """Prosody's salt is text, its keys are hexadecimal. Prosody 13 can disable an account."""
    if account.get("disabled"):
        yield E("account", MOVING_NS, {}, E("disabled", MOVING_NS, {}, "administrator"))
    try:
        salt, keys = (
            str(account["salt"]).encode(),
            [bytes.fromhex(account[name]) for name in ("stored_key", "server_key")],
        )
        iterations = int(account["iteration_count"])
    except (KeyError, TypeError, ValueError):
        return  # it has a password in clear, or none
    hash = LENGTHS.get(len(keys[0]), "")
    if hash not in HASHES or len(keys[1]) != len(keys[0]):
        return
    values = {"iter-count": str(iterations), "salt": b64encode(salt).decode()}
    values |= {"stored-key": b64encode(keys[0]).decode(), "server-key": b64encode(keys[1]).decode()}
    children = (E(name, SCRAM_NS, {}, value) for name, value in values.items())
    yield E("scram-credentials", SCRAM_NS, {"mechanism": f"SCRAM-{hash}"}, *children)


def roster(table: Table) -> Iterator[Element]:
    query = E("query", "jabber:iq:roster")
    for jid, item in _texts(table):
        if jid == "pending" or not isinstance(item, dict):
            continue
        attributes = {"jid": clean(jid)}
        for name in ("name", "subscription", "ask"):
            if isinstance(item.get(name), str):
                attributes[name] = clean(item[name])
        if item.get("approved"):
            attributes["approved"] = "true"
        groups = (E("group", "jabber:iq:roster", {}, clean(group)) for group, _ in _texts(item.get("groups")))
        query.append(E("item", "jabber:iq:roster", attributes, *groups))
    yield query
    own = table.get(False)
    pending = own.get("pending") if isinstance(own, dict) else table.get("pending")  # before 0.10
    for jid, request in _texts(pending):
        made = element_of(request, CLIENT_NS) if isinstance(request, dict) else None
        made = made if made is not None else E("presence", CLIENT_NS)
        made.set("from", clean(jid))
        made.set("type", "subscribe")
        yield made


def card(table: Table) -> Iterator[Element]:
    made = element_of(table, "vcard-temp") if table else None
    if made is not None:
        yield made


def private(table: Table) -> Iterator[Element]:
    for _, value in _texts(table):
        made = element_of(value, "") if isinstance(value, dict) else None
        if made is not None:
            yield E("query", "jabber:iq:private", {}, made)


def blocklist(table: Table) -> Iterator[Element]:
    jids = [jid for jid, _ in _texts(table)]
    if jids:
        yield E(
            "blocklist", "urn:xmpp:blocking", {}, *(E("item", "urn:xmpp:blocking", {"jid": clean(jid)}) for jid in jids)
        )


def privacy(table: Table) -> Iterator[Element]:
    ns = "jabber:iq:privacy"
    query = E("query", ns)
    if isinstance(table.get("default"), str):
        query.append(E("default", ns, {"name": clean(table["default"])}))
    for name, found in _texts(table.get("lists")):
        made = E("list", ns, {"name": clean(name)})
        items = found.get("items") if isinstance(found, dict) else None
        for item in items.values() if isinstance(items, dict) else ():
            if isinstance(item, dict):
                attributes = {key: clean(str(item[key])) for key in ("type", "value", "action", "order") if key in item}
                kinds = (each for each in ("message", "iq", "presence-in", "presence-out") if item.get(each))
                made.append(E("item", ns, attributes, *(E(each, ns) for each in kinds)))
        query.append(made)
    if len(query):
        yield query


def preferences(table: Table) -> Iterator[Element]:
    if not table:
        return
    lists: dict[str, list[str]] = {"always": [], "never": []}
    for jid, wanted in _texts(table):
        lists["always" if wanted else "never"].append(jid)
    made = (E(name, MAM_NS, {}, *(E("jid", MAM_NS, {}, clean(jid)) for jid in jids)) for name, jids in lists.items())
    default = table.get(False, True)
    word = PREFERENCES.get(default, "always") if isinstance(default, (bool, str)) else "always"
    yield E("prefs", MAM_NS, {"default": word}, *made)


# ---- nodes


def nodes(table: Table) -> Iterator[Element]:
    owner = f"{PUBSUB}#owner"
    for name, node in _texts(table):
        attributes = {"node": clean(name)}
        node = node if isinstance(node, dict) else {}
        fields = list(_fields(node.get("config"), NODE_FIELDS, "pubsub#"))
        made = E("pubsub", owner, {}, E("configure", owner, attributes, form("form", f"{PUBSUB}#node_config", fields)))
        affiliations = list(_texts(node.get("affiliations")))
        if affiliations:
            each = (E("affiliation", owner, {"jid": clean(jid), "affiliation": clean(str(word))})
                    for jid, word in affiliations)  # fmt: skip
            made.append(E("affiliations", owner, attributes, *each))
        subscribers = list(_texts(node.get("subscribers")))
        if subscribers:
            each = (E("subscription", owner, {"jid": clean(jid), "subscription": "subscribed"})
                    for jid, _ in subscribers)  # fmt: skip
            made.append(E("subscriptions", owner, attributes, *each))
        yield made


def _fields(config: Any, names: dict[str, str], prefix: str = "") -> Iterator[Field]:
    for name, value in _texts(config):
        if name in names and value is not None:
            values = tuple(map(str, value.values())) if isinstance(value, dict) else (_word(value),)
            yield Field(prefix + names[name], values=tuple(map(clean, values)))


def _word(value: Any) -> str:
    return str(int(value)) if isinstance(value, (bool, float)) else str(value)


# ---- rooms


def room_form(data: Table, persistent: bool) -> Iterator[Element]:
    fields = list(_fields(data, ROOM_FIELDS))
    fields.append(Field("muc#roomconfig_persistentroom", values=(str(int(persistent)),)))
    fields.append(Field("muc#roomconfig_publicroom", values=(str(int(not data.get("hidden"))),)))
    password = data.get("password")
    if isinstance(password, str) and password:
        fields.append(Field("muc#roomconfig_passwordprotectedroom", values=("1",)))
        fields.append(Field("muc#roomconfig_roomsecret", values=(clean(password),)))
    yield form("form", "http://jabber.org/protocol/muc#roomconfig", fields)


def affiliations(stored: Table) -> Iterator[Element]:
    """Owners first: the first one counts as who has made the room."""
    listed = stored.get("_affiliations")  # before 0.11
    found = {
        jid: word for jid, word in _texts(listed if isinstance(listed, dict) else stored)
        if isinstance(word, str) and (isinstance(listed, dict) or not jid.startswith("_")) and jid != "jid"
    }  # fmt: skip
    data = stored.get("_affiliation_data")
    query = E("query", ADMIN_NS)
    for jid, word in sorted(found.items(), key=lambda pair: pair[1] != "owner"):
        attributes = {"jid": clean(jid), "affiliation": clean(word)}
        more = data.get(jid) if isinstance(data, dict) else None
        if isinstance(more, dict) and isinstance(more.get("reserved_nickname"), str):
            attributes["nick"] = clean(more["reserved_nickname"])
        query.append(E("item", ADMIN_NS, attributes))
    yield query


def subject(bare: str, data: Table) -> Iterator[Element]:
    text, by = data.get("subject"), data.get("subject_from")
    if not isinstance(text, str) or not text:
        return
    try:
        sender = JID.parse(str(by)).full if by else clean(bare)
    except MalformedJid:
        sender = clean(bare)
    made = E("message", CLIENT_NS, {"type": "groupchat", "from": sender})
    made.append(E("subject", CLIENT_NS, {}, clean(text)))
    at = data.get("subject_time")
    if isinstance(at, (int, float)) and 0 < at < LATEST:
        made.append(E("delay", DELAY_NS, {"from": clean(bare), "stamp": stamp(int(at * 1_000_000))}))
    yield made


# ---- stanzas


def element_of(table: Table, ns: str) -> Element | None:
    """An element that Prosody has stored as a table; `ns`: where it says none. None if it is none."""
    name, attributes = table.get("name"), table.get("attr")
    if not isinstance(name, str):
        return None
    attributes = attributes if isinstance(attributes, dict) else {}
    ns = attributes["xmlns"] if isinstance(attributes.get("xmlns"), str) else ns
    try:
        made = E(clean(name), clean(ns), _attributes(attributes)) if ns else _bare(clean(name), _attributes(attributes))
    except ValueError:
        return None
    number = 1
    while number in table:
        child = table[number]
        number += 1
        if isinstance(child, str):
            _add_text(made, clean(child))
        elif isinstance(child, dict):
            inner = element_of(child, ns)
            if inner is not None:
                made.append(inner)
    return made


def _bare(name: str, attributes: dict[str, str]) -> Element:
    made = E(name, "x", attributes)
    made.tag = name
    return made


def _attributes(found: Table) -> dict[str, str]:
    made = {}
    for key, value in _texts(found):
        if key == "xmlns" or not isinstance(value, (str, int, float)) or key in ("stamp", "stamp_legacy"):
            continue
        ns, sep, local = key.rpartition("\x01")
        name = f"{{{ns}}}{local}" if sep else key
        if key.startswith("xml:"):
            name = f"{{http://www.w3.org/XML/1998/namespace}}{key[4:]}"
        made[name] = clean(str(value))
    return made


def _add_text(made: Element, text: str) -> None:
    if len(made):
        made[-1].tail = (made[-1].tail or "") + text
    else:
        made.text = (made.text or "") + text
