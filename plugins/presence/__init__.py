"""RFC 6121 sections 3 and 4: presence and subscriptions.

`states` holds the tables of appendix A, `rules` what a stanza does to a roster item, `subscriptions` the flows
between two accounts, `broadcast` who hears of whose presence.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xmppd.config import option
from xmppd.contracts.accounts import ACCOUNTS_REMOVED
from xmppd.contracts.roster import ROSTER, WE_SEE, RosterItem
from xmppd.contracts.routing import OUTBOUND, Outbound
from xmppd.contracts.sessions import DIRECTED, PRESENCE
from xmppd.errors import ResourceConstraint
from xmppd.hooks import Stage, Verdict, on
from xmppd.jid import JID
from xmppd.plugin import Plugin, Xep
from xmppd.stanza import Kind, Stanza

from .broadcast import Broadcaster
from .subscriptions import Subscriptions

if TYPE_CHECKING:
    from xmppd.plugin import Account, Session

__all__ = ["Config", "PresencePlugin"]


@dataclass(frozen=True)
class Config:
    directed: int = option(
        500, "To how many addresses that are no contacts (rooms, mostly) a session may send its presence.", low=1
    )
    request_bytes: int = option(
        4096, "The longest content of a subscription request that is kept until it is answered.", low=0
    )


class PresencePlugin(Plugin[Config]):
    """Implements `contracts.sessions.PresenceRules`."""

    xeps = (Xep(203, "2.0", "the time of a presence that came earlier"),)
    uses = (ROSTER,)
    provides = (PRESENCE,)

    async def start(self) -> None:
        self.broadcaster = Broadcaster(self.host)
        self.lists = self.host.service(ROSTER).lists
        self.subscriptions = Subscriptions(self.host, self.broadcaster, self.config.request_bytes)

    def reconfigured(self) -> None:
        if self.host.started:
            self.subscriptions.request_bytes = self.config.request_bytes

    @on(OUTBOUND, Stage.GUARD, kinds=(Kind.PRESENCE,), types=("",))
    def check(self, event: Outbound) -> Verdict | None:
        """Refuse presence to more addresses than can be told of the end."""
        stanza, session = event.stanza, event.session
        if stanza.to is not None and session is not None:
            known = session[DIRECTED]
            if len(known) >= self.config.directed and stanza.to.full not in known:
                raise ResourceConstraint("presence was sent to too many addresses")
        return None

    # ---- contracts.sessions.PresenceRules

    def broadcast(self, session: Session, stanza: Stanza, before: Stanza | None) -> None:
        if stanza.type == "unavailable":
            self.broadcaster.leave(session, stanza, before is not None)
        else:
            self.broadcaster.appear(session, stanza, before is None)

    def directed(self, session: Session, stanza: Stanza) -> None:
        """Section 4.6: who gets no broadcast must be told of the end by us."""
        to, known = stanza.to, session[DIRECTED]
        assert to is not None
        if self._is_service(to):  # one occupant per session and room, whatever its nick was before
            rest = tuple(address for address in known if address.partition("/")[0] != to.bare)
        else:
            rest = tuple(address for address in known if address != to.full)
        if stanza.type == "unavailable":
            session[DIRECTED] = rest
            return
        if to.bare == session.account.bare:
            return
        item = self._item(session.account, to.bare)
        if session.presence is None or item is None or not item.sees_us:
            session[DIRECTED] = (*rest, to.full)

    def _item(self, account: Account, contact: str) -> RosterItem | None:
        """The account's view of a contact (a bare JID)."""
        return self.lists[account.bare].get(contact)

    def _is_service(self, jid: JID) -> bool:
        routes = self.host.router.routes
        return routes.is_local(jid.domain) and not routes.serves_accounts(jid.domain)

    def subscription(self, session: Session, stanza: Stanza) -> Awaitable[None]:
        return self.subscriptions.send(session.account, stanza)

    def own_subscription(self, account: Account, stanza: Stanza) -> Awaitable[None]:
        return self.subscriptions.send(account, stanza)

    def arriving_subscription(self, account: Account, stanza: Stanza) -> Awaitable[None]:
        return self.subscriptions.arrive(account, stanza)

    def remove(self, account: Account, contact: JID) -> Awaitable[None]:
        return self.subscriptions.remove(account, contact)

    @on(ACCOUNTS_REMOVED)
    def removed(self, names: frozenset[str]) -> Awaitable[None]:
        return self.subscriptions.forget(names)

    def probe(self, stanza: Stanza, reply: Callable[[Stanza], None]) -> None:
        """Section 4.3.2. Strangers hear of every account that they are not subscribed: whether there is one, and
        whether it blocks them, is not told (ADR 0007). A contact that is blocked hears nothing (XEP-0191)."""
        to, sender = stanza.to, stanza.sender
        assert to is not None and sender is not None
        account = self.host.account(to.bare)
        if account is not None:
            item = self._item(account, sender.bare)
            own = sender.bare == account.bare
            contact = own or (item is not None and item.sees_us)
            if contact or self.broadcaster.may_see(account, sender.bare, contact=False):
                if own or self.host.router.admit(stanza, account) is not None:
                    for answer in self.broadcaster.answers(account, to.resource, sender.bare, contact):
                        self.host.deliver(answer.stamped(to=sender))
                    return
                if contact:
                    return
        reply(Stanza(Kind.PRESENCE, "unsubscribed", sender, to.to_bare()))  # to a client: no roster changes

    def shown_to(self, account: Account, viewer: JID) -> list[Stanza] | None:
        item = self._item(account, viewer.bare)
        if item is None or not item.sees_us:
            return None
        broadcaster = self.broadcaster
        if not broadcaster.may_see(account, viewer.bare) or broadcaster.blocked(account, viewer):
            return []
        return [broadcaster.view(session, viewer.bare) for session in account.available()]

    def accepts_presence(self, account: Account, sender: str) -> bool:
        item = self.lists[account.bare].get(sender)
        return item is not None and item.subscription in WE_SEE

    def became_unavailable(self, session: Session, before: Stanza | None) -> None:
        """Section 4.5.2: the server says it for a client that could not."""
        unavailable = Stanza(Kind.PRESENCE, "unavailable", None, session.jid)
        self.broadcaster.leave(session, unavailable, before is not None, alive=False)

    def withdraw(self, account: Account, contact: str, policy: bool = False) -> None:
        item, there = self._item(account, contact), JID.parse(contact)
        broadcaster = self.broadcaster
        if item is not None and item.sees_us:
            saw = not broadcaster.blocked(account, there) if policy else broadcaster.may_see(account, contact)
            if saw:
                broadcaster.withdraw(account, there)
        if not policy:
            broadcaster.withdraw_directed(account, contact)

    def announce(self, account: Account, contact: str) -> None:
        item = self._item(account, contact)
        if item is not None and item.sees_us:
            self.broadcaster.announce(account, JID.parse(contact))
