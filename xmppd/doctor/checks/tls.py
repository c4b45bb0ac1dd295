"""Encryption, certificate, channel binding, federation: seen from outside, without an account."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from .. import certificate, names
from ..client import Address
from ..model import Category, Level, Verdict, failed, judged, passed
from ..probe import SASL, Probe, ProbeError, Purpose, probe
from ..registry import at, check
from ..visit import Visit, reached

BINDINGS = "urn:xmpp:sasl-cb:0"
CORE = at(Category.CORE, Level.CORE)
BELIEVED = "Get a certificate that clients believe, for the domain of the addresses (docs/howto/certificates.md)."


def mechanisms(features: ET.Element) -> list[str]:
    """The SASL mechanisms of stream features."""
    return [each.text or "" for each in features.findall(f"{{{SASL}}}mechanisms/{{{SASL}}}mechanism")]


def binding_types(features: ET.Element) -> list[str]:
    """XEP-0440."""
    found = features.findall(f"{{{BINDINGS}}}sasl-channel-binding/{{{BINDINGS}}}channel-binding")
    return [each.get("type", "") for each in found]


def judge_tls(seen: Probe) -> Verdict:
    if seen.version not in ("TLSv1.2", "TLSv1.3"):
        return failed(f"{seen.version} is too old (RFC 8996)")
    if not seen.required:
        return failed("signing in is offered before encryption", "Let the server require encryption of clients.")
    return passed(f"{seen.version}, required")


def judge_plus(found: Collection[str]) -> Verdict:
    plus = sorted(each for each in found if each.endswith("-PLUS"))
    return judged(bool(plus), ", ".join(plus), f"only {', '.join(sorted(found)) or 'no mechanism'}")


def judge_types(found: Collection[str]) -> Verdict:
    """RFC 9266 and RFC 5929; tls-unique is undefined in TLS 1.3."""
    good = [each for each in found if each in ("tls-exporter", "tls-server-end-point")]
    return judged(bool(good), ", ".join(found), f"only {', '.join(found)}" if found else "not told")


@check(
    "tls", "Encryption is required", CORE, sources="RFC 7590, RFC 6120", before=True,
    mend="Offer TLS 1.3 and 1.2 on the port of the clients, and require it.",
)  # fmt: skip
async def tls(visit: Visit) -> Verdict:
    return judge_tls(await visit.once(reached))


@check(
    "tls-1.3", "TLS 1.3", at(Category.CONNECTION), sources="RFC 8446", before=True,
    mend="Let the server offer TLS 1.3; current clients insist on it.",
)  # fmt: skip
async def newest(visit: Visit) -> Verdict:
    version = (await visit.once(reached)).version
    return judged(version == "TLSv1.3", version, f"only {version}")


async def _certificate(visit: Visit) -> certificate.Certificate:
    return certificate.read((await visit.once(reached)).certificate)


@check("certificate-chain", "Certificate: issuer", CORE, sources="RFC 7590", mend=BELIEVED, before=True)
async def chain(visit: Visit) -> Verdict:
    return certificate.judge_chain((await visit.once(reached)).problem, await visit.once(_certificate))


@check("certificate-names", "Certificate: names", CORE, sources="RFC 6120", mend=BELIEVED, before=True)
async def named(visit: Visit) -> Verdict:
    return certificate.judge_names(await visit.once(_certificate), visit.domain)


@check(
    "certificate-expiry", "Certificate: validity", CORE, sources="RFC 7590", before=True,
    mend="Renew the certificate, and see why that does not happen by itself.",
)  # fmt: skip
async def expiry(visit: Visit) -> Verdict:
    return certificate.judge_expiry(await visit.once(_certificate), datetime.now(UTC))


@check(
    "sasl-plus", "SASL mechanisms with channel binding", at(Category.CONNECTION), sources="RFC 5802", before=True,
    mend="Let the server offer SCRAM-SHA-256-PLUS; with TLS 1.3 that needs tls-exporter or tls-server-end-point.",
)  # fmt: skip
async def plus(visit: Visit) -> Verdict:
    return judge_plus(mechanisms((await visit.once(reached)).features))


@check(
    "channel-binding-types", "Types of channel binding are told", at(Category.CONNECTION), sources="XEP-0440",
    mend="Enable XEP-0440, so that clients can choose a type that works.", before=True,
)  # fmt: skip
async def types(visit: Visit) -> Verdict:
    return judge_types(binding_types((await visit.once(reached)).features))


@check(
    "direct-tls", "Direct TLS", at(Category.CORE, Level.ADVANCED), sources="XEP-0368", tester=True, before=True,
    mend="Let the server take TLS from the first byte on a port (usually 5223), and add SRV _xmpps-client.",
)  # fmt: skip
async def direct(visit: Visit) -> Verdict:
    options = visit.options
    if options.address is not None and options.address.direct:
        tried = [options.address]
    else:
        host = options.address.host if options.address is not None else visit.domain
        tried = await _targets(visit, "_xmpps-client") or [Address(host, options.direct_tls_port, True)]
    return await _any(visit, tried)


@check(
    "federation", "Other servers can connect", at(Category.CONNECTION), sources="RFC 6120", before=True,
    mend="Let the server listen for servers (usually port 5269), and add SRV _xmpp-server.",
)  # fmt: skip
async def federation(visit: Visit) -> Verdict:
    options = visit.options
    host = options.address.host if options.address is not None else visit.domain
    tried = [*await _targets(visit, "_xmpps-server"), *await _targets(visit, "_xmpp-server")]
    return await _any(visit, tried or [Address(host, options.server_port)], server=True)


async def _targets(visit: Visit, service: str) -> list[Address]:
    try:
        found = await names.ask(service, visit.domain, visit.options.resolver, visit.timeout)
    except names.NotChecked:
        return []
    return [Address(each.target, each.port, service.startswith("_xmpps")) for each in found if not each.nothing]


async def _any(visit: Visit, tried: list[Address], server: bool = False) -> Verdict:
    problems = []
    for address in tried:
        try:
            purpose: Purpose = "server" if server else "client"
            seen = await probe(address, visit.domain, visit.options.ca_file, visit.timeout, purpose)
        except ProbeError as error:
            problems.append(str(error))
        else:
            return passed(f"{address.host}:{address.port}, {seen.version}")
    return failed("; ".join(problems))
