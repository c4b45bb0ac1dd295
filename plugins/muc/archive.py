"""The archive of a room (XEP-0313): what a query asks for, and what it gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from xmppd.errors import BadRequest, FeatureNotImplemented, Forbidden, ItemNotFound, JidMalformed, MalformedJid
from xmppd.forms import Field, Submitted, form, read_form
from xmppd.jid import JID
from xmppd.stanza import Kind, Stanza, embedded
from xmppd.storage.api import Entry, Log, Range
from xmppd.xep import DELAY_NS, parse_time, stamp
from xmppd.xml import E, Element, find, quoted, text_of

from .entering import visible
from .model import Affiliation, Role
from .options import MEMBERS_ONLY, PASSWORD
from .room import Room

MAM_NS: Final = "urn:xmpp:mam:2"
RSM_NS: Final = "http://jabber.org/protocol/rsm"
FORWARD_NS: Final = "urn:xmpp:forward:0"
PAGE: Final = 50
IDS: Final = 100
FIELDS: Final = frozenset(("start", "end", "with", "before-id", "after-id", "ids"))


@dataclass(frozen=True, slots=True)
class Query:
    """`range`: what matches; `after`, `before`: the place in it (RSM); `known`: ids that must exist."""

    range: Range
    most: int = PAGE
    after: int | None = None
    before: int | None = None
    backwards: bool = False
    flip: bool = False
    id: str = ""
    known: tuple[int, ...] = ()


def check_access(room: Room, who: JID) -> None:
    """Who may enter may read (section 5.1.2, T35). Raises Forbidden."""
    affiliation = room.affiliation(who)
    if affiliation is Affiliation.OUTCAST or room.record.locked:
        raise Forbidden()
    if affiliation >= Affiliation.MEMBER or who.full in room.seats:
        return
    # A stranger has shown no password; and a private room tells strangers nothing.
    if MEMBERS_ONLY.of(room) or PASSWORD.of(room) or room.is_private():
        raise Forbidden("the archive is for those who may enter the room")


def fields() -> Element:
    """The form that says which fields are known (section 4.1.5)."""
    return E(
        "query",
        MAM_NS,
        {},
        form(
            "form",
            MAM_NS,
            (
                Field("with", "jid-single"),
                Field("start"),
                Field("end"),
                Field("before-id"),
                Field("after-id"),
                Field("ids", "list-multi"),
            ),
        ),
    )


def _id(text: str) -> int:
    """An id as the archive gives them; anything else is no entry's. Raises ItemNotFound."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ItemNotFound("no such message")
    return int(text)


def _time(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_time(text)
    except (ValueError, OverflowError):
        raise BadRequest("not a time") from None


def read_query(query: Element, room: Room) -> Query:
    """Raises BadRequest, ItemNotFound, FeatureNotImplemented, JidMalformed."""
    submitted = read_form(query) or Submitted("submit", MAM_NS)
    if submitted.form_type != MAM_NS:
        raise BadRequest("not an archive's form")
    if not FIELDS.issuperset(submitted.values):
        raise FeatureNotImplemented("an unknown field")
    after, before = submitted.text("after-id"), submitted.text("before-id")
    ids = tuple(sorted({_id(text) for text in submitted.values.get("ids", ())}))
    if len(ids) > IDS:
        raise BadRequest(f"at most {IDS} ids")
    low, high = _id(after) if after is not None else None, _id(before) if before is not None else None
    nick = _with(submitted, room)
    wanted = Range(
        after=low,
        before=high,
        low=_time(submitted.text("start")),
        high=_time(submitted.text("end")),
        peer=room.jid.bare if nick else None,
        resource=nick or None,
        ids=ids or None,
    )
    known = tuple(each for each in (low, high) if each is not None) + ids
    flip = find(query, MAM_NS, "flip-page") is not None
    return _page(query, Query(wanted, flip=flip, id=query.get("queryid", ""), known=known))


def _with(submitted: Submitted, room: Room) -> str:
    """The nick in `with`, "" for all: messages are found by who said them in the room (section 4.1.1)."""
    text = submitted.text("with")
    if text is None:
        return ""
    try:
        jid = JID.parse(text)
    except MalformedJid:
        raise JidMalformed() from None
    if jid.bare != room.jid.bare:
        raise FeatureNotImplemented("this archive knows its authors by their nicks")
    return jid.resource


def _page(query: Element, found: Query) -> Query:
    """XEP-0059 section 2."""
    rsm = find(query, RSM_NS, "set")
    if rsm is None:
        return found
    most, after, before = (find(rsm, RSM_NS, name) for name in ("max", "after", "before"))
    count = PAGE
    if most is not None:
        text = text_of(most)
        if not (text.isascii() and text.isdigit()):
            raise BadRequest("max is a number")
        count = min(PAGE, int(text[:9]))
    after_id = _id(text_of(after)) if after is not None else None
    before_id = _id(text_of(before)) if before is not None and text_of(before) else None
    known = found.known + tuple(each for each in (after_id, before_id) if each is not None)
    return Query(found.range, count, after_id, before_id, before is not None, found.flip, found.id, known)


@dataclass(frozen=True, slots=True)
class Page:
    """`entries` in rising order. `count`: of all that match, only where nothing but the count was asked for."""

    entries: list[Entry]
    complete: bool
    count: int | None = None


async def read_page(log: Log, owner: str, query: Query) -> Page:
    """Raises ItemNotFound for an id that is not in the archive."""
    if query.known:
        ids = tuple(sorted(set(query.known)))
        if await log.count(owner, Range(ids=ids)) != len(ids):
            raise ItemNotFound("no such message")
    wanted = query.range
    if query.most == 0:
        return Page([], False, await log.count(owner, wanted))
    after = max((each for each in (wanted.after, query.after) if each is not None), default=None)
    before = min((each for each in (wanted.before, query.before) if each is not None), default=None)
    asked = Range(after, before, wanted.low, wanted.high, wanted.peer, wanted.resource, wanted.ids)
    entries = await log.page(owner, asked, query.most + 1, query.backwards)
    complete = len(entries) <= query.most
    if not complete:
        entries = entries[1:] if query.backwards else entries[:-1]
    return Page(entries, complete)


def results(room: Room, who: JID, query: Query, page: Page) -> list[Stanza]:
    """One message for each entry (section 4.2), with real addresses for those who may see them."""
    seat = room.seats.get(who.full)
    addresses = (
        room.is_open()
        or (seat is not None and seat.role is Role.MODERATOR)
        or room.affiliation(who) >= Affiliation.ADMIN
    )
    start = f"<result xmlns='{MAM_NS}'" + (f" queryid='{quoted(query.id)}'" if query.id else "")
    found = []
    for entry in reversed(page.entries) if query.flip else page.entries:
        head = (
            f"{start} id='{entry.id}'><forwarded xmlns='{FORWARD_NS}'>"
            f"<delay xmlns='{DELAY_NS}' stamp='{stamp(entry.id)}'/>"
        )
        inside = head.encode() + embedded(visible(entry.body, addresses)) + b"</forwarded></result>"
        found.append(Stanza(Kind.MESSAGE, "normal", who, room.jid, "", inside, (f"{MAM_NS}|result",)))
    return found


def fin(page: Page) -> Element:
    """The result that ends a query."""
    children = []
    if page.entries:
        children = [
            E("first", RSM_NS, {}, str(page.entries[0].id)),
            E("last", RSM_NS, {}, str(page.entries[-1].id)),
        ]
    if page.count is not None:
        children.append(E("count", RSM_NS, {}, str(page.count)))
    attributes = {"complete": "true"} if page.complete else {}
    return E("fin", MAM_NS, attributes, E("set", RSM_NS, {}, *children))


async def metadata(log: Log, owner: str) -> Element:
    """The first and last entry (section 4.4)."""
    first, last = await log.page(owner, Range(), 1), await log.page(owner, Range(), 1, backwards=True)
    ends = [
        E(name, MAM_NS, {"id": str(entries[0].id), "timestamp": stamp(entries[0].id)})
        for name, entries in (("start", first), ("end", last))
        if entries
    ]
    return E("metadata", MAM_NS, {}, *ends)
