"""The Unix control socket: how the command line talks to the running server (else its caches would go stale).

One JSON object per line each way: {"command": "user add", "arguments": {…}} → {"result": …} or {"error": "text"}.
The socket's file mode lets only its owner in.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
from pathlib import Path
from typing import Any

from ..config import reachable
from .operations import OperationError, Operations

log = logging.getLogger("xmppd.admin")
LINE = 16 << 20


class ControlServer:
    def __init__(self, path: Path, operations: Operations) -> None:
        self.path = reachable(path)
        self.operations = operations
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Raises OperationError when another server answers on the socket or something else is in its place."""
        await ensure_free(self.path)
        self.path.unlink(missing_ok=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, str(self.path), limit=LINE)
        finally:
            os.umask(before)

    async def stop(self) -> None:
        """No new commands; those under way are broken off."""
        if self._server is not None:
            self._server.close()
            self.path.unlink(missing_ok=True)
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._talk(reader, writer), name="control")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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
            command, arguments = _command(line)
            return {"result": await self.operations.run(command, arguments)}
        except OperationError as error:
            return {"error": str(error)}
        except Exception:
            log.exception("a command failed")
            return {"error": "the server could not do it; its log says why"}


def _command(line: bytes) -> tuple[str, dict[str, Any]]:
    """Raises OperationError."""
    try:
        asked = json.loads(line)
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict) or not isinstance(asked.get("command"), str):
        raise OperationError("not a command")
    arguments = asked.get("arguments", {})
    if not isinstance(arguments, dict):
        raise OperationError("arguments are named")
    return asked["command"], arguments


async def ensure_free(path: Path) -> None:
    """Raises OperationError when a server answers on the socket, or when it cannot be ours. A stale one is none."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OperationError(f"{path} is there and is not a socket")
        _, writer = await asyncio.open_unix_connection(str(reachable(path)))
    except (FileNotFoundError, ConnectionRefusedError):
        return
    except OSError as error:
        raise OperationError(f"{path} cannot be used: {error.strerror or error}") from None
    writer.close()
    raise OperationError(f"another server is running here ({path})")


class ControlClient:
    """Runs operations in the running server. Same `run` as `Operations`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, path: Path) -> ControlClient | None:
        """None: no server is running there."""
        try:
            return cls(*await asyncio.open_unix_connection(str(reachable(path)), limit=LINE))
        except PermissionError:
            raise OperationError(f"no permission to use {path}: be the user that runs the server") from None
        except OSError:
            return None

    async def run(self, command: str, arguments: dict[str, Any]) -> Any:
        """Raises OperationError."""
        asked = json.dumps({"command": command, "arguments": arguments}).encode() + b"\n"
        try:
            self._writer.write(asked)
            await self._writer.drain()
            line = await self._reader.readline()
            answer = json.loads(line) if line else {"error": "the server closed the control connection"}
        except OSError as error:
            raise OperationError(f"the control connection broke: {error.strerror or error}") from None
        except ValueError:
            raise OperationError("what listens on the control socket is not this server") from None
        if "error" in answer:
            raise OperationError(answer["error"])
        return answer["result"]

    def close(self) -> None:
        self._writer.close()
