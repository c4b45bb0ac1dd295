"""xmppd doctor: against our default configuration, against a server that is not well, and against a Prosody."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.process.server import ServerProcess, xmppd

ROOT = Path(__file__).parents[2]
PASSWORD = "pencil"
PASS, FAIL, SKIP = "pass", "fail", "skip"
EXPECTED = {
    # Core
    "stream": PASS, "disco": PASS, "components": SKIP, "tls": PASS, "certificate-chain": PASS,
    "certificate-names": PASS, "certificate-expiry": PASS, "caps": PASS, "pep": PASS, "direct-tls": PASS,
    # Web: there is no HTTP yet
    "websocket": FAIL, "bosh": FAIL, "host-meta": FAIL,
    # IM
    "roster": PASS, "direct-invitations": PASS, "carbons": PASS, "vcard": PASS, "rooms": PASS, "upload": PASS,
    "archive": PASS, "blocking": PASS, "avatar-conversion": PASS, "private-storage": PASS, "bookmarks-private": PASS,
    "bookmarks": PASS, "stream-management": PASS, "pep-private": PASS, "room-archive": PASS, "self-ping": PASS,
    # Mobile
    "client-state": PASS, "push": PASS,
    # Calls: the default configuration names no TURN server
    "stun": FAIL, "turn": FAIL,
    # Good to have
    "roster-versions": PASS, "offline": PASS, "bookmarks-conversion": PASS, "contacts": FAIL, "register": PASS,
    "proxy": FAIL, "pep-open": PASS, "room-vcard": PASS, "moderation": PASS, "upload-cors": PASS, "sasl2": PASS,
    "bind2": PASS, "fast": PASS, "tls-1.3": PASS, "sasl-plus": PASS, "channel-binding-types": PASS, "federation": FAIL,
    "srv-client": SKIP, "srv-client-direct": SKIP, "srv-server": SKIP, "srv-server-direct": SKIP,
}  # fmt: skip
"""What later work makes pass is reported as failing, and changes here with it."""


@pytest.fixture
async def standard(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """The configuration that comes with the server, on free ports."""
    text = (
        (ROOT / "config/xmppd.yaml")
        .read_text("utf-8")
        .replace("5222", "0")
        .replace("5223", "0")
        .replace("port: 528", "port: 0 # 528")
    )
    server = ServerProcess(tmp_path, text)
    await server.start()
    await server.account("romeo")
    yield server
    server.kill()
    assert "Traceback" not in server.log, server.log


async def examine(
    folder: Path, port: int, *more: str, password: str = PASSWORD, jid: str = "romeo@localhost"
) -> tuple[int, Any, str]:
    """Exit status, the JSON, what was complained of."""
    outcome = await xmppd(
        "doctor", jid, "--json", "--host", "127.0.0.1", "--port", str(port), "--server-port", str(free_port()), *more,
        cwd=folder, XMPPD_DOCTOR_PASSWORD=password,
    )  # fmt: skip
    return outcome.status, json.loads(outcome.out) if outcome.out.startswith("{") else None, outcome.err


async def test_our_default_configuration(standard: ServerProcess) -> None:
    direct = str(standard.port("direct"))
    status, found, _ = await examine(
        standard.folder, standard.port(), "--direct-tls-port", direct, "--ca-file", str(standard.certificate)
    )
    assert {row["id"]: row["result"] for row in found["rows"]} == EXPECTED
    assert found["suites"] == {
        "Core": "advanced",
        "Web": None,
        "IM": "advanced",
        "Mobile": "advanced",
        "A/V Calling": None,
    }
    assert status == found["status"] == 5
    assert found["left_behind"] == []
    for row in found["rows"]:
        assert bool(row["mend"]) == (row["result"] == FAIL), f"{row['id']}: how to mend it"
    again = (await standard.operation("user.list", domain="localhost"))["items"]
    assert "romeo@localhost" in json.dumps(again)


async def test_for_people_it_is_a_table(standard: ServerProcess) -> None:
    outcome = await xmppd(
        "doctor", "romeo@localhost", "--host", "127.0.0.1", "--port", str(standard.port()), "--insecure",
        cwd=standard.folder, XMPPD_DOCTOR_PASSWORD=PASSWORD,
    )  # fmt: skip
    assert "How to mend it" in outcome.out
    assert "Surviving lost connections" in outcome.out
    assert outcome.status == 5


async def test_a_certificate_that_is_not_trusted(standard: ServerProcess) -> None:
    """Not a word of the password is said to it."""
    status, found, _ = await examine(standard.folder, standard.port())
    assert status == 3
    assert not found["signed_in"]
    assert "certificate" in found["problem"].lower(), found["problem"]


async def test_a_wrong_password(standard: ServerProcess) -> None:
    status, found, _ = await examine(standard.folder, standard.port(), "--insecure", password="wrong")
    assert (status, found["signed_in"]) == (3, False)
    assert found["problem"]


async def test_nobody_answers(tmp_path: Path) -> None:
    status, found, _ = await examine(tmp_path, free_port(), "--timeout", "2")
    assert (status, found["signed_in"]) == (3, False)


async def told(folder: Path, port: int, *more: str, password: str = PASSWORD) -> tuple[int, str]:
    """Exit status, and what people read, in one line."""
    outcome = await xmppd(
        "doctor", "romeo@localhost", "--host", "127.0.0.1", "--port", str(port), *more,
        cwd=folder, XMPPD_DOCTOR_PASSWORD=password,
    )  # fmt: skip
    return outcome.status, " ".join(outcome.out.split())


async def test_people_who_could_not_sign_in_are_told_why(standard: ServerProcess, tmp_path: Path) -> None:
    """And not of dozens of rows that could not be looked at."""
    status, text = await told(tmp_path, free_port(), "--timeout", "2")
    assert status == 3 and "Could not sign in" in text and "--host and --port" in text
    assert "FAIL" not in text and "How to mend it" not in text
    status, text = await told(standard.folder, standard.port())
    assert status == 3 and "--ca-file" in text
    status, text = await told(standard.folder, standard.port(), "--insecure", password="wrong")
    assert status == 3 and "Could not sign in: not-authorized Is the password right?" in text
    assert "TLS 1.3" in text and "skip" not in text and "History of rooms" not in text


async def test_a_server_that_says_nothing(tmp_path: Path) -> None:
    """It takes the connection, and that is all."""
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        begun = time.monotonic()
        status, found, _ = await examine(tmp_path, mute.getsockname()[1], "--timeout", "1")
        assert (status, found["signed_in"]) == (3, False)
        assert time.monotonic() - begun < 30


async def test_no_address(tmp_path: Path) -> None:
    status, _, text = await examine(tmp_path, 1, jid="@@")
    assert status == 2
    assert text


# ---- a Prosody


@pytest.fixture
def prosody(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Its port and certificate. Archive, carbons, vCards and push are off, the rest as it comes."""
    binary = shutil.which("prosody")
    if binary is None:
        if os.environ.get("CI") == "true":
            pytest.fail("THE DOCTOR IS NOT TRIED ON A PROSODY: there is none")
        pytest.skip("THE DOCTOR IS NOT TRIED ON A PROSODY: there is none")
    from benchmarks.servers import certificate

    folder = tmp_path / "prosody"
    folder.mkdir()
    chain, key = certificate(folder)
    port = free_port()
    (folder / "prosody.cfg.lua").write_text(f"""
run_as_root = true
data_path = "{folder}/data"
pidfile = "{folder}/prosody.pid"
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}
c2s_direct_tls_ports = {{}}
s2s_ports = {{}}
http_ports = {{}}
https_ports = {{}}
authentication = "internal_hashed"
storage = "internal"
modules_enabled = {{
    "roster", "saslauth", "tls", "disco", "pep", "smacks", "blocklist", "private", "csi_simple", "bookmarks", "ping"
}}
modules_disabled = {{ "s2s", "offline" }}
log = {{ info = "{folder}/log" }}
VirtualHost "localhost"
  ssl = {{ certificate = "{chain}"; key = "{key}" }}
Component "conference.localhost" "muc"
""")
    process = subprocess.Popen([binary, "--config", str(folder / "prosody.cfg.lua"), "-F"], cwd=folder)
    try:
        end = time.monotonic() + 20
        while True:
            assert process.poll() is None and time.monotonic() < end, (folder / "log").read_text()
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        config = str(folder / "prosody.cfg.lua")
        command = ["prosodyctl", "--root", "--config", config, "register", "romeo", "localhost", PASSWORD]
        subprocess.run(command, check=True, capture_output=True, cwd=folder)
        yield port, chain
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.interop
async def test_believable_answers_about_a_prosody(tmp_path: Path, prosody: tuple[int, Path]) -> None:
    port, chain = prosody
    status, found, text = await examine(tmp_path, port, "--ca-file", str(chain))
    assert found is not None, text
    assert found["signed_in"], found["problem"]
    rows = {row["id"]: row["result"] for row in found["rows"]}
    on = ("stream", "disco", "tls", "pep", "pep-open", "roster", "blocking", "private-storage", "stream-management",
          "client-state", "rooms", "bookmarks")  # fmt: skip
    off = ("carbons", "archive", "vcard", "push", "offline", "websocket", "upload", "turn", "direct-tls")
    assert {name: rows[name] for name in on} == dict.fromkeys(on, PASS)
    assert {name: rows[name] for name in off} == dict.fromkeys(off, FAIL)
    assert found["left_behind"] == []
    assert status == 5
