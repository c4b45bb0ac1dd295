"""Private XML (XEP-0049) that is kept elsewhere in another form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from ..jid import JID
from ..service import Service
from ..storage.api import Write
from ..xml import Element
from .moving import Intake


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

    async def take_private(self, owner: JID, given: Element, intake: Intake) -> Sequence[Write]:
        """It comes from another server (`contracts.moving`): the writes that add it. Raises StorageUnavailable."""
        ...


CONVERTED = Service[Converted]("converted-private")
