"""TLS without sockets: ciphertext in, plaintext out, over `ssl.MemoryBIO`.

asyncio's own TLS keeps 256 KiB for each connection. Here all connections of a loop share one pair of pipes, which is
right because both are empty whenever anything but a call of this module runs: OpenSSL takes a record that is not
complete out of the pipe and keeps it itself, and every call here takes out all that it put in. A pipe of its own would
cost each connection 2 KB idle, and 40 KB after one large write, because a pipe never shrinks. Should a byte ever be
left behind it is dropped; were it not, it would break the next connection's checksum and could not be read there.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Final

from .client_hello import Incomplete, offered_protocols

RECORD: Final = 16 << 10
NO_APPLICATION_PROTOCOL: Final = b"\x15\x03\x03\x00\x02\x02\x78"
"""A fatal alert, in clear as nothing is agreed yet (RFC 7301 section 3.2, RFC 8446 section 6)."""


class NoCommonProtocol(ssl.SSLError):
    """The client wants another protocol than ours (ALPN)."""


class Pipes:
    """The way into OpenSSL and out of it. One pair per event loop."""

    __slots__ = ("incoming", "outgoing")

    def __init__(self) -> None:
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()


class TlsLayer:
    """The server's side of one connection.

    `alpn`: with direct TLS the only protocol that a client may offer, if it offers any (XEP-0368 section 3).
    """

    __slots__ = ("_alpn", "_hello", "_pipes", "_ssl", "ended", "ready")

    def __init__(self, context: ssl.SSLContext, pipes: Pipes, alpn: bytes | None = None) -> None:
        self._pipes = pipes
        self._ssl = context.wrap_bio(pipes.incoming, pipes.outgoing, server_side=True)
        self._alpn = alpn
        self._hello: bytearray | None = None
        self.ready = False
        """The handshake is done, and nothing has failed since."""
        self.ended = False
        """The peer has sent close_notify: what comes behind it does not count."""

    def receive(self, data: memoryview) -> bytes:
        """Take in ciphertext, return the plaintext in it. There may be `output` afterwards, also after an error.

        Raises OSError (ssl.SSLError mostly); the connection is then of no use.
        """
        checked = data if self._alpn is None else self._check_offer(data)
        if checked is None:
            return b""
        incoming = self._pipes.incoming
        incoming.write(checked)
        try:
            if not self.ready:
                self._ssl.do_handshake()
                self.ready = True
            return self._read(min(max(len(checked), 512), RECORD))
        except ssl.SSLWantReadError:
            return b""
        except OSError:
            self.ready = False
            raise
        finally:
            if incoming.pending:
                incoming.read()

    def _check_offer(self, data: memoryview) -> bytearray | memoryview | None:
        """The first bytes once they are complete and may go to OpenSSL. Raises NoCommonProtocol."""
        hello = bytearray(data) if self._hello is None else self._hello + data
        try:
            offered = offered_protocols(hello)
        except Incomplete:
            self._hello = hello
            return None
        wanted, self._alpn, self._hello = self._alpn, None, None
        if offered is not None and wanted not in offered:
            self._pipes.outgoing.write(NO_APPLICATION_PROTOCOL)
            raise NoCommonProtocol(f"the client speaks {b' '.join(offered)[:80]!r}")
        return hello

    def _read(self, size: int) -> bytes:
        """All that can be decrypted. Asks first whether there is more: the exception would cost as much as the read."""
        read, pending, incoming = self._ssl.read, self._ssl.pending, self._pipes.incoming
        pieces = []
        while incoming.pending or pending():
            try:
                piece = read(size)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                piece = b""
            if not piece:
                self.ended = True
                break
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def output(self) -> bytes:
        """What the handshake, or an alert, has to say to the peer."""
        return self._pipes.outgoing.read()

    def encrypt(self, data: bytes) -> bytes:
        """Only when `ready`. Raises ssl.SSLError."""
        write, outgoing = self._ssl.write, self._pipes.outgoing
        try:
            if len(data) <= RECORD:
                write(data)
                return outgoing.read()
            view, done, pieces = memoryview(data), 0, []
            while done < len(data):
                done += write(view[done : done + RECORD])
                pieces.append(outgoing.read())
            return b"".join(pieces)
        except ssl.SSLError:
            outgoing.read()
            raise

    def goodbye(self) -> bytes:
        """Our close_notify. Nothing may be encrypted after it."""
        if not self.ready:
            return b""
        with suppress(ssl.SSLError):  # "want read": the peer's own close_notify, which we do not wait for
            self._ssl.unwrap()
        return self._pipes.outgoing.read()

    # ---- about the connection

    @property
    def version(self) -> str:
        return self._ssl.version() or ""

    @property
    def cipher(self) -> str:
        cipher = self._ssl.cipher()
        return cipher[0] if cipher else ""

    @property
    def end_point(self) -> bytes | None:
        """Of the certificate that was used, which may be another than that of the context we began with (SNI)."""
        context = self._ssl.context
        end_point: bytes | None = getattr(context, "end_point", None)
        return end_point
