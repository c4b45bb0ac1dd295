"""Connections that were accepted in one place, or opened by one dialler, until the last is gone."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .connection import Connection

LOOK: Final = 0.02
"""Seconds between two looks at connections that are being closed."""


class OpenConnections(set["Connection"]):
    _all_gone: asyncio.Future[None] | None = None

    def forget(self, connection: Connection) -> None:
        self.discard(connection)
        if not self and self._all_gone is not None and not self._all_gone.done():
            self._all_gone.set_result(None)

    async def close(self, within: float) -> None:
        """Close all, wait until they are gone: until the peers close, too, or their systems have taken all that was
        written. Those that take longer than `within` seconds are aborted."""
        for connection in list(self):
            connection.close()
        loop = asyncio.get_running_loop()
        end = loop.time() + within
        while not await self._gone(max(0.0, min(LOOK, end - loop.time()))):
            late = loop.time() >= end
            for connection in list(self):
                if late or connection.delivered:
                    connection.abort()
            if late:
                await self._gone(1.0)
                return

    async def _gone(self, within: float) -> bool:
        if self:
            self._all_gone = asyncio.get_running_loop().create_future()
            with suppress(TimeoutError):
                async with asyncio.timeout(within):
                    await self._all_gone
        return not self
