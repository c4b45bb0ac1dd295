"""The command line `xmppd`: run · check · doctor · import · export · op · store check, and operations of the core."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from .common import STATUSES
from .doctor import doctor
from .moving import export
from .moving import import_ as import_all
from .operations import GROUPS, RAW, add_commands, invite, op
from .run import check, run
from .store import check as check_store
from .user import import_

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
app.command()(check)
app.command()(doctor)
app.command("import")(import_all)
app.command()(export)
app.command(context_settings=RAW)(op)
app.command(context_settings={**RAW, "help_option_names": []})(invite)
groups = {name: typer.Typer(help=text, no_args_is_help=True) for name, text in GROUPS.items()}
groups["store"] = typer.Typer(help="Look after the store.", no_args_is_help=True)
add_commands(app, groups)
groups["user"].command("import")(import_)
groups["store"].command("check")(check_store)
for name, group in groups.items():
    app.add_typer(group, name=name)


def main() -> None:
    """The entry point of the `xmppd` script."""
    sys.exit(app())
