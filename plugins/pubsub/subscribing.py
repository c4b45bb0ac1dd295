"""What subscribers do (XEP-0060 sections 5.6, 5.7, 6.1 and 6.2), and what owners answer them (section 8.6)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from secrets import token_urlsafe

from xmppd.errors import (
    BadRequest,
    FeatureNotImplemented,
    Forbidden,
    JidMalformed,
    MalformedJid,
    NotAcceptable,
    NotAuthorized,
    ResourceConstraint,
    ServiceUnavailable,
    StanzaError,
    UnexpectedRequest,
)
from xmppd.plugin import JID, E, Element, Stanza
from xmppd.stanza import message
from xmppd.xep.forms import Field, form, read_form

from .access import Reading, affiliation, reading, refusal
from .model import AUTHORIZE, ERRORS_NS, NS, Affiliation, Node, Subscription
from .service import Ask, Service


async def subscribe(service: Service, ask: Ask) -> Element:
    node = service.node(ask)
    jid = _whose(ask)
    settings, who = service.settings(node), service.asker(ask, node)
    found = reading(node, settings, who, lambda bare: service.contact(ask.owner, bare))
    if found not in (Reading.YES, Reading.PENDING):
        raise ServiceUnavailable() if ask.stranger else refusal(found)
    known = node.subscriptions.get(jid.full)
    if known is not None and known.state == "pending" and found is Reading.PENDING:
        raise NotAuthorized("the owner has not answered yet", (ERRORS_NS, "pending-subscription"))
    state = "subscribed" if found is Reading.YES else "pending"
    if known is None and len(node.subscriptions) >= service.config.subscriptions:
        raise ResourceConstraint("too many subscriptions")
    made = known if known is not None and known.state == state else Subscription(state, token_urlsafe(9))
    if made is not known:
        changed = replace(node, subscriptions={**node.subscriptions, jid.full: made})
        await service.host.storage.commit([service.nodes.put(ask.owner, ask.name, changed)])
        if state == "pending":
            ask.request.then(partial(_ask_owners, service, ask.owner, ask.name, node, jid, made.id))
        elif settings.text("send_last_published_item") != "never":
            last = partial(service.notifier.last, ask.owner, ask.name, changed, (jid,))
            ask.request.then(lambda: service.spawn(last(), "last item"))
    return E("pubsub", NS, {}, _subscription(ask.name, jid.full, made))


def _subscription(name: str, jid: str, found: Subscription) -> Element:
    attributes = {"node": name, "jid": jid, "subscription": found.state}
    if found.id:
        attributes["subid"] = found.id
    return E("subscription", NS, attributes)


def _whose(ask: Ask) -> JID:
    """The address to subscribe: one of the sender's own (section 6.1.3.1)."""
    try:
        jid = JID.parse(str(ask.verb.get("jid", "")))
    except MalformedJid:
        raise JidMalformed() from None
    if jid.bare != ask.sender.bare or (jid.resource and jid != ask.sender):
        raise BadRequest("it is not your address", (ERRORS_NS, "invalid-jid"))
    return jid


async def unsubscribe(service: Service, ask: Ask) -> None:
    node = service.node(ask)
    try:
        jid = JID.parse(str(ask.verb.get("jid", "")))
    except MalformedJid:
        raise JidMalformed() from None
    if jid.bare != ask.sender.bare:
        raise ServiceUnavailable() if ask.stranger else Forbidden()
    found = node.subscriptions.get(jid.full)
    if found is None:
        raise UnexpectedRequest("you are not subscribed", (ERRORS_NS, "not-subscribed"), type="cancel")
    subid = str(ask.verb.get("subid", ""))
    if subid and subid != found.id:
        raise NotAcceptable("another subscription", (ERRORS_NS, "invalid-subid"))
    rest = {key: value for key, value in node.subscriptions.items() if key != jid.full}
    await service.host.storage.commit([service.nodes.put(ask.owner, ask.name, replace(node, subscriptions=rest))])


async def no_options(service: Service, ask: Ask) -> Element:
    raise FeatureNotImplemented(extra=(ERRORS_NS, "unsupported", {"feature": "subscription-options"}))


async def own_subscriptions(service: Service, ask: Ask) -> Element:
    """Section 5.6."""
    if ask.name:
        service.node(ask)
    entries = [
        _subscription(name, jid, found)
        for name, node in sorted(service.nodes.get(ask.owner).items())
        for jid, found in sorted(node.subscriptions.items())
        if jid.partition("/")[0] == ask.sender.bare and ask.name in ("", name)
    ]
    if ask.stranger and not entries:
        raise ServiceUnavailable()
    return E("pubsub", NS, {}, E("subscriptions", NS, {"node": ask.name} if ask.name else {}, *entries))


async def own_affiliations(service: Service, ask: Ask) -> Element:
    """Section 5.7."""
    entries = []
    for name, node in sorted(service.nodes.get(ask.owner).items()):
        found = service.asker(ask, node).affiliation
        if found is not Affiliation.NONE and ask.name in ("", name):
            entries.append(E("affiliation", NS, {"node": name, "affiliation": found.text}))
    if ask.stranger and not entries:
        raise ServiceUnavailable()
    return E("pubsub", NS, {}, E("affiliations", NS, {"node": ask.name} if ask.name else {}, *entries))


# ---- approval (section 8.6)


@dataclass(frozen=True, slots=True)
class Decision:
    node: str
    subscriber: JID
    allow: bool
    subid: str
    """Of the request, "" if the answer does not say."""


def _ask_owners(service: Service, owner: str, name: str, node: Node, jid: JID, subid: str) -> None:
    fields = (
        Field("pubsub#subid", "hidden", values=(subid,)),
        Field("pubsub#node", "text-single", "Node", (name,)),
        Field("pubsub#subscriber_jid", "jid-single", "Who wants to subscribe", (jid.full,)),
        Field("pubsub#allow", "boolean", "Allow it?", ("false",)),
    )
    asked = form("form", AUTHORIZE, fields, "A request for a subscription")
    owners = [owner] if service.personal else [bare for bare, text in node.affiliations.items() if text == "owner"]
    for bare in owners:
        service.host.deliver(message("normal", asked, to=JID.parse(bare), sender=JID.parse(owner)))


def decision(stanza: Stanza) -> Decision | None:
    """What an owner has decided; None for any other form."""
    try:
        submitted = read_form(stanza.xml)
        if submitted is None or submitted.form_type != AUTHORIZE or submitted.type != "submit":
            return None
        jid = submitted.jid("pubsub#subscriber_jid")
        if jid is None:
            return None
        node, subid = submitted.text("pubsub#node") or "", submitted.text("pubsub#subid") or ""
        return Decision(node, jid, bool(submitted.boolean("pubsub#allow")), subid)
    except StanzaError:
        return None


def may_decide(service: Service, owner: str, by: JID, found: Decision) -> bool:
    """Whether somebody owns the node in question. The records of `owner` are in memory."""
    node = service.nodes.get(owner).get(found.node)
    return node is not None and affiliation(node, by, service.is_master(owner, by)) is Affiliation.OWNER


async def decide(service: Service, owner: str, by: JID, found: Decision) -> None:
    """Approve or reject. Who is no owner, or decides on what nobody asked for, changes nothing.

    Raises StorageUnavailable.
    """
    if not await service.opened(JID.parse(owner)):
        return
    async with service.host.locks.hold(owner):
        node = service.nodes.get(owner).get(found.node)
        if node is None or not may_decide(service, owner, by, found):
            return
        known = node.subscriptions.get(found.subscriber.full)
        if known is None or known.state != "pending" or found.subid not in ("", known.id):
            return
        rest = {key: value for key, value in node.subscriptions.items() if key != found.subscriber.full}
        if found.allow:
            rest[found.subscriber.full] = Subscription("subscribed", known.id)
        changed = replace(node, subscriptions=rest)
        await service.host.storage.commit([service.nodes.put(owner, found.node, changed)])
    service.notifier.subscription(owner, found.node, found.subscriber, "subscribed" if found.allow else "none")
    if found.allow and service.settings(changed).text("send_last_published_item") != "never":
        await service.notifier.last(owner, found.node, changed, (found.subscriber,))
