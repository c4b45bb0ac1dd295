"""make faults: many kills, in rounds with a fresh store each, and the totals.

With --mongodb the store is a server of MongoDB's protocol, and other processes take over from those that are paused,
alive, or hear nothing from the database.
"""

from __future__ import annotations

import argparse
import pickle
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from tests.mongo_server import Unavailable, running

from . import two_domains
from .checker import Report, check
from .ledger import Ledger
from .trial import Plan, run

ROUND = 50
"""Kills of one round: the ledger of a round is kept in memory."""
TAKEN = 12
"""The same with a database server."""
EXTRAS = ("pauses", "takeovers", "deaf", "stills")
"""Fields of a plan that are shared out to the rounds."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    add = parser.add_argument
    add("--kills", type=int, default=1000)
    add("--seed", type=int, default=1)
    add("--tls", default="none", choices=("none", "direct", "starttls"))
    add("--stops", type=float, default=0.1, help="how many of the ends of the server are SIGTERM")
    add("--calm", type=float, nargs=2, default=(0.2, 1.2), metavar=("LOW", "HIGH"), help="seconds between two ends")
    add("--jumps", action="store_true", help="set the server's clock forward and back; no SIGTERM")
    add("--mongodb", action="store_true", help="on a server of MongoDB's protocol, which is started")
    add("--pauses", type=int, default=0, help="with --mongodb: so often another process takes over from a paused one")
    add("--takeovers", type=int, default=0, help="… from one that lives")
    add("--deaf", type=int, default=0, help="… from one that hears no answers of the database")
    add("--stills", type=int, default=0, help="so often a process is paused and goes on")
    add("--pause", type=float, nargs=2, default=(5.0, 30.0), metavar=("LOW", "HIGH"), help="seconds of a pause")
    add("--pace", type=float, help="seconds between the bursts of a client; default: 0.06, with --mongodb 0.4")
    add("--looks", type=float, default=0.1, help="how often the store is looked at before the next start")
    add("--domains", action="store_true", help="two servers that talk to each other, killed in turn")
    add("--build", default="", help="a broken build of tests/faults/broken.py")
    add("--keep", type=Path, help="a folder for the stores, logs and ledgers of all rounds")
    return parser


def _plans(asked: argparse.Namespace, uri: str) -> Iterator[Plan]:
    """One for each round; what is to be done besides the kills is shared out evenly."""
    rounds = max(1, -(-asked.kills // (TAKEN if asked.mongodb else ROUND)))

    def share(whole: int, number: int) -> int:
        return whole * (number + 1) // rounds - whole * number // rounds

    for number in range(rounds):
        plan = Plan(share(asked.kills, number), tuple(asked.calm), asked.seed + number, asked.build, asked.tls)
        pace = asked.pace or (0.4 if asked.mongodb else plan.pace)
        plan = replace(plan, stops=asked.stops, pause=tuple(asked.pause), pace=pace, looks=asked.looks)
        plan = replace(plan, **{name: share(getattr(asked, name), number) for name in EXTRAS})
        if asked.jumps:
            plan = replace(plan, build="jumping-clock", jumps=True, stops=0.0)
        if asked.mongodb:
            plan = replace(plan, storage=f"{uri.rstrip('/')}/faults-{plan.seed}-{int(time.time())}")
        yield plan


def main() -> int:
    parser = _parser()
    asked = parser.parse_args()
    if not asked.mongodb and any(getattr(asked, name) for name in EXTRAS):
        parser.error("one process takes over from another with --mongodb only")
    with ExitStack() as stack:
        uri = ""
        if asked.mongodb:
            try:
                uri = stack.enter_context(running())
            except Unavailable as why:
                print(f"NOTHING WAS TRIED: no server of MongoDB's protocol: {why}")
                return 1
        return _run(asked, uri)


def _run(asked: argparse.Namespace, uri: str) -> int:
    total, begun = Report(), time.monotonic()
    ends = asked.kills + sum(getattr(asked, name) for name in EXTRAS)
    done, seed = 0, asked.seed
    for plan in _plans(asked, uri):
        if asked.domains:
            plan = replace(plan, pace=asked.pace or 0.08)

        def progress(ledger: Ledger, done: int = done) -> None:
            now = done + _done(ledger)
            seconds = time.monotonic() - begun
            left = seconds / now * (ends - now) if now else 0.0
            bar = "#" * (now * 30 // ends)
            line = f"[{bar:<30}] {now}/{ends} ends, {len(ledger.messages):,} messages in this round, "
            sys.stderr.write(f"\r{line}{left / 60:.0f} min left, {sum(total.totals.values())} broken  ")
            sys.stderr.flush()

        with tempfile.TemporaryDirectory(prefix="xmppd-faults-") as folder:
            place, seed = (asked.keep or Path(folder)) / str(plan.seed), plan.seed
            begin = two_domains.run if asked.domains else run
            ledger = begin(place, replace(plan, progress=progress))
            if asked.keep:
                (place / "ledger.pickle").write_bytes(pickle.dumps(ledger))
            report = check(ledger)
        if not report.clean:
            sys.stderr.write(f"\nseed {seed}:\n{report.text()}\n")
        total.add(report)
        done += _done(ledger)
    minutes = (time.monotonic() - begun) / 60
    print(f"\n{total.facts['kills']} kills in {minutes:.0f} min, seeds {asked.seed} to {seed}:\n{total.text()}")
    return 0 if total.clean else 1


def _done(ledger: Ledger) -> int:
    """Without those of SIGTERM, of which nobody knows how many will come."""
    return sum(end != "stop" for end in ledger.ends) + len(ledger.stills)


if __name__ == "__main__":
    sys.exit(main())
