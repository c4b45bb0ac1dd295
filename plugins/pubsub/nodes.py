"""The nodes of a host, as those see it who notify of their changes."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from xmppd.contracts.roster import RosterItem
from xmppd.plugin import JID, Host
from xmppd.storage.api import Map

from .items import Items
from .model import Node, Settings


class Nodes(Protocol):
    """`personal`: those of accounts (XEP-0163), else those of a service."""

    name: str
    personal: bool

    @property
    def host(self) -> Host: ...
    @property
    def nodes(self) -> Map[Node]:
        """By owner and name."""
        ...

    @property
    def store(self) -> Items: ...
    def settings(self, node: Node) -> Settings: ...
    def is_master(self, owner: str, jid: JID) -> bool:
        """Owner of every node: the account itself, an administrator of a service."""
        ...

    def contact(self, owner: str, bare: str) -> RosterItem | None: ...

    @property
    def notifier(self) -> Any:
        """Notifies of changes (`notify.Notifier`)."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None], name: str = "") -> None: ...
