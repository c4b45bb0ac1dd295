"""Texts that a reader takes for one another: skeletons (Unicode Technical Standard 39, section 4).

The data are Unicode's `confusables.txt`, as the package `confusable_homoglyphs` ships it (Unicode licence): pairs of a
character and the prototype that it looks like.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from sys import intern
from typing import Final
from unicodedata import normalize

import confusable_homoglyphs  # type: ignore[import-untyped]
import msgspec

_MARKS: Final = "\u200e\u200f"
"""Around characters that are written from right to left; the file has them for its own readers."""
_UNSEEN: Final = dict.fromkeys(
    (
        *(0x00AD, 0x034F, 0x061C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFEFF, 0xFFA0),
        *range(0x180B, 0x1810),
        *range(0x200B, 0x2010),
        *range(0x202A, 0x202F),
        *range(0x2060, 0x2070),
        *range(0xFE00, 0xFE10),
        *range(0xFFF0, 0xFFF9),
        *range(0x1BCA0, 0x1BCA4),
        *range(0x1D173, 0x1D17B),
        *range(0xE0000, 0xE1000),
        *(0x2800, 0x1D159),
    )
)
"""Default_Ignorable_Code_Point (Unicode, DerivedCoreProperties.txt), a property that is stable but for additions. The
last two are symbols that are blank: a pattern without dots of Braille, and a note head that is none."""


class _Alike(msgspec.Struct):
    """One that looks like another. `c`: the characters."""

    c: str


@cache
def _prototypes() -> dict[int, str]:
    """For each character that looks like something else what that is, by code point.

    Read in two passes, of which neither holds more than one entry of the file as objects: decoded as a whole it takes
    7 MB, which the process would keep.
    """
    data = Path(confusable_homoglyphs.__file__).with_name("confusables.json").read_bytes()
    entries: dict[str, list[msgspec.Raw]] = {}
    for text, alike in msgspec.json.decode(data, type=dict[str, msgspec.Raw]).items():
        entries.setdefault(text.strip(_MARKS), []).append(alike)
    # Each pair stands in both directions; what many point at, or what is no single character, is the prototype.
    counts = {text: len(_neighbours(raws)) for text, raws in entries.items()}

    def rank(text: str) -> tuple[bool, int, list[int]]:
        return len(text) > 1, counts[text], [-ord(each) for each in text]

    prototypes = {}
    for text, raws in entries.items():
        if len(text) == 1:
            best = max(_neighbours(raws), key=rank)
            if rank(best) > rank(text):
                prototypes[ord(text)] = normalize("NFD", best)
    # Some prototypes hold, at least when decomposed, a character that has a prototype itself.
    return {code: intern(prototype.translate(prototypes)) for code, prototype in prototypes.items()}


_decode = msgspec.json.Decoder(list[_Alike]).decode


def _neighbours(entries: list[msgspec.Raw]) -> set[str]:
    """The texts that the entries of one text name."""
    return {each.c.strip(_MARKS) for entry in entries for each in _decode(entry)}


def skeleton(text: str) -> str:
    """The same for all texts that look the same. Not for display, and not remembered here."""
    prototypes = _prototypes()
    if text.isascii():
        return text.translate(prototypes)
    return normalize("NFD", normalize("NFD", text).translate(_UNSEEN).translate(prototypes))
