"""What is wrong with a configuration, said so that it can be mended."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

Where = str | tuple[str | int, ...]
"""A place below an option: its name, or the way to it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault. `file` as it was named, `line` from 1 (0: none), `path` as in `listeners[0].port` or ""."""

    file: str
    line: int
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.file and self.line else self.file
        return ": ".join(part for part in (place, self.path, self.message) if part)


class ConfigError(Exception):
    """All that is wrong with a configuration. Its text is one line per problem."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(dict.fromkeys(sorted(problems, key=lambda each: (each.file, each.line))))
        super().__init__("\n".join(map(str, self.problems)))


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate that `name` was probably meant to be, None when none is like it."""
    known = list(candidates)
    folded = {_fold(each): each for each in known}
    asked = _fold(name[:64])
    if asked in folded:
        return folded[asked]
    close = difflib.get_close_matches(asked, folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def unknown(what: str, name: str, candidates: Iterable[str]) -> str:
    """The message for an unknown `what` ("option", "plugin"): the nearest name, or all there are."""
    known = sorted(candidates)
    meant = nearest(name, known)
    if meant is not None:
        return f"unknown {what}; did you mean {meant!r}?"
    return f"unknown {what}; known here: {', '.join(known)}" if known else f"unknown {what}; there are none here"


def _fold(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")
