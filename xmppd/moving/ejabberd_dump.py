"""Reads what `ejabberdctl dump FILE` writes: all tables of ejabberd's own database (Mnesia) as text. It holds what the
export of XEP-0227 leaves out: rooms, archives, nodes.

The file is read twice: first it is noted where the records of each owner begin, then they are read owner by owner.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final

from ..contracts.moving import SCRAM_NS, OwnerKind
from ..xep.forms import Field, form
from ..xep.mam import MAM_NS
from ..xml import CLIENT_NS, E, Element, clean
from .erlang import Atom, BadTerm, parse_term
from .events import Begin, Event, Part, Problem
from .prosody import ADMIN_NS, PUBSUB, Item, archive_parts, node_items, offline_parts

LONGEST: Final = 16 << 20
"""Bytes of one record."""
OPENING: Final = b"{tables,"
_START: Final = re.compile(rb"\{([a-z_]+),\s*")
HASHES: Final = {"sha": "SHA-1", "sha256": "SHA-256", "sha512": "SHA-512"}
ACCOUNT_TABLES: Final = ("passwd", "roster", "vcard", "private_storage", "privacy", "archive_prefs", "offline_msg")
WORTHLESS: Final = frozenset(
    (
        *("schema", "last_activity", "vcard_search", "caps_features", "pubsub_state", "pubsub_index", "pubsub_orphan"),
        *("roster_version", "translations", "oauth_token", "oauth_client", "bytestream", "session", "sip_session"),
        *("muc_online_room", "muc_online_users", "reg_users_counter", "captcha", "temporarily_blocked", "motd_users"),
    )
)
SUBSCRIPTIONS: Final = frozenset(("none", "to", "from", "both"))
ROOM_FLAGS: Final = {
    "members_only": "muc#roomconfig_membersonly", "moderated": "muc#roomconfig_moderatedroom",
    "allow_change_subj": "muc#roomconfig_changesubject", "allow_user_invites": "muc#roomconfig_allowinvites",
    "public": "muc#roomconfig_publicroom", "persistent": "muc#roomconfig_persistentroom",
    "mam": "muc#roomconfig_enablearchiving",
}  # fmt: skip
ROOM_TEXTS: Final = {
    "title": "muc#roomconfig_roomname", "description": "muc#roomconfig_roomdesc", "lang": "muc#roomconfig_lang",
}  # fmt: skip

Owner = tuple[str, str]
"""Localpart and domain."""


class EjabberdDump:
    """A `Source`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size = 2 * path.stat().st_size
        self.position = 0
        self._records: dict[Owner, dict[str, array[int]]] = {}
        """Where the records of an owner begin, by table."""
        self._nodes: dict[int, tuple[Owner, str]] = {}
        """Owner and name of the nodes by their number."""
        self._unknown: dict[str, int] = {}

    @staticmethod
    def recognises(begin: bytes) -> bool:
        return begin.startswith(OPENING)

    def events(self) -> Iterator[Event]:
        try:
            with self._path.open("rb") as file:
                yield from self._index(file)
                for owner in sorted(self._records):
                    yield from self._owner(file, owner, self._records[owner])
        except OSError as error:
            yield Problem(str(self._path), error.strerror or str(error))
        for table, number in sorted(self._unknown.items()):
            yield Problem(str(self._path), f"the table {table!r} with {number} records is not carried")

    # ---- where everything is

    def _index(self, file: IO[bytes]) -> Iterator[Problem]:
        for at, data in self._chunks(file):
            self.position = at
            found = _START.match(data)
            table = found[1].decode() if found is not None else ""
            if found is None or table == "tables" or table in WORTHLESS:
                continue
            try:
                for owner in self._owners(table, data, found.end()):
                    self._records.setdefault(owner, {}).setdefault(table, array("Q")).append(at)
            except (BadTerm, ValueError, IndexError, TypeError, KeyError):
                yield Problem(str(self._path), f"a record of {table!r} cannot be read (byte {at:,})")

    def _chunks(self, file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
        """Place and text of all records. One begins a line, and no line inside of one does."""
        at, lines, size = 0, list[bytes](), 0
        while line := file.readline(LONGEST):
            lines.append(line)
            size += len(line)
            if line.rstrip().endswith(b"}.") or size > LONGEST:
                if size <= LONGEST:
                    yield at, b"".join(lines)
                at, lines, size = file.tell(), [], 0

    def _owners(self, table: str, data: bytes, at: int) -> list[Owner]:
        """Whose a record is. Raises BadTerm, ValueError, IndexError, TypeError, KeyError."""
        if table == "pubsub_node":
            record = parse_term(data)
            (node_owner, name), number = record[1], record[2]
            owner = (
                (_text(node_owner[0]), _text(node_owner[1]))
                if isinstance(node_owner, tuple)
                else ("", _text(node_owner))
            )
            self._nodes[number] = owner, _text(name)
            return [owner]
        key = parse_term(data[at:])
        if table == "pubsub_item":
            return [(f"#{key[1]}", "")]
        if table in (*ACCOUNT_TABLES, "archive_msg", "muc_room"):
            return [(_text(key[0]), _text(key[1]))]
        self._unknown[table] = self._unknown.get(table, 0) + 1
        return []

    def _read(self, file: IO[bytes], places: array[int] | None) -> Iterator[tuple[Any, ...]]:
        for place in places or ():
            file.seek(place)
            self.position = self.size // 2 + place
            lines: list[bytes] = []
            while line := file.readline(LONGEST):
                lines.append(line)
                if line.rstrip().endswith(b"}."):
                    break
            record = parse_term(b"".join(lines))
            if isinstance(record, tuple):
                yield record

    # ---- an owner

    def _owner(self, file: IO[bytes], owner: Owner, tables: dict[str, array[int]]) -> Iterator[Event]:
        local, domain = owner
        if local.startswith("#"):
            return
        if "muc_room" in tables:
            yield Begin(OwnerKind.ROOM, local, domain)
            makers: list[tuple[str, Callable[..., Iterator[Element]]]] = [
                ("muc_room", _room),
                ("archive_msg", _room_archive),
            ]
        elif not local:
            yield Begin(OwnerKind.HOST, "", domain)
            makers = []
        elif "passwd" in tables:
            password = ""
            for record in self._safely(file, tables["passwd"]):
                password = _text(record[2]) if isinstance(record[2], bytes) else ""
            yield Begin(OwnerKind.ACCOUNT, local, domain, password or None)
            makers = list(ACCOUNT_MAKERS)
        else:
            number = sum(map(len, tables.values()))
            yield Problem(f"{local}@{domain}", f"{number} records ({', '.join(sorted(tables))}) of no account or room")
            return
        for table, make in makers:
            yield from self._parts(file, owner, tables.get(table), table, make)
        for place in tables.get("pubsub_node", ()):
            yield from self._node(file, place)

    def _safely(self, file: IO[bytes], places: array[int] | None) -> Iterator[tuple[Any, ...]]:
        for place in places or ():
            try:
                yield from self._read(file, array("Q", (place,)))
            except (BadTerm, ValueError):
                continue  # told by `_parts`

    def _parts(
        self,
        file: IO[bytes],
        owner: Owner,
        places: array[int] | None,
        table: str,
        make: Callable[..., Iterator[Element]],
    ) -> Iterator[Event]:
        bad: list[str] = []

        def records() -> Iterator[tuple[Any, ...]]:
            for place in _in_time(self, file, places, table):
                try:
                    yield from self._read(file, array("Q", (place,)))
                except (BadTerm, ValueError) as error:
                    bad.append(str(error))

        try:
            for element in make(owner, records()):
                yield Part(element)
        except (ValueError, IndexError, TypeError, KeyError, AttributeError) as error:
            bad.append(repr(error))
        for why in bad:
            yield Problem("@".join(owner), f"a record of {table!r} cannot be read: {why}")

    def _node(self, file: IO[bytes], place: int) -> Iterator[Event]:
        try:
            record = next(self._read(file, array("Q", (place,))))
            number, options = record[2], record[6]
            name = self._nodes[number][1]
            yield Part(_node_form(name, options))
            found = sorted(self._items(file, number), key=lambda item: item.at)
            for element in node_items(name, iter(found)):
                yield Part(element)
        except (BadTerm, ValueError, IndexError, TypeError, KeyError, StopIteration) as error:
            yield Problem(str(self._path), f"a node cannot be read: {error!r}")

    def _items(self, file: IO[bytes], number: int) -> Iterator[Item]:
        for record in self._safely(file, self._records.get((f"#{number}", ""), {}).get("pubsub_item")):
            (at, by), payload = record[4], record[5]
            made = element_of(payload[0], "") if payload else None
            if made is not None:
                yield Item(_text(record[1][0]), _microseconds(at), _jid(by[:2]), made)


def _in_time(dump: EjabberdDump, file: IO[bytes], places: array[int] | None, table: str) -> list[int]:
    """Messages in their order; the dump has the records of one owner in any."""
    if table not in ("archive_msg", "offline_msg") or places is None:
        return list(places or ())
    column = 3 if table == "archive_msg" else 2
    times: list[tuple[int, int]] = []
    for place in places:
        at = 0
        for record in dump._safely(file, array("Q", (place,))):
            at = _microseconds(record[column]) if isinstance(record[column], tuple) else 0
        times.append((at, place))
    return [place for _, place in sorted(times)]


# ---- values


def _text(value: Any) -> str:
    """Raises ValueError."""
    if isinstance(value, Atom):
        return "" if value == "undefined" else str(value)
    if isinstance(value, bytes):
        return clean(value.decode("utf-8", "replace"))
    if isinstance(value, list) and not value:
        return ""
    raise ValueError(f"no text: {value!r}"[:100])


def _jid(parts: Any) -> str:
    """Of a tuple of localpart and domain, or those and a resource."""
    local, domain, *rest = parts
    bare = f"{_text(local)}@{_text(domain)}" if _text(local) else _text(domain)
    resource = _text(rest[0]) if rest else ""
    return f"{bare}/{resource}" if resource else bare


def _microseconds(at: Any) -> int:
    mega, seconds, micro = at
    return (int(mega) * 1_000_000 + int(seconds)) * 1_000_000 + int(micro)


def element_of(term: Any, ns: str) -> Element | None:
    """An element of `{xmlel, Name, Attributes, Children}`. Raises ValueError."""
    if not (isinstance(term, tuple) and len(term) == 4 and term[0] == "xmlel"):
        return None
    attributes: dict[str, str] = {}
    for key, value in term[2]:
        name = _text(key)
        if name == "xmlns":
            ns = _text(value)
        elif name.startswith("xml:"):
            attributes[f"{{http://www.w3.org/XML/1998/namespace}}{name[4:]}"] = _text(value)
        elif ":" not in name:
            attributes[name] = _text(value)
    made = E(_text(term[1]), ns or CLIENT_NS, attributes)
    for child in term[3]:
        if isinstance(child, tuple) and child and child[0] == "xmlcdata":
            if len(made):
                made[-1].tail = (made[-1].tail or "") + _text(child[1])
            else:
                made.text = (made.text or "") + _text(child[1])
        elif (inner := element_of(child, ns)) is not None:
            made.append(inner)
    return made


# ---- accounts

Records = Iterator[tuple[Any, ...]]


def _keys(owner: Owner, records: Records) -> Iterator[Element]:
    for record in records:
        found = record[2]
        if isinstance(found, tuple) and found[0] == "scram":
            hash = HASHES.get(str(found[4]) if len(found) > 5 else "sha", "")
            values = {"iter-count": str(found[-1]), "salt": _text(found[3])}
            values |= {"server-key": _text(found[2]), "stored-key": _text(found[1])}
            children = (E(name, SCRAM_NS, {}, value) for name, value in values.items())
            yield E("scram-credentials", SCRAM_NS, {"mechanism": f"SCRAM-{hash}"}, *children)


def _roster(owner: Owner, records: Records) -> Iterator[Element]:
    ns = "jabber:iq:roster"
    for _, _, _, jid, name, subscription, ask, groups, message, *_ in records:
        contact = _jid(jid)
        word = str(subscription) if str(subscription) in SUBSCRIPTIONS else "none"
        if str(ask) in ("in", "both", "subscribe"):
            made = E("presence", CLIENT_NS, {"type": "subscribe", "from": contact})
            if _text(message):
                made.append(E("status", CLIENT_NS, {}, _text(message)))
            yield made
        if word == "none" and str(ask) == "in" and not _text(name) and not groups:
            continue  # it only remembers the request
        attributes = {"jid": contact, "subscription": word}
        if _text(name):
            attributes["name"] = _text(name)
        if str(ask) in ("out", "both"):
            attributes["ask"] = "subscribe"
        yield E("query", ns, {}, E("item", ns, attributes, *(E("group", ns, {}, _text(group)) for group in groups)))


def _card(owner: Owner, records: Records) -> Iterator[Element]:
    for record in records:
        made = element_of(record[2], "vcard-temp")
        if made is not None:
            yield made


def _private(owner: Owner, records: Records) -> Iterator[Element]:
    for record in records:
        made = element_of(record[2], "")
        if made is not None:
            yield E("query", "jabber:iq:private", {}, made)


def _privacy(owner: Owner, records: Records) -> Iterator[Element]:
    ns = "jabber:iq:privacy"
    for _, _, default, lists, *_ in records:
        query = E("query", ns)
        if isinstance(default, bytes):
            query.append(E("default", ns, {"name": _text(default)}))
        for name, items in lists:
            made = E("list", ns, {"name": _text(name)})
            for _, kind, value, action, order, everything, iq, message, came, went in items:
                shown = (
                    _jid(value)
                    if isinstance(value, tuple)
                    else _text(value)
                    if isinstance(value, bytes)
                    else str(value)
                )
                attributes = {"type": str(kind), "value": shown, "action": str(action), "order": str(order)}
                found = zip(("iq", "message", "presence-in", "presence-out"), (iq, message, came, went), strict=True)
                kinds = (E(each, ns) for each, there in found if there == "true" and everything != "true")
                made.append(E("item", ns, attributes, *kinds))
            query.append(made)
        yield query


def _preferences(owner: Owner, records: Records) -> Iterator[Element]:
    for _, _, default, always, never, *_ in records:
        lists = (
            E(name, MAM_NS, {}, *(E("jid", MAM_NS, {}, _jid(jid)) for jid in jids))
            for name, jids in (("always", always), ("never", never))
        )
        yield E("prefs", MAM_NS, {"default": str(default)}, *lists)


def _archive(owner: Owner, records: Records) -> Iterator[Element]:
    def items() -> Iterator[Item]:
        for _, _, id, at, _, _, packet, *_ in records:
            made = element_of(packet, CLIENT_NS)
            if made is not None:
                yield Item(_text(id), _microseconds(at), "", made)

    return archive_parts(items())


def _offline(owner: Owner, records: Records) -> Iterator[Element]:
    def items() -> Iterator[Item]:
        for _, _, at, _, sender, to, packet, *_ in records:
            made = element_of(packet, CLIENT_NS)
            if made is not None:
                made.set("from", _jid(sender[1:4]))
                made.set("to", _jid(to[1:4]))
                yield Item("", _microseconds(at), "", made)

    return offline_parts(items())


ACCOUNT_MAKERS: Final[tuple[tuple[str, Callable[..., Iterator[Element]]], ...]] = (
    ("passwd", _keys), ("roster", _roster), ("vcard", _card), ("private_storage", _private), ("privacy", _privacy),
    ("archive_prefs", _preferences), ("archive_msg", _archive), ("offline_msg", _offline),
)  # fmt: skip


# ---- nodes and rooms


def _node_form(name: str, options: Any) -> Element:
    owner = f"{PUBSUB}#owner"
    fields = []
    for key, value in options:
        values = [_text(each) for each in value] if isinstance(value, list) else [_word(value)]
        fields.append(Field(f"pubsub#{key}", values=tuple(values)))
    shown = form("form", f"{PUBSUB}#node_config", fields)
    return E("pubsub", owner, {}, E("configure", owner, {"node": name}, shown))


def _word(value: Any) -> str:
    if value == "true" or value == "false":
        return "1" if value == "true" else "0"
    return str(value) if isinstance(value, int) else _text(value)


def _room(owner: Owner, records: Records) -> Iterator[Element]:
    for record in records:
        options = {str(each[0]): each[1] for each in record[2] if isinstance(each, tuple) and len(each) == 2}
        fields = [Field(var, values=(_word(options[name]),)) for name, var in ROOM_FLAGS.items() if name in options]
        fields += [Field(var, values=(_text(options[name]),)) for name, var in ROOM_TEXTS.items() if name in options]
        fields.append(
            Field("muc#roomconfig_whois", values=("moderators" if options.get("anonymous") == "true" else "anyone",))
        )
        if options.get("password_protected") == "true":
            fields.append(Field("muc#roomconfig_passwordprotectedroom", values=("1",)))
            fields.append(Field("muc#roomconfig_roomsecret", values=(_text(options.get("password", b"")),)))
        yield form("form", "http://jabber.org/protocol/muc#roomconfig", fields)
        yield _affiliations(options.get("affiliations", []))
        subject, author = options.get("subject", b""), _text(options.get("subject_author", b""))
        text = subject[0][2] if isinstance(subject, list) and subject else subject
        if isinstance(text, bytes) and text:
            bare = "@".join(owner)
            sender = f"{bare}/{author}" if author else bare
            yield E(
                "message", CLIENT_NS, {"type": "groupchat", "from": sender}, E("subject", CLIENT_NS, {}, _text(text))
            )


def _affiliations(found: Any) -> Element:
    """Owners first: the first one counts as who has made the room."""
    query = E("query", ADMIN_NS)
    items = []
    for jid, given in found:
        word, reason = (given[0], _text(given[1])) if isinstance(given, tuple) else (given, "")
        items.append((str(word), _jid(jid), reason))
    for word, jid, reason in sorted(items, key=lambda item: item[0] != "owner"):
        why = E("reason", ADMIN_NS, {}, reason) if reason else None
        query.append(E("item", ADMIN_NS, {"jid": jid, "affiliation": word}, why))
    return query


def _room_archive(owner: Owner, records: Records) -> Iterator[Element]:
    """As others write them: from the occupant, with the real address beside."""
    bare, user = "@".join(owner), "http://jabber.org/protocol/muc#user"

    def items() -> Iterator[Item]:
        for _, _, id, at, peer, _, packet, nick, *_ in records:
            made = element_of(packet, CLIENT_NS)
            if made is not None:
                made.set("from", f"{bare}/{_text(nick)}" if _text(nick) else bare)
                made.append(E("x", user, {}, E("item", user, {"jid": _jid(peer)})))
                yield Item(_text(id), _microseconds(at), "", made)

    return archive_parts(items())
