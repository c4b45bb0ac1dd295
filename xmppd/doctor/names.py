"""SRV records (RFC 6120 section 3.2.1, XEP-0368)."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass

from ..errors import MalformedJid
from ..jid import ascii_domain
from .client import Address
from .model import Verdict, failed, passed

try:
    import dns.asyncresolver
    import dns.exception
    import dns.resolver
except ImportError:  # pragma: no cover - it comes with the store's driver
    AVAILABLE = False
else:
    AVAILABLE = True

DIRECT = {"_xmpps-client": True, "_xmpp-client": False}


@dataclass(frozen=True)
class Srv:
    """One record."""

    priority: int
    weight: int
    port: int
    target: str

    def __str__(self) -> str:
        return f"{self.target}:{self.port}"

    @property
    def nothing(self) -> bool:
        """The target `.`: the service is decidedly not there (RFC 2782)."""
        return self.target == ""


class NotChecked(Exception):
    """DNS cannot be asked; the text says why."""


def is_local(domain: str) -> bool:
    """Not in DNS (RFC 6761, RFC 6762), or not a name."""
    try:
        ipaddress.ip_address(domain.strip("[]"))
    except ValueError:
        return domain.rpartition(".")[2] in ("localhost", "local", "test", "invalid")
    return True


async def ask(service: str, domain: str, resolver: tuple[str, int] | None, within: float) -> list[Srv]:
    """The records, best first. `within`: seconds. Raises NotChecked."""
    if not AVAILABLE:
        raise NotChecked("dnspython is not installed")
    try:
        domain = ascii_domain(domain)
    except MalformedJid as error:
        raise NotChecked(f"{domain}: {error}") from None
    if is_local(domain) and resolver is None:
        raise NotChecked(f"{domain} is not in DNS")
    try:
        asked = dns.asyncresolver.Resolver(configure=resolver is None)
        if resolver is not None:
            asked.nameservers, asked.port = [resolver[0]], resolver[1]
        answer = await asked.resolve(f"{service}._tcp.{domain}", "SRV", lifetime=within, search=False)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return []
    except (dns.exception.DNSException, OSError) as error:
        raise NotChecked(f"DNS does not answer ({type(error).__name__})") from None
    found = [Srv(each.priority, each.weight, each.port, str(each.target).rstrip(".")) for each in answer]
    return sorted(found, key=lambda each: (each.priority, -each.weight))


async def host_addresses(host: str, resolver: tuple[str, int] | None, within: float) -> list[str]:
    """Of a host, IPv6 first; empty when it has none. `within`: seconds. Raises NotChecked."""
    try:
        return [str(ipaddress.ip_address(host.strip("[]")))]
    except ValueError:
        pass
    if resolver is None:  # as every program on this machine, /etc/hosts included
        try:
            async with asyncio.timeout(within):
                found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except socket.gaierror:
            return []
        except (OSError, TimeoutError) as error:
            raise NotChecked(f"{host} cannot be looked up ({type(error).__name__})") from None
        return sorted({str(each[4][0]) for each in found}, key=lambda each: (":" not in each, each))
    asked = dns.asyncresolver.Resolver(configure=False)
    asked.nameservers, asked.port = [resolver[0]], resolver[1]
    addresses: list[str] = []
    for kind in ("AAAA", "A"):
        try:
            addresses += map(str, await asked.resolve(host, kind, lifetime=within, search=False))
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            continue
        except (dns.exception.DNSException, OSError) as error:
            raise NotChecked(f"DNS does not answer ({type(error).__name__})") from None
    return addresses


def judge(records: list[Srv], wanted: bool = True) -> Verdict:
    """`wanted`: without the record something does not work; else it only would be better."""
    there = [str(each) for each in records if not each.nothing]
    if there:
        return passed(", ".join(there))
    if records:
        return failed("the record says that there is no such service")
    return failed("no record" if wanted else "no record; clients try the domain itself")


def addresses(secure: list[Srv], plain: list[Srv], domain: str) -> list[Address]:
    """Where clients try, in order: both kinds mixed by priority (XEP-0368 section 5), else the domain itself."""
    mixed = [(each, True) for each in secure] + [(each, False) for each in plain]
    mixed.sort(key=lambda entry: (entry[0].priority, -entry[0].weight))
    found = [Address(each.target, each.port, direct) for each, direct in mixed if not each.nothing]
    return found or [Address(domain.strip("[]"), 5222)]
