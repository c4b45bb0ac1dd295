"""XEP-0313: Message Archive Management, with the preferences of XEP-0441 and the storage hints of XEP-0334.

A message is written once for each owner before anybody sees it: the archive is the offline store
(docs/explanation/delivery.md).
A message that is not to be archived waits for its delivery in the same log, hidden.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from xmppd.clock import microseconds
from xmppd.config import option
from xmppd.contracts.archive import ARCHIVE, LOG, STORED_TYPES, Retention
from xmppd.contracts.moving import PORTABLE, Portable
from xmppd.contracts.roster import ROSTER
from xmppd.contracts.routing import INBOUND, MESSAGE_RULES, OUTBOUND
from xmppd.contracts.search import SEARCH
from xmppd.contracts.sessions import BOUND_WITH
from xmppd.contracts.store_check import CHECK_ACCOUNT, CHECK_STORE, AccountCheck, StoreCheck, in_map
from xmppd.errors import ServiceUnavailable, StorageUnavailable
from xmppd.plugin import (
    JID,
    Account,
    Element,
    Inbound,
    Kind,
    Outbound,
    Plugin,
    Request,
    Stage,
    To,
    Written,
    Xep,
    iq,
    on,
)
from xmppd.storage.api import Entry, Flags
from xmppd.xep.elements import SID_NS, stanza_id_bytes
from xmppd.xep.mam import MAM_NS, PAGE_SIZE, fields, fin, metadata, read_page, read_query, results

from . import catch_up
from .check import check_log, preferences_problems
from .portable import PortableArchive
from .preferences import Preferences, read_preferences, shown

EXTENDED = f"{MAM_NS}#extended"
SID_TAG = f"{SID_NS}|stanza-id"
MESSAGES = (Kind.MESSAGE,)
# As integers: an operation on flags costs more than all the rest of a handler.
INCOMING, HIDDEN = int(Flags.INCOMING), int(Flags.HIDDEN)
HIDDEN_INCOMING = INCOMING | HIDDEN
DAY = 86_400_000_000
SWEEP = 6 * 3600.0
OWNERS = 500


@dataclass(frozen=True)
class Config:
    default: Literal["always", "never", "roster"] = option(
        "always", "What is archived for an account that has not chosen: all, nothing, or what contacts say."
    )
    page: int = option(50, "Messages of a page where the client does not say how many it wants.", low=1, high=1000)
    largest_page: int = option(250, "The most messages of a page.", low=1, high=1000)
    preferences: int = option(1000, "Addresses in the lists of what to archive always or never.", low=1, high=10_000)
    keep_days: int = option(0, "Days after which messages are deleted, read or not; 0 keeps them for ever.", low=0)


class MessageArchive(Plugin[Config]):
    """Implements `contracts.archive.Archive`."""

    xeps = (
        Xep(313, "1.1.3", "accounts; ids are times, so they can be guessed, and a guess finds nothing of others"),
        Xep(334, "1.0.0"),
        Xep(441, "0.2.0", "without the ad-hoc command"),
        Xep(59, "1.0", "no pages by index"),
    )
    account_features = (MAM_NS, EXTENDED)
    provides = (ARCHIVE,)
    uses = (MESSAGE_RULES,)

    def setup(self) -> None:
        self.rules = self.host.service(MESSAGE_RULES)
        self.log = self.host.storage.log(LOG)
        self.preferences = self.host.storage.map("archive-preferences", Preferences, cached=True)
        self._portable = PortableArchive(
            self.host, self.preferences, lambda: self.config.preferences, self.rules.policy
        )
        self.reconfigured()

    def reconfigured(self) -> None:
        self.unchosen = Preferences(self.config.default)
        self.all_by_default = self.config.default == "always"

    async def start(self) -> None:
        self.every(SWEEP, self.sweep, "sweep")

    # ---- contracts.archive.Archive

    def wants(self, owner: str, resource: str, peer: str) -> bool:
        """XEP-0441 section 2."""
        chosen = self.preferences.get(owner)
        if not chosen and self.all_by_default:
            return True
        archives = (chosen.get("") or self.unchosen).archives(peer, f"{peer}/{resource}" if resource else peer)
        if archives is None:
            roster = self.host.find(ROSTER)
            item = roster.item(owner, peer) if roster is not None else None
            return peer == owner or (item is not None and item.listed)
        return archives

    # ---- the path of a message

    @on(OUTBOUND, Stage.ARCHIVE, MESSAGES, types=STORED_TYPES)
    def outgoing(self, event: Outbound) -> None:
        """The sender's copy. Of a message to oneself there is one entry, the incoming one (section 4.1.1)."""
        stanza, owner = event.stanza, event.owner
        to = stanza.to
        if to is None or to.bare == owner.bare or self.rules.policy(stanza).retention is not Retention.ARCHIVE:
            return
        if self.wants(owner.bare, to.resource, to.bare):
            event.append_entry(LOG, Entry(owner.next_id(), to.bare, to.resource, 0, stanza.data))

    @on(INBOUND, Stage.ARCHIVE, MESSAGES, types=STORED_TYPES)
    def incoming(self, event: Inbound) -> None:
        """The recipient's copy; stored as it came, delivered with its archive id (section 3.4)."""
        stanza, owner = event.stanza, event.owner
        retention = self.rules.policy(stanza).retention
        if retention is Retention.NONE:
            return
        sender, bare = stanza.sender or self.host.jid, owner.bare
        visible = retention is Retention.ARCHIVE and self.wants(bare, sender.resource, sender.bare)
        id = owner.next_id()
        flags = INCOMING if visible else HIDDEN_INCOMING
        event.append_entry(LOG, Entry(id, sender.bare, sender.resource, flags, stanza.data))
        if visible:
            event.stanza = stanza.with_child(stanza_id_bytes(bare, id), SID_TAG)

    # ---- questions

    @iq("set", MAM_NS, "query", To.SELF)
    async def query(self, request: Request) -> Element:
        """Sections 4.2 and 4.3: the entries as messages, then the result."""
        session, account = request.session, request.account
        if session is None:
            raise ServiceUnavailable()
        # A page and its answer must find room in the queue of a session that has not acknowledged anything yet.
        most = min(self.config.largest_page, self.host.server.limits.queue // 2)
        query = read_query(request.payload, min(self.config.page, most), most)
        # An entry that is not released yet comes to this session at its release: it must not be in the page, too.
        released = account.released
        try:
            size = min(PAGE_SIZE, self.host.server.limits.queue_size // 2)
            page = await read_page(self.log, account.bare, query.until(released), self.host.find(SEARCH), size)
        except StorageUnavailable:
            account.cursor.reads_no_archive(session.resource)  # it tried to and could not: the server delivers
            raise
        for stanza in results(account.jid, session.jid, query, page):
            session.send(stanza)
        catch_up.page_read(session, query, page, released)
        return fin(page)

    @iq("get", MAM_NS, "query", To.SELF)
    async def form(self, request: Request) -> Element:
        return fields(self.host.find(SEARCH))

    @iq("get", MAM_NS, "metadata", To.SELF)
    async def ends(self, request: Request) -> Written:
        return await metadata(self.log, request.account.bare)

    @on(BOUND_WITH)
    async def bound_with(self, account: Account) -> Iterable[Written]:
        """The same for a client that signs in (XEP-0386 section 3.2)."""
        return (await metadata(self.log, account.bare),)

    @iq("get", MAM_NS, "prefs", To.SELF)
    async def get_preferences(self, request: Request) -> Element:
        return shown(self.preferences.get(request.account.bare).get("") or self.unchosen)

    @iq("set", MAM_NS, "prefs", To.SELF)
    async def set_preferences(self, request: Request) -> Element:
        chosen = read_preferences(request.payload, self.config.preferences)
        await self.host.storage.commit([self.preferences.put(request.account.bare, "", chosen)])
        return shown(chosen)

    # ---- retention

    async def sweep(self) -> None:
        """Section 3.2: only the oldest go, so no gap appears."""
        if not self.config.keep_days:
            return
        before = microseconds(self.host.clock) - self.config.keep_days * DAY
        owner = ""
        while owners := await self.host.stored_accounts.owners(self.host.domain, owner, OWNERS):
            await self.host.storage.commit_each([self.log.trim(owner, before)] for owner in owners)
            owner = owners[-1]

    @on(PORTABLE)
    def portable(self, domain: JID) -> Iterable[Portable]:
        return self._portable.parts()

    # ---- xmppd store check

    @on(CHECK_ACCOUNT)
    async def check_log(self, account: AccountCheck) -> None:
        await check_log(account, self.log, self.host.domain)

    @on(CHECK_STORE)
    async def check_preferences(self, store: StoreCheck) -> None:
        async for owner, key, chosen in store.records(self.preferences):
            for what in preferences_problems(chosen):
                store.problem(owner, in_map(self.preferences.name, key), what)
