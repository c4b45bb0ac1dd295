"""Signing in on a client's stream: mechanisms, the steps of an exchange, the guard, the account behind it. Free of XML:
what is said to the client is its profile's matter (`sasl_profile`, or a plugin's)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..contracts.accounts import StoredAccount
from ..contracts.authentication import SaslProfile
from ..errors import MalformedJid, StorageUnavailable, StreamError
from ..jid import JID
from ..net.address import network
from ..protocol.sasl import (
    SASL,
    Challenge,
    Credentials,
    Exchange,
    Mechanism,
    NeedCheck,
    NeedCredentials,
    NeedSource,
    SaslContext,
    SaslFailure,
    Step,
    Success,
)
from ..protocol.sasl.keys import ITERATIONS, made_up
from ..storage.codec import pack, unpack
from .announced import Announcement
from .channel_bindings import ChannelBindings

if TYPE_CHECKING:
    from ..contracts.core import Account
    from .runtime import NegotiatingClient

log = logging.getLogger("xmppd.streams")

GUESSES: Final = frozenset(("not-authorized", "invalid-authzid", "account-disabled", "credentials-expired"))
"""Ends of an exchange that may have been a guess."""


SOURCE_PERIOD: Final = 0.25
"""Seconds between the times at which a source's "no" is told: how long it takes to find nobody is its own matter."""


class SaslDriver:
    """The exchanges on one stream until one succeeds (`contracts.authentication.Authentication`)."""

    def __init__(self, stream: NegotiatingClient) -> None:
        self.stream = stream
        self.profile: SaslProfile | None = None
        self.exchange: Exchange | None = None
        self.mechanism: Mechanism
        """Of the exchange."""
        self.failures = 0
        self.jid: JID | None = None
        """Of the account that the exchange is about, if there is one."""
        self.account: Account | None = None
        self.claimed = ""
        """The bare JID that the exchange is about, once it is known; it may not exist."""
        self._pending: Success | None = None
        """The exchange has succeeded, and more is asked of the client."""
        self._revoked = False
        """What was looked up for the exchange holds no more."""
        self._generation = 0
        """Of the credentials that were looked up."""
        self._request: Any = None
        """See `SaslContext.request`."""
        self._binding = ChannelBindings(stream.link, stream.channel_binding)
        self._announcement: Announcement | None = None
        """Once something of it was asked for."""
        self._period = 0.0
        self._tick = 0.0
        """When the exchange that is under way may answer (`AnswerTimes`); 0: at once."""

    # ---- what is announced

    @property
    def channel_bindings(self) -> tuple[str, ...]:
        return self._binding.names

    @property
    def pending(self) -> bool:
        """The exchange has succeeded, and more is asked of the client before it is signed in."""
        return self._pending is not None

    def mechanisms(self, listed_in: str = SASL) -> tuple[str, ...]:
        """See `Authentication.mechanisms`."""
        return self.announcement.list(listed_in).names

    @property
    def announcement(self) -> Announcement:
        """What this stream announces."""
        found = self._announcement
        if found is None:
            stream = self.stream
            now = stream.server.clock.monotonic()
            found = self._announcement = Announcement.of(stream.host, stream.safe, self._binding.names, now)
        return found

    # ---- the profile's side

    def start(
        self,
        profile: SaslProfile,
        mechanism: str,
        initial: bytes | None,
        listed_in: str = SASL,
        request: Any = None,
    ) -> Awaitable[None] | None:
        """See `Authentication.start`."""
        self._check(profile)
        if self._pending is not None:
            raise StreamError("policy-violation", "one authentication for each stream")
        try:
            if self.exchange is not None:
                raise SaslFailure("malformed-request", "one exchange at a time")
            self.profile = profile
            return self._begin(mechanism, initial, listed_in, request)
        except SaslFailure as failure:
            self._fail(failure)
            return None

    def respond(self, profile: SaslProfile, data: bytes) -> Awaitable[None] | None:
        """See `Authentication.respond`."""
        self._check(profile)
        try:
            if self.exchange is None:
                raise SaslFailure("malformed-request")
            return self._step(self.exchange.respond(data))
        except SaslFailure as failure:
            self._fail(failure)
            return None

    def fail(self, profile: SaslProfile, failure: SaslFailure) -> None:
        """See `Authentication.fail`."""
        self._check(profile)
        if self.exchange is None and self._pending is None:
            self.profile = profile
        self._fail(failure)

    def complete(self, profile: SaslProfile) -> Awaitable[None] | None:
        """See `Authentication.complete`."""
        self._check(profile)
        success = self._pending
        if success is None:
            raise StreamError("policy-violation", "nothing was proven")
        self._pending = None
        return self._end(Success(success.username, proof=success.proof), done=True)

    def check_element(self, namespace: str) -> None:
        """What comes while an exchange is under way belongs to it (XEP-0388 section 2.4). Raises StreamError."""
        if self.exchange is None and self._pending is None:
            return
        if self.profile is not None and namespace != self.profile.namespace:
            raise StreamError("policy-violation", "not in the middle of a sign-in")

    def check_blanks(self) -> None:
        """The same for white space, where the profile forbids it; but not while a person looks for a code. Raises
        StreamError."""
        if self.exchange is not None and self.profile is not None and not self.profile.blanks:
            raise StreamError("policy-violation", "white space in the middle of a sign-in")

    def _check(self, profile: SaslProfile) -> None:
        if self.profile is None:
            self.profile = profile
        elif profile.namespace != self.profile.namespace:
            raise StreamError("policy-violation", "one SASL profile for each stream")

    # ---- the exchange

    def _begin(self, name: str, initial: bytes | None, listed_in: str, request: Any) -> Awaitable[None] | None:
        announced = self.announcement.list(listed_in)
        mechanism = announced.mechanisms.get(name)
        if mechanism is None:
            raise SaslFailure("invalid-mechanism")
        self._revoked = False
        server, host = self.stream.server, self.stream.host
        context = SaslContext(
            domain=host.domain,
            secret=server.secret,
            channel_binding=self._binding,
            plus_offered=announced.plus,
            nonce=server.nonce,
            announced=announced.names,
            tls_version=self.stream.link.tls_version,
            header_from=self.stream.header_from,
            peer=self.stream.peer,
            request=request,
        )
        self._request = request
        self.mechanism = mechanism
        self.exchange = mechanism.start(context)
        if initial is None:
            self._challenge(b"")  # no initial response (section 6.4.2)
            return None
        return self._step(self.exchange.respond(initial))

    def _step(self, step: Step) -> Awaitable[None] | None:
        if isinstance(step, Challenge):
            self._challenge(step.data)
        elif isinstance(step, NeedCredentials):
            return self._look_up(step.username)
        elif isinstance(step, NeedCheck):
            return self._run_check(step)
        elif isinstance(step, NeedSource):
            return self._ask_source(step)
        else:
            return self._proven(step)
        return None

    def _challenge(self, data: bytes) -> None:
        assert self.profile is not None
        self.profile.challenge(data)

    async def _look_up(self, username: str) -> None:
        exchange, stream = self.exchange, self.stream
        assert exchange is not None
        self._ask_tick()
        try:
            jid = self._claim(username)
            # One at a time: of many guesses at once the later ones must hear of the failure of the first.
            async with stream.server.router.locks.hold(f"sign-in to {self.claimed} from {network(stream.peer)}"):
                self._guard()
                found = await self._found(jid)
                work = self._step(await self._given(exchange, found))
                if work is not None:
                    await work
        except SaslFailure as failure:
            self._fail(failure)
        except StorageUnavailable:
            self._fail(SaslFailure("temporary-auth-failure"))

    async def _given(self, exchange: Exchange, found: Any) -> Step:
        """Give the exchange what it has asked for; what it says of that but success waits for its tick. Raises
        SaslFailure."""
        try:
            step = exchange.credentials(found)
        except SaslFailure:
            await self._come()
            raise
        if isinstance(step, Challenge):
            await self._come()
        return step

    async def _ask_source(self, need: NeedSource) -> None:
        exchange, stream = self.exchange, self.stream
        assert exchange is not None
        self._ask_tick(SOURCE_PERIOD)
        self._claim(need.about)
        place = f"sign-in to {self.claimed} from {network(stream.peer)}"
        try:
            async with stream.server.router.locks.hold(place) if need.named else nullcontext():
                self._guard()
                if stream.closed:
                    return
                answer = await need.ask()
                if stream.closed:
                    return
                username = answer.username
                if username is not None:
                    found = await self._credentials(self._claim(username))
                    if found is None or found.disabled:
                        username = None
                step = await self._given(exchange, username)
                if isinstance(step, Challenge):  # it says no; that the exchange has not ended yet must not help a guess
                    if answer.guess:
                        self._counted(SaslFailure("not-authorized"))
                    self.claimed = ""
                work = self._step(step)
                if work is not None:
                    await work
        except SaslFailure as failure:
            self._fail(failure)
        except StorageUnavailable:
            self._fail(SaslFailure("temporary-auth-failure"))

    def _ask_tick(self, least: float = 0.0) -> None:
        """Before anything is looked up. `least`: of the period."""
        server = self.stream.server
        self._period = server.limits.even_answers
        if self._period:
            self._period = max(self._period, least)
        self._tick = server.answer_times.next(self._period) if self._period else 0.0

    async def _come(self) -> None:
        """Wait until it may be said what tells a stranger how long the look-up took (ADR 0007)."""
        if self._tick:
            self.stream.link.hold()  # the header and the features that a client did not wait for
            await self.stream.server.answer_times.come(self._tick, self._period)

    def _claim(self, username: str) -> JID | None:
        with suppress(MalformedJid):
            jid = JID.of(username, self.stream.host.domain)
            self.claimed = jid.bare
            return jid
        return None

    def _guard(self) -> None:
        """Who has failed too often waits. Asked at both ends of an exchange, so that none that ends during a wait
        learns anything. Raises SaslFailure."""
        if self.claimed and self.stream.server.guard.wait(self.stream.peer, self.claimed):
            raise SaslFailure("temporary-auth-failure")

    async def _found(self, jid: JID | None) -> Any:
        """What the exchange is given for an account: its credentials, or what the mechanism looks up itself."""
        credentials = await self._credentials(jid)
        look_up = self.mechanism.look_up
        if look_up is None or jid is None:
            return credentials
        found = await look_up(jid, credentials, self._request)
        return found if credentials is not None and not credentials.disabled else None

    async def _credentials(self, jid: JID | None) -> Credentials | None:
        host = self.stream.host
        if jid is None:
            return None
        if not host.started:
            raise StorageUnavailable("the host has not started")
        if self._tick and host.storage.available:
            # Where it is found does not show: the answer waits for its tick. The account is loaded once who asks has
            # proven to be its owner.
            stored = await host.stored_accounts.read(jid.bare, "")
        else:
            # Read from the store in any case, and nothing else: whether there is such an account, and whether it is in
            # memory, makes no difference in time, and none while the store does not answer.
            stored = await host.stored_accounts.read_stored(jid.bare, "")
            if stored is None:  # what reading a record costs, for one that is not there
                msgspec.convert(unpack(_SAMPLE), StoredAccount)
        if stored is None:
            return None
        self.jid = jid
        self._generation = stored.credentials.generation
        return stored.credentials

    async def _run_check(self, need: NeedCheck) -> None:
        assert self.exchange is not None
        # PBKDF2 must not stop the loop; who is gone by then needs none.
        right = await self.stream.server.hashing.run(lambda: not self.stream.closed and need.run())
        if self.stream.closed:
            return
        try:
            success = self.exchange.checked(right)
        except SaslFailure as failure:
            await self._come()
            self._fail(failure)
            return
        work = self._proven(success)
        if work is not None:
            await work

    # ---- its end

    def revoke(self, bare: str) -> None:
        """The credentials of an account have changed, or nobody may sign in to it: an exchange that has looked them up
        before fails at its end, as one with wrong credentials does."""
        if self.claimed == bare:
            self._revoked = True

    def _proven(self, success: Success) -> Awaitable[None] | None:
        """The exchange has succeeded: load the account, if it is not in memory."""
        host, jid = self.stream.host, self.jid
        if jid is not None and not host.ready(jid.bare):
            return self._load(success, jid)
        self.account = host.account(jid.bare) if jid is not None else None
        return self._end(success)

    async def _load(self, success: Success, jid: JID) -> None:
        try:
            self.account = await self.stream.host.open_account(jid)
        except StorageUnavailable:
            self._fail(SaslFailure("temporary-auth-failure"))
            return
        work = self._end(success)
        if work is not None:
            await work

    def _end(self, success: Success, done: bool = False) -> Awaitable[None] | None:
        """`done`: nothing more is asked of the client."""
        try:
            return self._succeed(success, done) if not self.stream.closed else None
        except SaslFailure as failure:
            self._fail(failure)
            return None

    def _succeed(self, success: Success, done: bool) -> Awaitable[None] | None:
        self._guard()
        account, stream, profile = self.account, self.stream, self.profile
        if account is None or account.host is not stream.host or not account.alive or self._revoked:
            raise SaslFailure("not-authorized")
        stored = stream.host.stored_accounts.get(account.bare).get("")
        if stored is None or stored.credentials.generation != self._generation:
            raise SaslFailure("not-authorized")  # committed, and nobody was told yet
        assert profile is not None
        if not done and profile.proven(account, success):
            self.exchange, self._pending = None, success
            return None
        # Who comes back by what the server has issued is no new sign-in.
        level = logging.INFO if success.proof is None else logging.DEBUG
        log.log(level, "%s signed in from %s by %s", account.bare, stream.peer, self.mechanism.name)
        stream.server.counts.sign_ins += 1
        stream.server.guard.succeeded(stream.peer, account.bare)
        stream.signed_in(account)
        if success.password:
            work = stream.server.accounts.add_missing_keys(account.jid, success.password, stored.credentials)
            stream.host.background.spawn(work, "new keys")
        return profile.succeeded(account, success.data)

    def _fail(self, failure: SaslFailure) -> None:
        """Section 6.5. Too many and the stream ends (section 6.4.5)."""
        failure = self._counted(failure)
        profile = self.profile
        assert profile is not None
        self.exchange = self._pending = self._request = None
        self.jid = None
        self.account = None
        self.claimed = ""
        self.failures += 1
        self.stream.server.counts.sign_ins_failed += 1
        log.info("sign-in from %s failed: %s", self.stream.peer, failure.condition)
        profile.failed(failure)
        if self.failures >= self.stream.server.limits.sasl_attempts:
            self.stream.fail(StreamError("policy-violation", "too many failed attempts"))

    def _counted(self, failure: SaslFailure) -> SaslFailure:
        """Wrong credentials count; during a wait they are not told from right ones."""
        if not self.claimed or failure.condition not in GUESSES:
            return failure
        guard, peer = self.stream.server.guard, self.stream.peer
        if guard.wait(peer, self.claimed):
            return SaslFailure("temporary-auth-failure")
        guard.failed(peer, self.claimed)
        return failure


_SAMPLE: Final = pack(
    StoredAccount(
        Credentials(
            made_up(b"sample", "", "", "SHA-1", ITERATIONS),
            made_up(b"sample", "", "", "SHA-256", ITERATIONS),
            scram_sha_512=made_up(b"sample", "", "", "SHA-512", ITERATIONS),
        ),
        1.0,
        "0" * 16,
    )
)
"""A record like those of accounts."""
