"""How this server stands with others: streams, what waits, what has failed last. Read when somebody asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .remote_failures import IN, OUT, Failure
from .server_stream import ServerStream
from .server_terms import Proof

if TYPE_CHECKING:
    from .remote_domains import RemoteDomains


@dataclass(frozen=True, slots=True)
class SeenStream:
    """Between a domain of ours and another one. `outgoing`: this server has opened it; `both_ways`: it serves both
    directions. `proof`: "certificate" or "dialback", by which its initiator has proved its domain. `tls`: the version,
    "" without. `since`: seconds since 1970 UTC."""

    local: str
    outgoing: bool
    both_ways: bool
    proof: str
    tls: str
    since: float
    address: str


@dataclass(slots=True)
class SeenDomain:
    """Another domain. `waiting`: stanzas that it does not have yet, `size`: their bytes, `kept`: so many of them the
    store keeps; `oldest`: for how many seconds the first of them has waited. `connecting`: an attempt is under way, or
    the pause before the next one. `failures`: the last ones, by direction and our domain."""

    domain: str
    streams: list[SeenStream] = field(default_factory=list)
    waiting: int = 0
    size: int = 0
    kept: int = 0
    oldest: float = 0.0
    connecting: bool = False
    failures: dict[tuple[str, str], Failure] = field(default_factory=dict)


def seen_domains(remotes: RemoteDomains, ours: Callable[[str], bool]) -> list[SeenDomain]:
    """Those with streams, with something that waits, or with a failure that is remembered, by name. `ours`: which of
    our domains count."""
    found: dict[str, SeenDomain] = {}
    clock = remotes.server.clock
    now, wall = clock.monotonic(), clock.now()

    def of(domain: str) -> SeenDomain:
        return found.setdefault(domain, SeenDomain(domain))

    def seen(stream: ServerStream, local: str, proof: str) -> SeenStream:
        since, link = wall - (now - stream.born), stream.link
        return SeenStream(local, stream.outgoing, stream.bidi, proof, link.tls_version, since, link.peer)

    for stream in remotes.incoming:
        for (remote, local), proof in stream.pairs.items():
            if ours(local):
                of(remote).streams.append(seen(stream, local, proof))
    for out in remotes.outgoing:
        for local in out.granted if out.usable else ():
            if ours(local):
                of(out.remote).streams.append(seen(out, local, out.proof if local == out.local else Proof.DIALBACK))
    for line in remotes.lines:
        if not ours(line.local):
            continue
        domain = of(line.remote)
        domain.waiting += len(line.waiting) + len(line.written)
        domain.size += line.size
        domain.connecting = domain.connecting or line.attempt
        for item in (*line.waiting, *line.written):
            domain.kept += item.handover.patient
            domain.oldest = max(domain.oldest, now - item.at)
    _add_failures(remotes, ours, of)
    for domain in found.values():
        domain.streams.sort(key=lambda each: (each.local, each.outgoing))
    return sorted(found.values(), key=lambda each: each.domain)


def _add_failures(remotes: RemoteDomains, ours: Callable[[str], bool], of: Callable[[str], SeenDomain]) -> None:
    for local, remote in remotes.failures.pairs():
        for direction in (IN, OUT) if ours(local) else ():
            failure = remotes.failures.last(direction, local, remote)
            if failure is not None:
                of(remote).failures[direction, local] = failure
