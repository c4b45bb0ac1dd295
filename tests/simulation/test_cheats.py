"""What the journal relies on: without it, the simulation finds that something is lost, doubled or comes back."""

from __future__ import annotations

import pytest

from tests.simulation.cheats import CHEATS
from tests.simulation.simulation import simulate

ENOUGH = 400
"""Seeds."""


SHOWN = {
    "low_free_too_soon",
    "not_inserted_again",
    "seals_its_own_journal",
    "stale_table_believed",
    "tidied_by_a_new_look",
}
"""Step by step, in test_stage.py and test_sendings.py: by chance they need thousands of seeds."""


LOOK_FIRST = {
    "believes_an_older_journal": 89,
    "clear_with_the_same_version": 40,
    "gaps_do_not_matter": 50,
    "heard_does_not_wait": 27,
    "heard_leaves_no_place": 85,
    "heard_on_its_way_stays": 252,
    "other_content_at_a_retry": 76,
    "places_not_kept": 23,
    "seal_over_what_is_there": 89,
    "told_after_the_end": 844,
    "trim_forgets_the_young": 27,
}
"""Where they were found last: it saves time. After a change it may be another seed."""


@pytest.mark.parametrize("name", sorted(CHEATS.keys() - SHOWN))
def test_is_found(name: str) -> None:
    for seed in (LOOK_FIRST.get(name, 1), *range(1, ENOUGH)):
        with CHEATS[name]():
            if simulate(seed).failure:
                return
    pytest.fail(f"{name} went {ENOUGH} seeds without being found")
