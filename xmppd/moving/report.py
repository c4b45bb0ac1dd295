"""What an import has done, and what it could not: counted, with some examples, bounded however large the source is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

EXAMPLES: Final = 5
REASONS: Final = 10_000
"""So many different things that were lost are told apart; the rest is counted."""
PROBLEMS: Final = 1000
TOO_MANY: Final = "something else"


@dataclass(slots=True)
class Told:
    """`number`: how often; `owners`: some of those concerned."""

    number: int = 0
    owners: list[str] = field(default_factory=list)

    def add(self, owner: str) -> None:
        self.number += 1
        if owner and owner not in self.owners and len(self.owners) < EXAMPLES:
            self.owners.append(owner)

    @property
    def some(self) -> str:
        if not self.owners:
            return ""
        return f" ({', '.join(self.owners)}{' …' if self.number > len(self.owners) else ''})"


class Report:
    def __init__(self, dry: bool) -> None:
        self.dry = dry
        self.took: Counter[tuple[str, str]] = Counter()
        """By domain and what it is."""
        self.kept: Counter[tuple[str, str]] = Counter()
        self.lost: dict[str, Told] = {}
        self.notes: dict[str, Told] = {}
        self.problems: list[str] = []
        self.more_problems = 0

    def lose(self, why: str, owner: str) -> None:
        self._tell(self.lost, why, owner)

    def note(self, what: str, owner: str) -> None:
        self._tell(self.notes, what, owner)

    @staticmethod
    def _tell(found: dict[str, Told], why: str, owner: str) -> None:
        why = why[:300]
        if why not in found and len(found) >= REASONS:
            why = TOO_MANY
        found.setdefault(why, Told()).add(owner)

    def problem(self, where: str, what: str) -> None:
        if len(self.problems) < PROBLEMS:
            self.problems.append(f"{where}: {what}"[:600])
        else:
            self.more_problems += 1

    @property
    def complete(self) -> bool:
        """Everything was carried."""
        return not self.lost and not self.problems

    def as_json(self) -> Any:
        counts: dict[str, dict[str, dict[str, int]]] = {}
        for name, found in (("added", self.took), ("there_already", self.kept)):
            for (domain, what), number in sorted(found.items()):
                counts.setdefault(domain, {}).setdefault(what, {"added": 0, "there_already": 0})[name] = number
        return {
            "dry_run": self.dry,
            "hosts": counts,
            "not_carried": [
                {"what": why, "number": told.number, "owners": told.owners} for why, told in self.lost.items()
            ],
            "notes": [{"what": why, "number": told.number, "owners": told.owners} for why, told in self.notes.items()],
            "problems": self.problems,
            "more_problems": self.more_problems,
        }

    def lines(self) -> list[str]:
        """For people."""
        word = "would be added" if self.dry else "added"
        lines = []
        for domain in sorted({domain for domain, _ in (*self.took, *self.kept)}):
            lines.append(f"{domain}:")
            for what in sorted({what for each, what in (*self.took, *self.kept) if each == domain}):
                took, kept = self.took[domain, what], self.kept[domain, what]
                there = f", {kept:,} there already" if kept else ""
                lines.append(f"  {what}: {took:,} {word}{there}")
        if self.notes:
            lines += ["", "To know:"]
            lines += [f"  {_times(told)}{why}{told.some}" for why, told in self.notes.items()]
        if self.lost:
            lines += ["", "Not carried:"]
            lines += [f"  {_times(told)}{why}{told.some}" for why, told in self.lost.items()]
        if self.problems:
            lines += ["", "Not read:", *(f"  {each}" for each in self.problems)]
        if self.more_problems:
            lines.append(f"  … and {self.more_problems:,} more")
        return lines or ["There was nothing to take."]


def _times(told: Told) -> str:
    return f"{told.number:,} × " if told.number > 1 else ""
