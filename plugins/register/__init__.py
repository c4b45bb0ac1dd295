"""XEP-0077: In-Band Registration: new accounts (for who has an invitation, unless the operator decides otherwise), new
passwords, removal."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable

from xmppd.contracts.authentication import NegotiatingStream
from xmppd.contracts.registration import REGISTRATION, Admission
from xmppd.contracts.stream_features import FEATURES, FeatureAsk
from xmppd.errors import BadRequest, MalformedJid, NotAllowed, ServiceUnavailable
from xmppd.plugin import JID, E, Element, Plugin, Request, Session, Stanza, To, Xep, iq, on
from xmppd.xml import Written, find, text_of, written

from .options import Config
from .strangers import FEATURE_NS, NS, TOKEN_FEATURES, Strangers

__all__ = ["Config", "Register"]

REGISTER = written(E("register", FEATURE_NS))
SHOW_TOKEN = tuple(written(E("register", ns)) for ns in TOKEN_FEATURES)


class Register(Plugin[Config]):
    xeps = (
        Xep(77, "2.4", "strangers need an invitation, by default; no forms"),
        Xep(445, "0.2.0"),
    )
    features = (NS,)
    provides = (REGISTRATION,)

    def setup(self) -> None:
        self.strangers = Strangers(self.host, self.config)

    def reconfigured(self) -> None:
        self.strangers.reconfigured(self.config)

    @on(FEATURES)
    def feature(self, ask: FeatureAsk) -> Iterable[Written]:
        """Section 8, and XEP-0445 section 3."""
        if not ask.secure or ask.signed_in or not self.open:
            return ()
        return (REGISTER, *SHOW_TOKEN) if self.strangers.invitations is not None else (REGISTER,)

    # ---- contracts.registration.Registration

    @property
    def open(self) -> bool:
        return self.strangers.open

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
        if not self.config.password_change:
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
        await self.host.server.accounts.set_password(own, password, keep=session)

    async def _remove(self, session: Session) -> None:
        if not self.config.removal:
            raise NotAllowed()
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
