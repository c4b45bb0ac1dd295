"""The line between a server and its database: a TCP relay on which commands or answers stay away when told so."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tests.mongo_server.relay import Ends, Middle

CHUNK = 1 << 16
LINGER = 1.0
"""Seconds that a connection to the database outlives the one of a server that is gone: what was sent is carried out."""


class Line(Middle):
    """`deaf`: commands arrive, their answers do not. `caught`: how often a trap has held commands."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.deaf = False
        self.caught = 0
        self._held: set[asyncio.StreamWriter] = set()
        self._freed = asyncio.Event()
        self._trap: tuple[bytes, float] | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    def heal(self) -> None:
        """Answers come again, on new connections: on the old ones some are missing."""
        self.deaf = False
        for writer in self._writers:
            writer.close()

    def hold(self) -> None:
        """Commands on the connections of now stay on their way until `let_go`, also when who sent them is gone."""
        self._held |= self._writers

    def let_go(self) -> None:
        self._held.clear()
        self._freed.set()
        self._freed.clear()

    def trap(self, text: bytes, seconds: float) -> None:
        """The next commands that hold these bytes come so much later, and all that is behind them."""
        self._trap = text, seconds

    async def pass_on(self, server: Ends, database: Ends) -> None:
        (reader, writer), (answers, commands) = server, database
        self._writers.add(writer)
        answering = asyncio.create_task(self._answer(answers, writer))
        try:
            with suppress(OSError):
                await self._command(reader, commands, writer)
        finally:
            answering.cancel()
            for each in (commands, writer):
                each.close()
            self._writers.discard(writer)
            self._held.discard(writer)

    async def _command(
        self, reader: asyncio.StreamReader, commands: asyncio.StreamWriter, server: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(CHUNK):
            while server in self._held:
                await self._freed.wait()
            if self._trap is not None and self._trap[0] in data:
                (_, seconds), self._trap = self._trap, None
                self.caught += 1
                await asyncio.sleep(seconds)
            commands.write(data)
            await commands.drain()
        await asyncio.sleep(LINGER)

    async def _answer(self, answers: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        gone = False
        with suppress(OSError):
            while data := await answers.read(CHUNK):
                if not self.deaf and not gone:
                    server.write(data)
                    try:
                        await server.drain()
                    except OSError:
                        gone = True  # what it has sent is carried out nevertheless
        server.close()
