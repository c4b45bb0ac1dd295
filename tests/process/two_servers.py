"""Two servers that talk to each other over loopback, found by a name server of the test."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.harness.authority import Authority
from tests.harness.dns import DnsServer
from tests.ports import free_port
from tests.process.client import Wire
from tests.process.server import ServerProcess


class Domain:
    """A server with one domain, its rooms, and one person. `federation`: options beside those that the test needs."""

    def __init__(
        self,
        folder: Path,
        name: str,
        person: str,
        dns: DnsServer,
        authority: Authority,
        self_signed: bool = False,
        **federation: Any,
    ) -> None:
        self.name, self.person, self.jid = name, person, f"{person}@{name}"
        self.port = free_port()
        self.rooms = f"rooms.{name}"
        folder.mkdir(parents=True)
        options: dict[str, Any] = {"nameservers": [dns.address], "private_addresses": ["127.0.0.0/8"], **federation}
        hosts: dict[str, Any] = {name: {}, self.rooms: {"type": "rooms"}}
        options["authorities"] = str(authority.file)
        for host in hosts:
            certificate, key = authority.files(host, self_signed=self_signed)
            hosts[host] |= {"certificate": str(certificate), "key": str(key)}
        listeners = [
            {"address": "127.0.0.1", "port": 0, "tls": "none"},
            {"kind": "server", "address": "127.0.0.1", "port": self.port},
        ]
        whole = {
            "hosts": hosts, "listeners": listeners, "storage": "sqlite:///var/xmppd.db", "var": "var",
            "federation": options,
        }  # fmt: skip
        self.server = ServerProcess(folder, json.dumps(whole))
        for host in hosts:
            dns.records[f"_xmpp-server._tcp.{host}"] = [f"SRV 0 5 {self.port} host.{name}."]
        dns.records[f"host.{name}"] = ["A 127.0.0.1"]

    async def start(self) -> Domain:
        await self.server.start()
        return self

    async def account(self) -> None:
        await self.server.account(self.person, domain=self.name)

    async def client(self, resource: str = "phone", presence: bool = True) -> Wire:
        wire = await Wire.login(self.server.port("none"), self.person, resource=resource, tls="none", domain=self.name)
        if presence:
            wire.send("<presence/>")
        return wire


@asynccontextmanager
async def talking(
    folder: Path, dns: DnsServer, self_signed: bool = False, **federation: Any
) -> AsyncIterator[tuple[Domain, Domain]]:
    """Both started: Romeo at montague.test, Juliet at capulet.test."""
    authority = Authority(folder)
    romeo, juliet = (
        Domain(folder / name, f"{name}.test", person, dns, authority, self_signed, **federation)
        for name, person in (("montague", "romeo"), ("capulet", "juliet"))
    )
    async with started(romeo, juliet):
        yield romeo, juliet


@asynccontextmanager
async def started(*domains: Domain) -> AsyncIterator[None]:
    """They run, in order, each with its account; the logs are looked at when they have ended."""
    try:
        for each in domains:
            await each.start()
            await each.account()
        yield
    finally:
        for each in domains:
            each.server.kill()
    for each in domains:
        assert "Traceback" not in each.server.log, each.server.log
