"""Caches that are bounded in number and in bytes."""

from __future__ import annotations

from dataclasses import dataclass

from xmppd.cache import BESIDE, Cache, content


@dataclass(frozen=True, slots=True)
class Thing:
    name: str
    parts: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()


def test_what_was_not_used_for_the_longest_time_goes_first() -> None:
    cache: Cache[str, int] = Cache(3, 10_000)
    for number, key in enumerate("abc"):
        assert cache.put(key, number) == []
    assert cache.get("a") == 0
    assert cache.put("d", 3) == ["b"]
    assert sorted(cache) == ["a", "c", "d"] and "b" not in cache and cache.get("b") is None


def test_bytes_count() -> None:
    cache: Cache[str, bytes] = Cache(1000, 10_000)
    for number in range(100):
        cache.put(str(number), b"x" * 800)
        assert cache.used <= 10_000
    assert len(cache) == 9
    assert set(cache.put("big", b"x" * 9000)) == {str(number) for number in range(91, 100)}
    assert cache.put("huge", b"x" * 11_000) == ["big", "huge"], "one that is too large for it is not kept"
    assert (len(cache), cache.used) == (0, 0)


def test_another_value_takes_the_place_of_the_first() -> None:
    cache: Cache[str, bytes] = Cache(10, 10_000)
    cache.put("a", b"x" * 5000)
    cache.put("a", b"x")
    assert cache.used == BESIDE + 1 + 1
    assert cache.pop("a") == b"x" and cache.pop("a") is None and cache.used == 0
    cache.put("a", b"x")
    cache.clear()
    assert not len(cache) and cache.used == 0


def test_what_a_value_weighs() -> None:
    assert content("x" * 100) == 100
    assert 1000 <= content(Thing("n" * 500, ("p" * 250, "q" * 250))) < 1300
    assert content((1,) * 100) == 800
    assert content({"a" * 100: Thing("b" * 100)}) >= 200
