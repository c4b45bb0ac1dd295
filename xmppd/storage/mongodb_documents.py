"""What MongoDB documents look like, and what its errors mean."""

from __future__ import annotations

from typing import Any

import msgspec
from bson import Binary
from bson.errors import BSONError
from pymongo.errors import BulkWriteError, DocumentTooLarge, OperationFailure, PyMongoError

from xmppd.errors import StorageUnavailable
from xmppd.storage.api import DataError, Entry, Range
from xmppd.storage.codec import HIGHEST, LOWEST, bounds, flag_values, pack, unpack

DUPLICATE = 11000
LARGEST = 16_000_000
"""Bytes of a document; the server's limit is 16 MiB."""

# Answers that say: this document cannot be stored, whenever you try. Any other failure may pass.
_REFUSED = {2, 9, 14, 15, 22, 52, 55, 56, 57, 121, 10334, 17280, 17419, 17420}


def translate(error: Exception) -> Exception:
    """StorageUnavailable or DataError for what went wrong; an error of our own making as it is."""
    if isinstance(error, (StorageUnavailable, DataError)):
        return error
    if isinstance(error, BulkWriteError):
        codes = {refused.get("code") for refused in error.details.get("writeErrors", [])} - {DUPLICATE}
        if codes and codes <= _REFUSED and not error.details.get("writeConcernErrors"):
            return DataError(str(error.details["writeErrors"][0].get("errmsg")))
        return StorageUnavailable(f"MongoDB: {error.details}"[:300])
    if isinstance(error, OperationFailure) and error.code in _REFUSED:
        return DataError(str(error))
    if isinstance(error, (BSONError, DocumentTooLarge, ValueError, TypeError, OverflowError)):
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


def plain(value: Any) -> bool:
    """Whether BSON holds these builtin types as they are: keys are texts that no server objects to."""
    if isinstance(value, dict):
        return all(
            isinstance(key, str) and key and key[0] != "$" and "." not in key and "\0" not in key and plain(item)
            for key, item in value.items()
        )
    if isinstance(value, list):
        return all(plain(item) for item in value)
    if isinstance(value, int):
        return LOWEST <= value <= HIGHEST
    return True


def record_fields(owner: str, record: Any) -> dict[str, Any]:
    """The update for a record: readable as `value` where BSON can hold it, else packed. Raises DataError."""
    packed = pack(record)
    try:
        value = msgspec.to_builtins(record, builtin_types=(bytes,))
    except (TypeError, ValueError) as error:
        raise DataError(f"not a record that can be stored: {error}") from error
    domain = owner.rpartition("@")[2]
    if plain(value):
        return {"$set": {"domain": domain, "value": value}, "$unset": {"packed": ""}}
    return {"$set": {"domain": domain, "packed": Binary(packed)}, "$unset": {"value": ""}}


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
