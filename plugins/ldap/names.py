"""Names of people inside filters and distinguished names: as values, never as part of the syntax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

PLACE: Final = "{name}"
"""Where the name of a person goes in a template."""


def _escaped(text: str) -> str:
    """Everything but letters and digits of ASCII as hex pairs of its UTF-8."""
    return "".join(chr(octet) if octet < 128 and chr(octet).isalnum() else f"\\{octet:02x}" for octet in text.encode())


def filter_value(text: str) -> str:
    """A value in a filter (RFC 4515 section 3)."""
    return _escaped(text)


def dn_value(text: str) -> str:
    """A value in a distinguished name (RFC 4514 section 2.4)."""
    return _escaped(text)


def filled(template: str, value: str, escape: Callable[[str], str]) -> str:
    return template.replace(PLACE, escape(value))


def is_filter(text: str) -> bool:
    """Whether it looks like a filter: its parentheses fit."""
    depth = 0
    for at, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if depth <= 0 and at < len(text) - 1:
            return False
    return depth == 0 and len(text) > 2
