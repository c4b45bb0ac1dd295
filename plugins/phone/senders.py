"""What sends codes: the server's log, for trying it out, and a webhook."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from typing import Final

from xmppd.contracts.phone import CodeMessage, CodeNotSent
from xmppd.plugin import Host

from .options import Config

log = logging.getLogger("xmppd.phone")
REFUSED: Final = 422
"""The status that says: nothing can be sent to this number."""


class ConsoleSender:
    """Whoever reads the log can have any number."""

    async def send(self, message: CodeMessage) -> None:
        log.warning("to %s: %s", message.number, message.text)


class WebhookSender:
    """POSTs JSON. The signature is the HMAC-SHA256 of time, "." and body, so who receives it knows from whom it comes,
    and that it is not an old one."""

    def __init__(self, host: Host, config: Config) -> None:
        self.host = host
        self.config = config

    async def send(self, message: CodeMessage) -> None:
        content = {
            "id": message.id,
            "to": message.number,
            "text": message.text,
            "code": message.code,
            "domain": self.host.domain,
        }
        body = json.dumps(content).encode()
        status = 0
        for _ in range(self.config.webhook_tries):
            status = await self.host.server.poster.post(
                self.config.webhook, body, self._headers(message.id, body), private=True, within=self._time
            )
            if 0 < status < 500:
                break
        if not 200 <= status < 300:
            raise CodeNotSent(f"the webhook has answered {status or 'nothing'}", refused=status == REFUSED)

    @property
    def _time(self) -> float:
        return float(self.config.webhook_time)

    def _headers(self, id: str, body: bytes) -> dict[str, str]:
        at = str(int(self.host.clock.now()))
        secret = self.config.webhook_secret.encode()
        signature = hmac.new(secret, at.encode() + b"." + body, hashlib.sha256).hexdigest()
        return {
            "Content-Type": "application/json",
            "Xmppd-Id": id,
            "Xmppd-Timestamp": at,
            "Xmppd-Signature": f"sha256={signature}",
        }
