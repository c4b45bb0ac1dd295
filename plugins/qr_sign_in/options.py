"""What the operator decides about signing in by a code."""

from __future__ import annotations

from dataclasses import dataclass

from xmppd.config import Duration, option


@dataclass(frozen=True)
class Config:
    lifetime: Duration = option(
        Duration("1 minute"), "How long a code can be used; the page then shows another one.", low=20, high=300
    )
    waiting: int = option(2000, "Pages that may show a code at once.", low=1, high=100_000)
    per_address: int = option(30, "Codes that one address may ask for in a minute.", low=1, high=10_000)
