"""What all checks of one run share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, Literal, TypeVar
from xml.etree import ElementTree as ET

from slixmpp import JID

from . import names
from .cleanup import Cleanup
from .client import Address, NoSignIn, Refused, Visitor
from .probe import Probe, ProbeError, context, probe
from .trees import INFO, ITEMS, Info, info, payload

T = TypeVar("T")
SERVICES = 40
"""Services of a domain that are looked at."""
SERVICE_TIME = 5.0
"""Seconds for a service to say what it is."""


@dataclass(frozen=True)
class Options:
    """What was asked for. `web`: where /.well-known/host-meta is looked for instead of https://DOMAIN."""

    jid: str
    password: str
    address: Address | None = None
    direct_tls_port: int = 5223
    server_port: int = 5269
    web: str = ""
    insecure: bool = False
    ca_file: Path | None = None
    resolver: tuple[str, int] | None = None
    timeout: float = 10.0

    @property
    def domain(self) -> str:
        return str(JID(self.jid).domain)

    @property
    def bare(self) -> str:
        return str(JID(self.jid).bare)


class Visit:
    """The connection, what is to be deleted on the server, and what has been seen."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.domain, self.bare, self.timeout = options.domain, options.bare, options.timeout
        self.token = token_hex(4)
        """In the names of all that is made."""
        self.cleanup = Cleanup()
        self.address: Address | None = None
        self._client: Visitor | None = None
        self._seen: dict[Any, asyncio.Future[Any]] = {}

    async def once(self, look: Callable[[Visit], Awaitable[T]]) -> T:
        """What a function saw when it was called first, or raised."""
        if look not in self._seen:
            future = self._seen[look] = asyncio.get_running_loop().create_future()
            try:
                future.set_result(await look(self))
            except asyncio.CancelledError:
                del self._seen[look]
                raise
            except Exception as error:
                future.set_exception(error)
        found: T = await self._seen[look]
        return found

    # ---- connections

    @property
    def client(self) -> Visitor:
        if self._client is None:
            raise ConnectionError("not signed in")
        return self._client

    @property
    def connected(self) -> bool:
        return self._client is not None and self._client.transport is not None

    async def visitor(self, resumable: bool = False) -> Visitor:
        """One more session; whoever asks lets it leave. Raises NoSignIn."""
        if self.address is None:
            raise NoSignIn("the server was not reached")
        options = self.options
        jid = f"{self.bare}/doctor-{token_hex(4)}"
        tls = context(options.ca_file, trusting=options.insecure)
        client = Visitor(jid, options.password, tls, self.timeout, resumable)
        await client.sign_in(self.address)
        return client

    async def arrive(self) -> None:
        """The session of the checks, a new one when it was lost. Raises NoSignIn."""
        await self.depart()
        self._client = await self.visitor()

    async def depart(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            await client.leave()

    async def clean_up(self) -> list[str]:
        """Delete what was made, over a new connection if need be. Returns what could not be deleted."""
        if self.cleanup.remaining and self.connected:
            await self.cleanup.delete_all(self.client)
        if self.cleanup.remaining and self.address is not None:
            try:
                await self.arrive()
                await self.cleanup.delete_all(self.client)
            except (NoSignIn, ConnectionError):
                pass  # what remains is reported
        return self.cleanup.remaining

    # ---- asking

    async def get(self, payload: str, to: str = "") -> ET.Element:
        """The payload of the answer. Raises Refused, TimeoutError, ConnectionError."""
        return await self._ask("get", payload, to)

    async def set(self, payload: str, to: str = "") -> ET.Element:
        return await self._ask("set", payload, to)

    async def _ask(self, kind: Literal["get", "set"], xml: str, to: str) -> ET.Element:
        return payload(await self.client.ask(kind, xml, to))

    async def info(self, to: str) -> Info:
        """Raises Refused, TimeoutError, ConnectionError."""
        return info(await self.get(f"<query xmlns='{INFO}'/>", to))

    async def service(self, category: str, kind: str, feature: str = "") -> str:
        """The address of a service of the domain by its identity and a feature; "" when there is none."""
        for address, found in (await self.once(services)).items():
            if (category, kind) in found.identities and (not feature or feature in found.features):
                return address
        return ""

    async def with_feature(self, feature: str) -> str:
        """The address of a service with a feature; "" when there is none."""
        found = await self.once(services)
        return next((address for address, each in found.items() if feature in each.features), "")


async def server_info(visit: Visit) -> Info:
    """disco#info of the domain."""
    return await visit.info(visit.domain)


async def account_info(visit: Visit) -> Info:
    """disco#info of the account."""
    return await visit.info(visit.bare)


async def services(visit: Visit) -> dict[str, Info]:
    """disco#info of all services of the domain that answer, and of the domain itself."""
    items = await visit.get(f"<query xmlns='{ITEMS}'/>", visit.domain)
    found = {each.get("jid", "") for each in items.findall(f"{{{ITEMS}}}item") if not each.get("node")}
    addresses = sorted(found - {"", visit.domain})[:SERVICES]

    async def of(address: str) -> Info | None:
        try:
            async with asyncio.timeout(min(SERVICE_TIME, visit.timeout)):
                return await visit.info(address)
        except (Refused, TimeoutError):
            return None

    answers = await asyncio.gather(*map(of, addresses))
    known = {address: answer for address, answer in zip(addresses, answers, strict=True) if answer is not None}
    return {**known, visit.domain: await visit.once(server_info)}


async def candidates(visit: Visit) -> list[Address]:
    """Where to connect."""
    if visit.options.address is not None:
        return [visit.options.address]
    found: dict[str, list[names.Srv]] = {}
    for service in names.DIRECT:
        try:
            found[service] = await names.ask(service, visit.domain, visit.options.resolver, visit.timeout)
        except names.NotChecked:
            found[service] = []
    return names.addresses(found["_xmpps-client"], found["_xmpp-client"], visit.domain)


async def reached(visit: Visit) -> Probe:
    """The first address that speaks XMPP. Raises ProbeError."""
    problems: list[str] = []
    for address in await candidates(visit):
        try:
            found = await probe(address, visit.domain, visit.options.ca_file, visit.timeout)
        except ProbeError as error:
            problems.append(str(error))
            continue
        visit.address = address
        return found
    raise ProbeError("; ".join(problems))
