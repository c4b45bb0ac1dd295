"""Plugins are found, checked and put in order before anything starts."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.plugins.contract import HEAD, PLAIN, folder
from xmppd.config import ConfigError, HostConfig, RawOptions, parse_config
from xmppd.hosts import loader
from xmppd.hosts.loader import (
    Found,
    PluginError,
    choose,
    config_type,
    discover,
    host_types,
    known_types,
    plugin_class,
    what_failed,
    with_accounts,
)
from xmppd.plugin import HostType, NoConfig, Plugin
from xmppd.service import Service

__all__ = ["folder"]

STORE = Service[Any]("test-store")
SHELF = Service[Any]("test-shelf")
LIBRARY = HostType("library", "books")


def found(*classes: type[Plugin[Any]], built_in: bool = True) -> dict[str, Found]:
    return {
        cls.__name__.lower(): Found(cls.__name__.lower(), cls, f"{cls.__name__}.py", config_type(cls), built_in)
        for cls in classes
    }


def names(available: dict[str, Found], **options: bool) -> list[str]:
    plugins = {name: RawOptions(enabled=enabled) for name, enabled in options.items()}
    return [each.name for each, _ in choose(HostConfig(plugins=plugins), "localhost", available)]


class Base(Plugin[NoConfig]):
    provides = (STORE,)


class Middle(Plugin[NoConfig]):
    uses = (STORE,)
    provides = (SHELF,)


class Above(Plugin[NoConfig]):
    uses = (SHELF, STORE)


# ---- found


def test_what_comes_with_the_server() -> None:
    available = discover()
    assert {"roster", "presence", "archive", "muc"} <= set(available)
    assert all(each.built_in for name, each in available.items() if "plugins/" in each.origin)
    assert config_type(available["archive"].cls).__name__ == "Config" and config_type(Base) is NoConfig


def test_in_folders_of_the_administrator(folder: Path) -> None:
    (folder / "guest.py").write_text(HEAD + PLAIN)
    (folder / "large").mkdir()
    (folder / "large" / "__init__.py").write_text(HEAD + PLAIN)
    for not_one in ("_hidden.py", ".swap.py", "notes.txt"):
        (folder / not_one).write_text("nonsense(")
    (folder / "data").mkdir()
    available = discover([folder])
    assert {"guest", "large"} <= set(available) and "data" not in available and "_hidden" not in available
    assert available["guest"].origin == str(folder / "guest.py") and not available["guest"].built_in


def test_a_name_that_is_taken(folder: Path) -> None:
    (folder / "roster.py").write_text(HEAD + PLAIN)
    with pytest.raises(PluginError, match=r"plugin 'roster' is in .* and in "):
        discover([folder])


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("def broken(:\n", "SyntaxError"),
        ("1/0\n", r"ZeroDivisionError.*guest\.py:1"),
        ("raise SystemExit(3)\n", "SystemExit"),
        ("x = 1\n", "must define one plugin class, it defines 0"),
        (HEAD + PLAIN + "class B(Plugin[NoConfig]): pass\n", "it defines 2"),
        (HEAD + "class A(Plugin[NoConfig]):\n    uses = ['x']\n", r"A\.uses must be a tuple of Service"),
        (HEAD + PLAIN + "@iq('get', 'urn:test', 'x')\nasync def loose(self, request): pass\n", "bears @iq.*indented"),
    ],
)
def test_what_cannot_be_used_says_why_and_where_it_was_named(folder: Path, source: str, why: str) -> None:
    (folder / "guest.py").write_text(source)
    with pytest.raises(PluginError, match=why) as raised:
        discover([folder])
    assert raised.value.where == ("plugin_path", 0)


def test_a_folder_that_is_not_there(folder: Path) -> None:
    with pytest.raises(PluginError, match="is not there") as raised:
        discover([folder, folder / "nowhere"])
    assert raised.value.where == ("plugin_path", 1)
    (folder / "file").write_text("")
    with pytest.raises(PluginError, match="is not there"):
        discover([folder / "file"])


@pytest.mark.parametrize(
    ("value", "why"),
    [("guest_distribution", None), ("guest_distribution:A", None), ("guest_distribution:x", "is not a plugin class"),
     ("guest_distribution:y", "cannot be imported")],
)  # fmt: skip
def test_by_entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, why: str | None) -> None:
    (tmp_path / "guest_distribution.py").write_text(HEAD + PLAIN + "x = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "guest_distribution", raising=False)
    point = importlib.metadata.EntryPoint("guest", value, loader.ENTRY_POINTS)
    monkeypatch.setattr(loader.importlib.metadata, "entry_points", lambda group: [point])
    if why is None:
        assert discover()["guest"].origin == f"? ({value})"
    else:
        with pytest.raises(PluginError, match=why):
            discover()


def test_the_class_of_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_module.py").write_text(
        "from xmppd.plugin import NoConfig, Plugin\nfrom tests.core.test_loader import Base\nclass Own(Base): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert plugin_class(importlib.import_module("own_module")).__name__ == "Own", "not those that it imports"


def test_what_failed_in_one_line() -> None:
    assert what_failed(FileNotFoundError(2, "No such file", "keys.pem")) == "No such file: keys.pem"
    assert what_failed(ValueError("x")) == "ValueError('x')"


# ---- types of hosts


def test_a_plugin_brings_a_type_of_host() -> None:
    class Books(Plugin[NoConfig]):
        host_types = (LIBRARY,)

    class Again(Books):
        pass

    assert host_types(found(Books))["library"] is LIBRARY
    with pytest.raises(PluginError, match="hosts of type 'library' are there already"):
        host_types(found(Books, Again))


def test_where_people_sign_in() -> None:
    hosts = {"a": HostConfig(), "b": HostConfig(type="library"), "c": HostConfig(type="unheard-of")}
    assert with_accounts(hosts) == ["a"]
    served = {"library": HostType("library", "books", has_accounts=True)}
    assert with_accounts(hosts, served) == ["b"]


def test_the_types_of_a_configuration() -> None:
    text = (
        "hosts: {{localhost: {{}}, other.localhost: {{type: {}}}}}\n"
        "listeners: [{{address: 127.0.0.1, port: 5222, tls: none}}]\nstorage: 'memory:'\n"
    )
    assert "accounts" in known_types(parse_config(text.format("accounts"), "test.yaml"))
    assert "rooms" in known_types(parse_config(text.format("rooms"), "test.yaml"))


# ---- chosen


def test_providers_start_before_users() -> None:
    assert names(found(Above, Middle, Base)) == ["base", "middle", "above"]


def test_only_what_is_wanted() -> None:
    class Optional(Plugin[NoConfig]):
        standard = False

    class Rooms(Plugin[NoConfig]):
        serves = ("rooms",)

    available = found(Base, Optional, Rooms)
    assert names(available) == ["base"]
    assert names(available, optional=True) == ["base", "optional"]
    assert names(available, base=False) == []
    assert names(found(Base, built_in=False)) == [], "only what comes with the server runs without being named"


def test_what_the_authors_did_wrong() -> None:
    class Second(Base):
        pass

    class Left(Plugin[NoConfig]):
        uses, provides = (SHELF,), (STORE,)

    with pytest.raises(PluginError, match="both provide test-store"):
        names(found(Base, Second))
    with pytest.raises(PluginError, match="plugin middle needs test-store, and no plugin provides it"):
        names(found(Middle))
    with pytest.raises(PluginError, match="these plugins need each other: "):
        names(found(Left, Middle))


def test_what_the_administrator_wrote_wrong() -> None:
    """All of it at once, each with its place."""

    class Rooms(Plugin[NoConfig]):
        serves = ("rooms",)

    colour = yaml.compose("{colour: red}")
    assert isinstance(colour, yaml.MappingNode)
    plugins = {"bas": RawOptions(), "rooms": RawOptions(), "base": RawOptions(colour, "test.yaml", 7)}
    with pytest.raises(ConfigError) as raised:
        choose(HostConfig(plugins=plugins), "localhost", found(Base, Rooms))
    first, second, third = raised.value.problems
    assert "did you mean 'base'" in first.message and first.path == "hosts.localhost.plugins.bas"
    assert second.message == "this plugin is for hosts of type rooms"
    assert third.path.startswith("hosts.localhost.plugins.base") and "colour" in str(third)


def test_a_type_of_host_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="did you mean 'accounts'"):
        choose(HostConfig(type="acounts"), "localhost", found(Base))
