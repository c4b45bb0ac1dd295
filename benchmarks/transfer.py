"""Bodies over HTTP/1.1 on blocking sockets: as little work as there can be at the other end of a transfer."""

from __future__ import annotations

import socket
import ssl
import time
from typing import Final

from .client import DOMAIN, LoadError

PIECE: Final = bytes(range(256)) * 1024
WAIT: Final = 300.0


def connect(port: int, tls: ssl.SSLContext | None = None, buffer: int = 0) -> socket.socket:
    """`buffer`: bytes that the kernel may hold for it; 0: as many as it likes. Raises OSError."""
    peer = socket.socket()
    if buffer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    peer.settimeout(WAIT)
    peer.connect(("127.0.0.1", port))
    return tls.wrap_socket(peer, server_hostname=DOMAIN) if tls is not None else peer


def upload(port: int, path: str, size: int, tls: ssl.SSLContext | None = None) -> float:
    """Put so many bytes; the seconds until the answer. Raises LoadError, OSError."""
    with connect(port, tls) as peer:
        began = time.perf_counter()
        peer.sendall(f"PUT {path} HTTP/1.1\r\nHost: {DOMAIN}\r\nContent-Length: {size}\r\n\r\n".encode())
        left, piece = size, memoryview(PIECE)
        while left:
            left -= peer.send(piece[:left])
        answer = peer.recv(4096)
        if not answer.startswith(b"HTTP/1.1 201 "):
            raise LoadError(f"put: {answer[:200]!r}")
        return time.perf_counter() - began


def download(port: int, path: str, size: int, tls: ssl.SSLContext | None = None) -> float:
    """Get so many bytes; the seconds until the last. Raises LoadError, OSError."""
    with connect(port, tls) as peer:
        began = time.perf_counter()
        ask(peer, path)
        buffer = bytearray(256 << 10)
        first = peer.recv_into(buffer)
        head, _, rest = bytes(buffer[:first]).partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 ") or f"content-length: {size}".encode() not in head.lower():
            raise LoadError(f"get: {head[:200]!r}")
        left = size - len(rest)
        while left:
            count = peer.recv_into(buffer)
            if not count:
                raise LoadError(f"the connection broke with {left} bytes left")
            left -= count
        return time.perf_counter() - began


def ask(peer: socket.socket, path: str) -> None:
    peer.sendall(f"GET {path} HTTP/1.1\r\nHost: {DOMAIN}\r\n\r\n".encode())
