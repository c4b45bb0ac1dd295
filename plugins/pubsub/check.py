"""What must hold of nodes and their items (`xmppd store check`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from xmppd.contracts.store_check import StoreCheck, in_log, in_map
from xmppd.errors import MalformedJid
from xmppd.jid import JID
from xmppd.storage.api import Entry
from xmppd.xml import parse

from .items import LOG, published
from .model import AFFILIATIONS, MAX, OPTION_TABLE, Node, Settings
from .nodes import Nodes

STATES: Final = ("subscribed", "pending")
SEEN: Final = 100_000
"""So many items of one owner are looked at for doubles."""


async def check_nodes(nodes: Nodes, owner: str, store: StoreCheck) -> None:
    """Of one owner. Raises StorageUnavailable."""
    found = await nodes.nodes.read_all(owner)
    for name, node in found.items():
        for what in node_problems(node, nodes.personal):
            store.problem(owner, in_map(nodes.nodes.name, name), what)
    seen: set[tuple[str, str]] = set()
    async for entry in store.entries(nodes.store.log, owner):
        where = in_log(LOG, entry.id)
        for what in entry_problems(entry, found):
            store.problem(owner, where, what)
        item = entry.peer, entry.resource
        if item in seen:
            store.problem(owner, where, f"there is another item {entry.resource!r} of the node {entry.peer!r}")
        elif len(seen) < SEEN:
            seen.add(item)
        if store.is_future(entry.id):
            store.problem(owner, where, "it is from the future")


def node_problems(node: Node, personal: bool) -> Iterator[str]:
    settings = Settings(node.options, personal)
    for name, about in OPTION_TABLE.items():
        text = settings.text(name)
        if about.kind == "number" and text != MAX and not text.isdecimal():
            yield f"its option {name} is no number: {text!r}"
        if about.kind == "list" and text not in settings.choices(name):
            yield f"its option {name} is none of its choices: {text!r}"
    for jid, affiliation in node.affiliations.items():
        if affiliation not in AFFILIATIONS:
            yield f"{jid} has an affiliation that is none: {affiliation!r}"
    for jid, subscription in node.subscriptions.items():
        if subscription.state not in STATES:
            yield f"{jid} has a subscription that is none: {subscription.state!r}"
    for jid in {*node.affiliations, *node.subscriptions}:
        try:
            JID.parse(jid)
        except MalformedJid:
            yield f"{jid!r} is no address"


def entry_problems(entry: Entry, nodes: Mapping[str, Node]) -> Iterator[str]:
    if entry.peer not in nodes:
        yield f"it is an item of a node that is not there, {entry.peer!r}"
    try:
        payload = published(entry).payload
        if payload:
            parse(payload)
    except (ValueError, MalformedJid) as error:
        yield f"it is no item: {error}"
