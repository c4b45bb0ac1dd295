"""Devices that the server itself wakes by web push (RFC 8030), without an app server in between."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from xmppd.contracts.messages import Push
from xmppd.errors import BadRequest, NotAcceptable
from xmppd.plugin import E, Host
from xmppd.xep.forms import Submitted, read_form
from xmppd.xml import parse

from . import encryption
from .model import Device, Job

if TYPE_CHECKING:
    from .options import Config

GONE: Final = (404, 410)
"""The subscription is over (RFC 8030 section 7.3)."""
URGENCY: Final = {Push.QUIET: "low", Push.ALERT: "high", Push.URGENT: "high"}


@dataclass(frozen=True, slots=True)
class ServerKey:
    """The VAPID key by which push services know this server (RFC 8292): PEM."""

    pem: str


class WebPush:
    def __init__(self, host: Host, config: Config) -> None:
        self.host = host
        self.config = config
        self.keys = host.storage.map("push-key", ServerKey)
        self.pem = ""

    async def start(self) -> None:
        """The key is made once. Raises StorageUnavailable."""
        stored = await self.keys.read(self.host.domain, "")
        if stored is None:
            stored = ServerKey(encryption.new_key())
            await self.host.storage.commit([self.keys.put(self.host.domain, "", stored)])
        self.pem = stored.pem

    @property
    def public(self) -> str:
        return encryption.public_of(self.pem)

    def is_web(self, device: Device) -> bool:
        return device.jid == self.host.domain

    def check(self, submitted: Submitted | None) -> None:
        """A device enables it: endpoint and keys as the browser gives them. Raises BadRequest, NotAcceptable."""
        endpoint, p256dh, auth = _fields(submitted)
        try:
            parts = urlsplit(endpoint)
        except ValueError:  # as for full-width slashes
            raise NotAcceptable("an endpoint is an https address") from None
        if parts.scheme != "https" and not (parts.scheme == "http" and self.config.private_endpoints):
            raise NotAcceptable("an endpoint is an https address")
        if not self.config.private_endpoints and not self.host.server.poster.may_reach(parts.hostname or ""):
            raise NotAcceptable("an endpoint is a public address")
        try:
            encryption.read_keys(p256dh, auth)
        except ValueError as error:
            raise NotAcceptable(str(error)) from None

    async def send(self, device: Device, job: Job, count: int) -> str:
        """ "done", "gone", or why it must be tried again."""
        endpoint, p256dh, auth = _fields(_stored(device))
        content: dict[str, object] = {"count": count, "level": Push(job.level).name.lower()}
        if job.sender:
            content["from"] = job.sender
        if job.body:
            content["body"] = job.body
        message = json.dumps(content).encode()
        if len(message) > encryption.LARGEST:
            message = json.dumps({"count": count, "level": content["level"]}).encode()
        body = encryption.encrypt(message, *encryption.read_keys(p256dh, auth))
        headers = {
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": str(int(self.config.ttl)),
            "Urgency": URGENCY.get(Push(job.level), "normal"),
            "Topic": hashlib.sha256(device.key.encode()).hexdigest()[:32],
            "Authorization": encryption.authorization(
                self.pem, endpoint, f"xmpp:{self.host.domain}", self.host.clock.now()
            ),
        }
        status = await self.host.server.poster.post(endpoint, body, headers, self.config.private_endpoints)
        if 200 <= status < 300:
            return "done"
        return "gone" if status in GONE else f"HTTP {status}" if status else "no answer"


def _fields(submitted: Submitted | None) -> tuple[str, str, str]:
    values = [submitted.text(name) if submitted is not None else None for name in ("endpoint", "p256dh", "auth")]
    endpoint, p256dh, auth = values
    if not endpoint or not p256dh or not auth:
        raise BadRequest("a web push device has endpoint, p256dh and auth")
    return endpoint, p256dh, auth


def _stored(device: Device) -> Submitted | None:
    return read_form(E("x", "urn:x", {}, parse(device.options.encode())))
