"""SASL on a client's stream (RFC 6120 section 6): the elements around the exchange, and the account behind it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec

from ..contracts.accounts import StoredAccount
from ..errors import MalformedJid, StorageUnavailable, StreamError
from ..jid import JID
from ..net.address import network
from ..protocol.items import Nonza
from ..protocol.sasl import (
    Challenge,
    Credentials,
    Exchange,
    NeedCheck,
    NeedCredentials,
    SaslContext,
    SaslFailure,
    Step,
    Success,
    decode,
    encode,
    offered,
    start,
)
from ..protocol.sasl.keys import ITERATIONS, made_up
from ..storage.codec import pack, unpack

if TYPE_CHECKING:
    from ..contracts.core import Account
    from ..contracts.link import Link
    from .client import ClientStream

log = logging.getLogger("xmppd.streams")

SASL_NS: Final = "urn:ietf:params:xml:ns:xmpp-sasl"
CB_NS: Final = "urn:xmpp:sasl-cb:0"
EXPORTER: Final = "tls-exporter"


class _Bindings(Mapping[str, bytes]):
    """The channel bindings of a connection by type, the best one first (XEP-0440). The data of the exporter, which few
    clients ask for, are derived when they are.

    A client that finds -PLUS takes the best type it knows and looks at no other, and may not go on without -PLUS then
    (RFC 5802 section 6): where the best one, which is the only one of many clients, is not to be had, -PLUS locks them
    out. So `wanted` "exporter" offers none there.
    """

    __slots__ = ("_link", "names")

    def __init__(self, link: Link, wanted: str) -> None:
        self._link = link
        exports = link.exports
        found = {
            EXPORTER: exports,
            "tls-unique": bool(link.tls_unique),
            "tls-server-end-point": bool(link.tls_server_end_point),
        }
        locked_out = wanted == "none" or (wanted == "exporter" and not exports)
        self.names = () if locked_out else tuple(name for name, there in found.items() if there)
        """What was announced on this stream, and nothing else, is what a client may use."""

    def __getitem__(self, name: str) -> bytes:
        data = getattr(self._link, name.replace("-", "_")) if name in self.names else None
        if not data:
            raise KeyError(name)
        return bytes(data)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


@lru_cache(64)
def _offer(secure: bool, bindings: tuple[str, ...]) -> tuple[list[str], bytes]:
    """The mechanisms (section 6.4.1), and the features that announce them and the channel bindings (XEP-0440)."""
    mechanisms = offered(secure, True, bindings)
    text = "".join(f"<mechanism>{name}</mechanism>" for name in mechanisms)
    text = f"<mechanisms xmlns='{SASL_NS}'>{text}</mechanisms>"
    if bindings:
        types = "".join(f"<channel-binding type='{name}'/>" for name in bindings)
        text += f"<sasl-channel-binding xmlns='{CB_NS}'>{types}</sasl-channel-binding>"
    return mechanisms, text.encode()


class SaslNegotiation:
    """The exchanges on one stream until one succeeds."""

    def __init__(self, stream: ClientStream) -> None:
        self.stream = stream
        self.exchange: Exchange | None = None
        self.mechanism = ""
        self.failures = 0
        self.jid: JID | None = None
        """Of the account that the exchange is about, if there is one."""
        self.account: Account | None = None
        self.claimed = ""
        """The bare JID that the exchange is about, once it is known; it may not exist."""
        self._binding = _Bindings(stream.link, stream.channel_binding)
        self._period = 0.0
        self._tick = 0.0
        """When the exchange that is under way may answer (`AnswerTimes`); 0: at once."""

    def _mechanisms(self) -> list[str]:
        return _offer(self.stream.safe, self._binding.names)[0]

    def features(self) -> bytes:
        """The mechanisms (section 6.4.1) and the channel bindings (XEP-0440)."""
        return _offer(self.stream.safe, self._binding.names)[1]

    def take(self, nonza: Nonza) -> Awaitable[None] | None:
        """One element of the client. An awaitable: the stream waits for it. Raises StreamError."""
        try:
            if nonza.name == "auth":
                return self._begin(nonza)
            if nonza.name == "response":
                if self.exchange is None:
                    raise SaslFailure("malformed-request")
                return self._step(self.exchange.respond(decode(nonza.text)))
            if nonza.name == "abort":
                raise SaslFailure("aborted")
            raise SaslFailure("malformed-request")
        except SaslFailure as failure:
            self._fail(failure)
            return None

    def _begin(self, nonza: Nonza) -> Awaitable[None] | None:
        if self.exchange is not None:
            raise SaslFailure("malformed-request", "one exchange at a time")
        mechanism = nonza.attributes.get("mechanism", "")
        if mechanism not in self._mechanisms():
            raise SaslFailure("invalid-mechanism")
        server, host = self.stream.server, self.stream.host
        context = SaslContext(
            domain=host.domain,
            secret=server.secret,
            channel_binding=self._binding,
            plus_offered=bool(self._binding),
            nonce=server.nonce,
        )
        self.exchange = start(mechanism, context)
        self.mechanism = mechanism
        if not nonza.text:
            self._challenge(b"")  # no initial response (section 6.4.2)
            return None
        return self._step(self.exchange.respond(decode(nonza.text)))

    def _step(self, step: Step) -> Awaitable[None] | None:
        if isinstance(step, Challenge):
            self._challenge(step.data)
        elif isinstance(step, NeedCredentials):
            return self._look_up(step.username)
        elif isinstance(step, NeedCheck):
            return self._check(step)
        else:
            return self._proven(step)
        return None

    async def _look_up(self, username: str) -> None:
        exchange, stream = self.exchange, self.stream
        assert exchange is not None
        self._ask_tick()
        try:
            jid = self._claim(username)
            # One at a time: of many guesses at once the later ones must hear of the failure of the first.
            async with stream.server.router.locks.hold(f"sign-in to {self.claimed} from {network(stream.peer)}"):
                self._guard()
                step = exchange.credentials(await self._credentials(jid))
                if isinstance(step, Challenge):
                    await self._come()
                work = self._step(step)
                if work is not None:
                    await work
        except SaslFailure as failure:
            self._fail(failure)
        except StorageUnavailable:
            self._fail(SaslFailure("temporary-auth-failure"))

    def _ask_tick(self) -> None:
        """Before anything is looked up."""
        server = self.stream.server
        self._period = server.limits.even_answers
        self._tick = server.answer_times.next(self._period) if self._period else 0.0

    async def _come(self) -> None:
        """Wait until it may be said what tells a stranger how long the look-up took (ADR 0007)."""
        if self._tick:
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
        return stored.credentials

    async def _check(self, need: NeedCheck) -> None:
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

    def _proven(self, success: Success) -> Awaitable[None] | None:
        """The exchange has succeeded: load the account, if it is not in memory."""
        host, jid = self.stream.host, self.jid
        if jid is not None and not host.ready(jid.bare):
            return self._load(success, jid)
        self.account = host.account(jid.bare) if jid is not None else None
        self._end(success)
        return None

    async def _load(self, success: Success, jid: JID) -> None:
        try:
            self.account = await self.stream.host.open_account(jid)
        except StorageUnavailable:
            self._fail(SaslFailure("temporary-auth-failure"))
        else:
            self._end(success)

    def _end(self, success: Success) -> None:
        try:
            if not self.stream.closed:
                self._succeed(success)
        except SaslFailure as failure:
            self._fail(failure)

    def _challenge(self, data: bytes) -> None:
        self.stream.write(f"<challenge xmlns='{SASL_NS}'>{encode(data)}</challenge>".encode())

    def _succeed(self, success: Success) -> None:
        self._guard()
        account = self.account
        if account is None or account.host is not self.stream.host or not account.alive:
            raise SaslFailure("not-authorized")
        data = encode(success.data) if success.data else ""
        self.stream.write(f"<success xmlns='{SASL_NS}'>{data}</success>".encode())
        log.info("%s signed in from %s by %s", account.bare, self.stream.peer, self.mechanism)
        self.stream.server.counts.sign_ins += 1
        self.stream.server.guard.succeeded(self.stream.peer, account.bare)
        self.stream.signed_in(account)

    def _fail(self, failure: SaslFailure) -> None:
        """Section 6.5. Too many and the stream ends (section 6.4.5)."""
        failure = self._counted(failure)
        self.exchange = None
        self.jid = None
        self.account = None
        self.claimed = ""
        self.failures += 1
        self.stream.server.counts.sign_ins_failed += 1
        log.info("sign-in from %s failed: %s", self.stream.peer, failure.condition)
        self.stream.write(f"<failure xmlns='{SASL_NS}'><{failure.condition}/></failure>".encode())
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
        ),
        1.0,
        "0" * 16,
    )
)
"""A record like those of accounts."""

GUESSES: Final = frozenset(("not-authorized", "invalid-authzid", "account-disabled", "credentials-expired"))
"""Ends of an exchange that may have been a guess."""
