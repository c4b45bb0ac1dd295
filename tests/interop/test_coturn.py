"""The credentials of XEP-0215 open a real TURN server, until they expire."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugins.external_services import expiring
from tests.harness import Harness
from tests.interop.turn import allocate

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(
        shutil.which("turnserver") is None and os.environ.get("CI") != "true", reason="TURN IS NOT TESTED: no coturn"
    ),
]
SECRET = "north"


def answers(port: int) -> bool:
    """Whether a binding request is answered (RFC 8489 section 6)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(0.2)
        asking.connect(("127.0.0.1", port))
        try:
            asking.send(bytes.fromhex("00010000 2112a442") + bytes(12))
            return bool(asking.recv(1500))
        except (TimeoutError, ConnectionRefusedError):
            return False


@pytest.fixture
def coturn(tmp_path: Path) -> Iterator[int]:
    """Its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    line = [
        "turnserver", "-n", "-L", "127.0.0.1", "-p", str(port), "--use-auth-secret", f"--static-auth-secret={SECRET}",
        "--realm=localhost", "--no-tls", "--no-dtls", "--no-cli", "--no-tcp", "--log-file=stdout",
        f"--pidfile={tmp_path}/pid", f"--userdb={tmp_path}/db", "--allow-loopback-peers", "--relay-threads=1",
    ]  # fmt: skip
    log = (tmp_path / "log").open("wb")
    process = subprocess.Popen(line, stdout=log, stderr=log, cwd=tmp_path)
    try:
        end = time.monotonic() + 20
        while not answers(port):
            assert process.poll() is None and time.monotonic() < end, (tmp_path / "log").read_text(errors="replace")
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(10)


async def test_an_allocation_with_what_we_give(coturn: int) -> None:
    services = [{"host": "127.0.0.1", "port": coturn, "secret": SECRET}]
    server = await Harness({"external_services": {"services": services}}).start()
    server.clock.wall = time.time()
    romeo = await server.login("romeo")
    answer = await romeo.iq("<services xmlns='urn:xmpp:extdisco:2' type='turn'/>", to="localhost")
    username, password = str(answer[0][0].get("username")), str(answer[0][0].get("password"))
    await server.stop()
    assert await allocate(coturn, username, password) == 0
    assert await allocate(coturn, username, password[::-1]) == 401
    later = username.replace(username.partition(":")[0], str(int(time.time()) + 99_999))
    assert await allocate(coturn, later, password) == 401, "nobody makes them last longer"


async def test_expired_and_of_another_secret(coturn: int) -> None:
    assert await allocate(coturn, *expiring(SECRET, time.time() + 60)) == 0
    assert await allocate(coturn, *expiring(SECRET, time.time() - 60)) == 401
    assert await allocate(coturn, *expiring("another", time.time() + 60)) == 401
