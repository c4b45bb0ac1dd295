"""XEP-0191: Blocking Command."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass
from secrets import token_urlsafe

from xmppd.config import option
from xmppd.contracts import blocking
from xmppd.contracts.blocking import BLOCKED, BLOCKLIST, REFUSED
from xmppd.contracts.moving import PIECE, PORTABLE, Intake, OwnerKind, Portable
from xmppd.contracts.roster import ROSTER
from xmppd.contracts.routing import INBOUND, OUTBOUND
from xmppd.contracts.sessions import PRESENCE
from xmppd.contracts.store_check import CHECK_STORE, StoreCheck, in_map
from xmppd.errors import (
    BadRequest,
    JidMalformed,
    MalformedJid,
    NotAcceptable,
    NotAllowed,
    ResourceConstraint,
    ServiceUnavailable,
)
from xmppd.plugin import (
    JID,
    Account,
    E,
    Element,
    Inbound,
    Kind,
    Outbound,
    Plugin,
    Request,
    SessionKey,
    Stage,
    To,
    Verdict,
    Xep,
    iq,
    on,
)
from xmppd.stanza import iq as make_iq
from xmppd.storage.api import Write
from xmppd.xep.speakers import speakers
from xmppd.xml import children, find, name_of

NS = "urn:xmpp:blocking"
BLOCKED_MAP = "blocklist"
PRIVACY_NS = "jabber:iq:privacy"
"""Privacy lists (XEP-0016), of which only blocks are taken."""
LIST_NAME = "Blocked contacts"
ASKED = SessionKey[bool]("blocklist-asked", False, durable=True)
"""The session has requested the list, so it gets the pushes (section 3.2)."""


@dataclass(frozen=True)
class Config:
    limit: int = option(1000, "Addresses that one account may block.", low=1, high=100_000)


@dataclass(frozen=True, slots=True)
class Blocked:
    """`at`: seconds since 1970 UTC."""

    at: float


class Blocking(Plugin[Config]):
    xeps = (
        Xep(
            191,
            "1.3",
            "polite blocking: subscriptions stay; a stranger's probe is answered as everybody's; in rooms a block is "
            "of the person behind a nick",
        ),
    )
    features = (NS,)
    provides = (BLOCKLIST,)

    def setup(self) -> None:
        self.blocked = self.host.storage.map(BLOCKED_MAP, Blocked, cached=True)

    def blocks(self, owner: str, other: JID) -> bool:
        """See contracts.blocking."""
        blocked = self.blocked.get(owner)
        return bool(blocked) and matches(blocked, other) and not self._is_exempt(owner, other)

    def has_blocked(self, owner: str) -> bool:
        return bool(self.blocked.get(owner))

    def _is_exempt(self, owner: str, jid: JID) -> bool:
        """The own account (section 5: one resource must not block another) and the own server cannot be blocked."""
        return jid.bare in (owner, self.host.domain)

    # ---- commands

    @iq("get", NS, "blocklist", To.SELF)
    async def get(self, request: Request) -> Element:
        """Section 3.2."""
        if request.session is not None:
            request.session[ASKED] = True
        return _list("blocklist", sorted(self.blocked.get(request.account.bare)))

    @iq("set", NS, "block", To.SELF)
    async def block(self, request: Request) -> None:
        """Section 3.3."""
        account = request.account
        asked = _items(request.payload)
        if not asked:
            raise BadRequest("nothing to block")
        if any(self._is_exempt(account.bare, jid) for jid in asked.values()):
            raise NotAllowed("neither your own account nor your own server")
        before = self.blocked.get(account.bare)
        new = [name for name in asked if name not in before]
        if len(before) + len(new) > self.config.limit:
            raise ResourceConstraint(f"at most {self.config.limit} addresses")
        if new:
            now = Blocked(self.host.clock.now())
            await self.host.storage.commit([self.blocked.put(account.bare, name, now) for name in new])
        for item in children(request.payload, NS, "item"):
            jid = JID.parse(str(item.get("jid")))
            await self.host.tell_and_wait(BLOCKED, blocking.Blocked(account.jid, jid, item))
        request.then(lambda: self._push(account, _list("block", asked)))
        presence = self.host.find(PRESENCE)
        if presence is not None:
            for contact in self._changed(account, before, {*before, *new}):
                presence.withdraw(account, contact)

    @iq("set", NS, "unblock", To.SELF)
    async def unblock(self, request: Request) -> None:
        """Sections 3.4 and 3.5: some, or without items all."""
        account = request.account
        asked = _items(request.payload)
        before = self.blocked.get(account.bare)
        old = [name for name in before if name in asked] if asked else list(before)
        if old:
            await self.host.storage.commit([self.blocked.delete(account.bare, name) for name in old])
        request.then(lambda: self._push(account, _list("unblock", asked)))
        presence = self.host.find(PRESENCE)
        if presence is not None:
            for contact in self._changed(account, set(before) - set(old), before):
                presence.announce(account, contact)

    def _changed(self, account: Account, fewer: Collection[str], more: Collection[str]) -> list[str]:
        """Bare JIDs that `more` blocks and `fewer` does not: contacts, and who else got directed presence."""
        roster = self.host.find(ROSTER)
        known = [JID.parse(name) for name in (roster.items(account.bare) if roster is not None else ())]
        named = [JID.parse(name) for name in more if name not in fewer]
        candidates = {jid.bare: jid for jid in (*known, *named) if jid.is_bare}
        return [name for name, jid in candidates.items() if matches(more, jid) and not matches(fewer, jid)]

    def _push(self, account: Account, payload: Element) -> None:
        for session in account.sessions.values():
            if session[ASKED]:  # from the account, as a roster push (RFC 6120 section 8.1.2.1)
                session.send(make_iq("set", token_urlsafe(8), payload, to=session.jid, sender=account.jid))

    # ---- the path of stanzas

    @on(INBOUND, Stage.BLOCK, if_stored_in=BLOCKED_MAP)
    def incoming(self, event: Inbound) -> Verdict | None:
        """Section 3.3: presence is dropped, a message or request gets the error for an account that does not exist.

        A room would throw out an occupant whose copy of a message bounces, so that is dropped silently, too. What an
        account of this server sends is from no room: it bounces as everybody's, and for whom it claims to speak is not
        looked at, or strangers could find out whom the owner has blocked (ADR 0007).
        """
        stanza, owner = event.stanza, event.owner.bare
        blocked = self.blocked.get(owner)
        if not blocked or stanza.sender is None:
            return None
        person = self.host.router.routes.serves_accounts(stanza.sender.domain)
        speaking = (stanza.sender,) if person else speakers(stanza)
        if not any(matches(blocked, each) and not self._is_exempt(owner, each) for each in speaking):
            return None
        if stanza.kind is Kind.PRESENCE or stanza.answers or (stanza.type == "groupchat" and not person):
            return Verdict.DROP
        raise ServiceUnavailable()

    @on(OUTBOUND, Stage.BLOCK, if_stored_in=BLOCKED_MAP)
    def outgoing(self, event: Outbound) -> Verdict | None:
        """Section 3.3: nothing goes to a blocked address, and the user is told why."""
        stanza, owner = event.stanza, event.owner.bare
        blocked = self.blocked.get(owner)
        if not blocked or stanza.to is None or not matches(blocked, stanza.to) or self._is_exempt(owner, stanza.to):
            return None
        if stanza.answers:
            return Verdict.DROP
        raise NotAcceptable("You have blocked this address", REFUSED, type="cancel")

    # ---- moving in and out

    @on(PORTABLE)
    def portable(self, domain: JID) -> Iterable[Portable]:
        yield Portable(OwnerKind.ACCOUNT, (f"{NS}|blocklist",), self._give, self._take)
        yield Portable(OwnerKind.ACCOUNT, (f"{PRIVACY_NS}|query",), self._give_privacy, self._take_privacy)

    async def _give(self, owner: JID) -> AsyncIterator[Element]:
        """As Prosody has it."""
        blocked = sorted(await self.blocked.read_all(owner.bare))
        for start in range(0, len(blocked), PIECE):
            yield _list("blocklist", blocked[start : start + PIECE])

    async def _give_privacy(self, owner: JID) -> AsyncIterator[Element]:
        """The same as XEP-0227 has it, for servers that know nothing else (ejabberd)."""
        blocked = sorted(await self.blocked.read_all(owner.bare))
        if blocked:
            items = (
                E("item", PRIVACY_NS, {"type": "jid", "value": jid, "action": "deny", "order": str(order)})
                for order, jid in enumerate(blocked)
            )
            default = E("default", PRIVACY_NS, {"name": LIST_NAME})
            yield E("query", PRIVACY_NS, {}, default, E("list", PRIVACY_NS, {"name": LIST_NAME}, *items))

    async def _take(self, owner: JID, given: Element, intake: Intake) -> Sequence[Write]:
        return await self._taken(owner, [str(item.get("jid", "")) for item in children(given, NS, "item")], intake)

    async def _take_privacy(self, owner: JID, query: Element, intake: Intake) -> Sequence[Write]:
        """Of the default list, whom it denies everything, or messages."""
        default = find(query, PRIVACY_NS, "default")
        name = default.get("name") if default is not None else None
        wanted: list[str] = []
        for each in children(query, PRIVACY_NS, "list"):
            if each.get("name") != name:
                intake.lost("a privacy list that is not the default one")
                continue
            for item in children(each, PRIVACY_NS, "item"):
                if item.get("action") == "allow":
                    continue
                kinds = [name_of(kind)[1] for kind in item]
                if item.get("type") == "jid" and (not kinds or "message" in kinds):
                    wanted.append(str(item.get("value", "")))
                else:
                    intake.lost("a rule of a privacy list that is no block of an address")
        return await self._taken(owner, wanted, intake)

    async def _taken(self, owner: JID, wanted: Iterable[str], intake: Intake) -> Sequence[Write]:
        known, writes = set(await self.blocked.read_all(owner.bare)), list[Write]()
        for text in wanted:
            try:
                jid = JID.parse(text)
            except MalformedJid:
                intake.lost(f"the block of {text!r}, which is no address")
                continue
            if jid.full in known:
                intake.kept("blocks")
            elif self._is_exempt(owner.bare, jid):
                intake.lost("a block of the own account or the own server")
            elif len(known) >= self.config.limit:
                intake.lost(f"the block of {jid}: there are too many (blocking.limit)")
            else:
                known.add(jid.full)
                writes.append(self.blocked.put(owner.bare, jid.full, Blocked(intake.now / 1_000_000)))
                intake.took("blocks")
        return writes

    @on(CHECK_STORE)
    async def check(self, store: StoreCheck) -> None:
        """For `xmppd store check`."""
        async for owner, name, _ in store.records(self.blocked):
            try:
                as_compared = JID.parse(name).full
            except MalformedJid:
                as_compared = ""
            if as_compared != name:
                what = "it blocks nobody" + (
                    f": compared is {as_compared}" if as_compared else ", for it is no address"
                )
                store.problem(owner, in_map(self.blocked.name, name), what)


def matches(blocked: Collection[str], jid: JID) -> bool:
    """Section 6: the full address, the bare one, the domain."""
    return jid.full in blocked or jid.bare in blocked or jid.domain in blocked


def _items(command: Element) -> dict[str, JID]:
    """The addresses of a command, in one form. Raises BadRequest, JidMalformed."""
    found: dict[str, JID] = {}
    for item in children(command, NS, "item"):
        text = item.get("jid")
        if not text:
            raise BadRequest("an item needs a jid")
        try:
            jid = JID.parse(str(text))
        except MalformedJid:
            raise JidMalformed() from None
        found[jid.full] = jid
    return found


def _list(name: str, jids: Iterable[str]) -> Element:
    return E(name, NS, {}, *(E("item", NS, {"jid": jid}) for jid in jids))
