"""Elements that several parts write, as bytes: XEP-0203 delay, XEP-0359 stanza-id, XEP-0082 times."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from ..xml import quoted

LATE: Final = 1_000_000
"""Microseconds. What was held longer is sent with the time when it was accepted (XEP-0203)."""
DELAY_NS: Final = "urn:xmpp:delay"
SID_NS: Final = "urn:xmpp:sid:0"


def stamp(microseconds: int) -> str:
    """XEP-0082 DateTime in UTC, with microseconds."""
    minute, rest = divmod(microseconds, 60_000_000)
    return "%s%02d.%06dZ" % (_minute(minute), rest // 1_000_000, rest % 1_000_000)  # noqa: UP031 - faster


@lru_cache(10_000)
def _minute(minute: int) -> str:
    return f"{datetime.fromtimestamp(minute * 60, UTC):%Y-%m-%dT%H:%M:}"


def parse_time(text: str) -> int:
    """Microseconds since 1970 from an XEP-0082 DateTime. Raises ValueError."""
    if "T" not in text or not text.isascii():
        raise ValueError(f"not a DateTime: {text!r}")
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a DateTime needs a time zone (XEP-0082 section 3.2)")
    whole = moment.replace(microsecond=0).timestamp()
    return int(whole) * 1_000_000 + moment.microsecond


def delay_bytes(sender: str, microseconds: int) -> bytes:
    """<delay/> of XEP-0203."""
    return f"<delay xmlns='{DELAY_NS}' from='{quoted(sender)}' stamp='{stamp(microseconds)}'/>".encode()


def stanza_id_bytes(by: str, id: int) -> bytes:
    """<stanza-id/> of XEP-0359. The id of a log entry is its archive id."""
    return f"<stanza-id xmlns='{SID_NS}' by='{quoted(by)}' id='{id}'/>".encode()
