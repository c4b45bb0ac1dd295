"""Maps and logs, read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

from xmppd.errors import StorageUnavailable
from xmppd.storage.api import Entry, Range, Send, Source
from xmppd.storage.backend import Row
from xmppd.storage.mongodb.documents import (
    entry_filter,
    from_document,
    gone,
    sending,
    source_id,
    translate,
    value_of,
)
from xmppd.storage.mongodb.moment import Moment

R = TypeVar("R")


async def translated(answer: Awaitable[R]) -> R:
    """What the driver answers. Raises StorageUnavailable or DataError."""
    try:
        return await answer
    except Exception as error:
        raise translate(error) from error


class MongoReads:
    """`backend.Reads`. What keeps the place of something deleted is not seen."""

    def __init__(self) -> None:
        self._db: Any = None
        self._moment: Moment | None = None
        self._ready = False

    def _collection(self, name: str) -> Any:
        if not self._ready:
            raise StorageUnavailable("the store is not open")
        return self._db[name]

    async def _find(
        self,
        name: str,
        place: dict[str, Any],
        fields: dict[str, int] | None = None,
        sort: list[tuple[str, int]] | None = None,
        limit: int = 0,
    ) -> list[dict[str, Any]]:
        collection = self._collection(name)
        assert self._moment is not None
        async with self._moment.reading() as session:
            cursor = collection.find(place, fields, session=session).limit(limit)
            if sort is not None:
                cursor = cursor.sort(sort)
            found: list[dict[str, Any]] = await translated(cursor.to_list(None))
            return found

    async def load(self, owner: str, maps: Sequence[str]) -> list[Row[Any]]:
        documents = await self._find("records", {"owner": owner, "map": {"$in": list(maps)}})
        return [Row(each["map"], each["key"], value_of(each)) for each in documents if not each.get("gone")]

    async def read(self, map: str, owner: str, key: str) -> Any | None:
        place = {"owner": owner, "map": map, "key": key}
        found = await self._find("records", place, limit=1)
        return None if not found or found[0].get("gone") else value_of(found[0])

    async def owners(self, map: str, domain: str, after: str, limit: int) -> list[str]:
        """An owner may come several times, once for each record, so this reads on behind the last one."""
        owners: list[str] = []
        while len(owners) < limit:
            place = {"map": map, "domain": domain, "owner": {"$gt": after}, "gone": None}
            documents = await self._find("records", place, {"owner": 1, "_id": 0}, [("owner", 1)], limit)
            owners += dict.fromkeys(document["owner"] for document in documents)
            if len(documents) < limit:
                break
            after = owners[-1]
        return owners[:limit]

    async def scan(self, map: str, domain: str, after: tuple[str, str], limit: int) -> list[tuple[str, Row[Any]]]:
        """The rest of the owner that `after` is in, then the owners behind it: two ranges of an index."""
        owner, key = after
        places: list[dict[str, Any]] = [{"map": map, "domain": domain, "owner": {"$gt": owner}, "gone": None}]
        if owner:
            places.insert(0, {"map": map, "owner": owner, "key": {"$gt": key}, "gone": None})
        found: list[tuple[str, Row[Any]]] = []
        for place in places:
            if len(found) < limit:
                order = [("owner", 1), ("key", 1)]
                documents = await self._find("records", place, sort=order, limit=limit - len(found))
                found += [(each["owner"], Row(each["map"], each["key"], value_of(each))) for each in documents]
        return found

    async def page(self, log: str, owner: str, range: Range, limit: int, backwards: bool) -> list[Entry]:
        place = entry_filter(log, owner, range)
        if place is None or limit <= 0:
            return []
        documents = await self._find("entries", place, sort=[("id", -1 if backwards else 1)], limit=limit)
        if backwards:
            documents.reverse()
        return [from_document(document) for document in documents]

    async def ends(self, log: str, owner: str, range: Range) -> tuple[int, int]:
        place = entry_filter(log, owner, range)
        if place is None:
            return 0, 0
        lowest, highest = await asyncio.gather(self._end(place, 1), self._end(place, -1))
        return lowest, highest

    async def _end(self, place: dict[str, Any], way: int) -> int:
        found = await self._find("entries", place, {"_id": 0, "id": 1}, [("id", way)], 1)
        return int(found[0]["id"]) if found else 0

    async def count(self, log: str, owner: str, range: Range, limit: int | None) -> int:
        place = entry_filter(log, owner, range)
        if place is None or limit == 0:
            return 0
        self._collection("entries")
        assert self._moment is not None
        command = {"query": place, "limit": limit or 0, "readConcern": self._moment.concern()}
        return int((await translated(self._db.command("count", "entries", **command)))["n"])

    async def last_id(self, log: str, owner: str) -> int:
        """Also of what was deleted within the last hour."""
        return max(await asyncio.gather(*(self._end({"owner": owner, "log": each}, -1) for each in (log, gone(log)))))

    async def unheard(self, domain: str, after: Source, limit: int) -> list[Send]:
        """What keeps the place of one that was heard has no domain."""
        place = {"domain": domain, "_id": {"$gt": source_id(after)}}
        documents = await self._find("sendings", place, sort=[("_id", 1)], limit=limit)
        return [sending(each) for each in documents]

    async def was_heard(self, owner: str, log: str, source: Source) -> bool:
        """An entry that was made of a sending has its source as `_id`, also when it is deleted."""
        found = await self._find("entries", {"_id": source_id(source)}, {"_id": 0, "owner": 1, "log": 1}, limit=1)
        return bool(found) and found[0]["owner"] == owner and found[0]["log"] in (log, gone(log))
