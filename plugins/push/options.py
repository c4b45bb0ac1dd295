"""The options of push notifications."""

from __future__ import annotations

from dataclasses import dataclass

from xmppd.config import Duration, option


@dataclass(frozen=True)
class Config:
    devices: int = option(20, "Devices of an account that can be woken.", low=1, high=1000)
    sender: bool = option(False, "Tell app servers who wrote.")
    body: bool = option(False, "Tell app servers what was written.")
    delay: float = option(10.0, "Seconds that a notification waits while another device is in use.", low=0, high=600)
    attempts: int = option(10, "Times that a notification is tried, with longer and longer breaks.", low=1, high=50)
    private_endpoints: bool = option(
        False, "Also wake devices by web push at addresses of our own network, and without TLS."
    )
    ttl: Duration = option(
        Duration("7 days"),
        "How long a push service keeps a notification for a phone that is off.",
        low=0,
        high=2_419_200,
    )
    failures: int = option(5, "Notifications in a row that fail until a device is forgotten.", low=1, high=1000)
