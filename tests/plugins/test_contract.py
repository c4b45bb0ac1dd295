"""The contract of plugins: how they are found, configured and checked before anything starts."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Harness
from tests.plugins.contract import HEAD, PLAIN, Serve, folder, serve
from xmppd.config import ConfigError
from xmppd.errors import LocalError
from xmppd.hosts.loader import PluginError, discover

__all__ = ["folder", "serve"]

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


LOOSE = [
    ("@iq('get', 'urn:test', 'who')\nasync def answer(self, request): ...", "answer bears @iq"),
    ("@http('GET', '/who')\nasync def page(self, request): ...", "page bears @http"),
    ("@on(OUTBOUND)\ndef check(self, event): ...", "check bears @on"),
    ("@nonza('urn:test', 'who')\ndef check(self, session, nonza): ...", "check bears @nonza"),
    ("class Other:\n    @on(OUTBOUND)\n    def check(self, event): ...", "Other.check bears @on"),
]


@pytest.mark.parametrize(("source", "said"), LOOSE)
@pytest.mark.parametrize("place", ["beside", "in a part", "behind an entry point"])
def test_a_handler_outside_the_class_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str, place: str
) -> None:
    """It would never be called: it is named with its file and line."""
    for module in [name for name in sys.modules if name.startswith(("loose", "xmppd_folder_loose"))]:
        monkeypatch.delitem(sys.modules, module)
    head = (
        "from xmppd.plugin import NoConfig, Plugin, http, iq, nonza, on\nfrom xmppd.contracts.routing import OUTBOUND\n"
    )
    path, plain = folder / "loose.py", head + PLAIN
    line = source[: source.index("@")].count("\n") + head.count("\n") + 1
    if place == "in a part":
        path = folder / "loose" / "part.py"
        path.parent.mkdir()
        (path.parent / "__init__.py").write_text(f"{plain}\nfrom . import part\n", "utf-8")
        plain = ""
    path.write_text(f"{head}{source}\n{plain}", "utf-8")
    if place == "behind an entry point":
        found = folder / "loose-1.dist-info"
        found.mkdir()
        (found / "METADATA").write_text("Metadata-Version: 2.1\nName: loose\nVersion: 1\n", "utf-8")
        (found / "entry_points.txt").write_text("[xmppd.plugins]\nloose = loose:A\n", "utf-8")
        monkeypatch.syspath_prepend(folder)
    with pytest.raises(PluginError) as caught:
        discover([] if place == "behind an entry point" else [folder])
    assert str(caught.value) == (
        f"{path}:{line}: {said} and is no method of the plugin class, so it would never be called: is it indented?"
    )


def test_handlers_of_a_base_class_and_by_another_name_are_methods(folder: Path) -> None:
    """What the class has from elsewhere in its module is called."""
    source = """
class Base:
    @iq("get", "urn:test", "who")
    async def answer(self, request): ...

@iq("get", "urn:test", "what")
async def what(self, request): ...

class A(Base, Plugin[NoConfig]):
    standard = False
    answer_what = what
"""
    (folder / "whole.py").write_text(HEAD + source, "utf-8")
    assert "whole" in discover([folder])


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


async def test_types_and_tags_of_what_is_no_stanza_are_refused(serve: Serve) -> None:
    with pytest.raises(LocalError, match=r"odd\.came: <Notify available> is about no stanza"):
        await serve(
            odd="""
            class A(Plugin[NoConfig]):
                standard = False
                @on(AVAILABLE, types=("chat",))
                def came(self, session: Session) -> None: ...
            """
        )


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
