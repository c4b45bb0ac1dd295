"""What the commands share."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from ..config import ConfigError, ServerConfig, find_config, load_config
from ..control import ControlClient
from ..operations import OperationError

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Configuration file; else $XMPPD_CONFIG, config/xmppd.yaml, /etc/xmppd/xmppd.yaml.",
        show_default=False,
    ),
]

console = Console()
complaints = Console(stderr=True, soft_wrap=True, highlight=False)


def fail(text: str, code: int = 1) -> NoReturn:
    """Say what is wrong and end. What cannot be written (bytes of a name that are no UTF-8) is escaped."""
    text = text.encode("utf-8", "backslashreplace").decode()
    complaints.print(text, markup=False, style="red" if complaints.is_terminal else None)
    raise typer.Exit(code)


def configuration(path: Path | None) -> ServerConfig:
    """The configuration; ends the program with its problems."""
    try:
        return load_config(find_config(path, os.environ))
    except ConfigError as error:
        fail(str(error), 2)


def ask_server(config: ServerConfig, command: str) -> Any:
    """The running server's answer to a command; ends the program when there is none."""

    async def ask() -> Any:
        client = await ControlClient.connect(config.control_socket)
        if client is None:
            raise OperationError(f"no server is running here ({config.control_socket})")
        try:
            return await client.run(command, {})
        finally:
            client.close()

    try:
        return asyncio.run(ask())
    except OperationError as error:
        fail(str(error))
