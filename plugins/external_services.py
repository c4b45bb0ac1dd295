"""XEP-0215: External Service Discovery: where to find STUN and TURN servers for calls, with credentials that expire."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from secrets import token_hex
from typing import Final, Literal

from xmppd.config import Duration, option
from xmppd.errors import BadRequest, ItemNotFound, ServiceUnavailable
from xmppd.plugin import E, Element, Plugin, Request, To, Xep, iq
from xmppd.xep.elements import stamp
from xmppd.xml import children

NS: Final = "urn:xmpp:extdisco:2"


@dataclass(frozen=True)
class ServiceConfig:
    """One service. With `secret` each answer has credentials of its own; without, `username` and `password` if any."""

    host: str = option(doc="The name or address that clients connect to.", high=255)
    type: str = option("turn", "`stun`, `turn`, `stuns`, `turns`, or another type of section 5.", high=50)
    port: int = option(3478, "The port.", low=1, high=65535)
    transport: Literal["udp", "tcp"] = option("udp", "How to reach it.")
    secret: str = option("", "The secret that the server shares with us (coturn: static-auth-secret).", secret=True)
    username: str = option("", "For a server with one account for all.", high=500)
    password: str = option("", "Its password.", secret=True)
    lifetime: Duration = option(Duration("6 hours"), "How long credentials are good.", low=60, high=604_800)

    def check(self) -> Iterable[tuple[str, str]]:
        if self.secret and (self.username or self.password):
            yield "secret", "either a secret, or a username and a password"


@dataclass(frozen=True)
class Config:
    services: tuple[ServiceConfig, ...] = option((), "STUN and TURN servers, or others.")


class ExternalServices(Plugin[Config]):
    xeps = (Xep(215, "1.0.0", "changes are not pushed; credentials are for accounts of this server only"),)
    features = (NS,)

    @iq("get", NS, "services", To.HOST)
    async def services(self, request: Request) -> Element:
        """Sections 3.1 and 3.2."""
        self._check(request)
        kind = request.payload.get("type")
        found = [each for each in self.config.services if kind in (None, each.type)]
        return E("services", NS, {"type": str(kind)} if kind else {}, *map(self._shown, found))

    @iq("get", NS, "credentials", To.HOST)
    async def credentials(self, request: Request) -> Element:
        """Section 3.3."""
        self._check(request)
        wanted = list(children(request.payload, NS, "service"))
        if len(wanted) != 1 or not wanted[0].get("host") or not wanted[0].get("type"):
            raise BadRequest("name one service by host and type")
        host, kind, port = (str(wanted[0].get(name, "")) for name in ("host", "type", "port"))
        for each in self.config.services:
            if (each.host, each.type) == (host, kind) and port in ("", str(each.port)):
                return E("credentials", NS, {}, self._shown(each))
        raise ItemNotFound("there is no such service")

    def _check(self, request: Request) -> None:
        """Traffic costs money: only for our own people."""
        sender = request.sender
        if not sender.local or not self.host.router.routes.serves_accounts(sender.domain):
            raise ServiceUnavailable()

    def _shown(self, service: ServiceConfig) -> Element:
        attributes = {
            "host": service.host,
            "type": service.type,
            "port": str(service.port),
            "transport": service.transport,
        }
        if service.secret:
            until = self.host.clock.now() + float(service.lifetime)
            username, password = expiring(service.secret, until)
            attributes |= {"username": username, "password": password, "restricted": "true"}
            attributes["expires"] = stamp(int(until) * 1_000_000)
        elif service.username:
            attributes |= {"username": service.username, "password": service.password, "restricted": "true"}
        return E("service", NS, attributes)


def expiring(secret: str, until: float) -> tuple[str, str]:
    """User name and password that the TURN server itself can check (draft-uberti-behave-turn-rest-00 section 2.2)."""
    username = f"{int(until)}:{token_hex(8)}"
    digest = hmac.new(secret.encode(), username.encode(), hashlib.sha1).digest()
    return username, b64encode(digest).decode()
