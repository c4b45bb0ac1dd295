"""A batch as one document of the journal, and back.

`{_id, format, token, low, batch}`: `low` is the lowest number of its incarnation that was not applied when it was made:
who reads the journal begins there. `token` says which process has inserted it. `batch` is MessagePack: the bodies, each
once, then the writes in order, where an entry, and what is sent, says which body is its own.
A seal is `{_id, seal}`: whoever finds it in the place of its next batch has been replaced. What stays of a journal that
was taken over is its last batch, empty (`stub`), and its lowest seal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from xmppd.storage.api import (
    AbsoluteWrite,
    DataError,
    Entry,
    Heard,
    LogAppend,
    LogDelete,
    LogReplace,
    LogTrim,
    MapClear,
    MapDelete,
    MapPut,
    OwnerDelete,
    Send,
    Source,
    StoreError,
)
from xmppd.storage.codec import check_entry, check_sending, clamp, pack
from xmppd.storage.journal.statements import Document

FORMAT = 2
"""1: without sendings."""
LARGEST = 12 << 20
"""Bytes of a batch: the store above halves one that is larger, until a decision alone is; a document has 16 MiB."""

PUT, DELETE, CLEAR, APPEND, REPLACE, LOG_DELETE, TRIM, OWNER_DELETE, SEND, HEARD = range(10)


def encode(writes: Sequence[AbsoluteWrite]) -> bytes:
    """The writes of a batch. Raises DataError: one of them cannot be stored, or all are too much for one document."""
    bodies: dict[bytes, int] = {}
    rows: list[tuple[Any, ...]] = []
    for write in writes:
        if type(write) is LogAppend or type(write) is LogReplace:
            entry = write.entry
            check_entry(entry)
            body = bodies.setdefault(entry.body, len(bodies))
            kind, source = (APPEND, write.source) if type(write) is LogAppend else (REPLACE, None)
            row = (kind, write.owner, write.log, entry.id, entry.peer, entry.resource, int(entry.flags), body)
            rows.append(row if source is None else (*row, source))
        elif type(write) is MapPut:
            rows.append((PUT, write.owner, write.map, write.key, write.value))
        elif type(write) is MapDelete:
            rows.append((DELETE, write.owner, write.map, write.key))
        elif type(write) is MapClear:
            rows.append((CLEAR, write.owner, write.map))
        elif type(write) is LogDelete:
            rows.append((LOG_DELETE, write.owner, write.log, [clamp(id) for id in write.ids]))
        elif type(write) is LogTrim:
            rows.append((TRIM, write.owner, write.log, clamp(write.before)))
        elif type(write) is OwnerDelete:
            rows.append((OWNER_DELETE, write.owner))
        elif type(write) is Send:
            check_sending(write)
            rows.append((SEND, write.owner, write.to, bodies.setdefault(write.data, len(bodies))))
        elif type(write) is Heard:
            rows.append((HEARD, write.owner, write.sender, write.source))
        else:
            raise DataError(f"{type(write).__name__} is no write that can be stored")
    data = pack((list(bodies), rows))
    if len(data) > LARGEST:
        raise DataError(f"{len(data)} bytes are too much for one batch")
    return data


def decode(document: Document) -> list[AbsoluteWrite]:
    """The writes of a batch, none for a stub; what is sent has its source. Raises StoreError: damaged, or of a newer
    version."""
    if document.get("batch") is None:
        return []
    if document.get("format") not in range(1, FORMAT + 1):
        raise StoreError(f"batch {document['_id']} of the journal was written by a newer version of the server")
    try:
        bodies, rows = msgspec.msgpack.decode(bytes(document["batch"]))
        writes = [_write(row, bodies) for row in rows]
    except (msgspec.MsgspecError, ValueError, TypeError, IndexError, KeyError) as error:
        raise StoreError(f"batch {document['_id']} of the journal is damaged: {error}") from error
    for place, write in enumerate(writes):
        if type(write) is Send:
            write.source = (document["_id"], place)
    return writes


def _write(row: Sequence[Any], bodies: Sequence[bytes]) -> AbsoluteWrite:
    kind, owner, *rest = row
    if kind in {APPEND, REPLACE}:
        log, id, peer, resource, flags, body, *source = rest
        entry = Entry(id, peer, resource, flags, bodies[body])
        if kind == REPLACE:
            return LogReplace(log, owner, entry)
        return LogAppend(log, owner, entry, _source(source[0]) if source else None)
    if kind == PUT:
        return MapPut(rest[0], owner, rest[1], rest[2])
    if kind == DELETE:
        return MapDelete(rest[0], owner, rest[1])
    if kind == CLEAR:
        return MapClear(rest[0], owner)
    if kind == LOG_DELETE:
        return LogDelete(rest[0], owner, tuple(rest[1]))
    if kind == TRIM:
        return LogTrim(rest[0], owner, rest[1])
    if kind == OWNER_DELETE:
        return OwnerDelete(owner)
    if kind == SEND:
        return Send(owner, rest[0], bodies[rest[1]])
    if kind == HEARD:
        return Heard(owner, rest[0], _source(rest[1]))
    raise ValueError(f"a write of kind {kind}")


def _source(pair: Sequence[int]) -> Source:
    number, place = pair
    return number, place
