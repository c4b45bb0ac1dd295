"""The Unix control socket: how the command line talks to the running server (else its caches would go stale).

One JSON object per line each way: {"command": "user add", "arguments": {…}} → {"result": …} or {"error": "text"}.
The socket's file mode lets only its owner in.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from .operations import OperationError, Operations

log = logging.getLogger("xmppd.control")
LINE = 16 << 20

Command = Callable[..., Awaitable[Any]]


class ControlServer:
    def __init__(self, path: Path, operations: Operations) -> None:
        self.path = path
        self.operations = operations
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Raises OperationError when another server answers on the socket."""
        if self.path.exists():
            if await _answers(self.path):
                raise OperationError(f"another server is running here ({self.path})")
            self.path.unlink()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, str(self.path), limit=LINE)
        finally:
            os.umask(before)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError) as error:
            log.info("control connection ended: %s", error)
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            asked = json.loads(line)
            return {"result": await self.operations.run(asked["command"], asked.get("arguments", {}))}
        except OperationError as error:
            return {"error": str(error)}
        except (ValueError, KeyError, TypeError):
            return {"error": "not a command"}
        except Exception:
            log.exception("a command failed")
            return {"error": "the server could not do it; its log says why"}


async def _answers(path: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(str(path))
    except OSError:
        return False
    writer.close()
    return True


class ControlClient:
    """Runs operations in the running server. Same `run` as `Operations`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, path: Path) -> ControlClient | None:
        """None: no server is running there."""
        try:
            return cls(*await asyncio.open_unix_connection(str(path), limit=LINE))
        except PermissionError:
            raise OperationError(f"no permission to use {path}: be the user that runs the server") from None
        except OSError:
            return None

    async def run(self, command: str, arguments: dict[str, Any]) -> Any:
        """Raises OperationError."""
        self._writer.write(json.dumps({"command": command, "arguments": arguments}).encode() + b"\n")
        await self._writer.drain()
        line = await self._reader.readline()
        if not line:
            raise OperationError("the server closed the control connection")
        answer = json.loads(line)
        if "error" in answer:
            raise OperationError(answer["error"])
        return answer["result"]

    def close(self) -> None:
        self._writer.close()


