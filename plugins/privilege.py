"""XEP-0356: Privileged Entity. What a component may do in the name of a host's accounts, as the configuration has it.

Who speaks in the name of a component is the component: its stream lets through no other addresses of that domain.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from functools import partial
from secrets import token_hex, token_urlsafe
from typing import TYPE_CHECKING, Final

from xmppd.cache import Cache
from xmppd.contracts.components import (
    COMPONENT_CONNECTED,
    PRIVILEGE_NS,
    PRIVILEGES,
    PRIVILEGES_CHANGED,
    ComponentConnection,
    Privileges,
    component_of,
)
from xmppd.contracts.requests import LATER
from xmppd.contracts.roster import ROSTER, ROSTER_PUSHED, RosterPush
from xmppd.contracts.routing import ARRIVED, INBOUND
from xmppd.contracts.sessions import AVAILABLE, UNAVAILABLE, Withdrawal
from xmppd.errors import BadRequest, Forbidden, ResourceConstraint, ServiceUnavailable
from xmppd.plugin import (
    JID,
    E,
    Element,
    Inbound,
    Kind,
    NoConfig,
    Plugin,
    Request,
    Session,
    Stage,
    Stanza,
    To,
    Verdict,
    Written,
    Xep,
    iq,
    on,
)
from xmppd.stanza import iq as make_iq
from xmppd.stanza import message, stanza_of, tag
from xmppd.xml import CLIENT_NS, alone, children, find, tag_of

if TYPE_CHECKING:
    from xmppd.plugin import Account

FORWARD_NS: Final = "urn:xmpp:forward:0"
ROSTER_NS: Final = "jabber:iq:roster"
PRESENCES: Final = ("", "unavailable")
OPEN: Final = 5000
"""So many requests in the name of accounts may wait for an answer at once."""
SEEN: Final = 20_000
SEEN_BYTES: Final = 8 << 20
"""Presence of contacts, as it was passed on last, so that the same is passed on once."""


class PrivilegePlugin(Plugin[NoConfig]):
    """Implements `contracts.components.PrivilegeRules`."""

    xeps = (
        Xep(
            356,
            "0.4.1",
            "for components; of contacts elsewhere a component that connects learns for those accounts that are signed "
            "in",
        ),
    )
    provides = (PRIVILEGES,)

    def setup(self) -> None:
        self.open = 0
        """Requests in the name of accounts that have no answer yet."""
        self._pushes = 0
        self._prefix = token_hex(3)
        self._seen: Cache[tuple[str, str], bytes] = Cache(SEEN, SEEN_BYTES)

    def granted(self) -> dict[str, Privileges]:
        """Who may do what here, by the component's domain."""
        return dict(self.host.server.components.privileges(self.host.domain))

    def _of(self, sender: JID) -> Privileges | None:
        return self.granted().get(component_of(sender))

    # ---- what it is told

    @on(COMPONENT_CONNECTED)
    def advertise(self, connection: ComponentConnection) -> None:
        """Sections 4.2, 5.2, 6.2, 7.2 and 7.5."""
        permissions = self._permissions(connection)
        if permissions:
            self._tell(connection, permissions)

    @on(PRIVILEGES_CHANGED)
    def changed(self, connection: ComponentConnection) -> None:
        """It is told all that it may do now, or that it may do nothing any more."""
        kinds = ("roster", "message", "presence")
        nothing = [E("perm", PRIVILEGE_NS, {"access": each, "type": "none"}) for each in kinds]
        self._tell(connection, self._permissions(connection) or nothing)

    def _permissions(self, connection: ComponentConnection) -> list[Element]:
        found: list[Element] = []
        privileges = self.granted().get(connection.name)
        if privileges is None:
            return found
        if privileges.roster != "none":
            push = {"push": "true" if privileges.pushes else "false"}
            found.append(E("perm", PRIVILEGE_NS, {"access": "roster", "type": privileges.roster, **push}))
        if privileges.message != "none":
            found.append(E("perm", PRIVILEGE_NS, {"access": "message", "type": privileges.message}))
        namespaces = [(ns, type) for ns, type in privileges.iq.items() if type != "none"]
        if namespaces:
            each = [E("namespace", PRIVILEGE_NS, {"ns": ns, "type": type}) for ns, type in namespaces]
            found.append(E("perm", PRIVILEGE_NS, {"access": "iq"}, *each))
        if privileges.presence != "none":
            found.append(E("perm", PRIVILEGE_NS, {"access": "presence", "type": privileges.presence}))
        return found

    def _tell(self, connection: ComponentConnection, permissions: list[Element]) -> None:
        to, told = JID.parse(connection.name), E("privilege", PRIVILEGE_NS, {}, *permissions)
        connection.send(message("normal", told, to=to, sender=self.host.jid).stamped(id=token_urlsafe(6)))
        privileges = self.granted().get(connection.name)
        if privileges is not None and privileges.presence != "none":
            self.spawn(self._show_all(connection, to, privileges.presence == "roster"), "presence")

    # ---- contact lists (section 4)

    def may_use_roster(self, sender: JID, type: str) -> bool:
        privileges = self._of(sender)
        if privileges is None:
            return False
        return privileges.reads_roster if type == "get" else privileges.writes_roster

    @on(ROSTER_PUSHED)
    def push(self, push: RosterPush) -> None:
        """Section 4.4."""
        for name, privileges in self.granted().items():
            if not privileges.pushes:
                continue
            attributes = {"jid": push.contact, "subscription": "remove"}
            groups: list[Element] = []
            item = push.item
            if item is not None and item.listed:
                attributes["subscription"] = item.subscription
                attributes |= {"name": item.name} if item.name else {}
                attributes |= {"ask": "subscribe"} if item.ask else {}
                attributes |= {"approved": "true"} if item.approved else {}
                groups = [E("group", ROSTER_NS, {}, group) for group in item.groups]
            query = E("query", ROSTER_NS, {"ver": str(push.version)}, E("item", ROSTER_NS, attributes, *groups))
            self._pushes += 1
            id = f"push-{self._prefix}-{self._pushes}"
            self.host.deliver(make_iq("set", id, query, to=JID.parse(name), sender=JID.parse(push.owner)))

    # ---- messages (section 5)

    def message(self, stanza: Stanza) -> Stanza:
        """Raises Forbidden, BadRequest."""
        sender = stanza.sender
        privileges = self._of(sender) if sender is not None else None
        if privileges is None or privileges.message != "outgoing" or stanza.type == "error":
            raise Forbidden("you may not send messages in the name of others")
        found = stanza.child(PRIVILEGE_NS, "privilege")
        forwarded = find(found, FORWARD_NS, "forwarded") if found is not None else None
        inner = list(children(forwarded)) if forwarded is not None else []
        inner = [each for each in inner if tag_of(each) == f"{CLIENT_NS}|message"]
        if len(inner) != 1:
            raise BadRequest("one message of jabber:client is expected")
        made = _stanza(inner[0])
        owner = made.sender
        if owner is None or owner.resource or owner.domain != self.host.domain:
            raise Forbidden("the sender is a bare JID of this host")  # section 5.1
        if made.type == "error":
            raise BadRequest("errors are not sent in the name of others")
        return made if made.to is not None else made.stamped(to=owner)

    # ---- requests (section 6)

    @iq("get", PRIVILEGE_NS, "privileged_iq", To.ACCOUNT, To.ABSENT, To.HOST)
    async def answer_get(self, request: Request) -> Element | Written | None:
        return self._request(request)

    @iq("set", PRIVILEGE_NS, "privileged_iq", To.ACCOUNT, To.ABSENT, To.HOST)
    async def answer_set(self, request: Request) -> Element | Written | None:
        return self._request(request)

    @on(INBOUND, Stage.GUARD, kinds=(Kind.IQ,), types=("get", "set"), tags=(tag(PRIVILEGE_NS, "privileged_iq"),))
    def no_full_address(self, event: Inbound) -> Verdict | None:
        """Section 6.3: it is for a bare JID. To all others than components it must not tell who is there."""
        stanza = event.stanza
        if stanza.to is not None and stanza.to.resource:
            known = stanza.sender is not None and self._of(stanza.sender) is not None
            raise Forbidden("in the name of an account, not of one of its clients") if known else ServiceUnavailable()
        return None

    def _request(self, request: Request) -> Written:
        """Section 6.3: every MUST of it. Raises Forbidden, BadRequest, ResourceConstraint."""
        privileges, outer, owner = self._of(request.sender), request.stanza, request.owner
        if privileges is None or owner is None or outer.to is None or outer.to.resource:
            raise Forbidden("you may not ask in the name of others")
        inner = list(children(request.payload))
        if len(inner) != 1 or tag_of(inner[0]) != f"{CLIENT_NS}|iq" or len(inner[0]) != 1:
            raise Forbidden("one request of jabber:client with one element is expected")
        asked = _stanza(inner[0])
        namespace = tag_of(inner[0][0]).rpartition("|")[0]
        if asked.type != outer.type or privileges.iq.get(namespace) not in (asked.type, "both"):
            raise Forbidden("you may not send this request in the name of others")
        if asked.sender is not None and asked.sender.full != owner.bare:
            raise Forbidden("another sender than the one who is asked")
        if not asked.id:
            raise BadRequest("an iq needs an id")
        if self.open >= OPEN:
            raise ResourceConstraint("too many requests wait for an answer")
        self._send(asked, owner, outer)
        return LATER

    def _send(self, asked: Stanza, owner: Account, outer: Stanza) -> None:
        """As if the account had sent it: its own rules hold (section 10)."""
        assert outer.sender is not None
        original = (asked.id, outer.id, outer.sender, owner.jid)
        self.host.ask_for(owner, asked, partial(self._answered, original))
        self.open += 1

    def _answered(self, original: tuple[str, str, JID, JID], answer: Stanza | None) -> None:
        self.open -= 1
        inner_id, outer_id, component, owner = original
        outer = Stanza(Kind.IQ, "set", owner, component, outer_id)
        if answer is None:
            self.host.deliver(outer.error(ServiceUnavailable("no answer came")))
            return
        forwarded = E("forwarded", FORWARD_NS, None, alone(answer.stamped(to=owner, id=inner_id).xml))
        self.host.deliver(outer.result(E("privilege", PRIVILEGE_NS, None, forwarded)))

    # ---- presence (section 7)

    def _watching(self, *types: str) -> list[JID]:
        return [JID.parse(name) for name, each in self.granted().items() if each.presence in types]

    @on(AVAILABLE)
    def appeared(self, session: Session) -> None:
        """Section 7.1: initial presence, and no other."""
        if session.presence is not None:
            for component in self._watching("managed_entity", "roster"):
                self.host.deliver(session.presence.stamped(to=component))

    @on(UNAVAILABLE)
    def left(self, event: Withdrawal) -> None:
        for component in self._watching("managed_entity", "roster"):
            self.host.deliver(event.stanza.stamped(to=component))

    def _whom_it_concerns(self, stanza: Stanza) -> Collection[str] | None:
        """Nobody: what accounts of this host say to each other is passed on once, by who says it."""
        own = stanza.sender is None or stanza.sender.domain == self.host.domain
        return () if own or not self._watching("roster") else None

    @on(ARRIVED, kinds=(Kind.PRESENCE,), types=PRESENCES, recipients_of=_whom_it_concerns)
    def contact_said(self, event: Inbound) -> None:
        """Section 7.4: once, however many have the contact."""
        stanza, sender = event.stanza, event.stanza.sender
        if sender is None or sender.domain == self.host.domain:
            return
        for component in self._watching("roster"):
            roster = self.host.find(ROSTER)
            item = roster.item(event.owner.bare, sender.bare) if roster is not None else None
            if item is None or not item.we_see or sender.domain == component.domain:
                continue
            key = (component.domain, sender.full)
            digest = hashlib.blake2b(stanza.rest, digest_size=16).digest()
            if self._seen.get(key) != digest:
                self._seen.put(key, digest)
                self.host.deliver(stanza.stamped(to=component))

    async def _show_all(self, connection: ComponentConnection, to: JID, contacts: bool) -> None:
        """Section 8: what it would have heard if it had been connected first. At its own pace."""
        if contacts:
            for key in [key for key in self._seen if key[0] == to.domain]:
                self._seen.pop(key)
        asked: set[str] = set()
        for account in list(self.host.accounts.values()):
            for session in list(account.sessions.values()) if account is not None else ():
                if session.presence is not None:
                    if not await connection.room() or to not in self._watching("managed_entity", "roster"):
                        return
                    if session.presence is not None:
                        connection.send(session.presence.stamped(to=to))
            if contacts and account is not None and account.sessions:
                self._ask_contacts(account, to, asked)

    def _ask_contacts(self, account: Account, component: JID, asked: set[str]) -> None:
        """What they show comes as it does to the account."""
        roster = self.host.find(ROSTER)
        for contact, item in roster.items(account.bare).items() if roster is not None else ():
            jid = JID.parse(contact)
            if item.we_see and contact not in asked and jid.domain not in (self.host.domain, component.domain):
                asked.add(contact)
                self.host.deliver(Stanza(Kind.PRESENCE, "probe", jid, account.jid))


def _stanza(element: Element) -> Stanza:
    """The stanza that an element is. Raises BadRequest."""
    try:
        return stanza_of(element)
    except ValueError:
        raise BadRequest("this is no stanza, or an address in it is none") from None
