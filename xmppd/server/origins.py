"""Which web pages may connect."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from ..contracts.http import HttpError, HttpRequest


def check_origin(request: HttpRequest, allowed: Collection[str], domains: Collection[str]) -> None:
    """Raises HttpError for a web page of another site (RFC 6455 section 10.2). What is no browser names no origin."""
    origin = request.headers.get("origin", "").lower()
    if not origin or origin in allowed or "*" in allowed:
        return
    try:
        parts = urlsplit(origin)
    except ValueError:
        raise HttpError(403, "That is no origin.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise HttpError(403, "Pages of that origin may not connect.")
    if parts.netloc != request.headers.get("host", "").lower() and parts.hostname not in domains:
        raise HttpError(403, "Pages of that origin may not connect.")
