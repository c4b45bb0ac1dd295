"""XEP-0484: Fast Authentication Streamlining Tokens. A client gets a token, and signs in with that from then on: in one
round trip, without the password and without a second factor."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from xmppd.config import Duration, option
from xmppd.contracts.accounts import CREDENTIALS_CHANGE, CredentialsChange
from xmppd.contracts.authentication import MECHANISMS, Credentials, Mechanism
from xmppd.contracts.sign_in import CLIENT, SIGN_IN_STEPS, TOKENS, IssuedToken, Order, SignIn, SignInStep
from xmppd.contracts.stream_features import FeatureAsk
from xmppd.errors import StorageUnavailable, StreamError
from xmppd.plugin import JID, Account, Plugin, Xep, on
from xmppd.storage.api import Write
from xmppd.xep.elements import stamp
from xmppd.xml import quoted

from .mechanism import LIST, NS, KnownClient, Proof, mechanisms
from .tokens import (
    EMPTY,
    ClientTokens,
    Token,
    TokenKeys,
    all_ended,
    carried_over,
    issued,
    live,
    superfluous,
    used,
)

__all__ = ["Config", "Fast"]

log = logging.getLogger("xmppd.fast")
SWEEP = 21_600.0
TRUE = ("true", "1")


@dataclass(frozen=True)
class Config:
    lifetime: Duration = option(
        Duration("30 d"),
        "How long a client can sign in by a token. Each time when half of it is over it gets a new one, so only who is"
        " away for longer needs the password.",
        low=3600,
        high=366 * 86_400,
    )
    clients: int = option(
        50, "Clients of one account that have tokens; at one more, the one that is unused longest has none.", low=1,
        high=1000,
    )  # fmt: skip


class Fast(Plugin[Config]):
    """Implements `contracts.sign_in.Tokens`."""

    xeps = (Xep(484, "0.2.0", "TLS 0-RTT is not offered; a `count` is checked wherever it is sent"),)
    provides = (TOKENS,)

    def setup(self) -> None:
        self._tokens = self.host.storage.map("fast-tokens", ClientTokens, cached=True)
        """Owner: the account; key: the client (`UserAgent.client`)."""
        self._keys = TokenKeys(self.host.server.key_for("fast tokens"))
        self._mechanisms = mechanisms(self._keys, self.host.clock.now, self._look_up)

    async def start(self) -> None:
        self.every(SWEEP, self._sweep, "expired")

    async def _sweep(self) -> None:
        """What nobody needs any more leaves the store."""
        now, place = self.host.clock.now(), ("", "")
        try:
            while page := await self._tokens.scan(self.host.domain, place):
                place = page[-1][:2]
                old = [(owner, key) for owner, key, record in page if record is None or record.forgotten_at <= now]
                if old:
                    await self.host.storage.commit([self._tokens.delete(*each) for each in old])
        except StorageUnavailable as error:
            log.warning("tokens that have expired stay in the store for now (%s)", error)

    # ---- signing in

    @on(MECHANISMS)
    def mechanisms(self, ask: FeatureAsk) -> Iterable[Mechanism]:
        return self._mechanisms

    async def _look_up(self, jid: JID, credentials: Credentials | None, request: Any) -> KnownClient:
        """`contracts.authentication.Mechanism.look_up`; where it reads does not show (as in `SaslDriver`)."""
        key = request.client_of(jid.bare) if isinstance(request, SignIn) else ""
        even = self.host.server.limits.even_answers and self.host.storage.available
        read = self._tokens.read if even else self._tokens.read_stored
        record = await read(jid.bare, key)
        return KnownClient(record or EMPTY, credentials.generation if credentials is not None else -1)

    @on(SIGN_IN_STEPS)
    def step(self, ask: FeatureAsk) -> Iterable[SignInStep]:
        names = ask.offer.mechanisms(LIST) if ask.offer is not None else ()
        return (SignInStep(Order.TOKENS, _announced(names), self._signed_in, (LIST, f"{NS}|fast")),)

    async def _signed_in(self, sign_in: SignIn) -> None:
        """Count the use of a token; end, issue and replace tokens (sections 3.3 to 3.6). Raises StreamError,
        StorageUnavailable."""
        client, proof = sign_in.client, sign_in.proof if isinstance(sign_in.proof, Proof) else None
        if not client:
            return  # section 4.1
        mechanism = self._wanted(sign_in)
        if proof is not None:
            asked = sign_in.asked(NS, "fast")
            ends = asked is not None and asked.attributes.get("invalidate", "") in TRUE
            await self._use(sign_in, client, proof, ends)
            if not mechanism and not ends and self._due(proof.token):
                mechanism = proof.token.mechanism
        if mechanism:
            await self._issue(sign_in, client, mechanism)

    async def _use(self, sign_in: SignIn, client: str, proof: Proof, ends: bool) -> None:
        token = self._held(sign_in, client, proof)
        if proof.count and proof.count <= token.count:
            raise StreamError("not-authorized", "replayed")  # two came at once
        record = self._record(sign_in.owner, client)
        alone = all(each.ended for each in record.tokens[: record.tokens.index(token)])
        if token.used and alone and not proof.count and not ends:
            return  # nothing to write, and nothing to wait for
        change = all_ended if ends else used(token.number, proof.count)
        try:
            await self.host.storage.commit([self._tokens.update(sign_in.owner, client, change)])
        except StorageUnavailable as error:
            if ends or proof.count:
                raise StreamError("resource-constraint", "the store does not answer") from error
            log.warning("that %s has its token is not stored (%s)", sign_in.owner, error)
        if not ends:
            self._held(sign_in, client, proof)

    def _held(self, sign_in: SignIn, client: str, proof: Proof) -> Token:
        """The token as it is now. Raises StreamError if it was revoked since it was looked up."""
        token = self._record(sign_in.owner, client).find(proof.token.number)
        if token is None or token.ended:
            raise StreamError("not-authorized", "the token was revoked")
        return token

    def _record(self, owner: str, client: str) -> ClientTokens:
        return self._tokens.get(owner).get(client, EMPTY)

    def _due(self, token: Token) -> bool:
        """Half of its time is over (section 3.5)."""
        return self.host.clock.now() >= (token.issued + token.until) / 2

    def _wanted(self, sign_in: SignIn) -> str:
        """The mechanism for which the client asks for a token, "" if it does not, or for one that is not offered."""
        asked = sign_in.asked(NS, "request-token")
        name = asked.attributes.get("mechanism", "") if asked is not None else ""
        return name if name in sign_in.announced.get(LIST, ()) else ""

    async def _issue(self, sign_in: SignIn, client: str, mechanism: str) -> None:
        """Section 3.3. While the store does not answer a client signs in without one."""
        try:
            token = await self.issue(sign_in.owner, client, mechanism, sign_in.generation)
        except StorageUnavailable as error:
            log.warning("%s got no token (%s)", sign_in.owner, error)
            return
        expiry = quoted(stamp(int(token.until) * 1_000_000))
        sign_in.answers.append(f"<token xmlns='{NS}' token='{token.secret}' expiry='{expiry}'/>".encode())

    async def issue(self, owner: str, client: str, mechanism: str, generation: int) -> IssuedToken:
        """See `contracts.sign_in.Tokens`."""
        now = self.host.clock.now()
        token = Token.new(mechanism, now, float(self.config.lifetime), generation)
        writes: list[Write] = [self._tokens.update(owner, client, issued(token))]
        others = self._tokens.get(owner)
        if client not in others:
            gone = superfluous(others, self.config.clients, generation, now)
            writes += [self._tokens.delete(owner, each) for each in gone]
        await self.host.storage.commit(writes)
        return IssuedToken(self._keys.secret(owner, client, token), token.until)

    # ---- their end

    @on(CREDENTIALS_CHANGE)
    def carry_over(self, change: CredentialsChange) -> Iterable[Write]:
        """A new password ends all tokens, but for those of the client that has set it."""
        client = change.keep[CLIENT] if change.keep is not None else ""
        owner = change.jid.bare
        if not client or client not in self._tokens.get(owner):
            return ()
        return (self._tokens.update(owner, client, carried_over(change.generation)),)

    def clients(self, account: Account) -> Collection[str]:
        """See `contracts.sign_in.Tokens`."""
        generation = self.host.stored_accounts.get(account.bare)[""].credentials.generation
        return live(self._tokens.get(account.bare), generation, self.host.clock.now())

    async def revoke(self, owner: str, clients: Collection[str]) -> None:
        """See `contracts.sign_in.Tokens`."""
        await self.host.storage.commit([self._tokens.update(owner, client, all_ended) for client in clients])


@lru_cache(16)
def _announced(names: tuple[str, ...]) -> bytes:
    inside = "".join(f"<mechanism>{name}</mechanism>" for name in names)
    return f"<fast xmlns='{NS}'>{inside}</fast>".encode() if names else b""
