"""Skeletons (UTS 39 section 4)."""

from __future__ import annotations

import pytest

from xmppd.xep.confusables import _prototypes, skeleton


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("paypal", "pаypаl"),  # Cyrillic
        ("scope", "ѕсоре"),
        ("Ιago", "lago"),  # Greek capital iota, small L
        ("Iago", "lago"),
        ("rnike", "mike"),
        ("O0", "0O"),
        ("romeo", "romeо"),
        ("romeo", "rom\u200deo"),
        ("romeo", "ro\U000e0020meo"),
        ("é", "e\u0301"),
        ("ǉ", "lj"),
        ("٥", "o"),
        ("𝐚𝒷", "ab"),
        ("æ", "ae"),
    ],
)
def test_what_looks_the_same_has_one_skeleton(one: str, other: str) -> None:
    assert skeleton(one) == skeleton(other)


@pytest.mark.parametrize(("one", "other"), [("romeo", "juliet"), ("é", "e"), ("ц", "u"), ("a", "b"), ("山", "川")])
def test_what_does_not_has_not(one: str, other: str) -> None:
    assert skeleton(one) != skeleton(other)


def test_a_skeleton_is_its_own() -> None:
    """The mapping is closed: prototypes are made of prototypes."""
    table = _prototypes()
    assert len(table) > 6000
    for code in table:
        once = skeleton(chr(code))
        assert skeleton(once) == once, hex(code)
