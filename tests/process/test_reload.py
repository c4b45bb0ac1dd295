"""T52: SIGHUP and `xmppd reload` in a running server: certificates, options, and files that are broken."""

from __future__ import annotations

import json
import os
import signal
import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.process.client import SignInFailed, Wire
from tests.process.server import ServerProcess, configuration
from xmppd.contracts.admin import OperationError
from xmppd.net.tls import make_self_signed

PING = "<ping xmlns='urn:xmpp:ping'/>"


def changed(process: ServerProcess, **parts: Any) -> None:
    """Write the file anew; the listeners stay as they are."""
    process.config.write_text(configuration(**parts))


async def hang_up(process: ServerProcess, said: str) -> None:
    os.kill(process.pid, signal.SIGHUP)
    await process.logged(said)


def other_certificate(folder: Path) -> tuple[Path, Path]:
    certificate, key = folder / "other.crt", folder / "other.key"
    make_self_signed(["localhost"], certificate, key)
    return certificate, key


async def presented(process: ServerProcess, tls: str) -> str:
    """The certificate that a new connection sees."""
    async with await Wire.connect(process.port(tls), tls) as wire:
        encoded = wire._writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return ssl.DER_cert_to_PEM_cert(encoded)


@pytest.mark.parametrize("tls", ["starttls", "direct"])
async def test_certificates_are_renewed_under_live_connections(process: ServerProcess, tls: str) -> None:
    await process.account("romeo")
    first = await presented(process, tls)
    async with await Wire.login(process.port(tls), "romeo", tls=tls) as romeo:
        certificate, key = other_certificate(process.folder)
        certificate.replace(process.certificate)
        key.replace(process.certificate.with_suffix(".key"))
        await hang_up(process, "changed: the certificate of localhost")
        second = await presented(process, tls)
        assert second != first
        assert second == process.certificate.read_text()
        assert (await romeo.iq(PING, to="localhost")).get("type") == "result"
        async with await Wire.login(process.port(tls), "romeo", tls=tls):
            pass  # by SCRAM with channel binding to the new one


async def test_half_a_renewal_keeps_the_old_certificate(process: ServerProcess) -> None:
    """The new chain is there and the key is not: the moment between two copies."""
    first = await presented(process, "direct")
    certificate, key = other_certificate(process.folder)
    certificate.replace(process.certificate)
    await hang_up(process, "the configuration is as it was")
    assert "is not the key of" in process.log
    assert await presented(process, "direct") == first
    key.replace(process.certificate.with_suffix(".key"))
    await hang_up(process, "changed: the certificate of localhost")
    assert await presented(process, "direct") == process.certificate.read_text()


async def test_a_certificate_at_another_place(process: ServerProcess) -> None:
    certificate, _ = other_certificate(process.folder)
    text = json.loads(configuration())
    text["hosts"]["localhost"] |= {"certificate": "other.crt", "key": "other.key"}
    process.config.write_text(json.dumps(text))
    outcome = await process.cli("reload")
    assert outcome.status == 0, outcome.text
    assert outcome.out.strip() == "changed: the certificate of localhost"
    assert await presented(process, "starttls") == certificate.read_text()


async def test_broken_yaml_keeps_what_is(process: ServerProcess) -> None:
    await process.account("romeo")
    async with await Wire.login(process.port(), "romeo") as romeo:
        good = process.config.read_text()
        process.config.write_text("hosts: {localhost: {}}\nlisteners: [{port: 99999}]\nlimit: 1\n")
        await hang_up(process, "the configuration is as it was")
        for said in ("listeners[0].port", "did you mean 'limits'?"):
            assert said in process.log
        assert (await romeo.iq(PING, to="localhost")).get("type") == "result"
        process.config.write_text("hosts: {localhost: {plugins: {rostre: true}}}\nlisteners: [{}]\n")
        with pytest.raises(OperationError, match="did you mean 'roster'"):
            await process.operation("reload")
        process.config.write_text(good)
        await hang_up(process, "changed: nothing")


async def test_options_limits_and_what_needs_a_restart(process: ServerProcess) -> None:
    await process.account("romeo")
    changed(
        process,
        plugins={"version": {"os": True}, "last_activity": False},
        limits={"sign_in": {"account_failures": 1, "first_wait": "1 hour", "longest_wait": "1 hour"}},
        log={"level": "debug"},
        storage="sqlite:///var/elsewhere.db",
    )
    outcome = await process.cli("reload")
    assert outcome.out.splitlines() == [
        "changed: log, limits, hosts.localhost.plugins.version",
        "needs a restart: storage, the set of plugins of localhost (last_activity)",
    ]
    assert "needs a restart: storage, the set of plugins of localhost (last_activity)" in process.log
    async with await Wire.login(process.port(), "romeo") as romeo:
        answer = await romeo.iq("<query xmlns='jabber:iq:version'/>", to="localhost")
        assert answer[0].find("{jabber:iq:version}os") is not None
    for said in ("not-authorized", "temporary-auth-failure"):
        async with await Wire.connect(process.port()) as wire:
            with pytest.raises(SignInFailed, match=said):
                await wire.sign_in("romeo", "wrong")


async def test_the_log_file_is_opened_anew(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, configuration(log={"file": "xmppd.log"}))
    server._log = tmp_path / "xmppd.log"
    await server.start()
    try:
        (tmp_path / "xmppd.log").rename(tmp_path / "xmppd.log.1")
        server._seen = 0
        await hang_up(server, "configuration read again")
        assert await server.stop() == 0
        assert "stopped" in server.log
    finally:
        server.kill()


async def test_without_a_server_there_is_nothing_to_reload(process: ServerProcess) -> None:
    await process.stop()
    outcome = await process.cli("reload")
    assert outcome.status == 3
    assert f"no server is running here ({process.folder}/var/xmppd.sock)" in outcome.err


async def test_hang_ups_end_nothing(process: ServerProcess) -> None:
    for _ in range(20):
        os.kill(process.pid, signal.SIGHUP)
    await process.logged("configuration read again")
    assert await process.stop() == 0
