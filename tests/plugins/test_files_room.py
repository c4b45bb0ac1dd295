"""How many files may be on their way at once, and how much memory each of them has."""

from __future__ import annotations

import pytest

from plugins.files.room import Room
from xmppd.contracts.http import HttpError

KIB = 1 << 10


def room(whole: int = 1024 * KIB, per_account: int = 64 * KIB) -> Room:
    return Room({}, 16 * KIB, lambda: whole, lambda: per_account)


def refused(place: Room, account: str) -> tuple[int, str]:
    with pytest.raises(HttpError) as error:
        place.check(account)
    return error.value.status, error.value.headers["Retry-After"]


def test_an_account_has_only_so_many_under_way() -> None:
    it = room()
    places = [it.enter("romeo") for _ in range(4)]
    assert refused(it, "romeo") == (429, "10")
    it.check("juliet")
    with places.pop():
        pass
    it.check("romeo")


def test_all_together_are_only_so_many() -> None:
    it = room(whole=256 * KIB)
    places = [it.enter(f"u{number}") for number in range(8)]
    assert refused(it, "juliet") == (503, "10")
    for place in places:
        with place:
            pass
    it.check("juliet")
    assert (it.count, it.lent, it.places) == (0, 0, {})


def test_one_is_never_refused_however_little_memory_there_is() -> None:
    room(whole=1, per_account=1).check("romeo")


def test_the_more_there_are_the_less_each_has_and_never_less_than_it_needs() -> None:
    it = room(per_account=1 << 30)
    places = [it.enter("romeo") for _ in range(32)]
    sizes = [place.size(256 * KIB) for place in places]
    assert sizes[0] == 48 * KIB and sizes == sorted(sizes, reverse=True)
    assert sum(sizes) <= 1024 * KIB
    assert [place.size(256 * KIB) >= 16 * KIB for place in places] == [True] * 32
    assert sum(place.size(16 * KIB) for place in places) == 512 * KIB
    assert places[0].size(20 * KIB) == 20 * KIB
    for place in places:
        with place:
            pass
    assert (it.count, it.lent) == (0, 0)


def test_a_place_is_left_when_its_file_fails() -> None:
    it = room()
    with pytest.raises(OSError, match="the disk"), it.enter("romeo") as place:
        place.size(256 * KIB)
        raise OSError("the disk")
    assert (it.count, it.lent) == (0, 0)
