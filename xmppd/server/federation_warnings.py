"""What is probably not meant where this server talks to others; said at start, at a reload and by `xmppd check`."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cryptography import x509

from ..config import Problem, ServerConfig, ServerListenerConfig, host_problem, problem_at
from ..jid import prepare_domain
from ..net.certificate_names import Names, names_of

NOT_PUBLIC: Final = frozenset(
    ("localhost", "local", "test", "example", "invalid", "internal", "lan", "home", "onion", "arpa")
)
"""Ends of names that no public DNS leads to (RFC 6761, RFC 6762, RFC 7686, RFC 8375)."""


def federation_warnings(config: ServerConfig, path: Path) -> list[Problem]:
    """`path`: the file of the configuration. Nothing is made."""
    if not config.talks_to_others:
        return []
    return [*_unreachable(config, path), *_nameless(config, path), *_useless(config, path)]


def _unreachable(config: ServerConfig, path: Path) -> Iterator[Problem]:
    listeners = [(at, each) for at, each in enumerate(config.listeners) if isinstance(each, ServerListenerConfig)]
    public = [domain for domain in config.hosts if _is_public(domain)]
    if public and all(each.is_loopback for _, each in listeners):
        at, listener = listeners[0]
        why = f"other servers cannot connect to {listener.address}, so {public[0]} gets nothing from them"
        yield problem_at(path, ("listeners", at, "address"), why)


def _nameless(config: ServerConfig, path: Path) -> Iterator[Problem]:
    known: list[Names] = []
    for domain in config.hosts:
        try:
            chain, _ = config.certificate_files(domain)
            known.append(names_of(x509.load_pem_x509_certificate(chain.read_bytes())))
        except (OSError, ValueError):
            continue  # a certificate that is needed is missed elsewhere
    for domain in (*config.hosts, *config.components):
        if domain in config.hosts and config.self_signed(domain):
            continue
        if not any(names.cover(domain) for names in known):
            why = f"no certificate names {domain}: some other servers will not talk to it (docs/howto/federation.md)"
            if domain in config.hosts:
                yield host_problem(path, domain, "", why)
            else:
                yield problem_at(path, ("components", domain), why)


def _useless(config: ServerConfig, path: Path) -> Iterator[Problem]:
    federation = config.federation
    for option in ("allow", "block"):
        for at, each in enumerate(getattr(federation, option)):
            own = not each.startswith("*.") and prepare_domain(each) in (*config.hosts, *config.components)
            if own:
                yield problem_at(path, ("federation", option, at), f"{each} is of this server: it changes nothing")
    for domain in federation.domains:
        if not federation.reaches(domain):
            why = "this server does not talk to it (`allow`, `block`): what is said here changes nothing"
            yield problem_at(path, ("federation", "domains", domain), why)


def _is_public(domain: str) -> bool:
    try:
        return ipaddress.ip_address(domain.strip("[]")).is_global
    except ValueError:
        return "." in domain and domain.rpartition(".")[2] not in NOT_PUBLIC
