"""The promise under faults: short trials over real processes. `make faults` runs the long one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.checker import Report, check
from tests.faults.trial import Plan, Trial
from tests.faults.two_domains import TwoDomains
from tests.mongo_server import MongoServer

pytestmark = pytest.mark.timeout(600)  # a trial takes what its server's starts take, on whatever machine
KILLS = 30


async def trial(folder: Path, plan: Plan) -> Report:
    report = check(await Trial(folder, plan).run())
    assert report.facts["kills"] >= plan.kills
    least = 10 if plan.storage.startswith("mongodb") else 20  # the databases of the tests are slow
    assert report.facts["acknowledged"] > least * (plan.kills + plan.moves), (
        f"it was a test of nothing:\n{report.text()}"
    )
    return report


@pytest.mark.trial
async def test_thirty_kills(tmp_path: Path) -> None:
    """T49, D01: SIGKILL, SIGTERM, SIGSTOP, cut connections, killed clients; SQLite on disk."""
    report = await trial(tmp_path, Plan(kills=KILLS, seed=198, calm=(0.1, 0.9)))
    assert report.clean, report.text()


async def test_over_tls(tmp_path: Path) -> None:
    report = await trial(tmp_path, Plan(kills=4, seed=5, tls="direct"))
    assert report.clean, report.text()


@pytest.mark.trial
async def test_a_slow_disk_breaks_nothing(tmp_path: Path) -> None:
    """The control of the next test: what they have in common is not what fails."""
    report = await trial(tmp_path, Plan(kills=5, seed=6, build="slow-disk"))
    assert report.clean, report.text()


@pytest.mark.trial
async def test_a_clock_that_jumps(tmp_path: Path) -> None:
    """T53, D09: forward and back by hours: log ids still rise, nothing is hidden behind an id of the future."""
    report = await trial(tmp_path, Plan(kills=6, seed=8, build="jumping-clock", jumps=True, stops=0.0))
    assert report.clean, report.text()
    assert (tmp_path / "clock").exists(), "it never jumped"


@pytest.mark.parametrize(
    ("build", "clauses"),
    [
        ("ack-before-commit", {"lost from archive", "not delivered"}),
        ("delivery-before-commit", {"seen, not in archive"}),
        ("cursor-at-write", {"not delivered"}),
    ],
)
@pytest.mark.trial
async def test_broken_builds_are_found(tmp_path: Path, build: str, clauses: set[str]) -> None:
    """A server that cheats must not pass, and it is told what it did."""
    absences = 1.0 if build == "cursor-at-write" else 0.1
    plan = Plan(kills=6, seed=7, calm=(0.8, 1.2), build=build, stops=0.0, absences=absences)
    report = await trial(tmp_path, plan)
    assert clauses & set(report.totals), report.text()


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    folder = tmp_path / "volume"
    folder.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], check=False, capture_output=True
        ).returncode
    )
    if not mounted:
        pytest.skip("only root can mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.trial
async def test_a_full_disk(tmp_path: Path, volume: Path) -> None:
    """T44, D05."""
    plan = Plan(kills=5, seed=9, storage=f"sqlite:///{volume}/xmppd.db", volume=volume, calm=(1.0, 2.0))
    report = await trial(tmp_path, plan)
    assert report.clean, report.text()
    assert "the store fails" in (tmp_path / "server.log").read_text(), "the disk was never full"


@pytest.mark.trial
@pytest.mark.mongodb
async def test_kills_on_mongodb(tmp_path: Path, mongodb_database: str) -> None:
    """A batch is no transaction there: what a kill has cut in two is completed at the next start."""
    report = await trial(tmp_path, Plan(kills=12, seed=12, storage=mongodb_database, calm=(0.3, 1.0), pace=0.1))
    assert report.clean, report.text()


@pytest.mark.long
@pytest.mark.mongodb
@pytest.mark.timeout(400)
async def test_one_takes_over_from_another(tmp_path: Path, mongodb_database: str) -> None:
    """A process that is paused, alive, or deaf to its database ends, and has released nothing more."""
    plan = Plan(kills=1, seed=21, storage=mongodb_database, calm=(0.5, 1.0), stops=0.0, pace=0.2)
    plan = replace(plan, pauses=1, pause=(3.0, 5.0), takeovers=1, deaf=1, stills=1)
    report = await trial(tmp_path, plan)
    assert report.clean, report.text()
    for name in ("taken over when paused", "taken over alive", "taken over without answers", "went on after a pause"):
        assert report.facts[name] == 1, report.text()


@pytest.mark.long
@pytest.mark.mongodb
@pytest.mark.timeout(600)
async def test_many_take_over(tmp_path: Path, mongodb_database: str) -> None:
    plan = Plan(kills=4, seed=22, storage=mongodb_database, calm=(0.3, 1.5), pace=0.2)
    report = await trial(tmp_path, replace(plan, pauses=4, pause=(5.0, 15.0), takeovers=4, deaf=3, stills=2))
    assert report.clean, report.text()


@pytest.mark.timeout(300)
async def test_two_domains(tmp_path: Path) -> None:
    """Two servers that talk to each other, killed in turn: what one acknowledged is in the other's archive, once."""
    ledger = await TwoDomains(tmp_path, Plan(kills=4, seed=5, stops=0.2, pace=0.1)).run()
    report = check(ledger)
    assert report.clean, report.text()
    assert report.facts["kills"] == 4 and report.facts["acknowledged"] > 500, report.text()


@pytest.mark.parametrize(
    ("build", "clauses"),
    [
        pytest.param("slow-disk", set(), id="the control: only slow"),
        ("no-seal", {"lost from archive"}),
        ("seal-believed", {"lost from archive"}),
        pytest.param(
            "duplicate-is-success",
            {"lost from archive"},
            marks=pytest.mark.xfail(reason="it applies most of what it wrongly acknowledges: seldom found so"),
        ),
        ("over-ignored", {"lost from archive", "outlived its successor"}),
    ],
)
@pytest.mark.long
@pytest.mark.mongodb
@pytest.mark.timeout(400)
async def test_who_cheats_with_the_journal_is_found(
    tmp_path: Path, mongodb_database: str, build: str, clauses: set[str]
) -> None:
    plan = Plan(kills=0, seed=23, storage=mongodb_database, calm=(0.5, 1.0), stops=0.0, build=build, pace=0.2)
    report = await trial(tmp_path, replace(plan, takeovers=2 if build == "no-seal" else 3, slow_seals=1.0))
    assert clauses <= set(report.totals), report.text()
    assert clauses or report.clean, report.text()


@pytest.mark.trial
@pytest.mark.mongodb
async def test_a_database_that_stops_and_starts(
    tmp_path: Path, mongodb_server: MongoServer, mongodb_database: str
) -> None:
    """D08: nothing is acknowledged while it is away, and nothing is lost."""
    plan = Plan(kills=4, seed=11, storage=mongodb_database, mongo=mongodb_server, calm=(1.0, 2.0), pace=0.2)
    report = await trial(tmp_path, plan)
    assert report.clean, report.text()
    text = (tmp_path / "server.log").read_text()  # which of the two sees it first depends on the moment
    assert "the store fails" in text or "what is committed cannot be applied" in text, "the database was never missed"
