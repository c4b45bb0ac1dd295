"""Nodes and their items: publish-subscribe (XEP-0060) of a service, personal eventing (XEP-0163) of an account."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..hooks import Notify
from ..jid import JID
from ..service import Service
from ..storage.api import Write
from ..xml import Element
from .core import Session
from .moving import Intake


@dataclass(frozen=True, slots=True)
class Published:
    """One item. `payload`: the serialised element, b"" for none. `at`: microseconds since 1970 UTC."""

    id: str
    payload: bytes
    publisher: JID
    at: int


class Change(enum.Enum):
    """What has happened to a node or to its items."""

    PUBLISH = "publish"
    RETRACT = "retract"
    PURGE = "purge"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class NodeChanged:
    """`owner`: the bare JID of the account, or the address of the service. `session`: who did it, if it is local.

    `items`: what was published; what was retracted has only its id. Empty for purge and delete.
    """

    owner: str
    node: str
    change: Change
    items: tuple[Published, ...]
    publisher: JID
    session: Session | None


NODE_CHANGED = Notify[NodeChanged]("node-changed")
"""After the commit, before the notifications go out."""


class PubSub(Protocol):
    """What other plugins do with the nodes of a local account. Every call takes the owner's lock by itself.

    An owner is a bare JID. All raise StorageUnavailable.
    """

    async def publish(
        self, owner: JID, node: str, id: str, payload: Element, options: Mapping[str, str] | None = None
    ) -> None:
        """Publish in the name of the account, as its clients do: the node is made if it is not there, `options` are
        its configuration then (`pubsub#access_model` …), subscribers and interested contacts are notified.

        Raises StanzaError.
        """
        ...

    async def retract(self, owner: JID, node: str, ids: tuple[str, ...]) -> None:
        """Retracts items and notifies the subscribers. Items that are not there are left out."""
        ...

    async def items(self, owner: JID, node: str, limit: int = 0) -> list[Published]:
        """The newest items, oldest first; 0: all. An empty list for a node that is not there."""
        ...

    async def item(self, owner: JID, node: str, id: str) -> Published | None: ...

    async def interested(self, owner: JID, who: JID, names: frozenset[str]) -> None:
        """A full JID that sees the account's presence has become interested in nodes: the account's home sends it the
        newest items of those that it may read (XEP-0163 section 4.3.4). What the home decides is not told."""
        ...

    async def stored(self, owner: JID, node: str) -> Published | None:
        """The newest item, also if the owner is not in memory and need not be. Raises StorageUnavailable."""
        ...

    async def moved_in(
        self, owner: JID, node: str, items: Sequence[tuple[str, Element]], options: Mapping[str, str], intake: Intake
    ) -> Sequence[Write]:
        """The writes that add items (id and payload) which come from another server (`contracts.moving`) in another
        form than that of nodes; nobody is notified. `options`: as for `publish`."""
        ...

    async def delete(self, owner: JID, node: str) -> None:
        """Deletes a node and notifies its subscribers. Nothing happens if it is not there."""
        ...


PUBSUB = Service[PubSub]("pubsub")
