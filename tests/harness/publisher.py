"""Other servers, and among them one that publishes a block list: no bytes, the test sees each stanza."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xmppd.contracts.remote import Handover
from xmppd.stanza import Kind, Stanza
from xmppd.xep.rsm import read
from xmppd.xml import children, find, quoted

from .peer import Peer

if TYPE_CHECKING:
    from . import Harness

NS = "http://jabber.org/protocol/pubsub"
EVENT_NS = f"{NS}#event"
ITEMS_NS = "http://jabber.org/protocol/disco#items"


class Elsewhere:
    """Where stanzas to other servers go. Implements `contracts.remote.RemoteServers`."""

    def __init__(self, server: Harness) -> None:
        self.server = server
        self.peers: dict[str, Peer] = {}
        server.server.routes.elsewhere.servers = self  # type: ignore[assignment]

    def peer(self, domain: str) -> Peer:
        """The server of a domain."""
        return self.peers.setdefault(domain, Peer(self.server, domain))

    def reaches(self, domain: str) -> bool:
        return True

    def send(self, local: str, remote: str, handover: Handover) -> None:
        handover.delivered()
        peer = self.peer(remote)
        if isinstance(peer, Publisher):
            peer.asked(handover.stanza)
        else:
            peer.got.append(handover.stanza)


class Publisher(Peer):
    """Has a node. `silent`: it answers nothing; `fault`: the condition of the error that it answers, "" for none;
    `pages`: how many pages it was asked for; `most`: items of a page; `names`: it tells the names of all items."""

    def __init__(self, elsewhere: Elsewhere, domain: str = "bl.example", node: str = "muc_bans_sha256") -> None:
        super().__init__(elsewhere.server, domain, bound=1000)
        elsewhere.peers[domain] = self
        self.node = node
        self.items: dict[str, str] = {}
        self.subscribers: list[str] = []
        self.silent = False
        self.fault = ""
        self.pages = 0
        self.most = 100
        self.knows_pages = self.names = True
        self.held: list[str] | None = None
        """Answers that are kept back; None: they are sent."""

    def asked(self, stanza: Stanza) -> None:
        if stanza.kind is not Kind.IQ or stanza.type not in ("get", "set"):
            self.got.append(stanza)
            return
        if self.silent:
            return
        pubsub = stanza.payload
        assert pubsub is not None
        head = f"<iq type='{{}}' id='{stanza.id}' from='{self.domain}' to='{stanza.sender}'>{{}}</iq>"
        if self.fault:
            condition = f"<{self.fault} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
            self._say(head.format("error", f"<error type='cancel'>{condition}</error>"))
            return
        if pubsub.tag == f"{{{ITEMS_NS}}}query":
            assert pubsub.get("node") == self.node
            if self.names:
                names = "".join(f"<item jid='{self.domain}' name='{quoted(id)}'/>" for id in self.items)
                self._say(head.format("result", f"<query xmlns='{ITEMS_NS}' node='{self.node}'>{names}</query>"))
            return
        assert pubsub.tag == f"{{{NS}}}pubsub" and pubsub[0].get("node") == self.node
        subscribe, unsubscribe = find(pubsub, NS, "subscribe"), find(pubsub, NS, "unsubscribe")
        if subscribe is not None:
            assert subscribe.get("jid") == str(stanza.sender)
            self.subscribers.append(str(stanza.sender))
            self._say(head.format("result", f"<pubsub xmlns='{NS}'/>"))
        elif unsubscribe is not None:
            self.subscribers.remove(str(unsubscribe.get("jid")))
            self._say(head.format("result", ""))
        else:
            (asked,) = children(pubsub, NS, "items")
            self._say(head.format("result", self._page(read(pubsub).after, int(asked.get("max_items") or 10**9))))

    def _page(self, after: str | None, newest: int) -> str:
        self.pages += 1
        ids = list(self.items)[-newest:]
        if not self.knows_pages:
            return f"<pubsub xmlns='{NS}'><items node='{self.node}'>{self._items(ids)}</items></pubsub>"
        start = ids.index(after) + 1 if after else 0
        page = ids[start : start + self.most]
        end = f"<first>{page[0]}</first><last>{page[-1]}</last>" if page else ""
        return (
            f"<pubsub xmlns='{NS}'><items node='{self.node}'>{self._items(page)}</items>"
            f"<set xmlns='http://jabber.org/protocol/rsm'>{end}<count>{len(ids)}</count></set></pubsub>"
        )

    def _items(self, ids: list[str]) -> str:
        return "".join(f"<item id='{quoted(id)}'>{self.items[id]}</item>" for id in ids)

    def _say(self, text: str) -> None:
        if self.held is None:
            self.send(text)
        else:
            self.held.append(text)

    def let_go(self) -> None:
        """What was kept back is sent, and the rest as it comes."""
        held, self.held = self.held or [], None
        self.send(*held)

    def tell(self, change: str, sender: str = "", to: str = "localhost") -> None:
        """An event: what is inside <event/>."""
        self.send(
            f"<message from='{sender or self.domain}' to='{to}' type='headline'>"
            f"<event xmlns='{EVENT_NS}'>{change}</event></message>"
        )

    def publish(self, *ids: str, payload: str = "") -> None:
        self.items |= dict.fromkeys(ids, payload)
        self.tell(f"<items node='{self.node}'>{self._items(list(ids))}</items>")

    def retract(self, *ids: str) -> None:
        for id in ids:
            self.items.pop(id, None)
        gone = "".join(f"<retract id='{quoted(id)}'/>" for id in ids)
        self.tell(f"<items node='{self.node}'>{gone}</items>")
