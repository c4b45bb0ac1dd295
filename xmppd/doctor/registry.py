"""How a row is declared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .model import Category, Check, Level, Look, Place

CHECKS: Final[dict[str, Check]] = {}
"""Of an account's server, by id, in the order in which they are declared (and run)."""
DOMAIN_CHECKS: Final[dict[str, Check]] = {}
"""Of a domain as other servers see it."""


def at(category: Category, level: Level = Level.NOTE) -> Place:
    return Place(category, level)


def check(
    id: str,
    title: str,
    *places: Place,
    sources: str,
    mend: str,
    tester: bool = False,
    before: bool = False,
    among: dict[str, Check] = CHECKS,
) -> Callable[[Look], Look]:
    """The coroutine function below is a row. `sources`: `XEP-0030, RFC 6120`."""

    def declare(look: Look) -> Look:
        if id in among:
            raise ValueError(f"two rows are called {id}")
        named = tuple(each.strip() for each in sources.split(","))
        among[id] = Check(id, title, places, named, mend, look, tester, before)
        return look

    return declare
