"""Numbers as XMPP writes them: xs:unsignedInt and the like, and ids of archived messages."""

from __future__ import annotations

from typing import Final

HIGHEST: Final = (1 << 63) - 1
"""The largest id of a log entry."""


def unsigned(text: str, highest: int = HIGHEST) -> int | None:
    """The number that decimal digits say; None for any other text. A larger one stands for `highest`."""
    if not (text.isascii() and text.isdigit()):
        return None
    digits = text.lstrip("0")
    return min(int(digits or "0"), highest) if len(digits) < 20 else highest


def log_id(text: str) -> int | None:
    """The id of an archived message as archives give it (XEP-0313 section 3, XEP-0359); None for any other text: no
    entry can have it."""
    if not (text.isascii() and text.isdigit()) or text[0] == "0" or len(text) > 19:
        return None
    id = int(text)
    return id if id <= HIGHEST else None
