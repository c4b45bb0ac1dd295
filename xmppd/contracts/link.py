"""The contract between a connection and the protocol on it. Neither side knows how the other one works. Plugins meet
it at the TCP ports that they open (`host.server.open_port`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Receiver(Protocol):
    """What a connection tells its protocol. All calls come from the event loop, never from inside a call to the link
    (except `pause_writing`, which may come from inside `write`). An exception is logged and ends the connection."""

    def connected(self, link: Link) -> None:
        """The first call. With direct TLS the handshake is still to come, what is written waits for it; but where we
        have called (`net.dial`), it is done."""
        ...

    def data_received(self, data: bytes) -> None:
        """What one read brought, decrypted: up to 64 KiB (256 where it reads in bulk), with TLS some 16 KiB more. Never
        while reading is paused."""
        ...

    def secured(self) -> None:
        """The TLS handshake is done (after `start_tls`, or direct TLS where the peer has called). A server that takes
        no certificate of ours may still say so: `connection_lost` follows then."""
        ...

    def pause_writing(self) -> None:
        """The peer reads too slowly: more than the high-water mark waits. What is written all the same is kept."""
        ...

    def resume_writing(self) -> None:
        """All that was written has left for the kernel. Only after `pause_writing`."""
        ...

    def connection_lost(self, error: Exception | None) -> None:
        """The last call, exactly once. `None`: one of the two sides closed in an orderly way."""
        ...


class Link(Protocol):
    """What a protocol may do with its connection. Nothing here raises because the peer is gone: what is written then
    is dropped, and `connection_lost` follows."""

    @property
    def last_read(self) -> float:
        """When the last bytes came; the clock's monotonic seconds."""
        ...

    @property
    def peer(self) -> str:
        """IP address; an IPv4 address within IPv6 (::ffff:192.0.2.1) in its IPv4 form."""
        ...

    @property
    def port(self) -> int: ...

    @property
    def loopback(self) -> bool:
        """The peer is on this machine."""
        ...

    @property
    def secure(self) -> bool:
        """Encrypted, handshake done, not yet closing."""
        ...

    @property
    def securing(self) -> bool:
        """The TLS handshake is under way, or waited for; it has a limit of its own."""
        ...

    @property
    def tls_version(self) -> str:
        """Such as "TLSv1.3"; empty without TLS."""
        ...

    @property
    def cipher(self) -> str:
        """OpenSSL's name of the cipher suite; empty without TLS."""
        ...

    @property
    def tls_server_end_point(self) -> bytes | None:
        """Channel binding to our certificate (RFC 5929 section 4): None without TLS, or where it is undefined."""
        ...

    @property
    def exports(self) -> bool:
        """Whether `tls_exporter` is there; costs less than to derive it."""
        ...

    @property
    def tls_exporter(self) -> bytes | None:
        """Channel binding to this connection (RFC 9266): None without TLS, and with TLS 1.2 whose master secret is not
        the extended one (RFC 7627)."""
        ...

    @property
    def tls_unique(self) -> bytes | None:
        """The same for TLS 1.2 only (RFC 5929 section 3)."""
        ...

    @property
    def peer_certificates(self) -> tuple[bytes, ...]:
        """What the peer has shown in the handshake, its own certificate first, in DER, at most 32 KB; empty without
        TLS or certificate, and when closing. The handshake has not checked them, but that the peer has the first one's
        key."""
        ...

    @property
    def write_buffer_size(self) -> int:
        """Bytes written that have not left for the kernel."""
        ...

    def write(self, data: bytes) -> None:
        """Send at the end of this turn of the loop, in one piece with all that is written in this turn."""
        ...

    def hold(self) -> None:
        """What was written in this turn goes out with what is written next, which will come soon."""
        ...

    def on_drained(self, callback: Callable[[], None]) -> None:
        """Call back once, in a later turn, when nothing written waits in this process any more. Never after the
        connection is lost or the peer has closed: what was still waiting then may not have left."""
        ...

    def start_tls(self, context: Any, domain: str = "") -> None:
        """The handshake from the next byte on, in the role that the context is for; the client's side asks for the
        certificate of `domain` (SNI). What was written before leaves in clear first.

        Call it from inside `data_received`, and drop what that call's data still holds: plaintext that was sent behind
        the request, or behind `<proceed/>`, must never count (RFC 6120 section 5.4.3.3). The link drops what it holds
        itself; plaintext that comes later breaks the handshake. Raises RuntimeError when TLS is on already.
        """
        ...

    def forwarded_for(self, address: str) -> bool:
        """A proxy has this connection for one client from now on: `peer` is its address, and where connections are
        counted, it counts as one of that address. False: that address has too many."""
        ...

    def hand_over(self, receiver: Receiver) -> None:
        """From now on another receiver has the connection: it gets `connected`, then what comes."""
        ...

    def take_first(self) -> None:
        """The peer is known: what it sends is taken in ahead of what strangers send, of whom only a few have their turn
        at a time."""
        ...

    def read_in_bulk(self, much: bool) -> None:
        """Whether a read may bring much at once, as of a large file: fewer reads, but others wait longer for each."""
        ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None:
        """What came in the meantime is delivered in a later turn, before anything new is read."""
        ...

    def close(self) -> None:
        """Send what is written, then close_notify and FIN, then wait for the peer to close: what it still sends is
        dropped, so that no reset overtakes our last words. A peer that takes too long is cut off."""
        ...

    def abort(self) -> None:
        """Drop everything, now."""
        ...


class Port(Protocol):
    """A TCP port that a plugin has opened."""

    port: int
    """The real one."""
