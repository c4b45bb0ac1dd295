"""One stanza to many sessions, serialised once (XEP-0045 section 7.4, RFC 6121 section 4.4.2).

What makes it cheap stays in here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial

from ..contracts.caps import CAPS
from ..contracts.core import Account, Host, Session
from ..contracts.internal import Concerned, Handler
from ..contracts.routing import ARRIVED, INBOUND, Inbound
from ..contracts.sessions import PRESENCE
from ..errors import StanzaError
from ..jid import JID
from ..stanza import Kind, Stanza
from .order import OwnOrders
from .release import is_late, with_delay
from .routes import Routes


class FanOut:
    """Sends what the server itself has to say to many."""

    def __init__(self, routes: Routes, orders: OwnOrders) -> None:
        self.routes = routes
        self.orders = orders

    def fan_out(self, stanza: Stanza, addresses: Iterable[JID], at: int = 0) -> None:
        """Send one stanza to many full JIDs; each gets its own `to`. `at`: when it was accepted (microseconds since
        1970 UTC), if it may have waited for the store since; it is told then. An address that is not of this server
        gets it by its destination; a session that is gone, not at all."""
        found: list[Session] = []
        elsewhere: list[JID] = []
        domain, host = "", None
        for to in addresses:
            if to.domain != domain:
                domain, host = to.domain, self.routes.host(to.domain)
            if host is None:
                elsewhere.append(to)
                continue
            account = host.accounts.get(to.bare)
            session = account.sessions.get(to.resource) if account is not None else None
            if session is not None:
                found.append(session)
        sender = stanza.sender
        if at and sender is not None and (found or elsewhere):
            home = self.routes.host(sender.domain)
            if home is not None and is_late(home, at):
                stanza = with_delay(stanza, sender.domain, at)
        for to in elsewhere:
            self.orders.deliver_copy(stanza, to)
        self.fan_to(stanza, found)

    def fan_to_contacts(
        self,
        stanza: Stanza,
        account: Account,
        contacts: Iterable[str],
        blocks: Callable[[JID], bool] | None = None,
        own: Iterable[Session] = (),
    ) -> None:
        """Send an account's presence to its `own` sessions and to contacts (bare JIDs): to those of this server whose
        host says that they accept it, in all available sessions that the account does not block; to the others by the
        routes."""
        found = list(own)
        routes, pending, bare = self.routes, self.orders.pending, account.bare
        home = host = account.host
        neighbours, ours = home.accounts, f"@{home.domain}"
        accepts = _accepting(home)
        for contact in contacts:
            other = neighbours.get(contact)
            if other is None and not contact.endswith(ours):
                other = routes.account_named(contact)
                if other is None and not routes.is_account(contact):
                    self.orders.deliver_copy(stanza, JID.parse(contact))
            if other is None or not other.sessions:
                continue
            if other.host is not host:
                host = other.host
                accepts = _accepting(host)
            if not accepts(other, bare) and (bare, contact) not in pending:
                continue  # behind a "subscribed" that has not arrived it is accepted
            for session in other.sessions.values():
                if session.presence is not None and (blocks is None or not blocks(session.jid)):
                    found.append(session)
        self.fan_to(stanza, found)

    def fan_to_interested(
        self,
        stanza: Stanza,
        account: Account,
        node: str,
        contacts: Iterable[str],
        may_read: Callable[[JID], bool] | None = None,
    ) -> None:
        """Send an account's event of a node to contacts (bare JIDs), of which it may be one itself: to those sessions
        that the account lets read it, and that are known to be interested in nodes of that name (XEP-0163 section 4.1):
        their own host knows, or, of those elsewhere, this one."""
        found: list[Session] = []
        contacts = tuple(contacts)
        self._fan_out_elsewhere(stanza, account, node, contacts, may_read)
        for other in self._with_sessions(account.host, contacts):
            caps = other.host.find(CAPS)
            if caps is None:
                continue
            for session in other.sessions.values():
                if caps.wants(session, node) and (may_read is None or may_read(session.jid)):
                    found.append(session)
        self.fan_to(stanza, found)

    def _fan_out_elsewhere(
        self,
        stanza: Stanza,
        account: Account,
        node: str,
        contacts: Iterable[str],
        may_read: Callable[[JID], bool] | None,
    ) -> None:
        caps, ours = account.host.find(CAPS), f"@{account.host.domain}"
        if caps is None:
            return
        for contact in contacts:
            if contact.endswith(ours) or self.routes.is_account(contact):
                continue
            for to in caps.wanted_elsewhere(account.bare, contact, node):
                if may_read is None or may_read(to):
                    self.orders.deliver_copy(stanza, to)

    def probe(self, session: Session, contacts: Collection[str]) -> None:
        """Probe contacts (bare JIDs) of an account for one of its sessions (RFC 6121 section 4.2.2): who is of this
        server, and is not there, is passed over; what the others show is what their own host says."""
        viewer = session.jid
        for contact in contacts:
            if not self.routes.is_account(contact):
                self._send_probe(session, contact)
        for other in self._with_sessions(session.host, contacts):
            rules = other.host.find(PRESENCE)
            shown = rules.shown_to(other, viewer) if rules is not None else []
            if shown is None:
                self._send_probe(session, other.bare)  # the answer mends the contact list
            for stanza in shown or ():
                self.fan_to(stanza, (session,))

    def _send_probe(self, session: Session, contact: str) -> None:
        self.orders.deliver(Stanza(Kind.PRESENCE, "probe", JID.parse(contact), session.account.jid))

    def _with_sessions(self, home: Host, names: Iterable[str]) -> Iterator[Account]:
        """Yields those accounts of this server that have sessions: who is not in memory has none."""
        neighbours, ours = home.accounts, f"@{home.domain}"
        for name in names:
            other = neighbours.get(name)
            if other is None and not name.endswith(ours):
                other = self.routes.account_named(name)
            if other is not None and other.sessions:
                yield other

    def fan_to(self, stanza: Stanza, sessions: Iterable[Session]) -> None:
        """Send it to sessions, each through the chains of its account."""
        host: Host | None = None
        admit: tuple[Handler, ...] = ()
        told: tuple[Handler, ...] = ()
        concerned: Concerned | None = None
        pending, speaker = self.orders.pending, stanza.sender.bare if stanza.sender is not None else ""
        start, end = stanza.around_address
        for session in sessions:
            account = session.account
            if pending and (speaker, account.bare) in pending:  # behind what was sent there before
                self.orders.deliver(stanza.stamped(to=session.jid))
                continue
            if account.host is not host:
                host = account.host
                admit, told = host.chain(INBOUND, stanza), host.chain(ARRIVED, stanza)
                concerned = host.concerned(stanza)
            if concerned is not None and account.bare not in concerned.names:
                for records in concerned.maps:
                    if records.get(account.bare, True):
                        break
                else:  # no handler has anything to do with this account
                    session.channel.send(b"".join((start, session.address, end)), 0, stanza)
                    continue
            event = Inbound(stanza.stamped(to=session.jid) if admit else stanza, account, None, [])
            try:
                verdict = host.run(admit, event)
            except StanzaError:
                continue
            if event.writes:  # in order with what it writes
                self.orders.deliver_decided(event, admitted=verdict is None)
                continue
            if verdict is not None:
                continue
            chosen = event.stanza
            if not told:
                session.channel.send(chosen.data_for(session.address), 0, chosen)
                continue
            event.targets = [(session, chosen)]
            host.tell_these(told, event)
            for target, chosen in event.targets:
                data = chosen.data_for(target.address) if target is session else chosen.data
                target.channel.send(data, 0, chosen)

    def hand_over(self, stanza: Stanza, account: Account, sessions: list[Session]) -> None:
        """Give a stanza to some of an account's sessions, through its INBOUND chain, under the address that it has.
        If it is refused nobody is told."""
        host = account.host
        event = Inbound(stanza, account, None, [])
        try:
            verdict = host.run(host.chain(INBOUND, stanza), event)
        except StanzaError:
            return
        if event.writes:
            self.orders.deliver_decided(event, partial(self.release_to, event, sessions), verdict is None)
        elif verdict is None:
            self.release_to(event, sessions)

    def admit(self, stanza: Stanza, account: Account) -> Inbound | None:
        """Run the INBOUND chain of an account, for who commits what it writes and calls `release_to` behind that. None:
        it is refused, and nobody is told (XEP-0191 section 3.4)."""
        host = account.host
        event = Inbound(stanza, account, None, [])
        try:
            return event if host.run(host.chain(INBOUND, stanza), event) is None else None
        except StanzaError:
            return None

    def release_to(self, event: Inbound, sessions: list[Session]) -> None:
        """Give what was admitted to some of the account's sessions, under the address that it has."""
        host, stanza = event.owner.host, event.stanza
        event.targets = [(session, stanza) for session in sessions if not session.ended]
        host.tell_these(host.chain(ARRIVED, stanza), event)
        for session, chosen in event.targets:
            session.channel.send(chosen.data, 0, chosen)


def _accepting(host: Host) -> Callable[[Account, str], bool]:
    """Whether an account of a host gets the presence of a contact."""
    rules = host.find(PRESENCE)
    return rules.accepts_presence if rules is not None else _nobody


def _nobody(account: Account, sender: str) -> bool:
    return False
