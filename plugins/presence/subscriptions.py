"""RFC 6121 section 3, and 2.5.2: subscriptions between a local account and a contact, local or not.

Where both are local, both sides are decided together and written in one commit, so they never disagree.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from xmppd.contracts.roster import ROSTER, RosterItem
from xmppd.contracts.routing import Inbound
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

    __slots__ = ("_passing", "_writes", "account", "after", "before", "contact", "news", "roster")

    def __init__(self, account: Account, contact: JID) -> None:
        self.account = account
        self.contact = contact
        self.roster = account.host.service(ROSTER)
        self.before = self.after = self.roster.item(account.bare, contact.bare)
        self.news: list[Inbound] = []
        self._passing: RosterItem | None = None
        self._writes: list[Write] = []

    def takes(self, stanza: Stanza, request_bytes: int = 0) -> str:
        """A stanza of the contact arrives. Returns the type of the answer to be given at once, "" for none.

        What the chain refuses (a block list) asks for and grants nothing; that a subscription ends is still
        noted, unseen, or the two rosters would disagree for ever.
        """
        event: Inbound | None = self.account.host.router.admit(stanza, self.account)
        if event is None and stanza.type in ("subscribe", "subscribed"):
            return ""
        request = stanza.inside.decode() if len(stanza.inside) <= request_bytes else ""
        change = arriving(self.after, stanza.type, request)
        try:
            self.becomes(change.item)
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

    def passes(self) -> None:
        """What comes now answers what it became: clients are pushed both, in order (section 3.1.2)."""
        if _shown(self.before) != _shown(self.after):
            self._passing = self.after

    @property
    def passing(self) -> RosterItem | None:
        return self._passing if _shown(self._passing) != _shown(self.after) else None

    def writes(self) -> list[Write]:
        found = list(self._writes)
        if self.after != self.before:
            pushes = 1 if self.passing is None else 2
            found += self.roster.write(self.account.bare, self.contact.bare, self.after, pushes)
        return found

    def deliver(self) -> None:
        """Delivers the stanzas after the commit, and then the roster push, so that a client knows what the push means
        (section 3.1.6)."""
        if self.passing is not None:
            self.roster.push(self.account.bare, self.contact.bare, self.passing)
        for event in self.news:
            asked = event.stanza.type == "subscribe"
            hearing = self.account.available() if asked else self.roster.interested(self.account)
            self.account.host.router.release_to(event, hearing)
        if _shown(self.before) != _shown(self.after):
            self.roster.push(self.account.bare, self.contact.bare)

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
        """A local user's stanza: the user's side, and the contact's if it is local.

        A contact that does not exist answers like one that is silent (T33). Raises ResourceConstraint,
        StorageUnavailable.
        """
        assert stanza.to is not None
        to = stanza.to.to_bare()
        if to.bare == account.bare:
            return  # everyone sees their own presence as it is (section 4.2.2)
        stanza = stanza.stamped(to=to, sender=account.jid)  # section 3.1.2
        other = await self._open(to)
        async with self._lock(account, other):
            if not account.alive:
                return  # deleted while this waited
            mine = Side(account, to)
            change = leaving(mine.before, stanza.type)
            mine.becomes(change.item)
            theirs = Side(other, account.jid) if other is not None and other.alive else None
            if theirs is not None and change.passes:
                reply = theirs.takes(stanza, self.request_bytes)
                if reply:
                    mine.passes()
                    mine.takes(Stanza(Kind.PRESENCE, reply, account.jid, to))
            await self._commit(mine, theirs)
            if theirs is not None:
                theirs.deliver()
            elif change.passes:
                self.host.deliver(stanza)
            mine.deliver()
            self._show(mine, theirs)

    async def arrive(self, account: Account, stanza: Stanza) -> None:
        """A stanza from elsewhere, to a local account. Raises StorageUnavailable."""
        assert stanza.sender is not None
        sender = stanza.sender.to_bare()
        if sender.bare == account.bare:
            return
        async with self._lock(account):
            if not account.alive:
                return
            mine = Side(account, sender)
            reply = mine.takes(stanza.stamped(to=account.jid, sender=sender), self.request_bytes)
            await self._commit(mine)
            mine.deliver()
            if reply:
                self.host.deliver(Stanza(Kind.PRESENCE, reply, sender, account.jid))
            mine.update_presence(self.broadcaster)

    async def remove(self, account: Account, contact: JID) -> None:
        """Section 2.5.2. Raises ItemNotFound, StorageUnavailable."""
        contact = contact.to_bare()
        other = await self._open(contact) if contact.bare != account.bare else None
        async with self._lock(account, other):
            mine = Side(account, contact)
            if mine.before is None or not mine.before.listed or not account.alive:
                raise ItemNotFound()
            mine.becomes(None)
            theirs = Side(other, account.jid) if other is not None and other.alive else None
            last_words = [Stanza(Kind.PRESENCE, type, contact, account.jid) for type in removed(mine.before)]
            if theirs is not None:
                for stanza in last_words:
                    theirs.takes(stanza)
            await self._commit(mine, theirs)
            mine.deliver()
            if theirs is not None:
                theirs.deliver()
            else:
                for stanza in last_words:
                    self.host.deliver(stanza)
            self._show(mine, theirs)

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
            mine = Side(account, former)
            for type in ("unsubscribe", "unsubscribed"):
                mine.takes(Stanza(Kind.PRESENCE, type, account.jid, former))
            if mine.after is not None and mine.after.approved:
                mine.becomes(replace(mine.after, approved=False))
            await self._commit(mine)
            mine.deliver()
            mine.update_presence(self.broadcaster)

    # ---- parts

    def _is_home(self, jid: JID) -> bool:
        return self.host.router.routes.serves_accounts(jid.domain)

    async def _open(self, jid: JID) -> Account | None:
        """The account of a local contact. Raises StorageUnavailable."""
        routes = self.host.router.routes
        return await routes.open_account(jid) if routes.service(jid.domain, ROSTER) is not None else None

    @asynccontextmanager
    async def _lock(self, account: Account, other: Account | None = None) -> AsyncIterator[None]:
        """Nobody else changes their rosters, which stay in memory."""
        owners = [each.bare for each in (account, other) if each is not None]
        storage = self.host.storage
        for owner in owners:
            storage.pin(owner)
        try:
            async with self.host.locks.hold(*owners):
                yield
        finally:
            for owner in owners:
                storage.unpin(owner)

    async def _commit(self, *sides: Side | None) -> None:
        writes = [write for side in sides if side is not None for write in side.writes()]
        if writes:
            await self.host.storage.commit(writes)

    def _show(self, mine: Side, theirs: Side | None) -> None:
        if theirs is not None:
            theirs.update_presence(self.broadcaster)
        mine.update_presence(self.broadcaster)
