"""python -m tests.simulation SEED [--trace]; or many: --seeds 10000 [--from 1]."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.simulation.simulation import simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", type=int, nargs="?", default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--trace", action="store_true", help="show what happened, step by step")
    asked = parser.parse_args()
    began, facts, broken = time.monotonic(), Counter[str](), []
    for seed in range(asked.seed, asked.seed + asked.seeds):
        outcome = simulate(seed, asked.trace)
        facts.update(outcome.facts)
        if asked.trace:
            print("\n".join(outcome.lines))
        if outcome.failure:
            broken.append(seed)
            print(outcome.failure, flush=True)
    seconds = time.monotonic() - began
    print(f"{asked.seeds} seeds in {seconds:.1f} s ({seconds / asked.seeds * 1000:.0f} ms each), {len(broken)} broken")
    print(", ".join(f"{count:,} {name}" for name, count in facts.items()))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
