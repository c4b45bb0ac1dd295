"""HTTP requests that plugins send, to addresses that people name: never into our own network by accident."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

TIMEOUT = aiohttp.ClientTimeout(total=20)


class ForbiddenAddress(OSError):
    """The name stands for an address that only this machine or its network can reach."""


def is_public(host: str) -> bool:
    """False for an address of a private, loopback or otherwise special network; a name is looked at when it is
    resolved."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return True
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_global and not address.is_multicast


class PublicResolver(AbstractResolver):
    """Gives public addresses only, so that a name cannot lead inside, not even between look-up and connection."""

    def __init__(self) -> None:
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = [each for each in await self._inner.resolve(host, port, family) if is_public(each["host"])]
        if not found:
            raise ForbiddenAddress(f"{host} has no public address")
        return found

    async def close(self) -> None:
        await self._inner.close()


class Poster:
    """One session for all, made at the first request."""

    def __init__(self) -> None:
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], private: bool = False) -> int:
        """The status of the answer; 0 when there is none. `private`: also to addresses of our own network. No redirect
        is followed."""
        if not private and not is_public(urlsplit(url).hostname or ""):
            return 0
        session = self._sessions.get(private)
        if session is None:
            connector = aiohttp.TCPConnector(resolver=None if private else PublicResolver(), limit=50)
            session = aiohttp.ClientSession(connector=connector, timeout=TIMEOUT)
            self._sessions[private] = session
        try:
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                return answer.status
        except (aiohttp.ClientError, OSError, TimeoutError):
            return 0

    async def close(self) -> None:
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()
