"""What MongoDB documents look like, and what its errors mean."""

from __future__ import annotations

from contextlib import suppress
from math import isfinite
from typing import Any

import msgspec
from bson import Binary, encode
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo.errors import BulkWriteError, DocumentTooLarge, OperationFailure, PyMongoError, WriteConcernError

from xmppd.errors import StorageUnavailable
from xmppd.storage.api import DataError, Entry, Range, Send, Source
from xmppd.storage.codec import HIGHEST, LOWEST, bounds, flag_values, pack, unpack
from xmppd.storage.journal.statements import EntryRow, RecordRow

DUPLICATE = 11000
READABLE = 1 << 20
"""Bytes of a record above which it is stored packed: BSON may need 14 times as much, and a document has 16 MiB."""
DEEP = 32
"""Levels of a record below which it is stored packed: servers take 100 to 200, with what is around it."""
RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)

# Answers that say: this document cannot be stored, whenever you try. Any other failure may pass.
REFUSED = {2, 9, 14, 15, 22, 52, 55, 56, 57, 121, 10334, 17280, 17419, 17420}


def translate(error: Exception) -> Exception:
    """StorageUnavailable or DataError for what went wrong; an error of our own making as it is."""
    if isinstance(error, (StorageUnavailable, DataError)):
        return error
    if isinstance(error, BulkWriteError):
        codes = {refused.get("code") for refused in error.details.get("writeErrors", [])} - {DUPLICATE}
        if codes and codes <= REFUSED and not error.details.get("writeConcernErrors"):
            return DataError(str(error.details["writeErrors"][0].get("errmsg")))
        return StorageUnavailable(f"MongoDB: {error.details}"[:300])
    if isinstance(error, WriteConcernError):  # whatever its code: it is done, and may be taken back
        return StorageUnavailable(f"MongoDB: {_short(error)}")
    if isinstance(error, OperationFailure) and error.code in REFUSED:
        return DataError(str(error))
    if isinstance(error, (BSONError, DocumentTooLarge, ValueError, TypeError, OverflowError, RecursionError)):
        return DataError(str(error))
    if isinstance(error, (PyMongoError, OSError)):
        return StorageUnavailable(f"MongoDB: {_short(error)}")
    return error


def _short(error: Exception) -> str:
    """Without the driver's state of all its servers, which is for nobody who reads this."""
    text = str(error)
    for end in (" (configured timeouts:", ", Timeout:", ", Topology Description:", ", full error:"):
        text = text.partition(end)[0]
    return text[:300]


def plain(value: Any, deep: int = DEEP) -> bool:
    """Whether every server takes these builtin types as they are: keys are texts that none objects to, no list is an
    item of a list, and a number is one (FerretDB ends the connection over NaN)."""
    if isinstance(value, dict):
        return deep > 0 and all(
            isinstance(key, str)
            and key
            and key[0] != "$"
            and "." not in key
            and "\0" not in key
            and plain(item, deep - 1)
            for key, item in value.items()
        )
    if isinstance(value, list):
        return deep > 0 and all(not isinstance(item, list) and plain(item, deep - 1) for item in value)
    if isinstance(value, int):
        return LOWEST <= value <= HIGHEST
    if isinstance(value, float):
        return isfinite(value)
    return True


def record_change(row: RecordRow, packed: bool = False) -> dict[str, Any]:
    """The update for a record: readable as `value` where BSON can hold it and it fits, else, or if `packed`, packed.
    Raises DataError."""
    head: dict[str, Any] = {"domain": row.owner.rpartition("@")[2], "v": row.version}
    if row.gone:
        return {"$set": {**head, "gone": True}, "$unset": {"value": "", "packed": ""}}
    data = pack(row.value)
    if not packed and len(data) <= READABLE:
        with suppress(TypeError, ValueError, RecursionError):  # what only MessagePack holds
            value = msgspec.to_builtins(row.value, builtin_types=(bytes,))
            if plain(value):
                return {"$set": {**head, "value": value}, "$unset": {"packed": "", "gone": ""}}
    return {"$set": {**head, "packed": Binary(data)}, "$unset": {"value": "", "gone": ""}}


def source_id(source: Source) -> ObjectId:
    """The `_id` of what has a source: its order is that of the sources."""
    number, place = source
    return ObjectId(number.to_bytes(8, "big") + place.to_bytes(4, "big"))


def sending_document(row: Send) -> dict[str, Any]:
    domain = row.owner.rpartition("@")[2]
    return {
        "_id": source_id(row.source), "owner": row.owner, "domain": domain, "to": row.to, "data": Binary(row.data)
    }  # fmt: skip


def sending(document: dict[str, Any]) -> Send:
    source = document["_id"].binary
    place = (int.from_bytes(source[:8], "big"), int.from_bytes(source[8:], "big"))
    return Send(document["owner"], document["to"], bytes(document["data"]), place)


def entry_document(row: EntryRow) -> RawBSONDocument:
    """An entry, or what keeps its place. `_id` is its source."""
    entry = row.entry
    return RawBSONDocument(
        encode({
            "_id": source_id(row.source),
            "owner": row.owner,
            "log": gone(row.log) if row.gone else row.log,
            "id": entry.id,
            "v": row.version,
            "peer": entry.peer,
            "resource": entry.resource,
            "flags": int(entry.flags),
            "body": Binary(entry.body),
        }),
        RAW,
    )  # fmt: skip


def gone(log: str) -> str:
    """The log in which entries without content keep their places."""
    return "-" + log


def is_gone(log: str) -> bool:
    return log.startswith("-")


GONE_LOGS = {"$gte": "-", "$lt": "."}
"""The condition that it is one of them; "." is behind "-"."""


def value_of(document: dict[str, Any]) -> Any:
    """The builtin types of a record."""
    return unpack(document["packed"]) if "packed" in document else document.get("value")


def from_document(document: dict[str, Any]) -> Entry:
    """BSON's 64-bit integers are a type of their own, which nothing else can encode."""
    id, flags = int(document["id"]), int(document["flags"])
    return Entry(id, document["peer"], document["resource"], flags, bytes(document["body"]))


def entry_filter(log: str, owner: str, range: Range) -> dict[str, Any] | None:
    """The filter for a range; None if nothing can match."""
    allowed = bounds(range)
    if allowed is None:
        return None
    ids: dict[str, Any] = {}
    if allowed[0] > LOWEST:
        ids["$gte"] = allowed[0]
    if allowed[1] < HIGHEST:
        ids["$lte"] = allowed[1]
    if range.ids is not None:
        ids["$in"] = [id for id in range.ids if LOWEST <= id <= HIGHEST]
    place: dict[str, Any] = {"owner": owner, "log": log}
    if ids:
        place["id"] = ids
    if range.peer is not None:
        place["peer"] = range.peer
    if range.resource is not None:
        place["resource"] = range.resource
    if range.flags or range.without:
        place["flags"] = {"$in": flag_values(range)}  # bit operators are not spoken everywhere
    return place
