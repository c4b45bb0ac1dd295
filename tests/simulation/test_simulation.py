"""A thousand seeds; `make faults` runs ten thousand more."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.simulation.simulation import simulate

SEEDS = 1_000
PART = 50
LAST_LINES = 250


def run(seeds: range) -> Counter[str]:
    """Run them; one that fails is run again, for its trace."""
    facts: Counter[str] = Counter()
    for seed in seeds:
        outcome = simulate(seed)
        if outcome.failure:
            trace = "\n".join(simulate(seed, tracing=True).lines[-LAST_LINES:])
            pytest.fail(f"{trace}\n\n{outcome.failure}\npython -m tests.simulation {seed} --trace", pytrace=False)
        facts.update(outcome.facts)
    return facts


@pytest.mark.parametrize("first", range(1, SEEDS, PART))
def test_seeds(first: int) -> None:
    facts = run(range(first, first + PART))
    assert facts["operations"] > 20 * PART
    assert facts["acknowledged"] > 5 * PART
    assert facts["looks"] > 2 * PART
    assert facts["servers"] > 3 * PART
    assert facts["heard"] > PART


@pytest.mark.trial
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("first", range(SEEDS + 1, 11 * SEEDS, SEEDS))
def test_more_seeds(first: int) -> None:
    run(range(first, first + SEEDS))


def test_a_seed_is_the_same_each_time() -> None:
    assert simulate(62, tracing=True).lines == simulate(62, tracing=True).lines


def test_everything_happens() -> None:
    """Over some seeds, all that the simulation knows to do."""
    lines = [line for seed in range(1, 80) for line in simulate(seed, tracing=True).lines]
    for what in (
        "crashes",
        "stands still",
        "goes on, its clock stood still",
        "is cut off (both)",
        "is cut off (answers)",
        "is stopped",
        "has ended",
        "is over: another server",
        "is refused: the database is in use",
        "which has forgotten 200 changes",
        "may not be applied yet: they are now",
        "is refused (StorageUnavailable",
        "is refused (DataError",
        "what is committed cannot be applied",
        "the store fails",
        "run DeleteOwner",
        "run ForgetOwner",
        "run ForgetEntries",
        "run ForgetRecords",
        "run TrimEntries",
        "run ReplaceEntry",
        "run ClearMap",
        "run InsertSendings",
        "run DeleteSendings",
        "run ForgetSendings",
        "is said again",
        "decides about what",
        "was heard before",
        "is not told of insert: a new primary does not have it",
        "is not told of insert: no answer",
        "is not told of insert: not carried out",
    ):
        assert any(what in line for line in lines), what
