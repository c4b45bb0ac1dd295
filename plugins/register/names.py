"""Which names strangers may take: none that has a meaning, none that a reader takes for another one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import islice, product
from typing import Final

RESERVED: Final = (
    "abuse",
    "admin",
    "administrator",
    "billing",
    "hostmaster",
    "info",
    "moderator",
    "noreply",
    "operator",
    "postmaster",
    "root",
    "security",
    "server",
    "staff",
    "support",
    "system",
    "webmaster",
    "xmpp",
)
_PLAIN: Final = re.compile(r"[a-z0-9][a-z0-9._-]*", re.ASCII).fullmatch
_TWINS = {each: group for group in ("o0", "il1", "b8", "s5", "z2") for each in group}
_PAIRS = (("rn", "m"), ("m", "rn"), ("vv", "w"), ("w", "vv"), ("cl", "d"), ("d", "cl"))
_LATIN = str.maketrans("аеорсухіјѕһԁԛԝвкмнтοανικρτυχ", "aeopcyxijshdqwbkmhtoavikptux")
_CYRILLIC = str.maketrans("aeopcyxijshdqw", "аеорсухіјѕһԁԛԝ")
TWINS_LOOKED_AT = 256


def well_formed(name: str, ascii_only: bool) -> bool:
    """Whether a prepared name has the letters that it may have."""
    if ascii_only or name.isascii():
        return bool(_PLAIN(name))
    return len(scripts(name)) <= 1  # UTS 39 section 5.1: letters of one script only


def scripts(name: str) -> set[str]:
    """The scripts of its letters, by the first word of their Unicode names."""
    return {unicodedata.name(char, "?").split()[0] for char in name if char.isalpha()}


def twins(name: str) -> Iterator[str]:
    """Names that a reader takes for this one, itself left out: o and 0, l, i and 1, rn and m, Cyrillic and Greek
    letters that look Latin (after UTS 39 section 4). At most TWINS_LOOKED_AT of them."""
    seen = {name}
    for form in (name, name.translate(_LATIN), name.translate(_CYRILLIC)):
        spellings = [form, *(form.replace(old, new) for old, new in _PAIRS)]
        for spelling in spellings:
            ways = product(*(_TWINS.get(char, char) for char in spelling))
            for way in islice(ways, TWINS_LOOKED_AT // len(spellings)):
                twin = "".join(way)
                if twin not in seen:
                    seen.add(twin)
                    yield twin
