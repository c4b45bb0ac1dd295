"""Records as bytes, and ranges as bounds: what every backend does the same way."""

from __future__ import annotations

from typing import Any

import msgspec

from xmppd.storage.api import DataError, Entry, Range, Send

LOWEST, HIGHEST = -(1 << 63), (1 << 63) - 1
"""Ids are 64-bit integers in every store; a range that reaches beyond is cut."""

FLAGS = 256
"""Flags of an entry are below this: a store without bit operators lists those that match."""

TWICE = "sending %d was decided twice: its second entry, id %d of %s, is left out"

_VALUES = range(FLAGS)
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder()


def pack(value: Any) -> bytes:
    """A record (or builtin types) as MessagePack. Raises DataError for what it cannot hold."""
    try:
        return _encoder.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise DataError(f"not a record that can be stored: {error}") from error


def unpack(data: bytes) -> Any:
    """Builtin types again. Raises msgspec.DecodeError for bytes that `pack` did not write."""
    return _decoder.decode(data)


def check_text(text: str) -> None:
    """Raises DataError for what is no text in UTF-8 (lone surrogates)."""
    try:
        text.encode()
    except (UnicodeEncodeError, AttributeError) as error:
        raise DataError(f"not text that can be stored: {error}") from error


def check_entry(entry: Entry) -> None:
    """Raises DataError for an entry that a store may not be able to hold."""
    check_text(entry.peer)
    check_text(entry.resource)
    if not isinstance(entry.body, bytes):
        raise DataError("a body is bytes")
    if not (isinstance(entry.id, int) and LOWEST <= entry.id <= HIGHEST):
        raise DataError("an id is a 64-bit integer")
    if not 0 <= entry.flags < FLAGS:
        raise DataError(f"flags are below {FLAGS}")


def check_sending(sending: Send) -> None:
    """Raises DataError for a sending that a store may not be able to hold."""
    check_text(sending.owner)
    check_text(sending.to)
    if not isinstance(sending.data, bytes):
        raise DataError("what is sent is bytes")


def clamp(id: int) -> int:
    """The nearest 64-bit integer."""
    return min(max(id, LOWEST), HIGHEST)


def flag_values(range: Range) -> list[int]:
    """All values of flags that a range allows."""
    return [value for value in _VALUES if value & range.flags == range.flags and not value & range.without]


def bounds(range: Range) -> tuple[int, int] | None:
    """The lowest and highest id that a range allows, both inclusive; None if it allows none."""
    low, high = LOWEST, HIGHEST
    if range.low is not None:
        low = max(low, range.low)
    if range.after is not None:
        low = max(low, range.after + 1)
    if range.high is not None:
        high = min(high, range.high)
    if range.before is not None:
        high = min(high, range.before - 1)
    return None if low > high or range.ids == () else (low, high)


def matches(entry: Entry, range: Range) -> bool:
    """Whether an entry is in the range: the reference for every backend."""
    allowed = bounds(range)
    return (
        allowed is not None
        and allowed[0] <= entry.id <= allowed[1]
        and (range.peer is None or range.peer == entry.peer)
        and (range.resource is None or range.resource == entry.resource)
        and (range.ids is None or entry.id in range.ids)
        and entry.flags & range.flags == range.flags
        and not entry.flags & range.without
    )
