"""The command line `xmppd`: run · reload · metrics · check · user · doctor."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from .common import STATUSES
from .doctor import doctor
from .metrics import metrics
from .run import check, reload, run
from .user import users

app = typer.Typer(
    help="An XMPP chat server.",
    epilog=STATUSES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"xmppd {version('xmppd')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """An XMPP chat server."""


app.command()(run)
app.command()(reload)
app.command()(metrics)
app.command()(check)
app.command()(doctor)
app.add_typer(users, name="user")


def main() -> None:
    """The entry point of the `xmppd` script."""
    sys.exit(app())
