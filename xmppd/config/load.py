"""From YAML to typed values. Everything that is wrong is collected and said together, each with its line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, TypeVar, get_args, get_origin

import yaml

from .nodes import MAX_BYTES, got, joined, kind_of, line_of, pairs, parse
from .option import Kinds, Option, RawOptions, Rules, choices_of, describe, is_section, kinds_of, optional, options_of
from .problem import ConfigError, Problem, unknown
from .units import Duration, Size, Word

T = TypeVar("T")
_INT: Final = re.compile(r"[-+]?(?:0|[1-9][0-9_]{0,24})", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?[0-9][0-9_]{0,24}(?:\.[0-9]{0,24})?(?:[eE][-+]?[0-9]{1,2})?", re.ASCII)
_TRUE: Final = frozenset({"true", "yes", "on"})
_FAILED: Final = object()
_NO_RULES: Final = Rules()
Places = dict[str, yaml.Node]


def read(path: Path) -> bytes:
    """The bytes of a file, one more than allowed at most. Raises ConfigError with the file's name."""
    try:
        with open(path, "rb") as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError([Problem(ascii_name(path), 0, "", f"cannot be read: {reason}")]) from None


def ascii_name(path: Path) -> str:
    """A path as it may be printed anywhere."""
    name = str(path)
    return name if name.isprintable() else ascii(name)[1:-1]


def load(path: Path, cls: type[T]) -> T:
    """The file as a `cls`. Raises ConfigError, whatever the file holds; never anything else."""
    return parse_text(read(path), cls, ascii_name(path), folder_of(path))


def folder_of(path: Path) -> Path:
    """Where the relative paths in a configuration file start: the folder that the file is in."""
    return Path(os.path.abspath(path)).parent


def problem_at(path: Path, where: Iterable[str | int], message: str) -> Problem:
    """What turned out to be wrong after a file was read, with its place: `where` leads from the top to the option. The
    file is read again; of steps that it does not have, the last one that it has gives the line."""
    steps, line, named = tuple(where), 0, ""
    try:
        node: yaml.Node | None = parse(read(path), ascii_name(path))[0]
    except ConfigError:  # it is another file by now
        node = None
    for step in steps:
        named = f"{named}[{step}]" if isinstance(step, int) else joined(named, step)
        place, node = _step(node, step)
        line = line_of(place) if place is not None else line
    return Problem(ascii_name(path), line, named, message)


def names_at(path: Path, option: str) -> list[str]:
    """The names in a mapping at the top of a file, as they are spelled there."""
    try:
        _, node = _step(parse(read(path), ascii_name(path))[0], option)
    except ConfigError:
        return []
    return [key.value for key, _ in pairs(node)] if isinstance(node, yaml.MappingNode) else []


def parse_text(data: bytes, cls: type[T], file: str, folder: Path | None = None) -> T:
    """YAML in UTF-8 as a `cls`; `file` is its name in messages, `folder` where relative paths start (None: they stay
    as they are). Raises ConfigError."""
    node, problems = parse(data, file)
    session_manager = _Binder(file, problems, folder)
    return session_manager.done(session_manager.bind(node, cls, "", _NO_RULES))  # type: ignore[no-any-return]


def bind(node: yaml.Node, kind: type[T], path: str = "", *, file: str = "") -> T:
    """A checked node as a value of type `kind`. Raises ConfigError; paths begin with `path`."""
    session_manager = _Binder(file)
    return session_manager.done(session_manager.bind(node, kind, path, _NO_RULES))  # type: ignore[no-any-return]


def bind_options(raw: RawOptions, cls: type[T], path: str) -> T:
    """The options of a plugin as its configuration class. `path` as in `hosts[example.org].plugins.archive`.

    Raises ConfigError with file and line; TypeError when the class is not one for options.
    """
    options_of(cls)
    session_manager = _Binder(raw.file, folder=raw.folder)
    return session_manager.done(session_manager.section(raw.node, raw.line, cls, path, None))  # type: ignore[no-any-return]


class _Binder:
    """Binds nodes to types; `_FAILED` stands for a value that could not be made."""

    def __init__(self, file: str, problems: Iterable[Problem] = (), folder: Path | None = None) -> None:
        self.file = file
        self.folder = folder
        self.problems = list(problems)

    def done(self, value: Any) -> Any:
        """The value. Raises ConfigError when there was a problem."""
        if self.problems:
            raise ConfigError(self.problems)
        return value

    def fail(self, line: int, path: str, message: str) -> Any:
        self.problems.append(Problem(self.file, line, path, message))
        return _FAILED

    def refuse(self, node: yaml.Node, kind: Any, path: str, rules: Rules, hint: str = "") -> Any:
        message = f"expected {describe(kind, rules)}, got {got(node, rules.secret)}{hint}"
        return self.fail(line_of(node), path, message)

    def bind(self, node: yaml.Node, kind: Any, path: str, rules: Rules, base: Any = None, line: int = 0) -> Any:
        """`base`: the instance that has the values of what a nested class does not name; `line`: of the name."""
        empty = kind_of(node) == "null"
        inner = optional(kind)
        if inner is not None:
            return None if empty else self.bind(node, inner, path, rules, base)
        if kind is RawOptions:
            return self._raw(node, path, line or line_of(node))
        if is_section(kind):
            if isinstance(node, yaml.MappingNode):
                return self.section(node, line_of(node), kind, path, base)
            return (
                self.section(None, line_of(node), kind, path, base) if empty else self.refuse(node, kind, path, rules)
            )
        origin = get_origin(kind)
        if origin is dict:
            return self._dict(node, kind, path, rules)
        if origin in (tuple, frozenset):
            return self._list(node, kind, path, rules)
        return self._scalar(node, kind, path, rules)

    def section(self, node: yaml.MappingNode | None, line: int, cls: Any, path: str, base: Any) -> Any:
        """An instance of a configuration class. Its own `check` runs when all in it is right: what it would
        say of a default in the place of a misspelled option would mislead."""
        kinds = kinds_of(cls)
        if kinds is not None:
            cls = self._chosen(node, kinds, path)
            if cls is _FAILED:
                return _FAILED
        options = options_of(cls)
        known = {option.name: option for option in options}
        places: Places = {}
        for key, value in pairs(node) if node is not None else ():
            if key.value not in known:
                self.fail(line_of(key), joined(path, key.value), unknown("option", key.value, known))
            places[key.value] = value
        values = {option.attribute: self._value(option, places, line, path, base) for option in options}
        if any(value is _FAILED for value in values.values()) or not places.keys() <= known.keys():
            return _FAILED
        try:
            made = cls(**values)
            wrong = list(_checks(made))
        except ValueError as error:
            return self.fail(line, path, str(error))
        for where, message in wrong:
            self._at(node, line, path, where if isinstance(where, tuple) else (where,), message)
        return _FAILED if wrong else made

    def _chosen(self, node: yaml.MappingNode | None, kinds: Kinds, path: str) -> Any:
        """The class of the kind that a section names."""
        _, named = _step(node, kinds.option)
        if named is None:
            return kinds.classes[kinds.default]
        word = named.value if isinstance(named, yaml.ScalarNode) else ""
        if word in kinds.classes:
            return kinds.classes[word]
        inside = joined(path, kinds.option)
        if not word:
            return self.fail(line_of(named), inside, f"expected a word, got {got(named)}")
        return self.fail(line_of(named), inside, unknown(kinds.option, word, kinds.classes))

    def _value(self, option: Option, places: Places, line: int, path: str, base: Any) -> Any:
        inside = joined(path, option.name)
        node = places.get(option.name)
        if base is not None:
            default = getattr(base, option.attribute)
        elif not option.required:
            default = option.default()
        elif node is None:
            return self.fail(line, inside, f"is required: {describe(option.type, option.rules)}")
        else:
            default = None
        if node is None:
            return default
        return self.bind(node, option.type, inside, option.rules, default)

    def _at(self, node: yaml.Node | None, line: int, path: str, where: Iterable[str | int], message: str) -> None:
        """Note what `check` found, at the line of the last step of `where` that the file has."""
        for step in where:
            path = f"{path}[{step}]" if isinstance(step, int) else joined(path, step)
            place, node = _step(node, step)
            line = line_of(place) if place is not None else line
        self.fail(line, path, message)

    def _raw(self, node: yaml.Node, path: str, line: int) -> Any:
        """`line`: where the name stands, for problems with the plugin as such."""
        kind = kind_of(node)
        if isinstance(node, yaml.MappingNode):
            return RawOptions(node, self.file, line, folder=self.folder)
        if kind in ("null", "bool"):
            return RawOptions(None, self.file, line, kind == "null" or node.value.lower() in _TRUE)
        return self.refuse(node, RawOptions, path, _NO_RULES)

    def _dict(self, node: yaml.Node, kind: Any, path: str, rules: Rules) -> Any:
        if not isinstance(node, yaml.MappingNode) and kind_of(node) != "null":
            return self.refuse(node, kind, path, rules)
        entry, inner = get_args(kind)[1], Rules(choices=rules.choices, secret=rules.secret)
        found = pairs(node) if isinstance(node, yaml.MappingNode) else []
        values: dict[str, Any] = {}
        for key, value in found:
            where = joined(path, key.value)
            name = self._name(key, where, rules)
            if name in values:
                self.fail(line_of(key), where, f"is the same as {name!r}, which is there already")
            values[name] = self.bind(value, entry, where, inner, line=line_of(key))
        return self._counted(values, values.values(), node, path, rules)

    def _name(self, key: yaml.ScalarNode, path: str, rules: Rules) -> str:
        """The name of an entry in its one form."""
        if rules.key is not None:
            try:
                return rules.key(key.value)
            except ValueError as error:
                self.fail(line_of(key), path, str(error))
        return str(key.value)

    def _list(self, node: yaml.Node, kind: Any, path: str, rules: Rules) -> Any:
        if not isinstance(node, yaml.SequenceNode) and kind_of(node) != "null":
            return self.refuse(node, kind, path, rules)
        entry, inner = get_args(kind)[0], Rules(choices=rules.choices, secret=rules.secret)
        found = node.value if isinstance(node, yaml.SequenceNode) else []
        values = tuple(self.bind(item, entry, f"{path}[{at}]", inner) for at, item in enumerate(found))
        counted = self._counted(values, values, node, path, rules)
        if get_origin(kind) is frozenset and counted is not _FAILED:
            return frozenset(values)
        return counted

    def _counted(self, made: Any, values: Iterable[Any], node: yaml.Node, path: str, rules: Rules) -> Any:
        """`made` when no entry failed and there are neither too few nor too many."""
        count = len(made)
        if rules.low is not None and count < rules.low:
            return self.fail(line_of(node), path, f"at least {rules.low} needed, got {count or 'none'}")
        if rules.high is not None and count > rules.high:
            return self.fail(line_of(node), path, f"at most {rules.high} allowed, got {count}")
        return _FAILED if any(value is _FAILED for value in values) else made

    def _scalar(self, node: yaml.Node, kind: Any, path: str, rules: Rules) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            return self.refuse(node, kind, path, rules)
        words = choices_of(kind, rules)
        if words is not None:
            # YAML takes `on` and `no` for booleans; where words are expected they are words.
            return words[node.value] if node.value in words else self.refuse(node, kind, path, rules)
        try:
            value: Any = Word.at(_text(node), self.file, line_of(node)) if kind is Word else _SCALARS[kind](node)
        except _Unfit as error:
            return self.refuse(node, kind, path, rules, str(error))
        measure = len(value) if kind in (str, Word) else None if kind in (bool, Path) else value
        if measure is not None and _outside(measure, rules):
            return self.refuse(node, kind, path, rules)
        return self.folder / value if kind is Path and self.folder is not None else value


class _Unfit(Exception):
    """A scalar that is not of the type; the text is a hint for the message."""


def _outside(measure: float, rules: Rules) -> bool:
    too_low = rules.low is not None and measure < rules.low
    return too_low or (rules.high is not None and measure > rules.high)


def _step(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node | None, yaml.Node | None]:
    """Where an option or an entry is named, and its value; None for what is not in the file."""
    if isinstance(step, int):
        found = node.value[step] if isinstance(node, yaml.SequenceNode) and step < len(node.value) else None
        return found, found
    named = pairs(node) if isinstance(node, yaml.MappingNode) else []
    return next(((key, value) for key, value in named if key.value == step), (None, None))


def _checks(made: Any) -> Iterable[tuple[str | tuple[str | int, ...], str]]:
    check = getattr(type(made), "check", None)
    return check(made) if callable(check) else ()


def _bool(node: yaml.ScalarNode) -> bool:
    if kind_of(node) != "bool":
        raise _Unfit("")
    return node.value.lower() in _TRUE


def _number(node: yaml.ScalarNode, form: re.Pattern[str]) -> str:
    """The digits of a plain number."""
    if form.fullmatch(node.value) is None:
        raise _Unfit("")
    if kind_of(node) == "str" and node.style is not None:
        raise _Unfit("; leave out the quotes")
    return str(node.value).replace("_", "")


def _text(node: yaml.ScalarNode) -> str:
    kind = kind_of(node)
    if kind == "null":
        raise _Unfit("")
    if kind != "str":
        raise _Unfit("; put it in quotes")
    return str(node.value)


def _path(node: yaml.ScalarNode) -> Path:
    text = _text(node)
    if not text:
        raise _Unfit("")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise _Unfit("; whose home directory is not known") from None


def _measured(node: yaml.ScalarNode, make: Any) -> Any:
    """A Duration or a Size: a text with a unit or a plain number."""
    if kind_of(node) not in ("str", "int", "float"):
        raise _Unfit("")
    try:
        return make(node.value.replace("_", "") if kind_of(node) != "str" else node.value)
    except ValueError:
        raise _Unfit("") from None


_SCALARS: Final[dict[Any, Any]] = {
    bool: _bool,
    int: lambda node: int(_number(node, _INT)),
    float: lambda node: float(_number(node, _FLOAT)),
    str: _text,
    Path: _path,
    Duration: lambda node: _measured(node, Duration),
    Size: lambda node: _measured(node, Size),
}
