"""The addresses of a file: one to fetch it, which is shown to others, and one to put it, which only its owner can."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from .model import StoredFile

PATH: Final = "/upload"
SIGNATURE: Final = "s"
"""Of the parameter in the address to put a file."""
_TOKEN: Final = re.compile(rb"/upload/([A-Za-z0-9_-]{32})/")


def get_address(base: str, token: str, file: StoredFile) -> str:
    """Where a file is fetched. `base`: without a path."""
    return f"{base}{PATH}/{token}/{quote(file.name, safe='')}"


def put_address(base: str, token: str, file: StoredFile, secret: bytes) -> str:
    """Where its owner puts it. Whoever knows the other address only cannot."""
    return f"{get_address(base, token, file)}?{SIGNATURE}={signature(token, file, secret)}"


def signature(token: str, file: StoredFile, secret: bytes) -> str:
    """Binds an address to everything that the slot was given for."""
    parts = (token, file.account, file.name, str(file.size), file.type, file.purpose, repr(file.until))
    said = b"".join(len(part).to_bytes(4) + part for part in (each.encode() for each in parts))
    return base64.urlsafe_b64encode(hmac.digest(secret, said, hashlib.sha256)).rstrip(b"=").decode()


def is_signed(given: str, token: str, file: StoredFile, secret: bytes) -> bool:
    """Whether that is the signature, in a time that says nothing about it."""
    return hmac.compare_digest(given.encode(), signature(token, file, secret).encode())


def tokens_in(content: bytes) -> Iterable[str]:
    """The tokens of the addresses that stand in a text."""
    return dict.fromkeys(found.decode() for found in _TOKEN.findall(content))
