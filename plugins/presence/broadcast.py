"""RFC 6121 section 4: who learns of a session's presence, and whose presence it learns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

from xmppd.clock import microseconds
from xmppd.contracts.blocking import BLOCKLIST, Blocklist
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
        blocklist = self._blocklist(account)
        blocks = partial(blocklist.blocks, account.bare) if blocklist is not None else None
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
        for contact, item in self.roster.items(account.bare).items():
            if item.we_see:
                self._probe(account, contact, session)
            elif item.ask and anew:  # section 3.1.2: lest it was lost
                self.host.deliver(Stanza(Kind.PRESENCE, "subscribe", JID.parse(contact), account.jid))
            if item.pending_in:
                waiting.append((contact, item))
        for contact, item in waiting:
            request = Stanza(Kind.PRESENCE, "subscribe", account.jid, JID.parse(contact))
            if item.request:
                request = request.with_inside(*parse_inside(item.request.encode()))
            self.hand_over(account, request, [session])

    def _probe(self, account: Account, contact: str, session: Session) -> None:
        """Gets the presence of one contact, as a probe does (section 4.3)."""
        other = self._present(contact)
        if other is not None and agreed(account, other):
            if self.may_see(other, account.bare) and not self.blocked(other, session.jid):
                for each in other.available():
                    self.host.router.fan_to(self.view(each, account.bare), (session,))
        elif other is not None or not self._is_local(contact):  # which the contact's host answers: we may be wrong
            self.host.deliver(Stanza(Kind.PRESENCE, "probe", JID.parse(contact), account.jid))

    # ---- one account to one contact

    def announce(self, account: Account, contact: JID) -> None:
        """Send the presence of all available resources (section 3.1.5), if the contact may see it."""
        if not self.may_see(account, contact.bare):
            return
        other = self._present(contact.bare)
        here = _seeing(account, other, self._blocklist(account)) if other is not None else []
        self._to_contact([self.view(session, contact.bare) for session in account.available()], contact, here)

    def withdraw(self, account: Account, contact: JID) -> None:
        """Send unavailable of all available resources (sections 2.5.2, 3.2.2, 3.3.3) to who has seen them."""
        unavailable = [Stanza(Kind.PRESENCE, "unavailable", None, session.jid) for session in account.available()]
        other = self._present(contact.bare)
        here = other.available() if other is not None else []
        self._to_contact(unavailable, contact, here)

    def _to_contact(self, stanzas: Iterable[Stanza], contact: JID, here: list[Session]) -> None:
        for stanza in stanzas:
            if here:
                self.host.router.fan_to(stanza, here)
            elif not self._is_local(contact.bare):
                self.host.deliver(stanza.stamped(to=contact))

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
        privacy = owner.host.find(PRIVACY)
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
        blocklist = owner.host.find(BLOCKLIST)
        return blocklist is not None and blocklist.blocks(owner.bare, viewer)

    def _blocklist(self, owner: Account) -> Blocklist | None:
        """None if the owner has blocked nobody."""
        blocklist = owner.host.find(BLOCKLIST)
        return blocklist if blocklist is not None and blocklist.has_blocked(owner.bare) else None

    def _present(self, bare: str) -> Account | None:
        """A local account that has sessions. One that is not in memory has none."""
        account = self.host.accounts.get(bare)
        if account is None and not bare.endswith(f"@{self.host.domain}"):
            account = self.host.router.routes.account_named(bare)
        return account if account is not None and account.sessions else None

    def _is_local(self, bare: str) -> bool:
        """The address is one of our accounts, so nothing is to be routed (services and others are routed to)."""
        local, _, domain = bare.rpartition("@")
        return bool(local) and self.host.router.routes.serves_accounts(domain)

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
        session.account.host.tell(SHOWING, event)
        return event.stanza

    def answers(self, account: Account, resource: str, viewer: str, contact: bool) -> Iterator[Stanza]:
        """What a probe of `viewer` (a bare JID that is the account itself, or may ask) brings (section 4.3.2)."""
        found: list[Session] = []
        if self.may_see(account, viewer, contact):
            found = [each for each in account.available() if not resource or each.resource == resource]
        for session in found:
            yield self.view(session, viewer, contact)
        if not found:
            yield Stanza(Kind.PRESENCE, "unavailable", None, account.jid)

    def _now(self) -> int:
        return microseconds(self.host.clock)


def item_of(account: Account, contact: str) -> RosterItem | None:
    """The account's view of a contact; its host may be another one of this server."""
    roster = account.host.find(ROSTER)
    return roster.item(account.bare, contact) if roster is not None else None


def _seeing(owner: Account, other: Account, blocklist: Blocklist | None) -> list[Session]:
    """The other account's available sessions, but for those that the owner blocks."""
    here = other.available()
    return here if blocklist is None else [each for each in here if not blocklist.blocks(owner.bare, each.jid)]


def agreed(viewer: Account, owner: Account) -> bool:
    """Both rosters say that the viewer sees the owner.

    Both, because the one may be older than the other account (deleted, registered again by somebody else).
    """
    theirs = item_of(owner, viewer.bare)
    return theirs is not None and theirs.sees_us and subscribed(viewer, owner)


def subscribed(viewer: Account, owner: Account) -> bool:
    """The viewer's roster says that it sees the owner."""
    mine = item_of(viewer, owner.bare)
    return mine is not None and mine.we_see
