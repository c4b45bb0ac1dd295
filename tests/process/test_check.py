"""xmppd check: what is wrong with a configuration, and where. Never a traceback (`xmppd()` looks)."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest
import yaml

from tests.process.server import ROOT, configuration, xmppd

GOOD = configuration()


async def test_a_good_one(tmp_path: Path) -> None:
    (tmp_path / "xmppd.yaml").write_text(GOOD)
    outcome = await xmppd("check", "--config", "xmppd.yaml", cwd=tmp_path)
    assert (outcome.status, outcome.out, outcome.err) == (0, "The configuration is valid.\n", "")


async def test_the_one_that_is_shipped(tmp_path: Path) -> None:
    for path in sorted((ROOT / "config").glob("**/*.yaml")):
        outcome = await xmppd("check", "--config", str(path), cwd=tmp_path)
        assert outcome.status == 0, f"{path}: {outcome.text}"


async def test_print_is_a_whole_configuration(tmp_path: Path) -> None:
    """It can be read back, and then it says the same. A password is not in it."""
    (tmp_path / "xmppd.yaml").write_text(configuration("mongodb://user:geheim@127.0.0.1/xmppd"))
    first = await xmppd("check", "--print", "--config", "xmppd.yaml", cwd=tmp_path)
    assert first.status == 0
    assert "geheim" not in first.text
    assert set(yaml.safe_load(first.out)["hosts"]) == {"localhost", "conference.localhost"}
    (tmp_path / "again.yaml").write_text(first.out)
    again = await xmppd("check", "--print", "--config", "again.yaml", cwd=tmp_path)
    assert again.out == first.out, again.text


MISTAKES = [
    ("hosts:\n  localhost: {}\nlistners: []\n", ":3", "did you mean 'listeners'?"),
    ("hosts:\n  localhost:\n    plugins:\n      rostre: true\nlisteners: [{}]\n", ":4", "did you mean 'roster'?"),
    ("hosts:\n  localhost: {}\nlisteners:\n  - port: 99999\n", ":4", "listeners[0].port"),
    ("hosts:\n  localhost: {}\nlisteners:\n  - address: 0.0.0.0\n    tls: none\n", ":5", "loopback"),
    ("hosts:\n  localhost: {}\nlisteners: [{}]\nstorage: oracle://x\n", ":4", "storage"),
    ("hosts: {localhost: {}\n", ":2", ""),
]


@pytest.mark.parametrize(("text", "place", "said"), MISTAKES)
async def test_a_mistake_has_a_place(tmp_path: Path, text: str, place: str, said: str) -> None:
    (tmp_path / "xmppd.yaml").write_text(text)
    outcome = await xmppd("check", "--config", "xmppd.yaml", cwd=tmp_path)
    assert outcome.status == 2
    assert f"xmppd.yaml{place}" in outcome.err
    assert said in outcome.err


async def test_what_is_no_configuration_at_all(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "junk").write_bytes(random.Random(1).randbytes(4000))
    (tmp_path / "zeros").write_bytes(bytes(4000))
    (tmp_path / "deep").write_text("[" * 5000)
    (tmp_path / "large").write_bytes(b"a: b\n" * 1_000_000)
    (tmp_path / "folder").mkdir()
    (tmp_path / "noise\n\x1b[31m").write_text("hosts: 1")
    names: list[str | bytes] = ["empty", "junk", "zeros", "deep", "large", "folder", "missing", "", "\x7f", b"\xff\xfe"]
    names.append("noise\n\x1b[31m")
    few = asyncio.Semaphore(4)

    async def check(name: str | bytes) -> None:
        async with few:
            outcome = await xmppd("check", "--config", name, cwd=tmp_path)
        assert outcome.status == 2, (name, outcome)
        assert outcome.err.strip(), name
        assert "\x1b" not in outcome.err, name

    await asyncio.gather(*map(check, names))


async def test_where_a_configuration_is_looked_for(tmp_path: Path) -> None:
    """--config before $XMPPD_CONFIG before config/xmppd.yaml."""
    bad = "hosts: {localhost: {}}\nlisteners: [{}]\n%s: 1\n"
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "xmppd.yaml").write_text(bad % "third")
    (tmp_path / "second.yaml").write_text(bad % "second")
    (tmp_path / "first.yaml").write_text(bad % "first")
    explicit = await xmppd("check", "--config", "first.yaml", cwd=tmp_path, XMPPD_CONFIG="second.yaml")
    assert "first.yaml:3" in explicit.err
    named = await xmppd("check", cwd=tmp_path, XMPPD_CONFIG="second.yaml")
    assert "second.yaml:3" in named.err
    found = await xmppd("check", cwd=tmp_path)
    assert "config/xmppd.yaml:3" in found.err


@pytest.mark.skipif(os.path.exists("/etc/xmppd/xmppd.yaml"), reason="this machine has a configuration of its own")
async def test_none_anywhere(tmp_path: Path) -> None:
    for command in (["check"], ["run"], ["user", "list", "localhost"]):
        outcome = await xmppd(*command, cwd=tmp_path)
        assert outcome.status == 2
        assert "no configuration" in outcome.err
