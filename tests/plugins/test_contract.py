"""The contract of plugins: how they are found, checked, ordered, started, asked and stopped."""

from __future__ import annotations

import logging
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Harness, condition
from xmppd import server as server_module
from xmppd.config import ConfigError
from xmppd.errors import LocalError
from xmppd.loader import PluginError, discover

HEAD = """
from __future__ import annotations
import asyncio, logging
from dataclasses import dataclass
from xmppd.config import option
from xmppd.contracts.routing import ARRIVED, INBOUND, OUTBOUND
from xmppd.contracts.sessions import AVAILABLE
from xmppd.plugin import *
from xmppd.plugin import Service

log = logging.getLogger("journal")

@dataclass(frozen=True, slots=True)
class Note:
    text: str
"""
PLAIN = """
class A(Plugin[NoConfig]):
    standard = False
"""
Serve = Callable[..., Awaitable[Harness]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "plugins"
    made.mkdir()
    return made


@pytest.fixture
async def serve(folder: Path) -> AsyncIterator[Serve]:
    """Starts a server with these plugins: name → source, `options` by name (all are loaded)."""
    running: list[Harness] = []

    async def start(options: dict[str, dict[str, Any]] | None = None, **sources: str) -> Harness:
        for name, source in sources.items():
            (folder / f"{name}.py").write_text(HEAD + textwrap.dedent(source), "utf-8")
        named: dict[str, dict[str, Any]] = {name: {} for name in sources} | (options or {})
        harness = Harness(plugins=named, more=f"plugin_path: ['{folder}']")
        await harness.start()
        running.append(harness)
        return harness

    yield start
    for harness in running:
        await harness.stop()


def journal(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "journal"]


# ---- found


@pytest.mark.skipif(not entry_points(group="xmppd.plugins", name="weather"), reason="`make test` installs it")
@pytest.mark.server(plugins={"weather": {"sky": "cloudy"}})
async def test_found_by_entry_point(server: Harness) -> None:
    found = server.server.found["weather"]
    assert found.origin == "xmppd-weather (xmppd_weather:Weather)"
    romeo = await server.login("romeo")
    answer = await romeo.iq("<weather xmlns='urn:example:weather'/>", to="localhost")
    assert answer[0].get("sky") == "cloudy"


@pytest.mark.skipif(not entry_points(group="xmppd.plugins", name="weather"), reason="`make test` installs it")
async def test_what_is_not_standard_runs_only_when_named(server: Harness) -> None:
    assert "weather" in server.server.found
    assert "weather" not in server.host.plugins


async def test_found_in_a_folder(serve: Serve, folder: Path) -> None:
    harness = await serve(
        guest="""
        class Guest(Plugin[NoConfig]):
            standard = False
            @iq("get", "urn:test", "who")
            async def answer(self, request: Request) -> Element:
                return E("who", "urn:test", {}, self.name)
        """
    )
    assert harness.server.found["guest"].origin == str(folder / "guest.py")
    romeo = await harness.login("romeo")
    assert (await romeo.iq("<who xmlns='urn:test'/>", to="localhost"))[0].text == "guest"


async def test_a_plugin_can_be_a_folder_of_its_own(serve: Serve, folder: Path) -> None:
    (folder / "large").mkdir()
    (folder / "large" / "__init__.py").write_text(HEAD + "from .words import WORD\n" + PLAIN, "utf-8")
    (folder / "large" / "words.py").write_text("WORD = 'abc'\n", "utf-8")
    harness = await serve({"large": {}})
    assert "large" in harness.host.plugins


def test_one_name_twice(folder: Path) -> None:
    (folder / "ping.py").write_text(HEAD + PLAIN, "utf-8")
    with pytest.raises(PluginError, match=r"plugin 'ping' is in .*plugins/ping\.py and in .*ping\.py"):
        discover([folder])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import nowhere", r"broken\.py cannot be imported: ModuleNotFoundError"),
        ("def (", r"broken\.py cannot be imported: SyntaxError"),
        ("x = 1", "must define one plugin class, it defines 0"),
        (HEAD + PLAIN + PLAIN.replace("class A", "class B"), "must define one plugin class, it defines 2"),
    ],
)
def test_what_is_no_plugin(folder: Path, source: str, said: str) -> None:
    (folder / "broken.py").write_text(source, "utf-8")
    with pytest.raises(PluginError, match=said):
        discover([folder])


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="nowhere is not there"):
        discover([tmp_path / "nowhere"])


# ---- configured


async def test_an_unknown_plugin_is_named_with_its_line_and_the_nearest_name() -> None:
    with pytest.raises(ConfigError) as caught:
        await Harness(plugins={"pimg": {}}).start()
    assert str(caught.value) == ("test.yaml:3: hosts.localhost.plugins.pimg: unknown plugin; did you mean 'ping'?")


OPTIONS = """
@dataclass(frozen=True)
class Config:
    count: int = option(3, "How many.", low=1, high=9)

class A(Plugin[Config]):
    standard = False
"""


async def test_options_are_typed(serve: Serve) -> None:
    harness = await serve({"counted": {"count": 7}}, counted=OPTIONS)
    assert harness.host.plugins["counted"].config.count == 7


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"count": 10},
            "count: expected a whole number from 1 to 9, got the number 10",
        ),
        ({"cuont": 1}, "cuont: unknown option; did you mean 'count'?"),
    ],
)
async def test_a_wrong_option(serve: Serve, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        await serve({"counted": options}, counted=OPTIONS)
    assert str(caught.value) == f"test.yaml:3: hosts.localhost.plugins.counted.{said}"


async def test_a_required_option_of_a_standard_plugin_can_be_given(serve: Serve) -> None:
    source = """
    @dataclass(frozen=True)
    class Config:
        key: str = option(doc="The key.")

    class A(Plugin[Config]):
        pass
    """
    harness = await serve({"keyed": {"key": "abc"}}, keyed=source)
    assert harness.host.plugins["keyed"].config.key == "abc"


async def test_a_config_class_without_options_is_the_authors_fault(serve: Serve) -> None:
    with pytest.raises(PluginError, match=r"plugin odd: .*is not made with option"):
        await serve(
            odd="""
            @dataclass(frozen=True)
            class Config:
                count: int = 3

            class A(Plugin[Config]):
                standard = False
            """
        )


async def test_a_plugin_for_another_type_of_host(serve: Serve) -> None:
    with pytest.raises(ConfigError, match="this plugin is for hosts of type rooms"):
        await serve(lobby=PLAIN + "    serves = ('rooms',)")


# ---- checked before anything starts


async def test_a_coroutine_on_the_hot_path_is_refused(serve: Serve) -> None:
    with pytest.raises(LocalError, match=r"slow\.look: <Chain outbound> takes plain functions only"):
        await serve(
            slow="""
            class A(Plugin[NoConfig]):
                standard = False
                @on(OUTBOUND)
                async def look(self, event: Outbound) -> None:
                    await asyncio.sleep(1)
            """
        )


async def test_two_providers_of_one_service(serve: Serve) -> None:
    provider = PLAIN + "    provides = (Service('thing'),)"
    with pytest.raises(PluginError, match="localhost: one and two both provide thing"):
        await serve(one=provider, two=provider)


async def test_a_missing_service(serve: Serve) -> None:
    with pytest.raises(PluginError, match="plugin wants needs thing, and no plugin provides it"):
        await serve(wants=PLAIN + "    uses = (Service('thing'),)")


async def test_plugins_that_need_each_other(serve: Serve) -> None:
    with pytest.raises(PluginError, match="these plugins need each other: egg -> hen -> egg"):
        await serve(
            hen=PLAIN + "    uses, provides = (Service('egg'),), (Service('hen'),)",
            egg=PLAIN + "    uses, provides = (Service('hen'),), (Service('egg'),)",
        )


async def test_two_handlers_for_one_payload(serve: Serve) -> None:
    handler = """
    class A(Plugin[NoConfig]):
        standard = False
        @iq("get", "urn:test", "who")
        async def answer(self, request: Request) -> None: ...
    """
    with pytest.raises(LocalError, match=r"two\.answer and one\.answer both answer get urn:test\|who"):
        await serve(one=handler, two=handler)


# ---- started and stopped

LIFE = """
class A(Plugin[NoConfig]):
    standard = False
    {0}
    async def start(self) -> None:
        log.info("start " + self.name)
    async def stop(self) -> None:
        log.info("stop " + self.name)
"""


async def test_providers_start_first_and_stop_last(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "journal")
    uses = {"alpha": "uses = (Service('thing'),)", "zeta": "provides = (Service('thing'),)"}
    for name, line in uses.items():
        (folder / f"{name}.py").write_text(HEAD + LIFE.format(line), "utf-8")
    harness = await Harness(plugins={"alpha": {}, "zeta": {}}, more=f"plugin_path: ['{folder}']").start()
    await harness.stop()
    assert journal(caplog) == ["start zeta", "start alpha", "stop alpha", "stop zeta"]


async def test_a_plugin_that_does_not_stop_holds_no_other(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "journal")
    (folder / "one.py").write_text(HEAD + LIFE.format(""), "utf-8")
    broken = LIFE.format("").replace('log.info("stop " + self.name)', "raise RuntimeError('stuck')")
    (folder / "two.py").write_text(HEAD + broken, "utf-8")
    harness = await Harness(plugins={"one": {}, "two": {}}, more=f"plugin_path: ['{folder}']").start()
    await harness.stop()
    assert journal(caplog)[-1] == "stop one"
    assert "plugin two of localhost did not stop" in caplog.text


async def test_timers_end_at_stop(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "journal")
    source = """
    async def start(self) -> None:
        self.every(10, lambda: log.info("tick"), "clock")
"""
    (folder / "busy.py").write_text(HEAD + PLAIN + source, "utf-8")
    harness = await Harness(plugins={"busy": {}}, more=f"plugin_path: ['{folder}']").start()
    await harness.advance(25)
    assert journal(caplog) == ["tick", "tick"]
    await harness.stop()
    while (due := harness.clock.due(harness.clock.monotonic() + 60)) is not None:
        due()
    assert journal(caplog) == ["tick", "tick"]


async def test_work_ends_at_stop(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "STOP_WITHIN", 0.01)
    caplog.set_level(logging.INFO, "journal")
    source = """
    async def start(self) -> None:
        self.spawn(self.wait(), "wait")

    async def wait(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            log.info("ended")
"""
    (folder / "busy.py").write_text(HEAD + PLAIN + source, "utf-8")
    harness = await Harness(plugins={"busy": {}}, more=f"plugin_path: ['{folder}']").start()
    await harness.stop()
    assert journal(caplog) == ["ended"]
    assert not harness.host.background._tasks


async def test_work_that_fails_is_logged_with_its_name(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    harness = await serve(
        hasty="""
        class A(Plugin[NoConfig]):
            standard = False
            async def start(self) -> None:
                self.spawn(self.fail(), "work")
            async def fail(self) -> None:
                raise RuntimeError("no")
        """
    )
    await harness.quiet()
    assert "hasty.work failed" in caplog.text


# ---- asked

MESSAGE = "<message id='m' to='juliet@localhost/b' type='chat'><body>hi</body></message>"


@pytest.mark.parametrize("hook", ["OUTBOUND", "INBOUND"])
@pytest.mark.parametrize("turn", [0, 63])  # the second one is timed, on another way through the chain
async def test_a_crash_in_a_chain_refuses_the_stanza(
    serve: Serve, caplog: pytest.LogCaptureFixture, hook: str, turn: int
) -> None:
    harness = await serve(
        crash=f"""
        class A(Plugin[NoConfig]):
            standard = False
            def setup(self) -> None:
                self.notes = self.host.storage.map("notes", Note)
            @on({hook}, Stage.GUARD, kinds=(Kind.MESSAGE,))
            def keep(self, event: Outbound) -> None:
                event.write(self.notes.put(event.owner.bare, "", Note("seen")))
            @on({hook}, Stage.ARCHIVE, kinds=(Kind.MESSAGE,))
            def look(self, event: Outbound) -> None:
                raise RuntimeError("no")
        """
    )
    romeo = await harness.login("romeo")
    juliet = await harness.login("juliet", resource="b", presence=True)
    # INBOUND is the second chain that a message passes.
    harness.host._turn = turn - (hook == "INBOUND")
    romeo.send(MESSAGE)
    answer = await romeo.receive()
    assert (answer.get("id"), condition(answer)) == ("m", "internal-server-error")
    assert "RuntimeError: no" in caplog.text
    assert b"RuntimeError" not in bytes(romeo.link.written), "nothing internal goes over the wire"
    await juliet.silence()
    notes = harness.host.plugins["crash"].notes
    assert await notes.read_all("romeo@localhost") == await notes.read_all("juliet@localhost") == {}


async def test_a_crash_in_an_iq_handler_is_an_error(serve: Serve) -> None:
    harness = await serve(
        crash="""
        class A(Plugin[NoConfig]):
            standard = False
            @iq("get", "urn:test", "who")
            async def answer(self, request: Request) -> None:
                raise RuntimeError("no")
        """
    )
    romeo = await harness.login("romeo")
    assert condition(await romeo.iq("<who xmlns='urn:test'/>")) == "internal-server-error"
    assert (await romeo.iq("<ping xmlns='urn:xmpp:ping'/>", to="localhost")).get("type") == "result"


async def test_a_crash_in_a_notification_is_logged_and_the_next_one_runs(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "journal")
    harness = await serve(
        first="""
        class A(Plugin[NoConfig]):
            standard = False
            @on(ARRIVED, kinds=(Kind.MESSAGE,))
            def look(self, event: Inbound) -> None:
                raise RuntimeError("no")
        """,
        second="""
        class A(Plugin[NoConfig]):
            standard = False
            @on(ARRIVED, kinds=(Kind.MESSAGE,))
            def look(self, event: Inbound) -> None:
                log.info("second")
        """,
    )
    romeo = await harness.login("romeo")
    juliet = await harness.login("juliet", resource="b", presence=True)
    romeo.send(MESSAGE)
    assert (await juliet.receive()).get("id") == "m"
    assert journal(caplog) == ["second"]
    assert "first.look failed in arrived" in caplog.text


async def test_stages_are_the_order_and_a_verdict_ends_the_chain(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "journal")
    handler = """
    class A(Plugin[NoConfig]):
        standard = False
        @on(OUTBOUND, Stage.{0}, kinds=(Kind.MESSAGE,))
        def look(self, event: Outbound) -> Verdict | None:
            log.info(self.name)
            return {1}
    """
    harness = await serve(
        a=handler.format("ARCHIVE", "None"),
        b=handler.format("STAMP", "Verdict.DROP"),
        c=handler.format("GUARD", "None"),
    )
    romeo = await harness.login("romeo")
    juliet = await harness.login("juliet", resource="b", presence=True)
    romeo.send(MESSAGE)
    await juliet.silence()
    await romeo.silence()
    assert journal(caplog) == ["c", "b"]


async def test_what_a_chain_writes_is_there_before_the_stanza_is_seen(serve: Serve) -> None:
    harness = await serve(
        keep="""
        class A(Plugin[NoConfig]):
            standard = False
            def setup(self) -> None:
                self.notes = self.host.storage.map("notes", Note, resident=True)
            @on(INBOUND, Stage.ARCHIVE, kinds=(Kind.MESSAGE,))
            def look(self, event: Inbound) -> None:
                event.write(self.notes.put(event.owner.bare, "", Note("seen")))
        """
    )
    romeo = await harness.login("romeo")
    juliet = await harness.login("juliet", resource="b", presence=True)
    notes = harness.host.plugins["keep"].notes
    harness.backend.hold()
    romeo.send(MESSAGE)
    await juliet.silence()
    assert not notes.get("juliet@localhost")
    harness.backend.release()
    assert (await juliet.receive()).get("id") == "m"
    assert notes.get("juliet@localhost")[""].text == "seen"


async def test_one_run_in_64_is_timed_by_handler(serve: Serve) -> None:
    harness = await serve(
        seen="""
        class A(Plugin[NoConfig]):
            standard = False
            @on(OUTBOUND, kinds=(Kind.MESSAGE,))
            def look(self, event: Outbound) -> None: ...
        """
    )
    romeo = await harness.login("romeo")
    # Each message to nobody passes one chain only: OUTBOUND.
    romeo.send("<message to='conference.localhost'><body>hi</body></message>" * 640)
    await harness.quiet()
    samples, seconds = harness.host.times.seconds["seen.look"]
    assert samples == 10
    assert seconds >= 0.0
