"""RFC 6121 section 4: who learns of a session's presence, and whose presence it learns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

from xmppd.clock import microseconds
from xmppd.contracts.blocking import BLOCKLIST
from xmppd.contracts.privacy import CONTACTS, IDLE_TAGS, PRIVACY, Audience, without_idle_time
from xmppd.contracts.roster import ROSTER, SEES_US, RosterItem
from xmppd.contracts.sessions import DIRECTED, SHOWING, Showing
from xmppd.jid import JID
from xmppd.plugin import SessionKey
from xmppd.stanza import Kind, Stanza, tag
from xmppd.xep.elements import DELAY_NS, LATE, delay_bytes
from xmppd.xml import parse_inside

if TYPE_CHECKING:
    from xmppd.plugin import Account, Host, Session

DELAY: Final = tag(DELAY_NS, "delay")

SINCE = SessionKey("presence-since", 0, durable=True)
"""When the session's presence came, microseconds since 1970 UTC."""


class Broadcaster:
    """One host's presence. Sends at release, so it looks up who is there at that moment."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.roster = host.service(ROSTER)

    # ---- a session's own presence

    def appear(self, session: Session, stanza: Stanza, first: bool) -> None:
        """Available presence (sections 4.2 and 4.4)."""
        session[SINCE] = self._now()
        self._tell_all(session.account, self._said(session, stanza))
        if first:
            self._greet(session)

    def leave(self, session: Session, stanza: Stanza, was: bool, alive: bool = True) -> None:
        """Unavailable presence (section 4.5), also to those who got it directly. `was`: it was available until now.
        `alive`: it hears itself."""
        if was:
            self._tell_all(session.account, stanza)
            if alive:
                self.host.router.fan_to(stanza, (session,))
        for address in session[DIRECTED]:
            self.host.deliver(stanza.stamped(to=JID.parse(address)))
        session[DIRECTED] = ()

    def _tell_all(self, account: Account, stanza: Stanza) -> None:
        """The account's own available resources (sections 4.2.2, 4.4.2, 4.5.2), then all who may see it."""
        online, last_seen = self._audiences(account)
        less = stanza if last_seen.all_contacts else without_idle_time(stanza)
        everyone, same = online.all_contacts, less is stanza
        fully: list[str] = []
        partly: list[str] = []
        for contact, item in self.roster.items(account.bare).items():
            if item.subscription in SEES_US and (everyone or online.admits(contact, True)):
                (fully if same or last_seen.admits(contact, True) else partly).append(contact)
        blocks = self._blocks(account)
        fan_out = self.host.router.fan_to_contacts
        fan_out(stanza, account, fully, blocks, account.available())
        if partly:
            fan_out(less, account, partly, blocks)

    def _greet(self, session: Session) -> None:
        """Its initial presence: show who is there (section 4.2.2), and what waits for an answer (3.1.3)."""
        account = session.account
        for own in account.available():
            if own is not session:
                self.host.router.fan_to(self.current(own), (session,))
        waiting: list[tuple[str, RosterItem]] = []
        anew = len(account.available()) == 1
        seen: list[str] = []
        for contact, item in self.roster.items(account.bare).items():
            if item.we_see:
                seen.append(contact)
            elif item.ask and anew:  # section 3.1.2: lest it was lost
                self.host.deliver(Stanza(Kind.PRESENCE, "subscribe", JID.parse(contact), account.jid))
            if item.pending_in:
                waiting.append((contact, item))
        self.host.router.probe(session, seen)
        for contact, item in waiting:
            request = Stanza(Kind.PRESENCE, "subscribe", account.jid, JID.parse(contact))
            if item.request:
                request = request.with_inside(*parse_inside(item.request.encode()))
            self.hand_over(account, request, [session])

    # ---- one account to one contact

    def announce(self, account: Account, contact: JID) -> None:
        """Send the presence of all available resources (section 3.1.5), if the contact may see it."""
        if not self.may_see(account, contact.bare):
            return
        blocks = self._blocks(account)
        for session in account.available():
            self.host.router.fan_to_contacts(self.view(session, contact.bare), account, (contact.bare,), blocks)

    def withdraw(self, account: Account, contact: JID) -> None:
        """Send unavailable of all available resources (sections 2.5.2, 3.2.2, 3.3.3) to who has seen them. It is no
        broadcast: the contact's list may name the account no longer."""
        for session in account.available():
            self.host.deliver(Stanza(Kind.PRESENCE, "unavailable", contact, session.jid))

    def withdraw_directed(self, account: Account, contact: str) -> None:
        """Take back what was sent directly to any resource of `contact` (a bare JID)."""
        for session in account.sessions.values():
            targets = [address for address in session[DIRECTED] if address.partition("/")[0] == contact]
            for address in targets:
                unavailable = Stanza(Kind.PRESENCE, "unavailable", JID.parse(address), session.jid)
                self.host.deliver(unavailable)
            if targets:
                session[DIRECTED] = tuple(each for each in session[DIRECTED] if each not in targets)

    def hand_over(self, account: Account, stanza: Stanza, sessions: list[Session]) -> None:
        """Give a stanza to some of an account's sessions, through its INBOUND chain."""
        self.host.router.hand_over(stanza, account, sessions)

    # ---- who is there, who may see

    def _audiences(self, owner: Account) -> tuple[Audience, Audience]:
        """Who sees that it is online, who its idle time."""
        privacy = self.host.find(PRIVACY)
        if privacy is None:
            return CONTACTS, CONTACTS
        return privacy.online(owner.bare), privacy.last_seen(owner.bare)

    def may_see(self, owner: Account, viewer: str, contact: bool = True) -> bool:
        """Whether the owner's policy lets the viewer (a bare JID) see its presence."""
        return viewer == owner.bare or self._audiences(owner)[0].admits(viewer, contact)

    def view(self, session: Session, viewer: str, contact: bool = True) -> Stanza:
        """A session's presence as the viewer (a bare JID) may see it."""
        stanza = self.current(session)
        if IDLE_TAGS.isdisjoint(stanza.tags) or viewer == session.account.bare:
            return stanza
        return stanza if self._audiences(session.account)[1].admits(viewer, contact) else without_idle_time(stanza)

    def blocked(self, owner: Account, viewer: JID) -> bool:
        """The owner blocks the viewer (XEP-0191 section 3.3), who may be subscribed nevertheless."""
        blocklist = self.host.find(BLOCKLIST)
        return blocklist is not None and blocklist.blocks(owner.bare, viewer)

    def _blocks(self, owner: Account) -> Callable[[JID], bool] | None:
        """Whom the owner blocks; None if it has blocked nobody."""
        blocklist = self.host.find(BLOCKLIST)
        if blocklist is None or not blocklist.has_blocked(owner.bare):
            return None
        return partial(blocklist.blocks, owner.bare)

    # ---- presence as it is sent later

    def current(self, session: Session) -> Stanza:
        """A session's presence, with the time that it came if that is a while ago (XEP-0203)."""
        assert session.presence is not None
        stanza, since = self._said(session, session.presence), session[SINCE]
        if not since or self._now() - since < LATE or DELAY in stanza.tags:
            return stanza
        return stanza.with_child(delay_bytes(session.jid.full, since), DELAY)

    def _said(self, session: Session, stanza: Stanza) -> Stanza:
        """With what the server says in it now."""
        event = Showing(session, stanza)
        self.host.tell(SHOWING, event)
        return event.stanza

    def answers(self, account: Account, resource: str, viewer: str, contact: bool) -> Iterator[Stanza]:
        """Yields what a probe of `viewer` (a bare JID: its own, or one that may ask) brings (section 4.3.2)."""
        found: list[Session] = []
        if self.may_see(account, viewer, contact):
            found = [each for each in account.available() if not resource or each.resource == resource]
        for session in found:
            yield self.view(session, viewer, contact)
        if not found:
            yield Stanza(Kind.PRESENCE, "unavailable", None, account.jid)

    def _now(self) -> int:
        return microseconds(self.host.clock)
