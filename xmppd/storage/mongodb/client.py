"""The driver's client, the collections and their indexes."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import PyMongoError

from xmppd.storage.api import StoreError

log = logging.getLogger("xmppd.storage")

CLIENT: Any = AsyncIOMotorClient
"""The one line that chooses the driver: PyMongo's AsyncMongoClient has the same methods."""

OPTIONS: dict[str, Any] = {
    "appname": "xmppd",
    "w": "majority",
    "journal": True,
    "readConcernLevel": "majority",
    "retryWrites": False,  # the journal repeats what was not answered
    "serverSelectionTimeoutMS": 3_000,
    "connectTimeoutMS": 3_000,
    "socketTimeoutMS": 10_000,
}
INDEXES = {
    "entries": (
        ([("owner", 1), ("log", 1), ("id", 1)], True),
        ([("owner", 1), ("log", 1), ("peer", 1), ("id", 1)], False),
    ),
    "records": (
        ([("owner", 1), ("map", 1), ("key", 1)], True),
        ([("map", 1), ("domain", 1), ("owner", 1)], False),
    ),
    "sendings": (([("domain", 1), ("_id", 1)], False),),
}


def make_client(uri: str, **more: Any) -> Any:
    """The driver's client; what it does not understand in the URI is in the log. Raises StoreError."""
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            client = CLIENT(uri, **OPTIONS, **more)
    except (PyMongoError, OSError, ValueError) as error:
        why = (error.args[-1] if error.args else error) if isinstance(error, OSError) else error
        raise StoreError(f"the MongoDB URI cannot be used: {why}") from error
    for each in said:
        if issubclass(each.category, UserWarning):
            log.warning("the MongoDB URI: %s", each.message)
    return client
