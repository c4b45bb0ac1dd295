"""xmppd doctor DOMAIN: a domain as other servers see it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn

import typer

from ..admin.control import ControlClient
from ..config import ConfigError, find_config, load_config
from ..contracts.admin import Code, OperationError
from ..errors import MalformedJid
from ..hosts.loader import with_accounts
from ..jid import prepare_domain
from .common import complaints, console, fail


def examine(
    domain: str,
    where: tuple[str, int, bool] | None,
    server_port: int,
    ca_file: Path | None,
    resolver: tuple[str, int] | None,
    timeout: float,
    config: Path | None,
    as_json: bool,
) -> NoReturn:
    """Look, print, end the program. `where`: host, port, and whether TLS comes first."""
    from ..doctor import report as reports
    from ..doctor.client import Address
    from ..doctor.model import Status
    from ..doctor.servers import DomainOptions, examine_domain

    try:
        prepared = prepare_domain(domain)
    except MalformedJid:
        fail(f"expected an address such as name@example.org, or a domain, got {domain!r}", Status.WRONG)
    address = Address(*where) if where is not None else None
    options = DomainOptions(prepared, _asker(config), address, server_port, ca_file, resolver, timeout)
    try:
        with complaints.status("…") as status:
            report = asyncio.run(examine_domain(options, lambda check: status.update(check.title)))
    except KeyboardInterrupt:
        fail("interrupted", Status.INTERRUPTED)
    if as_json:
        print(json.dumps(reports.domain_as_json(report), indent=1))
    else:
        reports.print_domain(report, console)
    raise typer.Exit(report.status)


def _asker(config: Path | None) -> Callable[[str], Awaitable[str]]:
    """Has the running server of a configuration ask a domain for a sign of life."""
    from ..doctor.servers import NoEcho, NotTried

    async def ask(domain: str) -> str:
        try:
            loaded = load_config(find_config(config, os.environ))
        except ConfigError as error:
            raise NotTried(str(error).splitlines()[0]) from None
        try:
            client = await ControlClient.connect(loaded.control_socket)
            if client is None:
                raise NotTried("the server of the configuration here does not run")
            try:
                host = next(iter(with_accounts(loaded.hosts)), "")
                answer = await client.answer("domain.ping", {"domain": domain}, host)
            finally:
                client.close()
        except OperationError as error:
            if error.code in (Code.NOT_FOUND, Code.INVALID, Code.UNKNOWN):
                raise NotTried(str(error)) from None
            raise NoEcho(str(error)) from None
        return answer.text.splitlines()[0]

    return ask
