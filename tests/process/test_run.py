"""xmppd run: start, ports, files, and the end."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import signal
import socket
import ssl
import stat
from pathlib import Path

import pytest

from tests.process.client import SignInFailed, Wire
from tests.process.server import COMMAND, ServerProcess, configuration, environment, xmppd
from xmppd.server.library_advice import advice


async def started(folder: Path, text: str) -> ServerProcess:
    return await ServerProcess(folder, text).start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_ends_in_order_at_a_signal(process: ServerProcess, number: int) -> None:
    """Clients are told, the status is 0, nothing is left behind."""
    await process.account("romeo")
    async with await Wire.login(process.port(), "romeo") as romeo:
        status = await process.stop(number)
        assert await romeo.stream_error() == "system-shutdown"
    assert status == 0
    assert "stopped" in process.log
    assert not process.socket.exists()


async def test_two_signals_are_one(process: ServerProcess) -> None:
    os.kill(process.pid, signal.SIGTERM)
    os.kill(process.pid, signal.SIGINT)
    assert await process.stop() == 0


async def test_files_of_the_first_start_are_private(process: ServerProcess) -> None:
    for path in (process.folder / "var" / "secret", process.certificate.with_suffix(".key"), process.socket):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert len((process.folder / "var" / "secret").read_bytes()) == 32


async def test_what_the_libraries_lack_is_said_at_the_start(process: ServerProcess) -> None:
    """The same interpreter, so the same expat and lxml: on a current system nothing."""
    said = [line for line in process.log.splitlines() if "expat" in line or "lxml" in line]
    assert len(said) == len(advice())
    assert all(any(text in line for line in said) for text in advice())


async def test_the_self_signed_certificate_is_valid_and_kept(process: ServerProcess) -> None:
    """Who trusts it can verify the name; the next start does not make another."""
    made = process.certificate.read_bytes()
    context = ssl.create_default_context(cafile=str(process.certificate))
    for tls in ("starttls", "direct"):
        async with await Wire.connect(process.port(tls), tls, context):
            pass
    assert await process.stop() == 0
    await process.start()
    assert process.certificate.read_bytes() == made


async def test_the_start_says_how_to_tell_the_self_signed_certificate(process: ServerProcess) -> None:
    """Its file, and the fingerprint that clients show."""
    encoded = ssl.PEM_cert_to_DER_cert(process.certificate.read_text())
    await process.logged(f"SHA-256 {hashlib.sha256(encoded).digest().hex(':').upper()}")
    assert str(process.certificate.name) in process.log


async def test_log_lines(process: ServerProcess) -> None:
    """Who signs in from where and by what; who fails; never a password."""
    await process.account("romeo")
    async with await Wire.login(process.port(), "romeo"):
        pass
    async with await Wire.connect(process.port()) as wire:
        with pytest.raises(SignInFailed, match="not-authorized"):
            await wire.sign_in("romeo", "wrong-secret", "PLAIN")
    await process.logged("sign-in from 127.0.0.1 failed: not-authorized")
    assert "account romeo@localhost created" in process.log
    assert "romeo@localhost signed in from 127.0.0.1 by SCRAM-SHA-512-PLUS" in process.log
    assert "pencil" not in process.log
    assert "wrong-secret" not in process.log


async def test_log_to_a_file_as_json(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, configuration(log={"file": "xmppd.log", "format": "json"}))
    server._log = tmp_path / "xmppd.log"
    await server.start()
    assert '"logger": "xmppd"' in server.log
    assert await server.stop() == 0


async def test_a_second_server_with_the_same_configuration_is_refused(process: ServerProcess) -> None:
    outcome = await process.cli("run")
    assert outcome.status == 1
    assert f"another server is running here ({process.folder}/var/xmppd.sock)" in outcome.err
    await process.operation("ping")


async def test_a_second_server_on_the_same_database_is_refused(process: ServerProcess, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(configuration(var="other"))
    outcome = await xmppd("run", "--config", "other.yaml", cwd=tmp_path)
    assert outcome.status == 3
    assert "var/xmppd.db is in use by another process" in outcome.err


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "xmppd.yaml").write_text(
            configuration(listeners=[{"address": "127.0.0.1", "port": port, "tls": "direct"}])
        )
        outcome = await xmppd("run", "--config", "xmppd.yaml", cwd=tmp_path)
    assert outcome.status == 2
    assert outcome.err.splitlines()[-1].startswith("xmppd.yaml:")
    assert f" listeners[0]: 127.0.0.1 port {port} cannot be opened: Address already in use" in outcome.err
    assert not (tmp_path / "var" / "xmppd.sock").exists()


async def test_a_stale_control_socket_is_replaced(process: ServerProcess) -> None:
    await process.crash()
    assert process.socket.exists()
    await process.start()
    assert await process.operation("ping") == {"note": "pong"}


async def test_a_file_in_place_of_the_control_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "xmppd.yaml").write_text(configuration(control="notes.txt"))
    (tmp_path / "notes.txt").write_text("mine")
    outcome = await xmppd("run", "--config", "xmppd.yaml", cwd=tmp_path)
    assert outcome.status == 2
    assert "notes.txt is there and is not a socket" in outcome.err
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"var": "file"}, "file"),
        ({"storage": "sqlite:///file/xmppd.db"}, "cannot be written"),
        ({"storage": "sqlite:///file"}, "file"),
        ({"log": {"file": "missing/xmppd.log"}}, "missing/xmppd.log"),
        ({"plugin_path": ["missing"]}, "missing"),
        ({"hosts": {"example.org": {}}}, "example.org"),
        ({"hosts": {"example.org": {"certificate": "file", "key": "file"}}}, "file"),
    ],
)
async def test_what_cannot_start_says_why(tmp_path: Path, change: dict[str, object], said: str) -> None:
    (tmp_path / "file").write_text("This is neither a folder nor a database nor a certificate.\n" * 50)
    (tmp_path / "xmppd.yaml").write_text(configuration(**change))  # type: ignore[arg-type]
    outcome = await xmppd("run", "--config", "xmppd.yaml", cwd=tmp_path)
    assert outcome.status == 2
    assert said in outcome.err
    assert len(outcome.err.strip().splitlines()) <= 3, outcome.err
    assert sorted(os.listdir(tmp_path)) == ["file", "xmppd.yaml"]  # it made nothing


async def test_without_the_database_server_it_starts_and_says_so(tmp_path: Path) -> None:
    """Sign-in is refused for the moment, not for good; the end is in order."""
    server = await started(tmp_path, configuration("mongodb://127.0.0.1:1/x"))
    try:
        assert "not ready; the store does not answer" in server.log
        assert "Topology" not in server.log
        waiting = [line for line in server.log.splitlines() if "waits for the store" in line]
        assert len(waiting) == len(set(line.partition("takes nothing")[0][20:] for line in waiting))  # each host once
        async with await Wire.connect(server.port()) as wire:
            with pytest.raises(SignInFailed, match="temporary-auth-failure"):
                await wire.sign_in("romeo")
        added = await server.cli("user", "add", "romeo@localhost", "--password", "pencil")
        assert added.status == 3
        assert "the store does not answer" in added.err
        assert "Topology" not in added.err
        assert await server.stop() == 0
        assert "Traceback" not in server.log, server.log
    finally:
        server.kill()


@pytest.mark.parametrize("named", [True, False])
async def test_the_command_that_the_start_names_works_as_pasted(process: ServerProcess, named: bool) -> None:
    """In the folder where the server was started, whichever way the configuration was found."""
    if not named:
        await process.stop()
        await process.start(named=False)
    await process.logged("Add an account:")
    found = re.search(r"Add an account: +(.*)", process.log)
    assert found is not None
    assert ("--config" in found[1]) is named
    shell = await asyncio.create_subprocess_exec(
        "bash", "-c", f"{found[1]} --password pencil", cwd=process.folder, env=environment(),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(shell.communicate(), COMMAND)
    assert said.decode() == "Added romeo@localhost.\n"
