"""make faults: many kills, in rounds with a fresh store each, and the totals."""

from __future__ import annotations

import argparse
import pickle
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from .checker import Report, check
from .ledger import Ledger
from .trial import Plan, run

ROUND = 50
"""Kills of one round: the ledger of a round is kept in memory."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tls", default="none", choices=("none", "direct", "starttls"))
    parser.add_argument("--stops", type=float, default=0.1, help="how many of the ends of the server are SIGTERM")
    parser.add_argument(
        "--calm", type=float, nargs=2, default=(0.2, 1.2), metavar=("LOW", "HIGH"), help="seconds between two ends"
    )
    parser.add_argument("--jumps", action="store_true", help="set the server's clock forward and back; no SIGTERM")
    parser.add_argument("--build", default="", help="a broken build of tests/faults/broken.py")
    parser.add_argument("--keep", type=Path, help="a folder for the stores, logs and ledgers of all rounds")
    asked = parser.parse_args()
    total, begun, done, seed = Report(), time.monotonic(), 0, asked.seed
    while done < asked.kills:
        kills = min(ROUND, asked.kills - done)

        def progress(ledger: Ledger, done: int = done) -> None:
            now = done + ledger.ends.count("kill")
            seconds = time.monotonic() - begun
            left = seconds / now * (asked.kills - now) if now else 0.0
            bar = "#" * (now * 30 // asked.kills)
            line = f"[{bar:<30}] {now}/{asked.kills} kills, {len(ledger.messages):,} messages in this round, "
            sys.stderr.write(f"\r{line}{left / 60:.0f} min left, {sum(total.totals.values())} broken  ")
            sys.stderr.flush()

        with tempfile.TemporaryDirectory(prefix="xmppd-faults-") as folder:
            plan = Plan(kills=kills, seed=seed, tls=asked.tls, build=asked.build, stops=asked.stops)
            plan = replace(plan, calm=tuple(asked.calm), progress=progress)
            if asked.jumps:
                plan = replace(plan, build="jumping-clock", jumps=True, stops=0.0)
            place = (asked.keep or Path(folder)) / str(seed)
            ledger = run(place, plan)
            if asked.keep:
                (place / "ledger.pickle").write_bytes(pickle.dumps(ledger))
            report = check(ledger)
        if not report.clean:
            sys.stderr.write(f"\nseed {seed}:\n{report.text()}\n")
        total.add(report)
        done, seed = done + kills, seed + 1
    minutes = (time.monotonic() - begun) / 60
    print(f"\n{done} kills in {minutes:.0f} min, seeds {asked.seed} to {seed - 1}:\n{total.text()}")
    return 0 if total.clean else 1


if __name__ == "__main__":
    sys.exit(main())
