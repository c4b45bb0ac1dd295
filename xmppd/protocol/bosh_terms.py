"""What client and server agree on for a BOSH session (XEP-0124 section 7), and what one request of it is. Sans-I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from .bosh import VERSION, BoshError, RequestBody, written_body

MOST_HOLD: Final = 2
"""Requests of a session that are kept waiting."""
MOST_WAIT: Final = 50.0
"""Seconds: many proxies cut off what is silent for 60."""
INACTIVITY: Final = 60.0
POLLING: Final = 2.0
"""Seconds between two empty requests (sections 11 and 12)."""
MORE_TO_POLL: Final = 30.0
"""Seconds of inactivity that a client has in addition if none of its requests is kept waiting (section 12)."""
MOST_PAUSE: Final = 120.0


class Carrier(Protocol):
    """An HTTP request that waits."""

    def answer(self, body: bytes, status: int = 200) -> None:
        """Its answer; what is answered later is dropped."""
        ...


@dataclass(frozen=True, slots=True)
class Terms:
    """What client and server have agreed on (section 7). Seconds."""

    hold: int
    wait: float
    version: tuple[int, int] | None
    acks: bool
    """The client says which answers it has (section 9.2)."""

    @classmethod
    def of(cls, body: RequestBody) -> Terms:
        """For a session creation request. Raises BoshError."""
        hold, wait = body.number("hold"), body.number("wait")
        version = body.version
        return cls(
            hold=min(1 if hold is None else hold, MOST_HOLD),
            wait=min(MOST_WAIT if wait is None else float(wait), MOST_WAIT),
            version=min(version, VERSION) if version is not None else None,
            acks=body.attributes.get("ack") == "1",
        )

    @property
    def polls(self) -> bool:
        """None of its requests is kept waiting (section 12)."""
        return self.hold == 0 or self.wait == 0

    @property
    def requests(self) -> int:
        """So many the client may have open."""
        return self.hold + 1

    @property
    def inactivity(self) -> float:
        return INACTIVITY + (MORE_TO_POLL if self.polls else 0.0)

    def attributes(self, sid: str, rid: int) -> dict[str, str]:
        """Of the session creation response (section 7.2)."""
        return {
            "sid": sid,
            "wait": f"{self.wait:.0f}",
            "requests": str(self.requests),
            "ver": f"{self.version[0]}.{self.version[1]}" if self.version is not None else "",
            "polling": f"{POLLING:.0f}",
            "inactivity": f"{self.inactivity:.0f}",
            "hold": str(self.hold),
            "maxpause": f"{MOST_PAUSE:.0f}",
            "ack": str(rid) if self.acks else "",
            "xmpp_version": "1.0",
            "xmpp_restartlogic": "true",
        }


def refuse(carrier: Carrier, error: BoshError, legacy: bool = False) -> None:
    """Tell a terminal binding condition."""
    if legacy and error.status != 200:
        carrier.answer(b"", error.status)
    else:
        carrier.answer(written_body(type="terminate", condition=error.condition))


@dataclass(slots=True, eq=False)
class Request:
    """One that has come and is not answered. `body`: None once it is handled."""

    rid: int
    body: RequestBody | None
    carrier: Carrier | None
    came: float
    key: str
    empty: bool
    last: bool
    """It may be one more than the client may have open: it pauses or terminates the session."""
    pauses: bool
    repeats: int = 0
    report: tuple[int, float] | None = None
    """An answer that the client has not acknowledged, and when it was sent (section 9.2)."""


@dataclass(slots=True)
class Answer:
    """One that may be asked for again."""

    body: bytes
    key: str
    at: float
    empty: bool
    pauses: bool
    repeats: int = 0
