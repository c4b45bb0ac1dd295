"""XEP-0012: Last Activity."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from xmppd.contracts.accounts import ACCOUNTS_REMOVED
from xmppd.contracts.privacy import CONTACTS, PRIVACY
from xmppd.contracts.privacy import LAST_NS as NS
from xmppd.contracts.roster import ROSTER
from xmppd.contracts.routing import SENT
from xmppd.contracts.sessions import SESSION_ENDED
from xmppd.errors import ResourceConstraint, ServiceUnavailable
from xmppd.plugin import (
    Account,
    E,
    Element,
    Kind,
    NoConfig,
    Outbound,
    Plugin,
    Request,
    Session,
    SessionKey,
    Stage,
    To,
    Xep,
    iq,
    on,
)
from xmppd.xml import CLIENT_NS, clean, text_of

STATUS = SessionKey[str]("last-status", "", durable=True)
STATUS_LENGTH = 1000


@dataclass(frozen=True, slots=True)
class Last:
    """`at`: when the account went offline, seconds since 1970 UTC. `status`: with which words."""

    at: float
    status: str = ""


class LastActivity(Plugin[NoConfig]):
    xeps = (Xep(12, "2.0", "strangers get service-unavailable, as for an account that does not exist"),)
    features = (NS,)
    account_features = (NS,)

    def setup(self) -> None:
        self.last = self.host.storage.notes(self.host.storage.map("last", Last))
        self.since = self.host.clock.monotonic()

    @iq("get", NS, "query", To.HOST)
    async def uptime(self, request: Request) -> Element:
        """Section 5."""
        return E("query", NS, {"seconds": str(int(self.host.clock.monotonic() - self.since))})

    @iq("get", NS, "query", To.ACCOUNT)
    async def account_last(self, request: Request) -> Element:
        """Section 3. The <forbidden/> it asks for would prove to strangers that the account exists (RFC 6121
        section 8.5.1 wants service-unavailable for one that does not), so they get that too."""
        account, viewer = request.account, request.sender.bare
        here = bool(account.available())
        if not request.is_own:
            roster, privacy = self.host.find(ROSTER), self.host.find(PRIVACY)
            item = roster.item(account.bare, viewer) if roster is not None else None
            contact = item is not None and item.sees_us
            if not (privacy.last_seen(account.bare) if privacy is not None else CONTACTS).admits(viewer, contact):
                raise ServiceUnavailable()
            # whoever may not see that it is here learns when it was before
            here = here and (privacy is None or privacy.online(account.bare).admits(viewer, contact))
        if here:
            return E("query", NS, {"seconds": "0"})
        last = await self.last.read(account.bare, "")
        if last is None:  # never online: since the account was made
            stored = await self.host.stored_accounts.read(account.bare, "")
            last = Last(stored.created if stored is not None else self.host.clock.now())
        seconds = max(0, int(self.host.clock.now() - last.at))
        return E("query", NS, {"seconds": str(seconds)}, last.status or None)

    @on(SENT, Stage.ARCHIVE, kinds=(Kind.PRESENCE,), types=("unavailable",))
    def left(self, event: Outbound) -> None:
        """Remember the words of unavailable presence, and the time if it was the last resource."""
        stanza, session = event.stanza, event.session
        if session is None or stanza.to is not None:
            return
        status = stanza.child(CLIENT_NS, "status")
        session[STATUS] = clean(text_of(status))[:STATUS_LENGTH]
        if all(other is session for other in event.owner.available()):
            self._store(event.owner, session[STATUS])

    @on(SESSION_ENDED)
    def ended(self, session: Session) -> None:
        if not session.account.available():
            self._store(session.account, session[STATUS])

    def _store(self, account: Account, status: str) -> None:
        """Soon: nothing was promised, and where too much waits for the store the former time stands."""
        if account.alive:
            with suppress(ResourceConstraint):
                self.last.put(account.bare, "", Last(self.host.clock.now(), status))

    @on(ACCOUNTS_REMOVED)
    async def removed(self, names: frozenset[str]) -> None:
        """What is noted must not come behind the deletion."""
        await self.last.flush()
