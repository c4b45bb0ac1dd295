"""Finding messages by their words (XEP-0431)."""

from __future__ import annotations

from typing import Final, Protocol

from ..service import Service
from ..storage.api import Log, Range

FULLTEXT_NS: Final = "urn:xmpp:fulltext:0"
FULLTEXT_FIELD: Final = f"{{{FULLTEXT_NS}}}fulltext"


class Search(Protocol):
    """Finds messages by their words."""

    async def ids(self, log: Log, owner: str, text: str, wanted: Range, backwards: bool) -> tuple[int, ...]:
        """Ids, rising, of the messages in an owner's log that hold all the words of `text`.

        The first ones of the range, or its last ones if `backwards`; of the range only the ids and the peer count.
        Some of the messages may be gone since. Raises BadRequest, StorageUnavailable.
        """
        ...


SEARCH = Service[Search]("search")
