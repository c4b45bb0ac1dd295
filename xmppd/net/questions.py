"""Single questions to name servers, a bounded number of them at a time, over dnspython."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import dns.asyncresolver
import dns.exception
import dns.message
import dns.name
import dns.resolver

from .nameserver import Nameserver, nameserver

RESOLV_CONF: Final = Path("/etc/resolv.conf")
AT_ONCE: Final = 64
"""Questions under way; further ones wait."""


class ResolverError(OSError):
    """A name leads nowhere."""


class NoSuchDomain(ResolverError):
    """It does not exist, or says that it does not offer the service."""


class ResolutionFailed(ResolverError):
    """No name server has answered, or none knew: later it may be different."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`records`: what the question's reader has made of them; empty when there is no such name or no such record.
    `ttl`: seconds for which that holds."""

    records: tuple[object, ...]
    ttl: float


class Questions:
    def __init__(self, nameservers: Sequence[str], timeout: float) -> None:
        """Raises ValueError for a name server that is no address."""
        self._timeout = timeout
        self._free = asyncio.Semaphore(AT_ONCE)
        self._system = not nameservers
        self._read: tuple[int, int] | None = None
        self._resolver = dns.asyncresolver.Resolver(configure=False)
        self._resolver.nameservers = [nameserver(each) for each in nameservers]

    async def ask(self, name: str, kind: str, read: Callable[[Sequence[object]], tuple[object, ...]]) -> Answer:
        """Raises ResolutionFailed."""
        try:
            wanted = dns.name.from_text(name + ".")
        except dns.exception.DNSException:  # too long: nobody can have it
            return Answer((), self._timeout)
        async with self._free:
            resolver = self._current()
            try:
                found = await resolver.resolve(
                    wanted, kind, raise_on_no_answer=False, lifetime=self._timeout, search=False
                )
            except dns.resolver.NXDOMAIN as error:
                return Answer((), _negative_ttl(error.response(wanted)))  # type: ignore[no-untyped-call]
            except (dns.exception.DNSException, OSError) as error:
                raise ResolutionFailed(f"{name} {kind}: {_why(error)}") from None
        rdatas = tuple(found.rrset) if found.rrset is not None else ()
        return Answer(read(rdatas), found.chaining_result.minimum_ttl)

    def _current(self) -> dns.asyncresolver.Resolver:
        """With the name servers of the system, as its file says now. Raises ResolutionFailed."""
        if not self._system:
            return self._resolver
        try:
            stat = RESOLV_CONF.stat()
            version = stat.st_mtime_ns, stat.st_ino
            if version != self._read:
                resolver = dns.asyncresolver.Resolver(str(RESOLV_CONF))
                resolver.nameservers = [
                    Nameserver(each, resolver.port) if isinstance(each, str) else each for each in resolver.nameservers
                ]
                self._resolver = resolver
                self._read = version
        except (OSError, dns.exception.DNSException) as error:
            raise ResolutionFailed(f"no name server: {RESOLV_CONF}: {_why(error)}") from None
        return self._resolver


def _negative_ttl(response: dns.message.Message) -> float:
    """RFC 2308 section 5."""
    try:
        return response.resolve_chaining().minimum_ttl if isinstance(response, dns.message.QueryMessage) else 0.0
    except dns.exception.DNSException:
        return 0.0


def _why(error: Exception) -> str:
    if isinstance(error, dns.exception.Timeout):
        return "no answer"
    return str(error)[:200] or type(error).__name__
