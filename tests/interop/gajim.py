"""Gajim's library, nbxmpp, in a process of its own (`gajim_client.py`)."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.interop.people import WITHIN
from tests.process.server import ServerProcess

PYTHON = "/usr/bin/python3"
SCRIPT = Path(__file__).with_name("gajim_client.py")


class Gajim:
    """Tells the process what to do, and what happened there."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.seen: list[list[Any]] = []

    def do(self, *command: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")

    async def expect(self, *what: Any) -> list[Any]:
        """The next event that begins so; what comes before it goes to `seen`."""
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(WITHIN):
                while line := await self.process.stdout.readline():
                    event: list[Any] = json.loads(line)
                    if event[: len(what)] == list(what):
                        return event
                    self.seen.append(event)
        except TimeoutError:
            raise AssertionError(f"{what} did not happen, but {self.seen}") from None
        raise AssertionError(f"the client ended after {self.seen}")


Start = Callable[..., Awaitable[Gajim]]
Visit = Callable[[str, ServerProcess], Awaitable[Gajim]]
"""Connects a stranger with the address that it wants to have."""


async def launched(server: ServerProcess, jid: str, tls: str, mechanism: str) -> Gajim:
    """Not connected."""
    options = [jid, "pencil", server.port(tls), tls, mechanism, str(server.certificate)]
    return Gajim(
        await asyncio.create_subprocess_exec(
            PYTHON, str(SCRIPT), json.dumps(options), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sys.stderr
        )
    )
