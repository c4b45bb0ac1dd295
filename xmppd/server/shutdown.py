"""The end of all streams at a stop: it waits for the disk, and not for who is silent (docs/explanation/delivery.md).

Nothing more is read; what was read is settled and acknowledged; clients that cannot resume their session are asked
what they have; then all streams are closed at once. Only the asking depends on clients, and it has a limit for all
of them together (`limits.stop_time`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..contracts.sessions import STREAM_ENDING
from ..errors import StreamError

if TYPE_CHECKING:
    from ..streams.client import ClientStream
    from ..streams.server_stream import ServerStream
    from .runtime import RunningServer

log = logging.getLogger("xmppd.server")

WORK_WITHIN: Final = 5.0
"""Seconds that work under way may take: slow IQs, and a store that does not answer."""
LOOK: Final = 0.005
"""Seconds between two looks whether all is settled."""


class StreamShutdown:
    def __init__(self, server: RunningServer) -> None:
        self.server = server

    async def run(self) -> None:
        """End all streams. Those whose session waits for its client are detached, the others end."""
        server = self.server
        server.stopping = True
        components = list(server.components.streams)
        peers = [each for each in _remote(server) if not each.bidi]  # the others are read on (`ServerStream`)
        for stream in (*server.streams, *components, *peers):
            stream.pause_reading()
        if not await _until(self._settled, WORK_WITHIN):
            log.error("the streams end with stanzas that are not settled: they were not acknowledged")
        await self._confirm()
        for stream in list(server.streams):
            if stream.session is not None:
                stream.session.host.tell(STREAM_ENDING, stream.session)
            stream.fail(StreamError("system-shutdown"))
        for peer in peers:
            peer.fail(StreamError("system-shutdown"))
        for component in components:  # behind the clients', whose presence it is told
            component.fail(StreamError("system-shutdown"))

    def _settled(self) -> bool:
        server = self.server
        busy = server.router.outbox.busy or any(_busy(stream) for stream in server.streams)
        streams = (*server.components.streams, *_remote(server))
        return not busy and not any(each.waiting or each.handled < each.received for each in streams)

    async def _confirm(self) -> None:
        """Who cannot resume its session says what it has, so that it is not sent again. What else it says counts."""
        asked = [stream for stream in self.server.streams if _is_unconfirmed(stream)]
        if not asked:
            return
        for stream in asked:
            assert stream.session is not None
            stream.session.channel.ask_before_stop()
            stream.read_regardless()
        if not await _until(lambda: not any(map(_is_unconfirmed, asked)), self.server.limits.stop_time):
            left = sum(map(_is_unconfirmed, asked))
            log.info("%d clients have not said what they have: they are sent it again", left)
        for stream in asked:
            stream.pause_reading()
        await _until(self._settled, WORK_WITHIN)


def _remote(server: RunningServer) -> list[ServerStream]:
    """Streams on which other servers may send."""
    remotes = server.remote_domains
    return [*remotes.incoming, *(each for each in remotes.outgoing if each.bidi)] if remotes is not None else []


def _busy(stream: ClientStream) -> bool:
    session = stream.session
    return session is not None and (stream.waiting or session.handled < session.received)


def _is_unconfirmed(stream: ClientStream) -> bool:
    """It was sent entries that its client has not acknowledged, and its session ends with the stream."""
    session = stream.session
    return session is not None and not stream.closed and session.resumable <= 0 and bool(session.channel.pending())


async def _until(true: Callable[[], bool], within: float) -> bool:
    """Whether it became true."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within
    while not true():
        if loop.time() >= end:
            return False
        await asyncio.sleep(LOOK)
    return True
