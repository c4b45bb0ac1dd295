"""The components of the server: each a destination for its domain, with the connections that it has now."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from ..contracts.components import (
    COMPONENT_CONNECTED,
    DELEGATES_CHANGED,
    PRIVILEGES_CHANGED,
    Filters,
    Privileges,
)
from ..contracts.routes import Arrival
from ..errors import RemoteServerTimeout, ResourceConstraint, StanzaError, StreamError
from ..jid import JID
from ..protocol.token_bucket import Rate
from ..stanza import Kind, Stanza
from .component import ComponentStream, Waiting, key_of
from .rate_limits import rate_of

if TYPE_CHECKING:
    from ..config import ComponentConfig
    from .runtime import StreamServer

log = logging.getLogger("xmppd.streams")

SAY_AGAIN: Final = 60.0
"""Seconds between two warnings about the same thing."""
REST_AFTER: Final = 10.0
"""Seconds without input after which a stream gives its parser back."""


class Component:
    """One of the configuration, connected or not. Implements `contracts.routes.Destination`."""

    remote = False

    def __init__(self, server: StreamServer, name: str, config: ComponentConfig) -> None:
        self.server = server
        self.name = name
        self.jid = JID.parse(name)
        self.connections: list[ComponentStream] = []
        self._warned = -SAY_AGAIN
        self.config: ComponentConfig
        self.rate: Rate
        self.configure(config)

    def configure(self, config: ComponentConfig) -> None:
        self.config = config
        self.rate = rate_of(config.rate)

    # ---- its connections

    def check_room(self) -> None:
        """Raises StreamError. One that is refused may be the next of a process whose last connection broke without a
        word: the others are asked whether they live."""
        if len(self.connections) >= self.config.connections:
            log.warning("a connection of the component %s is refused: it has %d", self.name, len(self.connections))
            for other in self.connections:
                if not other.pinged:
                    other.ping(self.server.default_host.jid)
            raise StreamError("conflict", "there are as many connections as there may be")

    def attach(self, connection: ComponentStream) -> None:
        self.connections.append(connection)
        log.info("the component %s is connected, from %s (%d)", self.name, connection.peer, len(self.connections))
        for host in self.server.router.routes.hosts():
            host.tell(COMPONENT_CONNECTED, connection)

    def detach(self, connection: ComponentStream, left: list[Waiting]) -> None:
        """What has not left for it goes to another one, in order, or back."""
        if connection not in self.connections:
            return
        self.connections.remove(connection)
        log.info("a connection of the component %s has ended (%d are left)", self.name, len(self.connections))
        for entry in left:
            self.send(entry.stanza)

    def failed(self, peer: str) -> None:
        now = self.server.clock.monotonic()
        if now - self._warned >= SAY_AGAIN:
            self._warned = now
            log.warning("a connection from %s does not know the secret of the component %s", peer, self.name)

    # ---- contracts.routes.Destination

    def accept(self, arrival: Arrival, stanza: Stanza) -> Awaitable[None] | None:
        """Raises RemoteServerTimeout while it is away: as a gateway that restarts it will be back (RFC 6120 section
        8.3.3.16), and who asks a room whether it is still in does not take it for an answer (XEP-0410 section 3.1).
        Raises ResourceConstraint while too much waits for it. Presence is dropped."""
        if _expects_answer(stanza):
            self._check_way(stanza)
        elif not self.connections:
            return None
        arrival.then(partial(self.send, stanza))
        return None

    def send(self, stanza: Stanza) -> None:
        """To the connection that has the conversation now; back to the sender if there is none any more, or too much
        has come since it was accepted."""
        if _expects_answer(stanza):
            try:
                self._check_way(stanza)
            except StanzaError as error:
                self.server.router.deliver(stanza.error(error))
                return
        if self.connections:
            self._chosen(key_of(stanza)).send(stanza)

    def _check_way(self, stanza: Stanza) -> None:
        """Raises RemoteServerTimeout, ResourceConstraint."""
        if not self.connections:
            raise RemoteServerTimeout("this service is not there now")
        if self._chosen(key_of(stanza)).unsent > self.config.queue:
            raise ResourceConstraint("too much waits for this service")

    def _chosen(self, key: str) -> ComponentStream:
        connections = self.connections
        if len(connections) == 1:
            return connections[0]
        for each in connections:
            if each.holds(key):  # what waits there was sent before
                return each
        return max(connections, key=lambda each: each.weight(key))


def _expects_answer(stanza: Stanza) -> bool:
    """Its sender hears what becomes of it (RFC 6120 section 8.3.1, RFC 6121 section 4.7.2.1)."""
    return stanza.kind is not Kind.PRESENCE and not stanza.answers


class Components:
    """Implements `contracts.components.Components`."""

    def __init__(self, server: StreamServer, config: Mapping[str, ComponentConfig]) -> None:
        self.server = server
        self._all: dict[str, Component] = {}
        self.streams: set[ComponentStream] = set()
        """All connections, those of strangers as well."""
        self.configure(config)

    def configure(self, config: Mapping[str, ComponentConfig]) -> None:
        """Put these into force. Raises ValueError for a domain that is served otherwise."""
        routes = self.server.router.routes
        before = {name: each.config for name, each in self._all.items()}
        for name in [name for name in self._all if name not in config]:
            for connection in list(self._all.pop(name).connections):
                connection.fail(StreamError("host-gone"))
            routes.unregister(name)
        for name, each in config.items():
            if name in self._all:
                self._all[name].configure(each)
            else:
                component = Component(self.server, name, each)
                routes.register(component.name, component)
                self._all[name] = component
        for name, old in before.items():
            if name in self._all:
                self._tell_rights(self._all[name], old)

    def _tell_rights(self, component: Component, old: ComponentConfig) -> None:
        """Tell who is connected what it may do now, where that is something else."""
        new = component.config
        for host in self.server.router.routes.hosts():
            domain = str(host.domain)
            for connection in component.connections:
                if old.privileges.get(domain) != new.privileges.get(domain):
                    host.tell(PRIVILEGES_CHANGED, connection)
                if old.delegates.get(domain) != new.delegates.get(domain):
                    host.tell(DELEGATES_CHANGED, connection)

    # ---- for streams

    def open(self, stream: ComponentStream) -> None:
        self.streams.add(stream)

    def gone(self, stream: ComponentStream) -> None:
        self.streams.discard(stream)

    def find(self, name: str) -> Component | None:
        return self._all.get(name)

    def sweep(self, now: float) -> None:
        """Look at all connections: strangers that say nothing, silent ones, idle parsers."""
        for stream in list(self.streams):
            try:
                self._look_at(stream, now)
            except Exception:
                log.exception("sweeping the stream of a component failed")
                stream.link.abort()

    def _look_at(self, stream: ComponentStream, now: float) -> None:
        limits = self.server.limits
        if not stream.attached:
            age = now - stream.born
            if age > limits.sign_in_time or (not stream.opened and age > limits.header_time):
                stream.fail(StreamError("connection-timeout"))
            return
        idle = now - stream.link.last_read
        if idle < REST_AFTER or stream.over_rate:
            return
        stream.parser.rest()
        if stream.pinged and now - stream.asked_at > limits.ping_timeout:
            stream.fail(StreamError("connection-timeout"))
        elif not stream.pinged and idle > limits.ping_after:
            stream.ping(self.server.default_host.jid)

    # ---- contracts.components.Components

    def privileges(self, host: str) -> Mapping[str, Privileges]:
        found = {name: each.config.privileges.get(host) for name, each in self._all.items()}
        return {name: each for name, each in found.items() if each is not None}

    def delegates(self, host: str) -> Mapping[str, Filters]:
        found = {name: each.config.delegates.get(host) for name, each in self._all.items()}
        return {name: each for name, each in found.items() if each}

    def connections(self, name: str) -> Iterable[ComponentStream]:
        component = self._all.get(name)
        return tuple(component.connections) if component is not None else ()

    def listed(self) -> Iterable[str]:
        return [name for name, each in self._all.items() if each.config.listed]
