"""XEP-0202: Entity Time."""

from __future__ import annotations

from datetime import UTC, datetime

from xmppd.plugin import ANY_HOST, E, Element, NoConfig, Plugin, Request, To, Xep, iq

NS = "urn:xmpp:time"


class EntityTime(Plugin[NoConfig]):
    xeps = (Xep(202, "2.0", "always in UTC: where the server stands is nobody's business"),)
    features = (NS,)
    serves = ANY_HOST

    @iq("get", NS, "time", To.HOST)
    async def answer(self, request: Request) -> Element:
        now = datetime.fromtimestamp(int(self.host.clock.now()), UTC)
        return E("time", NS, {}, E("tzo", NS, {}, "+00:00"), E("utc", NS, {}, f"{now:%Y-%m-%dT%H:%M:%SZ}"))
