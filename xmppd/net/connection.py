"""One TCP connection, plain or TLS: bytes between a transport and a `Receiver` (see `contracts.link`).

Works on uvloop and on asyncio's own loop. It has no task and no timer, and while nothing happens no buffer.
The transport's water marks are both zero, so `pause_writing` means "the kernel did not take all" and `resume_writing`
"now it has": that is all `on_drained` needs. What the receiver hears of it begins at `Timing.high_water`.
"""

from __future__ import annotations

import asyncio
import enum
import fcntl
import logging
import termios
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol, cast

from .address import is_loopback, plain
from .tls_context import CLIENT_PROTOCOL
from .tls_layer import TlsLayer
from .tls_names import server_name

if TYPE_CHECKING:
    from ..contracts.link import Receiver
    from .engine import Engine
    from .tls_context import ClientContext, ServerContext

log = logging.getLogger("xmppd.net")

ALPN: Final = CLIENT_PROTOCOL


class Owner(Protocol):
    """Who has accepted the connection, or opened it. `alpn`: what is spoken on it, by its name within direct TLS.
    `domain`: whose server we have called, "" where a peer has called us."""

    alpn: bytes
    domain: str

    def admit(self, connection: Connection) -> Receiver | None:
        """The protocol for it; None: close at once. `forget` comes only for what was admitted."""
        ...

    def direct_context(self) -> ServerContext | ClientContext | None:
        """With direct TLS, what the handshake begins with."""
        ...

    def forwarded_for(self, connection: Connection, address: str) -> bool:
        """A connection of a proxy counts for that address. False: it has too many, or this is none of a proxy."""
        ...

    def forget(self, connection: Connection) -> None: ...


class State(enum.Enum):
    OPEN = enum.auto()
    CLOSING = enum.auto()
    """Nothing more is delivered or taken; what was written is on its way."""
    LOST = enum.auto()


class Connection(asyncio.BufferedProtocol):
    """Implements `Link`, on either side."""

    __slots__ = (
        "__weakref__",
        "_bulk",
        "_dirty",
        "_discarded",
        "_drained",
        "_engine",
        "_error",
        "_first",
        "_held",
        "_holds",
        "_known",
        "_out",
        "_out_size",
        "_owner",
        "_paused",
        "_receiver",
        "_slow",
        "_state",
        "_stuck",
        "_tls",
        "_transport",
        "last_read",
        "peer",
        "port",
    )

    def __init__(self, engine: Engine, owner: Owner) -> None:
        self._engine = engine
        self._owner = owner
        self._receiver: Receiver | None = None
        self._transport: asyncio.Transport | None = None
        self._tls: TlsLayer | None = None
        self._state = State.LOST
        self._error: Exception | None = None
        self._out: list[bytes] | None = None
        self._out_size = 0
        self._first = b""
        """What TLS says in front of the first thing that is written."""
        self._held: bytes | None = None
        """Plaintext that came while reading was paused."""
        self._holds = False
        """At the end of this turn nothing is handed over."""
        self._drained: list[Callable[[], None]] | None = None
        self._dirty = False
        """The engine has it on its list for this turn."""
        self._stuck = False
        """The kernel did not take all."""
        self._slow = False
        """The receiver knows that too much waits."""
        self._paused = False
        self._known = False
        """What it sends does not wait for a later turn when there are many."""
        self._bulk = False
        """Each read may bring much."""
        self._discarded = 0
        self.last_read = 0.0
        self.peer = ""
        self.port = 0

    # ---- the transport's side (asyncio.BufferedProtocol)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)
        address = transport.get_extra_info("peername")
        if not address:  # it is gone already
            transport.abort()
            return
        self.peer, self.port = plain(address[0]), address[1]
        self._transport = transport
        transport.set_write_buffer_limits(0)
        receiver = self._owner.admit(self)
        if receiver is None:
            transport.abort()
            return
        self._receiver = receiver
        self._state = State.OPEN
        self.last_read = self._engine.clock.monotonic()
        context = self._owner.direct_context()
        if context is not None:
            self._secure(context, self._owner.alpn, self._owner.domain)
        self._tell(lambda: receiver.connected(self))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._engine.bulk if self._bulk else self._engine.view

    def buffer_updated(self, nbytes: int) -> None:
        if self._state is not State.OPEN:
            self._discard(nbytes)
            return
        self.last_read = self._engine.clock.monotonic()
        data = (self._engine.bulk if self._bulk else self._engine.view)[:nbytes]
        standstill = self._engine.standstill
        if standstill is not None and standstill.holds():
            assert self._transport is not None
            self._transport.pause_reading()
            standstill.hold(self, bytes(data))
            return
        if not self._known and not self._engine.may_take():
            assert self._transport is not None
            self._transport.pause_reading()
            self._engine.take_later(self, bytes(data))
            return
        self._take(data)

    def take(self, data: bytes) -> None:
        """What came in an earlier turn, when nothing more was read."""
        if self._transport is not None and not self._paused:
            self._transport.resume_reading()
        if self._state is State.OPEN:
            self._take(memoryview(data))

    def _take(self, data: memoryview) -> None:
        if self._tls is None:
            self._deliver(bytes(data))
        else:
            self._decrypt(self._tls, data)

    def eof_received(self) -> bool:
        if self._tls is not None and not self._tls.ready:
            self._error = ConnectionResetError("closed during the TLS handshake")
        if self._state is State.OPEN:
            self._finish()
        return False  # the transport sends what it holds and closes

    def pause_writing(self) -> None:
        self._stuck = True

    def resume_writing(self) -> None:
        self._stuck = False
        self._call_drained()  # first: who is told to go on writes more
        if self._slow:
            self._slow = False
            if self._receiver is not None and self._state is State.OPEN:
                self._tell(self._receiver.resume_writing)

    def connection_lost(self, exc: Exception | None) -> None:
        receiver, self._receiver = self._receiver, None
        self._state = State.LOST
        self._transport = self._tls = self._out = self._held = self._drained = None
        self._out_size = 0
        self._engine.forget(self)
        error, self._error = self._error or exc, None
        if receiver is None:
            return
        self._owner.forget(self)
        try:
            receiver.connection_lost(error)
        except Exception:
            log.exception("the end of the connection from %s was not taken well", self.peer)

    # ---- reading

    def _deliver(self, data: bytes) -> None:
        receiver, transport = self._receiver, self._transport
        if receiver is None or transport is None or self._state is not State.OPEN:
            return
        if self._paused:
            # Paused in `secured`, or in `connected`: uvloop begins to read after that, whatever was said there.
            self._held = data if self._held is None else self._held + data
            transport.pause_reading()
            return
        # What is written from here to the first step of the tasks that this starts goes out together.
        dirty, self._dirty = self._dirty, True
        try:
            receiver.data_received(data)
        except Exception as error:
            self._failed(error)
        self._dirty = dirty
        if dirty or (self._out is None and self._drained is None and self._held is None):
            return
        if self._known:
            self._turn_soon()
        else:  # a sign-in, whose answer is mostly ready by then: one record and one write less
            self._dirty = True
            self._engine.turn_behind(self)

    def _decrypt(self, tls: TlsLayer, ciphertext: memoryview) -> None:
        was_ready, had_begun = tls.ready, tls.begun
        failure: OSError | None = None
        data = b""
        try:
            data = tls.receive(ciphertext)
        except OSError as error:
            # Its frames hold TLS, and this one holds the error: together they would stay until the collector comes.
            failure = error.with_traceback(None)
        answer = tls.output()
        if answer and tls.ready and not was_ready and tls.tls13 and not tls.client:
            self._first = answer  # tickets, for which nobody waits
        elif answer and self._transport is not None:
            self._transport.write(answer)
        if failure is not None:
            log.info("TLS with %s failed: %s", self.peer, failure)
            self._finish(failure)
            return
        if not had_begun and tls.begun and not tls.ready:
            self._engine.begins(self)
        elif tls.ready and not was_ready:
            self._handshake_done()
        if data:
            self._deliver(data)
        if tls.ended and self._state is State.OPEN:
            self._finish()

    def _handshake_done(self) -> None:
        self._engine.forget(self)
        if self._receiver is not None:
            self._tell(self._receiver.secured)
        if self._out is not None:
            self._turn_soon()

    def _discard(self, count: int) -> None:
        """Read on while closing: bytes that are left unread make the kernel reset the connection, and a reset takes
        away what the peer has not read yet (our stream error)."""
        self._discarded += count
        if self._discarded > self._engine.timing.discard:
            self.abort()

    def take_first(self) -> None:
        self._known = True

    def read_in_bulk(self, much: bool) -> None:
        self._bulk = much

    def pause_reading(self) -> None:
        if not self._paused and self._state is State.OPEN and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._paused:
            return
        self._paused = False
        if self._held is not None:
            self._turn_soon()
        elif self._state is State.OPEN and self._transport is not None:
            self._transport.resume_reading()

    def _deliver_held(self) -> None:
        data, self._held = self._held, None
        if data is not None:
            self._deliver(data)
        if not self._paused and self._state is State.OPEN and self._transport is not None:
            self._transport.resume_reading()

    # ---- writing

    def write(self, data: bytes) -> None:
        if self._state is not State.OPEN or not data:
            return
        if self._out is None:
            self._out = [data]
        else:
            self._out.append(data)
        self._out_size += len(data)
        if self._out_size > self._engine.timing.high_water:
            self._flush()  # not to wait for the end of the turn, so that the writer hears at once when it is too much
        elif not self._dirty:
            self._dirty = True
            self._engine.turn_soon(self)

    def hold(self) -> None:
        self._holds = self._dirty

    def on_drained(self, callback: Callable[[], None]) -> None:
        if self._state is not State.LOST:
            self._drained = self._drained or []
            self._drained.append(callback)
            self._turn_soon()

    def _turn_soon(self) -> None:
        if not self._dirty:
            self._dirty = True
            self._engine.turn_soon(self)

    def turn(self) -> None:
        """The engine's call, at the end of a turn in which there was something to do."""
        if self._held is not None and not self._paused:
            self._deliver_held()
        self._dirty = False
        if self._holds:
            self._holds = False
        elif self._out is not None and self._state is State.OPEN:
            self._flush()
        if self._drained is not None:
            self._call_drained()

    def _flush(self) -> None:
        """Hand over to the transport. With TLS, not before the handshake is done."""
        data, transport = self._sealed(), self._transport
        if not data or transport is None:
            return
        transport.write(data)
        if self._stuck and not self._slow and transport.get_write_buffer_size() > self._engine.timing.high_water:
            self._slow = True
            if self._receiver is not None:
                self._tell(self._receiver.pause_writing)

    def _sealed(self) -> bytes:
        """What waits to be written, as it goes over the wire; b"" for nothing."""
        out, tls = self._out, self._tls
        if out is None or self._transport is None or (tls is not None and not tls.ready):
            return b""
        self._out, self._out_size = None, 0
        data = out[0] if len(out) == 1 else b"".join(out)
        if tls is None:
            return data
        first, self._first = self._first, b""
        try:
            return first + tls.encrypt(data)
        except OSError as error:
            self._failed(error)
            return b""

    def _call_drained(self) -> None:
        transport = self._transport
        if self._out is not None or self._stuck or transport is None or self._drained is None:
            return
        if transport.is_closing():  # what it held may be lost
            return
        callbacks, self._drained = self._drained, None
        for callback in callbacks:
            self._tell(callback)

    # ---- TLS

    def start_tls(self, context: ServerContext | ClientContext, domain: str = "") -> None:
        if self._tls is not None:
            raise RuntimeError("TLS is on already")
        if self._state is State.OPEN:
            self._flush()
            self._held = None
            self._secure(context, None, domain)

    def _secure(self, context: ServerContext | ClientContext, alpn: bytes | None, domain: str) -> None:
        self._tls = tls = TlsLayer(context, self._engine.pipes, alpn, server_name(domain))
        self._engine.watch(self, self._engine.timing.handshake)
        hello = tls.hello()
        if hello and self._transport is not None:
            self._transport.write(hello)
            self._engine.begins(self)

    def forwarded_for(self, address: str) -> bool:
        if self._state is not State.OPEN or not self._owner.forwarded_for(self, address):
            return False
        self.peer, self.port = address, 0
        return True

    # ---- the end

    def hand_over(self, receiver: Receiver) -> None:
        if self._state is not State.OPEN:
            return
        self._receiver, self._slow = receiver, False
        self._tell(lambda: receiver.connected(self))

    def close(self) -> None:
        if self._state is State.OPEN:
            self._finish()

    def _finish(self, error: Exception | None = None) -> None:
        """Send what is left, close_notify and FIN. The rest is the peer's turn, or the deadline's."""
        transport, tls = self._transport, self._tls
        last = self._sealed()
        if transport is None or self._state is not State.OPEN:  # lost while writing
            return
        self._state = State.CLOSING
        self._error = self._error or error
        self._out, self._out_size, self._held = None, 0, None
        self._engine.forget(self)
        self._engine.watch(self, self._engine.timing.close)
        if transport.is_closing():
            return
        if tls is not None:
            self._tls = None
            last += self._first + tls.goodbye()
        if last:
            transport.write(last)
        if tls is not None and tls.ended:  # nothing of the peer's can be left unread: nothing is waited for
            transport.close()
            return
        try:
            transport.write_eof()
        except OSError:  # the peer has reset the connection
            transport.abort()
            return
        if self._paused:
            self._paused = False
            transport.resume_reading()

    def abort(self) -> None:
        if self._state is not State.LOST and self._transport is not None:
            self._state = State.CLOSING
            self._tls = self._out = self._held = None
            self._out_size = 0
            self._transport.abort()

    def overdue(self) -> None:
        """The engine's call: the handshake, or the closing, takes too long."""
        if self._state is State.OPEN:
            self._error = TimeoutError("the TLS handshake took too long")
        self.abort()

    def _failed(self, error: Exception) -> None:
        log.error("the connection from %s is aborted", self.peer, exc_info=error)
        self._error = error
        self.abort()

    def _tell(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            self._failed(error)

    # ---- about the connection

    @property
    def loopback(self) -> bool:
        return is_loopback(self.peer)

    @property
    def secure(self) -> bool:
        return self._tls is not None and self._tls.ready

    @property
    def securing(self) -> bool:
        return self._tls is not None and not self._tls.ready

    @property
    def tls_version(self) -> str:
        return self._tls.version if self._tls is not None else ""

    @property
    def cipher(self) -> str:
        return self._tls.cipher if self._tls is not None else ""

    @property
    def tls_server_end_point(self) -> bytes | None:
        return self._tls.end_point if self._tls is not None and self._tls.ready else None

    @property
    def exports(self) -> bool:
        return self._tls is not None and self._tls.exports

    @property
    def tls_exporter(self) -> bytes | None:
        return self._tls.exporter if self._tls is not None else None

    @property
    def tls_unique(self) -> bytes | None:
        return self._tls.unique if self._tls is not None else None

    @property
    def peer_certificates(self) -> tuple[bytes, ...]:
        return self._tls.peer_certificates if self._tls is not None else ()

    @property
    def delivered(self) -> bool:
        """It is being closed, and the peer's system has all that was written: its close is all that is missing."""
        transport = self._transport
        if self._state is not State.CLOSING or transport is None or transport.get_write_buffer_size():
            return False
        socket = transport.get_extra_info("socket")
        if socket is None:  # aborted a moment ago, with uvloop
            return False
        try:
            left = fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
        except OSError:
            return False
        return not any(left)

    @property
    def write_buffer_size(self) -> int:
        return self._out_size + (self._transport.get_write_buffer_size() if self._transport is not None else 0)
