"""What the owner of a node does: create, configure, delete, purge, affiliations, subscriptions (XEP-0060 section 8)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from secrets import token_urlsafe

from xmppd.contracts.pubsub import NODE_CHANGED, Change, NodeChanged
from xmppd.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    JidMalformed,
    MalformedJid,
    NotAcceptable,
    ResourceConstraint,
    ServiceUnavailable,
)
from xmppd.plugin import JID, E, Element, Request
from xmppd.xep.forms import read_form
from xmppd.xml import children, find, to_bytes

from .access import affiliation, keeps_items
from .model import (
    AFFILIATIONS,
    CONFIG,
    ERRORS_NS,
    EVENT_NS,
    NS,
    OWNER_NS,
    Affiliation,
    Node,
    Settings,
    Subscription,
    initial,
    read_options,
)
from .service import Ask, Service

NAME_LENGTH = 1024


# ---- making


def may_create(service: Service, jid: JID) -> bool:
    """On a service host."""
    if service.config.create == "anyone" or jid.bare in service.host.admins:
        return True
    return service.config.create == "local" and service.host.router.routes.serves_accounts(jid.domain)


def new_node(service: Service, owner: str, name: str, creator: JID, options: dict[str, tuple[str, ...]]) -> Node:
    """Raises ResourceConstraint, NotAcceptable."""
    if len(name) > NAME_LENGTH:
        raise NotAcceptable("the name is too long")
    most = service.config.nodes if service.personal else service.config.nodes_in_all
    if len(service.nodes.get(owner)) >= most:
        raise ResourceConstraint("too many nodes", (ERRORS_NS, "max-nodes-exceeded"))
    affiliations = {} if service.personal else {creator.bare: "owner"}
    options = {**initial(name, service.personal), **options}
    return Node(service.host.clock.now(), creator.bare, options, affiliations)


async def create(service: Service, ask: Ask) -> Element | None:
    """Section 8.1."""
    if service.personal and ask.sender.bare != ask.owner:
        raise ServiceUnavailable() if ask.stranger else Forbidden()
    if not service.personal and not may_create(service, ask.sender):
        raise Forbidden()
    name = ask.name or token_urlsafe(18)  # an instant node (section 8.1.2)
    if name in service.nodes.get(ask.owner):
        raise Conflict("there is such a node")
    options: dict[str, tuple[str, ...]] = {}
    configure = find(ask.request.payload, NS, "configure")
    submitted = read_form(configure) if configure is not None else None
    if submitted is not None and submitted.type == "submit":
        options = read_options(submitted, service.personal)
    node = new_node(service, ask.owner, name, ask.sender, options)
    await service.host.storage.commit([service.nodes.put(ask.owner, name, node)])
    return None if ask.name else E("pubsub", NS, {}, E("create", NS, {"node": name}))


def _owned(service: Service, ask: Ask) -> Node:
    """Raises Forbidden for who is no owner."""
    node = service.node(ask)
    if service.asker(ask, node).affiliation is not Affiliation.OWNER:
        raise ServiceUnavailable() if ask.stranger else Forbidden()
    return node


# ---- configuration (sections 8.2 and 8.3)


async def configuration(service: Service, ask: Ask) -> Element:
    node = _owned(service, ask)
    shown = service.settings(node).shown("form")
    return E("pubsub", OWNER_NS, {}, E("configure", OWNER_NS, {"node": ask.name}, shown))


async def defaults(service: Service, ask: Ask) -> Element:
    if ask.stranger:
        raise ServiceUnavailable()
    submitted = read_form(ask.verb)
    if submitted is not None:
        read_options(submitted, service.personal)  # those of a collection are none that we have (XEP-0248 section 5.2)
    return E("pubsub", OWNER_NS, {}, E("default", OWNER_NS, {}, Settings({}, service.personal).shown("form")))


async def configure(service: Service, ask: Ask) -> None:
    node = _owned(service, ask)
    submitted = read_form(ask.verb)
    if submitted is None:
        raise BadRequest("where is the form?")
    if submitted.type == "cancel":
        return
    if submitted.form_type not in ("", CONFIG):
        raise BadRequest("not a form of a node")
    changed = replace(node, options={**node.options, **read_options(submitted, service.personal)})
    settings = service.settings(changed)
    writes = [service.nodes.put(ask.owner, ask.name, changed)]
    most = max(1, settings.number("max_items", service.config.items)) if settings.flag("persist_items") else 0
    surplus = await service.store.surplus(ask.owner, ask.name, most)
    await service.store.change(ask.owner, ask.name, surplus, writes=writes)
    if settings.flag("notify_config"):
        inside = settings.shown("result") if settings.flag("deliver_payloads") else None
        said = E("configuration", EVENT_NS, {"node": ask.name}, inside)
        service.notifier.notify(ask.owner, ask.name, changed, to_bytes(said), ask.request)


# ---- deleting (sections 8.4 and 8.5)


async def delete(service: Service, ask: Ask) -> None:
    node = _owned(service, ask)
    redirect = find(ask.verb, OWNER_NS, "redirect")
    uri = str(redirect.get("uri", "")) if redirect is not None else ""
    await delete_node(service, ask.owner, ask.name, node, ask.sender, ask.request, uri)


async def delete_node(
    service: Service, owner: str, name: str, node: Node, by: JID, request: Request | None, uri: str = ""
) -> None:
    """The caller holds the owner's lock."""
    removed = await service.store.all_entries(owner, name)
    await service.store.change(owner, name, removed, writes=[service.nodes.delete(owner, name)])
    session = request.session if request is not None else None
    service.host.tell(NODE_CHANGED, NodeChanged(owner, name, Change.DELETE, (), by, session))
    if service.settings(node).flag("notify_delete"):
        redirect = E("redirect", EVENT_NS, {"uri": uri}) if uri else None
        service.notifier.notify(owner, name, node, to_bytes(E("delete", EVENT_NS, {"node": name}, redirect)), request)


async def purge(service: Service, ask: Ask) -> None:
    node = _owned(service, ask)
    keeps_items(service.settings(node))
    removed = await service.store.all_entries(ask.owner, ask.name)
    await service.store.change(ask.owner, ask.name, removed)
    session = ask.request.session
    service.host.tell(NODE_CHANGED, NodeChanged(ask.owner, ask.name, Change.PURGE, (), ask.sender, session))
    if service.settings(node).flag("notify_retract"):
        said = to_bytes(E("purge", EVENT_NS, {"node": ask.name}))
        service.notifier.notify(ask.owner, ask.name, node, said, ask.request)


# ---- affiliations (section 8.9)


async def affiliations(service: Service, ask: Ask) -> Element:
    node = _owned(service, ask)
    found = dict(node.affiliations)
    if service.personal:
        found[ask.owner] = "owner"
    entries = [E("affiliation", OWNER_NS, {"jid": jid, "affiliation": text}) for jid, text in sorted(found.items())]
    return E("pubsub", OWNER_NS, {}, E("affiliations", OWNER_NS, {"node": ask.name}, *entries))


async def set_affiliations(service: Service, ask: Ask) -> None:
    node = _owned(service, ask)
    found, named = dict(node.affiliations), set[str]()
    for each in children(ask.verb, OWNER_NS, "affiliation"):
        bare, text = _jid(each).bare, each.get("affiliation")
        if bare in named:
            raise BadRequest("the same address twice")
        named.add(bare)
        if text is None:
            continue  # section 8.9.2.1: it stays
        wanted = AFFILIATIONS.get(str(text))
        if wanted is None:
            raise BadRequest("no such affiliation")
        if service.personal and bare == ask.owner and wanted is not Affiliation.OWNER:
            raise NotAcceptable("a node needs an owner")
        if wanted is Affiliation.NONE:
            found.pop(bare, None)
        else:
            found[bare] = wanted.text
    if len(found) > service.config.subscriptions:
        raise ResourceConstraint("too many affiliations")
    if not service.personal and "owner" not in found.values():
        raise NotAcceptable("a node needs an owner")
    changed = replace(node, affiliations=found)
    out = {jid for jid in node.subscriptions if found.get(jid.partition("/")[0]) == "outcast"}
    changed = replace(changed, subscriptions={k: v for k, v in node.subscriptions.items() if k not in out})
    await service.host.storage.commit([service.nodes.put(ask.owner, ask.name, changed)])
    for jid in out:
        ask.request.then(partial(service.notifier.subscription, ask.owner, ask.name, JID.parse(jid), "none"))


# ---- subscriptions (section 8.8)


async def subscriptions(service: Service, ask: Ask) -> Element:
    node = _owned(service, ask)
    entries = [
        E("subscription", OWNER_NS, {"jid": jid, "subscription": each.state, **({"subid": each.id} if each.id else {})})
        for jid, each in sorted(node.subscriptions.items())
    ]
    return E("pubsub", OWNER_NS, {}, E("subscriptions", OWNER_NS, {"node": ask.name}, *entries))


async def set_subscriptions(service: Service, ask: Ask) -> None:
    node = _owned(service, ask)
    found, changed = dict(node.subscriptions), dict[JID, str]()
    for each in children(ask.verb, OWNER_NS, "subscription"):
        state, jid = str(each.get("subscription", "")), _jid(each)
        known = node.subscriptions.get(jid.full)
        if each.get("subscription") is None or state == (known.state if known is not None else "none"):
            continue  # section 8.8.2.1: it stays
        changed[jid] = state
        if state not in ("none", "subscribed", "pending"):
            raise BadRequest("no such state")
        if state == "none":
            found.pop(jid.full, None)
        else:
            if affiliation(node, jid, False) is Affiliation.OUTCAST:
                raise NotAcceptable("an outcast")
            found[jid.full] = Subscription(state, known.id if known is not None else token_urlsafe(9))
    if len(found) > service.config.subscriptions:
        raise ResourceConstraint("too many subscriptions")
    await service.host.storage.commit([service.nodes.put(ask.owner, ask.name, replace(node, subscriptions=found))])
    for jid, state in changed.items():
        ask.request.then(partial(service.notifier.subscription, ask.owner, ask.name, jid, state))


# ---- accounts that are removed


def names_any(node: Node, names: frozenset[str]) -> bool:
    """Whether the node gives one of these bare JIDs anything. Who is shut out stays so: that is the owner's."""
    return (
        node.creator in names
        or any(jid in names and text != "outcast" for jid, text in node.affiliations.items())
        or any(jid.partition("/")[0] in names for jid in node.subscriptions)
    )


def without(node: Node, names: frozenset[str]) -> Node:
    affiliations = {jid: text for jid, text in node.affiliations.items() if jid not in names or text == "outcast"}
    subscribed = {jid: each for jid, each in node.subscriptions.items() if jid.partition("/")[0] not in names}
    creator = "" if node.creator in names else node.creator
    return replace(node, affiliations=affiliations, subscriptions=subscribed, creator=creator)


def _jid(element: Element) -> JID:
    try:
        return JID.parse(str(element.get("jid", "")))
    except MalformedJid:
        raise JidMalformed() from None
