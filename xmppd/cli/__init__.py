"""The command line `xmppd`: run · reload · metrics · check · user · doctor."""

from __future__ import annotations

import sys

import typer

from .doctor import doctor
from .metrics import metrics
from .run import check, reload, run
from .user import users

app = typer.Typer(
    help="An XMPP chat server.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
app.command()(run)
app.command()(reload)
app.command()(metrics)
app.command()(check)
app.command()(doctor)
app.add_typer(users, name="user")


def main() -> None:
    """The entry point of the `xmppd` script."""
    sys.exit(app())
