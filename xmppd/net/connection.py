"""A TCP connection, with or without TLS. Knows no XMPP."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from .tls import end_point_of
from .tls_layer import TlsLayer

if TYPE_CHECKING:
    from .link import Receiver
    from .listen import Listener

log = logging.getLogger("xmppd.net")

READ = 65_536
HIGH_WATER = 262_144
_read_buffer = bytearray(READ)
_read_view = memoryview(_read_buffer)
"""Shared by all connections: a read is worked off before the next one begins."""


class Flusher:
    """All that one turn of the loop writes to a connection leaves in one piece; one callback a turn for all."""

    __slots__ = ("_dirty", "_draining", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._dirty: list[Connection] = []
        self._draining: list[Connection] = []

    def add(self, connection: Connection) -> None:
        if not self._dirty:
            self._loop.call_soon(self._flush)
        self._dirty.append(connection)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            connection.flush()

    def drain(self, connection: Connection) -> None:
        if not self._draining:
            self._loop.call_soon(self._drained)
        self._draining.append(connection)

    def _drained(self) -> None:
        draining, self._draining = self._draining, []
        for connection in draining:
            connection.look_drained()


class Connection(asyncio.BufferedProtocol):
    """Implements `Link`."""

    __slots__ = (
        "_drained",
        "_held",
        "_listener",
        "_lost",
        "_out",
        "_paused",
        "_receiver",
        "_tls",
        "_transport",
        "closing_since",
        "last_read",
        "loopback",
        "peer",
        "tls_since",
    )

    def __init__(self, listener: Listener, receiver: Receiver) -> None:
        self._listener = listener
        self._receiver = receiver
        self._transport: asyncio.Transport | None = None
        self._tls: TlsLayer | None = None
        self._out: list[bytes] = []
        self._held: list[bytes] | None = None
        self._drained: list[Callable[[], None]] | None = None
        self._paused = False
        self._lost = False
        self.peer = ""
        self.loopback = False
        self.last_read = 0.0
        self.closing_since = 0.0
        self.tls_since = 0.0

    # ---- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.last_read = self._listener.clock.monotonic()
        name = transport.get_extra_info("peername")
        self.peer = str(name[0]) if name else ""
        self.loopback = bool(self.peer) and ipaddress.ip_address(self.peer.partition("%")[0]).is_loopback
        if not self._listener.admit(self):
            self._lost = True
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=HIGH_WATER)
        self._receiver.connected(self)
        if self._listener.tls == "direct":
            self.start_tls(self._listener.certificates.default)

    def get_buffer(self, sizehint: int) -> bytearray:
        return _read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.last_read = self._listener.clock.monotonic()
        try:
            if self._tls is None:
                self._receiver.data_received(bytes(_read_view[:nbytes]))
            else:
                self._tls.feed(_read_view[:nbytes])
                self._work_tls(self._tls)
        except ssl.SSLError as error:
            log.info("TLS with %s failed: %s", self.peer, error.reason or error)
            self._send_tls()
            self.abort(error)
        except Exception:
            log.exception("the connection of %s is dropped", self.peer)
            self.abort()

    def eof_received(self) -> bool:
        return False  # XMPP has no half-closed streams: the transport closes

    def pause_writing(self) -> None:
        if not self._lost:
            self._receiver.pause_writing()

    def resume_writing(self) -> None:
        if not self._lost:
            self.look_drained()
            self._receiver.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.forget(self)
        self._drained = None
        self._out = []
        self._held = None
        self._tls = None
        if not self._lost:
            self._lost = True
            self._receiver.connection_lost(exc)

    # ---- TLS

    def _work_tls(self, tls: TlsLayer) -> None:
        if not tls.established:
            done = tls.handshake()
            self._send_tls()
            if not done:
                return
            self.tls_since = 0.0
            self._receiver.secured()
        while not self._lost:
            data = tls.read()
            if data is None:
                break
            if data == b"":
                self.close()
                break
            if self._paused:
                if self._held is None:
                    self._held = []
                self._held.append(data)
            else:
                self._receiver.data_received(data)
        self._send_tls()

    def _send_tls(self) -> None:
        if self._tls is not None and self._transport is not None:
            data = self._tls.outgoing()
            if data:
                self._transport.write(data)

    def start_tls(self, context: ssl.SSLContext) -> None:
        self.flush()
        self._tls = TlsLayer(context)
        self.tls_since = self._listener.clock.monotonic()

    # ---- the protocol's side (Link)

    @property
    def secure(self) -> bool:
        return self._tls is not None and self._tls.established

    @property
    def tls_server_end_point(self) -> bytes | None:
        return end_point_of(self._tls.context) if self._tls is not None and self._tls.established else None

    @property
    def tls_version(self) -> str:
        return self._tls.version if self._tls is not None else ""

    @property
    def write_buffer_size(self) -> int:
        waiting = sum(map(len, self._out))
        return waiting + (self._transport.get_write_buffer_size() if self._transport is not None else 0)

    def write(self, data: bytes) -> None:
        if self._lost or self.closing_since:
            return
        if not self._out:
            self._listener.flusher.add(self)
        self._out.append(data)

    def flush(self) -> None:
        """Hand what was written to the transport."""
        out = self._out
        if not out or self._transport is None or self._lost:
            return
        self._out = []
        data = out[0] if len(out) == 1 else b"".join(out)
        if self._tls is None:
            self._transport.write(data)
            return
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            self.abort(error)
            return
        self._send_tls()

    def on_drained(self, callback: Callable[[], None]) -> None:
        if self._lost:
            return
        if self._drained is None:
            self._drained = []
            self._listener.flusher.drain(self)
        self._drained.append(callback)

    def look_drained(self) -> None:
        """Tell who waits for it that all is written. Looked at next turn, when writing goes on, and by the sweep."""
        if self._drained is None or self._lost or self._transport is None:
            return
        if self._out or self._transport.get_write_buffer_size():
            return
        waiting, self._drained = self._drained, None
        for callback in waiting:
            callback()

    def pause_reading(self) -> None:
        if not self._paused and not self._lost and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._paused or self._lost or self._transport is None:
            return
        self._paused = False
        held, self._held = self._held, None
        for index, data in enumerate(held or ()):
            if self._paused:
                self._held = (held or [])[index:]
                return
            self._receiver.data_received(data)
        if not self._paused and not self._lost:
            self._transport.resume_reading()

    def close(self) -> None:
        if self._lost or self.closing_since or self._transport is None:
            return
        self.flush()
        self.closing_since = self._listener.clock.monotonic()
        if self._tls is not None and self._tls.established:
            self._tls.goodbye()
            self._send_tls()
        self._transport.close()

    def abort(self, error: Exception | None = None) -> None:
        if self._transport is not None:
            self._transport.abort()
        if not self._lost:
            self._lost = True
            self._receiver.connection_lost(error)
