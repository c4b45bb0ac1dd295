"""XEP-0077: In-Band Registration: new accounts (for who has an invitation, unless the operator decides otherwise), new
passwords, removal."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Iterable
from datetime import UTC, datetime
from typing import Annotated

from xmppd.contracts.accounts import ACCOUNTS_REMOVED
from xmppd.contracts.admin import AccountJid, Argument, Note, Result, operation
from xmppd.contracts.authentication import NegotiatingStream
from xmppd.contracts.commands import COMMANDS, Ask, Call, Command, CommandAsk, Done, Who
from xmppd.contracts.registration import INVITATIONS, REGISTRATION, Admission
from xmppd.contracts.sessions import BINDING
from xmppd.contracts.store_check import CHECK_STORE, StoreCheck
from xmppd.contracts.stream_features import FEATURES, FeatureAsk
from xmppd.errors import BadRequest, MalformedJid, NotAcceptable, NotAllowed, ServiceUnavailable, StorageUnavailable
from xmppd.plugin import JID, Account, E, Element, Plugin, Request, Session, Stanza, To, Xep, iq, on
from xmppd.window_limit import WindowLimit
from xmppd.xep.forms import Field, form
from xmppd.xml import Written, find, text_of, written

from .leaving import LeavingAccounts
from .options import INVITATION, OPEN, Config
from .strangers import FEATURE_NS, NS, TOKEN_FEATURES, Strangers

__all__ = ["Config", "Register"]

REGISTER = written(E("register", FEATURE_NS))
SHOW_TOKEN = tuple(written(E("register", ns)) for ns in TOKEN_FEATURES)
SWEEP = 21_600.0
MINUTE = 60.0
CHANGES = 10
"""New passwords of one account within an hour: each costs a tenth of a second of a processor."""
PASSWORD_NODE = "urn:xmppd:password"
log = logging.getLogger("xmppd.register")


class WaitingAccount(Result, frozen=True):
    """`reason`: what its owner has said."""

    jid: str
    since: str
    reason: str

    def text(self) -> str:
        return f"{self.jid}  since {self.since}" + (f"  {' '.join(self.reason.split())}" if self.reason else "")


class WaitingAccounts(Result, frozen=True):
    accounts: tuple[WaitingAccount, ...]

    def text(self) -> str:
        return "\n".join(each.text() for each in self.accounts) or "Nobody waits."


class Register(Plugin[Config]):
    xeps = (
        Xep(77, "2.4", "strangers need an invitation, by default"),
        Xep(158, "1.0.1", "for registration: pictures and questions"),
        Xep(221, "1.0", "in the form for registration"),
        Xep(231, "1.0", "in the form for registration"),
        Xep(445, "0.2.0"),
    )
    features = (NS,)
    provides = (REGISTRATION,)

    def setup(self) -> None:
        self.strangers = Strangers(self.host, self.config)
        self.leaving = LeavingAccounts(self.host)
        self.changes = WindowLimit(self.host.clock, CHANGES, 3600.0)
        self.host.owned(self.changes.times)
        """Of passwords, by account."""

    def reconfigured(self) -> None:
        self.strangers.reconfigured(self.config)

    @on(FEATURES)
    def feature(self, ask: FeatureAsk) -> Iterable[Written]:
        """Section 8, and XEP-0445 section 3."""
        if not ask.secure or ask.signed_in or self.strangers.closed:
            return ()
        if self.host.find(INVITATIONS) is not None:
            return (REGISTER, *SHOW_TOKEN)
        return (REGISTER,) if self.strangers.config.mode != INVITATION else ()

    async def start(self) -> None:
        self.every(SWEEP, self._sweep, "waiting")
        self.every(MINUTE, self.leaving.sweep, "leaving")

    async def _sweep(self) -> None:
        try:
            await self.strangers.queue.expire(self.host.clock.now() - float(self.config.waiting_time))
        except StorageUnavailable as error:
            log.warning("accounts that have waited too long stay for now (%s)", error)

    @on(ACCOUNTS_REMOVED)
    def removed(self, names: frozenset[str]) -> Awaitable[None]:
        return self.strangers.queue.forget(names)

    @on(BINDING)
    async def returned(self, account: Account) -> None:
        await self.leaving.returned(account)

    @on(CHECK_STORE)
    def check(self, store: StoreCheck) -> Awaitable[None]:
        """For `xmppd store check`."""
        return self.strangers.queue.check(store)

    # ---- the approval queue

    @operation("registration.list", "List the new accounts that wait for an administrator.")
    async def waiting(self) -> WaitingAccounts:
        found = sorted((await self.strangers.queue.waiting()).items(), key=lambda item: item[1].since)
        return WaitingAccounts(tuple(WaitingAccount(bare, _shown(each.since), each.reason) for bare, each in found))

    @operation("registration.approve", "Let the owners of new accounts sign in.")
    async def approve(self, jids: Annotated[tuple[AccountJid, ...], Argument("The accounts.")]) -> Note:
        for each in jids:
            await self.strangers.queue.approve(each)
        return Note(f"Approved {', '.join(map(str, jids))}.")

    @operation("registration.reject", "Delete new accounts that wait.", dangerous=True)
    async def reject(self, jids: Annotated[tuple[AccountJid, ...], Argument("The accounts.")]) -> Note:
        for each in jids:
            await self.strangers.queue.reject(each)
        return Note(f"Rejected {', '.join(map(str, jids))}.")

    # ---- contracts.registration.Registration

    @property
    def open(self) -> bool:
        return self.strangers.open

    @property
    def for_everybody(self) -> bool:
        return self.strangers.config.mode == OPEN and self.open

    @property
    def waits(self) -> bool:
        return self.strangers.config.approval

    def before_sign_in(self, stanza: Stanza, stream: NegotiatingStream) -> Awaitable[Stanza]:
        return self.strangers.answer(stanza, stream)

    def register(self, name: str, password: str, peer: str, admission: Admission) -> Awaitable[JID]:
        return self.strangers.register(name, password, peer, admission)

    def count_attempt(self, peer: str) -> None:
        self.strangers.tried.count(peer)

    # ---- people who are signed in

    @iq("get", NS, "query", To.HOST, To.SELF)
    async def registered(self, request: Request) -> Element:
        """Section 3.1: what is on file."""
        self._session(request)
        return E("query", NS, {}, E("registered", NS), E("username", NS, {}, request.sender.local))

    @iq("set", NS, "query", To.HOST, To.SELF)
    async def change(self, request: Request) -> None:
        """Sections 3.2 and 3.3. Nobody is signed in over a stream that is not safe."""
        session, query = self._session(request), request.payload
        if find(query, NS, "remove") is not None:
            if len(query) != 1:
                raise BadRequest("<remove/> stands alone")
            await self._remove(session)
            return
        if not self.config.password_change or self.strangers.elsewhere:
            raise NotAllowed()
        name, password = text_of(find(query, NS, "username")), text_of(find(query, NS, "password"))
        if not name or not password:
            raise BadRequest("a name and a password are required")
        own = session.account.jid
        try:
            if JID.of(name, self.host.domain) != own:
                raise NotAllowed("not your name")
        except MalformedJid:
            raise BadRequest("not a name") from None
        self.strangers.check_password(own, password)
        self.changes.count(own.bare)
        await self.host.server.accounts.set_password(own, password, keep=session)

    @on(COMMANDS)
    def commands(self, ask: CommandAsk) -> Iterable[Command]:
        if ask.account is not None and self.config.password_change and not self.strangers.elsewhere:
            yield Command(PASSWORD_NODE, "Change password", Who.OWNER, self._ask_for_password)

    async def _ask_for_password(self, call: Call) -> Ask:
        """As section 3.3, and the owner chooses whether other devices stay signed in."""
        fields = (
            Field("password", "text-private", "New password", required=True),
            Field("again", "text-private", "The same again", required=True),
            Field("end_others", "boolean", "Sign out all other devices", ("1",)),
        )
        return Ask(form("form", PASSWORD_NODE, fields, "Change password"), complete=self._new_password)

    async def _new_password(self, call: Call) -> Done:
        account, filled = call.account, call.form
        assert account is not None
        password = (filled.text("password") or "") if filled is not None else ""
        if filled is None or not password or password != filled.text("again"):
            raise NotAcceptable("the new password is needed twice, the same")
        self.strangers.check_password(account.jid, password)
        self.changes.count(account.bare)
        end_others = filled.boolean("end_others") is not False
        await self.host.server.accounts.set_password(account.jid, password, call.session, end_others)
        return Done("The password is changed." + (" All other devices are signed out." if end_others else ""))

    async def _remove(self, session: Session) -> None:
        if not self.config.removal:
            raise NotAllowed()
        grace = float(self.config.removal_grace)
        if grace:
            await self.leaving.begin(session, grace)
        else:
            await self.host.server.accounts.delete(session.account.jid, keep=session)
        self.spawn(self._goodbye(session), "goodbye")

    async def _goodbye(self, session: Session) -> None:
        """Behind the result: <not-authorized/> (section 3.2)."""
        self.host.server.session_manager.end(session, "not-authorized", "the account was removed")

    def _session(self, request: Request) -> Session:
        """Raises ServiceUnavailable for whoever is no user of this host."""
        session = request.session
        if session is None or session.host is not self.host:
            raise ServiceUnavailable()
        return session


def _shown(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M UTC")
