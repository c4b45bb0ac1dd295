"""XEP-0059: Result Set Management. Which page of a list is asked for, and what is said about the one that is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..errors import BadRequest, ItemNotFound
from ..xml import E, Element, find, text_of
from .numbers import unsigned

NS: Final = "http://jabber.org/protocol/rsm"


@dataclass(frozen=True, slots=True)
class Asked:
    """`max`: the most items of the page, None for as many as the answerer likes, 0 for the count only.

    `after`, `before`: ids of items next to the page; `before` "" asks for the last page (section 2.5).
    `index`: the place of the page's first item.
    """

    max: int | None = None
    after: str | None = None
    before: str | None = None
    index: int | None = None

    @property
    def backwards(self) -> bool:
        """The page is the end of what is left, not its beginning (section 2.3)."""
        return self.before is not None


def read(parent: Element) -> Asked:
    """The <set/> below `parent`; without one, everything from the beginning. Raises BadRequest."""
    found = find(parent, NS, "set")
    if found is None:
        return Asked()
    after = find(found, NS, "after")
    before = find(found, NS, "before")
    return Asked(
        max=_number(found, "max"),
        after=text_of(after) if after is not None and text_of(after) else None,
        before=text_of(before) if before is not None else None,
        index=_number(found, "index"),
    )


def _number(found: Element, name: str) -> int | None:
    """An xs:unsignedInt (section 7); larger ones stand for the largest."""
    child = find(found, NS, name)
    if child is None:
        return None
    text = text_of(child).strip()
    number = unsigned(text, 0xFFFFFFFF)
    if number is None:
        raise BadRequest(f"{name} is a number")
    return number


def answer(first: str = "", last: str = "", count: int | None = None, index: int | None = None) -> Element:
    """The <set/> of a page: ids of its first and last item ("" for an empty page), the number of all items, the
    place of the first (section 2.2)."""
    page = E("set", NS)
    if first:
        page.append(E("first", NS, {"index": str(index)} if index is not None else {}, first))
        page.append(E("last", NS, {}, last))
    if count is not None:
        page.append(E("count", NS, {}, str(count)))
    return page


def cut(ids: Sequence[str], asked: Asked, most: int) -> slice:
    """Where the page lies in a list that is in memory, `most` items at the most.

    Raises ItemNotFound for an id that is not there (section 2.4).
    """
    low, high = 0, len(ids)
    try:
        if asked.after is not None:
            low = ids.index(asked.after) + 1
        if asked.before:
            high = ids.index(asked.before)
    except ValueError:
        raise ItemNotFound("no such item") from None
    if asked.index is not None:
        low = max(low, min(asked.index, high))
    size = min(most, most if asked.max is None else asked.max, max(high - low, 0))
    return slice(high - size, high) if asked.backwards else slice(low, low + size)
