"""Other servers: the streams to and from them, and who may come in. What waits for them is in `remote_lines`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from functools import partial
from ipaddress import ip_network
from typing import TYPE_CHECKING, Final

from ..background import Background
from ..cache import Cache
from ..contracts.remote import Handover
from ..errors import RemoteServerNotFound, RemoteServerTimeout, ResourceConstraint, StreamError
from ..net.address import ForbiddenAddress, network
from ..net.dial import Dialler
from ..net.dns import Candidate, NoSuchDomain, Resolver, ResolverError
from ..net.peer_certificate import Trust
from ..net.tls_errors import TlsError
from ..protocol.dialback import DialbackKeys
from .base import XmlStream
from .rate_limits import rate_of
from .remote_carrier import Carrier
from .remote_failures import IN, OUT, Failures
from .remote_line import Line
from .remote_lines import RemoteLines
from .remote_resends import RemoteResends
from .server_in import IncomingServerStream
from .server_out import OutgoingServerStream, Refused
from .server_stream import ServerStream

if TYPE_CHECKING:
    from ..config import FederationConfig
    from ..net.tls import Certificates
    from .runtime import StreamServer

log = logging.getLogger("xmppd.streams")

VERIFICATIONS: Final = 200
"""Keys that are asked about at once, of all."""
VERIFICATIONS_EACH: Final = 30
"""The same for what one network has shown, and for one domain that is asked: nobody takes all, and nobody makes us call
a third one without end."""
TARGETS: Final = 6
"""Candidates of one domain that are tried in one attempt."""
SHARING: Final = 10.0
"""Seconds for another server to say whether a further domain of ours may use a stream."""
NOT_SHARED: Final = 3600.0
"""So many seconds it is not asked again after it has said no, or nothing."""
SWEEP: Final = 5.0
REST_AFTER: Final = 10.0
"""Seconds without input after which a stream gives its parser back."""
LAST_WORDS: Final = 2.0
"""Seconds at a stop for other servers to say what they have."""
LOG_LINES: Final = 60
"""About other servers, in a minute: strangers cause most of them."""
MINUTE: Final = 60.0


class RemoteDomains:
    """Implements `contracts.remote.RemoteServers`."""

    def __init__(
        self,
        server: StreamServer,
        config: FederationConfig,
        certificates: Certificates,
        dialler: Dialler,
        resolver: Resolver,
    ) -> None:
        self.server = server
        self.certificates = certificates
        self.keys = DialbackKeys(server.key_for("dialback"))
        self.resends = RemoteResends(server.clock, server.storage, server.router.routes)
        self.trust = Trust(server.clock, config.authorities)
        self.incoming: set[IncomingServerStream] = set()
        self.outgoing: set[OutgoingServerStream] = set()
        self.background = Background(server.clock)
        """What waits for other servers: nobody waits for it at a stop."""
        self._dialler = dialler
        self._resolver = resolver
        self._verifying: Counter[str] = Counter()
        """Keys that are asked about, by "" for all, by domain, and by the network of who has shown them."""
        self._log_until = self._log_lines = 0.0
        self.config = config
        self.rate = rate_of(config.rate)
        self.failures = Failures(server.clock)
        self._lines = RemoteLines(server, self.background, config, self._connected, self.failures, self.say)
        self._connecting: dict[str, asyncio.Future[None]] = {}
        """By the other domain: set when the first of the attempts under way has ended."""
        self._not_shared: Cache[tuple[str, str], float] = Cache(1000, 256 << 10)
        """Until when a domain of ours is not asked for on a stream to another one."""
        self.background.every(SWEEP, self.sweep, "server streams")

    def configure(self, config: FederationConfig, trust: Trust) -> None:
        """Put options into force. Streams that they do not allow end, and what waits for a domain that is not talked to
        any more fails. One that goes both ways and must not any more is left in order. `trust`: the authorities that
        they name."""
        if config.nameservers != self.config.nameservers:
            self._resolver.use(config.nameservers)
        self.config, self.trust = config, trust
        self.rate = rate_of(config.rate)
        self._dialler.allowed = tuple(map(ip_network, config.private_addresses))
        self._dialler.timeout = float(config.connect_time)
        self._lines.configure(config)
        streams: list[IncomingServerStream | OutgoingServerStream] = [*self.incoming, *self.outgoing]
        for stream in streams:
            if not stream.is_allowed():
                stream.fail(StreamError("policy-violation", "this server does not talk to you in this way any more"))
        one_way = [each for each in streams if each.bidi and not config.goes_both_ways(each.peer_domain)]
        self._lines.let_go(*one_way)
        for stream in one_way:
            stream.leave()

    def say(self, text: str, *values: object, level: int = logging.INFO) -> None:
        """A line of the log that others have caused: not too many of them."""
        now = self.server.clock.monotonic()
        if now >= self._log_until:
            if self._log_lines > LOG_LINES:
                log.info("%d more lines about other servers were left out", self._log_lines - LOG_LINES)
            self._log_until, self._log_lines = now + MINUTE, 0
        self._log_lines += 1
        if self._log_lines <= LOG_LINES:
            log.log(level, text, *values)

    # ---- its streams

    def opened(self, stream: XmlStream) -> None:
        if isinstance(stream, IncomingServerStream):
            self.incoming.add(stream)
        elif isinstance(stream, OutgoingServerStream):
            self.outgoing.add(stream)

    def gone(self, stream: XmlStream) -> None:
        self.incoming.discard(stream)
        self.outgoing.discard(stream)

    def carries(self, carrier: Carrier, local: str, remote: str) -> None:
        self._lines.carry(local, remote, carrier)

    @property
    def both_ways(self) -> list[ServerStream]:
        """Streams whose stanzas go both ways: at a stop they are read on, for what they say of ours."""
        return [each for each in (*self.incoming, *self.outgoing) if each.bidi]

    # ---- policy

    def reaches(self, domain: str) -> bool:
        return self.config.reaches(domain)

    def serves(self, domain: str) -> bool:
        """Whether a domain is of this server: a host's, or a component's."""
        return self.server.router.routes.serves(domain)

    def refused(self, local: str, remote: str, reason: str, text: str) -> None:
        self.failures.count(IN, reason)
        if remote:
            self.failures.tell(IN, local, remote, text)

    # ---- what is handed over

    def send(self, local: str, remote: str, handover: Handover) -> None:
        """See contracts.remote."""
        self._lines.send(local, remote, handover)

    @property
    def lines(self) -> list[Line]:
        """What waits, and is written, between a domain of ours and another one each."""
        return self._lines.all

    @property
    def waiting(self) -> int:
        """Stanzas that wait."""
        return self._lines.bounds.waiting

    @property
    def waiting_bytes(self) -> int:
        return self._lines.bounds.size

    @property
    def kept(self) -> int:
        """Of the stanzas that wait, those that the store keeps."""
        return self._lines.bounds.kept

    # ---- connecting

    async def _connected(self, local: str, remote: str, alone: bool) -> OutgoingServerStream:
        """See remote_lines.Connect. Where several domains of ours begin at once, the others wait for the first one."""
        if alone:
            return await self._opened(local, remote)
        first = self._connecting.get(remote)
        if first is not None:
            await asyncio.wait((first,), timeout=SHARING)
        shared = await self._shared(local, remote)
        if shared is not None:
            return shared
        if remote in self._connecting:
            return await self._opened(local, remote)
        done = self._connecting[remote] = asyncio.get_running_loop().create_future()
        try:
            return await self._opened(local, remote)
        finally:
            del self._connecting[remote]
            done.set_result(None)

    async def _shared(self, local: str, remote: str) -> OutgoingServerStream | None:
        """A stream of another domain of ours that this one may use, too (XEP-0220 section 2.5.1), or None."""
        pair, now = (local, remote), self.server.clock.monotonic()
        if (self._not_shared.get(pair) or now) > now:
            return None
        found = [each for each in self.outgoing if each.remote == remote and self._lines.is_shared(each)]
        for stream in found:
            if not stream.usable:
                continue
            granted = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SHARING):
                    granted = await stream.speak_for(local)
            if granted and stream.usable:
                return stream
            if not stream.closed:
                self._not_shared.put(pair, now + NOT_SHARED)
            return None
        return None

    async def _opened(self, local: str, remote: str, only_to_verify: bool = False) -> OutgoingServerStream:
        """A stream that is ready, to the first candidate that gives one. Raises NoSuchDomain, OSError, Refused."""
        try:
            candidates = await self._resolver.candidates(remote)
        except OSError as error:
            self.failures.count(OUT, _reason(error))
            raise
        problems = []
        for candidate in candidates[:TARGETS]:
            if not self.reaches(remote):
                raise Refused(f"this server does not talk to {remote}")
            try:
                return await self._try(candidate, local, remote, only_to_verify)
            except (OSError, Refused) as error:
                self.failures.count(OUT, _reason(error))
                if isinstance(error, NoSuchDomain) and len(candidates) == 1:
                    raise
                kind = "direct TLS" if candidate.direct_tls else "STARTTLS"
                problems.append(f"{candidate.host}:{candidate.port} ({kind}): {error or type(error).__name__}")
        raise Refused("; ".join(problems))

    async def _try(self, candidate: Candidate, local: str, remote: str, only_to_verify: bool) -> OutgoingServerStream:
        stream = OutgoingServerStream(self.server, self, local, remote, only_to_verify)
        timer = self.server.clock.call_later(
            self.config.connect_time, partial(stream.give_up, "it does not come to an end with the negotiation")
        )
        try:
            await self._dialler.connect(candidate, remote, stream, local)
            await stream.ready
        except BaseException:
            if stream in self.outgoing:
                stream.fail(StreamError("connection-timeout"))
            raise
        finally:
            timer.cancel()
        return stream

    # ---- keys

    async def verify(self, local: str, remote: str, stream_id: str, key: str, asker: str) -> bool:
        """Ask a domain whether a dialback key, shown by somebody at an address on a stream that we gave that id, is its
        own (XEP-0220 section 2.1.2). On a connection of its own, never on the one that the key came by. Raises
        RemoteServerNotFound, RemoteServerTimeout, ResourceConstraint."""
        counted = ("", f"from {network(asker)}", f"to {remote}")
        most = (VERIFICATIONS, VERIFICATIONS_EACH, VERIFICATIONS_EACH)
        if any(self._verifying[each] >= limit for each, limit in zip(counted, most, strict=True)):
            raise ResourceConstraint("too many keys are asked about")
        self._verifying.update(counted)
        stream: OutgoingServerStream | None = None
        try:
            async with asyncio.timeout(2 * self.config.connect_time):
                stream = await self._opened(local, remote, only_to_verify=True)
                answer = await stream.ask(stream_id, key)
        except NoSuchDomain as error:
            raise RemoteServerNotFound(str(error)) from None
        except (OSError, Refused, TimeoutError) as error:
            raise RemoteServerTimeout(str(error) or "it does not answer") from None
        finally:
            self._verifying.subtract(counted)
            for each in counted:
                if not self._verifying[each]:
                    del self._verifying[each]
            if stream is not None:
                stream.close()
        if answer.type == "error":
            raise RemoteServerNotFound(f"it says {answer.condition}")  # section 2.4
        return answer.type == "valid"

    # ---- time

    def sweep(self) -> None:
        """Strangers that say nothing, streams that nothing uses."""
        now = self.server.clock.monotonic()
        for stream in list(self.incoming):
            self._look_at(stream, now)
        for out in self.outgoing:
            if now - out.last_read > REST_AFTER and not out.over_rate:
                out.parser.rest()
        for used in self.both_ways:
            used.note_use(now)
        self._lines.sweep(now)

    def _look_at(self, stream: IncomingServerStream, now: float) -> None:
        limits = self.server.limits
        if not stream.proved:
            age = now - stream.born
            if age > limits.sign_in_time + 2 * self.config.connect_time * bool(stream.verifying) or (
                not stream.opened and age > limits.header_time
            ):
                stream.fail(StreamError("connection-timeout"))
            return
        idle = now - max(stream.last_read, stream.used)
        if idle > REST_AFTER and not stream.over_rate:
            stream.parser.rest()
        if idle > 2 * self.config.idle_time and stream.handled == stream.received:
            self._lines.let_go(stream)
            stream.leave()

    # ---- the end

    async def close(self) -> None:
        """Give other servers a moment to say what they have, then close all streams."""
        await self._lines.close(LAST_WORDS)
        for stream in list(self.incoming):
            stream.fail(StreamError("system-shutdown"))
        for out in list(self.outgoing):
            out.close()
        await self.background.close()
        await self._dialler.close(LAST_WORDS)


_REASONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (NoSuchDomain, "no_such_domain"),
    (ResolverError, "dns"),
    (ForbiddenAddress, "private_address"),
    (TimeoutError, "timeout"),
    (TlsError, "tls"),
    (Refused, "refused"),
)


def _reason(error: Exception) -> str:
    """Of a failed attempt, in a word."""
    for kind, word in _REASONS:
        if isinstance(error, kind):
            return word
    return "connection"
