"""Listening sockets and the connections they accepted."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..clock import Clock, Timer
from .connection import Connection, Flusher

if TYPE_CHECKING:
    from .link import Receiver
    from .tls import Certificates

log = logging.getLogger("xmppd.net")

SWEEP = 1.0
HANDSHAKE = 10.0
CLOSING = 5.0
"""Seconds that a TLS handshake, and a closing connection's last bytes, may take."""
BACKLOG = 1024


class Listener:
    """One address and port. `tls`: "starttls", "direct" or "none"."""

    def __init__(self, clock: Clock, certificates: Certificates, tls: str, per_address: int) -> None:
        self.clock = clock
        self.certificates = certificates
        self.tls = tls
        self.per_address = per_address
        self.connections: set[Connection] = set()
        self.flusher: Flusher
        self._peers: Counter[str] = Counter()
        self._server: asyncio.Server | None = None
        self._timer: Timer | None = None

    async def start(self, address: str, port: int, make_receiver: Callable[[], Receiver]) -> None:
        """Raises OSError."""
        loop = asyncio.get_running_loop()
        self.flusher = Flusher(loop)
        self._server = await loop.create_server(
            lambda: Connection(self, make_receiver()), address, port, backlog=BACKLOG, reuse_address=True
        )
        self._sweep()

    @property
    def port(self) -> int:
        """The port that is listened on, chosen by the system where 0 was asked for."""
        assert self._server is not None
        listening: socket.socket = self._server.sockets[0]
        return int(listening.getsockname()[1])

    def admit(self, connection: Connection) -> bool:
        """False: too many connections from that address."""
        if self._peers[connection.peer] >= self.per_address:
            log.info("refused %s: %d connections already", connection.peer, self.per_address)
            return False
        self._peers[connection.peer] += 1
        self.connections.add(connection)
        return True

    def forget(self, connection: Connection) -> None:
        if connection in self.connections:
            self.connections.discard(connection)
            self._peers[connection.peer] -= 1
            if not self._peers[connection.peer]:
                del self._peers[connection.peer]

    def _sweep(self) -> None:
        """One timer for all connections."""
        self._timer = self.clock.call_later(SWEEP, self._sweep)
        now = self.clock.monotonic()
        for connection in list(self.connections):
            late = connection.tls_since and now - connection.tls_since > HANDSHAKE
            stuck = connection.closing_since and now - connection.closing_since > CLOSING
            if late or stuck:
                connection.abort()
            else:
                connection.look_drained()

    def stop_accepting(self) -> None:
        if self._server is not None:
            self._server.close()

    async def close(self) -> None:
        """Stop accepting; wait a little for the last bytes of the connections, then drop them."""
        self.stop_accepting()
        for connection in list(self.connections):
            connection.close()
        deadline = self.clock.monotonic() + CLOSING
        while self.connections and self.clock.monotonic() < deadline:  # noqa: ASYNC110 (at the stop only)
            await asyncio.sleep(0.02)
        for connection in list(self.connections):
            connection.abort()
        if self._timer is not None:
            self._timer.cancel()
