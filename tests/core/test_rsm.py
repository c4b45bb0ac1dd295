"""XEP-0059: pages of a list, compared with a model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmppd.errors import BadRequest, ItemNotFound
from xmppd.xep import rsm
from xmppd.xml import parse

NS = "http://jabber.org/protocol/rsm"


def asked(inside: str) -> rsm.Asked:
    return rsm.read(parse(f"<query xmlns='x'><set xmlns='{NS}'>{inside}</set></query>".encode()))


@pytest.mark.parametrize(
    ("inside", "wanted"),
    [
        ("", rsm.Asked()),
        ("<max>10</max>", rsm.Asked(max=10)),
        ("<max>0</max>", rsm.Asked(max=0)),
        ("<max>10</max><after>a</after>", rsm.Asked(max=10, after="a")),
        ("<after/>", rsm.Asked()),
        ("<before/>", rsm.Asked(before="")),
        ("<before>b</before>", rsm.Asked(before="b")),
        ("<index>371</index>", rsm.Asked(index=371)),
        ("<max> 5 </max>", rsm.Asked(max=5)),
    ],
)
def test_what_is_asked(inside: str, wanted: rsm.Asked) -> None:
    assert asked(inside) == wanted
    assert asked(inside).backwards is (wanted.before is not None)


def test_without_a_set_all_is_asked() -> None:
    assert rsm.read(parse(b"<query xmlns='x'/>")) == rsm.Asked()


@pytest.mark.parametrize("max", ["", "-1", "ten", "1e3", "٣", "1.5"])
def test_a_number_is_a_number(max: str) -> None:
    with pytest.raises(BadRequest):
        asked(f"<max>{max}</max>")


def test_a_huge_number_costs_nothing() -> None:
    assert asked(f"<max>{'9' * 10_000}</max>").max == 0xFFFFFFFF


def test_the_answer() -> None:
    page = rsm.answer("a", "c", count=800, index=10)
    assert [(child.tag.rpartition("}")[2], child.text) for child in page] == [
        ("first", "a"),
        ("last", "c"),
        ("count", "800"),
    ]
    assert page[0].get("index") == "10"
    assert len(rsm.answer()) == 0
    assert [child.text for child in rsm.answer(count=0)] == ["0"]


NAMES = [f"n{number}" for number in range(12)]


@given(
    count=st.integers(0, 12),
    max=st.none() | st.integers(0, 15),
    after=st.none() | st.sampled_from(NAMES),
    before=st.none() | st.just("") | st.sampled_from(NAMES),
    most=st.integers(1, 10),
)
def test_pages_against_a_model(count: int, max: int | None, after: str | None, before: str | None, most: int) -> None:
    names = NAMES[:count]
    wanted = rsm.Asked(max=max, after=after, before=before)
    if (after is not None and after not in names) or (before and before not in names):
        with pytest.raises(ItemNotFound):
            rsm.cut(names, wanted, most)
        return
    rest = [name for name in names if after is None or names.index(name) > names.index(after)]
    rest = [name for name in rest if not before or names.index(name) < names.index(before)]
    size = most if max is None else min(max, most)
    expected = (rest[-size:] if size else []) if before is not None else rest[:size]
    assert names[rsm.cut(names, wanted, most)] == expected


def test_a_page_by_index() -> None:
    assert NAMES[rsm.cut(NAMES, rsm.Asked(max=3, index=4), 100)] == ["n4", "n5", "n6"]
    assert NAMES[rsm.cut(NAMES, rsm.Asked(max=3, index=99), 100)] == []
