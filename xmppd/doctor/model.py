"""Rows, verdicts, levels, exit status. No I/O."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple


class Result(StrEnum):
    PASS = "pass"
    FAIL = "fail"
    SKIP = "skip"


class Level(StrEnum):
    """`NOTE`: good to have, named by no level of XEP-0479."""

    CORE = "core"
    ADVANCED = "advanced"
    NOTE = "note"


class Category(StrEnum):
    """Of XEP-0479, and `CONNECTION`: what comes before any of it; `SERVERS`: a domain as other servers see it."""

    CONNECTION = "Connection"
    CORE = "Core"
    WEB = "Web"
    IM = "IM"
    MOBILE = "Mobile"
    CALLS = "A/V Calling"
    SERVERS = "Other servers"


SUITES = (Category.CORE, Category.WEB, Category.IM, Category.MOBILE, Category.CALLS)


class Status(IntEnum):
    """How the command ends (cli.common.Exit has the others)."""

    ADVANCED = 0
    WRONG = 2
    NO_SIGN_IN = 3
    CORE = 4
    NOTHING = 5
    INTERRUPTED = 130


class Place(NamedTuple):
    """Where a row counts."""

    category: Category
    level: Level


@dataclass(frozen=True)
class Verdict:
    """What came out, what was seen, and how to mend it where the row's own advice does not fit."""

    result: Result
    found: str = ""
    mend: str = ""


def passed(found: str = "") -> Verdict:
    return Verdict(Result.PASS, found)


def failed(found: str, mend: str = "") -> Verdict:
    return Verdict(Result.FAIL, found, mend)


def skipped(why: str) -> Verdict:
    return Verdict(Result.SKIP, why)


def judged(true: bool, found: str, otherwise: str) -> Verdict:
    return passed(found) if true else failed(otherwise)


Look = Callable[[Any], Awaitable[Verdict]]


@dataclass(frozen=True)
class Check:
    """One row. `tester`: also one of the 25 of the Conversations compliance tester. `before`: needs no sign-in."""

    id: str
    title: str
    places: tuple[Place, ...]
    sources: tuple[str, ...]
    """`XEP-0030`, `RFC 6120`."""
    mend: str
    look: Look
    tester: bool = False
    before: bool = False


@dataclass(frozen=True)
class Row:
    """A check and what came out."""

    check: Check
    verdict: Verdict

    @property
    def result(self) -> Result:
        return self.verdict.result

    @property
    def mend(self) -> str:
        """Advice, for a row that failed."""
        return (self.verdict.mend or self.check.mend) if self.result is Result.FAIL else ""


@dataclass
class Report:
    """The whole run."""

    jid: str
    address: str = ""
    rows: list[Row] = field(default_factory=list)
    signed_in: bool = False
    problem: str = ""
    """Why signing in failed."""
    left_behind: list[str] = field(default_factory=list)
    """What could not be taken away again."""

    @property
    def status(self) -> Status:
        return exit_status(self.rows, self.signed_in)

    def tester(self) -> tuple[int, int]:
        """How many of the Conversations tester's rows pass, of how many."""
        rows = [row for row in self.rows if row.check.tester]
        return sum(row.result is Result.PASS for row in rows), len(rows)


def reached(rows: Iterable[Row], category: Category) -> Level | None:
    """The level of a suite; None: not even core. What cannot be seen does not count against it.

    Every suite but Core itself needs the core level of Core (XEP-0479 section 2.2 and others).
    """
    places = {
        (place, row.result is Result.FAIL)
        for row in rows
        for place in row.check.places
        if place.category in (category, Category.CORE)
    }
    for needed in (Category.CORE, category):
        if (Place(needed, Level.CORE), True) in places:
            return None
    return Level.CORE if (Place(category, Level.ADVANCED), True) in places else Level.ADVANCED


def exit_status(rows: Iterable[Row], signed_in: bool) -> Status:
    """The worst suite decides."""
    if not signed_in:
        return Status.NO_SIGN_IN
    rows = list(rows)
    levels = {reached(rows, category) for category in SUITES}
    if None in levels:
        return Status.NOTHING
    return Status.CORE if Level.CORE in levels else Status.ADVANCED
