"""The reference of all options as Markdown. `python -m xmppd.config.doc [FILE]` writes the server's part."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, get_args, get_origin

from .effective import plain
from .option import Kinds, Option, describe, is_section, kinds_of, optional, options_of
from .schema import ServerConfig

_WORDS: Final = {None: "null", True: "true", False: "false"}
_INTRODUCTION: Final = """\
# Configuration

This page is generated from the code; change the options there.

The server reads one YAML file: the one named with `--config`, else the one in `$XMPPD_CONFIG`, else
`xmppd.yaml` in the working folder, else `/etc/xmppd/xmppd.yaml`. `xmppd check` says what is wrong with it, line by
line; `xmppd check --print` shows it with all defaults filled in. Examples are in `config/examples/`.

- Durations: a number with a unit (`ms`, `seconds`, `minutes`, `hours`, `days`, `weeks`, `years`; `5 minutes`,
  `90s`, `1h 30min`), or a plain number of seconds.
- Sizes: a number with a unit (`kB`, `MB`, `GB`, `TB` by 1000, `KiB`, `MiB`, `GiB`, `TiB` by 1024), or a plain
  number of bytes.
- Text that looks like a number, a date, `yes`, `no`, `on`, `off`, `true`, `false` or `null` needs quotes.
- Anchors and `<<` work; tags do not. An unknown or repeated option is an error.
"""


def options_markdown(cls: type, title: str, level: int = 2, path: str = "", base: object = None) -> str:
    """The options of a configuration class as a table under a heading, nested classes after it.

    `title` of the heading, `level` its depth (2 is `##`), `path` what stands before the names of nested
    headings; `base`: an instance whose values are shown as the defaults.
    """
    options = options_of(cls)
    kinds = kinds_of(cls)
    if kinds is not None:
        options = tuple(each for each in options if each.name == kinds.option)
    elif (above := _chosen_by(cls)) is not None:
        options = tuple(each for each in options if each.name != above.option)
    about = inspect.getdoc(cls) or ""
    parts = [f"{'#' * level} {title}"]
    # A dataclass without a docstring has its signature for one.
    if about and not about.startswith(f"{cls.__name__}("):
        parts.append(about)
    if not options:
        return "\n\n".join([*parts, "No options."]) + "\n"
    rows = [
        "| option | value | default | |",
        "|---|---|---|---|",
        *(_row(option, base, kinds) for option in options),
    ]
    parts.append("\n".join(rows))
    nested = [
        options_markdown(section, f"`{inner}`", min(level + 1, 6), inner, _base(option, section, base))
        for option in options
        for section, inner in [_nested(option.type, f"{path}.{option.name}" if path else option.name)]
        if section is not None
    ]
    if kinds is not None:
        nested += [
            options_markdown(section, f"{title}, {kinds.option} `{kind}`", min(level + 1, 6), path)
            for kind, section in kinds.classes.items()
        ]
    return "\n\n".join([*parts, *(part.rstrip("\n") for part in nested)]) + "\n"


def server_markdown() -> str:
    """The part of the reference that the server's own options make."""
    return f"{_INTRODUCTION}\n{options_markdown(ServerConfig, 'Server')}"


def render(plugins: Iterable[tuple[str, type, str]] = ()) -> str:
    """The whole reference. `plugins`: name, configuration class, and one paragraph about each."""
    parts = [server_markdown()]
    for at, (name, cls, about) in enumerate(plugins):
        if at == 0:
            parts.append("## Plugins\n\nUnder `hosts`, domain, `plugins`, by name.\n")
        table = options_markdown(cls, f"`{name}`", 3, name)
        heading, rest = table.split("\n\n", 1)
        parts.append(f"{heading}\n\n{about.strip()}\n\n{rest}" if about.strip() else table)
    return "\n".join(parts)


def _chosen_by(cls: type) -> Kinds | None:
    """For the class of one kind: what chooses it."""
    return next((kinds for base in cls.__mro__[1:] if (kinds := kinds_of(base)) is not None), None)


def _nested(kind: Any, path: str) -> tuple[type | None, str]:
    """The configuration class that a type holds, if any, and how its options are reached."""
    kind = optional(kind) or kind
    if get_origin(kind) is dict:
        return _nested(get_args(kind)[1], f"{path}.<name>")
    if get_origin(kind) in (tuple, frozenset):
        return _nested(get_args(kind)[0], f"{path}[]")
    return (kind, path) if is_section(kind) else (None, path)


def _row(option: Option, base: object, kinds: Kinds | None) -> str:
    words = "" if kinds is None else " or ".join(f"'{kind}'" for kind in kinds.classes)
    expected = (words or describe(option.type, option.rules)).replace("'", "`").replace('"', "`")
    cells = (f"`{option.name}`", expected, _default(option, base), option.rules.doc)
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _base(option: Option, section: type, base: object) -> object:
    """The instance whose values a nested class takes when nothing is named."""
    default = _value(option, base)
    return default if isinstance(default, section) else None


def _value(option: Option, base: object) -> Any:
    if base is not None:
        return getattr(base, option.attribute)
    return None if option.required else option.default()


def _default(option: Option, base: object) -> str:
    if option.required and base is None:
        return "required"
    if _nested(option.type, "")[0] is not None:
        return "see below"
    value = plain(_value(option, base))
    if value in ([], {}):
        return "none"
    if isinstance(value, list):
        return ", ".join(f"`{each}`" for each in value)
    return f"`{_WORDS.get(value, value) if value is None or isinstance(value, bool) else value}`"


def main(arguments: list[str]) -> int:
    """Write the server's part to a file, or to standard output without one."""
    text = render()
    if arguments:
        Path(arguments[0]).write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
