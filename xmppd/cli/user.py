"""xmppd user import: many accounts from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from ..contracts.admin import Needs, OperationError
from .common import ConfigOption, Exit, configuration, console, fail
from .runner import Runner, do


def import_(
    file: Annotated[Path, typer.Argument(help="Lines `jid password`; empty ones and those with # are passed over.")],
    config: ConfigOption = None,
) -> None:
    """Add many accounts."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except OSError as error:
        fail(f"{file}: {error.strerror or error}", Exit.WRONG)
    except UnicodeDecodeError as error:
        at = error.object[: error.start].count(b"\n") + 1
        fail(f"{file}:{at}: not in UTF-8", Exit.WRONG)
    wanted: list[tuple[int, str, str]] = []
    refused: list[str] = []
    lines_with_people = 0
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        lines_with_people += 1
        jid, *password = line.split(maxsplit=1)
        if password:
            wanted.append((number, jid, password[0].strip()))
        else:
            refused.append(f"{file}:{number}: expected `jid password`")

    async def add_all(found: Runner) -> None:
        for number, jid, password in track(wanted, "Importing", console=console):
            try:
                await found.answer("user.add", {"jid": jid, "password": password})
            except OperationError as error:
                refused.append(f"{file}:{number}: {error}")

    do(configuration(config), Needs.NOTHING, add_all)
    console.print(f"Added {lines_with_people - len(refused)} of {lines_with_people} accounts.", highlight=False)
    if refused:
        fail("\n".join(refused))
