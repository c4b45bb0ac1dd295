"""A run: look from outside, sign in, take the rows one by one, take away what was made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .checks import CHECKS
from .client import NoSignIn, Refused
from .model import Check, Report, Row, Verdict, failed, skipped
from .probe import ProbeError
from .visit import Options, Visit, reached

CLEANUP_TIME = 30.0
"""Seconds for deleting what was made, at the end."""


async def examine(
    options: Options, started: Callable[[Check], None] = lambda check: None, report: Report | None = None
) -> Report:
    """Never leaves anything behind without saying so. `started`: called with each check before it runs.

    A cancelled run (CancelledError goes on to the caller) deletes what it made, too, and fills in `report`.
    """
    visit = Visit(options)
    report = report or Report(options.bare)
    try:
        await _enter(visit, report)
        for check in CHECKS.values():
            started(check)
            report.rows.append(Row(check, await _row(visit, check, report)))
    finally:
        report.left_behind = await _tidy(visit)
    return report


async def _enter(visit: Visit, report: Report) -> None:
    try:
        report.address = str((await visit.once(reached)).address)
        await visit.arrive()
        report.signed_in = True
    except (ProbeError, NoSignIn) as error:
        report.problem = str(error)


async def _tidy(visit: Visit) -> list[str]:
    try:
        async with asyncio.timeout(CLEANUP_TIME):
            left = await visit.clean_up()
            await visit.depart()
            return left
    except TimeoutError:
        return visit.cleanup.remaining


async def _row(visit: Visit, check: Check, report: Report) -> Verdict:
    """What one check says; no answer of a server makes the run end."""
    if not check.before and not visit.connected:
        if not report.signed_in:
            return skipped("not signed in")
        try:
            await visit.arrive()  # an earlier check made the server hang up
        except NoSignIn as error:
            return skipped(f"the connection was lost: {error}")
    try:
        return await check.look(visit)
    except Refused as refused:
        return failed(f"refused: {refused}")
    except TimeoutError:
        return failed(f"no answer within {visit.timeout:g} s")
    except (ConnectionError, NoSignIn, ProbeError) as error:
        return failed(str(error))
