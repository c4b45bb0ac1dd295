"""The configuration as it takes effect, defaults filled in, as YAML that can be read back."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from .nodes import kind_of, pairs
from .option import RawOptions, is_section, options_of
from .schema import ServerConfig
from .units import Duration, Size, Word

HIDDEN: Final = "(hidden)"
_PASSWORD: Final = re.compile(r"(?<=://)([^/@:]*):.*@")
_INT: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,18})", re.ASCII)


def effective(config: ServerConfig, options: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """The configuration as YAML, without secrets.

    `options`: domain → plugin → its bound configuration object, None for a plugin that is left out. Domains
    that are not in it show what the file says of their plugins, whose secrets are not known as such.
    """
    shown: dict[str, Any] = plain(config)
    shown["storage"] = without_password(config.storage)
    shown["control"] = str(config.control_socket)
    for domain, host in shown["hosts"].items():
        certificate, key = config.certificate_files(domain)
        host.update(certificate=str(certificate), key=str(key), self_signed=config.self_signed(domain))
        if options is not None and domain in options:
            host["plugins"] = {
                name: False if bound is None else plain(bound) or True for name, bound in options[domain].items()
            }
    return yaml.dump(shown, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


def plain(value: Any) -> Any:
    """A bound value as what YAML can write: durations and sizes with units, secrets hidden."""
    if isinstance(value, RawOptions):
        return (True if value.node is None else _raw(value.node)) if value.enabled else False
    if is_section(type(value)):
        options = options_of(type(value))
        return {
            each.name: HIDDEN
            if each.rules.secret and getattr(value, each.attribute)
            else plain(getattr(value, each.attribute))
            for each in options
        }
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (Path, Duration, Size, Word)):
        return str(value)
    if isinstance(value, frozenset):
        return sorted((plain(each) for each in value), key=str)
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return value


def without_password(url: str) -> str:
    """A URL that may be shown and logged."""
    return _PASSWORD.sub(rf"\1:{HIDDEN}@", url)


def _raw(node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {key.value: _raw(value) for key, value in pairs(node)}
    if isinstance(node, yaml.SequenceNode):
        return [_raw(item) for item in node.value]
    kind = kind_of(node)
    if kind == "null":
        return None
    if kind == "bool":
        return node.value.lower() in ("true", "yes", "on")
    return int(node.value) if kind == "int" and _INT.fullmatch(node.value) else str(node.value)


class _Dumper(yaml.SafeDumper):
    """Writes a value that comes twice twice, not as an anchor."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
