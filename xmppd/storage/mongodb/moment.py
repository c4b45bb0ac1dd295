"""Reads that see at least the last round of writes, also right behind a fail-over (causal consistency).

A new primary may for a moment answer majority reads from a state that lacks what a majority has acknowledged. Where the
server says when it did something (`operationTime`: replica sets and sharded clusters), a read says which time its state
must not be older than (`readConcern.afterClusterTime`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

IDLE = 16
"""Sessions that are kept for the next reads."""


class Moment:
    """When the last round was written. A session is used by one operation at a time, so each read borrows one."""

    def __init__(self, client: Any, sessions: bool) -> None:
        self._client = client
        self._sessions = sessions
        self._writing: Any = None
        self._time: Any = None
        self._idle: list[Any] = []

    async def writing(self) -> Any:
        """The session in which everything is written, one statement behind the other; None: the server has none."""
        if self._sessions and self._writing is None:
            self._writing = await self._client.start_session(causal_consistency=False)
        return self._writing

    def written(self) -> None:
        """A statement was carried out: reads that begin now must see it."""
        if self._writing is not None:
            self._time = self._writing.operation_time

    def concern(self) -> dict[str, Any]:
        """The same for a command that the driver knows nothing of."""
        later = {"afterClusterTime": self._time} if self._time is not None else {}
        return {"level": "majority", **later}

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Any]:
        """A session whose reads see what was written before; None where the server does not tell times."""
        time = self._time
        if time is None:
            yield None
            return
        session = self._idle.pop() if self._idle else await self._client.start_session(causal_consistency=True)
        session.advance_operation_time(time)
        yield session
        # After an error it is left to the server, which forgets it: what was cancelled may still be on its way in it.
        if len(self._idle) < IDLE:
            self._idle.append(session)
        else:
            await session.end_session()
