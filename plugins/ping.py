"""XEP-0199: XMPP Ping. The server's own pings to silent clients are the core's (one sweep for all connections)."""

from __future__ import annotations

from xmppd.plugin import ANY_HOST, NoConfig, Plugin, Request, To, Xep, iq

NS = "urn:xmpp:ping"


class Ping(Plugin[NoConfig]):
    xeps = (Xep(199, "2.0.1", "both directions"),)
    features = (NS,)
    account_features = (NS,)
    serves = ANY_HOST

    @iq("get", NS, "ping", To.HOST, To.SELF)
    async def pong(self, request: Request) -> None:
        """Section 4.2. Another's bare address is not answered for: that would tell that it exists (section 7)."""
