"""XEP-0060 and XEP-0163: Publish-Subscribe, of a service host and of every account.

This module is wiring: who asks for what, under the owner's lock. Rules are in `access`, the configuration in `model`,
items in `items`, what each request does in `publishing`, `subscribing` and `owning`, who is notified in `notify`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final

from xmppd.contracts.accounts import ACCOUNTS_REMOVED
from xmppd.contracts.caps import INTERESTED, INTERESTED_ELSEWHERE, Interest, InterestElsewhere
from xmppd.contracts.disco import DISCO_FEATURES, DISCO_FORMS, DISCO_IDENTITIES, DISCO_ITEMS, DiscoAsk, Identity, Item
from xmppd.contracts.moving import PORTABLE, Intake, Portable
from xmppd.contracts.pubsub import PUBSUB, Published
from xmppd.contracts.roster import ROSTER, RosterItem
from xmppd.contracts.routing import HOST_MESSAGE, INBOUND, Inbound
from xmppd.contracts.store_check import CHECK_ACCOUNT, CHECK_STORE, AccountCheck, StoreCheck
from xmppd.errors import BadRequest, FeatureNotImplemented, ItemNotFound, ServiceUnavailable
from xmppd.plugin import JID, Element, HostType, Kind, Plugin, Request, Stanza, To, Verdict, Written, Xep, iq, on
from xmppd.storage.api import Write
from xmppd.xml import E, children, name_of

from . import discovery, owning, publishing, subscribing
from .access import Asker, affiliation
from .check import check_nodes
from .items import Items, published
from .model import ERRORS_NS, NS, OWNER_NS, Node, Settings
from .notify import Notifier
from .portable import PortableNodes
from .service import Ask, Config, NoSuchNode, Service

__all__ = ["PubSubPlugin"]
SWEEP: Final = 3600.0
FORM: Final = "jabber:x:data|x"


Handler = Callable[[Service, Ask], Awaitable[Element | Written | None]]
HANDLERS: Final[Mapping[tuple[str, str, str], Handler]] = {
    ("get", NS, "items"): publishing.items,
    ("get", NS, "default"): subscribing.no_options,
    ("get", NS, "options"): subscribing.no_options,
    ("get", NS, "subscriptions"): subscribing.own_subscriptions,
    ("get", NS, "affiliations"): subscribing.own_affiliations,
    ("set", NS, "publish"): publishing.publish,
    ("set", NS, "retract"): publishing.retract,
    ("set", NS, "subscribe"): subscribing.subscribe,
    ("set", NS, "unsubscribe"): subscribing.unsubscribe,
    ("set", NS, "options"): subscribing.no_options,
    ("set", NS, "create"): owning.create,
    ("get", OWNER_NS, "configure"): owning.configuration,
    ("get", OWNER_NS, "default"): owning.defaults,
    ("get", OWNER_NS, "subscriptions"): owning.subscriptions,
    ("get", OWNER_NS, "affiliations"): owning.affiliations,
    ("set", OWNER_NS, "configure"): owning.configure,
    ("set", OWNER_NS, "delete"): owning.delete,
    ("set", OWNER_NS, "purge"): owning.purge,
    ("set", OWNER_NS, "subscriptions"): owning.set_subscriptions,
    ("set", OWNER_NS, "affiliations"): owning.set_affiliations,
}


class PubSubPlugin(Plugin[Config]):
    """Implements `contracts.pubsub.PubSub`."""

    xeps = (
        Xep(60, "1.26.0", "leaf nodes; no subscription options, no collections"),
        Xep(163, "1.2.2"),
        Xep(172, "1.1", "the node of it"),
        Xep(222, "1.0.2"),
        Xep(223, "1.1.2"),
        Xep(277, "0.6.3", "the nodes of it; what they hold is the clients' matter"),
        Xep(384, "0.8.3", "the nodes that it needs"),
        Xep(472, "0.3.0", "the nodes of it"),
        Xep(501, "0.1.0", "stories end after a day unless the publisher says otherwise"),
    )
    provides = (PUBSUB,)
    serves = ("accounts", "pubsub")
    host_types = (HostType("pubsub", "nodes to publish and subscribe to"),)

    def setup(self) -> None:
        self.personal = self.host.has_accounts
        self.nodes = self.host.storage.map("pubsub-node", Node, cached=True)
        self.store = Items(self.host)
        self.notifier = Notifier(self)
        self.portable_nodes = PortableNodes(self)

    async def start(self) -> None:
        if not self.personal:
            await self.host.storage.load(self.host.domain)
            self.host.storage.pin(self.host.domain)
        self.every(SWEEP, self.sweep, "expire")

    # ---- who is who

    def settings(self, node: Node) -> Settings:
        return Settings(node.options, self.personal)

    def is_master(self, owner: str, jid: JID) -> bool:
        """Owner of every node: the account itself, an administrator of a service."""
        return jid.bare == owner if self.personal else jid.bare in self.host.admins

    def contact(self, owner: str, bare: str) -> RosterItem | None:
        roster = self.host.find(ROSTER) if self.personal else None
        return roster.item(owner, bare) if roster is not None else None

    def asker(self, ask: Ask, node: Node) -> Asker:
        master = self.is_master(ask.owner, ask.sender)
        return Asker(ask.sender, affiliation(node, ask.sender, master), ask.stranger)

    def node(self, ask: Ask) -> Node:
        """Raises ItemNotFound, BadRequest without a name; what a stranger hears is ADR 0007's."""
        if not ask.name:
            raise BadRequest("which node?", (ERRORS_NS, "nodeid-required"))
        node = self.nodes.get(ask.owner).get(ask.name)
        if node is None:
            raise ServiceUnavailable() if ask.stranger else NoSuchNode()
        return node

    # ---- requests

    @iq("get", NS, "pubsub", To.HOST, To.ACCOUNT)
    async def get(self, request: Request) -> Element | Written | None:
        return await self._answer(request, "get", NS)

    @iq("set", NS, "pubsub", To.HOST, To.ACCOUNT)
    async def set(self, request: Request) -> Element | Written | None:
        return await self._answer(request, "set", NS)

    @iq("get", OWNER_NS, "pubsub", To.HOST, To.ACCOUNT)
    async def get_owned(self, request: Request) -> Element | Written | None:
        return await self._answer(request, "get", OWNER_NS)

    @iq("set", OWNER_NS, "pubsub", To.HOST, To.ACCOUNT)
    async def set_owned(self, request: Request) -> Element | Written | None:
        return await self._answer(request, "set", OWNER_NS)

    async def _answer(self, request: Request, type: str, ns: str) -> Element | Written | None:
        if self.personal and request.owner is None:
            raise ServiceUnavailable()  # the domain of accounts is no service of that kind
        owner = request.account.bare if self.personal else self.host.domain
        stranger = self._stranger(request, owner)
        for verb in children(request.payload):
            found_ns, name = name_of(verb)
            handler = HANDLERS.get((type, found_ns, name)) if found_ns == ns else None
            if handler is not None:
                break
        else:
            if stranger:
                raise ServiceUnavailable()  # as for an account that does not exist (ADR 0007)
            if len(request.payload) == 0:
                raise BadRequest("nothing is asked for")
            raise FeatureNotImplemented(extra=(ERRORS_NS, "unsupported", {"feature": name_of(request.payload[0])[1]}))
        ask = Ask(request, owner, verb, str(verb.get("node", "")), stranger)
        if type == "get":
            return await handler(self, ask)
        async with self.host.locks.hold(owner):
            return await handler(self, ask)

    def _stranger(self, request: Request, owner: str) -> bool:
        """May not know whether the account exists (ADR 0007)."""
        if not self.personal or request.sender.bare == owner:
            return False
        item = self.contact(owner, request.sender.bare)
        return item is None or not item.sees_us

    @on(INBOUND, kinds=(Kind.MESSAGE,), tags=(FORM,))
    def decided(self, event: Inbound) -> Verdict | None:
        """An owner answers a request for a subscription to a node of an account (section 8.6)."""
        to = event.stanza.to
        if not self.personal or to is None or to.resource or not self._decide(event.stanza, event.owner.bare):
            return None
        return Verdict.DROP

    @on(HOST_MESSAGE, tags=(FORM,))
    def decided_here(self, stanza: Stanza) -> None:
        """The same for a node of the service."""
        if not self.personal:
            self._decide(stanza, self.host.domain)

    def _decide(self, stanza: Stanza, owner: str) -> bool:
        """Begins to do what the owner of a node has decided. False for any other message: it goes its way, so what this
        account has and who owns it is not found out unseen (ADR 0007)."""
        decision = subscribing.decision(stanza)
        if (
            decision is None
            or stanza.sender is None
            or not subscribing.may_decide(self, owner, stanza.sender, decision)
        ):
            return False
        self.spawn(subscribing.decide(self, owner, stanza.sender, decision), "decide")
        return True

    # ---- contracts.pubsub.PubSub

    async def opened(self, owner: JID) -> bool:
        """Whether the owner exists; its nodes are in memory then."""
        if not self.personal:
            return owner == self.host.jid
        return await self.host.open_account(owner) is not None

    async def publish(
        self, owner: JID, node: str, id: str, payload: Element, options: Mapping[str, str] | None = None
    ) -> None:
        if not await self.opened(owner):
            raise ItemNotFound("no such account")
        wanted = {name.removeprefix("pubsub#"): (value,) for name, value in (options or {}).items()}
        async with self.host.locks.hold(owner.bare):
            await publishing.publish_own(self, owner.bare, node, id, payload, wanted)

    async def retract(self, owner: JID, node: str, ids: tuple[str, ...]) -> None:
        if not await self.opened(owner):
            return
        async with self.host.locks.hold(owner.bare):
            found = self.nodes.get(owner.bare).get(node)
            if found is not None:
                await publishing.delete_items(self, owner.bare, node, found, ids, owner, None, True)

    async def items(self, owner: JID, node: str, limit: int = 0) -> list[Published]:
        if not await self.opened(owner):
            return []
        found = self.nodes.get(owner.bare).get(node)
        if found is None:
            return []
        return await self.store.newest(owner.bare, node, self.settings(found), limit or self.config.items)

    async def item(self, owner: JID, node: str, id: str) -> Published | None:
        if not await self.opened(owner):
            return None
        found = self.nodes.get(owner.bare).get(node)
        entry = await self.store.find(owner.bare, node, self.settings(found), id) if found is not None else None
        return published(entry) if entry is not None else None

    async def delete(self, owner: JID, node: str) -> None:
        if not await self.opened(owner):
            return
        async with self.host.locks.hold(owner.bare):
            found = self.nodes.get(owner.bare).get(node)
            if found is not None:
                await owning.delete_node(self, owner.bare, node, found, owner, None)

    # ---- moving in and out

    @on(PORTABLE)
    def portable(self, domain: JID) -> Iterable[Portable]:
        return self.portable_nodes.parts()

    async def stored(self, owner: JID, node: str) -> Published | None:
        found = await self.nodes.read(owner.bare, node)
        newest = await self.store.newest(owner.bare, node, self.settings(found), 1) if found is not None else []
        return newest[0] if newest else None

    async def moved_in(
        self, owner: JID, node: str, items: Sequence[tuple[str, Element]], options: Mapping[str, str], intake: Intake
    ) -> Sequence[Write]:
        wanted = {name.removeprefix("pubsub#"): (value,) for name, value in options.items()}
        given = [(id, E("item", NS, {"id": id}, payload)) for id, payload in items]
        return await self.portable_nodes.add(owner, node, given, wanted, intake)

    # ---- time and presence

    @on(ACCOUNTS_REMOVED)
    async def removed(self, names: frozenset[str]) -> None:
        """Whoever gets the name later inherits no node and no subscription. Raises StorageUnavailable."""
        place = ("", "")
        while page := await self.nodes.scan(self.host.domain, place):
            place = page[-1][:2]
            for owner, name, node in page:
                if node is not None and owner not in names and owning.names_any(node, names):
                    await self._forget(owner, name, names)

    async def _forget(self, owner: str, name: str, names: frozenset[str]) -> None:
        async with self.host.locks.hold(owner):
            node = await self.nodes.read(owner, name)
            if node is not None and owning.names_any(node, names):
                await self.host.storage.commit([self.nodes.put(owner, name, owning.without(node, names))])

    async def interested(self, owner: JID, who: JID, names: frozenset[str]) -> None:
        if self.personal and await self.opened(owner):
            await self.notifier.send_last_items(owner.bare, who, names)

    @on(INTERESTED_ELSEWHERE)
    async def greet_elsewhere(self, interest: InterestElsewhere) -> None:
        """A contact's client on another server, which sees the account's presence (XEP-0163 section 4.3.4)."""
        await self.interested(interest.account.jid, interest.who, interest.names)

    @on(INTERESTED)
    async def greet(self, interest: Interest) -> None:
        await self.notifier.greet(interest.session, interest.names, interest.contact)

    async def sweep(self) -> None:
        """Expired items are deleted, read or not."""
        after = ""
        while owners := await self.nodes.owners(self.host.domain, after):
            for owner in owners:
                nodes = await self.nodes.read_all(owner)
                for name, node in nodes.items():
                    if self.store.oldest(self.settings(node)) is None:
                        continue
                    async with self.host.locks.hold(owner):
                        expired = await self.store.expired(owner, name, node, self.personal)
                        if expired:
                            await self.store.change(owner, name, expired)
            after = owners[-1]

    # ---- discovery

    @on(DISCO_FEATURES)
    def features_of(self, ask: DiscoAsk) -> Iterable[str]:
        return discovery.features(self, ask)

    @on(DISCO_IDENTITIES)
    def identities_of(self, ask: DiscoAsk) -> Iterable[Identity]:
        return discovery.identities(self, ask)

    @on(DISCO_ITEMS)
    def nodes_of(self, ask: DiscoAsk) -> Iterable[Item]:
        return discovery.nodes(self, ask)

    @on(DISCO_FORMS)
    async def forms_of(self, ask: DiscoAsk) -> Iterable[Element]:
        return await discovery.forms(self, ask)

    # ---- xmppd store check

    @on(CHECK_ACCOUNT)
    async def check_account(self, account: AccountCheck) -> None:
        await check_nodes(self, account.bare, account.store)

    @on(CHECK_STORE)
    async def check_service(self, store: StoreCheck) -> None:
        if not self.personal and store.concerns(self.host.domain):
            await check_nodes(self, self.host.domain, store)
