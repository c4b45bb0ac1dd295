"""Durations and sizes: what people write, and that it reads back."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmppd.config import Duration, Size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5 minutes", 300),
        ("90s", 90),
        ("1 hour", 3600),
        ("1h 30min", 5400),
        ("1h30min", 5400),
        ("1.5 hours", 5400),
        ("250 ms", 0.25),
        ("2 weeks", 1_209_600),
        ("1 Day", 86_400),
        ("1 year", 31_536_000),
        (" 7 ", 7),
        ("0", 0),
        (0.5, 0.5),
    ],
)
def test_durations(text: str | float, seconds: float) -> None:
    assert Duration(text) == seconds
    assert isinstance(Duration(text), float)


@pytest.mark.parametrize(
    "text",
    ["", "soon", "5 m", "5 months", "-5 s", "5 minutes ago", "1h 30", "1e3", "nan", "101 years", "٣ s", "5..1 s"],
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        Duration(text)


@pytest.mark.parametrize("number", [-1.0, float("nan"), float("inf"), 1e300])
def test_numbers_that_are_no_duration(number: float) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        Duration(number)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("10 MiB", 10_485_760),
        ("64 kB", 64_000),
        ("64KiB", 65_536),
        ("1.5 GiB", 1_610_612_736),
        ("1 byte", 1),
        ("8192", 8192),
        (8192, 8192),
        ("2 TB", 2 * 10**12),
    ],
)
def test_sizes(text: str | int, count: int) -> None:
    assert Size(text) == count
    assert isinstance(Size(text), int)


@pytest.mark.parametrize("text", ["", "big", "10 M", "-1", "0.5 bytes", "1.0001 kB", "10 MiB 5 kB", "9" * 30, "1e3"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        Size(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Duration(300), "5 minutes"),
        (Duration(90), "90 seconds"),
        (Duration(1), "1 second"),
        (Duration(0), "0 seconds"),
        (Duration(0.25), "250 ms"),
        (Duration(604_800), "1 week"),
        (Size(262_144), "256 KiB"),
        (Size(64_000), "64 kB"),
        (Size(1), "1 byte"),
        (Size(8191), "8191 bytes"),
        (Size(0), "0 bytes"),
    ],
)
def test_written(value: Duration | Size, text: str) -> None:
    assert str(value) == text
    assert f"{value}" == text
    assert text in repr(value)


@given(st.floats(min_value=0, max_value=3e9))
def test_a_duration_reads_back(seconds: float) -> None:
    # Nine decimals are kept: a nanosecond.
    assert Duration(str(Duration(round(seconds, 9)))) == pytest.approx(round(seconds, 9), abs=1e-9, rel=1e-15)


@given(st.integers(min_value=0, max_value=(1 << 63) - 1))
def test_a_size_reads_back(count: int) -> None:
    assert Size(str(Size(count))) == count


def test_they_are_copied_and_pickled() -> None:
    for value in (Duration("5 minutes"), Size("1 KiB")):
        assert type(copy.deepcopy(value)) is type(value)
        assert pickle.loads(pickle.dumps(value)) == value
