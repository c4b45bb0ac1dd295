"""People whom a source outside knows (contracts.identity): their sign-in, their accounts, and what becomes of them when
the source knows them no more. Idle where a host has no source.

RFC 4616, RFC 7628 and XEP-0493.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final

from xmppd.config import Duration, option
from xmppd.contracts.admin import AccountJid, Argument, Note, Result, operation
from xmppd.contracts.authentication import (
    MECHANISMS,
    Mechanism,
    OAuthBearer,
    SaslContext,
    SaslFailure,
    SourceAnswer,
    SourcePlain,
)
from xmppd.contracts.identity import AUTHENTICATORS, Authenticator, Identity, SourceUnavailable, TokenExpired
from xmppd.contracts.stream_features import FeatureAsk
from xmppd.errors import ItemNotFound, StorageUnavailable
from xmppd.plugin import Plugin, Xep, on
from xmppd.window_limit import network

from .book import Book

log = logging.getLogger("xmppd.identity")
NOBODY: Final = SourceAnswer(None)
MINUTE: Final = 60.0
Check = Callable[[], Awaitable[Identity | None]]


@dataclass(frozen=True)
class Config:
    recheck: Duration = option(
        Duration("1 hour"),
        "So often the source is asked who is still there. Whom it knows no more: the account is disabled, its sessions "
        "end; it is enabled again when the source knows the person again. 0: only a sign-in asks.",
        low=0,
        high=604_800,
    )
    waiting: int = option(
        200,
        "Passwords and tokens that a source checks at once; further sign-ins are told to try later.",
        low=1,
        high=100_000,
    )


class AccountIdentity(Result, frozen=True):
    """What a source has told of an account. `checked`: seconds since 1970 UTC."""

    source: str
    subject: str
    name: str
    mail: str
    groups: tuple[str, ...]
    checked: float
    suspended: bool

    def text(self) -> str:
        rows = (("source", self.source), ("subject", self.subject), ("name", self.name), ("mail", self.mail))
        lines = [f"{what}: {said}" for what, said in (*rows, ("groups", ", ".join(self.groups))) if said]
        return "\n".join([*lines, *(["disabled: the source knows it no more"] if self.suspended else [])])


class AccountIdentities(Result, frozen=True):
    identities: tuple[AccountIdentity, ...]

    def text(self) -> str:
        return "\n\n".join(each.text() for each in self.identities)


class IdentityPlugin(Plugin[Config]):
    xeps = (Xep(493, "0.1.1", "with an issuer outside; scopes are checked, and do not narrow what a session may do"),)

    def setup(self) -> None:
        self.book = Book(self.host)
        self.waiting = 0
        self.places: Counter[str] = Counter()
        """The same by what counts as one address."""
        self._due = 0.0
        self._busy = False
        self._told: dict[str, float] = {}
        """When the log was told that a source is away (monotonic), by its name."""

    async def start(self) -> None:
        if self._sources():
            self._due = self.host.clock.monotonic() + float(self.config.recheck)
            self.every(MINUTE, self._recheck, "recheck")

    def _sources(self) -> list[Authenticator]:
        return list(self.host.gather(AUTHENTICATORS, self.host.jid))

    async def _recheck(self) -> None:
        now, period = self.host.clock.monotonic(), float(self.config.recheck)
        if self._busy or not period or now < self._due:
            return
        self._busy = True
        try:
            await self.recheck()
        finally:
            self._busy, self._due = False, now + period

    async def recheck(self) -> None:
        for source in self._sources():
            try:
                await self.book.recheck(source)
            except StorageUnavailable as error:
                log.warning("%s: who is still there is asked later (%s)", source.source, error)

    # ---- mechanisms

    @on(MECHANISMS)
    def mechanisms(self, ask: FeatureAsk) -> Iterable[Mechanism]:
        for each in self._sources():
            if each.checks_passwords:
                yield Mechanism("PLAIN", 10, partial(self._plain, each), secret=True)
            if each.checks_tokens:
                yield Mechanism("OAUTHBEARER", 20, partial(self._bearer, each), secret=True)

    def _plain(self, source: Authenticator, context: SaslContext) -> SourcePlain:
        return SourcePlain(partial(self._password, source, context.peer), context)

    def _bearer(self, source: Authenticator, context: SaslContext) -> OAuthBearer:
        return OAuthBearer(partial(self._token, source, context.peer), source.discovery, source.scope, context)

    def _password(self, source: Authenticator, peer: str, username: str, password: str) -> Awaitable[SourceAnswer]:
        return self._answer(source, peer, partial(source.check_password, username, password), username)

    def _token(self, source: Authenticator, peer: str, token: str) -> Awaitable[SourceAnswer]:
        return self._answer(source, peer, partial(source.check_token, token))

    @contextmanager
    def _place(self, peer: str) -> Iterator[None]:
        """One of the checks that may wait. When half of the room is taken one address has a quarter of it at most, so
        that who sends guesses to a slow source does not shut out everybody else. Raises SaslFailure."""
        most, place = self.config.waiting, network(peer)
        if self.waiting >= most or (2 * self.waiting >= most > 3 and 4 * self.places[place] >= most):
            raise SaslFailure("temporary-auth-failure", "too many checks wait for the source")
        self.waiting += 1
        self.places[place] += 1
        try:
            yield
        finally:
            self.waiting -= 1
            self.places[place] -= 1
            if not self.places[place]:
                del self.places[place]

    async def _answer(self, source: Authenticator, peer: str, check: Check, username: str = "") -> SourceAnswer:
        """Raises SaslFailure, StorageUnavailable."""
        try:
            with self._place(peer):
                found = await check()
        except TokenExpired:
            return SourceAnswer(None, guess=False)
        except SourceUnavailable as error:
            self._tell(source, error)
            raise SaslFailure("temporary-auth-failure", str(error)) from None
        if found is None or (username and found.username != username):
            return NOBODY
        return SourceAnswer(await self.book.admit(source, found), guess=False)

    def _tell(self, source: Authenticator, error: SourceUnavailable) -> None:
        """Once in a minute: ten thousand clients may come back meanwhile."""
        now = self.host.clock.monotonic()
        if now >= self._told.get(source.source, float("-inf")) + MINUTE:
            self._told[source.source] = now
            log.warning("%s: nobody can sign in at %s: %s", source.source, self.host.domain, error)

    # ---- administrators

    @operation("identity.show", "Show what the source of a person's identity has told.")
    async def show(self, jid: Annotated[AccountJid, Argument("The account.")]) -> AccountIdentities:
        found = await self.book.of(jid)
        if not found:
            raise ItemNotFound("no source knows that account")
        return AccountIdentities(
            tuple(
                AccountIdentity(source, each.subject, each.name, each.mail, each.groups, each.checked, each.suspended)
                for source, each in sorted(found.items())
            )
        )

    @operation("identity.forget", "Give an account to the person who signs in under its name next.", dangerous=True)
    async def forget(self, jid: Annotated[AccountJid, Argument("The account.")]) -> Note:
        await self.book.forget(jid, self._sources())
        return Note(f"{jid} belongs to nobody in particular now.")

    @operation("identity.check", "Ask the sources now who is still there.")
    async def check(self) -> Note:
        await self.recheck()
        return Note("Asked.")
