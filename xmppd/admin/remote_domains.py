"""What an administrator can see of other servers, and how one is tried out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final, Protocol

import msgspec

from ..contracts.admin import Argument, Code, OperationError, Result, operation
from ..errors import MalformedJid
from ..jid import JID, prepare_domain
from ..stanza import Stanza
from ..xml import E

if TYPE_CHECKING:
    from ..contracts.core import Host
    from ..streams.remote_domains import RemoteDomains
    from ..streams.remote_failures import Failure
    from ..streams.remote_report import SeenDomain, SeenStream

MOST: Final = 1000
"""Domains that are listed at once."""
UNREACHABLE: Final = frozenset(("remote-server-not-found", "remote-server-timeout"))
NONE: Final = "this server talks to no other: it has no listener of kind 'server'"


class Federated(Protocol):
    """The running server, as far as it is asked here."""

    @property
    def remote_domains(self) -> RemoteDomains | None: ...
    @property
    def hosts(self) -> Mapping[str, Host]: ...
    @property
    def default_host(self) -> Host: ...


class RemoteStream(msgspec.Struct, frozen=True):
    """`direction`: `out`: this server has opened it; `in`: the other one. Who has opened it sends on it, and if it goes
    `both_ways`, the other one, too. `proof`: `certificate` or `dialback`. `tls`: the version, or "". `since`: UTC, ISO
    8601."""

    direction: str
    host: str
    proof: str
    tls: str
    since: str
    address: str
    both_ways: bool = False

    def text(self) -> str:
        """For people."""
        way = "to it from" if self.direction == "out" else "from it to"
        back = " and back" if self.both_ways else ""
        return f"stream {way} {self.host}{back}: by {self.proof}, {self.tls or 'not encrypted'}, {self.address}"


class RemoteFailure(msgspec.Struct, frozen=True):
    """The last one in a direction. `at`: UTC, ISO 8601."""

    direction: str
    host: str
    at: str
    text: str


class RemoteDomain(msgspec.Struct, frozen=True):
    """`waiting`: stanzas that the other server does not have yet; `kept`: those of them that outlive a restart;
    `oldest`: for how many seconds the first one has waited. `connecting`: this server tries."""

    domain: str
    streams: tuple[RemoteStream, ...]
    waiting: int
    waiting_bytes: int
    kept: int
    oldest: int
    connecting: bool
    failures: tuple[RemoteFailure, ...]

    def lines(self) -> Iterable[str]:
        """For people."""
        yield self.domain
        for each in self.streams:
            yield f"  {each.text()}, since {_short(each.since)}"
        if self.waiting:
            kept = f", {self.kept} of them kept on the disk" if self.kept else ""
            yield f"  waiting: {self.waiting} stanzas, {self.waiting_bytes} bytes{kept}, for up to {self.oldest} s"
        if self.connecting:
            yield "  this server tries to connect"
        for failure in self.failures:
            way = "to it from" if failure.direction == "out" else "from it to"
            yield f"  failed {_short(failure.at)}, {way} {failure.host}: {failure.text}"


class RemoteDomainList(Result, frozen=True):
    """`more`: so many are not listed."""

    domains: tuple[RemoteDomain, ...]
    more: int = 0

    def text(self) -> str:
        lines = [line for each in self.domains for line in each.lines()]
        if self.more:
            lines.append(f"and {self.more} more")
        return "\n".join(lines) or "There are no streams to other servers, and nothing waits."


class Pinged(Result, frozen=True):
    """`seconds`: until the answer, with a new stream if there was none."""

    domain: str
    seconds: float
    streams: tuple[RemoteStream, ...]

    def text(self) -> str:
        lines = [f"{self.domain} has answered within {self.seconds:.2f} s."]
        lines += [f"  {each.text()}" for each in self.streams]
        return "\n".join(lines)


class RemoteDomainOperations:
    """For a host with accounts: what goes between other servers and its domain, and those domains of this server that
    have no accounts and are below it, or below none."""

    def __init__(self, server: Federated, host: Host) -> None:
        self._server = server
        self._host = host

    @operation("domain.list", "List other domains: streams, what waits for them, what has failed last.")
    async def list_(
        self,
        domain: Annotated[str, Argument("Only that one, and those below it.", positional=True)] = "",
    ) -> RemoteDomainList:
        found = self._seen(_prepared(domain) if domain else "")
        return RemoteDomainList(tuple(map(_shown, found[:MOST])), max(0, len(found) - MOST))

    @operation("domain.ping", "Ask another domain for a sign of life: a stream there, and one back, are opened for it.")
    async def ping(self, domain: Annotated[str, Argument("The other domain.")]) -> Pinged:
        remotes, remote, clock = self._remotes, _prepared(domain), self._host.clock
        if remotes.serves(remote):
            raise OperationError(f"{remote} is of this server", Code.INVALID)
        if not remotes.reaches(remote):
            raise OperationError(f"this server does not talk to {remote} (federation: allow, block)", Code.FORBIDDEN)
        begun = clock.monotonic()
        answer = await self._asked(JID.parse(remote))
        seconds = clock.monotonic() - begun
        if answer is None:
            raise OperationError(f"{remote} has not answered within {seconds:.0f} s{self._why(remote)}")
        condition = _condition(answer)
        if condition in UNREACHABLE:
            raise OperationError(f"{remote} cannot be reached: {condition}{self._why(remote)}")
        streams = [each for seen in self._seen(remote) if seen.domain == remote for each in seen.streams]
        return Pinged(remote, round(seconds, 3), tuple(map(_stream, streams)))

    async def _asked(self, remote: JID) -> Stanza | None:
        """Any answer will do, also that it does not know the question (XEP-0199 section 4.1)."""
        answer: asyncio.Future[Stanza | None] = asyncio.get_running_loop().create_future()

        def answered(found: Stanza | None) -> None:
            if not answer.done():
                answer.set_result(found)

        self._host.ask(remote, E("ping", "urn:xmpp:ping"), answered)
        return await answer

    def _why(self, remote: str) -> str:
        """The last failure on the way there."""
        failure = self._remotes.failures.last("out", self._host.domain, remote)
        return f" ({failure.text})" if failure is not None else ""

    @property
    def _remotes(self) -> RemoteDomains:
        """Raises OperationError."""
        if self._server.remote_domains is None:
            raise OperationError(NONE, Code.NOT_FOUND)
        return self._server.remote_domains

    def _seen(self, below: str) -> list[SeenDomain]:
        """Those for which something waits first."""
        remotes = self._remotes
        from ..streams.remote_report import seen_domains  # who has other servers has it

        found = [
            each
            for each in seen_domains(remotes, self._is_ours)
            if not below or each.domain == below or each.domain.endswith(f".{below}")
        ]
        return sorted(found, key=lambda each: (not each.waiting, each.domain))

    def _is_ours(self, local: str) -> bool:
        homes = [host.domain for host in self._server.hosts.values() if host.has_accounts]
        above = [each for each in homes if local == each or local.endswith(f".{each}")]
        return max(above, key=len, default=self._server.default_host.domain) == self._host.domain


def _prepared(domain: str) -> str:
    try:
        return prepare_domain(domain)
    except MalformedJid as error:
        raise OperationError(f"{domain[:100]}: {error}", Code.INVALID) from None


def _condition(answer: Stanza) -> str:
    """Of an error, "" for a result."""
    error = answer.xml.find("{*}error") if answer.type == "error" else None
    return "" if error is None or not len(error) else str(error[0].tag).partition("}")[2]


def _shown(seen: SeenDomain) -> RemoteDomain:
    failures = tuple(_failure(*place, failure) for place, failure in sorted(seen.failures.items()))
    streams = tuple(map(_stream, seen.streams))
    return RemoteDomain(
        seen.domain, streams, seen.waiting, seen.size, seen.kept, round(seen.oldest), seen.connecting, failures
    )


def _stream(seen: SeenStream) -> RemoteStream:
    direction = "out" if seen.outgoing else "in"
    proof, since = str(seen.proof), _stamp(seen.since)
    return RemoteStream(direction, seen.local, proof, seen.tls, since, seen.address, seen.both_ways)


def _failure(direction: str, local: str, failure: Failure) -> RemoteFailure:
    return RemoteFailure(direction, local, _stamp(failure.at), failure.text)


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _short(stamp: str) -> str:
    return f"{stamp[:10]} {stamp[11:16]} UTC"
