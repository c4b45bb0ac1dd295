"""xmppd doctor: what can a server do?"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import signal
import sys
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import ConfigOption, complaints, console, fail
from .doctor_domain import examine

if TYPE_CHECKING:
    from ..doctor.client import Address
    from ..doctor.model import Report
    from ..doctor.visit import Options

PASSWORD = "XMPPD_DOCTOR_PASSWORD"


def doctor(
    jid: Annotated[
        str,
        typer.Argument(help="An account on the server, as name@domain; or a domain.", metavar="JID|DOMAIN"),
    ],
    password_file: Annotated[
        Path | None,
        typer.Option(help=f"The password is the first line of this file; else ${PASSWORD}, else asked for."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON object.")] = False,
    insecure: Annotated[bool, typer.Option(help="Sign in even if the certificate is not trusted.")] = False,
    ca_file: Annotated[Path | None, typer.Option(help="Trust these authorities (PEM), too.")] = None,
    host: Annotated[str | None, typer.Option(help="Connect here instead of where DNS says.")] = None,
    port: Annotated[int | None, typer.Option(help="The port there [5222, with --direct-tls 5223].")] = None,
    direct_tls: Annotated[bool, typer.Option("--direct-tls", help="TLS from the first byte there.")] = False,
    direct_tls_port: Annotated[int, typer.Option(help="Where to try direct TLS if DNS does not say.")] = 5223,
    server_port: Annotated[int, typer.Option(help="Where servers connect if DNS does not say.")] = 5269,
    web: Annotated[
        str, typer.Option(help="Look for host-meta, WebSocket and BOSH here [https://DOMAIN].", metavar="URL")
    ] = "",
    resolver: Annotated[str, typer.Option(help="Ask this name server.", metavar="ADDRESS[:PORT]")] = "",
    timeout: Annotated[float, typer.Option(help="Seconds to wait for any answer.", min=0.1)] = 10.0,
    config: ConfigOption = None,
) -> None:
    """Sign in to any server and check what it can do (XEP-0479). Leaves nothing behind.

    With a domain: check from outside what other servers need of it, and have the server that runs here ask it.

    Exit status: 0 all advanced levels are reached, 4 all core levels, 5 not that, 3 could not sign in, 2 wrong options.
    Of a domain: 0 nothing is wrong, 5 something is, 3 it was not reached.
    """
    from ..doctor.model import Status
    from ..doctor.visit import Options

    if ca_file is not None and not ca_file.is_file():
        fail(f"{ca_file}: there is no such file", Status.WRONG)
    if "@" not in jid:
        where = None
        if host is not None or port is not None or direct_tls:
            where = (host or jid, port or (5270 if direct_tls else server_port), direct_tls)
        examine(jid, where, server_port, ca_file, _resolver(resolver), timeout, config, as_json)
    address = _address(jid, host, port, direct_tls)
    options = Options(
        jid, _password(password_file), address, direct_tls_port, server_port, web, insecure, ca_file,
        _resolver(resolver), timeout,
    )  # fmt: skip
    _run(options, as_json)


def _run(options: Options, as_json: bool) -> None:
    from ..doctor import report as reports
    from ..doctor.model import Report, Status

    report = Report(options.bare)
    try:
        asyncio.run(_examine(options, report))
    except asyncio.CancelledError:
        for what in report.left_behind:
            complaints.print(f"left behind on the server: {what}", markup=False)
        fail(
            "interrupted; what was made is gone again" if not report.left_behind else "interrupted", Status.INTERRUPTED
        )
    if as_json:
        print(json.dumps(reports.as_json(report), indent=1))
    else:
        reports.print_report(report, console)
    raise typer.Exit(report.status)


async def _examine(options: Options, report: Report) -> None:
    """SIGINT and SIGTERM end it once; then it tidies up, whatever else comes."""
    import logging

    from ..doctor.examine import examine

    logging.getLogger("slixmpp").setLevel(logging.CRITICAL)  # what it has to say is in the rows
    task = asyncio.current_task()
    assert task is not None
    stopped = False

    def stop() -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    with complaints.status("…") as status:
        await examine(options, lambda check: status.update(check.title), report)


def _address(jid: str, host: str | None, port: int | None, direct: bool) -> Address | None:
    """Where to connect; None: as DNS says. Ends the program when the JID is none."""
    from slixmpp import JID, InvalidJID

    from ..doctor.client import Address
    from ..doctor.model import Status

    try:
        address = JID(jid)
    except InvalidJID:
        fail(f"expected an address such as name@example.org, got {jid!r}", Status.WRONG)
    if not address.user or address.resource:
        fail(f"expected an address such as name@example.org, got {jid!r}", Status.WRONG)
    if host is None and port is None and not direct:
        return None
    return Address(host or address.domain, port or (5223 if direct else 5222), direct)


def _resolver(text: str) -> tuple[str, int] | None:
    from ..doctor.model import Status

    if not text:
        return None
    host, _, port = text.rpartition(":") if text.count(":") == 1 else (text.strip("[]"), "", "53")
    try:
        return str(ipaddress.ip_address(host)), int(port)
    except ValueError:
        fail(f"expected ADDRESS or ADDRESS:PORT, got {text!r}", Status.WRONG)


def _password(file: Path | None) -> str:
    from ..doctor.model import Status

    if file is not None:
        try:
            return file.read_text("utf-8").split("\n", 1)[0].rstrip("\r")
        except (OSError, UnicodeDecodeError) as error:
            fail(f"{file}: {error}", Status.WRONG)
    if PASSWORD in os.environ:
        return os.environ[PASSWORD]
    return getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
