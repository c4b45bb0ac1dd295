"""What service discovery tells of nodes (XEP-0060 sections 5.1 to 5.5 and 10, XEP-0163 section 6)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from xmppd.contracts.disco import DiscoAsk, Identity, Item
from xmppd.plugin import JID, Element
from xmppd.xep.elements import stamp
from xmppd.xep.forms import Field, form

from .model import META, NS, Node
from .service import Service

FEATURES: Final = tuple(
    f"{NS}#{name}"
    for name in (
        "access-open", "access-authorize", "access-whitelist", "auto-create", "config-node", "config-node-max",
        "create-and-configure", "create-nodes", "delete-items", "delete-nodes", "instant-nodes",
        "item-ids", "manage-subscriptions", "member-affiliation", "meta-data",
        "modify-affiliations", "multi-items", "outcast-affiliation", "owner", "persistent-items", "publish",
        "publish-only-affiliation", "publish-options", "publisher-affiliation", "purge-nodes", "retract-items",
        "retrieve-affiliations", "retrieve-default", "retrieve-items", "retrieve-subscriptions", "rsm", "subscribe",
        "subscription-notifications",
    )
)  # fmt: skip
PERSONAL: Final = tuple(f"{NS}#{name}" for name in ("access-presence", "access-roster", "auto-subscribe",
                                                    "filtered-notifications", "last-published"))  # fmt: skip


def _visible(service: Service, owner: str, node: Node, jid: JID) -> bool:
    return service.notifier.may_read(owner, node, service.settings(node), jid)


def _node(service: Service, ask: DiscoAsk) -> Node | None:
    """The node that is asked for, if the requester may see it."""
    owner = _owner(service, ask)
    node = service.nodes.get(owner).get(ask.node) if owner and ask.node else None
    return node if node is not None and _visible(service, owner, node, ask.requester) else None


def _owner(service: Service, ask: DiscoAsk) -> str:
    if service.personal:
        return ask.account.bare if ask.account is not None else ""
    return service.host.domain


def features(service: Service, ask: DiscoAsk) -> Iterable[str]:
    if ask.node:
        return (NS,) if _node(service, ask) is not None else ()
    if not _owner(service, ask):
        return ()
    return (NS, *FEATURES, *(PERSONAL if service.personal else ()))


def identities(service: Service, ask: DiscoAsk) -> Iterable[Identity]:
    if ask.node:
        node = _node(service, ask)
        if node is not None:
            yield Identity("pubsub", "leaf", service.settings(node).text("title"))
    elif service.personal and ask.account is not None:
        yield Identity("pubsub", "pep")
    elif not service.personal:
        yield Identity("pubsub", "service")


def nodes(service: Service, ask: DiscoAsk) -> Iterable[Item]:
    owner = _owner(service, ask)
    if ask.node or not owner:
        return
    for name, node in sorted(service.nodes.get(owner).items()):
        if _visible(service, owner, node, ask.requester):
            yield Item(owner, service.settings(node).text("title"), name)


def _owners(account: str, node: Node) -> tuple[str, ...]:
    """`account`: whose nodes they are, "" for a service's."""
    found = {account} if account else set()
    return tuple(sorted(found | {jid for jid, text in node.affiliations.items() if text == "owner"}))


async def forms(service: Service, ask: DiscoAsk) -> Iterable[Element]:
    """The meta-data of a node (section 5.4)."""
    node = _node(service, ask)
    if node is None:
        return ()
    settings = service.settings(node)
    owner = _owner(service, ask)
    count = await service.store.count(owner, ask.node, settings)
    fields = (
        Field("pubsub#title", "text-single", "", settings.values["title"]),
        Field("pubsub#description", "text-single", "", settings.values["description"]),
        Field("pubsub#type", "text-single", "", settings.values["type"]),
        Field("pubsub#creator", "jid-single", "", (node.creator,)),
        Field("pubsub#creation_date", "text-single", "", (stamp(int(node.created * 1_000_000)),)),
        Field("pubsub#owner", "jid-multi", "", _owners(owner if service.personal else "", node)),
        Field("pubsub#publish_model", "list-single", "", settings.values["publish_model"]),
        Field("pubsub#max_items", "text-single", "", settings.values["max_items"]),
        Field("pubsub#num_subscribers", "text-single", "", (str(len(node.subscriptions)),)),
        Field("pubsub#num_items", "text-single", "", (str(count),)),
        Field("pubsub#access_model", "list-single", "", settings.values["access_model"]),
    )
    return (form("result", META, fields),)
