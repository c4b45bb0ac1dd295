"""The figures as a table for people and as JSON for programs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .measure import Figure


def table(figures: dict[str, list[Figure]], ours: str, peers: list[str]) -> Table:
    """`figures`: by server; `peers`: the names of those to compare with."""
    shown = Table(title="median of the rounds (least)", title_justify="left")
    shown.add_column("case")
    shown.add_column("measured")
    shown.add_column("unit")
    for column in (ours, "of it loop", "target", *(name for peer in peers for name in (peer, "ratio"))):
        shown.add_column(column, justify="right")
    by_name = {(peer, figure.case, figure.name): figure for peer in peers for figure in figures[peer]}
    last = ""
    for figure in figures.get(ours, ()):
        row = [figure.case if figure.case != last else "", figure.name, figure.unit, _value(figure)]
        row.append(_number(figure.loop) if figure.loop is not None else "")
        row.append(_against(figure))
        for peer in peers:
            other = by_name.get((peer, figure.case, figure.name))
            row += [_value(other), _ratio(figure, other)] if other is not None else ["", ""]
        shown.add_row(*row, end_section=False)
        last = figure.case
    return shown


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _value(figure: Figure) -> str:
    least = f" ({_number(figure.least)})" if len(figure.values) > 1 else ""
    return _number(figure.value) + least


def _against(figure: Figure) -> str:
    if figure.target is None:
        return ""
    kept = figure.value <= figure.target
    return f"[{'green' if kept else 'red'}]≤ {figure.target:g} {'✓' if kept else '✗'}[/]"


def _ratio(figure: Figure, other: Figure) -> str:
    """How many times as much the peer needs."""
    return f"× {other.value / figure.value:.1f}" if figure.value > 0 else ""


def line(figure: Figure, server: str) -> str:
    """One figure, as soon as it is known."""
    return f"{server:8} {figure.case}: {figure.name}: {_value(figure)} {figure.unit}"


def write_json(path: Path, figures: dict[str, list[Figure]], about: dict[str, Any], console: Console) -> None:
    """Raises OSError."""
    data = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": about,
        "figures": {server: [figure.as_json() for figure in found] for server, found in figures.items()},
    }
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n")
    console.print(f"Written to {path}.", highlight=False)
