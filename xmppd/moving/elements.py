"""What the readers of other servers' data share: messages, nodes and their items as elements of XEP-0227."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from ..contracts.moving import ARCHIVE_NS, PIE_NS, PIECE
from ..xep.elements import DELAY_NS, stamp
from ..xep.mam import FORWARD_NS, MAM_NS
from ..xml import E, Element, clean

PUBSUB: Final = "http://jabber.org/protocol/pubsub"
ADMIN_NS: Final = "http://jabber.org/protocol/muc#admin"
LATEST: Final = 100_000_000_000
"""Seconds since 1970: no message is of a later time, which no date can show."""
BROKEN: Final = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What reading a record raises that is not as it must be. It costs that record, and is told."""


@dataclass(frozen=True, slots=True)
class Item:
    """Of a list: an archive, offline messages, the items of a node. `at`: microseconds since 1970 UTC."""

    key: str
    at: int
    by: str
    element: Element


def node_items(name: str, items: Iterator[Item]) -> Iterator[Element]:
    for some in _pieces(items):
        made = E("items", PUBSUB, {"node": clean(name)})
        for item in some:
            attributes = {"id": clean(item.key)}
            if item.by:
                attributes["publisher"] = clean(item.by)
            made.append(E("item", PUBSUB, attributes, item.element))
        yield E("pubsub", PUBSUB, {}, made)


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
