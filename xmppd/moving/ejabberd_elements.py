"""Records of ejabberd's own database, one by one, as elements of XEP-0227."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from ..contracts.moving import SCRAM_NS
from ..xep.forms import Field, form
from ..xep.mam import MAM_NS
from ..xml import CLIENT_NS, E, Element, clean
from .elements import ADMIN_NS, LATEST, PUBSUB, Item
from .erlang import Atom

HASHES: Final = {"sha": "SHA-1", "sha256": "SHA-256", "sha512": "SHA-512"}
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

# ---- values


def text_of(value: Any) -> str:
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
    bare = f"{text_of(local)}@{text_of(domain)}" if text_of(local) else text_of(domain)
    resource = text_of(rest[0]) if rest else ""
    return f"{bare}/{resource}" if resource else bare


def _microseconds(at: Any) -> int:
    """Raises ValueError."""
    mega, seconds, micro = at
    found = (int(mega) * 1_000_000 + int(seconds)) * 1_000_000 + int(micro)
    if not 0 < found < LATEST * 1_000_000:
        raise ValueError("a time that cannot be")
    return found


def element_of(term: Any, ns: str) -> Element | None:
    """An element of `{xmlel, Name, Attributes, Children}`. Raises ValueError."""
    if not (isinstance(term, tuple) and len(term) == 4 and term[0] == "xmlel"):
        return None
    attributes: dict[str, str] = {}
    for key, value in term[2]:
        name = text_of(key)
        if name == "xmlns":
            ns = text_of(value)
        elif name.startswith("xml:"):
            attributes[f"{{http://www.w3.org/XML/1998/namespace}}{name[4:]}"] = text_of(value)
        elif ":" not in name:
            attributes[name] = text_of(value)
    made = E(text_of(term[1]), ns or CLIENT_NS, attributes)
    for child in term[3]:
        if isinstance(child, tuple) and child and child[0] == "xmlcdata":
            if len(made):
                made[-1].tail = (made[-1].tail or "") + text_of(child[1])
            else:
                made.text = (made.text or "") + text_of(child[1])
        elif (inner := element_of(child, ns)) is not None:
            made.append(inner)
    return made


# ---- accounts

Record = tuple[Any, ...]
Make = Callable[[Owner, Record], Iterator[Element]]
"""Elements of one record. Raises what is in `BROKEN`."""
MakeItem = Callable[[Owner, Record], Item | None]
"""The message of one record, if it is one. Raises what is in `BROKEN`."""


def password(record: Record) -> str:
    """That in clear; "" if there is none."""
    return text_of(record[2]) if isinstance(record[2], bytes) else ""


def _keys(owner: Owner, record: Record) -> Iterator[Element]:
    found = record[2]
    if isinstance(found, tuple) and found[0] == "scram":
        hash = HASHES.get(str(found[4]) if len(found) > 5 else "sha", "")
        values = {"iter-count": str(found[-1]), "salt": text_of(found[3])}
        values |= {"server-key": text_of(found[2]), "stored-key": text_of(found[1])}
        children = (E(name, SCRAM_NS, {}, value) for name, value in values.items())
        yield E("scram-credentials", SCRAM_NS, {"mechanism": f"SCRAM-{hash}"}, *children)


def _roster(owner: Owner, record: Record) -> Iterator[Element]:
    ns = "jabber:iq:roster"
    _, _, _, jid, name, subscription, ask, groups, message, *_ = record
    contact = _jid(jid)
    word = str(subscription) if str(subscription) in SUBSCRIPTIONS else "none"
    if str(ask) in ("in", "both", "subscribe"):
        made = E("presence", CLIENT_NS, {"type": "subscribe", "from": contact})
        if text_of(message):
            made.append(E("status", CLIENT_NS, {}, text_of(message)))
        yield made
    if word == "none" and str(ask) == "in" and not text_of(name) and not groups:
        return  # it only remembers the request
    attributes = {"jid": contact, "subscription": word}
    if text_of(name):
        attributes["name"] = text_of(name)
    if str(ask) in ("out", "both"):
        attributes["ask"] = "subscribe"
    yield E("query", ns, {}, E("item", ns, attributes, *(E("group", ns, {}, text_of(group)) for group in groups)))


def _card(owner: Owner, record: Record) -> Iterator[Element]:
    made = element_of(record[2], "vcard-temp")
    if made is not None:
        yield made


def _private(owner: Owner, record: Record) -> Iterator[Element]:
    made = element_of(record[2], "")
    if made is not None:
        yield E("query", "jabber:iq:private", {}, made)


def _privacy(owner: Owner, record: Record) -> Iterator[Element]:
    ns = "jabber:iq:privacy"
    _, _, default, lists, *_ = record
    query = E("query", ns)
    if isinstance(default, bytes):
        query.append(E("default", ns, {"name": text_of(default)}))
    for name, items in lists:
        made = E("list", ns, {"name": text_of(name)})
        for _, kind, value, action, order, everything, iq, message, came, went in items:
            shown = (
                _jid(value) if isinstance(value, tuple) else text_of(value) if isinstance(value, bytes) else str(value)
            )
            attributes = {"type": str(kind), "value": shown, "action": str(action), "order": str(order)}
            found = zip(("iq", "message", "presence-in", "presence-out"), (iq, message, came, went), strict=True)
            kinds = (E(each, ns) for each, there in found if there == "true" and everything != "true")
            made.append(E("item", ns, attributes, *kinds))
        query.append(made)
    yield query


def _preferences(owner: Owner, record: Record) -> Iterator[Element]:
    _, _, default, always, never, *_ = record
    lists = (
        E(name, MAM_NS, {}, *(E("jid", MAM_NS, {}, _jid(jid)) for jid in jids))
        for name, jids in (("always", always), ("never", never))
    )
    yield E("prefs", MAM_NS, {"default": str(default)}, *lists)


def time_of(table: str, record: Record) -> int:
    """Of a message, in microseconds since 1970 UTC."""
    return _microseconds(record[3 if table == "archive_msg" else 2])


def _archived(owner: Owner, record: Record) -> Item | None:
    _, _, id, at, _, _, packet, *_ = record
    made = element_of(packet, CLIENT_NS)
    return Item(text_of(id), _microseconds(at), "", made) if made is not None else None


def _offline(owner: Owner, record: Record) -> Item | None:
    _, _, at, _, sender, to, packet, *_ = record
    made = element_of(packet, CLIENT_NS)
    if made is None:
        return None
    made.set("from", _jid(sender[1:4]))
    made.set("to", _jid(to[1:4]))
    return Item("", _microseconds(at), "", made)


KEYS: Final = "passwd"
ACCOUNT_MAKERS: Final[Mapping[str, Make]] = {
    KEYS: _keys, "roster": _roster, "vcard": _card, "private_storage": _private, "privacy": _privacy,
    "archive_prefs": _preferences,
}  # fmt: skip
ACCOUNT_ITEMS: Final[Mapping[str, MakeItem]] = {"archive_msg": _archived, "offline_msg": _offline}


# ---- nodes and rooms


def node(name: str, record: Record, states: Iterable[Record]) -> Element:
    """Its configuration, and its people, each with the name that it has on the wire (`pubsub_state`)."""
    owner = f"{PUBSUB}#owner"
    fields = []
    for key, value in record[6]:
        values = [text_of(each) for each in value] if isinstance(value, list) else [_word(value)]
        fields.append(Field(f"pubsub#{key}", values=tuple(values)))
    shown = form("form", f"{PUBSUB}#node_config", fields)
    affiliations, subscriptions = (E(f"{each}s", owner, {"node": name}) for each in ("affiliation", "subscription"))
    for _, (jid, _), _, _, word, subscribed, *_ in states:
        if word != "none":
            affiliations.append(E("affiliation", owner, {"jid": _jid(jid), "affiliation": str(word)}))
        for state, id in subscribed:
            attributes = {"jid": _jid(jid), "subscription": str(state), "subid": text_of(id)}
            subscriptions.append(E("subscription", owner, attributes))
    people = [each for each in (affiliations, subscriptions) if len(each)]
    return E("pubsub", owner, {}, E("configure", owner, {"node": name}, shown), *people)


def node_item(record: Record) -> Item | None:
    (at, by), payload = record[4], record[5]
    made = element_of(payload[0], "") if payload else None
    return Item(text_of(record[1][0]), _microseconds(at), _jid(by[:2]), made) if made is not None else None


def _word(value: Any) -> str:
    if value == "true" or value == "false":
        return "1" if value == "true" else "0"
    return str(value) if isinstance(value, int) else text_of(value)


def _room(owner: Owner, record: Record) -> Iterator[Element]:
    options = {str(each[0]): each[1] for each in record[2] if isinstance(each, tuple) and len(each) == 2}
    fields = [Field(var, values=(_word(options[name]),)) for name, var in ROOM_FLAGS.items() if name in options]
    fields += [Field(var, values=(text_of(options[name]),)) for name, var in ROOM_TEXTS.items() if name in options]
    fields.append(
        Field("muc#roomconfig_whois", values=("moderators" if options.get("anonymous") == "true" else "anyone",))
    )
    if options.get("password_protected") == "true":
        fields.append(Field("muc#roomconfig_passwordprotectedroom", values=("1",)))
        fields.append(Field("muc#roomconfig_roomsecret", values=(text_of(options.get("password", b"")),)))
    yield form("form", "http://jabber.org/protocol/muc#roomconfig", fields)
    yield _affiliations(options.get("affiliations", []))
    subject, author = options.get("subject", b""), text_of(options.get("subject_author", b""))
    text = subject[0][2] if isinstance(subject, list) and subject else subject
    if isinstance(text, bytes) and text:
        bare = "@".join(owner)
        sender = f"{bare}/{author}" if author else bare
        yield E("message", CLIENT_NS, {"type": "groupchat", "from": sender}, E("subject", CLIENT_NS, {}, text_of(text)))


def _affiliations(found: Any) -> Element:
    """Owners first: the first one counts as who has made the room."""
    query = E("query", ADMIN_NS)
    items = []
    for jid, given in found:
        word, reason = (given[0], text_of(given[1])) if isinstance(given, tuple) else (given, "")
        items.append((str(word), _jid(jid), reason))
    for word, jid, reason in sorted(items, key=lambda item: item[0] != "owner"):
        why = E("reason", ADMIN_NS, {}, reason) if reason else None
        query.append(E("item", ADMIN_NS, {"jid": jid, "affiliation": word}, why))
    return query


def _said(owner: Owner, record: Record) -> Item | None:
    """As others write it: from the occupant, with the real address beside."""
    bare, user = "@".join(owner), "http://jabber.org/protocol/muc#user"
    _, _, id, at, peer, _, packet, nick, *_ = record
    made = element_of(packet, CLIENT_NS)
    if made is None:
        return None
    made.set("from", f"{bare}/{text_of(nick)}" if text_of(nick) else bare)
    made.append(E("x", user, {}, E("item", user, {"jid": _jid(peer)})))
    return Item(text_of(id), _microseconds(at), "", made)


ROOM_MAKERS: Final[Mapping[str, Make]] = {"muc_room": _room}
ROOM_ITEMS: Final[Mapping[str, MakeItem]] = {"archive_msg": _said}
