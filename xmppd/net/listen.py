"""Accepting connections on one address and port."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal

from ..contracts.link import Receiver
from .address import network
from .connection import ALPN, Connection
from .engine import Engine
from .loop import open_file_limit
from .open_connections import OpenConnections
from .proxies import Proxies

if TYPE_CHECKING:
    from ..clock import Clock
    from .tls import Certificates
    from .tls_context import ServerContext

log = logging.getLogger("xmppd.net")

BACKLOG: Final = 1024
SPARE_FILES: Final = 64
"""Left to the store, logs and the control socket: a flood of connections must not cost us the database."""
COMPLAIN_EVERY: Final = 60.0

TlsMode = Literal["starttls", "direct", "none"]


class Listener:
    """One address and port. `connections`: those that are open, so that someone can look at all of them."""

    def __init__(
        self,
        clock: Clock,
        certificates: Certificates | None = None,
        tls: TlsMode = "starttls",
        per_address: int = 200,
        *,
        engine: Engine | None = None,
        alpn: bytes = ALPN,
        proxies: Proxies | None = None,
        peers: bool = False,
    ) -> None:
        """`per_address`: connections from one IPv4 address, or one IPv6 /64; further ones are closed at once. `alpn`:
        the protocol that is spoken here, by its name within direct TLS. `proxies`: those in front, whose connections
        have no such bound. `peers`: with direct TLS, other servers are asked for their certificate.

        Raises ValueError for direct TLS without certificates.
        """
        if tls == "direct" and certificates is None:
            raise ValueError("direct TLS needs certificates")
        self.connections = OpenConnections()
        self.address = ""
        self.port = 0
        """The real one, once started."""
        self.refused = 0
        """Connections closed at once: too many from one address, or too many files open."""
        self._clock = clock
        self._engine = engine or Engine.of(clock)
        self._certificates = certificates if tls == "direct" else None
        self._peers = peers
        self.alpn = alpn
        self.domain = ""
        self.per_address = per_address
        """For connections to come."""
        self._proxies = proxies or Proxies()
        self._from: dict[str, int] = {}
        self._forwarded: dict[Connection, str] = {}
        """Connections of proxies, by the network that each counts for; "": none yet."""
        self._make_receiver: Callable[[], Receiver]
        self._server: asyncio.Server | None = None
        self._most = 0
        self._complained = 0.0

    async def start(
        self, address: str, port: int, make_receiver: Callable[[], Receiver], reuse_port: bool = False
    ) -> None:
        """Listen; port 0 takes a free one. Raises OSError."""
        self._make_receiver = make_receiver
        self._most = open_file_limit() - SPARE_FILES
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self._engine, self),
            address,
            port,
            backlog=BACKLOG,
            reuse_address=True,
            reuse_port=reuse_port or None,
            family=socket.AF_UNSPEC,
        )
        self.address, self.port = self._server.sockets[0].getsockname()[:2]

    def stop_accepting(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def close(self, within: float = 6.0) -> None:
        """Stop accepting, close all connections, wait until they are gone: until the peers close, too, or their systems
        have taken all that was written. Those that take longer than `within` seconds are aborted."""
        self.stop_accepting()
        await self.connections.close(within)

    # ---- the connections' side (connection.Owner)

    def admit(self, connection: Connection) -> Receiver | None:
        key = network(connection.peer)
        if self._server is None:  # accepted by the kernel before we stopped
            return None
        proxied = self._proxies.trusts(connection.peer)
        if not proxied and not self._room(key):
            return None
        if self._engine.open >= self._most:
            self._refuse(f"{self._engine.open} connections are all that the limit of open files allows")
            return None
        receiver = self._make_receiver()
        if proxied:
            self._forwarded[connection] = ""
        else:
            self._from[key] = self._from.get(key, 0) + 1
        self._engine.open += 1
        self.connections.add(connection)
        return receiver

    def forwarded_for(self, connection: Connection, address: str) -> bool:
        key = network(address)
        if self._forwarded.get(connection) != "" or not self._room(key):
            return False
        self._forwarded[connection] = key
        self._from[key] = self._from.get(key, 0) + 1
        return True

    def forget(self, connection: Connection) -> None:
        key = self._forwarded.pop(connection, None)
        if key is None:
            key = network(connection.peer)
        if key:
            count = self._from[key] - 1
            if count:
                self._from[key] = count
            else:
                del self._from[key]
        self._engine.open -= 1
        self.connections.forget(connection)

    def direct_context(self) -> ServerContext | None:
        if self._certificates is None:
            return None
        return self._certificates.peer_context() if self._peers else self._certificates.default

    def _room(self, key: str) -> bool:
        count = self._from.get(key, 0)
        if count >= self.per_address:
            self._refuse(f"{key} has {count} connections")
            return False
        return True

    def _refuse(self, why: str) -> None:
        """Say so, but not for each: the log is no place for a flood either."""
        self.refused += 1
        now = self._clock.monotonic()
        if self.refused == 1 or now - self._complained >= COMPLAIN_EVERY:
            self._complained = now
            log.warning("connections refused (%d so far): %s", self.refused, why)
