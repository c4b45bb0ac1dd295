"""A relay before a server of the MongoDB protocol: sees commands, changes or withholds answers (OP_MSG, section 0)."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from bson import decode, encode

HEADER = struct.Struct("<iiii")
OP_MSG = 2013

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Answer = Callable[[dict[str, Any]], dict[str, Any] | None]


class Middle:
    """A port before a database: whoever connects has a connection to the database behind it."""

    def __init__(self, uri: str) -> None:
        self._parts = urlsplit(uri)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def uri(self) -> str:
        """The database behind it."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return urlunsplit(self._parts._replace(netloc=f"127.0.0.1:{port}"))

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connected(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answers, commands = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        except OSError:
            writer.close()
            return
        await self.pass_on((reader, writer), (answers, commands))

    async def pass_on(self, server: Ends, database: Ends) -> None:
        """From one to the other, until both have ended."""
        raise NotImplementedError


class Relay(Middle):
    """`seen`: the commands, in order. `answer`: what the client gets for what the server says; None: nothing, ever."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.seen: list[dict[str, Any]] = []
        self.answer: Answer = lambda document: document

    async def pass_on(self, server: Ends, database: Ends) -> None:
        await asyncio.gather(
            self._pass(server[0], database[1], self._ask), self._pass(database[0], server[1], self._say)
        )

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Callable[[bytes], bytes]
    ) -> None:
        try:
            while True:
                head = await reader.readexactly(HEADER.size)
                size, *_, kind = HEADER.unpack(head)
                body = await reader.readexactly(size - HEADER.size)
                message = change(head + body) if kind == OP_MSG else head + body
                writer.write(message)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    def _ask(self, message: bytes) -> bytes:
        size = struct.unpack_from("<i", message, 21)[0]
        self.seen.append(decode(message[21 : 21 + size]))
        return message

    def _say(self, message: bytes) -> bytes:
        answer = self.answer(decode(message[21:]))
        if answer is None:
            return b""
        body = message[16:21] + encode(answer)
        head = list(HEADER.unpack(message[:16]))
        head[0] = HEADER.size + len(body)
        return HEADER.pack(*head) + body


@asynccontextmanager
async def relayed(uri: str) -> AsyncIterator[Relay]:
    relay = Relay(uri)
    await relay.start()
    try:
        yield relay
    finally:
        await relay.stop()
