"""What a reload changes in a running server, what it refuses, and what it leaves to a restart."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Harness, condition, configuration, xml
from xmppd.config import ConfigError, LogConfig, ServerConfig, parse_config
from xmppd.net.engine import Engine
from xmppd.server.reload import (
    NO_CERTIFICATE,
    Outcome,
    Reloader,
    ReloadError,
    certificate_problems,
    load_certificates,
    use_log,
)

VERSION = "<query xmlns='jabber:iq:version'/>"


class Site:
    """A server and the file that it reads again."""

    def __init__(self, server: Harness, folder: Path) -> None:
        self.server = server
        self.path = folder / "xmppd.yaml"
        server.server.config = replace(server.server.config, var=folder / "var")
        self.logs: list[LogConfig] = []
        self.reloader = Reloader(server.server, self.path, self.logs.append)

    def write(self, plugins: dict[str, Any] | None = None, more: str = "", **changes: str) -> None:
        text = configuration(plugins, more)
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        self.path.write_text(text)

    async def reload(self, plugins: dict[str, Any] | None = None, more: str = "", **changes: str) -> Outcome:
        self.write(plugins, more, **changes)
        return await self.reloader.reload()


@pytest.fixture
def site(server: Harness, tmp_path: Path) -> Site:
    return Site(server, tmp_path)


async def test_the_same_again_changes_nothing(site: Site) -> None:
    assert await site.reload() == Outcome()


async def test_options_of_plugins(site: Site) -> None:
    """The instance stays, and so does what it holds."""
    romeo = await site.server.login("romeo")
    before = site.server.host.plugins["version"]
    outcome = await site.reload({"version": {"os": True}})
    assert outcome == Outcome(("hosts.localhost.plugins.version",))
    assert (await romeo.iq(VERSION, to="localhost"))[0].find("{jabber:iq:version}os") is not None
    assert site.server.host.plugins["version"] is before
    assert await site.reload() == Outcome(("hosts.localhost.plugins.version",))
    assert (await romeo.iq(VERSION, to="localhost"))[0].find("{jabber:iq:version}os") is None


async def test_plugins_that_made_something_of_their_options(site: Site) -> None:
    romeo = await site.server.login("romeo")
    options = {
        "register": {"mode": "open", "per_address": 7},
        "archive": {"default": "never"},
        "presence": {"request_bytes": 1},
    }
    await site.reload(options)
    plugins = site.server.host.plugins
    assert (plugins["register"].open, plugins["register"].strangers.made.limit) == (True, 7)
    assert plugins["presence"].subscriptions.request_bytes == 1
    answer = await romeo.iq("<prefs xmlns='urn:xmpp:mam:2'/>")
    assert answer[0].get("default") == "never"


async def test_what_strangers_are_told(site: Site) -> None:
    """At once, although it is put together once a second only."""

    async def told() -> str:
        client = site.server.connect()
        client.open()
        return xml(await client.receive())

    register = "http://jabber.org/features/iq-register"
    assert "<max-bytes>8192<" in await told()
    await site.reload({"register": {"mode": "open"}}, "limits: {before_sign_in: {size: 9000}}")
    assert "<max-bytes>9000<" in await told() and register in await told()
    await site.reload({"register": {"mode": "closed"}})
    assert register not in await told()


async def test_limits_and_admins(site: Site) -> None:
    romeo = await site.server.login("romeo")
    more = "limits: {sasl_attempts: 2, after_sign_in: {size: 20000}, sign_in: {account_failures: 1}}"
    outcome = await site.reload({}, more, **{"admin@localhost": "boss@localhost"})
    assert outcome.changed == ("limits", "hosts.localhost.admins")
    server = site.server.server
    assert (server.limits.sasl_attempts, server.guard.config.account_failures) == (2, 1)
    assert site.server.host.admins == {"boss@localhost"}
    romeo.send(f"<message to='juliet@localhost'><body>{'x' * 100_000}</body></message>")  # an open stream, too
    assert await romeo.stream_error() == "policy-violation"


async def test_times_of_connections(site: Site) -> None:
    engine = Engine.of(site.server.clock)
    outcome = await site.reload({}, "limits: {handshake_time: 45 seconds, handshakes: 10, close_time: 2 seconds}")
    assert outcome.changed == ("limits",)
    assert (engine.timing.handshake, engine.timing.handshakes, engine.timing.close) == (45.0, 10, 2.0)
    outcome = await site.reload({}, "outgoing: {networks: [127.0.0.0/8], timeout: 3 seconds}")
    assert outcome.changed == ("limits", "outgoing")
    assert engine.timing.handshake == 30.0
    poster = site.server.server.poster
    assert poster.may_reach("127.0.0.1") and not poster.may_reach("10.0.0.1")
    assert poster.timeout == 3.0


async def test_shaping_can_be_switched_on_and_off(site: Site) -> None:
    off = "{bytes: 0, stanzas: 0}"
    await site.reload({}, f"limits: {{per_connection: {off}, per_account: {off}}}")
    assert not site.server.server.rate_limiter.on
    await site.reload()
    assert site.server.server.rate_limiter.on


async def test_the_log(site: Site) -> None:
    assert "log" in (await site.reload({}, "log: {level: debug, format: json}")).changed
    assert (site.logs[-1].level, site.logs[-1].format) == ("debug", "json")


async def test_what_needs_a_restart_is_said(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    outcome = await site.reload(
        {"version": False, "ping": {}},
        "var: other",
        **{"port: 5222": "port: 5333", "conference.localhost": "rooms.localhost", "memory:": "sqlite:///x.db"},
    )
    assert outcome.changed == ()
    assert outcome.restart == (
        "listeners",
        "storage",
        "var",
        "the set of plugins of localhost (version)",
        "hosts.conference.localhost",
        "hosts.rooms.localhost",
    )
    assert "needs a restart: listeners, storage" in caplog.text
    romeo = await site.server.login("romeo")
    assert (await romeo.iq(VERSION, to="localhost")).get("type") == "result"
    assert (await site.reload()).restart == ()  # taken back


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hosts: [", ["xmppd.yaml:"]),
        ("hosts: {localhost: {plugins: {version: {oss: true}}}}\nlisteners: [{}]", ["did you mean 'os'?"]),
        (
            "hosts: {localhost: {plugins: {version: {oss: true}, roster: {contacts: many}}}}\nlisteners: [{}]",
            ["did you mean 'os'?", "roster.contacts"],
        ),
        (
            "hosts: {localhost: {}}\nlisteners: [{}]\nlimits: {queue: 1}\nlog: {level: loud}",
            ["limits.queue", "log.level"],
        ),
        ("hosts: {localhost: {admins: ['a b@localhost']}}\nlisteners: [{}]", ["hosts.localhost.admins"]),
    ],
)
async def test_a_broken_file_changes_nothing(
    site: Site, caplog: pytest.LogCaptureFixture, text: str, said: list[str]
) -> None:
    """All problems are told, in the log and to who asked."""
    server = site.server.server
    before = (server.config, server.limits, site.server.host.plugins["version"].config)
    site.path.write_text(text)
    with pytest.raises(ReloadError) as error:
        await site.reloader.reload()
    for each in said:
        assert each in str(error.value)
        assert each in caplog.text
    assert "the configuration is as it was" in caplog.text
    assert (server.config, server.limits, site.server.host.plugins["version"].config) == before
    assert not site.logs


async def test_a_missing_file_changes_nothing(site: Site) -> None:
    with pytest.raises(ReloadError, match="xmppd"):
        await site.reloader.reload()


async def test_a_log_that_cannot_be_opened_changes_nothing(site: Site, tmp_path: Path) -> None:
    before = logging.getLogger().handlers[:]
    reloader = Reloader(site.server.server, site.path)
    site.write({"version": {"os": True}}, f"log: {{file: '{tmp_path}/missing/x.log'}}")
    with pytest.raises(ReloadError, match="missing"):
        await reloader.reload()
    assert not site.server.host.plugins["version"].config.os
    assert logging.getLogger().handlers == before


def test_a_log_file_is_let_go(tmp_path: Path) -> None:
    """logrotate: moved away, then SIGHUP."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        root.handlers = []
        use_log(LogConfig(file=tmp_path / "x.log"))
        logging.warning("first")
        (tmp_path / "x.log").rename(tmp_path / "x.log.1")
        use_log(LogConfig(file=tmp_path / "x.log"))
        logging.warning("second")
        root.handlers[0].close()
    finally:
        root.handlers = handlers
        root.setLevel(level)
    assert "second" not in (tmp_path / "x.log.1").read_text()
    assert "second" in (tmp_path / "x.log").read_text()


async def test_a_plugin_that_does_not_take_its_options_keeps_the_old_ones(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = site.server.host.plugins["version"]
    monkeypatch.setattr(plugin, "reconfigured", lambda: 1 / 0)
    outcome = await site.reload({"version": {"os": True}, "roster": {"contacts": 1}})
    assert outcome == Outcome(("hosts.localhost.plugins.roster",), ("hosts.localhost.plugins.version",))
    assert not plugin.config.os
    assert "it keeps the old ones" in caplog.text


async def test_signals_that_come_together(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """The last one sees the last file."""
    caplog.set_level(logging.INFO)
    site.write({"version": {"os": True}})
    for _ in range(5):
        site.reloader.soon()
    task = site.reloader._task
    assert task is not None
    await site.server.until(lambda: "read again" in caplog.text)
    site.write({"version": {"os": True}, "roster": {"contacts": 1}})
    site.reloader.soon()
    await site.reloader._task  # type: ignore[misc]
    assert site.server.host.plugins["roster"].config.contacts == 1
    assert caplog.text.count("configuration read again") <= 3
    await site.reloader.stop()
    site.reloader.soon()
    assert site.reloader._task is not None and site.reloader._task.done()


async def test_a_quota_that_is_lowered_counts_at_once(site: Site) -> None:
    romeo = await site.server.login("romeo")
    add = "<query xmlns='jabber:iq:roster'><item jid='{}@localhost'/></query>"
    assert (await romeo.iq(add.format("a"), "set")).get("type") == "result"
    await site.reload({"roster": {"contacts": 1}})
    assert condition(await romeo.iq(add.format("b"), "set")) == "resource-constraint"


def test_the_outcome_in_words() -> None:
    assert Outcome().text() == "changed: nothing"
    assert Outcome(("log", "limits"), ("storage",)).text() == "changed: log, limits\nneeds a restart: storage"


async def test_the_quarantine_of_names(site: Site) -> None:
    outcome = await site.reload(
        {}, "", **{"admins: [admin@localhost]": "quarantine: 3 days, admins: [admin@localhost]"}
    )
    assert outcome.changed == ("hosts.localhost.quarantine",)
    assert site.server.host.quarantine == 3 * 86_400.0


async def test_a_signal_that_finds_a_broken_file(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """The log has it; the next signal is heard."""
    site.path.write_text("hosts: [")
    site.reloader.soon()
    await site.reloader._task  # type: ignore[misc]
    assert "not reloaded" in caplog.text
    site.write({"version": {"os": True}})
    site.reloader.soon()
    await site.reloader._task  # type: ignore[misc]
    assert site.server.host.plugins["version"].config.os


async def test_a_signal_while_something_is_broken(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.write()
    monkeypatch.setattr(site.reloader, "_use", lambda read: 1 / 0)
    site.reloader.soon()
    await site.reloader._task  # type: ignore[misc]
    assert "reloading failed" in caplog.text


async def test_folders_of_plugins_wait_for_a_restart(site: Site, tmp_path: Path) -> None:
    """And so do the options of plugins that may come from them."""
    (tmp_path / "more").mkdir()
    outcome = await site.reload({"version": {"os": True}}, f"plugin_path: ['{tmp_path}/more']")
    assert outcome == Outcome((), ("plugin_path",))


# ---- certificates


def config(folder: Path, options: str = "") -> ServerConfig:
    text = configuration().replace("admins: [admin@localhost]", f"admins: []{options}")
    return replace(parse_config(text, "xmppd.yaml"), var=folder)


def test_certificates_of_hosts_with_accounts(tmp_path: Path) -> None:
    """Made where that is allowed; checking makes nothing."""
    made = config(tmp_path, ", self_signed: true")
    assert certificate_problems(made, tmp_path / "xmppd.yaml") == []
    assert not list(tmp_path.iterdir())
    load_certificates(made)
    chain, key = made.certificate_files("localhost")
    assert chain.exists() and key.exists() and "conference" not in str(list(tmp_path.rglob("*")))
    assert certificate_problems(made, tmp_path / "xmppd.yaml") == []
    load_certificates(config(tmp_path))


def test_a_certificate_that_is_missing_or_broken_is_told_with_its_host(tmp_path: Path) -> None:
    (tmp_path / "xmppd.yaml").write_text(configuration())
    missing = config(tmp_path, ", self_signed: false")
    (problem,) = certificate_problems(missing, tmp_path / "xmppd.yaml")
    assert NO_CERTIFICATE in problem.message
    with pytest.raises(ConfigError) as raised:
        load_certificates(missing)
    assert raised.value.problems[0].path == "localhost"
    chain, key = missing.certificate_files("localhost")
    chain.parent.mkdir(parents=True, exist_ok=True)
    for file in (chain, key):
        file.write_text("no certificate")
    (problem,) = certificate_problems(missing, tmp_path / "xmppd.yaml")
    assert NO_CERTIFICATE not in problem.message


async def test_a_new_certificate(site: Site, tmp_path: Path) -> None:
    server = site.server.server
    server.config = replace(server.config, var=tmp_path)
    more = f"var: '{tmp_path}'"
    signed = {"admins: [admin@localhost]": "self_signed: true, admins: [admin@localhost]"}
    site.write({}, more, **signed)
    server.certificates = load_certificates(parse_config(site.path.read_text(), "xmppd.yaml"))
    assert "the certificate of localhost" not in (await site.reloader.reload()).changed
    for file in server.config.certificate_files("localhost"):
        file.unlink()
    assert "the certificate of localhost" in (await site.reloader.reload()).changed
