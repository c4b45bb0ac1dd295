"""How a file is answered: what a browser may do with it, ranges (RFC 9110 section 14), conditions (section 13)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime
from typing import Final
from urllib.parse import quote

from xmppd.contracts.http import HttpError

from .model import Purpose, StoredFile

SHOWN: Final = frozenset(
    f"{kind}/{name}"
    for kind, names in {
        "image": "jpeg png gif webp avif heic heif bmp jxl",
        "audio": "aac flac mp4 mpeg ogg opus wav wave webm x-flac x-m4a x-wav",
        "video": "3gpp mp4 mpeg ogg quicktime webm x-m4v x-matroska",
    }.items()
    for name in names.split()
)
"""Types that no browser runs: they may be shown where they are. All others are saved, as bytes of no type."""
INERT: Final = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Referrer-Policy": "no-referrer",
    "Accept-Ranges": "bytes",
}
_RANGE: Final = re.compile(r"bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.IGNORECASE)


def media_type(file: StoredFile) -> str:
    """The type that is told."""
    type = file.type.partition(";")[0].strip().lower()
    return type if type in SHOWN else "application/octet-stream"


def headers_of(file: StoredFile, token: str) -> dict[str, str]:
    """The header fields of each answer about a file."""
    inline = media_type(file) in SHOWN
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", file.name)
    disposition = (
        f"{'inline' if inline else 'attachment'}; filename=\"{plain}\"; filename*=UTF-8''{quote(file.name, safe='')}"
    )
    cache = "no-store" if file.purpose == Purpose.EPHEMERAL else "private, max-age=86400"
    return {
        **INERT,
        "Content-Disposition": disposition,
        "ETag": etag(token),
        "Last-Modified": formatdate(file.stored, usegmt=True),
        "Cache-Control": cache,
    }


def etag(token: str) -> str:
    """What was stored under a token never changes."""
    return f'"{token[:16]}"'


def is_another(file: StoredFile, token: str, headers: Mapping[str, str]) -> bool:
    """Whether the client wants only one that this is not (RFC 9110 sections 13.1.1 and 13.1.4)."""
    matching = headers.get("if-match")
    if matching is not None:
        return not {"*", etag(token)} & {each.strip() for each in matching.split(",")}
    since = _date(headers.get("if-unmodified-since", ""))
    return since is not None and int(file.stored) > since


def is_not_modified(file: StoredFile, token: str, headers: Mapping[str, str]) -> bool:
    """Whether the client has it (RFC 9110 sections 13.1.2 and 13.1.3)."""
    matching = headers.get("if-none-match")
    if matching is not None:
        tags = [each.strip().removeprefix("W/") for each in matching.split(",")]
        return "*" in tags or etag(token) in tags
    since = _date(headers.get("if-modified-since", ""))
    return since is not None and int(file.stored) <= since


def range_of(file: StoredFile, token: str, headers: Mapping[str, str]) -> tuple[int, int] | None:
    """First byte, and the one behind the last, of what the client wants; None: all of it. Several ranges are answered
    with all (RFC 9110 section 14.2). Raises HttpError (416)."""
    found = _RANGE.fullmatch(headers.get("range", ""))
    if found is None or not (found[1] or found[2]) or not _may_range(file, token, headers.get("if-range", "")):
        return None
    size = file.size
    if not found[1]:
        start, end = max(0, size - int(found[2])), size
    else:
        start, end = int(found[1]), min(size, int(found[2]) + 1) if found[2] else size
        if found[2] and int(found[2]) < start:
            return None  # section 14.1.1: no valid range
    if start >= size or start >= end:
        raise HttpError(416, headers={"Content-Range": f"bytes */{size}"})
    return start, end


def waits_for_end(headers: Mapping[str, str]) -> bool:
    """Whether the client takes a file for whole only when the connection ends: Dino does with encrypted ones (0.4.2;
    https://github.com/dino/dino/issues/1373), and shows a spinner for as long as the connection is kept for more."""
    return headers.get("user-agent", "").startswith("Dino/")


def _may_range(file: StoredFile, token: str, condition: str) -> bool:
    """If-Range (RFC 9110 section 13.1.5)."""
    condition = condition.strip()
    if not condition or condition == etag(token):
        return True
    return _date(condition) == int(file.stored)


def _date(text: str) -> int | None:
    try:
        return int(parsedate_to_datetime(text).timestamp())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
