"""Who is notified of a change, and how (XEP-0060 sections 7.1.2 and 12.7, XEP-0163 section 4.3)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from secrets import token_urlsafe
from typing import Final

from xmppd.contracts.pubsub import PUBSUB, Published
from xmppd.contracts.roster import ROSTER, RosterItem
from xmppd.plugin import JID, E, Request, Session
from xmppd.stanza import Kind, Stanza, message, tag
from xmppd.xep.elements import DELAY_NS, delay_bytes
from xmppd.xml import quoted

from .access import Asker, Reading, affiliation, reading
from .items import shown
from .model import EVENT_NS, Node, Settings
from .nodes import Nodes

LAST_SENT: Final = 1
EVENT_TAGS: Final = (tag(EVENT_NS, "event"),)


class Notifier:
    def __init__(self, plugin: Nodes) -> None:
        self.plugin = plugin
        self.host = plugin.host

    # ---- the content of <event/>

    def published(self, name: str, items: Iterable[Published], settings: Settings) -> bytes:
        payload = settings.flag("deliver_payloads")
        return _items(name, (shown(each, payload, settings.names_publisher) for each in items))

    def retracted(self, name: str, ids: Iterable[str]) -> bytes:
        return _items(name, (f"<retract id='{quoted(id)}'/>".encode() for id in ids))

    def subscription(self, owner: str, name: str, jid: JID, state: str) -> None:
        """Notifies a user of a subscription that another has changed (sections 8.8.4 and 12.10)."""
        element = E("subscription", EVENT_NS, {"node": name, "jid": jid.full, "subscription": state})
        self.host.deliver(message("headline", E("event", EVENT_NS, {}, element), to=jid, sender=JID.parse(owner)))

    # ---- recipients

    def notify(self, owner: str, name: str, node: Node, change: bytes, request: Request | None = None) -> None:
        """Sends a notification, after the commit and behind the result of the request. `change`: the content of the
        <event/>, in its namespace."""
        if request is not None:
            request.then(partial(self.notify, owner, name, node, change))
            return
        settings = self.plugin.settings(node)
        if not settings.flag("deliver_notifications"):
            return
        event = self._event(owner, settings, change)
        explicit = self._subscribers(owner, node, settings)
        if self.plugin.personal:
            self._notify_interested(owner, name, node, settings, event, explicit)
        for jid in explicit.values():
            self.host.deliver(event.stamped(to=jid))

    def _event(self, owner: str, settings: Settings, change: bytes) -> Stanza:
        event = b"<event xmlns='%s'>%s</event>" % (EVENT_NS.encode(), change)
        type, id = settings.text("notification_type"), token_urlsafe(9)
        return Stanza(Kind.MESSAGE, type, None, JID.parse(owner), id, event, EVENT_TAGS)

    def _subscribers(self, owner: str, node: Node, settings: Settings) -> dict[str, JID]:
        """Who has subscribed and still may read: by the address as subscribed."""
        found = {}
        for text, subscription in node.subscriptions.items():
            if subscription.state != "subscribed":
                continue
            jid = JID.parse(text)
            if self.may_read(owner, node, settings, jid):
                found[text] = jid
        return found

    def _notify_interested(
        self, owner: str, name: str, node: Node, settings: Settings, event: Stanza, subscribers: Collection[str]
    ) -> None:
        """To the account itself, and to contacts who see its presence and may read the node (XEP-0163 section 4.1), in
        those sessions that are interested. Who has subscribed gets it as a subscriber."""
        account = self.host.account(owner)
        if account is None:
            return
        fan_out = self.host.router.fan_to_interested
        if owner not in subscribers:
            fan_out(event, account, name, (owner,))
        roster = self.host.find(ROSTER)
        if roster is None:
            return
        items = roster.items(owner)
        seers = {contact for contact, item in items.items() if item.sees_us}
        seers.difference_update(subscribers, (owner,))
        # Who sees the account's presence may read such a node: nothing is left to decide for each.
        all_may = not node.affiliations and settings.text("access_model") in ("open", "presence")
        fan_out(event, account, name, seers, None if all_may else partial(self._may, node, settings, items))

    def _may(self, node: Node, settings: Settings, items: Mapping[str, RosterItem], jid: JID) -> bool:
        who = Asker(jid, affiliation(node, jid, False), False)
        return reading(node, settings, who, lambda _: items[jid.bare]) is Reading.YES

    def may_read(self, owner: str, node: Node, settings: Settings, jid: JID) -> bool:
        who = Asker(jid, affiliation(node, jid, self.plugin.is_master(owner, jid)), False)
        return reading(node, settings, who, lambda bare: self.plugin.contact(owner, bare)) is Reading.YES

    # ---- the last item

    async def last(self, owner: str, name: str, node: Node, to: Sequence[JID]) -> None:
        """Send the newest item (section 6.1.7), with the time it was published."""
        settings = self.plugin.settings(node)
        items = await self.plugin.store.newest(owner, name, settings, LAST_SENT)
        if not items:
            return
        event = self._event(owner, settings, self.published(name, items, settings))
        event = event.with_child(delay_bytes(owner, items[-1].at), tag(DELAY_NS, "delay"))
        for jid in to:
            self.host.deliver(event.stamped(to=jid))

    async def greet(self, session: Session, names: frozenset[str], only: str = "") -> None:
        """A session has come and is interested in nodes: of its own account, and of the contacts it sees
        (XEP-0163 section 4.3.4). `only`: of this contact (a bare JID) alone, whom the account sees from now on: to be
        subscribed to presence is to be subscribed to the nodes (section 3), so it is as in XEP-0060 section 6.1.7."""
        account = session.account
        if only:
            seen = [only]
        else:
            await self.send_last_items(account.bare, session.jid, names)
            roster = self.host.find(ROSTER)
            seen = [] if roster is None else [jid for jid, item in roster.items(account.bare).items() if item.we_see]
        routes = self.host.router.routes
        for contact in seen:
            if session.ended:
                return
            home = routes.service(contact.rpartition("@")[2], PUBSUB)
            if home is not None:
                await home.interested(JID.parse(contact), session.jid, names)

    async def send_last_items(self, owner: str, to: JID, names: frozenset[str]) -> None:
        """Sends the newest items of an owner in memory to a full JID that may read them. Raises StorageUnavailable."""
        nodes = self.plugin.nodes.get(owner)
        for name in names.intersection(nodes) if nodes else ():
            node = nodes[name]
            settings = self.plugin.settings(node)
            if settings.text("send_last_published_item") != "on_sub_and_presence":
                continue
            if not settings.flag("deliver_notifications"):
                continue
            if self.may_read(owner, node, settings, to):
                await self.last(owner, name, node, (to,))


def _items(name: str, items: Iterable[bytes]) -> bytes:
    return b"<items node='%s'>%s</items>" % (quoted(name).encode(), b"".join(items))
