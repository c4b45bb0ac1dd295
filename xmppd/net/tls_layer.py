"""TLS without sockets: ciphertext in, plaintext out, over pyOpenSSL and memory BIOs (docs/adr/0013).

Handshake, reading and writing call OpenSSL through the bindings that pyOpenSSL itself stands on: its own `recv` and
`send` make a buffer for each call and cost twice as much, and its `do_handshake` raises an exception to say that more
is to come. Everything else, once in the life of a connection, is its public interface.

A memory BIO (here: a pipe) never shrinks: one large write would cost a connection its size for ever. So after whatever
is larger than `KEEP`, as handshakes with a chain of certificates are, a connection gets new ones. They are empty
whenever anything but a call of this module runs, since OpenSSL takes a record that is not complete out of the pipe and
keeps it itself, and every call here takes out all that it put in.
"""

from __future__ import annotations

from typing import Any, Final

from OpenSSL import SSL, crypto

from .client_hello import incomplete
from .tls_context import ClientContext, ServerContext
from .tls_errors import TlsError

_lib: Final[Any] = SSL._lib  # type: ignore[attr-defined]
_ffi: Final[Any] = SSL._ffi  # type: ignore[attr-defined]
_shake_hands = _lib.SSL_do_handshake
_read, _write, _fill, _drain = _lib.SSL_read, _lib.SSL_write, _lib.BIO_write, _lib.BIO_read
_left = _lib.BIO_get_mem_data
_error_of, _forget_errors = _lib.SSL_get_error, _lib.ERR_clear_error
_WANT_READ, _ZERO_RETURN = _lib.SSL_ERROR_WANT_READ, _lib.SSL_ERROR_ZERO_RETURN

RECORD: Final = 16 << 10
ROOM: Final = 96 << 10
"""One read of the engine, decrypted, and the record that was not complete before it."""
PIECE: Final = 64 << 10
"""So much is encrypted at once; the overhead of its records fits into the rest of ROOM."""
KEEP: Final = 2048
"""What a pipe may have grown to, about, while nothing happens."""
EXPORTER: Final = b"EXPORTER-Channel-Binding"
"""RFC 9266 section 2: the label; 32 bytes; the context is there and empty (that is not "no context" in TLS 1.2)."""
MOST_CERTIFICATES: Final = 10
CHAIN_SIZE: Final = 32 << 10
"""Bytes of a peer's certificates, all together."""


class Pipes:
    """What all connections of an event loop share: the room that plaintext and ciphertext pass through."""

    __slots__ = ("buffer", "room", "where")

    def __init__(self) -> None:
        self.room = _ffi.new("char[]", ROOM)
        self.buffer = _ffi.buffer(self.room)
        self.where = _ffi.new("char *[1]")
        """Takes the address of what is in a pipe, which nobody asks for."""


class TlsLayer:
    """One side of a connection: the client's with a `ClientContext`, else the server's.

    `alpn`: with direct TLS the only protocol that a client may offer, if it offers any (XEP-0368 section 3). OpenSSL
    answers another offer with a fatal no_application_protocol (RFC 7301 section 3.2), or a browser could be made to
    talk to a server of one protocol (the ALPACA attack). The client's side offers it. `server_name`: what the client's
    side asks for (SNI).
    """

    __slots__ = (
        "_alpn",
        "_connection",
        "_context",
        "_from",
        "_grown",
        "_hello",
        "_into",
        "_pipes",
        "_ssl",
        "client",
        "ended",
        "ready",
        "tls13",
    )

    def __init__(
        self,
        context: ServerContext | ClientContext,
        pipes: Pipes,
        alpn: bytes | None = None,
        server_name: bytes | None = None,
    ) -> None:
        self._pipes = pipes
        self.client = isinstance(context, ClientContext)
        self._context: ServerContext | ClientContext | None = context
        """Until the handshake begins."""
        self._alpn = alpn
        self._hello: bytearray | None = None
        self._connection: SSL.Connection | None = None
        self._ssl: Any = None
        self._into: Any = None
        self._from: Any = None
        self._grown = False
        """The pipes have held more than they should keep."""
        self.ready = False
        """The handshake is done, and nothing has failed since."""
        self.tls13 = False
        """The handshake was one of TLS 1.3: the client had all that it needs to speak before we had said all."""
        self.ended = False
        """The peer has sent close_notify: what comes behind it does not count."""
        if self.client:
            self._begin(server_name)

    def receive(self, data: memoryview) -> bytes:
        """Take in ciphertext, return the plaintext in it. There may be `output` afterwards, also after an error.

        Raises TlsError; the connection is then of no use.
        """
        _forget_errors()  # of others in this thread: OpenSSL would take them for its own
        connection = self._connection
        if connection is None:
            if self._hello is not None:
                self._hello += data
            if incomplete(self._hello or bytes(data)):
                self._hello = self._hello or bytearray(data)
                return b""
            data = memoryview(self._hello) if self._hello is not None else data
            connection = self._begin()
        if len(data) > KEEP:
            self._grown = True
        _fill(self._into, _ffi.from_buffer(data), len(data))
        try:
            if not self.ready:
                done = _shake_hands(self._ssl)
                if done <= 0:
                    if _error_of(self._ssl, done) == _WANT_READ:
                        return b""
                    connection._raise_ssl_error(self._ssl, done)
                self.ready = True
                self.tls13 = connection.get_protocol_version() >= SSL.TLS1_3_VERSION
            return self._decrypted()
        except SSL.Error as error:
            words = _words(error)
        except OSError:
            self.ready = False
            raise
        self.ready = False
        raise TlsError(words)  # not from where the other is caught: as its context it would hold this very connection

    @property
    def begun(self) -> bool:
        """OpenSSL has seen a ClientHello: from now on the connection costs memory."""
        return self._connection is not None

    def _begin(self, server_name: bytes | None = None) -> SSL.Connection:
        assert self._context is not None
        self._connection = connection = SSL.Connection(self._context)
        if self.client:
            connection.set_connect_state()
            if server_name is not None:
                connection.set_tlsext_host_name(server_name)
            if self._alpn is not None:
                connection.set_alpn_protos([self._alpn])
        else:
            connection.set_accept_state()
            connection.set_app_data(self._alpn)
        self._context = self._hello = None
        self._ssl, self._into, self._from = connection._ssl, connection._into_ssl, connection._from_ssl
        return connection

    def hello(self) -> bytes:
        """The client's first words; nothing of the server's side, which waits for them."""
        if not self.client:
            return b""
        _forget_errors()
        _shake_hands(self._ssl)
        return self.output()

    def _decrypted(self) -> bytes:
        """All that can be read now. Raises TlsError."""
        ssl, pipes = self._ssl, self._pipes
        done = 0
        pieces: list[bytes] = []
        count = _read(ssl, pipes.room, ROOM)
        if count > 0 and not _left(self._into, pipes.where):
            # Most reads are one record. OpenSSL does not read ahead, and ROOM is enough for a whole record: with
            # nothing in the pipe it has nothing more to say, and to ask whether it does costs three times this.
            only: bytes = pipes.buffer[:count]
            return only
        while count > 0:
            done += count
            if done > ROOM - RECORD:
                pieces.append(pipes.buffer[:done])
                done = 0
            count = _read(ssl, pipes.room + done, ROOM - done)
        why = _error_of(ssl, count)
        if why == _ZERO_RETURN:
            self.ended = True
        elif why != _WANT_READ:
            raise TlsError(_reason())
        data: bytes = pipes.buffer[:done]
        return b"".join((*pieces, data)) if pieces else data

    def output(self) -> bytes:
        """What the handshake, or an alert, has to say to the peer."""
        if self._connection is None:
            return b""
        data = self._drained()
        if len(data) > KEEP:
            self._grown = True
        if self._grown and self.ready:
            self._renew()
        return data

    def _drained(self) -> bytes:
        pipes = self._pipes
        count = _drain(self._from, pipes.room, ROOM)
        if count <= 0:
            return b""
        data: bytes = pipes.buffer[:count]
        return data if count < ROOM else data + self._drained()

    def _renew(self) -> None:
        """New pipes; OpenSSL frees the old ones."""
        self._grown = False
        connection: Any = self._connection
        memory = _lib.BIO_s_mem()
        into, out = _lib.BIO_new(memory), _lib.BIO_new(memory)
        if into == _ffi.NULL or out == _ffi.NULL:
            raise MemoryError
        _lib.SSL_set_bio(self._ssl, into, out)
        self._into = connection._into_ssl = into
        self._from = connection._from_ssl = out

    def encrypt(self, data: bytes) -> bytes:
        """Only when `ready`. Raises TlsError."""
        size = len(data)
        if not self.ready:
            raise TlsError("nothing can be encrypted")
        if size <= PIECE:
            self._seal(data, size)
            sealed = self._drained()
        else:
            pieces = []
            for at in range(0, size, PIECE):
                piece = data[at : at + PIECE]
                self._seal(piece, len(piece))
                pieces.append(self._drained())
            sealed = b"".join(pieces)
        if size > KEEP:
            self._renew()
        return sealed

    def _seal(self, data: bytes, size: int) -> None:
        if _write(self._ssl, data, size) != size:
            self.ready = False
            self._drained()
            raise TlsError(_reason())

    def goodbye(self) -> bytes:
        """Our close_notify. Nothing may be encrypted after it."""
        if not self.ready:
            return b""
        _forget_errors()
        _lib.SSL_shutdown(self._ssl)  # the peer's own close_notify is not waited for
        _forget_errors()
        return self._drained()

    # ---- about the connection

    @property
    def version(self) -> str:
        if self.tls13:
            return "TLSv1.3"
        return self._connection.get_protocol_version_name() if self._connection is not None else ""

    @property
    def cipher(self) -> str:
        return (self._connection.get_cipher_name() or "") if self._connection is not None else ""

    @property
    def end_point(self) -> bytes | None:
        """Of the certificate that was used, which may be another than that of the context we began with (SNI)."""
        if self._connection is None:
            return None
        end_point: bytes | None = getattr(self._connection.get_context(), "end_point", None)
        return end_point

    @property
    def exports(self) -> bool:
        """Whether there is an `exporter`. With TLS 1.2 only after extended master secret (RFC 9266 section 4)."""
        return self._connection is not None and self.ready and (self.tls13 or self._extended)

    @property
    def exporter(self) -> bytes | None:
        """The data of `tls-exporter`."""
        if self._connection is None or not self.exports:
            return None
        return self._connection.export_keying_material(EXPORTER, 32, b"")

    @property
    def unique(self) -> bytes | None:
        """The data of `tls-unique`: the first Finished message of the latest handshake, which is the client's, as no
        session is resumed here (RFC 5929 section 3.1). Undefined for TLS 1.3 (RFC 9266 section 3); without extended
        master secret two connections can have the same (RFC 7627 section 1)."""
        connection = self._connection
        if connection is None or not self.ready or self.tls13:
            return None
        if not self._extended or _lib.SSL_session_reused(self._ssl):
            return None
        return connection.get_finished() if self.client else connection.get_peer_finished()

    @property
    def peer_certificates(self) -> tuple[bytes, ...]:
        """What the peer has shown, in DER, its own certificate first; as it was sent, believed by nobody yet. What is
        beyond MOST_CERTIFICATES or CHAIN_SIZE is left out. OpenSSL itself takes no more than 100 KB."""
        connection = self._connection
        own = connection.get_peer_certificate() if connection is not None and self.ready else None
        if connection is None or own is None:
            return ()
        chain = [crypto.dump_certificate(crypto.FILETYPE_ASN1, own)]
        room = CHAIN_SIZE - len(chain[0])
        for each in connection.get_peer_cert_chain() or ():
            der = crypto.dump_certificate(crypto.FILETYPE_ASN1, each)
            if der == chain[0]:  # a client has it in both places, a server in one
                continue
            room -= len(der)
            if room < 0 or len(chain) == MOST_CERTIFICATES:
                break
            chain.append(der)
        return tuple(chain) if len(chain[0]) <= CHAIN_SIZE else ()

    @property
    def _extended(self) -> bool:
        return bool(_lib.SSL_get_extms_support(self._ssl) == 1)


def _words(error: SSL.Error) -> str:
    """OpenSSL's reasons, without the names of its functions."""
    found = error.args[0] if error.args else None
    if isinstance(found, list):
        return ", ".join(str(each[-1]) for each in found) or "the peer has broken TLS"
    return " ".join(str(each) for each in error.args) or "the peer has broken TLS"


def _reason() -> str:
    """The first reason that waits in OpenSSL's queue of this thread; the queue is empty then."""
    first = _lib.ERR_get_error()
    _forget_errors()
    text = _lib.ERR_reason_error_string(first)
    return _ffi.string(text).decode("ascii", "replace") if text != _ffi.NULL else "the peer has broken TLS"


for _name in ("_ssl", "_into_ssl", "_from_ssl", "_raise_ssl_error"):
    # Said at the start, not on the first connection: this module is written for the inside of pyOpenSSL, too.
    if _name not in (*SSL.Connection.__init__.__code__.co_names, *vars(SSL.Connection)):
        raise ImportError(f"pyOpenSSL without SSL.Connection.{_name}: install a version that pyproject.toml allows")
