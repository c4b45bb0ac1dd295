"""What contacts on other servers are interested in: their presence says it, to each account that sees them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from xmppd.cache import Cache
from xmppd.contracts.caps import INTERESTED_ELSEWHERE, InterestElsewhere
from xmppd.contracts.roster import ROSTER
from xmppd.plugin import JID, Account, Stanza

if TYPE_CHECKING:
    from xmppd.plugin import Host

NS: Final = "http://jabber.org/protocol/caps"
CLIENTS: Final = 20
"""Of one contact; the presence of further ones counts for nothing."""
LONGEST: Final = 500
MOST: Final = 100_000
SIZE: Final = 32 << 20
"""Bytes of all that is remembered."""
NOTHING: Final[frozenset[str]] = frozenset()


class Learner(Protocol):
    """Finds out what a client is interested in (`EntityCaps`)."""

    @property
    def host(self) -> Host: ...

    def learn(self, who: JID, method: str, node: str, ver: str, learned: Callable[[frozenset[str]], None]) -> None:
        """Call `learned` when it is known."""
        ...


class _Client:
    """What one client of a contact has announced, and what that means."""

    __slots__ = ("announced", "interests")

    def __init__(self, announced: str) -> None:
        self.announced = announced
        self.interests = NOTHING


Clients = dict[str, _Client]
"""By full JID."""


class ContactsElsewhere:
    """Those that the accounts of a host see."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._host = learner.host
        self._seen: Cache[tuple[str, str], Clients] = self._host.owned(
            Cache(MOST, SIZE, lambda key, clients: 200 + len(clients) * (LONGEST + 200)), pairs=True
        )
        """By account and contact, bare JIDs."""

    def interested(self, account: str, contact: str, node: str) -> Sequence[JID]:
        """The full JIDs of a contact that want to hear of a node."""
        clients = self._seen.get((account, contact))
        return [JID.parse(name) for name, each in clients.items() if node in each.interests] if clients else ()

    def presence_came(self, account: Account, presence: Stanza) -> None:
        """Of a contact that the account sees. What anybody else shows counts for nothing."""
        who = presence.sender
        if who is None or not who.resource:
            return
        key = account.bare, who.bare
        clients = self._seen.get(key)
        if presence.type:
            if clients is not None and clients.pop(who.full, None) is not None:
                self._keep(key, clients)
            return
        roster = self._host.find(ROSTER)
        item = roster.items(account.bare).get(who.bare) if roster is not None else None
        if item is None or not item.we_see:
            return
        c = presence.child(NS, "c")
        if c is None:
            return
        method, node, ver = (str(c.get(name, ""))[:LONGEST] for name in ("hash", "node", "ver"))
        announced = f"{method}\n{node}\n{ver}"
        clients = clients if clients is not None else {}
        client = clients.get(who.full)
        if client is None and len(clients) >= CLIENTS:
            return
        if client is not None and client.announced == announced:
            return
        before = client.interests if client is not None else NOTHING
        clients[who.full] = client = _Client(announced)
        client.interests = before
        self._keep(key, clients)
        self._learner.learn(who, method, node, ver, partial(self._learned, account, who, announced))

    def _keep(self, key: tuple[str, str], clients: Clients) -> None:
        if clients:
            self._seen.put(key, clients)
        else:
            self._seen.pop(key)

    def _learned(self, account: Account, who: JID, announced: str, interests: frozenset[str]) -> None:
        clients = self._seen.get((account.bare, who.bare))
        client = clients.get(who.full) if clients is not None else None
        if client is None or client.announced != announced:
            return
        new = interests - client.interests
        client.interests = interests
        if new and account.alive:
            self._host.tell(INTERESTED_ELSEWHERE, InterestElsewhere(account, who, new))
