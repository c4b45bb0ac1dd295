"""xmppd check: what is wrong with a configuration, and where. Never a traceback.

Most of it in this process: a start of Python for each would cost a minute.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
import yaml

from tests.process.server import ROOT, configuration, invoke, xmppd
from xmppd.libraries import advice

GOOD = configuration()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XMPPD_CONFIG", raising=False)


async def test_a_good_one(tmp_path: Path) -> None:
    (tmp_path / "xmppd.yaml").write_text(GOOD)
    outcome = await xmppd("check", "--config", "xmppd.yaml", cwd=tmp_path)
    said = "".join(f"Warning: {text}\n" for text in advice())  # of the libraries that happen to be here
    assert (outcome.status, outcome.out, outcome.err) == (0, f"{said}The configuration is valid.\n", "")


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("**/*.yaml")), ids=str)
def test_those_that_are_shipped(path: Path) -> None:
    outcome = invoke("check", "--config", str(path))
    assert outcome.status == 0, outcome.text


def test_print_is_a_whole_configuration(tmp_path: Path) -> None:
    """It can be read back, and then it says the same. A password is not in it."""
    (tmp_path / "xmppd.yaml").write_text(configuration("mongodb://user:geheim@127.0.0.1/xmppd"))
    first = invoke("check", "--print", "--config", "xmppd.yaml")
    assert first.status == 0
    assert "geheim" not in first.text
    assert set(yaml.safe_load(first.out)["hosts"]) == {"localhost", "conference.localhost", "proxy.localhost"}
    (tmp_path / "again.yaml").write_text(first.out)
    again = invoke("check", "--print", "--config", "again.yaml")
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
def test_a_mistake_has_a_place(tmp_path: Path, text: str, place: str, said: str) -> None:
    (tmp_path / "xmppd.yaml").write_text(text)
    outcome = invoke("check", "--config", "xmppd.yaml")
    assert outcome.status == 2
    assert f"xmppd.yaml{place}" in outcome.err
    assert said in outcome.err


NOTHING: dict[str, bytes] = {
    "empty": b"",
    "junk": random.Random(1).randbytes(4000),
    "zeros": bytes(4000),
    "deep": b"[" * 5000,
    "large": b"a: b\n" * 1_000_000,
    "noise\n\x1b[31m": b"hosts: 1",
}


@pytest.mark.parametrize("name", [*NOTHING, "folder", "missing", "", "\x7f", "\udcff\udcfe"], ids=ascii)
def test_what_is_no_configuration_at_all(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    if name in NOTHING:
        (tmp_path / name).write_bytes(NOTHING[name])
    outcome = invoke("check", "--config", name)
    assert outcome.status == 2
    assert outcome.err.strip()
    assert "\x1b" not in outcome.err


async def test_the_same_in_a_process(tmp_path: Path) -> None:
    (tmp_path / "junk").write_bytes(NOTHING["junk"])
    for name in ("junk", b"\xff\xfe"):
        assert (await xmppd("check", "--config", name, cwd=tmp_path)).status == 2


def test_where_a_configuration_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--config before $XMPPD_CONFIG before config/xmppd.yaml."""
    bad = "hosts: {localhost: {}}\nlisteners: [{}]\n%s: 1\n"
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "xmppd.yaml").write_text(bad % "third")
    (tmp_path / "second.yaml").write_text(bad % "second")
    (tmp_path / "first.yaml").write_text(bad % "first")
    found = invoke("check")
    assert "config/xmppd.yaml:3" in found.err
    monkeypatch.setenv("XMPPD_CONFIG", "second.yaml")
    explicit = invoke("check", "--config", "first.yaml")
    assert "first.yaml:3" in explicit.err
    named = invoke("check")
    assert "second.yaml:3" in named.err


@pytest.mark.skipif(os.path.exists("/etc/xmppd/xmppd.yaml"), reason="this machine has a configuration of its own")
def test_none_anywhere() -> None:
    for command in (["check"], ["run"], ["user", "list", "localhost"]):
        outcome = invoke(*command)
        assert outcome.status == 2
        assert "no configuration" in outcome.err
