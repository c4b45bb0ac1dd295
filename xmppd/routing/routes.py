"""Where addresses live: the table from an address to its destination. Only this looks at the table of hosts."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from typing import Final, TypeVar

from ..contracts.components import PRIVILEGE_NS, PRIVILEGES
from ..contracts.core import Account, Host, Session
from ..contracts.routes import Arrival, Destination, To
from ..contracts.routing import ENTITIES, HOST_MESSAGE, Entities
from ..jid import JID
from ..service import Service
from ..stanza import Kind, Stanza
from .accounts import AccountsDestination, check_started
from .answers import answer_iq
from .homes import Homes
from .on_behalf import send_for
from .remote import Elsewhere

T = TypeVar("T")
PRIVILEGE: Final = f"{PRIVILEGE_NS}|privilege"
NEVER: Final = 1 << 62
"""Behind all ids of logs."""


class HostDestination:
    """A host itself: its domain, without a localpart."""

    remote = False

    def __init__(self, host: Host) -> None:
        self.host = host

    def accept(self, arrival: Arrival, stanza: Stanza) -> Awaitable[None] | None:
        check_started(self.host)
        host = self.host
        if stanza.kind is Kind.IQ:
            return answer_iq(arrival, stanza, host, None, To.HOST)
        if stanza.kind is Kind.MESSAGE:
            privileges = host.find(PRIVILEGES)
            if privileges is not None and PRIVILEGE in stanza.tags:
                return send_for(arrival, privileges.message(stanza), host)
            told = host.chain(HOST_MESSAGE, stanza)
            if told:
                arrival.then(lambda: host.tell_these(told, stanza))
        return None


class EntitiesDestination:
    """What a plugin answers for: the rooms of a service, say."""

    remote = False

    def __init__(self, host: Host, entities: Entities) -> None:
        self.host = host
        self.entities = entities

    def accept(self, arrival: Arrival, stanza: Stanza) -> Awaitable[None] | None:
        check_started(self.host)
        arrival.stanza = stanza
        work = self.entities.receive(arrival)
        return arrival.barrier(work) if work is not None else None


class AtHome:
    """Addresses of one of several homes. What another home has decided, with the sender's owner, comes to this one
    behind that commit."""

    remote = False

    def __init__(self, home: int, destination: Destination) -> None:
        self.home = home
        self.destination = destination

    def accept(self, arrival: Arrival, stanza: Stanza) -> Awaitable[None] | None:
        if arrival.home is None or arrival.home == self.home:
            return self.destination.accept(arrival, stanza)
        arrival.send(stanza)
        return None


class Routes:
    """Implements `contracts.core.Routes`.

    For each domain the destination of the domain itself, and those of the addresses with a localpart by their home.
    """

    def __init__(self, homes: Homes | None = None) -> None:
        self.homes: Homes = homes or Homes()
        self._several = self.homes.several
        self._hosts: dict[str, Host] = {}
        self._destinations: dict[str, tuple[Destination, Sequence[Destination]]] = {}
        self.elsewhere = Elsewhere()

    # ---- destinations

    def find(self, jid: JID) -> Destination:
        """Where stanzas to an address go."""
        found = self._destinations.get(jid.domain)
        if found is None:
            return self.elsewhere
        if not jid.local:
            return found[0]
        return found[1][self.homes.of(jid.bare) if self._several else 0]

    def add_host(self, host: Host) -> None:
        """A host serves its domain; to be called again when its plugins are there."""
        entities = host.find(ENTITIES)
        people = EntitiesDestination(host, entities) if entities is not None else AccountsDestination(host)
        self._hosts[host.domain] = host
        homes = [AtHome(home, people) for home in range(self.homes.count)] if self._several else [people]
        self._destinations[host.domain] = (HostDestination(host), homes)

    def register(self, domain: str, destination: Destination) -> None:
        """From now on stanzas to all addresses of a domain go there. Raises ValueError for a domain that has one."""
        if domain in self._destinations:
            raise ValueError(f"{domain} is served already")
        self._destinations[domain] = (destination, [destination] * self.homes.count)

    def unregister(self, domain: str) -> None:
        """Take back what `register` did."""
        if domain not in self._hosts:
            self._destinations.pop(domain, None)

    def serves(self, domain: str) -> bool:
        """Whether a domain is of this server: a host's, or one that something was registered for, as a component."""
        return domain in self._destinations

    def reaches(self, jid: JID) -> bool:
        """Whether stanzas to an address go anywhere: it is of this server, or another one may be talked to."""
        servers = self.elsewhere.servers
        return jid.domain in self._destinations or (servers is not None and servers.reaches(jid.domain))

    # ---- what lives here

    def hosts(self) -> Iterable[Host]:
        """The hosts of this server."""
        return self._hosts.values()

    def host(self, domain: str) -> Host | None:
        """The host of this server that serves a domain."""
        return self._hosts.get(domain)

    def is_local(self, domain: str) -> bool:
        """Whether a host of this server serves a domain."""
        return domain in self._hosts

    def serves_accounts(self, domain: str) -> bool:
        """Whether a host of this server serves a domain, and people sign in there."""
        host = self._hosts.get(domain)
        return host is not None and host.has_accounts

    def service(self, domain: str, key: Service[T]) -> T | None:
        """The provider of a service at the host of a domain; None if it has none, or is elsewhere."""
        host = self._hosts.get(domain)
        return host.find(key) if host is not None else None

    def is_account(self, bare: str) -> bool:
        """Whether a bare JID is that of an account of this server, or would be if there were one."""
        local, _, domain = bare.rpartition("@")
        return bool(local) and self.serves_accounts(domain)

    def account(self, jid: JID) -> Account | None:
        """The local account of an address, if it is in memory: that of a session is."""
        host = self._hosts.get(jid.domain)
        return host.accounts.get(jid.bare) if host is not None else None

    def account_named(self, bare: str) -> Account | None:
        """The same, by the bare JID."""
        host = self._hosts.get(bare.rpartition("@")[2])
        return host.accounts.get(bare) if host is not None else None

    def session(self, jid: JID) -> Session | None:
        """The local session of a full JID."""
        account = self.account(jid)
        return account.sessions.get(jid.resource) if account is not None else None

    def is_loaded(self, jid: JID) -> bool:
        """Whether `account` can answer without waiting."""
        host = self._hosts.get(jid.domain)
        return host is not None and host.ready(jid.bare)

    async def open_account(self, jid: JID) -> Account | None:
        """Load the local account of an address; None if there is none here. Raises StorageUnavailable."""
        host = self._hosts.get(jid.domain)
        if host is None or not host.has_accounts or not jid.local:
            return None
        return await host.open_account(jid)

    def since(self, sender: JID) -> int:
        """Since when what bears the name of a sender is its own, in microseconds since 1970 UTC: an account that was
        made under a name that had been used before has not said what the former one has. 0 where nothing is known:
        elsewhere, and for what is no account. An account that is just being removed has nothing any more."""
        if not sender.local or not self.serves_accounts(sender.domain):
            return 0
        account = self.account(sender)
        return account.created_at if account is not None else NEVER
