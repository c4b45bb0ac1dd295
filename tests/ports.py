"""Free ports for servers of the tests."""

from __future__ import annotations

import random
import socket

EPHEMERAL = 32_768
"""The first port that Linux gives to outgoing connections."""
_ANY = random.SystemRandom()  # two processes of the tests with one seed must not choose the same


def free_port(address: str = "127.0.0.1") -> int:
    """A port for a listener at `address` that no outgoing connection is given, so that a server finds it free again
    after a restart. Raises RuntimeError."""
    for port in _ANY.sample(range(20_000, EPHEMERAL), 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")
