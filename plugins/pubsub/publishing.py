"""Items: publish, retract, retrieve (XEP-0060 sections 6.5, 7.1 and 7.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from secrets import token_urlsafe

from xmppd.contracts.pubsub import NODE_CHANGED, Change, NodeChanged, Published
from xmppd.errors import BadRequest, Forbidden, ItemNotFound, NotAcceptable, PolicyViolation, ServiceUnavailable
from xmppd.plugin import JID, E, Element, Request, Written
from xmppd.stanza import tag
from xmppd.storage.api import Entry
from xmppd.xep.forms import Submitted, read_form
from xmppd.xep.mam import PAGE_SIZE, within
from xmppd.xep.numbers import unsigned
from xmppd.xep.rsm import answer as page_end
from xmppd.xep.rsm import read as read_rsm
from xmppd.xml import alone, children, find, quoted, to_bytes

from . import owning
from .access import Asker, Reading, keeps_items, may_publish, reading, refusal
from .items import published, shown
from .model import ERRORS_NS, NS, OPTIONS, Affiliation, Node, Settings, check_preconditions, read_options
from .service import Ask, NoSuchNode, Service

ID_LENGTH = 1024
NAMED = 100
"""So many items may be named in one request."""
RSM_NS = "http://jabber.org/protocol/rsm"


# ---- publishing (section 7.1)


async def publish(service: Service, ask: Ask) -> Written:
    if not ask.name:
        raise BadRequest("which node?", (ERRORS_NS, "nodeid-required"))
    items = list(children(ask.verb, NS, "item"))
    if len(items) > 1:
        raise BadRequest("one item at a time", (ERRORS_NS, "max-items-exceeded"))
    submitted = _options(ask)
    node = service.nodes.get(ask.owner).get(ask.name)
    new = node is None
    if node is None:
        if not _may_make(service, ask):
            raise ServiceUnavailable() if ask.stranger else NoSuchNode()
        node = owning.new_node(service, ask.owner, ask.name, ask.sender, _initial(service, submitted))
    settings = service.settings(node)
    who = service.asker(ask, node)
    if not new:
        if not may_publish(node, settings, who):
            raise ServiceUnavailable() if _hidden(service, ask, node, settings, who) else Forbidden()
        if submitted is not None:
            check_preconditions(submitted, settings)
    _check_event(settings, items[0] if items else None)
    if not items:  # an event without content
        await store(service, ask.owner, ask.name, node, None, ask.sender, ask.request, new)
        return _answer("publish", ask.name, ())
    item = await _new_item(service, ask.owner, settings, items[0], ask.sender)
    if not new and who.affiliation < Affiliation.PUBLISHER:
        await _own_or_new(service, ask, settings, item.id)
    await store(service, ask.owner, ask.name, node, item, ask.sender, ask.request, new)
    return _answer("publish", ask.name, [shown(item, payload=False)])


def _options(ask: Ask) -> Submitted | None:
    """The submitted publish options (section 7.1.5), None for none. Raises BadRequest."""
    element = find(ask.request.payload, NS, "publish-options")
    submitted = read_form(element) if element is not None else None
    if submitted is not None and submitted.form_type not in ("", OPTIONS):
        raise BadRequest("not a form of publish options")
    return submitted


def _initial(service: Service, submitted: Submitted | None) -> dict[str, tuple[str, ...]]:
    """Publish options are the configuration of a node that is made by publishing."""
    if submitted is None:
        return {}
    options = read_options(submitted, service.personal)
    check_preconditions(submitted, Settings(options, service.personal))
    return options


def _may_make(service: Service, ask: Ask) -> bool:
    """Auto-create (section 7.1.4): the own nodes of an account, or who may make nodes of a service."""
    return ask.sender.bare == ask.owner if service.personal else owning.may_create(service, ask.sender)


def _hidden(service: Service, ask: Ask, node: Node, settings: Settings, who: Asker) -> bool:
    """A stranger who may not even read gets the answer for accounts that do not exist."""
    return (
        ask.stranger and reading(node, settings, who, lambda bare: service.contact(ask.owner, bare)) is not Reading.YES
    )


def _check_event(settings: Settings, element: Element | None) -> None:
    """Sections 4.3 and 7.1.3.7: does what is published fit the type of events? Raises BadRequest."""
    if element is None:
        if settings.takes_items:
            raise BadRequest("an item is wanted", (ERRORS_NS, "item-required"))
    elif not settings.takes_items:
        raise BadRequest("the node has events without items", (ERRORS_NS, "item-forbidden"))
    elif not len(element) and settings.flag("deliver_payloads"):
        raise BadRequest("nothing to send", (ERRORS_NS, "payload-required"))


async def _new_item(service: Service, owner: str, settings: Settings, element: Element, publisher: JID) -> Published:
    """Raises BadRequest, NotAcceptable (sections 7.1.3.5 and 7.1.3.6)."""
    id, payloads = str(element.get("id", "")), list(children(element))
    if len(payloads) > 1:
        raise BadRequest("one payload in an item", (ERRORS_NS, "invalid-payload"))
    if len(id) > ID_LENGTH:
        raise NotAcceptable("the id is too long")
    payload = to_bytes(alone(payloads[0])) if payloads else b""
    if len(payload) > settings.number("max_payload_size", service.config.item_size):
        raise NotAcceptable("the item is too large", (ERRORS_NS, "payload-too-big"))
    return Published(id or token_urlsafe(12), payload, publisher, await service.store.next_id(owner))


async def _own_or_new(service: Service, ask: Ask, settings: Settings, id: str) -> None:
    """Who may only publish replaces nobody's item. Raises Forbidden."""
    entry = await service.store.find(ask.owner, ask.name, settings, id)
    if entry is not None and not _is_own(service, ask, entry):
        raise Forbidden("it is another's item")


def _is_own(service: Service, ask: Ask, entry: Entry) -> bool:
    """What was published before the account was made is a former account's of that name."""
    return published(entry).publisher.bare == ask.sender.bare and entry.id >= service.host.router.routes.since(
        ask.sender
    )


async def store(
    service: Service, owner: str, name: str, node: Node, item: Published | None, by: JID,
    request: Request | None, new: bool,
) -> None:  # fmt: skip
    """Commits and notifies. `item`: None for an event without one. The caller holds the owner's lock."""
    settings = service.settings(node)
    writes = [service.nodes.put(owner, name, node)] if new else []
    if item is not None and settings.flag("persist_items"):
        most = max(1, settings.number("max_items", service.config.items))
        removed: list[int] = []
        if not new:
            removed = await service.store.replaced(owner, name, item.id)
            removed += await service.store.surplus(owner, name, most - 1, removed)
        await service.store.change(owner, name, removed, item, writes)
    elif writes:
        await service.host.storage.commit(writes)
    items = (item,) if item is not None else ()
    if items:
        session = request.session if request is not None else None
        service.host.tell(NODE_CHANGED, NodeChanged(owner, name, Change.PUBLISH, items, by, session))
    service.notifier.notify(owner, name, node, service.notifier.published(name, items, settings), request)


async def publish_own(
    service: Service, owner: str, name: str, id: str, payload: Element, options: Mapping[str, tuple[str, ...]]
) -> None:
    """In the name of the account (contracts.pubsub). The caller holds the owner's lock."""
    me = JID.parse(owner)
    node = service.nodes.get(owner).get(name)
    new = node is None
    if node is None:
        node = owning.new_node(service, owner, name, me, dict(options))
    item = await _new_item(service, owner, service.settings(node), E("item", NS, {"id": id}, payload), me)
    await store(service, owner, name, node, item if service.settings(node).takes_items else None, me, None, new)


# ---- retracting (section 7.2)


async def retract(service: Service, ask: Ask) -> None:
    node = service.node(ask)
    settings, who = service.settings(node), service.asker(ask, node)
    ids = tuple(str(each.get("id", "")) for each in children(ask.verb, NS, "item"))
    if len(ids) != 1 or not ids[0]:
        raise BadRequest("which item?", (ERRORS_NS, "item-required"))
    if not may_publish(node, settings, who):
        raise ServiceUnavailable() if _hidden(service, ask, node, settings, who) else Forbidden()
    keeps_items(settings)
    entry = await service.store.find(ask.owner, ask.name, settings, ids[0])
    if entry is None:
        raise ItemNotFound("there is no such item")
    if who.affiliation < Affiliation.PUBLISHER and not _is_own(service, ask, entry):
        raise Forbidden("it is another's item")
    wanted = str(ask.verb.get("notify", "")).lower() in ("1", "true")
    await delete_items(service, ask.owner, ask.name, node, ids, ask.sender, ask.request, wanted)


async def delete_items(
    service: Service, owner: str, name: str, node: Node, ids: tuple[str, ...], by: JID,
    request: Request | None, notify: bool,
) -> None:  # fmt: skip
    """Deletes items and notifies. The caller holds the owner's lock."""
    entries: list[int] = []
    removed = []
    for id in dict.fromkeys(ids):
        found = await service.store.replaced(owner, name, id)
        if found:
            removed.append(id)
            entries += found
    if not entries:
        return
    await service.store.change(owner, name, entries)
    items = tuple(Published(id, b"", by, 0) for id in removed)
    session = request.session if request is not None else None
    service.host.tell(NODE_CHANGED, NodeChanged(owner, name, Change.RETRACT, items, by, session))
    if notify or service.settings(node).flag("notify_retract"):
        service.notifier.notify(owner, name, node, service.notifier.retracted(name, removed), request)


# ---- retrieving (section 6.5)


async def items(service: Service, ask: Ask) -> Written:
    node = service.node(ask)
    settings, who = service.settings(node), service.asker(ask, node)
    found = reading(node, settings, who, lambda bare: service.contact(ask.owner, bare))
    if found is not Reading.YES:
        raise ServiceUnavailable() if ask.stranger else refusal(found)
    keeps_items(settings)
    ids = [str(each.get("id", "")) for each in children(ask.verb, NS, "item")]
    if ids:
        return _answer("items", ask.name, _shown(settings, await _named(service, ask, settings, ids)))
    entries, end = await _page(service, ask, settings)
    return _answer("items", ask.name, _shown(settings, entries), b"" if end is None else to_bytes(end))


async def _named(service: Service, ask: Ask, settings: Settings, ids: list[str]) -> list[Entry]:
    """The items with these ids (section 6.5.8). A part of them could not be told from items that are not there, and
    section 6.5.4 has pages for all items only: where they are too many or too large together, they are refused."""
    wanted, found, size = dict.fromkeys(ids), list[Entry](), 0
    if len(wanted) > NAMED:
        raise PolicyViolation(f"at most {NAMED} items at a time")
    for id in wanted:
        entry = await service.store.find(ask.owner, ask.name, settings, id)
        if entry is None:
            continue
        size += len(entry.body)
        if found and size > PAGE_SIZE:
            raise PolicyViolation("these items are too large for one answer: ask for fewer")
        found.append(entry)
    return found


def _shown(settings: Settings, entries: Iterable[Entry]) -> Iterable[bytes]:
    return (shown(published(entry), publisher=settings.names_publisher) for entry in entries)


def _answer(verb: str, node: str, items: Iterable[bytes], end: bytes = b"") -> Written:
    """Written, not built: there may be many items, and large ones."""
    start = f"<pubsub xmlns='{NS}'><{verb} node='{quoted(node)}'>".encode()
    return Written(tag(NS, "pubsub"), b"%s%s</%s>%s</pubsub>" % (start, b"".join(items), verb.encode(), end))


async def _page(service: Service, ask: Ask, settings: Settings) -> tuple[list[Entry], Element | None]:
    """Section 6.5.4: the newest `max_items` of the node, or a page of these (XEP-0059). Always the oldest first."""
    most = _number(ask.verb.get("max_items"))
    window = min(service.config.items, most if most is not None else service.config.items)
    if find(ask.request.payload, RSM_NS, "set") is None:
        newest = await service.store.page(ask.owner, ask.name, settings, None, None, window, True)
        some = within(newest, PAGE_SIZE, True)
        # The newest of what is too large for one answer, and with which item a next page would begin.
        return some, page_end(some[0].resource, some[-1].resource, len(newest)) if len(some) < len(newest) else None
    asked, after, before = read_rsm(ask.request.payload), None, None
    count = await service.store.count(ask.owner, ask.name, settings)
    if most is not None and most < count:
        newest = await service.store.page(ask.owner, ask.name, settings, None, None, window, True)
        after, count = newest[0].id - 1, len(newest)
    if asked.after:
        place = await _place(service, ask, settings, asked.after)
        after = place if after is None else max(after, place)
    if asked.before:
        before = await _place(service, ask, settings, asked.before)
    limit = window if asked.max is None else min(window, asked.max)
    entries = await service.store.page(ask.owner, ask.name, settings, after, before, limit, asked.backwards)
    entries = within(entries, PAGE_SIZE, asked.backwards)
    return entries, page_end(entries[0].resource if entries else "", entries[-1].resource if entries else "", count)


async def _place(service: Service, ask: Ask, settings: Settings, id: str) -> int:
    entry = await service.store.find(ask.owner, ask.name, settings, id)
    if entry is None:
        raise ItemNotFound("there is no such item")
    return entry.id


def _number(text: object) -> int | None:
    if text is None:
        return None
    number = unsigned(str(text))
    if not number:
        raise BadRequest("max_items is a positive number")
    return number
