"""A domain as other servers see it: DNS, encryption, certificate, what it takes for proof, and an echo."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from . import certificate, names
from .client import Address
from .model import Category, Check, Result, Row, Status, Verdict, failed, judged, passed, skipped
from .probe import SASL, Probe, ProbeError, probe
from .registry import DOMAIN_CHECKS, at
from .registry import check as declared

DIALBACK: Final = "urn:xmpp:features:dialback"
TARGETS: Final = 6
"""Hosts that are looked at."""
ADDRESSES: Final = 4
"""Of each."""
SERVICES: Final = {"_xmpp-server": False, "_xmpps-server": True}
"""Whether TLS comes first."""
BELIEVED: Final = "Get a certificate that names the domain, from an authority (docs/howto/federation.md)."
check = partial(declared, among=DOMAIN_CHECKS, before=True)
HERE: Final = at(Category.SERVERS)


class NotTried(Exception):
    """There is nobody here who could ask; the text says why."""


class NoEcho(Exception):
    """The domain was asked and has not answered; the text says why."""


@dataclass(frozen=True)
class DomainOptions:
    """What was asked for. `address`: look there instead of where DNS says. `ping`: has a server beside the doctor ask
    the domain, and says in a line what came; raises NotTried, NoEcho."""

    domain: str
    ping: Callable[[str], Awaitable[str]]
    address: Address | None = None
    server_port: int = 5269
    ca_file: Path | None = None
    resolver: tuple[str, int] | None = None
    timeout: float = 10.0


@dataclass
class Target:
    """A host that DNS names. `seen`: what each of its addresses shows, or why it shows nothing."""

    where: Address
    addresses: list[str]
    seen: dict[str, Probe | str]

    @property
    def probes(self) -> list[Probe]:
        return [each for each in self.seen.values() if isinstance(each, Probe)]


class DomainVisit:
    """What has been seen of one domain. `records`: by service; a text where DNS could not be asked."""

    def __init__(self, options: DomainOptions) -> None:
        self.options = options
        self.domain = options.domain
        self.records: dict[str, list[names.Srv] | str] = {}
        self.targets: list[Target] = []

    @property
    def probes(self) -> list[Probe]:
        return [each for target in self.targets for each in target.probes]

    async def look(self) -> None:
        """Ask DNS, and connect to every address that it names."""
        options = self.options
        for service in SERVICES:
            try:
                self.records[service] = await names.ask(service, self.domain, options.resolver, options.timeout)
            except names.NotChecked as why:
                self.records[service] = str(why)
        self.targets = list(await asyncio.gather(*map(self._target, self._places()[:TARGETS])))

    def _places(self) -> list[Address]:
        if self.options.address is not None:
            return [self.options.address]
        found = [(each, SERVICES[service]) for service, records in self.records.items() for each in records
                 if isinstance(each, names.Srv)]  # fmt: skip
        if found:
            return [Address(each.target, each.port, direct) for each, direct in found if not each.nothing]
        return [Address(self.domain.strip("[]"), self.options.server_port)]

    async def _target(self, where: Address) -> Target:
        options = self.options
        try:
            addresses = await names.host_addresses(where.host, options.resolver, options.timeout)
        except names.NotChecked as why:
            return Target(where, [], {where.host: str(why)})
        tried = [each for each in addresses if _has_way(each, where.port)][:ADDRESSES]
        found = await asyncio.gather(*(self._probe(Address(each, where.port, where.direct)) for each in tried))
        return Target(where, addresses, dict(zip(tried, found, strict=True)))

    async def _probe(self, address: Address) -> Probe | str:
        options = self.options
        try:
            return await probe(address, self.domain, options.ca_file, options.timeout, "server")
        except ProbeError as error:
            return str(error)


@dataclass
class DomainReport:
    """The whole run. `reached`: some address has answered as a server of XMPP."""

    domain: str
    rows: list[Row]
    reached: bool

    @property
    def status(self) -> Status:
        if not self.reached:
            return Status.NO_SIGN_IN
        return Status.NOTHING if any(row.result is Result.FAIL for row in self.rows) else Status.ADVANCED


async def examine_domain(options: DomainOptions, started: Callable[[Check], None] = lambda check: None) -> DomainReport:
    """`started`: called with each check before it runs."""
    visit = DomainVisit(options)
    await visit.look()
    rows = []
    for each in DOMAIN_CHECKS.values():
        started(each)
        rows.append(Row(each, await each.look(visit)))
    return DomainReport(options.domain, rows, bool(visit.probes))


def _has_way(address: str, port: int) -> bool:
    """Whether this machine knows a way there; many have no IPv6. Nothing is sent."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as way:
        try:
            way.connect((address, port))
        except OSError:
            return False
    return True


# ---- DNS


def judge_records(records: list[names.Srv] | str, otherwise: str) -> Verdict:
    """`otherwise`: what holds without a record, which is nobody's mistake."""
    if isinstance(records, str):
        return skipped(f"not checked: {records}")
    if not records:
        return skipped(f"no record: {otherwise}")
    return names.judge(records)


@check(
    "srv-server", "SRV _xmpp-server", HERE, sources="RFC 6120",
    mend="Add the DNS record `_xmpp-server._tcp.DOMAIN. SRV 0 5 5269 HOST.` (docs/howto/federation.md).",
)  # fmt: skip
async def plain_records(visit: DomainVisit) -> Verdict:
    return judge_records(
        visit.records["_xmpp-server"], f"others try {visit.domain} at port {visit.options.server_port}"
    )


@check(
    "srv-server-direct", "SRV _xmpps-server", HERE, sources="XEP-0368",
    mend="Add the DNS record `_xmpps-server._tcp.DOMAIN. SRV 0 5 5270 HOST.`, or remove it.",
)  # fmt: skip
async def direct_records(visit: DomainVisit) -> Verdict:
    return judge_records(visit.records["_xmpps-server"], "nobody tries direct TLS")


def judge_addresses(targets: Iterable[Target]) -> Verdict:
    found: list[str] = []
    missing: list[str] = []
    for target in targets:
        families = sorted({f"IPv{ipaddress.ip_address(each).version}" for each in target.addresses})
        (found if families else missing).append(f"{target.where.host}: {' and '.join(families) or 'no address'}")
    if missing or not found:
        return failed("; ".join(missing) or "there is no host to connect to")
    return passed("; ".join(dict.fromkeys(found)))


@check(
    "addresses", "Addresses of its hosts", HERE, sources="RFC 6120",
    mend="Give each host that an SRV record names an A or AAAA record.",
)  # fmt: skip
async def addresses(visit: DomainVisit) -> Verdict:
    return judge_addresses(visit.targets)


# ---- connections


def judge_connections(targets: list[Target], what: str) -> Verdict:
    """Each address of each host must answer: who comes first to one that does not loses time, or gives up."""
    if not targets:
        return skipped(f"no record leads to {what}")
    silent = [each for target in targets for each in target.seen.values() if isinstance(each, str)]
    if silent:
        return failed("; ".join(silent))
    seen = [each for target in targets for each in target.probes]
    old = [each for each in seen if each.version not in ("TLSv1.2", "TLSv1.3")]
    if old or not seen:
        return failed(
            "; ".join(f"{each.address}: {each.version} is too old (RFC 8996)" for each in old)
            or "none of its addresses can be tried from here"
        )
    return passed(", ".join(f"{each.address.host}:{each.address.port} {each.version}" for each in seen))


REACHED: Final = "Let the server listen there for servers, and the firewall let them in (docs/howto/federation.md)."


@check("starttls", "STARTTLS for servers", HERE, sources="RFC 6120, RFC 7590", mend=REACHED)
async def starttls(visit: DomainVisit) -> Verdict:
    return judge_connections([each for each in visit.targets if not each.where.direct], "STARTTLS")


@check("direct-tls", "Direct TLS for servers", HERE, sources="XEP-0368", mend=REACHED)
async def direct_tls(visit: DomainVisit) -> Verdict:
    return judge_connections([each for each in visit.targets if each.where.direct], "direct TLS")


# ---- the certificate


def _each(visit: DomainVisit, judge: Callable[[Probe, certificate.Certificate], Verdict]) -> Verdict:
    """The first certificate that is not right, or the one that all show."""
    verdict = skipped("no server was reached")
    for seen in visit.probes:
        try:
            verdict = judge(seen, certificate.read(seen.certificate))
        except ValueError as error:
            verdict = failed(f"cannot be read: {error}")
        if verdict.result is Result.FAIL:
            return failed(f"{seen.address.host}:{seen.address.port}: {verdict.found}", verdict.mend)
    return verdict


@check("certificate-chain", "Certificate: issuer", HERE, sources="RFC 6120, RFC 7590", mend=BELIEVED)
async def chain(visit: DomainVisit) -> Verdict:
    return _each(visit, lambda seen, found: certificate.judge_chain(seen.problem, found))


@check("certificate-names", "Certificate: names", HERE, sources="RFC 6120, RFC 9525", mend=BELIEVED)
async def named(visit: DomainVisit) -> Verdict:
    return _each(visit, lambda seen, found: certificate.judge_names(found, visit.domain))


@check(
    "certificate-expiry", "Certificate: validity", HERE, sources="RFC 7590",
    mend="Renew the certificate, and see why that does not happen by itself.",
)  # fmt: skip
async def expiry(visit: DomainVisit) -> Verdict:
    return _each(visit, lambda seen, found: certificate.judge_expiry(found, datetime.now(UTC)))


# ---- proofs, and an echo


def judge_proofs(seen: Probe) -> Verdict:
    """A server that is asked without a certificate need not offer EXTERNAL (XEP-0178 section 3)."""
    mechanisms = [each.text or "" for each in seen.features.findall(f"{{{SASL}}}mechanisms/{{{SASL}}}mechanism")]
    dialback = seen.features.find(f"{{{DIALBACK}}}dialback") is not None
    offered = [*(["EXTERNAL"] if "EXTERNAL" in mechanisms else []), *(["dialback"] if dialback else [])]
    if not offered:
        return skipped("nothing is offered to who shows no certificate")
    note = "" if "EXTERNAL" in offered else " (EXTERNAL is for who shows a certificate; the doctor has none)"
    return judged(bool(offered), " and ".join(offered) + note, "")


@check("proofs", "What it takes for proof", HERE, sources="XEP-0178, XEP-0220", mend="")
async def proofs(visit: DomainVisit) -> Verdict:
    return judge_proofs(visit.probes[0]) if visit.probes else skipped("no server was reached")


@check(
    "echo", "It answers this server", HERE, sources="XEP-0199",
    mend="See what `xmppd domain list` and the logs of both servers say.",
)  # fmt: skip
async def echo(visit: DomainVisit) -> Verdict:
    try:
        return passed(await visit.options.ping(visit.domain))
    except NotTried as why:
        return skipped(f"not tried: {why}")
    except NoEcho as error:
        return failed(str(error))
