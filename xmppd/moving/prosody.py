"""What Prosody stores, as elements of XEP-0227: the same for its folder and its database (0.9 to 0.12)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from ..contracts.moving import ARCHIVE_NS, PIE_NS, PIECE, SCRAM_NS, OwnerKind
from ..errors import MalformedJid
from ..jid import JID
from ..protocol.sasl import HASHES
from ..xep.elements import DELAY_NS, stamp
from ..xep.forms import Field, form
from ..xep.mam import FORWARD_NS, MAM_NS
from ..xml import CLIENT_NS, E, Element, clean
from .events import Begin, Event, Part, Problem
from .lua import Table

PUBSUB: Final = "http://jabber.org/protocol/pubsub"
ADMIN_NS: Final = "http://jabber.org/protocol/muc#admin"
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
WORTHLESS: Final = frozenset(
    (
        *("accounts", "pep", "persistent", "config", "state", "muc_log_cleanup", "archive_cleanup", "lastlog"),
        *("lastlog2", "caps", "cron", "smacks_h", "account_cleanup", "offline_cleanup", "tombstones", "reserved"),
    )
)
"""Stores that are read with others, or hold nothing that anybody would miss."""


@dataclass(frozen=True, slots=True)
class Item:
    """Of a list: an archive, offline messages, the items of a node. `at`: microseconds since 1970 UTC."""

    key: str
    at: int
    by: str
    element: Element


class ProsodyStores(Protocol):
    """What of Prosody's storage is read. A user is "" for what belongs to the host. Problems are told by `problems`."""

    problems: list[Problem]

    @property
    def size(self) -> int:
        """Accounts."""
        ...

    @property
    def position(self) -> int:
        """Those that were read."""
        ...

    def hosts(self) -> Sequence[str]: ...
    def stores(self, host: str) -> set[str]:
        """The names of all stores of a host."""
        ...

    def users(self, host: str, store: str) -> Iterator[str]:
        """Who has something in a store, in order."""
        ...

    def table(self, host: str, user: str, store: str) -> Table: ...
    def items(self, host: str, user: str, store: str) -> Iterator[Item]: ...


class ProsodySource:
    """`size`, `position`: see `Source`; the stores count them."""

    def __init__(self, stores: ProsodyStores) -> None:
        self._stores = stores

    @property
    def size(self) -> int:
        return self._stores.size

    @property
    def position(self) -> int:
        return self._stores.position

    def events(self) -> Iterator[Event]:
        for host in self._stores.hosts():
            names = self._stores.stores(host)
            if "accounts" in names:
                yield from self._accounts(host, names)
            if "config" in names or "persistent" in names:
                yield from self._rooms(host)
            if "pubsub_nodes" in names:
                yield from self._service(host)
            yield from self._told()

    def _told(self) -> Iterator[Problem]:
        found = list(self._stores.problems)
        self._stores.problems.clear()
        yield from found

    # ---- accounts

    def _accounts(self, host: str, names: set[str]) -> Iterator[Event]:
        nodes = sorted(name for name in names if name.startswith("pep_"))
        for user in self._stores.users(host, "accounts"):
            account = self._stores.table(host, user, "accounts")
            if not account:
                yield from self._told()
                continue
            password = account.get("password")
            yield Begin(OwnerKind.ACCOUNT, user, host, password if isinstance(password, str) and password else None)
            for element in self._parts(host, user, account, names, nodes):
                yield Part(element)
            yield from self._told()
        yield from self._not_carried(host, names)

    def _parts(self, host: str, user: str, account: Table, names: set[str], nodes: list[str]) -> Iterator[Element]:
        yield from _credentials(account)
        makers = {
            "roster": _roster, "vcard": _card, "private": _private, "blocklist": _blocklist, "privacy": _privacy,
            "archive_prefs": _preferences, "archive2_prefs": _preferences, "pep": _nodes,
        }  # fmt: skip
        for name, make in makers.items():
            if name in names:
                yield from make(self._stores.table(host, user, name))
        for name in nodes:
            yield from node_items(name.removeprefix("pep_"), self._stores.items(host, user, name))
        for name in ("archive", "archive2"):
            if name in names:
                yield from archive_parts(self._stores.items(host, user, name))
        if "offline" in names:
            yield from offline_parts(self._stores.items(host, user, "offline"))

    def _not_carried(self, host: str, names: set[str]) -> Iterator[Problem]:
        known = {"roster", "vcard", "private", "blocklist", "privacy", "archive_prefs", "archive2_prefs", "archive",
                 "archive2", "offline"}  # fmt: skip
        for name in sorted(names - known - WORTHLESS):
            if not name.startswith(("pep_", "pubsub_", "muc_log")):
                number = sum(1 for _ in self._stores.users(host, name))
                yield Problem(host, f"the store {name!r} of {number} users is not carried")

    # ---- rooms

    def _rooms(self, host: str) -> Iterator[Event]:
        listed = self._stores.table(host, "", "persistent")
        for room in self._stores.users(host, "config"):
            stored = self._stores.table(host, room, "config")
            if not stored:
                continue
            data = stored.get("_data")
            bare = str(stored.get("_jid") or stored.get("jid") or f"{room}@{host}")
            yield Begin(OwnerKind.ROOM, bare.rpartition("@")[0], host)
            persistent = bool(listed.get(bare) or (isinstance(data, dict) and data.get("persistent")))
            for element in self._room(host, room, bare, stored, data if isinstance(data, dict) else {}, persistent):
                yield Part(element)
            yield from self._told()

    def _room(self, host: str, room: str, bare: str, stored: Table, data: Table, persistent: bool) -> Iterator[Element]:
        yield _room_form(data, persistent)
        yield from _affiliations(stored)
        if isinstance(data.get("subject"), str) and data["subject"]:
            yield _subject(bare, data)
        for name in ("muc_log", "archive"):
            if name in self._stores.stores(host):
                yield from archive_parts(self._stores.items(host, room, name))

    # ---- a service for publish-subscribe

    def _service(self, host: str) -> Iterator[Event]:
        yield Begin(OwnerKind.HOST, "", host)
        nodes = self._stores.table(host, "", "pubsub_nodes")
        for element in _nodes(nodes):
            yield Part(element)
        for name in sorted(map(str, nodes)):
            for element in node_items(name, self._stores.items(host, "", f"pubsub_{name}")):
                yield Part(element)
        yield from self._told()


def _texts(table: Any) -> Iterator[tuple[str, Any]]:
    """What stands in a table under texts."""
    if isinstance(table, dict):
        yield from ((key, value) for key, value in table.items() if isinstance(key, str))


def _credentials(account: Table) -> Iterator[Element]:
    """Prosody's salt is text, its keys are hexadecimal."""
    try:
        salt, keys = (
            str(account["salt"]).encode(),
            [bytes.fromhex(account[name]) for name in ("stored_key", "server_key")],
        )
        iterations = int(account["iteration_count"])
    except (KeyError, TypeError, ValueError):
        return
    hash = LENGTHS.get(len(keys[0]), "")
    if hash not in HASHES or len(keys[1]) != len(keys[0]):
        return
    values = {"iter-count": str(iterations), "salt": b64encode(salt).decode()}
    values |= {"stored-key": b64encode(keys[0]).decode(), "server-key": b64encode(keys[1]).decode()}
    children = (E(name, SCRAM_NS, {}, value) for name, value in values.items())
    yield E("scram-credentials", SCRAM_NS, {"mechanism": f"SCRAM-{hash}"}, *children)


def _roster(table: Table) -> Iterator[Element]:
    query = E("query", "jabber:iq:roster")
    for jid, item in _texts(table):
        if jid == "pending" or not isinstance(item, dict):
            continue
        attributes = {"jid": jid}
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


def _card(table: Table) -> Iterator[Element]:
    made = element_of(table, "vcard-temp") if table else None
    if made is not None:
        yield made


def _private(table: Table) -> Iterator[Element]:
    for _, value in _texts(table):
        made = element_of(value, "") if isinstance(value, dict) else None
        if made is not None:
            yield E("query", "jabber:iq:private", {}, made)


def _blocklist(table: Table) -> Iterator[Element]:
    jids = [jid for jid, _ in _texts(table)]
    if jids:
        yield E(
            "blocklist", "urn:xmpp:blocking", {}, *(E("item", "urn:xmpp:blocking", {"jid": clean(jid)}) for jid in jids)
        )


def _privacy(table: Table) -> Iterator[Element]:
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


def _preferences(table: Table) -> Iterator[Element]:
    if not table:
        return
    lists: dict[str, list[str]] = {"always": [], "never": []}
    for jid, wanted in _texts(table):
        lists["always" if wanted else "never"].append(jid)
    made = (E(name, MAM_NS, {}, *(E("jid", MAM_NS, {}, clean(jid)) for jid in jids)) for name, jids in lists.items())
    yield E("prefs", MAM_NS, {"default": PREFERENCES.get(table.get(False, True), "always")}, *made)


# ---- nodes


def _nodes(table: Table) -> Iterator[Element]:
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
        if name in names:
            values = tuple(map(str, value.values())) if isinstance(value, dict) else (_word(value),)
            yield Field(prefix + names[name], values=tuple(map(clean, values)))


def _word(value: Any) -> str:
    return str(int(value)) if isinstance(value, (bool, float)) else str(value)


def node_items(name: str, items: Iterator[Item]) -> Iterator[Element]:
    for some in _pieces(items):
        made = E("items", PUBSUB, {"node": clean(name)})
        for item in some:
            attributes = {"id": clean(item.key)}
            if item.by:
                attributes["publisher"] = clean(item.by)
            made.append(E("item", PUBSUB, attributes, item.element))
        yield E("pubsub", PUBSUB, {}, made)


# ---- messages


def archive_parts(items: Iterator[Item]) -> Iterator[Element]:
    for some in _pieces(items):
        made = E("archive", ARCHIVE_NS)
        for item in some:
            delay = E("delay", DELAY_NS, {"stamp": stamp(item.at)})
            forwarded = E("forwarded", FORWARD_NS, {}, delay, item.element)
            made.append(E("result", MAM_NS, {"id": clean(item.key)}, forwarded))
        yield made


def offline_parts(items: Iterator[Item]) -> Iterator[Element]:
    for some in _pieces(items):
        made = E("offline-messages", PIE_NS)
        for item in some:
            item.element.append(E("delay", DELAY_NS, {"stamp": stamp(item.at), "from": item.element.get("to") or ""}))
            made.append(item.element)
        yield made


def _pieces(items: Iterable[Item]) -> Iterator[list[Item]]:
    some: list[Item] = []
    for item in items:
        some.append(item)
        if len(some) == PIECE:
            yield some
            some = []
    if some:
        yield some


# ---- rooms


def _room_form(data: Table, persistent: bool) -> Element:
    fields = list(_fields(data, ROOM_FIELDS))
    fields.append(Field("muc#roomconfig_persistentroom", values=(str(int(persistent)),)))
    fields.append(Field("muc#roomconfig_publicroom", values=(str(int(not data.get("hidden"))),)))
    password = data.get("password")
    if isinstance(password, str) and password:
        fields.append(Field("muc#roomconfig_passwordprotectedroom", values=("1",)))
        fields.append(Field("muc#roomconfig_roomsecret", values=(clean(password),)))
    return form("form", "http://jabber.org/protocol/muc#roomconfig", fields)


def _affiliations(stored: Table) -> Iterator[Element]:
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


def _subject(bare: str, data: Table) -> Element:
    by = data.get("subject_from")
    try:
        sender = JID.parse(str(by)).full if by else bare
    except MalformedJid:
        sender = bare
    made = E("message", CLIENT_NS, {"type": "groupchat", "from": sender})
    made.append(E("subject", CLIENT_NS, {}, clean(str(data["subject"]))))
    at = data.get("subject_time")
    if isinstance(at, (int, float)) and 0 < at < 1e11:
        made.append(E("delay", DELAY_NS, {"from": bare, "stamp": stamp(int(at * 1_000_000))}))
    return made


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
