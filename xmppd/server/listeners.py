"""The listeners of a server: those of the configuration, by kind, and the ports that plugins open."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..config import LimitsConfig, ListenerConfig
from ..net.engine import Engine, Timing
from ..net.listen import Listener
from ..streams.client import ClientStream

if TYPE_CHECKING:
    from ..contracts.link import Port, Receiver
    from .server import Server

log = logging.getLogger("xmppd")


class ListenError(Exception):
    """A listener that cannot be opened. `number`: its place in the configuration, from 0."""

    def __init__(self, number: int, listener: ListenerConfig, error: OSError) -> None:
        super().__init__(f"{listener.address} port {listener.port} cannot be opened: {reason(error)}")
        self.number = number


def reason(error: OSError) -> str:
    """Without the call and the address, which asyncio puts into the text."""
    return os.strerror(error.errno) if error.errno else str(error)


class Listeners:
    """Everything that one server listens on."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.configured: list[tuple[ListenerConfig, Listener]] = []
        self.ports: list[Listener] = []
        """Those of plugins."""

    def __iter__(self) -> Iterator[Listener]:
        yield from (listener for _, listener in self.configured)
        yield from self.ports

    async def open(self) -> None:
        """Open the listeners of the configuration. Raises ListenError."""
        server = self.server
        assert server.certificates is not None
        self.use(server.config.limits)
        for number, config in enumerate(server.config.listeners):
            listener = Listener(
                server.clock, server.certificates, config.tls, server.config.limits.connections_per_address
            )
            try:
                await listener.start(config.address, config.port, self._receiver(config))
            except OSError as error:
                raise ListenError(number, config, error) from error
            self.configured.append((config, listener))
            log.info("listening on %s port %d (%s)", config.address, listener.port, config.tls)

    def _receiver(self, config: ListenerConfig) -> Callable[[], ClientStream]:
        return lambda: ClientStream(self.server, config.tls, config.channel_binding)

    async def open_port(self, address: str, port: int, make_receiver: Callable[[], Receiver]) -> Port:
        """Listen for a plugin, without TLS, until the server stops; port 0 takes a free one. Raises OSError."""
        server = self.server
        listener = Listener(server.clock, tls="none", per_address=server.config.limits.connections_per_address)
        await listener.start(address, port, make_receiver)
        self.ports.append(listener)
        return listener

    def use(self, config: LimitsConfig) -> None:
        """Put the limits of connections into force, for those that are open as well."""
        Engine.of(self.server.clock).timing = Timing(
            handshake=float(config.handshake_time), handshakes=config.handshakes, close=float(config.close_time)
        )
        for listener in self:
            listener.per_address = config.connections_per_address

    def stop_accepting(self) -> None:
        for listener in self:
            listener.stop_accepting()

    async def close(self, within: float) -> None:
        """Close all connections side by side: one that does not take what was written to it holds up nobody, and
        itself no longer than `within` seconds."""
        await asyncio.gather(*(listener.close(within) for listener in self))
