"""Escapes in texts of other servers' files."""

from __future__ import annotations

import re
from collections.abc import Callable


def unescaped(text: bytes, escape: re.Pattern[bytes], plain: Callable[[re.Match[bytes]], bytes]) -> bytes:
    """As `escape.sub`, which needs a hundred bytes for each escape until it has them all."""
    if b"\\" not in text:
        return text
    made, at = bytearray(), 0
    for found in escape.finditer(text):
        made += text[at : found.start()]
        made += plain(found)
        at = found.end()
    return bytes(made + text[at:])
