"""RFC 6121 section 3, and 2.5.2: the subscriptions of an account of this host.

Each account's side is decided and committed by itself, at its own host; what the other has to know goes there as a
stanza, by the routes, wherever that is. It is kept beside the decision until it is decided there (`routing.outbox`), so
a process that is killed between the two sends it again when it starts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from xmppd.contracts.roster import ROSTER, RosterItem
from xmppd.contracts.routing import Inbound
from xmppd.contracts.sessions import APPROVALS, SEEING, Seeing, SubscriptionRequest
from xmppd.errors import ItemNotFound, ResourceConstraint
from xmppd.jid import JID
from xmppd.stanza import Kind, Stanza
from xmppd.storage.api import Write

from .broadcast import Broadcaster
from .rules import arriving, leaving, removed

if TYPE_CHECKING:
    from xmppd.plugin import Account, Host


class Side:
    """One account's view of one contact while a stanza changes it: what it was, what it becomes, what it hears."""

    __slots__ = ("_writes", "account", "after", "before", "contact", "news", "roster")

    def __init__(self, account: Account, contact: JID) -> None:
        self.account = account
        self.contact = contact
        self.roster = account.host.service(ROSTER)
        self.before = self.after = self.roster.item(account.bare, contact.bare)
        self.news: list[Inbound] = []
        self._writes: list[Write] = []

    def takes(self, stanza: Stanza, request_bytes: int = 0, approved: bool = False) -> str:
        """A stanza of the contact arrives. Returns the type of the answer to be given at once, "" for none.
        `approved`: it is as if the account had approved it before.

        What the chain refuses (a block list) asks for and grants nothing; that a subscription ends is still
        noted, unseen, or the two rosters would disagree for ever.
        """
        event: Inbound | None = self.account.host.router.admit(stanza, self.account)
        if event is None and stanza.type in ("subscribe", "subscribed"):
            return ""
        request = stanza.inside.decode() if len(stanza.inside) <= request_bytes else ""
        before = leaving(self.after, "subscribed").item if approved else self.after
        change = arriving(before, stanza.type, request)
        item = change.item
        if approved and item is not None:  # for this request, not for those to come
            item = replace(item, approved=self.after is not None and self.after.approved)
        try:
            self.becomes(item)
        except ResourceConstraint:
            return ""  # more requests than are stored: as if it had not come
        if event is not None and change.passes:
            self.news.append(event)
            self._writes += event.writes
        return change.reply

    def becomes(self, item: RosterItem | None) -> None:
        """Raises ResourceConstraint."""
        if item != self.after:
            self.roster.write(self.account.bare, self.contact.bare, item)
            self.after = item

    def writes(self) -> list[Write]:
        found = list(self._writes)
        if self.after != self.before:
            found += self.roster.write(self.account.bare, self.contact.bare, self.after)
        return found

    def deliver(self) -> None:
        """Delivers the stanzas after the commit, and then the roster push, so that a client knows what the push means
        (section 3.1.6)."""
        for event in self.news:
            asked = event.stanza.type == "subscribe"
            hearing = self.account.available() if asked else self.roster.interested(self.account)
            self.account.host.router.release_to(event, hearing)
        if _shown(self.before) != _shown(self.after):
            self.roster.push(self.account.bare, self.contact.bare)

    @property
    def begins_to_see(self) -> bool:
        saw = self.before is not None and self.before.we_see
        return not saw and self.after is not None and self.after.we_see

    def update_presence(self, broadcaster: Broadcaster) -> None:
        """After the commit: sends presence to a contact who may see the account now, or no longer."""
        saw = self.before is not None and self.before.sees_us
        sees = self.after is not None and self.after.sees_us
        if sees and not saw:
            broadcaster.announce(self.account, self.contact)
        elif saw and not sees and broadcaster.may_see(self.account, self.contact.bare):
            broadcaster.withdraw(self.account, self.contact)


def _shown(item: RosterItem | None) -> tuple[object, ...] | None:
    return item.shown if item is not None else None


class Subscriptions:
    """The flows. `request_bytes`: the longest inside of a subscribe stanza that is stored."""

    def __init__(self, host: Host, broadcaster: Broadcaster, request_bytes: int) -> None:
        self.host = host
        self.broadcaster = broadcaster
        self.request_bytes = request_bytes

    async def send(self, account: Account, stanza: Stanza) -> None:
        """A local user's stanza. A contact that does not exist answers like one that is silent (T33). Raises
        ResourceConstraint, StorageUnavailable."""
        assert stanza.to is not None
        to = stanza.to.to_bare()
        if to.bare == account.bare:
            return  # everyone sees their own presence as it is (section 4.2.2)
        async with self._lock(account):
            if not account.alive:
                return  # deleted while this waited
            side = Side(account, to)
            change = leaving(side.before, stanza.type)
            side.becomes(change.item)
            said = (stanza.stamped(to=to, sender=account.jid),) if change.passes else ()  # section 3.1.2
            await self._carry_out(side, said)

    async def arrive(self, account: Account, stanza: Stanza) -> None:
        """A contact's stanza, to an account of this host. Raises StorageUnavailable."""
        assert stanza.sender is not None
        sender = stanza.sender.to_bare()
        if sender.bare == account.bare:
            return
        stanza = stanza.stamped(to=account.jid, sender=sender)
        approved = stanza.type == "subscribe" and await self._is_approved(account, stanza)
        async with self._lock(account):
            if not account.alive:
                return
            side = Side(account, sender)
            reply = side.takes(stanza, self.request_bytes, approved)
            await self._carry_out(side, (Stanza(Kind.PRESENCE, reply, sender, account.jid),) if reply else ())
        if approved and reply and side.after is not None and not side.after.we_see:
            with suppress(ResourceConstraint):  # the list is full: one direction has to do
                await self.send(account, Stanza(Kind.PRESENCE, "subscribe", sender, account.jid))

    async def _is_approved(self, account: Account, stanza: Stanza) -> bool:
        answers: list[bool] = await self.host.collect(APPROVALS, SubscriptionRequest(account.jid, stanza))
        return any(answers)

    async def remove(self, account: Account, contact: JID) -> None:
        """Section 2.5.2. Raises ItemNotFound, StorageUnavailable."""
        contact = contact.to_bare()
        async with self._lock(account):
            side = Side(account, contact)
            if side.before is None or not side.before.listed or not account.alive:
                raise ItemNotFound()
            side.becomes(None)
            last_words = [Stanza(Kind.PRESENCE, type, contact, account.jid) for type in removed(side.before)]
            await self._carry_out(side, last_words)

    async def forget(self, names: Collection[str]) -> None:
        """Accounts that are being removed: all subscriptions from and to them end (XEP-0077 section 3.2), and
        nothing that would let the next of that name in is left (pre-approvals). Raises StorageUnavailable."""
        roster = self.host.service(ROSTER)
        for bare in names:
            former = JID.parse(bare)
            if former.domain == self.host.domain:
                for contact, item in (await roster.stored(bare)).items():
                    if not self._is_home(JID.parse(contact)):  # else its own host finds it in the list there
                        for type in removed(item):
                            self.host.deliver(Stanza(Kind.PRESENCE, type, JID.parse(contact), former))
        async for owner, contact in roster.naming(names):
            account = await self.host.open_account(JID.parse(owner)) if owner not in names else None
            if account is not None:
                await self._forget(account, JID.parse(contact))

    async def _forget(self, account: Account, former: JID) -> None:
        async with self._lock(account):
            if not account.alive:
                return
            side = Side(account, former)
            for type in ("unsubscribe", "unsubscribed"):
                side.takes(Stanza(Kind.PRESENCE, type, account.jid, former))
            if side.after is not None and side.after.approved:
                side.becomes(replace(side.after, approved=False))
            await self._carry_out(side)

    # ---- parts

    def _is_home(self, jid: JID) -> bool:
        return self.host.router.routes.serves_accounts(jid.domain)

    @asynccontextmanager
    async def _lock(self, account: Account) -> AsyncIterator[None]:
        """Nobody else changes the account's roster, which stays in memory."""
        owner, storage = account.bare, self.host.storage
        storage.pin(owner)
        try:
            async with self.host.locks.hold(owner):
                yield
        finally:
            storage.unpin(owner)

    async def _carry_out(self, side: Side, said: Iterable[Stanza] = ()) -> None:
        """Commits a side and what the contact has to know of it, tells the contact, then the account's own clients;
        presence follows. What a crash takes of that is told again after the next start."""
        words = self.host.router.outbox.keep(side.account.jid, side.contact, tuple(said))
        writes = [*side.writes(), *words.writes()]
        if writes:
            await self.host.storage.commit(writes)
        words.send()
        side.deliver()
        side.update_presence(self.broadcaster)
        if side.begins_to_see:
            self.host.tell(SEEING, Seeing(side.account, side.contact))
