"""Servers that talk to each other: a name server that says where their domains are, and an authority that all trust."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, Self

from tests.harness.authority import Authority
from tests.harness.dns import DnsServer

NEAR: Final = "near.example"
FAR: Final = "far.example"
BOTH_ROLES: Final = ("server", "client")
"""What certificates are for: as the one who calls a server is a client (XEP-0178)."""


class Federation:
    """On the loop of the load. `numeric` is a second name server, for ejabberd, which leaves addresses to the C
    library: its targets are addresses."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.authority = Authority(folder.resolve(), intermediates=1)
        self.names, self.numeric = DnsServer({}), DnsServer({})
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for server in (self.names, self.numeric):
            await self._stack.enter_async_context(server)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def certificate(self, folder: Path, *domains: str) -> tuple[Path, Path]:
        """The files of a certificate for these domains and of its key."""
        return self.authority.certificate(dns=domains, usage=BOTH_ROLES).write(folder, domains[0])

    def publish(self, port: int, *domains: str) -> None:
        """The servers of these domains are at a port of this machine."""
        host = f"xmpp.{domains[0]}"
        self.names.records[host] = ["A 127.0.0.1"]
        for domain in domains:
            service = f"_xmpp-server._tcp.{domain}"
            self.names.records[service] = [f"SRV 0 5 {port} {host}."]
            self.numeric.records[service] = [f"SRV 0 5 {port} 127.0.0.1."]
