"""What an operation takes and gives, read from its method: checked once, when the server is put together."""

from __future__ import annotations

import enum
import inspect
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

from ..config.units import Duration
from ..contracts.admin import (
    Address,
    Argument,
    Code,
    Declared,
    Description,
    Domain,
    Kind,
    Operation,
    OperationError,
    Page,
    Parameter,
    Result,
    Secret,
    Text,
)
from ..errors import LocalError, MalformedJid
from ..jid import JID, prepare_domain
from ..xml import clean

NAME: Final = re.compile(r"[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*)?")
RESERVED: Final = frozenset(("config", "host", "json", "yes", "help"))
"""Options that every command has."""
MOST: Final = 200
"""So many values may an argument have."""
LONGEST: Final = 4096
"""Characters of a value; `LONGEST_TEXT`: of one that is a text of several lines."""
LONGEST_TEXT: Final = 64 << 10
ADDRESSES: Final = frozenset((Kind.ACCOUNT, Kind.DEVICE, Kind.ADDRESS, Kind.DOMAIN))

_KINDS: Final[Mapping[type, Kind]] = {
    JID: Kind.ADDRESS,
    Domain: Kind.DOMAIN,
    Secret: Kind.SECRET,
    str: Kind.LINE,
    Text: Kind.TEXT,
    bool: Kind.FLAG,
    int: Kind.NUMBER,
    Duration: Kind.DURATION,
}


def _flag(text: str) -> bool:
    if text not in ("0", "1", "false", "true"):
        raise ValueError("true or false is expected")
    return text in ("1", "true")


def _number(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,18}", text, re.ASCII):
        raise ValueError("a number is expected")
    return int(text)


_READ: Final[Mapping[Kind, Callable[[str], Any]]] = {
    Kind.ACCOUNT: JID.parse,
    Kind.DEVICE: JID.parse,
    Kind.ADDRESS: JID.parse,
    Kind.DOMAIN: lambda text: Domain(prepare_domain(text)),
    Kind.SECRET: Secret,
    Kind.LINE: str,
    Kind.TEXT: Text,
    Kind.FLAG: _flag,
    Kind.NUMBER: _number,
    Kind.DURATION: Duration,
}


def read_arguments(operation: Operation, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, typed; those that are left out have their defaults, and an address that is there twice counts
    once. `given`: texts, or what JSON has.

    Raises OperationError.
    """
    known = {each.name: each for each in operation.description.parameters}
    for name in given:
        if name not in known:
            raise OperationError(f"{operation.name} has no argument {shortened(name)!r}", Code.INVALID)
    found: dict[str, Any] = {}
    for name, parameter in known.items():
        value = given.get(name)
        if value is None:
            if parameter.required:
                raise OperationError(f"{operation.name}: {name} is missing", Code.INVALID)
            continue
        chosen = operation.choices.get(name)
        if not parameter.many:
            found[name] = _value(parameter, chosen, value)
            continue
        values = value if isinstance(value, list | tuple) else (value,)
        if not 0 < len(values) <= MOST:
            raise OperationError(f"{name}: one at least, {MOST} at most", Code.INVALID)
        several = tuple(_value(parameter, chosen, each) for each in values)
        found[name] = tuple(dict.fromkeys(several)) if parameter.kind in ADDRESSES else several
    return found


def shortened(text: str) -> str:
    """For a message about it."""
    return text if len(text) <= 100 else f"{text[:100]}…"


def _value(parameter: Parameter, chosen: type[enum.Enum] | None, value: Any) -> Any:
    if type(value) is bool and parameter.kind is Kind.FLAG:
        return value
    if type(value) is int and parameter.kind in (Kind.NUMBER, Kind.DURATION):
        value = str(value)
    if not isinstance(value, str):
        raise OperationError(f"{parameter.name}: not a text", Code.INVALID)
    if len(value) > (LONGEST_TEXT if parameter.kind is Kind.TEXT else LONGEST):
        raise OperationError(f"{parameter.name}: too long", Code.INVALID)
    if parameter.kind in (Kind.TEXT, Kind.LINE) and clean(value) != value:
        raise OperationError(f"{parameter.name}: has control characters", Code.INVALID)
    if chosen is not None and value not in parameter.choices:
        raise OperationError(f"{value}: {parameter.name} is one of {', '.join(parameter.choices)}", Code.INVALID)
    try:
        return chosen(value) if chosen is not None else _READ[parameter.kind](value)
    except (ValueError, MalformedJid) as error:
        raise OperationError(f"{value}: {error}", Code.INVALID) from None


def operations_of(cls: type) -> list[Operation]:
    """What the methods of a class declare, by name. Raises LocalError for what is no operation."""
    found = []
    for attribute in dir(cls):
        method = getattr(cls, attribute, None)
        if "__xmppd_operation__" in getattr(method, "__dict__", ()):
            found.append(_read(method))
    return sorted(found, key=lambda operation: operation.name)


@cache
def _read(method: Callable[..., Any]) -> Operation:
    declared: Declared = method.__dict__["__xmppd_operation__"]
    where = f"operation {declared.name} ({method.__qualname__})"
    if not NAME.fullmatch(declared.name):
        raise LocalError(f"{where}: a name is like `user.add`")
    if not inspect.iscoroutinefunction(method):
        raise LocalError(f"{where} is no async function")
    try:
        hints = get_type_hints(method, include_extras=True)
    except Exception as error:
        raise LocalError(f"{where}: its types cannot be read: {error}") from None
    result = hints.pop("return", None)
    if not (isinstance(result, type) and issubclass(result, Result)):
        raise LocalError(f"{where} gives back a Result")
    choices: dict[str, type[enum.Enum]] = {}
    parameters = []
    for name, parameter in list(inspect.signature(method).parameters.items())[1:]:
        made, chosen = _parameter(where, parameter, hints.get(name))
        parameters.append(made)
        if chosen is not None:
            choices[name] = chosen
    _check(where, parameters, result)
    paged = issubclass(result, Page)
    description = Description(
        declared.name, declared.summary, declared.scope, declared.needs, declared.dangerous, paged, tuple(parameters)
    )
    return Operation(description, method.__name__, result, declared.forms, choices)


def _parameter(where: str, parameter: inspect.Parameter, hint: Any) -> tuple[Parameter, type[enum.Enum] | None]:
    where = f"{where}: {parameter.name}"
    if parameter.name in RESERVED:
        raise LocalError(f"{where} is an option of every command")
    value, more = _split(hint)
    argument = next((each for each in more if isinstance(each, Argument)), None)
    if argument is None or parameter.kind is not parameter.POSITIONAL_OR_KEYWORD:
        raise LocalError(f'{where} must be Annotated[…, Argument("what it is")]')
    many = get_origin(value) is tuple and len(get_args(value)) == 2 and get_args(value)[1] is ...
    if many:
        value, more = _split(get_args(value)[0])
    kind, chosen = _kind(value, more)
    if kind is None:
        raise LocalError(f"{where}: {value!r} is no type of an argument")
    required, default = parameter.default is parameter.empty, ""
    if not required and kind is not Kind.FLAG and not many:
        default = str(parameter.default.value if chosen is not None else parameter.default)
    words = tuple(str(each.value) for each in chosen) if chosen is not None else ()
    short, positional = argument.short, argument.positional
    return Parameter(parameter.name, argument.doc, kind, many, required, default, words, short, positional), chosen


def _split(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """The type and what it is annotated with."""
    if get_origin(hint) is Annotated:
        value, *more = get_args(hint)
        return value, tuple(more)
    return hint, ()


def _kind(value: Any, more: tuple[Any, ...]) -> tuple[Kind | None, type[enum.Enum] | None]:
    for each in more:
        if isinstance(each, Address) and value is JID:
            return Kind(each.value), None
    if isinstance(value, type) and issubclass(value, enum.Enum):
        return (Kind.CHOICE, value) if all(isinstance(each.value, str) for each in value) else (None, None)
    return _KINDS.get(value), None


def _check(where: str, parameters: list[Parameter], result: type[Result]) -> None:
    if sum(each.many and each.required for each in parameters) > 1:
        raise LocalError(f"{where}: only one argument that is required can have several values")
    if issubclass(result, Page) and "after" not in [each.name for each in parameters]:
        raise LocalError(f"{where} gives pages, so it has an argument `after`")
