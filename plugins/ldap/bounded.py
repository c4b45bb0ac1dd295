"""The socket of a connection to a directory, on which no answer takes for ever, or all the memory."""

from __future__ import annotations

import time
from typing import Any, Final

MOST: Final = 1 << 20
"""Bytes of all answers to one request."""


class BoundedSocket:
    """What `ldap3` uses in place of a socket. Its own limit is a time for each piece: who sends a byte now and then
    keeps a thread for ever.

    `timeout`: seconds from a request to the end of its answers.
    """

    def __init__(self, inner: Any, timeout: float) -> None:
        self._inner = inner
        self._timeout = timeout
        self._until = time.monotonic() + timeout
        self._left = MOST

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def sendall(self, data: bytes) -> None:
        """A request."""
        self._until, self._left = time.monotonic() + self._timeout, MOST
        self._inner.settimeout(self._timeout)
        self._inner.sendall(data)

    def recv(self, size: int) -> bytes:
        """Raises OSError: it takes too long, or is too much."""
        within = self._until - time.monotonic()
        if within <= 0:
            raise TimeoutError("the answer takes too long")  # noqa: UP041: what ldap3 expects
        self._inner.settimeout(within)
        data: bytes = self._inner.recv(size)
        self._left -= len(data)
        if self._left < 0:
            raise OSError("the answer is too long")
        return data
