"""XEP-0386: Bind 2. A resource, and all that belongs to a new session, in the step in which a client signs in."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from secrets import token_urlsafe

from xmppd.contracts.sessions import BIND_FEATURES, BOUND_WITH
from xmppd.contracts.sign_in import CLIENT, SIGN_IN_STEPS, Order, SignIn, SignInStep
from xmppd.contracts.stream_features import FeatureAsk
from xmppd.errors import BadRequest, StanzaError, StreamError
from xmppd.plugin import Account, NoConfig, Plugin, Session, Xep, on
from xmppd.xml import quoted

NS = "urn:xmpp:bind:0"
TAG_OCTETS = 256


class Bind2(Plugin[NoConfig]):
    xeps = (Xep(386, "1.1.0", "messages that wait are delivered to a client that does not read its archive first"),)

    @on(SIGN_IN_STEPS)
    def step(self, ask: FeatureAsk) -> Iterable[SignInStep]:
        """Section 3.1."""
        names = dict.fromkeys(each.ns for each in self.host.gather(BIND_FEATURES, ask))
        return (SignInStep(Order.BIND, _announced(tuple(names)), self.bind),)

    async def bind(self, sign_in: SignIn) -> None:
        """Section 3.2. A session that was resumed has a resource."""
        wanted = sign_in.asked(NS, "bind")
        if wanted is None or sign_in.session is not None:
            return
        account = sign_in.stream.account
        client = sign_in.client
        # What is told of the account is read first: what comes meanwhile is told by nobody twice, and missed by nobody.
        answers = [each.data for each in await self.host.collect(BOUND_WITH, account)]
        session = await self._bound(sign_in, wanted.text_of(NS, "tag").strip(), client)
        if session is None:
            return
        sign_in.session = session
        if client:
            self._end_former(session, client)
        features = {f"{each.ns}|{each.name}": each for each in self.host.gather(BIND_FEATURES, FeatureAsk(True, True))}
        for child in wanted.children():
            feature = features.pop(child.tag, None)  # each of them once
            answer = feature.enable(session, child) if feature is not None else None
            if answer is not None:
                answers.append(answer.data)
        sign_in.answers.append(b"<bound xmlns='%s'>%s</bound>" % (NS.encode(), b"".join(answers)))

    async def _bound(self, sign_in: SignIn, tag: str, client: str) -> Session | None:
        """Section 3.2.1: the same resource for the same client. Raises StreamError."""
        end = client[:12] or token_urlsafe(9)
        names = [f"{tag}/{end}"] if tag and len(tag.encode()) <= TAG_OCTETS else []
        for resource in (*names, end):
            try:
                return await sign_in.stream.bind(resource)
            except BadRequest:
                continue  # a tag that no resource can hold
            except StanzaError as error:
                raise StreamError("resource-constraint", error.text) from None
        raise StreamError("resource-constraint")

    def _end_former(self, session: Session, client: str) -> None:
        """Earlier sessions of the same client, which has another tag now."""
        account: Account = session.account
        for other in list(account.sessions.values()):
            if other is not session and other[CLIENT] == client:
                self.host.server.session_manager.end(other, "conflict", "the same client has signed in again")


@lru_cache(16)
def _announced(names: tuple[str, ...]) -> bytes:
    inside = "".join(f"<feature var='{quoted(name)}'/>" for name in names)
    inside = f"<inline>{inside}</inline>" if inside else ""
    return f"<bind xmlns='{NS}'>{inside}</bind>".encode()
