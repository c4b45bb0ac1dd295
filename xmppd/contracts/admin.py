"""Operations of administrators: a method says what it does, what it takes and what it gives back, once. The command
line, the ad-hoc commands (XEP-0050, XEP-0133) and the reference page are made from that.

    @operation("greeter.forget", "Greet somebody once more.")
    async def forget(self, jid: Annotated[AccountJid, Argument("Who.")]) -> Note:
        ...

Methods of plugins and of objects of the core can be operations. Those of a plugin are about the host that it runs on.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, Final, Protocol, TypeVar

import msgspec

from ..errors import (
    BadRequest,
    Conflict,
    Forbidden,
    ItemNotFound,
    JidMalformed,
    LocalError,
    NotAcceptable,
    NotAllowed,
    StanzaError,
)
from ..jid import JID
from ..xml import Element

ADMIN_NS: Final = "http://jabber.org/protocol/admin"
"""Of the commands and forms of XEP-0133."""
OPERATIONS_NS: Final = "urn:xmppd:operations:0"
"""Of the commands and forms of operations that XEP-0133 does not know."""

# ---- errors


class Code(enum.StrEnum):
    """Why an operation was not done: exit status, stanza error and HTTP status follow from it."""

    INVALID = "invalid"
    """The arguments are wrong."""
    UNKNOWN = "unknown-operation"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    CONFLICT = "conflict"
    """What is there already is in the way."""
    NOT_RUNNING = "not-running"
    """It needs a running server."""
    UNAVAILABLE = "unavailable"
    """The store does not answer."""
    FAILED = "failed"


class OperationError(Exception):
    """It was not done; the text says why, for the person who asked."""

    def __init__(self, text: str, code: Code = Code.FAILED) -> None:
        super().__init__(text)
        self.code = code


_CODES: Final[tuple[tuple[type[StanzaError], Code], ...]] = (
    (Conflict, Code.CONFLICT),
    (ItemNotFound, Code.NOT_FOUND),
    (BadRequest, Code.INVALID),
    (NotAcceptable, Code.INVALID),
    (JidMalformed, Code.INVALID),
    (Forbidden, Code.FORBIDDEN),
    (NotAllowed, Code.FORBIDDEN),
)


def failure(error: StanzaError, about: object = "") -> OperationError:
    """The same refusal as that of a stanza. `about`: what it is about, in front of the text."""
    code = next((code for cls, code in _CODES if isinstance(error, cls)), Code.FAILED)
    return OperationError(f"{about}: {error}" if about else str(error), code)


# ---- arguments


class Address(enum.Enum):
    """What else than any address an argument of type JID can be."""

    ACCOUNT = "account"
    DEVICE = "device"


AccountJid = Annotated[JID, Address.ACCOUNT]
"""name@domain, where domain is the host that the operation is about. Whether there is such an account is not said."""
DeviceJid = Annotated[JID, Address.DEVICE]
"""The same, with or without a resource."""


class Domain(str):
    """The host that the operation is about, where no other argument tells."""


class Secret(str):
    """A password: not shown while it is typed, and never in a message."""

    def __repr__(self) -> str:
        return "Secret(…)"


class Text(str):
    """Text of several lines."""


@dataclass(frozen=True, slots=True)
class Argument:
    """What an argument is, in a sentence, and its short option on the command line (`-p`). `positional`: on the command
    line it is given without its name even if it can be left out."""

    doc: str
    short: str = ""
    positional: bool = False


# ---- results


class Result(msgspec.Struct, frozen=True):
    """What an operation gives back: a frozen msgspec.Struct. Programs get it as JSON, people get `text`."""

    def text(self) -> str:
        """For people. Override it where a list of the fields says too little."""
        return "\n".join(f"{name}: {_shown(getattr(self, name))}" for name in self.__struct_fields__)

    def terminal(self) -> str:
        """The same where a terminal can show more than a file or a form (a picture made of blocks); "": no more."""
        return ""


class Note(Result, frozen=True):
    """A sentence."""

    note: str

    def text(self) -> str:
        return self.note


class Page(Result, frozen=True):
    """A part of a long list. `next`: the argument `after` for the page behind this one, "" at the end."""

    items: tuple[str, ...]
    next: str = ""

    def text(self) -> str:
        return "\n".join(self.items)


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


# ---- who and where


class Scope(enum.StrEnum):
    """What an operation is about, and so whose it is: a host's administrators run those of the host. Those of the
    server belong to who can use the control socket."""

    HOST = "host"
    SERVER = "server"


class Needs(enum.StrEnum):
    """What must be there."""

    SERVER = "server"
    """A running server."""
    STORE = "store"
    """The store: the command line can do it while the server does not run."""
    NOTHING = "nothing"
    """Not even a store: one that does not exist yet is made."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a name for the log, and the domains that it administers. None: the whole server."""

    name: str
    domains: frozenset[str] | None = None

    def may(self, scope: Scope, domain: str) -> bool:
        """Whether it may run operations of that scope and host."""
        return self.domains is None or (scope is Scope.HOST and domain in self.domains)


OWNER: Final = Caller("the control socket")
"""Who runs the server: nobody else can open its control socket."""

# ---- how an ad-hoc command shows it


@dataclass(frozen=True, slots=True)
class Shown:
    """A field of the result as one of a form. `attribute`: of the result; `type`: as in XEP-0004."""

    attribute: str
    var: str
    type: str = "text-single"
    label: str = ""


_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class AdHoc:
    """A command of XEP-0133 (or an older one of our own) that is this operation.

    `title`: if not the summary. `fields`: the fields' names (`var`) by argument, where they differ. `repeated`: fields
    that must hold the same as an argument's, by argument. `fixed`: arguments that nobody is asked for. `results`: the
    form that tells the result; empty: its text does. `payload`: what else is in that form.
    """

    node: str
    title: str = ""
    fields: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    repeated: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    fixed: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    results: tuple[Shown, ...] = ()
    payload: Callable[[Any], Element] | None = None


# ---- an operation, as its method declares it


class Kind(enum.StrEnum):
    """What an argument can be."""

    ACCOUNT = "account"
    DEVICE = "device"
    ADDRESS = "address"
    DOMAIN = "domain"
    SECRET = "secret"
    LINE = "line"
    TEXT = "text"
    FLAG = "flag"
    NUMBER = "number"
    DURATION = "duration"
    CHOICE = "choice"


class Parameter(msgspec.Struct, frozen=True):
    """An argument, in a form that can be sent. `default`: as a text, "" for none."""

    name: str
    doc: str
    kind: Kind
    many: bool = False
    required: bool = True
    default: str = ""
    choices: tuple[str, ...] = ()
    short: str = ""
    positional: bool = False


class Description(msgspec.Struct, frozen=True):
    """An operation, in a form that can be sent. `hosts`: where it is to be had; none if it is the server's."""

    name: str
    summary: str
    scope: Scope
    needs: Needs
    dangerous: bool
    paged: bool
    parameters: tuple[Parameter, ...]
    hosts: tuple[str, ...] = ()

    @property
    def tells_host(self) -> bool:
        """An argument says which host it is about."""
        return any(each.kind in (Kind.ACCOUNT, Kind.DEVICE, Kind.DOMAIN) and each.required for each in self.parameters)


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """An operation of a class. `method`: its name; `choices`: the enums of the arguments that are one."""

    description: Description
    method: str
    result: type[Result]
    forms: tuple[AdHoc, ...]
    choices: Mapping[str, type[enum.Enum]]

    @property
    def name(self) -> str:
        return self.description.name


class OperationRegistry(Protocol):
    """All operations of a server: `host.server.operations`."""

    def of(self, domain: str) -> list[Operation]:
        """Those of a host, by name."""
        ...

    async def run(self, name: str, given: Mapping[str, Any], caller: Caller, host: str = "") -> Result:
        """`given`: texts, or what JSON has. `host`: the domain, where no argument says it. Raises OperationError."""
        ...


# ---- the decorator


@dataclass(frozen=True, slots=True)
class Declared:
    """What `operation` was given."""

    name: str
    summary: str
    scope: Scope
    needs: Needs
    dangerous: bool
    forms: tuple[AdHoc, ...]


M = TypeVar("M", bound=Callable[..., Any])


def operation(
    name: str,
    summary: str,
    *,
    scope: Scope = Scope.HOST,
    needs: Needs = Needs.SERVER,
    dangerous: bool = False,
    forms: tuple[AdHoc, ...] = (),
) -> Callable[[M], M]:
    """Declare an async method as an operation. It returns a Result; it raises OperationError, a StanzaError or
    StorageUnavailable.

    `name`: "subject.verb" or a verb. `dangerous`: cannot be undone, so a person is asked first. Its parameters are the
    arguments: of type JID, AccountJid, DeviceJid, Domain, Secret, str, Text, bool, int, Duration, an enum of texts,
    or tuples of them, each Annotated with an `Argument`. What has a default can be left out.
    """
    if not summary.endswith("."):
        raise LocalError(f"operation {name}: the summary is a sentence")

    def mark(method: M) -> M:
        method.__dict__["__xmppd_operation__"] = Declared(name, summary, scope, needs, dangerous, forms)
        return method

    return mark
