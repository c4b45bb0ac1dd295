"""The operations of a server, by name. Here arguments are checked, rights looked at, and failures get their code."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from ..contracts.admin import (
    OWNER,
    Argument,
    Caller,
    Code,
    Description,
    Kind,
    Needs,
    Note,
    Operation,
    OperationError,
    Result,
    Scope,
    failure,
    operation,
)
from ..errors import LocalError, MalformedJid, StanzaError, StorageUnavailable
from ..jid import JID, prepare_domain
from .signature import operations_of, read_arguments, shortened

log = logging.getLogger("xmppd.admin")
Work = Callable[..., Awaitable[Result]]


@dataclass(frozen=True, slots=True)
class _Entry:
    """`work`: the bound methods, by domain; "" for the server's."""

    operation: Operation
    work: dict[str, Work] = field(default_factory=dict)


class Answer(msgspec.Struct, frozen=True):
    """How an operation ended, in a form that can be sent: for programs and for people. `terminal`: instead of the text
    on a terminal, if it is not empty."""

    result: Any
    text: str
    terminal: str = ""


class Operations:
    """`live`: in a running server; else those that need one are refused. `domains`: those with accounts."""

    def __init__(self, domains: Iterable[str], live: bool = True) -> None:
        self.domains = frozenset(JID.parse(domain).domain for domain in domains)
        self.live = live
        self._entries: dict[str, _Entry] = {}
        self.add(About(self))

    # ---- what there is

    def add(self, owner: object, domain: str = "") -> None:
        """Take the operations that an object's class declares. `domain`: of the host that those of a host are about;
        those of the server are the first one's.

        Raises LocalError for what is no operation, and for two of one name.
        """
        for found in operations_of(type(owner)):
            place = domain if found.description.scope is Scope.HOST else ""
            entry = self._entries.setdefault(found.name, _Entry(found))
            if entry.operation is not found or (place and place in entry.work):
                other = next(iter(entry.work.values()))
                raise LocalError(f"{type(owner).__name__} and {_owner(other)} both have an operation {found.name}")
            entry.work.setdefault(place, getattr(owner, found.method))

    def of(self, domain: str) -> list[Operation]:
        """Those of a host, by name."""
        return [entry.operation for _, entry in sorted(self._entries.items()) if domain in entry.work]

    def descriptions(self) -> list[Description]:
        """All, by name."""
        return [
            msgspec.structs.replace(entry.operation.description, hosts=tuple(sorted(filter(None, entry.work))))
            for _, entry in sorted(self._entries.items())
        ]

    # ---- running one

    async def run(self, name: str, given: Mapping[str, Any], caller: Caller = OWNER, host: str = "") -> Result:
        """`given`: texts, or what JSON has. `host`: the domain, where no argument says it. Raises OperationError."""
        entry = self._entries.get(name)
        if entry is None:
            raise OperationError(f"there is no operation {shortened(name)!r}", Code.UNKNOWN)
        operation = entry.operation
        arguments = read_arguments(operation, given)
        place = self._place(entry, arguments, host)
        if not caller.may(operation.description.scope, place):
            raise OperationError(f"{caller.name} may not run {name} here", Code.FORBIDDEN)
        if not self.live and operation.description.needs is Needs.SERVER:
            raise OperationError(f"{name} needs the server to run", Code.NOT_RUNNING)
        if caller is not OWNER:
            log.info("%s of %s is run by %s", name, place, caller.name)
        try:
            return await entry.work[place](**arguments)
        except StanzaError as error:
            raise failure(error) from None
        except StorageUnavailable as error:
            raise OperationError(f"the store does not answer: {error}", Code.UNAVAILABLE) from None

    async def answer(self, name: str, given: Mapping[str, Any], host: str = "") -> Answer:
        """For who runs the server; JSON can hold it. Raises OperationError."""
        result = await self.run(name, given, host=host)
        return Answer(msgspec.to_builtins(result, enc_hook=str), result.text(), result.terminal())

    def _place(self, entry: _Entry, arguments: Mapping[str, Any], host: str) -> str:
        """The domain that it is about, which all arguments must agree with. Raises OperationError."""
        if "" in entry.work:
            return ""
        place = self._known(entry, host) if host else ""
        for parameter in entry.operation.description.parameters:
            value = arguments.get(parameter.name)
            for each in () if value is None else value if parameter.many else (value,):
                found = self._domain(entry, parameter.kind, each)
                if found and place and found != place:
                    raise OperationError(f"{each}: it is not at {place}", Code.INVALID)
                place = place or found
        if place:
            return place
        if len(entry.work) > 1:
            raise OperationError(f"which host? {entry.operation.name} is for {_listed(entry.work)}", Code.INVALID)
        return next(iter(entry.work))

    def _domain(self, entry: _Entry, kind: Kind, value: Any) -> str:
        if kind is Kind.DOMAIN:
            return self._known(entry, value)
        if kind not in (Kind.ACCOUNT, Kind.DEVICE):
            return ""
        if not value.local or (value.resource and kind is Kind.ACCOUNT):
            example = min(entry.work, default="example.org")
            raise OperationError(f"{value}: an account looks like name@{example}", Code.INVALID)
        return self._known(entry, value.domain, value)

    def _known(self, entry: _Entry, text: str, what: object = "") -> str:
        try:
            domain = prepare_domain(text)
        except MalformedJid as error:
            raise OperationError(f"{shortened(text)}: {error}", Code.INVALID) from None
        if domain not in entry.work:
            known = _listed(entry.work)
            there = f"this server has accounts at {known}" if entry.work.keys() <= self.domains else f"known: {known}"
            raise OperationError(f"{what or shortened(text)}: {there}", Code.INVALID)
        return domain


class Listing(Result, frozen=True):
    """What a server can be asked to do."""

    operations: tuple[Description, ...]

    def text(self) -> str:
        return "\n".join(f"{each.name}: {each.summary}" for each in self.operations)


class About:
    """The operations about the operations."""

    def __init__(self, operations: Operations) -> None:
        self.operations = operations

    @operation("ping", "Say whether the server is there.", scope=Scope.SERVER)
    async def ping(self) -> Note:
        return Note("pong")

    @operation("operation.list", "List what the server can be asked to do.", scope=Scope.SERVER)
    async def list(self, prefix: Annotated[str, Argument("Only those whose name begins so.")] = "") -> Listing:
        return Listing(tuple(each for each in self.operations.descriptions() if each.name.startswith(prefix)))


def _owner(work: Work) -> str:
    return type(getattr(work, "__self__", work)).__name__


def _listed(domains: Iterable[str]) -> str:
    return ", ".join(sorted(domains)) or "no domain"
