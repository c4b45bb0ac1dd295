"""Where plugins meet the core: typed hooks, of three shapes that say what a handler may do.

Order is a named `Stage`, never a number; within a stage it is the order in which plugins start.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

from .stanza import Kind

E = TypeVar("E")
T = TypeVar("T")


class Stage(enum.IntEnum):
    """When a handler of a chain runs. Refusals come first, so nothing is written for what is refused."""

    GUARD = 0
    BLOCK = 1
    STAMP = 2
    ARCHIVE = 3


class Verdict(enum.Enum):
    DROP = 1
    """The stanza ends here and nobody is told."""
    DONE = 2
    """The handler has taken care of it."""


class Hook:
    """A name and a promise. `plain`: handlers must be plain functions (the hot path)."""

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


ALL_KINDS = (Kind.MESSAGE, Kind.PRESENCE, Kind.IQ)


@overload
def on(
    hook: Chain[E], stage: Stage = Stage.GUARD, kinds: tuple[Kind, ...] = ALL_KINDS
) -> Callable[[Callable[[Any, E], Verdict | None]], Callable[[Any, E], Verdict | None]]: ...


@overload
def on(
    hook: Notify[E], stage: Stage = Stage.GUARD, kinds: tuple[Kind, ...] = ALL_KINDS
) -> Callable[[Callable[[Any, E], Awaitable[None] | None]], Callable[[Any, E], Awaitable[None] | None]]: ...


@overload
def on(
    hook: Collect[E, T], stage: Stage = Stage.GUARD, kinds: tuple[Kind, ...] = ALL_KINDS
) -> Callable[
    [Callable[[Any, E], Iterable[T] | Awaitable[Iterable[T]]]],
    Callable[[Any, E], Iterable[T] | Awaitable[Iterable[T]]],
]: ...


def on(hook: Hook, stage: Stage = Stage.GUARD, kinds: tuple[Kind, ...] = ALL_KINDS) -> Any:
    """Declare a method of a plugin as a handler. `kinds` narrows hooks on the path of a stanza."""

    def mark(method: Callable[..., Any]) -> Callable[..., Any]:
        found: list[Registration] = method.__dict__.setdefault("__xmppd_on__", [])
        found.append(Registration(hook, stage, kinds))
        return method

    return mark
