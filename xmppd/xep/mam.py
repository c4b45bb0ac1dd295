"""XEP-0313 section 4: what a query asks for, the page it gets, and how that is said. For accounts and rooms alike."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Final

from ..contracts.search import FULLTEXT_FIELD, Search
from ..errors import BadRequest, FeatureNotImplemented, ItemNotFound
from ..jid import JID
from ..stanza import Kind, Stanza, embedded
from ..storage.api import NOT_HIDDEN, Entry, Flags, Log, Range
from ..xml import E, Element, Written, find, quoted
from . import rsm
from .elements import DELAY_NS, parse_time, stamp
from .forms import Field, Submitted, form, read_form
from .numbers import log_id
from .stored_message import StoredMessage

MAM_NS: Final = "urn:xmpp:mam:2"
FORWARD_NS: Final = "urn:xmpp:forward:0"
RESULT_TAG: Final = f"{MAM_NS}|result"
IDS: Final = 250
"""The most single entries that one query may name."""
PAGE_SIZE: Final = 1 << 20
"""Bytes of the bodies in one page, if it is more than one."""
FIELDS: Final = (
    Field("with", "jid-single"),
    Field("start"),
    Field("end"),
    Field("before-id"),
    Field("after-id"),
    Field("ids", "list-multi", open=True),
)
FULLTEXT: Final = Field(FULLTEXT_FIELD, "text-single")
"""XEP-0431 section 3.1."""
_KNOWN: Final = frozenset(each.var for each in (*FIELDS, FULLTEXT))


@dataclass(frozen=True, slots=True)
class Query:
    """`range`: what matches the form; `page`: the same within the place that RSM asks for.

    `most`: entries of the page, 0 for the count. `known`: ids that must be in the archive. `text`: words to be found.
    """

    range: Range
    page: Range
    most: int
    backwards: bool = False
    flip: bool = False
    id: str = ""
    known: tuple[int, ...] = ()
    text: str = ""

    @property
    def everybody(self) -> bool:
        """It asks for conversations with all, up to the newest."""
        wanted = self.range
        named = wanted.peer is not None or wanted.ids is not None or bool(self.text)
        return not named and wanted.before is None and wanted.high is None

    def until(self, id: int) -> Query:
        """The same, of the log up to this id."""
        return replace(self, range=_until(self.range, id), page=_until(self.page, id))


def _until(wanted: Range, id: int) -> Range:
    return replace(wanted, high=id if wanted.high is None else min(id, wanted.high))


def fields(search: Search | None = None) -> Element:
    """Section 4.1.5."""
    return E("query", MAM_NS, {}, form("form", MAM_NS, FIELDS if search is None else (*FIELDS, FULLTEXT)))


def read_query(query: Element, usual: int, most: int) -> Query:
    """`usual`: entries of a page where the client does not say; `most`: the largest page.

    Raises BadRequest, FeatureNotImplemented (unknown field, page by index), ItemNotFound (what can be no id),
    JidMalformed.
    """
    given = read_form(query)
    if given is None:
        given = Submitted("submit", MAM_NS)
    if given.form_type != MAM_NS or given.type != "submit":
        raise BadRequest("not an archive's form")
    if not _KNOWN.issuperset(given.values):
        raise FeatureNotImplemented("an unknown field")
    wanted, known = _filter(given)
    asked = rsm.read(query)
    if asked.index is not None:
        raise FeatureNotImplemented("pages are found by ids")
    page = wanted
    if asked.after is not None:
        after = _id(asked.after)
        known = (*known, after)
        page = replace(page, after=after if page.after is None else max(after, page.after))
    if asked.before:
        before = _id(asked.before)
        known = (*known, before)
        page = replace(page, before=before if page.before is None else min(before, page.before))
    return Query(
        wanted,
        page,
        usual if asked.max is None else min(asked.max, most),
        asked.backwards,
        find(query, MAM_NS, "flip-page") is not None,
        str(query.get("queryid", "")),
        known,
        given.text(FULLTEXT_FIELD) or "",
    )


def _filter(given: Submitted) -> tuple[Range, tuple[int, ...]]:
    """Section 4.1: what the form asks for, and the ids it names."""
    after, before = given.text("after-id"), given.text("before-id")
    low = _id(after) if after else None
    high = _id(before) if before else None
    ids = tuple(sorted({_id(text) for text in given.values.get("ids", ())}))
    if len(ids) > IDS:
        raise BadRequest(f"at most {IDS} ids")
    other = given.jid("with")
    wanted = Range(
        after=low,
        before=high,
        low=_time(given, "start"),
        high=_time(given, "end"),
        peer=other.bare if other is not None else None,
        resource=(other.resource or None) if other is not None else None,
        ids=ids or None,
        without=Flags.HIDDEN,
    )
    return wanted, tuple(each for each in (low, high) if each is not None) + ids


def _id(text: str) -> int:
    """An id as archives give them. Raises ItemNotFound for anything else: no entry can have it."""
    found = log_id(text)
    if found is None:
        raise ItemNotFound("no such message")
    return found


def _time(given: Submitted, var: str) -> int | None:
    """XEP-0082 section 3.2. Raises BadRequest."""
    text = given.text(var)
    if not text:
        return None
    try:
        return parse_time(text)
    except (ValueError, OverflowError):
        raise BadRequest(f"{var} is no time") from None


@dataclass(frozen=True, slots=True)
class Page:
    """`entries` in rising order. `complete`: nothing that matches lies behind them, in the direction of paging.

    `count`: of all that match the form, None if it was not counted.
    """

    entries: list[Entry]
    complete: bool
    count: int | None = None


async def _narrowed(log: Log, owner: str, query: Query, search: Search | None) -> Query:
    """The words as ids (XEP-0431)."""
    if search is None:
        raise FeatureNotImplemented("this archive cannot be searched for words")
    found: Collection[int] = await search.ids(log, owner, query.text, query.page, query.backwards)
    if query.page.ids is not None:
        found = set(found).intersection(query.page.ids)
    ids = tuple(sorted(found))
    return replace(query, range=replace(query.range, ids=ids), page=replace(query.page, ids=ids))


async def read_page(log: Log, owner: str, query: Query, search: Search | None = None, size: int = PAGE_SIZE) -> Page:
    """A page of at most `size` bytes, or of one entry (XEP-0059 section 2.1: it may be smaller than was asked for).

    Raises ItemNotFound for an id that is not in the archive (sections 4.1.3 and 4.3.2), and what `search` raises."""
    if query.known:
        ids = tuple(sorted(set(query.known)))
        if await log.count(owner, Range(ids=ids, without=Flags.HIDDEN)) != len(ids):
            raise ItemNotFound("no such message")
    if query.text:
        query = await _narrowed(log, owner, query, search)
    if query.most == 0:  # XEP-0059 section 2.7
        count = await log.count(owner, query.range)
        return Page([], count == 0, count)
    entries = await log.page(owner, query.page, query.most + 1, query.backwards)
    complete = len(entries) <= query.most
    if not complete:
        entries = entries[1:] if query.backwards else entries[:-1]
    some = within(entries, size, query.backwards)
    complete, entries = complete and len(some) == len(entries), some
    if query.text:  # what was taken back or has expired since says nothing any more
        entries = [entry for entry in entries if StoredMessage(entry.body).may_have_text]
    return Page(entries, complete, len(entries) if complete and query.page == query.range else None)


def within(entries: list[Entry], size: int, backwards: bool) -> list[Entry]:
    """So many entries, from the side where the page begins, that they have at most `size` bytes; one at least."""
    count = 0
    for entry in reversed(entries) if backwards else entries:
        size -= len(entry.body)
        if count and size < 0:
            break
        count += 1
    return entries[len(entries) - count :] if backwards else entries[:count]


def results(
    owner: JID, to: JID, query: Query, page: Page, shown: Callable[[bytes], bytes] | None = None
) -> list[Stanza]:
    """One message for each entry (section 4.2), made of bytes. `shown`: what of a body the asker may see."""
    head = f"<result xmlns='{MAM_NS}'" + (f" queryid='{quoted(query.id)}'" if query.id else "")
    found = []
    for entry in reversed(page.entries) if query.flip else page.entries:
        opening = (
            f"{head} id='{entry.id}'><forwarded xmlns='{FORWARD_NS}'>"
            f"<delay xmlns='{DELAY_NS}' stamp='{stamp(entry.id)}'/>"
        )
        body = entry.body if shown is None else shown(entry.body)
        inside = b"%s%s</forwarded></result>" % (opening.encode(), embedded(body))
        found.append(Stanza(Kind.MESSAGE, "normal", to, owner, "", inside, (RESULT_TAG,)))
    return found


def fin(page: Page) -> Element:
    """The result that ends a query (section 4.3)."""
    entries = page.entries
    first, last = (str(entries[0].id), str(entries[-1].id)) if entries else ("", "")
    attributes = {"complete": "true"} if page.complete else {}
    return E("fin", MAM_NS, attributes, rsm.answer(first, last, page.count))


async def metadata(log: Log, owner: str) -> Written:
    """Its first and its last entry (section 4.4)."""
    lowest, highest = await log.ends(owner, NOT_HIDDEN)
    ends = (("start", lowest), ("end", highest)) if lowest else ()
    inside = "".join(f"<{name} id='{id}' timestamp='{stamp(id)}'/>" for name, id in ends)
    return Written(f"{MAM_NS}|metadata", f"<metadata xmlns='{MAM_NS}'>{inside}</metadata>".encode())
