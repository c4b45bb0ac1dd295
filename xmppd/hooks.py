"""Where plugins meet the core: typed hooks, of three shapes that say what a handler may do.

Order is a named `Stage`, never a number; within a stage it is the order in which plugins start.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

from .stanza import Kind, Shape, Stanza

E = TypeVar("E")
T = TypeVar("T")
RecipientsOf = Callable[[Any, Stanza], Collection[str] | None]


class Stage(enum.IntEnum):
    """When a handler of a chain runs. Refusals come first, so nothing is written for what is refused."""

    GUARD = 0
    """May it go on at all?"""
    BLOCK = 1
    """Does its recipient not want it?"""
    STAMP = 2
    """What the server adds to it or takes away."""
    ARCHIVE = 3
    """What is written for it; nothing refuses any more."""


class Verdict(enum.Enum):
    """How a handler of a chain ends it without a refusal."""

    DROP = 1
    """The stanza ends here and nobody is told."""
    DONE = 2
    """The handler has taken care of it."""


class Hook:
    """A place where handlers of plugins run. `plain`: handlers must be plain functions (the hot path).

    Hooks on the path of a stanza may be narrowed: `on(…, kinds, types, tags)`. A handler then runs for stanzas of these
    kinds and types, with a child that has one of these tags. That is looked up once for all stanzas of a shape, and
    once for all recipients of a fan-out; so a handler that has nothing to do costs nothing. What counts is the stanza
    as it is when the hook begins, not what a handler of the same chain has made of it.

    Two more say for which recipients a handler has something to do. What goes to many accounts at once is not shown to
    it for the others; what goes to one account may be, so it still looks.
    `if_stored_in`, the name of a cached map: accounts that have a record in it.
    `recipients_of`, a method that is given the stanza: the accounts whose bare JIDs it returns; None: all.
    """

    def __init__(self, name: str, plain: bool = False) -> None:
        self.name = name
        self.plain = plain

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class Chain(Hook, Generic[E]):
    """Handlers decide: None goes on, a Verdict ends, a StanzaError refuses. A handler that crashes refuses."""


class Notify(Hook, Generic[E]):
    """Handlers are told. One that crashes is logged and the next one runs."""


class Collect(Hook, Generic[E, T]):
    """Handlers give; all they give is put together in order."""


@dataclass(frozen=True, slots=True)
class Registration:
    hook: Hook
    stage: Stage
    kinds: tuple[Kind, ...]
    types: frozenset[str] = frozenset()
    """Empty: all."""
    tags: frozenset[str] = frozenset()
    """Empty: all."""
    if_stored_in: str = ""
    """Empty: all accounts."""
    recipients_of: RecipientsOf | None = None

    def concerns(self, shape: Shape) -> bool:
        """Whether the handler runs for stanzas of that shape."""
        return (
            shape.kind in self.kinds
            and (not self.types or shape.type in self.types)
            and (not self.tags or not self.tags.isdisjoint(shape.tags))
        )


ALL_KINDS = (Kind.MESSAGE, Kind.PRESENCE, Kind.IQ)


@overload
def on(
    hook: Chain[E],
    stage: Stage = ...,
    kinds: tuple[Kind, ...] = ...,
    *,
    types: Collection[str] = ...,
    tags: Collection[str] = ...,
    if_stored_in: str = ...,
    recipients_of: RecipientsOf | None = ...,
) -> Callable[[Callable[[Any, E], Verdict | None]], Callable[[Any, E], Verdict | None]]: ...


@overload
def on(
    hook: Notify[E],
    stage: Stage = ...,
    kinds: tuple[Kind, ...] = ...,
    *,
    types: Collection[str] = ...,
    tags: Collection[str] = ...,
    if_stored_in: str = ...,
    recipients_of: RecipientsOf | None = ...,
) -> Callable[[Callable[[Any, E], Awaitable[None] | None]], Callable[[Any, E], Awaitable[None] | None]]: ...


@overload
def on(
    hook: Collect[E, T], stage: Stage = ..., kinds: tuple[Kind, ...] = ...
) -> Callable[
    [Callable[[Any, E], Iterable[T] | Awaitable[Iterable[T]]]],
    Callable[[Any, E], Iterable[T] | Awaitable[Iterable[T]]],
]: ...


def on(
    hook: Hook,
    stage: Stage = Stage.GUARD,
    kinds: tuple[Kind, ...] = ALL_KINDS,
    *,
    types: Collection[str] = (),
    tags: Collection[str] = (),
    if_stored_in: str = "",
    recipients_of: RecipientsOf | None = None,
) -> Any:
    """Declare a method of a plugin as a handler. The other arguments narrow hooks on the path of a stanza (see `Hook`):
    `types` are stanza types ("chat", "" for an available presence), `tags` "namespace|name"."""

    def mark(method: Callable[..., Any]) -> Callable[..., Any]:
        found: list[Registration] = method.__dict__.setdefault("__xmppd_on__", [])
        found.append(Registration(hook, stage, kinds, frozenset(types), frozenset(tags), if_stored_in, recipients_of))
        return method

    return mark
