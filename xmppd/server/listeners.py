"""The listeners of a server: those of the configuration, by kind, and the ports that plugins open."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..config import (
    ClientListenerConfig,
    ComponentListenerConfig,
    HttpListenerConfig,
    LimitsConfig,
    ListenerConfig,
    ServerListenerConfig,
)
from ..net import http_server
from ..net.connection import ALPN
from ..net.engine import Engine, Timing
from ..net.http_bounds import HttpBounds
from ..net.listen import Listener
from ..net.tls_context import SERVER_PROTOCOL
from ..streams.client import ClientStream
from ..streams.component import ComponentStream
from .http_site import HttpSite, proxies_of

if TYPE_CHECKING:
    from ..contracts.link import Port, Receiver
    from .runtime import RunningServer

log = logging.getLogger("xmppd")


@dataclass(frozen=True, slots=True)
class ListenerKind:
    """What a kind of listener does with its connections. `receivers`: from the server and the listener's options to
    what makes the receiver of each connection. `alpn`: the protocol's name within TLS (RFC 7301)."""

    receivers: Callable[[RunningServer, Any], Callable[[], Receiver]]
    alpn: bytes
    peers: bool = False
    """Other servers connect: they are asked for their certificate."""


def _client_receivers(server: RunningServer, config: ClientListenerConfig) -> Callable[[], Receiver]:
    return lambda: ClientStream(server, config.tls, config.channel_binding)


def _component_receivers(server: RunningServer, config: ComponentListenerConfig) -> Callable[[], Receiver]:
    return lambda: ComponentStream(server, server.components)


def _http_receivers(server: RunningServer, config: HttpListenerConfig) -> Callable[[], Receiver]:
    return server.http.receiver(HttpSite(server, config))


def _server_receivers(server: RunningServer, config: ServerListenerConfig) -> Callable[[], Receiver]:
    from .federation import server_receivers  # without such a listener nobody needs that

    return server_receivers(server)


KINDS: Final[dict[type[ListenerConfig], ListenerKind]] = {
    ClientListenerConfig: ListenerKind(_client_receivers, ALPN),
    ComponentListenerConfig: ListenerKind(_component_receivers, ALPN),
    ServerListenerConfig: ListenerKind(_server_receivers, SERVER_PROTOCOL, peers=True),
    HttpListenerConfig: ListenerKind(_http_receivers, http_server.ALPN),
}
"""By the class of the options (`ListenerConfig.kinds`)."""


class ListenError(Exception):
    """A listener that cannot be opened. `number`: its place in `ServerConfig.every_listener`, from 0."""

    def __init__(self, number: int, listener: ListenerConfig, error: OSError) -> None:
        super().__init__(f"{listener.address} port {listener.port} cannot be opened: {reason(error)}")
        self.number = number


def reason(error: OSError) -> str:
    """Without the call and the address, which asyncio puts into the text."""
    return os.strerror(error.errno) if error.errno else str(error)


class Listeners:
    """Everything that one server listens on."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.configured: list[tuple[ListenerConfig, Listener]] = []
        self.ports: list[Listener] = []
        """Those of plugins."""

    def __iter__(self) -> Iterator[Listener]:
        yield from (listener for _, listener in self.configured)
        yield from self.ports

    def of(self, kind: type[ListenerConfig]) -> list[tuple[ListenerConfig, Listener]]:
        """Those of one kind, in the order of the configuration."""
        return [(config, listener) for config, listener in self.configured if isinstance(config, kind)]

    async def open(self) -> None:
        """Open the listeners of the configuration. Raises ListenError."""
        server = self.server
        assert server.certificates is not None
        self.use(server.config.limits)
        for number, config in enumerate(server.config.every_listener):
            kind = KINDS[type(config)]
            listener = Listener(
                server.clock,
                server.certificates,
                "direct" if config.direct_tls else "none",
                server.config.limits.connections_per_address,
                alpn=kind.alpn,
                peers=kind.peers,
                proxies=proxies_of(config),
            )
            try:
                await listener.start(config.address, config.port, kind.receivers(server, config))
            except OSError as error:
                raise ListenError(number, config, error) from error
            self.configured.append((config, listener))
            log.info("listening on %s port %d (%s)", config.address, listener.port, config.label)

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
        self.server.http.bounds = HttpBounds(
            config.http.header_size,
            float(config.header_time),
            float(config.http.body_time),
            float(config.http.keep_alive),
            config.connections_per_address,
        )
        for listener in self:
            listener.per_address = config.connections_per_address

    def stop_accepting(self) -> None:
        for listener in self:
            listener.stop_accepting()

    async def close(self, within: float) -> None:
        """Close all connections side by side: one that does not take what was written to it holds up nobody, and
        itself no longer than `within` seconds."""
        await self.server.http.stop(within)
        await asyncio.gather(*(listener.close(within) for listener in self))
