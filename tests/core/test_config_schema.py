"""The server's configuration: defaults, good, refused; the examples; the effective form; the reference."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from tests.core.test_config_bind import Demanding, Everything, Inner
from xmppd.config import (
    ConfigError,
    Duration,
    LimitsConfig,
    RawOptions,
    ServerConfig,
    Size,
    StreamLimits,
    bind_options,
    effective,
    find_config,
    load_config,
    options_path,
    parse_config,
    without_password,
)
from xmppd.config.doc import main, options_markdown, render, server_markdown

ROOT = Path(__file__).parents[2]
LEAST = "hosts:\n  localhost:\nlisteners:\n  - {}\n"
EXAMPLES = [
    ROOT / "config/xmppd.yaml",
    ROOT / "config/localhost.yaml",
    *sorted((ROOT / "config/examples").glob("*.yaml")),
]


def refusals(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "c.yaml")
    return str(caught.value).splitlines()


def test_defaults() -> None:
    config = parse_config(LEAST)
    host, (listener,) = config.hosts["localhost"], config.listeners
    assert (host.type, host.standard, host.plugins, host.admins) == ("accounts", True, {}, ())
    assert (listener.address, listener.port, listener.tls) == ("127.0.0.1", 5222, "starttls")
    assert config.storage == "sqlite:///var/xmppd.db"
    assert config.control_socket == Path("var/xmppd.sock")
    assert config.certificate_files("localhost") == (Path("var/certs/localhost.crt"), Path("var/certs/localhost.key"))
    assert (config.log.level, config.log.format, config.log.file) == ("info", "text", None)
    assert config.plugin_path == ()


def test_default_limits() -> None:
    limits = parse_config(LEAST).limits
    assert limits == LimitsConfig()
    assert limits.before_sign_in == StreamLimits(Size("8 KiB"), 32, 8, 32)
    assert limits.after_sign_in == StreamLimits(Size("256 KiB"), 4096, 128, 128)
    times = (limits.header_time, limits.sign_in_time, limits.idle_ping, limits.resume_time)
    assert [float(each) for each in times] == [10, 30, 300, 3600]
    assert (limits.queue, limits.sessions_per_account) == (500, 50)
    assert (limits.name_size, limits.connections_per_address, limits.sasl_attempts) == (512, 200, 5)


def test_naming_one_limit_keeps_the_others_of_its_stage() -> None:
    limits = parse_config(LEAST + "limits:\n  before_sign_in:\n    size: 16 KiB\n").limits
    assert limits.before_sign_in == StreamLimits(Size("16 KiB"), 32, 8, 32)


@pytest.mark.parametrize(
    "extra",
    [
        "storage: 'memory:'",
        "storage: sqlite:////var/lib/x.db",
        "storage: mongodb://user:p%40ss@db:27017/xmppd?replicaSet=a",
        "storage: mongodb://a:1,b:2/chat",
        "storage: mongodb+srv://cluster.example.org/chat",
        "limits: {resume_time: 1 day, queue: 1000}",
        "log: {level: debug, format: json, file: /x.log}",
        "plugin_path: [/a, b]",
    ],
)
def test_good(extra: str) -> None:
    parse_config(LEAST + extra)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["c.yaml:1: hosts: is required", "c.yaml:1: listeners: is required"]),
        ("hosts: {}\nlisteners: []\n", ["c.yaml:1: hosts: at least 1 needed", "c.yaml:2: listeners: at least 1"]),
        ("hosts:\nlisteners:\n", ["c.yaml:1: hosts: at least 1 needed", "c.yaml:2: listeners: at least 1"]),
        (LEAST + "  - prot: 5\n", ["c.yaml:5: listeners[1].prot: unknown option; did you mean 'port'?"]),
        (LEAST + "  - port: 5222\n", ["c.yaml:5: listeners[1]: 127.0.0.1 port 5222 is taken by listeners[0]"]),
        (LEAST + "  - address: 0.0.0.0\n", ["c.yaml:5: listeners[1]: 0.0.0.0 port 5222 is taken"]),
        (
            LEAST.replace("{}", "address: 0.0.0.0") + "  - {}\n",
            ["c.yaml:5: listeners[1]: 127.0.0.1 port 5222 is taken"],
        ),
        (LEAST + "  - address: localhost\n", ["c.yaml:5: listeners[1]: localhost port 5222 is taken"]),
        (LEAST + "  - address: '*'\n    port: 1\n", ["c.yaml:5: listeners[1].address: expected an IP address"]),
        (LEAST + "  - port: 1\n    address: 0.0.0.0\n    tls: none\n", ["c.yaml:7: listeners[1].tls: 'none' is for"]),
        (LEAST + "  - port: 65536\n", ["c.yaml:5: listeners[1].port: expected a whole number from 0 to 65535"]),
        (LEAST + "storage: mysql://x/y\n", ["c.yaml:5: storage: expected sqlite:///file"]),
        (LEAST + "storage: sqlite://x.db\n", ["c.yaml:5: storage: expected sqlite:///relative/file"]),
        (LEAST + "storage: sqlite:///\n", ["c.yaml:5: storage: expected sqlite:///relative/file"]),
        (LEAST + "storage: mongodb://db\n", ["c.yaml:5: storage: expected mongodb://host:port/database"]),
        (LEAST + "storage: mongodb://u:p@/x\n", ["c.yaml:5: storage: expected mongodb://host:port/database"]),
        (LEAST + "storage: mongodb://[::/x\n", ["c.yaml:5: storage: expected mongodb://host:port/database"]),
        (LEAST + f"var: /{'x' * 120}\n", ["c.yaml:5: var: the name of the control socket is longer than 107"]),
        (LEAST + f"control: {'x' * 120}\n", ["c.yaml:5: control: the name of the control socket is longer"]),
        (LEAST + "limits:\n  queue: 10\n", ["c.yaml:6: limits.ask_every: must be below queue (10)"]),
        (LEAST + "limits:\n  header_time: 1 minute\n", ["c.yaml:6: limits.header_time: longer than sign_in_time"]),
        (
            LEAST + "limits:\n  after_sign_in:\n    size: 9999\n",
            ["c.yaml:7: limits.after_sign_in.size: at least 10000 bytes"],
        ),
        ("hosts:\n  a_b: {}\n  -a.org: {}\nlisteners: [{}]\n", ["c.yaml:3: hosts[-a.org]: expected a domain such as"]),
        ("hosts:\n  xn--a: {}\nlisteners: [{}]\n", ["c.yaml:2: hosts.xn--a: expected a domain such as"]),
        (
            "hosts:\n  münchen.de:\n  xn--mnchen-3ya.de: {type: rooms}\nlisteners: [{}]\n",
            ["c.yaml:3: hosts[xn--mnchen-3ya.de]: is the same as 'münchen.de', which is there already"],
        ),
        # The same name in two spellings cannot serve accounts and rooms.
        (
            "hosts:\n  localhost:\n  LOCALHOST: {type: rooms}\nlisteners: [{}]\n",
            ["c.yaml:3: hosts.LOCALHOST: is the same as 'localhost', which is there already"],
        ),
        (
            "hosts:\n  localhost:\n  localhost: {type: rooms}\nlisteners: [{}]\n",
            ["c.yaml:3: hosts.localhost: is already set in line 2"],
        ),
        ("hosts:\n  a@b: {}\nlisteners: [{}]\n", ["c.yaml:2: hosts[a@b]: expected a domain such as"]),
        ("hosts:\n  '[::z]': {}\nlisteners: [{}]\n", ["c.yaml:2: hosts[[::z]]: expected a domain such as"]),
        ("hosts:\n  a:\n    type: ''\nlisteners: [{}]\n", ["c.yaml:3: hosts.a.type: expected a word from 1 to 50"]),
        ("hosts:\n  a:\n    key: x\nlisteners: [{}]\n", ["c.yaml:3: hosts.a.key: needs the option 'certificate'"]),
        (
            "hosts:\n  a:\n    admins:\n      - b@a\n      - c\nlisteners: [{}]\n",
            ["c.yaml:5: hosts.a.admins[1]: expected an account"],
        ),
        ("hosts:\n  a:\n    plugins: [x]\nlisteners: [{}]\n", ["c.yaml:3: hosts.a.plugins: expected a mapping"]),
    ],
)
def test_refused(text: str, expected: list[str]) -> None:
    found = refusals(text)
    assert len(found) == len(expected), found
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(start), line


@pytest.mark.parametrize(
    "spelled", ["xn--mnchen-3ya.de", "MÜNCHEN.de", "mu\u0308nchen.de", "münchen。de.", "ｍünchen.de"]
)
def test_a_domain_has_one_form_however_it_is_spelled(spelled: str) -> None:
    assert list(parse_config(f"hosts:\n  {spelled}: {{}}\nlisteners: [{{}}]\n").hosts) == ["münchen.de"]


def test_a_password_is_never_repeated() -> None:
    (line,) = refusals(LEAST + "storage: mongodb://user:hunter2@db\n")
    assert "hunter2" not in line
    shown = effective(parse_config(LEAST + "storage: mongodb://user:hunt@er2@db/x\n"))
    assert "storage: mongodb://user:(hidden)@db/x" in shown
    assert without_password("sqlite:///a@b:c.db") == "sqlite:///a@b:c.db"


@pytest.mark.parametrize(
    ("domain", "self_signed"),
    [("localhost", True), ("a.localhost", True), ("127.0.0.1", True), ("[::1]", True), ("example.org", False)],
)
def test_self_signed_by_default_only_where_nobody_else_looks(domain: str, self_signed: bool) -> None:
    text = f"hosts:\n  '{domain}': {{}}\nlisteners: [{{}}]\n"
    assert parse_config(text).self_signed(domain) is self_signed
    other = str(not self_signed).lower()
    assert parse_config(text.replace("{}", f"{{self_signed: {other}}}", 1)).self_signed(domain) is not self_signed


@pytest.mark.parametrize("port", [0, 5222])
def test_any_free_port_may_be_asked_for_twice(port: int) -> None:
    text = f"hosts: {{a: }}\nlisteners: [{{port: {port}}}, {{port: {port}, address: '::1'}}, {{port: 0}}, {{port: 0}}]"
    assert len(parse_config(text).listeners) == 4


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_shipped_files_are_good(path: Path) -> None:
    config = load_config(path)
    assert {"accounts", "rooms"} <= {host.type for host in config.hosts.values()}
    again = parse_config(effective(config))
    assert effective(again) == effective(config)


def test_a_fresh_clone_starts_without_changes() -> None:
    config = load_config(ROOT / "config/xmppd.yaml")
    assert {name: host.type for name, host in config.hosts.items()} == {
        "localhost": "accounts",
        "conference.localhost": "rooms",
        "pubsub.localhost": "pubsub",
    }
    assert [(each.address, each.port, each.tls) for each in config.listeners] == [
        ("127.0.0.1", 5222, "starttls"),
        ("127.0.0.1", 5223, "direct"),
        ("127.0.0.1", 5280, "none"),
        ("127.0.0.1", 5281, "direct"),
    ]
    assert all(map(config.self_signed, config.hosts))


def test_what_make_run_serves_is_the_shipped_file_and_the_web_client() -> None:
    ours, shipped = load_config(ROOT / "config/localhost.yaml"), load_config(ROOT / "config/xmppd.yaml")
    assert ours.hosts["localhost"].plugins.keys() == {"web_client", "qr_sign_in", "register"}
    assert not shipped.hosts["localhost"].plugins
    plain = replace(ours, hosts={**ours.hosts, "localhost": shipped.hosts["localhost"]})
    assert effective(plain) == effective(shipped)


def test_effective_has_every_default_and_can_be_read() -> None:
    config = parse_config(LEAST)
    again = parse_config(effective(config))
    assert again.control == Path("var/xmppd.sock")
    assert (again.limits, again.log, again.listeners) == (config.limits, config.log, config.listeners)
    assert "idle_ping: 5 minutes" in effective(config)


def test_effective_of_plugins_as_written_and_as_bound() -> None:
    text = "hosts:\n  a:\n    plugins:\n      x: {count: 5, on: [1, 'yes', ~, 2024-01-01]}\n      y: false\n      z:\n"
    config = parse_config(text + "listeners: [{}]\n")
    shown = effective(config)
    assert "x:\n        count: 5\n        'on':\n        - 1\n        - 'yes'\n        - null\n" in shown
    assert "y: false\n      z: true\n" in shown
    assert parse_config(shown).hosts["a"].plugins.keys() == {"x", "y", "z"}
    bound = Everything(password="hunt", wait=Duration(120))
    shown = effective(config, {"a": {"x": bound, "y": None}})
    assert "wait: 2 minutes" in shown and "y: false" in shown and "from: here" in shown
    assert "hunt" not in shown and "password: (hidden)" in shown
    raw = parse_config(shown).hosts["a"].plugins["x"]
    with pytest.raises(ConfigError, match=r"^configuration:\d+: p.password: expected text of at most 5 characters"):
        bind_options(raw, Everything, "p")


def test_where_the_file_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("xmppd.config.schema.DEFAULT_PATHS", (Path("config/xmppd.yaml"), tmp_path / "etc.yaml"))
    with pytest.raises(ConfigError, match=r"^no configuration: neither config/xmppd.yaml nor .*etc.yaml is there"):
        find_config(None, {})
    (tmp_path / "etc.yaml").touch()
    assert find_config(None, {}) == tmp_path / "etc.yaml"
    (tmp_path / "config").mkdir()
    (tmp_path / "config/xmppd.yaml").touch()
    assert find_config(None, {"XMPPD_CONFIG": ""}) == Path("config/xmppd.yaml")
    assert find_config(None, {"XMPPD_CONFIG": "e.yaml"}) == Path("e.yaml")
    assert find_config(Path("c.yaml"), {"XMPPD_CONFIG": "e.yaml"}) == Path("c.yaml")


def test_options_path() -> None:
    assert options_path("example.org", "archive") == "hosts[example.org].plugins.archive"
    assert options_path("localhost", "archive") == "hosts.localhost.plugins.archive"


def test_the_reference_on_disk_is_current() -> None:
    """Made with `python -m xmppd.config.doc docs/reference/config.md`; plugins may follow the server's part."""
    on_disk = (ROOT / "docs/reference/config.md").read_text(encoding="utf-8")
    assert on_disk.startswith(server_markdown()), "make docs/reference/config.md again"


def test_the_reference_takes_plugins() -> None:
    text = render([("every", Everything, "Has all types."), ("nothing", Demanding, "")])
    assert text.startswith(server_markdown())
    assert "\n## Plugins\n" in text
    assert "\n### `every`\n\nHas all types.\n" in text
    assert "| `wait` | a duration such as `5 minutes` from 1 second to 1 hour | `1 minute` | A time. |" in text
    assert "\n#### `every.inner`\n" in text and "\n#### `every.inners[]`\n" in text
    assert "| `secret` | text | required | Must be there. |" in text
    nested = text.split("#### `every.inner`")[1]
    assert nested.index("| `7` |") < nested.index("| `1` |"), "the default instance's own values"
    assert "| `a` |" in options_markdown(Inner, "Inner")


def test_the_reference_is_written_to_a_file(tmp_path: Path) -> None:
    assert main([str(tmp_path / "x.md")]) == 0
    assert (tmp_path / "x.md").read_text(encoding="utf-8") == render()


def test_every_default_passes_its_own_bounds() -> None:
    config = parse_config(LEAST)
    assert isinstance(parse_config(effective(config)), ServerConfig)
    assert bind_options(RawOptions(), Everything, "") == Everything()


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(LEAST)
    path.chmod(0)
    if stat.S_IMODE(path.stat().st_mode) == 0 and not _can_read(path):
        with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
            load_config(path)


def _can_read(path: Path) -> bool:
    """True for root, whom no mode keeps out."""
    try:
        path.read_bytes()
    except PermissionError:
        return False
    return True
