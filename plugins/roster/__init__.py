"""RFC 6121 section 2: the contact list, its pushes, its versions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import TYPE_CHECKING, Final

from xmppd.clock import microseconds
from xmppd.config import option
from xmppd.contracts.components import PRIVILEGES, component_of
from xmppd.contracts.moving import PORTABLE, Portable
from xmppd.contracts.roster import ROSTER, ROSTER_PUSHED, RosterItem, RosterPush
from xmppd.contracts.routing import INBOUND, Inbound
from xmppd.contracts.sessions import PRESENCE, SEEING, Seeing
from xmppd.contracts.store_check import CHECK_ACCOUNT, AccountCheck
from xmppd.contracts.stream_features import FEATURES, FeatureAsk
from xmppd.errors import (
    BadRequest,
    Forbidden,
    ItemNotFound,
    JidMalformed,
    MalformedJid,
    NotAcceptable,
    ResourceConstraint,
    ServiceUnavailable,
    StanzaError,
)
from xmppd.hooks import Stage, Verdict, on
from xmppd.jid import JID
from xmppd.plugin import Plugin, Request, SessionKey, To, Xep, iq
from xmppd.stanza import Kind
from xmppd.stanza import iq as make_iq
from xmppd.storage.api import Write
from xmppd.xml import E, Element, Written, children, text_of, written

from .check import check_roster
from .portable import PortableRoster

if TYPE_CHECKING:
    from xmppd.plugin import Account, Session

NS: Final = "jabber:iq:roster"
VERSION_FEATURE: Final = "urn:xmpp:features:rosterver"
APPROVAL_FEATURE: Final = "urn:xmpp:features:pre-approval"
STREAM_FEATURES: Final = (written(E("ver", VERSION_FEATURE)), written(E("sub", APPROVAL_FEATURE)))

INTERESTED = SessionKey("roster", "", durable=True)
"""Not empty once the session has asked for the list (section 2.2)."""


@dataclass(frozen=True)
class Config:
    contacts: int = option(5000, "How many contacts an account may have.", low=1)
    requests: int = option(200, "How many unanswered requests of strangers are kept for an account.", low=0)
    name_length: int = option(1000, "The longest name of a contact or a group, in characters.", low=1)
    groups: int = option(100, "How many groups a contact may be in.", low=0)


@dataclass(frozen=True, slots=True)
class Version:
    """`number`: rises with every change that clients see; 0: there never was one."""

    number: int = 0


class RosterPlugin(Plugin[Config]):
    """Implements `contracts.roster.Roster`."""

    xeps = (Xep(237, "1.3", "as it went into RFC 6121 section 2.6"),)
    features = (NS,)
    provides = (ROSTER,)

    def setup(self) -> None:
        self._items = self.host.storage.map("roster", RosterItem, cached=True)
        self.lists = self._items.in_memory
        self._versions = self.host.storage.map("roster-version", Version, cached=True)
        self._prefix = token_hex(3)
        self._pushed = 0
        self._portable = PortableRoster(self._items, lambda: self.config, self._renewed, item_element)

    @on(FEATURES)
    def stream_features(self, ask: FeatureAsk) -> Iterable[Written]:
        return STREAM_FEATURES if ask.signed_in else ()

    # ---- contracts.roster.Roster

    def items(self, owner: str) -> Mapping[str, RosterItem]:
        return self._items.get(owner)

    def item(self, owner: str, contact: str) -> RosterItem | None:
        return self._items.get(owner).get(contact)

    async def naming(self, names: Collection[str]) -> AsyncIterator[tuple[str, str]]:
        place = ("", "")
        while page := await self._items.scan(self.host.domain, place):
            place = page[-1][:2]
            for owner, contact, _ in page:
                if contact in names:
                    yield owner, contact

    async def stored(self, owner: str) -> Mapping[str, RosterItem]:
        return await self._items.read_all(owner)

    def write(self, owner: str, contact: str, item: RosterItem | None) -> list[Write]:
        old = self.item(owner, contact)
        if item is None:
            writes: list[Write] = [self._items.delete(owner, contact)]
        else:
            if old is None or old.listed is not item.listed:
                self._check_room(owner, item.listed)
            writes = [self._items.put(owner, contact, item)]
        if (old.shown if old else None) != (item.shown if item else None):
            writes.append(self._versions.put(owner, "", Version(self._next_version(owner))))
        return writes

    def _check_room(self, owner: str, listed: bool) -> None:
        limit = self.config.contacts if listed else self.config.requests
        if sum(item.listed is listed for item in self.items(owner).values()) >= limit:
            raise ResourceConstraint("the contact list is full")

    def _next_version(self, owner: str) -> int:
        """Above all that were given, even after the store was set back to an older copy (so it is the time)."""
        return max(microseconds(self.host.clock), self.version(owner) + 1)

    def _renewed(self, owner: str) -> Write:
        """The list of an owner who is not in memory has changed."""
        return self._versions.put(owner, "", Version(microseconds(self.host.clock)))

    @on(PORTABLE)
    def portable(self, domain: JID) -> Iterable[Portable]:
        return self._portable.parts

    def version(self, owner: str) -> int:
        """The version of the list as it is committed."""
        found = self._versions.get(owner).get("")
        return found.number if found is not None else 0

    def interested(self, account: Account) -> list[Session]:
        return [session for session in account.sessions.values() if session[INTERESTED]]

    def push(self, owner: str, contact: str) -> None:
        item, version = self.item(owner, contact), self.version(owner)
        self.host.tell(ROSTER_PUSHED, RosterPush(owner, contact, item, version))
        account = self.host.account(owner)
        sessions = self.interested(account) if account is not None else []
        if not sessions:
            return
        for session in sessions:
            query = E("query", NS, {"ver": str(version)})  # section 2.6.3: also for who never sent one
            query.append(item_element(contact, item))
            self._pushed += 1
            id = f"push-{self._prefix}-{self._pushed}"
            # Section 2.1.6 allows a push with the owner's bare JID as its sender or with none; one with none is
            # ignored by Profanity 0.15.0.
            session.send(make_iq("set", id, query, to=session.jid, sender=session.account.jid))

    # ---- what clients ask

    @iq("get", NS, "query", To.SELF)
    async def get(self, request: Request) -> Element | None:
        """Section 2.2, with versions section 2.6: no element means that nothing has changed."""
        if len(request.payload):
            raise BadRequest("a request for the contact list is empty")  # section 2.1.3
        owner, known = request.account.bare, request.payload.get("ver")
        if request.session is not None:
            request.session[INTERESTED] = "asked"
        version = str(self.version(owner))
        if known == version:
            return None
        query = E("query", NS, {"ver": version})
        for contact, item in self.items(owner).items():
            if item.listed:
                query.append(item_element(contact, item))
        return query

    @iq("get", NS, "query", To.ACCOUNT, To.ABSENT)
    async def get_of_another(self, request: Request) -> Element | None:
        """XEP-0356 section 4.3. To all others it looks as if there were nothing (ADR 0007)."""
        self._check_privilege(request, "get", ServiceUnavailable())
        return await self.get(request)

    @iq("set", NS, "query", To.ACCOUNT, To.ABSENT)
    async def set_of_another(self, request: Request) -> None:
        """Section 2.3.3; also where there is no such account, so that nothing is told (ADR 0007)."""
        self._check_privilege(request, "set", Forbidden("only its owner changes a contact list"))
        await self._change(request, component_of(request.sender))

    def _check_privilege(self, request: Request, type: str, error: StanzaError) -> None:
        """Raises `error` for who may not, Forbidden for a component that may not, ItemNotFound where there is no such
        account."""
        rules, component = self.host.find(PRIVILEGES), component_of(request.sender)
        if rules is None or not rules.may_use_roster(request.sender, type):
            raise Forbidden() if component in self.host.server.components.privileges(self.host.domain) else error
        if request.owner is None:
            raise ItemNotFound()

    @iq("set", NS, "query", To.SELF)
    async def set(self, request: Request) -> None:
        """Sections 2.3 to 2.5."""
        await self._change(request)

    async def _change(self, request: Request, component: str = "") -> None:
        """`component`: which makes the change in the name of the account. Of its own users it says who sees whom, since
        it speaks for both sides: that is how gateways bring people's contacts of another network with them."""
        found = list(children(request.payload))
        if len(found) != 1 or found[0].tag != f"{{{NS}}}item":
            raise BadRequest("a change of the contact list holds exactly one item")
        element = found[0]
        try:
            contact = JID.parse(element.get("jid") or "").to_bare()
        except MalformedJid:
            raise JidMalformed("an item needs the address of a contact") from None
        if element.get("subscription") == "remove":
            await self.remove(request.account, contact)
            return
        name, groups = self.read_item(element)  # any other `subscription` is the server's business (2.1.2.5)
        owner = request.account.bare
        async with self.host.locks.hold(owner):
            old = self.item(owner, contact.bare) or RosterItem()
            item = replace(old, name=name, groups=groups, listed=True)
            if component and contact.domain == component:
                item = _subscribed(item, element.get("subscription", ""))
            presence, account = self.host.find(PRESENCE), request.account
            if presence is not None and old.sees_us and not item.sees_us:
                presence.withdraw(account, contact.bare)
            await self.host.storage.commit(self.write(owner, contact.bare, item))
            self.push(owner, contact.bare)
            if presence is not None and item.sees_us and not old.sees_us:
                presence.announce(account, contact.bare)
            if item.we_see and not old.we_see:
                self.host.tell(SEEING, Seeing(account, contact))

    def read_item(self, element: Element) -> tuple[str, tuple[str, ...]]:
        """Name and groups. Raises BadRequest or NotAcceptable as section 2.3.3 says."""
        name, longest = element.get("name") or "", self.config.name_length
        groups = tuple(text_of(child) for child in children(element, NS, "group"))
        if len(set(groups)) != len(groups):
            raise BadRequest("a group is named twice")
        if len(name) > longest or any(len(group) > longest for group in groups):
            raise NotAcceptable("a name is too long")
        if not all(groups):
            raise NotAcceptable("a group needs a name")
        if len(groups) > self.config.groups:
            raise NotAcceptable("too many groups")
        return name, groups

    async def remove(self, account: Account, contact: JID) -> None:
        """Section 2.5; the subscriptions end with it where they are handled. Raises ItemNotFound."""
        presence = self.host.find(PRESENCE)
        if presence is not None:
            await presence.remove(account, contact)
            return
        owner = account.bare
        async with self.host.locks.hold(owner):
            old = self.item(owner, contact.bare)
            if old is None or not old.listed:
                raise ItemNotFound()
            await self.host.storage.commit(self.write(owner, contact.bare, None))
            self.push(owner, contact.bare)

    @on(INBOUND, Stage.GUARD, kinds=(Kind.IQ,), types=("set",), tags=(f"{NS}|query",))
    def no_foreign_push(self, event: Inbound) -> Verdict | None:
        """Pushes come from here and from nowhere else, so none that is addressed to a client passes (2.1.6).

        The answer is that of a resource that does not exist, for it must not tell who is there.
        """
        stanza = event.stanza
        if stanza.to is not None and stanza.to.resource:
            raise ServiceUnavailable()
        return None

    @on(CHECK_ACCOUNT)
    async def check(self, account: AccountCheck) -> None:
        """For `xmppd store check`."""
        await check_roster(account, self._items, self.host)


def _subscribed(item: RosterItem, subscription: str) -> RosterItem:
    """The item with that subscription, if it is one; what was asked for and is there now is asked for no more."""
    if subscription not in ("none", "to", "from", "both"):
        return item
    new = replace(item, subscription=subscription)
    pending = item.pending_in and not new.sees_us
    return replace(new, ask=item.ask and not new.we_see, pending_in=pending, request=item.request if pending else "")


def item_element(contact: str, item: RosterItem | None) -> Element:
    """<item/> as clients see it (section 2.1.2); that of a removed one for None."""
    if item is None or not item.listed:
        return E("item", NS, {"jid": contact, "subscription": "remove"})
    attributes = {"jid": contact, "subscription": item.subscription}
    if item.name:
        attributes["name"] = item.name
    if item.ask:
        attributes["ask"] = "subscribe"
    if item.approved:
        attributes["approved"] = "true"
    return E("item", NS, attributes, *(E("group", NS, {}, group) for group in item.groups))
