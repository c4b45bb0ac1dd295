"""What wakes devices, as the parts see it that find out whom to wake."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import Any, Protocol

from xmppd.contracts.messages import Push
from xmppd.contracts.routing import MessageRules
from xmppd.plugin import Account, Host, Stanza

from .chats import ChatSettings
from .model import Device
from .outbox import Outbox


class Notifier(Protocol):
    """The push plugin of a host."""

    @property
    def host(self) -> Host: ...
    @property
    def owners(self) -> set[str]:
        """Bare JIDs of accounts with devices that can be woken."""
        ...

    @property
    def rules(self) -> MessageRules: ...
    @property
    def chats(self) -> ChatSettings: ...
    @property
    def outbox(self) -> Outbox: ...
    def spawn(self, work: Coroutine[Any, Any, None], name: str = "") -> None: ...
    def wake_these(self, owner: Account, stanza: Stanza, level: Push, devices: Iterable[Device]) -> None:
        """Wake some devices of an account."""
        ...

    def wake_for_room(self, owner: Account, stanza: Stanza) -> None:
        """Wake the devices of an absent member of a room."""
        ...
