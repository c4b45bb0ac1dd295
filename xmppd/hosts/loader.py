"""Finds plugins (the folder beside `xmppd`, folders of the administrator, entry points), checks them, orders
them and makes one instance per host. Errors are found before anything starts."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_origin

from ..config import (
    ConfigError,
    HostConfig,
    Problem,
    RawOptions,
    ServerConfig,
    Word,
    bind_options,
    joined,
    options_path,
    unknown,
)
from ..plugin import CORE_TYPES, HostType, NoConfig, Plugin
from ..service import Service

ENTRY_POINTS = "xmppd.plugins"


class PluginError(Exception):
    """A plugin that cannot be used; the text says which and why. `where` leads from the top of the configuration to the
    option that named it, () if none did."""

    def __init__(self, text: str, where: tuple[str | int, ...] = ()) -> None:
        super().__init__(text)
        self.where = where


def what_failed(error: BaseException) -> str:
    """What a plugin's own code raised, on one line, with the line of its source."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}:{error.lineno})"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}{f': {error.filename}' if error.filename else ''}"
    frames = [each for each in traceback.extract_tb(error.__traceback__) if not each.filename.startswith("<")]
    return f"{error!r} ({frames[-1].filename}:{frames[-1].lineno})" if frames else repr(error)


@dataclass(frozen=True, slots=True)
class Found:
    """A plugin class, where it came from, and its options."""

    name: str
    cls: type[Plugin[Any]]
    origin: str
    config: type[Any]
    built_in: bool = False
    """Comes with the server: only such plugins run without being named."""


def discover(folders: Iterable[Path] = ()) -> dict[str, Found]:
    """All plugins that can be named in a configuration. Raises PluginError."""
    found: dict[str, Found] = {}
    for name, cls, origin in _built_in():
        found[name] = Found(name, cls, origin, config_type(cls), built_in=True)
    for name, cls, origin in [*_from_folders(folders), *_from_entry_points()]:
        if name in found:
            raise PluginError(f"plugin {name!r} is in {found[name].origin} and in {origin}")
        found[name] = Found(name, cls, origin, config_type(cls))
    return found


def _built_in() -> Iterable[tuple[str, type[Plugin[Any]], str]]:
    folder = Path(__file__).parents[2] / "plugins"
    package = importlib.import_module("plugins")
    where = Path(package.__file__ or "").parent
    if where != folder:
        raise PluginError(f"another package has taken the name 'plugins': {where}")
    for path in sorted(folder.iterdir()):
        if _is_module(path):
            name = path.stem
            yield name, plugin_class(importlib.import_module(f"plugins.{name}")), str(path)


def _is_module(path: Path) -> bool:
    if path.name.startswith(("_", ".")):
        return False
    return path.suffix == ".py" or (path / "__init__.py").is_file()


def _from_folders(folders: Iterable[Path]) -> Iterable[tuple[str, type[Plugin[Any]], str]]:
    for number, folder in enumerate(folders):
        where = ("plugin_path", number)
        try:
            paths = sorted(each for each in folder.iterdir() if _is_module(each))
        except (FileNotFoundError, NotADirectoryError):
            raise PluginError(f"plugin folder {folder} is not there", where) from None
        except OSError as error:
            raise PluginError(f"plugin folder {folder} cannot be read: {error.strerror}", where) from None
        for path in paths:
            source = path if path.suffix == ".py" else path / "__init__.py"
            try:
                yield path.stem, plugin_class(_imported(path.stem, source)), str(source)
            except PluginError as error:
                raise PluginError(str(error), where) from error


def _imported(name: str, source: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"xmppd_folder_{name}", source)
    if spec is None or spec.loader is None:
        raise PluginError(f"cannot read {source}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[spec.name]
        raise PluginError(f"plugin {source} cannot be imported: {what_failed(error)}") from error
    return module


def _from_entry_points() -> Iterable[tuple[str, type[Plugin[Any]], str]]:
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        origin = f"{point.dist.name if point.dist else '?'} ({point.value})"
        try:
            loaded = point.load()
        except (Exception, SystemExit) as error:
            raise PluginError(f"plugin {point.name!r} of {origin} cannot be imported: {what_failed(error)}") from error
        yield (
            point.name,
            plugin_class(loaded) if isinstance(loaded, ModuleType) else _checked(loaded, origin),
            origin,
        )


def plugin_class(module: ModuleType) -> type[Plugin[Any]]:
    """The one Plugin subclass that a module defines. Raises PluginError."""
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Plugin) and value.__module__ == module.__name__
    ]
    source = module.__file__ or module.__name__
    _no_loose_handlers(module, classes)
    if len(classes) != 1:
        raise PluginError(f"{source} must define one plugin class, it defines {len(classes)}")
    return _checked(classes[0], source)


_DECLARED: Mapping[str, type] = {"provides": Service, "uses": Service, "serves": str, "host_types": HostType}


def _checked(value: Any, origin: str) -> type[Plugin[Any]]:
    """A plugin class whose declarations are of the right kind. Raises PluginError."""
    if not (isinstance(value, type) and issubclass(value, Plugin)):
        raise PluginError(f"{origin} is not a plugin class")
    for name, kind in _DECLARED.items():
        declared = getattr(value, name)
        if not isinstance(declared, tuple) or not all(isinstance(each, kind) for each in declared):
            raise PluginError(f"{origin}: {value.__name__}.{name} must be a tuple of {kind.__name__}, not {declared!r}")
    if module := sys.modules.get(value.__module__):
        _no_loose_handlers(module, [value])
    return value


def _no_loose_handlers(module: ModuleType, classes: Sequence[type]) -> None:
    """Raises PluginError for what bears a decorator in a module, or a part of it, and is no method of the plugin."""
    ours = {base for cls in classes for base in cls.__mro__}
    methods = {id(value) for cls in ours for value in vars(cls).values()}
    inside = [each for name, each in sys.modules.items() if name.startswith(module.__name__ + ".")]
    for part in (module, *inside):
        for name, value in vars(part).items():
            if not isinstance(value, type):
                _method(name, value, methods)
            elif value.__module__ == part.__name__ and not issubclass(value, Plugin) and value not in ours:
                for attribute, each in vars(value).items():
                    _method(f"{name}.{attribute}", each, methods)


def _method(name: str, value: Any, methods: Set[int]) -> None:
    """Raises PluginError if it bears @iq, @on or @nonza and is no method of the plugin."""
    marks = [mark for mark in getattr(value, "__dict__", ()) if mark.startswith("__xmppd_")]
    if not marks or id(value) in methods:
        return
    code = getattr(value, "__code__", None)
    where = f"{code.co_filename}:{code.co_firstlineno}: " if code else ""
    raise PluginError(
        f"{where}{name} bears @{marks[0].removeprefix('__xmppd_').strip('_')} and is no method of the plugin class, "
        "so it would never be called: is it indented?"
    )


def config_type(cls: type[Plugin[Any]]) -> type[Any]:
    """The C of Plugin[C]."""
    for base in getattr(cls, "__orig_bases__", ()):
        if get_origin(base) is Plugin:
            argument = get_args(base)[0]
            return argument if isinstance(argument, type) else NoConfig
    return NoConfig


def host_types(available: Mapping[str, Found]) -> dict[str, HostType]:
    """What a host can be, by the word in the configuration. Raises PluginError: two plugins bring the same type."""
    types = dict(CORE_TYPES)
    for found in available.values():
        for each in found.cls.host_types:
            if each.name in types:
                raise PluginError(f"plugin {found.name}: hosts of type {each.name!r} are there already")
            types[each.name] = each
    return types


def with_accounts(hosts: Mapping[str, HostConfig], types: Mapping[str, HostType] = CORE_TYPES) -> list[str]:
    """The domains where people sign in. `types`: those that are known; a host of another one has no accounts."""
    return [domain for domain, host in hosts.items() if host.type in types and types[host.type].has_accounts]


def known_types(config: ServerConfig) -> dict[str, HostType]:
    """What the hosts of a configuration can be, for who has no server: plugins are looked for where one of their types
    is named. Raises PluginError."""
    if all(host.type in CORE_TYPES for host in config.hosts.values()):
        return dict(CORE_TYPES)
    return host_types(discover(config.plugin_path))


def choose(host: HostConfig, domain: str, available: Mapping[str, Found]) -> list[tuple[Found, Any]]:
    """The plugins of one host with their options, in start order.

    Raises ConfigError for what the administrator wrote, PluginError for what the plugins' authors did.
    """
    types, word = host_types(available), host.type
    if word not in types:
        place = word if isinstance(word, Word) else Word(word)
        path = joined(joined("hosts", domain), "type")
        raise ConfigError([Problem(place.file, place.line, path, unknown("type of host", word, types))])
    problems: list[Problem] = []
    chosen: dict[str, Any] = {}
    standard = [
        found for found in available.values() if found.built_in and found.cls.standard and found.cls.runs_on(host.type)
    ]
    # Those that are named come with their options or are left out.
    unnamed = [found.name for found in standard if host.standard and found.name not in host.plugins]
    for name, raw in [*((name, RawOptions()) for name in unnamed), *host.plugins.items()]:
        path = options_path(domain, name)
        if name not in available:
            problems.append(Problem(raw.file, raw.line, path, unknown("plugin", name, available)))
            continue
        found = available[name]
        if not found.cls.runs_on(host.type):
            problems.append(
                Problem(
                    raw.file,
                    raw.line,
                    path,
                    f"this plugin is for hosts of type {' or '.join(found.cls.serves)}",
                )
            )
            continue
        if not raw.enabled:
            continue
        try:
            chosen[name] = bind_options(raw, found.config, path)
        except ConfigError as error:
            problems.extend(error.problems)
        except TypeError as error:
            raise PluginError(f"plugin {name}: {error}") from None
    if problems:
        raise ConfigError(problems)
    return [(available[name], chosen[name]) for name in _order(domain, {name: available[name] for name in chosen})]


def _order(domain: str, chosen: Mapping[str, Found]) -> list[str]:
    """Providers before users. Raises PluginError on what is missing, doubled or circular."""
    provider: dict[str, str] = {}
    for name, found in chosen.items():
        for service in found.cls.provides:
            if service.name in provider:
                raise PluginError(f"{domain}: {provider[service.name]} and {name} both provide {service.name}")
            provider[service.name] = name
    order: list[str] = []
    under_way: list[str] = []

    def visit(name: str) -> None:
        if name in order:
            return
        if name in under_way:
            raise PluginError(f"{domain}: these plugins need each other: {' -> '.join([*under_way, name])}")
        under_way.append(name)
        for service in chosen[name].cls.uses:
            if service.name not in provider:
                raise PluginError(f"{domain}: plugin {name} needs {service.name}, and no plugin provides it")
            visit(provider[service.name])
        under_way.pop()
        order.append(name)

    for name in sorted(chosen):
        visit(name)
    return order
