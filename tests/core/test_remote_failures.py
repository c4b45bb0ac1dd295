"""What is remembered of failures with other servers: the last of each pair, bounded, by direction."""

from __future__ import annotations

from tests.harness import FakeClock
from xmppd.streams.remote_failures import IN, KEPT, LONGEST, OUT, Failures


def test_the_last_one_of_a_pair_counts() -> None:
    clock = FakeClock(1000.0)
    failures = Failures(clock)
    failures.tell(OUT, "a.test", "b.test", "first")
    failures.tell(OUT, "a.test", "b.test", "x" * 10_000)
    failures.tell(IN, "a.test", "b.test", "theirs")
    last, theirs = failures.last(OUT, "a.test", "b.test"), failures.last(IN, "a.test", "b.test")
    assert last is not None and theirs is not None
    assert (last.at, len(last.text), theirs.text) == (clock.now(), LONGEST, "theirs")
    assert failures.pairs() == {("a.test", "b.test")} and failures.last(IN, "b.test", "a.test") is None


def test_names_from_outside_push_out_nothing_of_ours() -> None:
    failures = Failures(FakeClock(1000.0))
    failures.tell(OUT, "a.test", "b.test", "ours")
    for number in range(2 * KEPT):
        failures.tell(IN, "a.test", f"{number}.test", "it says so")
    assert len(failures.pairs()) <= KEPT + 1
    assert failures.last(OUT, "a.test", "b.test") is not None and failures.last(IN, "a.test", "0.test") is None


def test_they_are_counted_by_reason() -> None:
    failures = Failures(FakeClock(1000.0))
    for reason in ("dns", "tls", "dns"):
        failures.count(OUT, reason)
    failures.count(IN, "key")
    assert failures.counts == {(OUT, "dns"): 2, (OUT, "tls"): 1, (IN, "key"): 1}
