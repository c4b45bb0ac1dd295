"""How another domain's server is found (RFC 6120 section 3.2, XEP-0368), over dnspython.

    resolver = Resolver(clock)
    for candidate in await resolver.candidates("example.org"):   # in the order to try
        ...

    NoSuchDomain       there is nothing to find: tell the sender remote-server-not-found, ask again later
    ResolutionFailed   nobody answers: temporary

Both are OSErrors. `candidates` asks for SRV records; the addresses of their hosts are looked up by who connects
(`net.dial`), so that a host that is never tried is never asked for.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Final, Literal

from ..cache import Cache
from ..errors import MalformedJid
from ..jid import ascii_domain
from .address import literal
from .hosts_file import HostsFile
from .questions import Answer, NoSuchDomain, Questions, ResolutionFailed, ResolverError

if TYPE_CHECKING:
    from ..clock import Clock

__all__ = ["Candidate", "NoSuchDomain", "ResolutionFailed", "Resolver", "ResolverError"]

PORT: Final = 5269
"""RFC 6120 section 14.7: of a domain without SRV records."""
MOST_TARGETS: Final = 20
"""SRV records of one name; further ones, the least preferred, are dropped."""
MOST_ADDRESSES: Final = 8
"""Of one host, in each family."""
CACHED: Final = 4096
CACHED_SIZE: Final = 2 << 20
"""Bytes."""
LONGEST: Final = 3600.0
SHORTEST: Final = 10.0
"""Seconds that an answer is kept, whatever its TTL says."""

_HOST: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")


@dataclass(frozen=True, slots=True)
class Candidate:
    """Where the server of a domain may be. `direct_tls`: TLS begins at once, STARTTLS is not used (XEP-0368 section
    3). `addresses`: those of `host` where they are known already."""

    host: str
    port: int
    direct_tls: bool = False
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """An SRV record (RFC 2782). `host`: "" where it leads nowhere, as the root does: the service is not there."""

    priority: int
    weight: int
    port: int
    host: str


class Resolver:
    """Asks the name servers of the system, or those it is given, and /etc/hosts for addresses."""

    def __init__(
        self,
        clock: Clock,
        nameservers: Sequence[str] = (),
        timeout: float = 5.0,
        *,
        random: Random | None = None,
        hosts: Path | None = Path("/etc/hosts"),
    ) -> None:
        """`nameservers`: "address", "address:port" or "[IPv6 address]:port"; none: those of /etc/resolv.conf, as it is
        when a question is asked. `timeout`: seconds for a question, all servers together. `hosts`: the file whose
        addresses come before those of DNS, as for the other programs of a machine; None: no such file.

        Raises ValueError for a name server that is no address.
        """
        self._clock = clock
        self._random = random or SystemRandom()
        self._timeout = timeout
        self._questions = Questions(nameservers, timeout)
        self._hosts = HostsFile(hosts)
        self._answers: Cache[tuple[str, str], tuple[Answer, float]] = Cache(CACHED, CACHED_SIZE)

    async def candidates(self, domain: str) -> list[Candidate]:
        """Where to connect to, in the order to try; at least one. Raises NoSuchDomain, ResolutionFailed."""
        address = literal(domain)
        if address is not None:
            return [Candidate(address, PORT, addresses=(address,))]
        name = _name_of(domain)
        plain, direct = await asyncio.gather(
            self._service(f"_xmpp-server._tcp.{name}"),
            self._service(f"_xmpps-server._tcp.{name}"),
        )
        found = [(each, False) for each in plain.targets] + [(each, True) for each in direct.targets]
        if found:
            return [Candidate(target.host, target.port, tls) for target, tls in self._ordered(found)]
        if plain.exists or direct.exists:  # no address record counts then (XEP-0368 section 5, RFC 6120 3.2.1)
            raise NoSuchDomain(f"{domain} offers no service to other servers")
        failed = plain.failed or direct.failed
        if failed is not None and not self._hosts.addresses(name):
            raise failed
        return [Candidate(name, PORT, addresses=await self.addresses(name))]  # RFC 6120 section 3.2.2

    async def addresses(self, host: str) -> tuple[str, ...]:
        """Those of a host, of both families, at least one. Raises NoSuchDomain, ResolutionFailed."""
        address = literal(host)
        if address is not None:
            return (address,)
        name = _name_of(host)
        known = self._hosts.addresses(name)
        if known:
            return known[: 2 * MOST_ADDRESSES]
        answers = await asyncio.gather(self._ask(name, "AAAA"), self._ask(name, "A"), return_exceptions=True)
        found: list[str] = []
        failed: BaseException | None = None
        for answer in answers:
            if isinstance(answer, BaseException):
                failed = failed or answer
            else:
                found += map(str, answer.records)
        if found:
            return tuple(found)
        if failed is not None:
            raise failed
        raise NoSuchDomain(f"{host} has no address")

    # ---- SRV

    async def _service(self, name: str) -> _Service:
        try:
            answer = await self._ask(name, "SRV")
        except ResolutionFailed as error:
            return _Service((), False, error)
        targets = tuple(each for each in answer.records if isinstance(each, Target) and each.host)
        return _Service(targets, bool(answer.records), None)

    def _ordered(self, found: list[tuple[Target, bool]]) -> list[tuple[Target, bool]]:
        """RFC 2782, "Usage rules", over the records of both services (XEP-0368 section 3)."""
        ordered: list[tuple[Target, bool]] = []
        for priority in sorted({target.priority for target, _ in found}):
            left = sorted((each for each in found if each[0].priority == priority), key=lambda each: each[0].weight > 0)
            while left:
                chosen = self._random.randint(0, sum(target.weight for target, _ in left))
                for at, (target, _) in enumerate(left):
                    chosen -= target.weight
                    if chosen <= 0:
                        ordered.append(left.pop(at))
                        break
        return ordered

    # ---- questions

    async def _ask(self, name: str, kind: Literal["A", "AAAA", "SRV"]) -> Answer:
        """Raises ResolutionFailed."""
        key, now = (name, kind), self._clock.monotonic()
        kept = self._answers.get(key)
        if kept is not None and kept[1] > now:
            return kept[0]
        read = _targets if kind == "SRV" else partial(_addresses, kind=kind)
        answer = await self._questions.ask(name, kind, read)
        self._answers.put(key, (answer, now + min(max(answer.ttl, SHORTEST), LONGEST)))
        return answer

    def use(self, nameservers: Sequence[str]) -> None:
        """Ask these from now on; see `__init__`. Raises ValueError."""
        self._questions = Questions(nameservers, self._timeout)
        self.forget()

    def forget(self) -> None:
        """Ask again for everything."""
        self._answers.clear()


@dataclass(frozen=True, slots=True)
class _Service:
    targets: tuple[Target, ...]
    exists: bool
    """There is a record, be it that the service is not offered."""
    failed: ResolutionFailed | None


def _name_of(domain: str) -> str:
    """Raises NoSuchDomain for what cannot be in DNS."""
    try:
        name = ascii_domain(domain)
    except MalformedJid as error:
        raise NoSuchDomain(str(error)) from None
    if not _HOST.fullmatch(name) or len(name) > 253:
        raise NoSuchDomain(f"{domain[:100]!r} cannot be a name in DNS")
    return name


def _targets(rdatas: Sequence[object]) -> tuple[object, ...]:
    """SRV records. What names no host (U-labels, addresses, what no host can be called) is as the root."""
    targets = []
    for each in rdatas:
        host = each.target.to_text(omit_final_dot=True).lower()  # type: ignore[attr-defined]
        port = each.port  # type: ignore[attr-defined]
        if not _HOST.fullmatch(host) or literal(host) is not None or not port:
            host = ""
        targets.append(Target(each.priority, each.weight, port, host))  # type: ignore[attr-defined]
    targets.sort(key=lambda target: (not target.host, target.priority))
    return tuple(targets[:MOST_TARGETS])


def _addresses(rdatas: Sequence[object], kind: str) -> tuple[object, ...]:
    made = ipaddress.IPv4Address if kind == "A" else ipaddress.IPv6Address
    return tuple(str(made(each.address)) for each in rdatas[:MOST_ADDRESSES])  # type: ignore[attr-defined]
