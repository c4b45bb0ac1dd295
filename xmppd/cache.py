"""Memories of what can be found out again, bounded in number and in bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

BESIDE = 200
"""What an entry is taken to need beside its content, bytes."""
_PLAIN = frozenset((int, float, bool, type(None)))


def content(value: object) -> int:
    """Roughly the bytes of the texts and lists in a value: of texts, collections, records."""
    kind = type(value)
    if kind is str or kind is bytes:
        return len(value)  # type: ignore[arg-type]
    if kind in _PLAIN:  # before the questions that take long: records are weighed on the path of messages
        return 8
    if isinstance(value, Mapping):
        return sum(64 + content(key) + content(each) for key, each in value.items())
    if isinstance(value, (tuple, list, frozenset, set)):
        plain = not value or type(next(iter(value))) in _PLAIN
        return 8 * len(value) if plain else sum(48 + content(each) for each in value)
    fields: Iterable[str] = getattr(value, "__dataclass_fields__", ()) or getattr(value, "__struct_fields__", ())
    return 8 + sum(content(getattr(value, name)) for name in fields)


def weight(key: object, value: object) -> int:
    """Roughly the bytes that an entry needs."""
    return BESIDE + content(key) + content(value)


class Cache(Generic[K, V]):
    """At most `most` entries of together at most `size` bytes: what was not used for the longest time goes first. An
    entry that is larger than all is not kept. `used`: bytes now. A value that changes is put in again."""

    __slots__ = ("_items", "_weigh", "_weights", "most", "size", "used")

    def __init__(self, most: int, size: int, weigh: Callable[[K, V], int] = weight) -> None:
        self.most = most
        self.size = size
        self.used = 0
        self._items: OrderedDict[K, V] = OrderedDict()
        self._weights: dict[K, int] = {}
        self._weigh = weigh

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[K]:
        return iter(list(self._items))

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def get(self, key: K) -> V | None:
        """Counts as a use."""
        found = self._items.get(key)
        if found is not None:
            self._items.move_to_end(key)
        return found

    def put(self, key: K, value: V) -> list[K]:
        """The keys that went to make room, this one among them if it is too large."""
        self.pop(key)
        self._items[key] = value
        weight = self._weights[key] = self._weigh(key, value)
        self.used += weight
        gone: list[K] = []
        while self._items and (len(self._items) > self.most or self.used > self.size):
            old, _ = self._items.popitem(last=False)
            self.used -= self._weights.pop(old)
            gone.append(old)
        return gone

    def pop(self, key: K) -> V | None:
        self.used -= self._weights.pop(key, 0)
        return self._items.pop(key, None)

    def clear(self) -> None:
        self._items.clear()
        self._weights.clear()
        self.used = 0

    def items(self) -> list[tuple[K, V]]:
        return list(self._items.items())

    def values(self) -> list[Any]:
        return list(self._items.values())
