"""Private XML (XEP-0049) that is kept elsewhere in another form."""

from __future__ import annotations

from typing import ClassVar, Protocol

from ..jid import JID
from ..service import Service
from ..xml import Element


class Converted(Protocol):
    """Reads an element of private XML from where it is stored in another form.

    `tag`: "namespace|name" of the element that is asked for.
    """

    tag: ClassVar[str]

    async def read_private(self, owner: JID) -> Element:
        """The element as it is now. Raises StorageUnavailable."""
        ...

    async def write_private(self, owner: JID, given: Element) -> None:
        """A client has stored it. Raises StanzaError, StorageUnavailable."""
        ...


CONVERTED = Service[Converted]("converted-private")
