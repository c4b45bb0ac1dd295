"""XEP-0065: SOCKS5 Bytestreams, the proxy: files pass through it when two clients cannot reach each other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from xmppd.contracts.disco import DISCO_IDENTITIES, DiscoAsk, Identity
from xmppd.errors import BadRequest, Forbidden, ItemNotFound, JidMalformed, MalformedJid, ResourceConstraint
from xmppd.plugin import JID, E, Element, HostType, Plugin, Request, To, Xep, iq, on
from xmppd.xml import find, text_of

from .options import Config
from .relay import Half, Relay

NS: Final = "http://jabber.org/protocol/bytestreams"


class FileTransferProxy(Plugin[Config]):
    xeps = (Xep(65, "1.8.2", "as proxy, over TCP, for the users of this server"),)
    features = (NS,)
    serves = ("proxy",)
    host_types = (HostType("proxy", "passes files on"),)

    def setup(self) -> None:
        self.relay = Relay(self.host.clock, lambda: self.config)
        self.port = 0

    async def start(self) -> None:
        """Raises OSError: the port is taken."""
        opened = await self.host.server.open_port(self.config.address, self.config.port, lambda: Half(self.relay))
        self.port = opened.port
        self.every(15.0, self.relay.sweep, "sweep")

    @on(DISCO_IDENTITIES)
    def identity(self, ask: DiscoAsk) -> Iterable[Identity]:
        if not ask.node:
            yield Identity("proxy", "bytestreams", self.config.name)

    @iq("get", NS, "query", To.HOST)
    async def where(self, request: Request) -> Element:
        """Section 4: the network address."""
        self._check(request)
        attributes = {
            "jid": self.host.domain,
            "host": self.config.host or self.host.domain,
            "port": str(self.config.announced_port or self.port),
        }
        return E("query", NS, {}, E("streamhost", NS, attributes))

    @iq("set", NS, "query", To.HOST)
    async def activate(self, request: Request) -> None:
        """Section 6.3.5. Raises ItemNotFound while not both sides are there."""
        self._check(request)
        sid, wanted = str(request.payload.get("sid", "")), find(request.payload, NS, "activate")
        if not sid or len(sid) > 1023 or wanted is None:
            raise BadRequest("a stream has a sid and somebody at the other end")
        try:
            target = JID.parse(text_of(wanted).strip())
        except MalformedJid:
            raise JidMalformed("the other end is no address") from None
        user = request.sender.bare
        if self.relay.streams_of(user) >= self.config.streams:
            raise ResourceConstraint("you have too many bytestreams")
        name = hashlib.sha1(f"{sid}{request.sender.full}{target.full}".encode()).hexdigest()
        if not self.relay.activate(name, user):
            raise ItemNotFound("not both sides are connected")

    def _check(self, request: Request) -> None:
        """Traffic costs money: only for our own people (section 4, who is not permitted)."""
        sender = request.sender
        if not sender.local or not self.host.router.routes.serves_accounts(sender.domain):
            raise Forbidden()
