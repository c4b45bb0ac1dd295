"""The Unix control socket: how the command line talks to the running server (else its caches would go stale).

One JSON object per line each way: {"operation": "user.add", "arguments": {…}, "host": "…"} → {"result": …, "text": …}
or {"error": {"code": …, "text": …}}. The socket's file mode lets only its owner in.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ..config import reachable
from ..contracts.admin import Code, OperationError
from .registry import Answer, Operations

log = logging.getLogger("xmppd.admin")
LINE = 16 << 20
STOP_TIME = 5.0
"""Seconds for operations that are broken off, whatever they make of it."""


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line to the server. `host`: the domain, where no argument says it."""

    operation: str
    arguments: dict[str, Any] = {}
    host: str = ""


class Failure(msgspec.Struct, frozen=True):
    """Why it was not done."""

    code: Code
    text: str


class Refused(msgspec.Struct, frozen=True):
    """A line from the server."""

    error: Failure


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
        if self._connections:
            await asyncio.wait(self._connections, timeout=STOP_TIME)

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._talk(reader, writer), name="control")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(await self._answer(line) + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError) as error:
            log.info("control connection ended: %s", error)
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> bytes:
        try:
            asked = _asked(line)
            answer = await self.operations.answer(asked.operation, asked.arguments, asked.host)
            return msgspec.json.encode(answer)
        except OperationError as error:
            text = str(error).encode("utf-8", "replace").decode()
            return _refusal(error.code, text)
        except Exception:
            log.exception("an operation failed")
            return _refusal(Code.FAILED, "the server could not do it; its log says why")


def _refusal(code: Code, text: str) -> bytes:
    return msgspec.json.encode(Refused(Failure(code, text)))


def _asked(line: bytes) -> Asked:
    """Raises OperationError."""
    try:
        return msgspec.json.decode(line, type=Asked)
    except (ValueError, RecursionError) as error:
        raise OperationError(f"this asks for no operation: {error}", Code.INVALID) from None


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


class _Reply(msgspec.Struct, frozen=True):
    """Either kind of line from the server."""

    result: Any = None
    text: str = ""
    terminal: str = ""
    error: Failure | None = None


class ControlClient:
    """Runs operations in the running server. Same `answer` as `Operations`."""

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

    async def answer(self, name: str, given: Mapping[str, Any], host: str = "") -> Answer:
        """Raises OperationError."""
        try:
            self._writer.write(msgspec.json.encode(Asked(name, dict(given), host)) + b"\n")
            await self._writer.drain()
            line = await self._reader.readline()
            if not line:
                raise OperationError("the server closed the control connection")
            answer = msgspec.json.decode(line, type=_Reply)
        except OSError as error:
            raise OperationError(f"the control connection broke: {error.strerror or error}") from None
        except ValueError:
            raise OperationError("what listens on the control socket is not this server") from None
        if answer.error is not None:
            raise OperationError(answer.error.text, answer.error.code)
        return Answer(answer.result, answer.text, answer.terminal)

    def close(self) -> None:
        self._writer.close()
