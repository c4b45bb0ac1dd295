"""Options: type, default, bounds and a sentence, said once. Checks, errors and the manual come from them."""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Callable
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, overload

import yaml

from .units import Duration, Size, Word

T = TypeVar("T")
S = TypeVar("S", bound=type)
Number = int | float
_META = "xmppd.option"


@dataclass(frozen=True, slots=True)
class RawOptions:
    """Options that are bound later, when their class is known: those of a plugin.

    `node`: the mapping as it stands in the file, None for no options. `file`, `line`: where it was named (0:
    it was not). `enabled`: False when the plugin is left out (`name: false`). `folder`: where relative paths start.
    """

    node: yaml.MappingNode | None = dataclasses.field(default=None, compare=False)
    file: str = ""
    line: int = 0
    enabled: bool = True
    folder: Path | None = dataclasses.field(default=None, compare=False)


_NAMES: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    Duration: 'a duration such as "5 minutes"',
    Size: 'a size such as "10 MiB"',
    Word: "a word",
    RawOptions: "options, true or false",
}


@dataclass(frozen=True, slots=True)
class Rules:
    """What is known of an option beside its type.

    `low`, `high` bound a number, a duration (seconds), a size (bytes), the length of a text in characters, or
    how many entries a list, set or mapping has. A `secret` is neither printed nor quoted in a message. `key` gives
    the names of a mapping their one form, or raises ValueError with what was expected.
    """

    doc: str = ""
    low: Number | None = None
    high: Number | None = None
    choices: tuple[Any, ...] | None = None
    name: str | None = None
    secret: bool = False
    key: Callable[[str], str] | None = None


class Kinds:
    """The classes among which one option of a section chooses; each has the options of its kind. It is the attribute
    `kinds` of their base class, which stands for all of them in the type of an option.
    """

    def __init__(self, option: str, default: str) -> None:
        """`option`: the name of the one that chooses; `default`: its value where it is not named."""
        self.option = option
        self.default = default
        self.classes: dict[str, type] = {}

    def add(self, kind: str) -> Callable[[S], S]:
        """A decorator: the class is that of a kind. Raises ValueError: there is such a kind."""

        def register(cls: S) -> S:
            if kind in self.classes:
                raise ValueError(f"there are options of kind {kind!r} already")
            self.classes[kind] = cls
            return cls

        return register


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a configuration class. `name` is the one in YAML, `attribute` the one in Python."""

    name: str
    attribute: str
    type: Any
    rules: Rules
    field: dataclasses.Field[Any]

    @property
    def required(self) -> bool:
        return self.field.default is MISSING and self.field.default_factory is MISSING

    def default(self) -> Any:
        """The default value. Raises LookupError for a required option."""
        if self.field.default is not MISSING:
            return self.field.default
        if self.field.default_factory is not MISSING:
            return self.field.default_factory()
        raise LookupError(f"{self.name} is required")


@overload
def option(
    default: T,
    doc: str,
    *,
    low: Number | None = None,
    high: Number | None = None,
    choices: tuple[Any, ...] | None = None,
    name: str | None = None,
    secret: bool = False,
) -> T: ...
@overload
def option(
    *,
    doc: str,
    default_factory: Callable[[], T],
    low: Number | None = None,
    high: Number | None = None,
    choices: tuple[Any, ...] | None = None,
    name: str | None = None,
    secret: bool = False,
    key: Callable[[str], str] | None = None,
) -> T: ...
@overload
def option(
    *,
    doc: str,
    low: Number | None = None,
    high: Number | None = None,
    choices: tuple[Any, ...] | None = None,
    name: str | None = None,
    secret: bool = False,
    key: Callable[[str], str] | None = None,
) -> Any: ...
def option(
    default: Any = MISSING,
    doc: str = "",
    *,
    low: Number | None = None,
    high: Number | None = None,
    choices: tuple[Any, ...] | None = None,
    default_factory: Any = MISSING,
    name: str | None = None,
    secret: bool = False,
    key: Callable[[str], str] | None = None,
) -> Any:
    """A field of a frozen dataclass that is read from YAML: `limit: int = option(100, "At most so many.")`.

    Without a default it is required, and a keyword when the class is called. Types: bool, int, float, str,
    Duration, Size, Path, Literal of strings, Enum with string values, `X | None`, `tuple[X, ...]`,
    `frozenset[X]`, `dict[str, X]`, another such class (options that are not named keep the values of
    the default instance). See `Rules` for the bounds; `name` is the name in YAML where Python has no such word.
    A class may have `check(self) -> Iterable[tuple[where, message]]` for what concerns several options; `where`
    is an option's name or a tuple that leads to the place, as in ("listeners", 1, "port").
    """
    if not doc:
        raise TypeError("an option has a sentence that says what it does")
    required = default is MISSING and default_factory is MISSING
    rules = Rules(doc, low, high, choices, name, secret, key)
    if default_factory is not MISSING:
        return dataclasses.field(default_factory=default_factory, metadata={_META: rules})
    return dataclasses.field(default=default, kw_only=required, metadata={_META: rules})


def options_of(cls: type) -> tuple[Option, ...]:
    """The options of a configuration class. Raises TypeError where its author made a mistake."""
    return _options_of(cls)


@functools.cache
def _options_of(cls: Any) -> tuple[Option, ...]:
    if not is_section(cls):
        raise TypeError(f"{cls!r} is not a dataclass")
    if not cls.__dataclass_params__.frozen:
        raise TypeError(f"{cls.__qualname__} must be a frozen dataclass")
    try:
        hints = typing.get_type_hints(cls)
    except NameError as error:
        raise TypeError(f"{cls.__qualname__}: {error}; option types are imported at run time") from error
    found = []
    for field in dataclasses.fields(cls):
        rules = field.metadata.get(_META)
        where = f"{cls.__qualname__}.{field.name}"
        if not isinstance(rules, Rules):
            raise TypeError(f"{where} is not made with option()")
        _supported(hints[field.name], where)
        found.append(Option(rules.name or field.name, field.name, hints[field.name], rules, field))
    return tuple(found)


def optional(kind: Any) -> Any | None:
    """X for `X | None`, None for any other type."""
    if get_origin(kind) not in (Union, types.UnionType):
        return None
    arms = [arm for arm in get_args(kind) if arm is not type(None)]
    return arms[0] if len(arms) == 1 else None


def choices_of(kind: Any, rules: Rules) -> dict[str, Any] | None:
    """The words that are allowed, with their values; None when the type is open."""
    if get_origin(kind) is Literal:
        return {each: each for each in get_args(kind)}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {member.value: member for member in kind}
    if rules.choices is not None:
        return {str(each): each for each in rules.choices}
    return None


def is_section(kind: Any) -> bool:
    """A nested configuration class."""
    return isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind is not RawOptions


def kinds_of(cls: Any) -> Kinds | None:
    """The kinds of a section that stands for several classes, None for any other."""
    found = vars(cls).get("kinds")
    return found if isinstance(found, Kinds) else None


def describe(kind: Any, rules: Rules) -> str:
    """What is expected, for messages and for the manual: "a whole number from 1 to 65535"."""
    inner = optional(kind)
    if inner is not None:
        return f"{describe(inner, rules)}, or null"
    words = choices_of(kind, rules)
    origin, args = get_origin(kind), get_args(kind)
    entries, count = Rules(choices=rules.choices), bounds(rules, int, "entry", "entries")
    if origin in (tuple, frozenset):
        return f"a list{count} ({describe(args[0], entries)} each)"
    if origin is dict:
        return f"a mapping{count} (a name and {describe(args[1], entries)} each)"
    if words is not None:
        return " or ".join(f"'{word}'" for word in words)
    if is_section(kind):
        return "options"
    if kind is str:
        return "text" + bounds(rules, int, "character", "characters")
    return _NAMES[kind] + bounds(rules, kind)


def bounds(rules: Rules, kind: Any, one: str = "", many: str = "") -> str:
    """The bounds as words, counted in `one` or `many` if given; "" when there are none."""
    low, high = ("" if each is None else _written(each, kind) for each in (rules.low, rules.high))
    unit = "" if not one else f" {one}" if (high or low) == "1" else f" {many}"
    if low and high:
        return f" {'of' if one else 'from'} {low} to {high}{unit}"
    if low or high:
        return f"{' of' if one else ','} at {'least' if low else 'most'} {low or high}{unit}"
    return ""


def _written(number: Number, kind: Any) -> str:
    return str(kind(number)) if kind in (Duration, Size) else str(number)


def _supported(kind: Any, where: str) -> None:
    """Raise TypeError for a type that cannot be read from YAML."""
    origin, args = get_origin(kind), get_args(kind)
    inner = optional(kind)
    if inner is not None:
        _supported(inner, where)
    elif origin is frozenset or (origin is tuple and len(args) == 2 and args[1] is Ellipsis):
        _supported(args[0], where)
    elif origin is dict and args[0] is str:
        _supported(args[1], where)
    elif origin is Literal:
        if not all(isinstance(each, str) for each in args):
            raise TypeError(f"{where}: only words can be in a Literal")
    elif isinstance(kind, type) and issubclass(kind, enum.Enum):
        if not all(isinstance(member.value, str) for member in kind):
            raise TypeError(f"{where}: the values of the Enum must be words")
    elif is_section(kind):
        options_of(kind)
    elif kind not in _NAMES:
        raise TypeError(f"{where}: options of type {kind} are not supported")
