"""The report for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .model import SUITES, Category, Level, Report, Result, Row, reached
from .servers import DomainReport

FORMAT: Final = 1
"""Of the JSON; it changes when a name or a meaning does."""
MARKS: Final = {Result.PASS: "[green]pass[/]", Result.FAIL: "[red]FAIL[/]", Result.SKIP: "[yellow]skip[/]"}
ORDER: Final = (Level.CORE, Level.ADVANCED, Level.NOTE)


def as_json(report: Report) -> dict[str, Any]:
    """docs/howto/doctor.md describes it."""
    passed, of = report.tester()
    return {
        "format": FORMAT,
        "jid": report.jid,
        "address": report.address,
        "signed_in": report.signed_in,
        "problem": report.problem,
        "status": int(report.status),
        "suites": {suite.value: _level(report, suite) for suite in SUITES},
        "tester": {"passed": passed, "of": of},
        "rows": [_row(row) for row in report.rows],
        "left_behind": report.left_behind,
    }


def _row(row: Row) -> dict[str, Any]:
    check = row.check
    return {
        "id": check.id,
        "title": check.title,
        "places": [{"category": place.category.value, "level": place.level.value} for place in check.places],
        "sources": list(check.sources),
        "tester": check.tester,
        "result": row.result.value,
        "found": row.verdict.found,
        "mend": row.mend,
    }


def _level(report: Report, suite: Category) -> str | None:
    """None: not reached, or not known."""
    level = reached(report.rows, suite) if report.signed_in else None
    return None if level is None else level.value


def print_report(report: Report, console: Console) -> None:
    """Where nobody could sign in, only what was seen from outside; where nobody answered, only that."""
    if report.address:
        for category in Category:
            rows = [each for each in _of(report, category) if report.signed_in or each[1].result is not Result.SKIP]
            if rows:
                console.print(_table(category, rows))
        _print_mending(report.rows, console)
    _print_summary(report, console)


def domain_as_json(report: DomainReport) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "domain": report.domain,
        "reached": report.reached,
        "status": int(report.status),
        "rows": [_row(row) for row in report.rows],
    }


def print_domain(report: DomainReport, console: Console) -> None:
    console.print(_table(Category.SERVERS, [(Level.NOTE, row) for row in report.rows]))
    _print_mending(report.rows, console)
    shown = "can be reached by other servers" if report.reached else "[red]cannot be reached by other servers[/]"
    console.print(f"\n[bold]{escape(report.domain)}[/] {shown}", highlight=False)


def _of(report: Report, category: Category) -> Iterator[tuple[Level, Row]]:
    """The rows of a category, by level."""
    for level in ORDER:
        for row in report.rows:
            if (category, level) in row.check.places:
                yield level, row


def _table(category: Category, rows: list[tuple[Level, Row]]) -> Table:
    table = Table(title=category.value, title_justify="left", title_style="bold", expand=False)
    for column in ("", "Level", "What", "Where", "Found"):
        table.add_column(column, overflow="fold")
    for level, row in rows:
        shown = "" if level is Level.NOTE else level.value
        sources = ", ".join(row.check.sources)
        table.add_row(MARKS[row.result], shown, escape(row.check.title), sources, escape(row.verdict.found))
    return table


def _print_mending(rows: list[Row], console: Console) -> None:
    failures = [row for row in rows if row.result is Result.FAIL and row.mend]
    if failures:
        console.print("\n[bold]How to mend it[/]")
    for row in failures:
        console.print(f"  [bold]{escape(row.check.title)}:[/] {escape(row.mend)}", highlight=False)


def _advice(report: Report) -> str:
    """What may help whoever could not sign in."""
    if not report.address:
        return "No server answers there. Does it run? --host and --port say where it is, if DNS does not."
    if "certificate" in report.problem.lower():
        return "--ca-file FILE trusts a certificate that is signed by itself; --insecure trusts any."
    return "Is the password right? The log of the server may say more."


def _print_summary(report: Report, console: Console) -> None:
    console.print(f"\n[bold]{escape(report.jid)}[/] at {escape(report.address or 'no address')}", highlight=False)
    if not report.signed_in:
        console.print(f"[red]Could not sign in:[/] {escape(report.problem)}", highlight=False)
        console.print(_advice(report), highlight=False)
    else:
        levels = " · ".join(f"{suite.value}: {_level(report, suite) or 'not reached'}" for suite in SUITES)
        console.print(f"XEP-0479 — {levels}", highlight=False)
        passed, of = report.tester()
        console.print(f"Rows of the Conversations compliance tester: {passed} of {of} pass", highlight=False)
    for what in report.left_behind:
        console.print(f"[red]Left behind on the server:[/] {escape(what)}", highlight=False)
