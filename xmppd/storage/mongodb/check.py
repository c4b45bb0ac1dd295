"""Looks at what maps and logs of a MongoDB store do not show (`backend.Verifiable`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from bson import ObjectId

from xmppd.storage.backend import Flaw
from xmppd.storage.codec import unpack
from xmppd.storage.mongodb.client import INDEXES
from xmppd.storage.mongodb.reads import translated

PAGE: Final = 500
_ENTRY: Final = {"id": int, "peer": str, "resource": str, "flags": int, "body": bytes}
_SENDING: Final = {"owner": str, "domain": str, "to": str, "data": bytes}
_PARTS: Final = {"entries": "log", "records": "map"}


class MongoInspector:
    """Over the collections of one database. All raise StorageUnavailable."""

    def __init__(self, db: Any) -> None:
        self._db = db

    async def flaws(self) -> AsyncIterator[Flaw]:
        async for each in self._each("refused", {}, {"why": 1}):
            what = f"a part of it was acknowledged and not stored: {each.get('why')}"
            yield Flaw("", f"batch {each['_id']} in 'refused'", what)
        for name, indexes in INDEXES.items():
            there = await translated(self._db[name].index_information())
            known = [(list(map(tuple, index["key"])), bool(index.get("unique"))) for index in there.values()]
            for keys, unique in indexes:
                if ([(field, way) for field, way in keys], unique) not in known:
                    fields = ", ".join(field for field, _ in keys)
                    yield Flaw(
                        "", f"the collection {name!r}", f"the {'unique ' * unique}index over {fields} is missing"
                    )
        async for flaw in self._records():
            yield flaw
        async for flaw in self._entries():
            yield flaw
        async for flaw in self._sendings():
            yield flaw

    async def _records(self) -> AsyncIterator[Flaw]:
        async for each in self._each("records", {}):
            owner, map, key = (each.get(field) for field in ("owner", "map", "key"))
            if not all(isinstance(text, str) for text in (owner, map, key)):
                yield Flaw(str(owner or ""), f"record {each['_id']}", "it does not say whose it is")
                continue
            where = f"{map}/{key}" if key else str(map)
            if each.get("domain") != str(owner).rpartition("@")[2]:
                what = f"it is listed under the domain {each.get('domain')!r}, so nobody finds it there"
                yield Flaw(str(owner), where, what)
            if each.get("gone"):
                continue
            if "packed" in each:
                try:
                    unpack(bytes(each["packed"]))
                except (msgspec.MsgspecError, ValueError, TypeError) as error:
                    yield Flaw(str(owner), where, f"the record is no MessagePack: {error}")
            elif "value" not in each:
                yield Flaw(str(owner), where, "the record has no value")

    async def _entries(self) -> AsyncIterator[Flaw]:
        async for each in self._each("entries", {}):
            owner, log = each.get("owner"), each.get("log")
            if not isinstance(owner, str) or not isinstance(log, str):
                yield Flaw(str(owner or ""), f"entry {each['_id']}", "it does not say whose it is")
                continue
            where = f"{log}#{each.get('id')}"
            wrong = [field for field, kind in _ENTRY.items() if not isinstance(each.get(field), kind)]
            if wrong:
                yield Flaw(owner, where, f"the entry lacks {', '.join(wrong)}, so its log cannot be read")
            elif log.startswith("-") and each["body"]:
                yield Flaw(owner, where, "the entry is deleted, and its body is still there")

    async def _sendings(self) -> AsyncIterator[Flaw]:
        async for each in self._each("sendings", {"gone": None}):
            owner, where = each.get("owner"), f"sending {each['_id']}"
            wrong = [field for field, kind in _SENDING.items() if not isinstance(each.get(field), kind)]
            if not isinstance(each["_id"], ObjectId):
                wrong.append("_id")
            if wrong:
                yield Flaw(str(owner or ""), where, f"it lacks {', '.join(wrong)}, so nobody hears it")
            elif each["domain"] != str(owner).rpartition("@")[2]:
                what = f"it is listed under the domain {each['domain']!r}, so nobody finds it there"
                yield Flaw(str(owner), where, what)

    async def places(self) -> AsyncIterator[tuple[str, str]]:
        """From both collections; each is there once."""
        for name, part in _PARTS.items():
            last = None
            place: dict[str, Any] = {"gone": None} if part == "map" else {}
            async for each in self._each(name, place, {"_id": 0, "owner": 1, part: 1}, [("owner", 1), (part, 1)]):
                found = (str(each.get("owner")), str(each.get(part)))
                if found != last and not (part == "log" and found[1].startswith("-")):
                    yield found
                last = found

    async def _each(
        self,
        name: str,
        place: dict[str, Any],
        fields: dict[str, int] | None = None,
        sort: list[tuple[str, int]] | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """All documents, a page at a time."""
        cursor = self._db[name].find(place, fields).batch_size(PAGE)
        if sort is not None:
            cursor = cursor.sort(sort)
        try:
            while found := await translated(cursor.to_list(PAGE)):
                for each in found:
                    yield each
        finally:
            await cursor.close()
