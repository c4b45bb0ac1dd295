"""What the commands share."""

from __future__ import annotations

import enum
import os
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from ..config import ConfigError, ServerConfig, find_config, load_config
from ..observe.logs import escaped

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Configuration file; else $XMPPD_CONFIG, xmppd.yaml here, /etc/xmppd/xmppd.yaml.",
        show_default=False,
    ),
]


class Exit(enum.IntEnum):
    """How a command ends; the same for all of them."""

    DONE = 0
    NOT_DONE = 1
    """It was refused or failed; the text says why."""
    WRONG = 2
    """The command line or the configuration is wrong."""
    UNREACHABLE = 3
    """The server, its store or the network does not answer, or another process uses the store."""
    TAKEN_OVER = 6
    """Another server has taken the store."""
    INTERRUPTED = 130


STATUSES = (
    "Exit status: 0 done, 1 refused or failed, 2 the command line or the configuration is wrong, 3 the server, the "
    "store or the network does not answer; doctor also 4 core without advanced, 5 not even core; "
    "run also 6 another server has taken the store; 130 interrupted."
)
console = Console()
complaints = Console(stderr=True, soft_wrap=True, highlight=False)


def printable(text: str) -> str:
    """The text, line by line, with nothing in it that moves a cursor or changes a colour."""
    return "\n".join(map(escaped, text.split("\n")))


def fail(text: str, code: int = Exit.NOT_DONE) -> NoReturn:
    """Say what is wrong and end. What a terminal would take for a command, or cannot write (bytes of a name that are no
    UTF-8), is escaped."""
    text = printable(text)
    complaints.print(text, markup=False, style="red" if complaints.is_terminal else None)
    raise typer.Exit(code)


def configuration(path: Path | None) -> ServerConfig:
    """The configuration; ends the program with its problems."""
    try:
        return load_config(find_config(path, os.environ))
    except ConfigError as error:
        fail(str(error), Exit.WRONG)
