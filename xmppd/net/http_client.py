"""HTTP requests that plugins send, to addresses that people name: never into our own network by accident.

Whether a request may go out is decided once, on the address that its socket is about to be connected to. There it does
not matter how a name was written, what it was resolved to a moment ago, or that it was no name.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .address import ForbiddenAddress, Network, literal, reachable

if TYPE_CHECKING:
    import aiohttp

log = logging.getLogger("xmppd.net")

CONNECTIONS = 50
"""At once, in all."""


class Poster:
    """One session for all, made at the first request."""

    def __init__(self, allowed: Sequence[Network] = (), timeout: float = 20.0) -> None:
        """`allowed`: networks of our own that may be reached. `timeout`: seconds for a request, all in all."""
        self.allowed = tuple(allowed)
        self.timeout = timeout
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    def may_reach(self, host: str) -> bool:
        """False for the host of a URL that is an address we do not connect to. A name is looked at when it is
        resolved."""
        address = literal(host)
        return address is None or reachable(address, self.allowed)

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], private: bool = False, within: float = 0
    ) -> int:
        """The status of the answer; 0 when there is none. `private`: also to addresses of our own network. `within`:
        seconds, 0 for the usual time. No redirect is followed."""
        if not url.lower().startswith(("https://", "http://")):
            return 0
        # 8 MB that a server which posts nothing does not need. Beside the loop: to load them takes a tenth of a second.
        await asyncio.to_thread(import_module, "aiohttp")
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=within or self.timeout)
        try:
            async with self._session(private).post(
                url, data=body, headers=headers, allow_redirects=False, timeout=timeout
            ) as answer:
                return answer.status
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            # The rest of the address may be a secret, as that of a browser for push.
            host = url.split("/", 3)[2].rpartition("@")[2]
            log.info("no answer from %s: %s", host[:100], type(error).__name__)
            return 0

    async def fetch(
        self,
        url: str,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        private: bool = False,
        within: float = 20.0,
        most: int = 1 << 20,
    ) -> tuple[int, bytes]:
        """The status and the body of an answer: to GET, or to POST where there is a `form`. `private`: see `post`.
        `within`: seconds, all in all. `most`: bytes of the body. No redirect is followed. Raises OSError."""
        await asyncio.to_thread(import_module, "aiohttp")
        import aiohttp

        timeout, body = aiohttp.ClientTimeout(total=within), bytearray()
        try:
            async with self._session(private).request(
                "GET" if form is None else "POST",
                url,
                data=form,
                headers=headers,
                allow_redirects=False,
                timeout=timeout,
            ) as answer:
                async for piece in answer.content.iter_chunked(65_536):
                    body += piece
                    if len(body) > most:
                        raise OSError(f"the answer has more than {most} bytes")
                return answer.status, bytes(body)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise OSError(f"{type(error).__name__} {error}".strip()) from None

    def _session(self, private: bool) -> aiohttp.ClientSession:
        import aiohttp

        session = self._sessions.get(private)
        if session is None:
            connector = aiohttp.TCPConnector(limit=CONNECTIONS, socket_factory=None if private else self._socket)
            session = self._sessions[private] = aiohttp.ClientSession(connector=connector)
        return session

    def _socket(self, where: tuple[Any, ...]) -> socket.socket:
        """A socket for exactly this address (an entry of getaddrinfo), which it is connected to next.

        Raises ForbiddenAddress.
        """
        family, kind, protocol, _, address = where
        if family not in (socket.AF_INET, socket.AF_INET6) or not reachable(address[0], self.allowed):
            log.info("%s is not a public address, and of no network in outgoing.networks: not connected", address[0])
            raise ForbiddenAddress(f"{address[0]} is not a public address")
        return socket.socket(family, kind, protocol)

    async def close(self) -> None:
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()
