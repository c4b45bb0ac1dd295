"""Durations and sizes as people write them."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Final

_SECONDS: Final = (
    (Decimal("0.001"), "ms", ("ms", "millisecond", "milliseconds")),
    (Decimal(1), "second", ("s", "sec", "secs", "second", "seconds")),
    (Decimal(60), "minute", ("min", "mins", "minute", "minutes")),
    (Decimal(3600), "hour", ("h", "hour", "hours")),
    (Decimal(86_400), "day", ("d", "day", "days")),
    (Decimal(604_800), "week", ("w", "week", "weeks")),
    (Decimal(31_536_000), "year", ("y", "year", "years")),
)
_BYTES: Final = (
    (1, "byte", ("b", "byte", "bytes")),
    (10**3, "kB", ("kb",)),
    (1 << 10, "KiB", ("kib",)),
    (10**6, "MB", ("mb",)),
    (1 << 20, "MiB", ("mib",)),
    (10**9, "GB", ("gb",)),
    (1 << 30, "GiB", ("gib",)),
    (10**12, "TB", ("tb",)),
    (1 << 40, "TiB", ("tib",)),
)
_SECONDS_BY_NAME: Final = {name: value for value, _, names in _SECONDS for name in names}
_BYTES_BY_NAME: Final = {name: value for value, _, names in _BYTES for name in names}
_PART: Final = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)\s*", re.ASCII)
_LONGEST: Final = 100 * 31_536_000.0


class Duration(float):
    """Seconds, otherwise a float: `Duration("5 minutes")`, `Duration("1h 30min")`, `Duration(90)`.

    Raises ValueError for a text that is none, a negative number, or more than 100 years.
    """

    __slots__ = ()

    def __new__(cls, value: str | float) -> Duration:
        seconds = _parse_duration(value) if isinstance(value, str) else float(value)
        if math.isnan(seconds) or not 0 <= seconds <= _LONGEST:
            raise ValueError(f"not a duration from 0 seconds to 100 years: {value!r}")
        return super().__new__(cls, seconds)

    def __str__(self) -> str:
        exact = Decimal(float.__repr__(self))
        for unit, name, _ in reversed(_SECONDS[1:]):
            if exact >= unit and exact % unit == 0:
                return _counted(exact / unit, name)
        if 0 < exact < 1 and (exact * 1000) % 1 == 0:
            return f"{exact * 1000:.0f} ms"
        return _counted(exact, "second")

    def __repr__(self) -> str:
        return f"Duration({str(self)!r})"


class Size(int):
    """Bytes, otherwise an int: `Size("10 MiB")`, `Size("64 kB")`, `Size(8192)`.

    Raises ValueError for a text that is none, a negative number, or a fraction of a byte.
    """

    __slots__ = ()

    def __new__(cls, value: str | int) -> Size:
        number = _parse_size(value) if isinstance(value, str) else int(value)
        if number < 0 or number >= 1 << 63:
            raise ValueError(f"not a size: {value!r}")
        return super().__new__(cls, number)

    def __str__(self) -> str:
        number = int(self)
        fits = [(number // unit, -unit, name) for unit, name, _ in _BYTES if number >= unit and not number % unit]
        if not fits:
            return "0 bytes"
        count, unit, name = min(fits)
        return _counted(Decimal(count), name) if unit == -1 else f"{count} {name}"

    def __repr__(self) -> str:
        return f"Size({str(self)!r})"


class Word(str):
    """A word that is judged later, when those that are allowed are known; a text otherwise.

    `file`, `line`: where it stands (0: in no file).
    """

    file: str = ""
    line: int = 0

    @classmethod
    def at(cls, text: str, file: str, line: int) -> Word:
        """A word with its place."""
        word = cls(text)
        word.file, word.line = file, line
        return word


def _counted(count: Decimal, name: str) -> str:
    # Decimal's own form has an exponent for very small numbers; "f" has none and reads back.
    text = f"{count:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return f"{text} {name}" if text == "1" else f"{text} {name}s"


def _parse_duration(text: str) -> float:
    total, at, rest = Decimal(0), 0, text.strip()
    while found := _PART.match(rest, at):
        number, unit = found.groups()
        if not unit and found.end() == len(rest) and at == 0:
            unit = "s"
        if unit.lower() not in _SECONDS_BY_NAME:
            break
        total += Decimal(number) * _SECONDS_BY_NAME[unit.lower()]
        at = found.end()
    if at == 0 or at != len(rest):
        raise ValueError(f"not a duration: {text!r}")
    return float(total)


def _parse_size(text: str) -> int:
    found = _PART.fullmatch(text.strip())
    unit = _BYTES_BY_NAME.get((found[2] or "b").lower()) if found else None
    if found is None or unit is None:
        raise ValueError(f"not a size: {text!r}")
    number = Decimal(found[1]) * unit
    if number % 1:
        raise ValueError(f"not a whole number of bytes: {text!r}")
    return int(number)
