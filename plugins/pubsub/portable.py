"""Nodes that move: their configuration in <pubsub/> of #owner, their items in <pubsub/> (XEP-0227, "Personal Eventing
Protocol"); those of a service host the same way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from secrets import token_urlsafe
from typing import Final

from xmppd.contracts.moving import PIECE, Intake, OwnerKind, Portable
from xmppd.errors import MalformedJid, StanzaError
from xmppd.plugin import JID, E, Element
from xmppd.storage.api import Entry, Range, Write
from xmppd.xep.forms import NS as DATA_NS
from xmppd.xep.forms import Field, Submitted, form, read_form
from xmppd.xml import alone, children, find, name_of, parse, to_bytes

from .items import published
from .model import AFFILIATIONS, CONFIG, NS, OWNER_NS, Node, Settings, Subscription, initial, read_options
from .owning import NAME_LENGTH
from .publishing import ID_LENGTH
from .service import Service

LAST_ITEM: Final = "pubsub#send_last_published_item"
STATES: Final = ("subscribed", "pending")
Nodes = dict[str, Node]


class PortableNodes:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._nodes = service.nodes
        self._log = service.store.log

    def parts(self) -> Iterable[Portable]:
        kind = OwnerKind.ACCOUNT if self._service.personal else OwnerKind.HOST
        yield Portable(kind, (f"{OWNER_NS}|pubsub",), self._give, self._take)
        yield Portable(kind, (f"{NS}|pubsub",), self._give_items, self._take_items)

    # ---- out

    async def _give(self, owner: JID) -> AsyncIterator[Element]:
        for name, node in sorted((await self._nodes.read_all(owner.bare)).items()):
            made = E("pubsub", OWNER_NS, {}, E("configure", OWNER_NS, {"node": name}, self._form(node)))
            if node.affiliations:
                each = (
                    E("affiliation", OWNER_NS, {"jid": jid, "affiliation": word})
                    for jid, word in sorted(node.affiliations.items())
                )
                made.append(E("affiliations", OWNER_NS, {"node": name}, *each))
            if node.subscriptions:
                each = (
                    E("subscription", OWNER_NS, {"jid": jid, "subscription": found.state, "subid": found.id})
                    for jid, found in sorted(node.subscriptions.items())
                )
                made.append(E("subscriptions", OWNER_NS, {"node": name}, *each))
            yield made

    def _form(self, node: Node) -> Element:
        """All values: another server has other defaults."""
        values = self._service.settings(node).values
        return form("form", CONFIG, (Field(f"pubsub#{name}", values=found) for name, found in values.items() if found))

    async def _give_items(self, owner: JID) -> AsyncIterator[Element]:
        for name in sorted(await self._nodes.read_all(owner.bare)):
            after = 0
            while True:
                page = await self._log.page(owner.bare, Range(peer=name, after=after), PIECE)
                if page or not after:
                    items = E("items", NS, {"node": name}, *(self._item(owner, entry) for entry in page))
                    yield E("pubsub", NS, {}, items)
                if len(page) < PIECE:
                    break
                after = page[-1].id

    def _item(self, owner: JID, entry: Entry) -> Element:
        found = published(entry)
        attributes = {"id": found.id}
        if found.publisher.bare != owner.bare:
            attributes["publisher"] = found.publisher.bare
        return E("item", NS, attributes, alone(parse(found.payload)) if found.payload else None)

    # ---- in

    async def _take(self, owner: JID, pubsub: Element, intake: Intake) -> Sequence[Write]:
        known = await self._nodes.read_all(owner.bare)
        changed: Nodes = {}
        new: set[str] = set()
        for verb in children(pubsub, OWNER_NS):
            name, what = str(verb.get("node", "")), name_of(verb)[1]
            node = changed.get(name) or known.get(name)
            if what == "configure" and (node is None or intake.replace):
                options = self._options(name, verb, intake)
                if node is None and not self._may_be_made(name, len(known) + len(new), intake):
                    continue
                new |= {name} if node is None else set()
                node = replace(node or self._new(owner, name, intake), options=options)
                changed[name] = node
                intake.took("nodes")
            elif what == "configure":
                intake.kept("nodes")
            elif node is not None and (name in new or intake.replace):
                changed[name] = self._with_people(owner, node, verb, intake)
        return [self._nodes.put(owner.bare, name, node) for name, node in changed.items()]

    def _may_be_made(self, name: str, count: int, intake: Intake) -> bool:
        config = self._service.config
        if not name or len(name) > NAME_LENGTH:
            intake.lost("a node whose name is empty or too long")
        elif count >= (config.nodes if self._service.personal else config.nodes_in_all):
            intake.lost(f"the node {name}: there are too many (pubsub.nodes)")
        else:
            return True
        return False

    def _new(self, owner: JID, name: str, intake: Intake) -> Node:
        return Node(intake.now / 1_000_000, owner.bare, initial(name, self._service.personal))

    def _options(self, name: str, verb: Element, intake: Intake) -> dict[str, tuple[str, ...]]:
        """What differs from the defaults. A field that cannot be is passed over, but not who may read: if that is no
        word that is known here, nobody may."""
        found = find(verb, DATA_NS, "x")
        if found is None:
            return dict(initial(name, self._service.personal))
        filled = alone(found)
        filled.set("type", "submit")
        submitted = read_form(E("x", DATA_NS, {}, filled)) or Submitted("submit")
        options: dict[str, tuple[str, ...]] = {}
        for var, values in submitted.values.items():
            if var == LAST_ITEM and values == ("on_sub_and_presence",) and not self._service.personal:
                intake.note("nodes send their last item to who subscribes, and no longer to all who come online")
                values = ("on_sub",)
            try:
                options.update(read_options(Submitted("submit", CONFIG, {var: values}), self._service.personal))
            except StanzaError as error:
                intake.lost(f"the setting {var} of a node: {error.text or error.condition}")
                if var == "pubsub#access_model":
                    options["access_model"] = ("whitelist",)
        defaults = Settings({}, self._service.personal).values
        return {name: values for name, values in options.items() if defaults[name] != values}

    def _with_people(self, owner: JID, node: Node, verb: Element, intake: Intake) -> Node:
        affiliations, subscriptions = dict(node.affiliations), dict(node.subscriptions)
        most = self._service.config.subscriptions
        for each in verb:
            try:
                jid = JID.parse(str(each.get("jid", "")))
            except MalformedJid:
                intake.lost("somebody at a node who has no address")
                continue
            word = str(each.get("affiliation", ""))
            state = str(each.get("subscription") or each.get("subscribed") or "")  # the latter is Prosody's
            if len(affiliations) + len(subscriptions) >= 2 * most:
                intake.lost("some of the people at a node: there are too many (pubsub.subscriptions)")
                break
            if word in AFFILIATIONS and word != "none":
                if not (self._service.personal and jid.bare == owner.bare):
                    affiliations[jid.bare] = word
            elif state in STATES:
                subscriptions[jid.full] = Subscription(state, str(each.get("subid") or token_urlsafe(8))[:ID_LENGTH])
        return replace(node, affiliations=affiliations, subscriptions=subscriptions)

    async def _take_items(self, owner: JID, pubsub: Element, intake: Intake) -> Sequence[Write]:
        writes: list[Write] = []
        for items in children(pubsub, NS, "items"):
            found = [(str(each.get("id") or token_urlsafe(12)), each) for each in children(items, NS, "item")]
            writes += await self.add(owner, str(items.get("node", "")), found, {}, intake)
        return writes

    async def add(
        self, owner: JID, name: str, items: Sequence[tuple[str, Element]], options: Mapping[str, tuple[str, ...]],
        intake: Intake,
    ) -> list[Write]:  # fmt: skip
        """The writes that add <item/>s by their ids to a node, which is made with `options` if it is not there.
        Raises StorageUnavailable."""
        known = await self._nodes.read_all(owner.bare)
        writes: list[Write] = []
        node = known.get(name)
        if node is None:
            if not self._may_be_made(name, len(known), intake):
                return []
            node = self._new(owner, name, intake)
            node = replace(node, options={**node.options, **options})
            writes.append(self._nodes.put(owner.bare, name, node))
        last = await self._log.last_id(owner.bare)
        size = self._service.settings(node).number("max_payload_size", self._service.config.item_size)
        for item_id, item in items:
            payloads = list(children(item))
            payload = to_bytes(alone(payloads[0])) if payloads else b""
            old = await self._log.page(owner.bare, Range(peer=name, resource=item_id), PIECE)
            if old and not intake.replace:
                intake.kept("items")
            elif len(payload) > size or len(item_id) > ID_LENGTH:
                intake.lost(f"an item of {name}: it is too large (pubsub.item_size)")
            elif old and published(old[-1]).payload == payload:
                intake.kept("items")
            else:
                if old:
                    writes.append(self._log.delete(owner.bare, [entry.id for entry in old]))
                body = b"%s\n%s" % (self._publisher(owner, item).full.encode(), payload)
                entry = Entry(intake.next_id(last), name, item_id, 0, body)
                writes.append(self._log.append(owner.bare, entry))
                intake.took("items")
        return writes

    def _publisher(self, owner: JID, item: Element) -> JID:
        try:
            return JID.parse(str(item.get("publisher") or owner.bare))
        except MalformedJid:
            return owner
