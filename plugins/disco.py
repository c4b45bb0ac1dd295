"""XEP-0030: Service Discovery, with the forms of XEP-0128 and the contact addresses of XEP-0157."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from urllib.parse import unquote

from xmppd.config import option
from xmppd.contracts.accounts import RESERVED_ADDRESSES
from xmppd.contracts.components import DELEGATION
from xmppd.contracts.disco import (
    DISCO,
    DISCO_ALIASES,
    DISCO_FEATURES,
    DISCO_FORMS,
    DISCO_IDENTITIES,
    DISCO_ITEMS,
    DISCO_REPLACEMENTS,
    DiscoAsk,
    Identity,
    Item,
)
from xmppd.contracts.requests import LATER
from xmppd.contracts.roster import ROSTER
from xmppd.errors import ItemNotFound, MalformedJid, ServiceUnavailable
from xmppd.plugin import ANY_HOST, JID, E, Element, Plugin, Request, To, Written, Xep, iq, on
from xmppd.xml import children, find, text_of

INFO_NS = "http://jabber.org/protocol/disco#info"
ITEMS_NS = "http://jabber.org/protocol/disco#items"
DATA_NS = "jabber:x:data"
CONTACTS = ("abuse", "admin", "feedback", "sales", "security", "status", "support")
"""Options that hold contact addresses."""
SERVER_INFO = "http://jabber.org/network/serverinfo"


@dataclass(frozen=True)
class Config:
    name: str = option("xmppd", "The name of this service, as clients show it.", high=200)
    abuse: tuple[str, ...] = option((), "Where to report abuse: `mailto:`, `xmpp:` or `https:` addresses.")
    admin: tuple[str, ...] = option((), "How to reach the administrators.")
    feedback: tuple[str, ...] = option((), "Where praise and complaints go.")
    sales: tuple[str, ...] = option((), "Where to buy something.")
    security: tuple[str, ...] = option((), "Where to report a hole.")
    status: tuple[str, ...] = option((), "Where it is told whether the service works: URIs.")
    support: tuple[str, ...] = option((), "Where to get help.")


class ServiceDiscovery(Plugin[Config]):
    xeps = (
        Xep(30, "2.5.0", "who may not see an account gets the answer for an absent one"),
        Xep(128, "1.0.1"),
        Xep(157, "1.1.1"),
    )
    features = (INFO_NS, ITEMS_NS)
    account_features = (INFO_NS, ITEMS_NS)
    provides = (DISCO,)
    serves = ANY_HOST

    @iq("get", INFO_NS, "query", To.HOST, To.ACCOUNT)
    async def answer_info(self, request: Request) -> Element | Written:
        ask = self._ask(request)
        try:
            return await self.info(ask)
        except ItemNotFound:
            delegation = self.host.find(DELEGATION)
            if delegation is None or ask.account is None or not delegation.hand_on_rest(request.stanza, ask.account):
                raise
            return LATER

    @iq("get", ITEMS_NS, "query", To.ABSENT)
    async def answer_no_items(self, request: Request) -> Element:
        """Section 8: nothing, of an account that does not exist or may not be seen."""
        node = request.payload.get("node")
        return E("query", ITEMS_NS, {"node": str(node)} if node else {})

    @iq("get", ITEMS_NS, "query", To.HOST, To.ACCOUNT)
    async def answer_items(self, request: Request) -> Element:
        if request.owner is not None and not self._admits(request):
            return await self.answer_no_items(request)
        ask = self._ask(request)
        items = await self.host.collect(DISCO_ITEMS, ask)
        if ask.node and not items and not await self.host.collect(DISCO_IDENTITIES, ask):
            raise ItemNotFound()
        return E("query", ITEMS_NS, {"node": ask.node} if ask.node else {}, *map(_item, items))

    async def info(self, ask: DiscoAsk) -> Element:
        """Section 3.1. Sorted, so that the same things always make the same answer."""
        shown = ask
        for node in await self.host.collect(DISCO_ALIASES, ask) if ask.node else ():
            shown = DiscoAsk(self.host.jid, ask.account, node)  # what the hash was made of is the same for everybody
        identities = await self.host.collect(DISCO_IDENTITIES, shown)
        features = set(await self.host.collect(DISCO_FEATURES, shown))
        if shown.node and not identities and not features:
            raise ItemNotFound()
        if not shown.node:
            for plugin in self.host.plugins.values():
                features.update(plugin.features if ask.account is None else plugin.account_features)
        else:
            features.add(INFO_NS)  # section 3.1: at least that
        forms = await self.host.collect(DISCO_FORMS, shown)
        for each in await self.host.collect(DISCO_REPLACEMENTS, shown) if not shown.node else ():
            categories = {identity.category for identity in each.identities}
            identities = [mine for mine in identities if mine.category not in categories] + list(each.identities)
            features = {mine for mine in features if not _belongs(mine, each.ns)} | set(each.features)
            forms = [mine for mine in forms if not _belongs(_type_of(mine), each.ns)] + list(each.forms)
        query = E("query", INFO_NS, {"node": ask.node} if ask.node else {})
        for identity in sorted(set(identities), key=lambda each: (each.category, each.type, each.name)):
            query.append(_identity(identity))
        for feature in sorted(features):
            query.append(E("feature", INFO_NS, {"var": feature}))
        for form in forms:
            query.append(deepcopy(form))
        return query

    def _ask(self, request: Request) -> DiscoAsk:
        """Raises ServiceUnavailable for who may not see the account: as for one that does not exist (section 8)."""
        node = str(request.payload.get("node", ""))
        if request.owner is not None and not self._admits(request):
            raise ServiceUnavailable()
        return DiscoAsk(request.sender, request.owner, node)

    def _admits(self, request: Request) -> bool:
        """Whether the asker may see the account that it asks about."""
        if request.is_own:
            return True
        roster = self.host.find(ROSTER)
        item = roster.item(request.account.bare, request.sender.bare) if roster is not None else None
        return item is not None and item.sees_us

    # ---- what the server itself has to tell

    @on(DISCO_IDENTITIES)
    def own_identity(self, ask: DiscoAsk) -> Iterable[Identity]:
        if not ask.node and ask.account is not None:
            yield Identity("account", "registered")
        elif not ask.node and self.host.has_accounts:
            yield Identity("server", "im", self.config.name)

    @on(DISCO_ITEMS)
    def services(self, ask: DiscoAsk) -> Iterable[Item]:
        """The service hosts and components below this domain, and those below no domain with accounts."""
        if ask.node or ask.account is not None or not self.host.has_accounts:
            return
        hosts = list(self.host.router.routes.hosts())
        homes = [host.domain for host in hosts if host.has_accounts]
        services = [host.domain for host in hosts if not host.has_accounts]
        for domain in (*services, *self.host.server.components.listed()):
            above = [home for home in homes if domain.endswith(f".{home}")]
            if not above or max(above, key=len) == self.host.domain:
                yield Item(domain)

    @on(RESERVED_ADDRESSES)
    def reserved(self, domain: JID) -> Iterable[JID]:
        """Nobody may register an address that users are told to contact."""
        for kind in CONTACTS:
            for address in getattr(self.config, kind):
                with suppress(MalformedJid):
                    if address.startswith("xmpp:"):
                        yield JID.parse(unquote(address[5:].partition("?")[0])).to_bare()

    @on(DISCO_FORMS)
    def contact_addresses(self, ask: DiscoAsk) -> Iterable[Element]:
        """XEP-0157 section 2."""
        if ask.node or ask.account is not None:
            return
        fields = [_field(f"{kind}-addresses", getattr(self.config, kind)) for kind in CONTACTS]
        if any(len(each) for each in fields):
            hidden = _field("FORM_TYPE", (SERVER_INFO,), {"type": "hidden"})
            yield E("x", DATA_NS, {"type": "result"}, hidden, *(each for each in fields if len(each)))


def _belongs(feature: str, ns: str) -> bool:
    """It is of that namespace, or a part of it."""
    return feature == ns or feature.startswith(f"{ns}#")


def _type_of(form: Element) -> str:
    """The FORM_TYPE of a form (XEP-0068)."""
    for field in children(form, DATA_NS, "field"):
        if field.get("var") == "FORM_TYPE":
            return text_of(find(field, DATA_NS, "value"))
    return ""


def _identity(identity: Identity) -> Element:
    attributes = {"category": identity.category, "type": identity.type}
    if identity.name:
        attributes["name"] = identity.name
    return E("identity", INFO_NS, attributes)


def _item(item: Item) -> Element:
    attributes = {"jid": item.jid}
    if item.name:
        attributes["name"] = item.name
    if item.node:
        attributes["node"] = item.node
    return E("item", ITEMS_NS, attributes)


def _field(var: str, values: Iterable[str], more: dict[str, str] | None = None) -> Element:
    attributes = {"var": var, **(more or {"type": "list-multi"})}
    return E("field", DATA_NS, attributes, *(E("value", DATA_NS, {}, value) for value in values))
