"""Programs beside the server that answer for a domain of their own (XEP-0114), and what they may do beside that."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from typing import Final, Protocol

from ..hooks import Notify
from ..jid import JID
from ..service import Service
from ..stanza import Stanza
from .core import Account

PRIVILEGE_NS: Final = "urn:xmpp:privilege:2"
DELEGATION_NS: Final = "urn:xmpp:delegation:2"


class ComponentConnection(Protocol):
    """One connection of a component, of which there can be several."""

    @property
    def name(self) -> str:
        """The domain of the component."""
        ...

    def send(self, stanza: Stanza) -> None:
        """Send to this connection, behind all that was sent there."""
        ...

    def room(self) -> Awaitable[bool]:
        """Wait while much waits for it, as before one of many things. False: it is gone."""
        ...


class Privileges(Protocol):
    """What a component may do in the name of all accounts of a host (XEP-0356)."""

    @property
    def roster(self) -> str:
        """none, get, set or both."""
        ...

    @property
    def reads_roster(self) -> bool: ...
    @property
    def writes_roster(self) -> bool: ...
    @property
    def pushes(self) -> bool:
        """It gets roster pushes."""
        ...

    @property
    def message(self) -> str:
        """none or outgoing."""
        ...

    @property
    def iq(self) -> Mapping[str, str]:
        """By namespace: none, get, set or both."""
        ...

    @property
    def presence(self) -> str:
        """none, managed_entity or roster."""
        ...


Filters = Mapping[str, tuple[str, ...]]
"""Namespaces that are delegated, with the attributes that the element must have."""


class Components(Protocol):
    """All components that the configuration names, connected or not."""

    def privileges(self, host: str) -> Mapping[str, Privileges]:
        """Who may do what in the name of a host's accounts, by the component's domain."""
        ...

    def delegates(self, host: str) -> Mapping[str, Filters]:
        """Who answers in place of a host, by the component's domain."""
        ...

    def connections(self, name: str) -> Iterable[ComponentConnection]:
        """Those of one component that are open."""
        ...

    def listed(self) -> Iterable[str]:
        """The domains that service discovery names."""
        ...


COMPONENT_CONNECTED = Notify[ComponentConnection]("component-connected", plain=True)
"""A connection of a component is there, its first or another; told to every host. Nothing was sent to it before."""


PRIVILEGES_CHANGED = Notify[ComponentConnection]("privileges-changed", plain=True)
"""The configuration lets a component do other things at a host now: told to that host, for each connection."""
DELEGATES_CHANGED = Notify[ComponentConnection]("delegates-changed", plain=True)
"""The same for what it answers in place of the host."""


class PrivilegeRules(Protocol):
    """XEP-0356, at a host with accounts."""

    def message(self, stanza: Stanza) -> Stanza:
        """What a message to the host with <privilege/> holds: a message of the host or of one of its accounts, which is
        in `sender`. Raises StanzaError for who may not send it."""
        ...

    def may_use_roster(self, sender: JID, type: str) -> bool:
        """Whether somebody may get or set the contact lists of all accounts."""
        ...


PRIVILEGES = Service[PrivilegeRules]("privileges")


class DelegationRules(Protocol):
    """XEP-0355, at a host with accounts."""

    def concerns(self, stanza: Stanza) -> bool:
        """Whether a get or set for the host or for one of its accounts is answered by a component. Asked for each."""
        ...

    def hand_on(self, stanza: Stanza, account: Account | None) -> None:
        """Send it there; `account`: whom it is for, None for the host. Its sender gets the answer later."""
        ...

    def hand_on_rest(self, stanza: Stanza, account: Account) -> bool:
        """The same for what service discovery knows nothing about, if that is delegated (section 7.2.4)."""
        ...


DELEGATION = Service[DelegationRules]("delegation")


def component_of(sender: JID) -> str:
    """The component that speaks, if it does in its own name; "" for one of its users."""
    return "" if sender.local else sender.domain
