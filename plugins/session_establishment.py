"""Session establishment (RFC 3921 section 3): RFC 6121 has dropped it, clients ask for it where the stream
features name it. There is nothing to do."""

from __future__ import annotations

from typing import Final

from xmppd.plugin import NoConfig, Plugin, Request, iq

NS: Final = "urn:ietf:params:xml:ns:xmpp-session"


class SessionEstablishment(Plugin[NoConfig]):
    @iq("set", NS, "session")
    async def establish(self, request: Request) -> None:
        """Strophe asks even where the feature is <optional/>, and takes an error for a failed sign-in."""
