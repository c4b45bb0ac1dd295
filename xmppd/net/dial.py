"""Connections that we open to other servers (RFC 6120 section 3.2, RFC 8305, XEP-0368).

    dialler = Dialler(clock, resolver, certificates)
    for candidate in await resolver.candidates("them.example"):
        try:
            link = await dialler.connect(candidate, "them.example", receiver, "us.example")
            break
        except OSError as error:        # TCP, TLS, no address, one that is not allowed: the next one
            ...

The receiver hears of nothing before `connect` has succeeded: then it gets `connected`, whose link can be written to at
once. With `candidate.direct_tls` the handshake is done by then (`link.secure`), no `secured` follows, and STARTTLS must
not be asked for. Else the receiver asks for STARTTLS in the stream, and calls from inside `data_received`, at
`<proceed/>`:

        link.start_tls(certificates.client_context("us.example"), "them.example")

and `secured` follows, or `connection_lost` with the error. In both cases `link.peer_certificates` is what the other
server has shown; what it is worth says `peer_certificate.verify`.

On the side that is called, the same with `link.start_tls(certificates.peer_context("us.example"))`, or a listener with
`peers=True` and `alpn=SERVER_PROTOCOL` for direct TLS.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import aiohappyeyeballs
import uvloop

from ..contracts.link import Link, Receiver
from .address import ForbiddenAddress, Network, reachable
from .connection import Connection
from .dns import Candidate, Resolver
from .engine import Engine
from .loop import open_file_limit
from .open_connections import OpenConnections
from .tls_context import SERVER_PROTOCOL, ClientContext

if TYPE_CHECKING:
    from ..clock import Clock
    from .tls import Certificates

log = logging.getLogger("xmppd.net")

HEAD_START: Final = 0.25
"""Seconds of an address before the next one is tried beside it (RFC 8305 section 5)."""
SPARE_FILES: Final = 128
"""Left free by us: who calls us comes first (`listen.SPARE_FILES`)."""
CALLS: Final = 500
"""Under way at once; further ones wait."""
MOST_TRIED: Final = 6
"""Addresses of one candidate: in the end, all at once."""


class Dialler:
    """`connections`: those that are open."""

    def __init__(
        self,
        clock: Clock,
        resolver: Resolver,
        certificates: Certificates,
        allowed: Sequence[Network] = (),
        timeout: float = 20.0,
        *,
        engine: Engine | None = None,
    ) -> None:
        """`allowed`: networks of our own that may be reached. `timeout`: seconds for one candidate: its addresses, TCP
        and, with direct TLS, the handshake."""
        self.allowed = tuple(allowed)
        self.timeout = timeout
        self.connections = OpenConnections()
        self._engine = engine or Engine.of(clock)
        self._resolver = resolver
        self._certificates = certificates
        self._free = asyncio.Semaphore(CALLS)
        self._calls = 0
        """Under way: their sockets are no connections yet."""

    async def connect(self, candidate: Candidate, domain: str, receiver: Receiver, local_domain: str) -> Link:
        """`domain`: whose server is called: its name goes into SNI (XEP-0368 section 3), not that of the candidate's
        host. `local_domain`: ours, in whose name we call.

        Raises OSError: ForbiddenAddress, ResolverError, TimeoutError, TlsError, or that of the system. Raises
        CertificateError where we have no certificate at all.
        """
        async with self._free:
            self._calls += 1
            try:
                return await self._connect(candidate, domain, receiver, local_domain)
            finally:
                self._calls -= 1

    async def _connect(self, candidate: Candidate, domain: str, receiver: Receiver, local_domain: str) -> Link:
        context = self._certificates.client_context(local_domain) if candidate.direct_tls else None
        if self._engine.open + self._calls * MOST_TRIED > open_file_limit() - SPARE_FILES:
            raise OSError(errno.EMFILE, f"{self._engine.open} connections are all that the limit of open files allows")
        answered: asyncio.Future[Link] = asyncio.get_running_loop().create_future()
        answered.add_done_callback(_heard)
        call = _Call(self, receiver, context, domain, answered)
        try:
            async with asyncio.timeout(self.timeout):
                where = entries(await self._allowed(candidate), candidate.port)
                sock = await aiohappyeyeballs.start_connection(where, happy_eyeballs_delay=HEAD_START)
                await self._begin(sock, call)
                return await answered
        except TimeoutError:
            call.abandon()
            raise TimeoutError(f"{candidate.host}:{candidate.port} does not answer") from None
        except RuntimeError as error:  # of uvloop, for what is an OSError with asyncio
            call.abandon()
            raise OSError(str(error)) from None
        except BaseException:
            call.abandon()
            raise

    async def _allowed(self, candidate: Candidate) -> list[str]:
        """Its addresses, as far as they may be reached. Raises ForbiddenAddress, ResolverError."""
        addresses = candidate.addresses or await self._resolver.addresses(candidate.host)
        allowed = [each for each in addresses if reachable(each, self.allowed)]
        if len(allowed) < len(addresses):
            refused = ", ".join(each for each in addresses if each not in allowed)
            log.info("%s: %s is not public, and of no network that is allowed: not connected", candidate.host, refused)
            if not allowed:
                raise ForbiddenAddress(f"{candidate.host}: {refused} is not a public address")
        return allowed

    async def _begin(self, sock: socket.socket, call: _Call) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Shielded: uvloop, cancelled here, would close the transport without a word to the connection.
        opening = asyncio.get_running_loop().create_task(self._open(sock, call))
        opening.add_done_callback(_heard)
        await asyncio.shield(opening)
        if not call.admitted:
            raise ConnectionResetError("closed at once")

    async def _open(self, sock: socket.socket, call: _Call) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: Connection(self._engine, call), sock=sock)
        finally:
            if isinstance(loop, uvloop.Loop):
                # It owns the file now. If the connection is closed already it has closed that, too, and does not tell
                # this socket, which would close the number again when it goes: a file of somebody else by then.
                sock.detach()

    async def close(self, within: float = 6.0) -> None:
        """Close all connections; see `OpenConnections.close`."""
        await self.connections.close(within)

    # ---- the side of its calls

    def opened(self, connection: Connection) -> None:
        self._engine.open += 1
        self.connections.add(connection)

    def forget(self, connection: Connection) -> None:
        self._engine.open -= 1
        self.connections.forget(connection)


def _heard(done: asyncio.Future[Any]) -> None:
    """Its failure is no news, even if nobody waits for it any more."""
    if not done.cancelled():
        done.exception()


Entry = tuple[int, int, int, str, tuple[str, int]]


def entries(addresses: Sequence[str], port: int) -> list[Entry]:
    """As of getaddrinfo: IPv6 and IPv4 in turn (RFC 8305 section 4), MOST_TRIED at most."""
    six = [each for each in addresses if ":" in each]
    four = [each for each in addresses if ":" not in each]
    in_turn = [each for pair in itertools.zip_longest(six, four) for each in pair if each is not None]
    return [
        (
            socket.AF_INET6 if ":" in address else socket.AF_INET,
            socket.SOCK_STREAM,
            socket.IPPROTO_TCP,
            "",
            (address, port),
        )
        for address in in_turn[:MOST_TRIED]
    ]


class _Call:
    """One connection as its owner (`connection.Owner`), and as its receiver until it is there for the real one."""

    alpn = SERVER_PROTOCOL

    def __init__(
        self,
        dialler: Dialler,
        receiver: Receiver,
        context: ClientContext | None,
        domain: str,
        answered: asyncio.Future[Link],
    ) -> None:
        self.domain = domain
        self.admitted = False
        self._connection: Connection | None = None
        self._dialler = dialler
        self._receiver: Receiver | None = receiver
        self._context = context
        self._answered: asyncio.Future[Link] | None = answered
        """Until it is: with the connection in it, it would keep that for as long as the connection keeps this."""
        self._abandoned = False

    def abandon(self) -> None:
        """Nobody waits any more. Who has been told of the connection is told of its end."""
        self._abandoned, self._answered = True, None
        if self._connection is not None:
            self._connection.abort()

    # ---- the owner

    def admit(self, connection: Connection) -> Receiver | None:
        if self._abandoned:
            return None
        self._dialler.opened(connection)
        self._connection, self.admitted = connection, True
        return self

    def direct_context(self) -> ClientContext | None:
        return self._context

    def forwarded_for(self, connection: Connection, address: str) -> bool:
        return False

    def forget(self, connection: Connection) -> None:
        self._dialler.forget(connection)
        self._connection = None

    # ---- the receiver

    def connected(self, link: Link) -> None:
        if self._context is None:
            self._hand_over(link)

    def secured(self) -> None:
        assert self._connection is not None
        self._hand_over(self._connection)

    def _hand_over(self, link: Link) -> None:
        receiver, self._receiver = self._receiver, None
        answered, self._answered = self._answered, None
        if receiver is not None and answered is not None and not answered.done():
            link.hand_over(receiver)
            answered.set_result(link)

    def data_received(self, data: bytes) -> None:
        raise AssertionError("before the handshake is done there is no data")

    def pause_writing(self) -> None:
        """Nothing is written here."""

    def resume_writing(self) -> None:
        """Nothing is written here."""

    def connection_lost(self, error: Exception | None) -> None:
        answered, self._answered = self._answered, None
        if answered is not None and not answered.done():
            if not isinstance(error, OSError):
                error = ConnectionResetError("closed during the TLS handshake")
            answered.set_exception(error)
