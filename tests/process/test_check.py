"""xmppd check: what is wrong with a configuration, and where. Never a traceback.

Most of it in this process: a start of Python for each would cost a minute.
"""

from __future__ import annotations

import os
import random
import socket
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from tests.process.server import ROOT, configuration, invoke, xmppd
from xmppd.server.library_advice import advice

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
    """One with certificates of its own says that they are not there, as `run` would."""
    outcome = invoke("check", "--config", str(path))
    elsewhere = ("certificate", "cannot be written", "/var/log/xmppd is not there")
    wrong = [line for line in outcome.err.splitlines() if not any(each in line for each in elsewhere)]
    assert not wrong
    assert outcome.status == (2 if outcome.err else 0)


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
    """--config before $XMPPD_CONFIG before xmppd.yaml here."""
    bad = "hosts: {localhost: {}}\nlisteners: [{}]\n%s: 1\n"
    (tmp_path / "xmppd.yaml").write_text(bad % "third")
    (tmp_path / "second.yaml").write_text(bad % "second")
    (tmp_path / "first.yaml").write_text(bad % "first")
    found = invoke("check")
    assert found.err.startswith("xmppd.yaml:3")
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


BROKEN = """
from xmppd.plugin import NoConfig, Plugin

class Broken(Plugin[NoConfig]):
    standard = False

    def setup(self):
        self.nothing = {}["nothing"]
"""
LOOSE = """
from xmppd.plugin import NoConfig, Plugin, iq

class Loose(Plugin[NoConfig]):
    standard = False

@iq("get", "urn:example:loose", "query")
async def answer(self, request):
    return None
"""
PEM = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n" * 2
SOURCES = {
    "syntax": "def x(:\n",
    "exits": "import sys\nsys.exit(5)\n",
    "declares": "from xmppd.plugin import NoConfig, Plugin\n\nclass Wrong(Plugin[NoConfig]):\n    provides = 5\n",
}
REFUSED = [
    # What `run` would say, with the line and the option that helps.
    ({"hosts": {"example.org": {}}}, "hosts[example.org].certificate", "no such file; name the files in `certificate`"),
    (
        {"hosts": {"example.org": {"certificate": "mine.crt", "key": "mine.key"}}},
        "hosts[example.org].certificate",
        "mine.crt: no such file",
    ),
    (
        {"hosts": {"localhost": {"certificate": "xmppd.yaml", "key": "xmppd.yaml"}}},
        "hosts.localhost.certificate",
        "xmppd.yaml",
    ),
    (
        {"hosts": {"localhost": {"plugins": {"broken": True}}}, "plugin_path": ["plugins"]},
        "hosts.localhost.plugins.broken",
        "this plugin cannot be set up: KeyError('nothing')",
    ),
    ({"hosts": {"localhost": {"type": "acounts"}}}, "hosts.localhost.type", "did you mean 'accounts'?"),
    ({"listeners": [{}, {"address": "192.0.2.1"}]}, "listeners[1].address", "192.0.2.1 cannot be listened on"),
    ({"var": "xmppd.yaml/var"}, "var", "cannot be written by this user"),
    ({"storage": "sqlite:///xmppd.yaml/x.db"}, "storage", "cannot be written by this user"),
    ({"var": "v" * 200}, "var", "is longer than 107 bytes"),
    ({"hosts": {"localhost": {"certificate": "there.crt", "key": "mine.key"}}}, "hosts.localhost.key", "no such file"),
    ({"hosts": {"localhost": {"certificate": "pipe", "key": "pipe"}}}, "hosts.localhost.certificate", "is not a file"),
    (
        {"hosts": {"localhost": {"certificate": "xmppd.yaml", "key": "there.crt"}}},
        "hosts.localhost.certificate",
        "there is no certificate in PEM in it",
    ),
    ({"storage": "sqlite:///plugins"}, "storage", "plugins is a folder"),
    ({"storage": "sqlite:///there.crt"}, "storage", "file is not a database"),
    ({"storage": "mongodb://u:secret@h1,h2/x?directConnection=true"}, "storage", "the MongoDB URI cannot be used"),
    ({"storage": "mongodb://127.0.0.1:9/x?tls=true&tlsCAFile=/nowhere"}, "storage", "is not readable"),
    ({"log": {"file": "missing/x.log"}}, "log.file", "missing is not there"),
    ({"log": {"file": "plugins"}}, "log.file", "plugins is a folder"),
    ({"control": "there.crt"}, "control", "there.crt is there and is not a socket"),
    ({"plugin_path": ["nowhere"]}, "plugin_path[0]", "nowhere is not there"),
    ({"plugin_path": ["plugins", "syntax"]}, "plugin_path[1]", "SyntaxError: invalid syntax ("),
    ({"plugin_path": ["exits"]}, "plugin_path[0]", "SystemExit(5)"),
    ({"plugin_path": ["declares"]}, "plugin_path[0]", "Wrong.provides must be a tuple of Service, not 5"),
]


@pytest.mark.parametrize(
    ("changes", "option", "said"), REFUSED, ids=[each[1] + str(at) for at, each in enumerate(REFUSED)]
)
def test_what_run_would_refuse(tmp_path: Path, changes: dict[str, object], option: str, said: str) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "broken.py").write_text(BROKEN)
    for folder, source in SOURCES.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(source)
    (tmp_path / "there.crt").write_text(PEM)
    os.mkfifo(tmp_path / "pipe")
    before = set(os.listdir(tmp_path))
    whole = {"hosts": {"localhost": {}}, "listeners": [{"port": 0}], **changes}
    (tmp_path / "xmppd.yaml").write_text(yaml.dump(whole))
    checked = invoke("check")
    assert checked.status == 2, checked.text
    (line,) = [line for line in checked.err.splitlines() if f" {option}: " in line]
    assert line.startswith("xmppd.yaml:")
    assert said in line
    ran = invoke("run")
    assert line in ran.err
    assert ran.status == 2
    assert "Traceback" not in ran.text
    assert set(os.listdir(tmp_path)) == before | {"xmppd.yaml"}  # neither made anything
    assert "secret" not in checked.text + ran.text


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """By another program; a server of this configuration that runs is none."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as another:
        port, metrics = one.getsockname()[1], another.getsockname()[1]
        (tmp_path / "xmppd.yaml").write_text(
            f"hosts: {{localhost: {{}}}}\nlisteners:\n  - port: {port}\nmetrics:\n  port: {metrics}\n"
        )
        for command in ("check", "run"):
            outcome = invoke(command)
            assert outcome.status == 2, command
            assert f"xmppd.yaml:3: listeners[0]: 127.0.0.1 port {port} cannot be opened: Address already" in outcome.err
            assert "xmppd.yaml:5: metrics.port: " in outcome.err
        assert not (tmp_path / "var").exists()
        (tmp_path / "var").mkdir()
        with socket.socket(socket.AF_UNIX) as control:
            control.bind("var/xmppd.sock")
            control.listen()
            assert invoke("check").status == 0


def test_nothing_in_a_message_moves_the_cursor(tmp_path: Path) -> None:
    (tmp_path / "xmppd.yaml").write_text("hosts: {localhost: {}}\nlisteners: [{port: 0}]\nplugin_path: [mine]\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "\x1b[31mred.py").write_text("raise ValueError")
    outcome = invoke("check")
    assert outcome.status == 2
    assert "\x1b" not in outcome.text
    assert "\\x1b[31mred.py cannot be imported: ValueError()" in outcome.err


def test_what_adds_nobody_makes_no_store(tmp_path: Path) -> None:
    """What only lists or changes accounts makes no store."""
    (tmp_path / "xmppd.yaml").write_text("hosts: {localhost: {}}\nlisteners: [{port: 0}]\n")
    for words in (["list", "localhost"], ["del", "romeo@localhost"], ["passwd", "romeo@localhost", "-p", "x"]):
        outcome = invoke("user", *words)
        assert "its store" in outcome.err
        assert "is not there" in outcome.err
        assert os.listdir(tmp_path) == ["xmppd.yaml"]


def test_a_handler_outside_its_class(tmp_path: Path) -> None:
    """It would never be called."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "loose.py").write_text(LOOSE)
    text = "hosts: {localhost: {plugins: {loose: true}}}\nlisteners: [{port: 0}]\nplugin_path: [plugins]\n"
    (tmp_path / "xmppd.yaml").write_text(text)
    outcome = invoke("check")
    assert outcome.status == 2
    assert "plugins/loose.py:7: answer bears @iq and is no method of the plugin class" in outcome.err


def test_paths_start_where_the_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the command is called: another folder is not another store."""
    site, elsewhere = tmp_path / "a site", tmp_path / "elsewhere"
    for folder in (site, elsewhere):
        folder.mkdir()
    (site / "xmppd.yaml").write_text(
        "hosts: {localhost: {plugins: {search: {folder: words}}}}\nlisteners: [{}]\nplugin_path: [more]\n"
        "log: {file: x.log}\nstorage: sqlite:///data/x.db\n"
    )
    (site / "more").mkdir()
    monkeypatch.chdir(elsewhere)
    shown = invoke("check", "--print", "--config", str(site / "xmppd.yaml"))
    assert shown.status == 0, shown.text
    whole = yaml.safe_load(shown.out)
    assert whole["var"] == str(site / "var")
    assert whole["control"] == str(site / "var" / "xmppd.sock")
    assert whole["storage"] == f"sqlite:///{tmp_path}/a%20site/data/x.db"
    assert whole["log"]["file"] == str(site / "x.log")
    assert whole["plugin_path"] == [str(site / "more")]
    assert whole["hosts"]["localhost"]["plugins"]["search"]["folder"] == str(site / "words")
    added = invoke("user", "add", "romeo@localhost", "-p", "pencil", "-c", str(site / "xmppd.yaml"))
    assert added.status == 0
    assert "The server does not run; the new store" in added.err
    assert (site / "data" / "x.db").exists()
    listed = invoke("user", "list", "localhost", "-c", "../a site/xmppd.yaml")
    assert listed.out == "romeo@localhost\n"
    assert "this is about its store" in listed.err
    assert not list(elsewhere.iterdir())


def test_the_version() -> None:
    outcome = invoke("--version")
    assert (outcome.status, outcome.out) == (0, f"xmppd {version('xmppd')}\n")
