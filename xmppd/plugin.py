"""The page of a plugin author: what a plugin is and what it may use.

A plugin module binds one subclass of `Plugin`. What it wants is declared, what it does is typed; one instance is
made per host.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from .contracts.core import Account, Host, Session
from .contracts.http import METHODS, HttpRequest, HttpResponse, HttpUpgrade, parse_path
from .contracts.order import Lane
from .contracts.requests import Request
from .contracts.routes import To
from .contracts.routing import Inbound, Outbound
from .contracts.session_keys import SessionKey
from .hooks import Chain, Collect, Notify, Stage, Verdict, on
from .jid import JID
from .protocol.items import Nonza
from .service import Service
from .stanza import Kind, Stanza
from .xml import E, Element, Written

__all__ = [
    "ANY_HOST",
    "JID",
    "NO_CONFIG",
    "Account",
    "Chain",
    "Collect",
    "E",
    "Element",
    "Host",
    "HostType",
    "HttpRequest",
    "HttpResponse",
    "Inbound",
    "Kind",
    "Lane",
    "NoConfig",
    "Nonza",
    "Notify",
    "Outbound",
    "Plugin",
    "Request",
    "Service",
    "Session",
    "SessionKey",
    "Stage",
    "Stanza",
    "To",
    "Verdict",
    "Written",
    "Xep",
    "http",
    "iq",
    "nonza",
    "on",
]

C = TypeVar("C")
T = TypeVar("T")


@dataclass(frozen=True)
class NoConfig:
    """For a plugin without options."""


NO_CONFIG = NoConfig()


@dataclass(frozen=True, slots=True)
class Xep:
    """A XEP that a plugin implements: a row in the documentation."""

    number: int
    version: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class HostType:
    """What a domain can be: a word for `type:` in the configuration, and what is there.

    Plugins whose `serves` has the word run on such a host. `has_accounts`: its addresses are accounts, and people sign
    in here. On any other host one of the plugins may provide ENTITIES (contracts.routing) and answer for its addresses.
    """

    name: str
    doc: str
    has_accounts: bool = False


ACCOUNTS = HostType("accounts", "people sign in here", has_accounts=True)
"""The one type that no plugin brings."""
CORE_TYPES = {ACCOUNTS.name: ACCOUNTS}
"""By the word in the configuration."""


ANY_HOST = ("*",)
"""For `serves`: hosts of every type."""


@dataclass(frozen=True, slots=True)
class IqRoute:
    type: str
    tag: str
    to: tuple[To, ...]


@dataclass(frozen=True, slots=True)
class NonzaRoute:
    tag: str
    state: str


@dataclass(frozen=True, slots=True)
class HttpMark:
    """What `@http` says of a method."""

    method: str
    path: str
    max_body: int | None
    cors: bool


HttpMethod = Callable[[Any, HttpRequest], Awaitable[HttpResponse | HttpUpgrade]]
IqHandler = Callable[[Any, Request], Awaitable[Element | Written | None]]
_H = TypeVar("_H", bound=IqHandler)
_R = TypeVar("_R", bound=HttpMethod)
_N = TypeVar("_N", bound=Callable[..., Any])


def iq(type: str, ns: str, name: str, *to: To) -> Callable[[_H], _H]:
    """Answer IQs with that payload. The returned element is the result, None an empty one, a raised StanzaError
    the error. Without `to`: the host and the sender's own account."""
    if type not in ("get", "set"):
        raise ValueError("only get and set are answered")

    def mark(method: _H) -> _H:
        routes: list[IqRoute] = method.__dict__.setdefault("__xmppd_iq__", [])
        routes.append(IqRoute(type, f"{ns}|{name}", to or (To.HOST, To.SELF)))
        return method

    return mark


def nonza(ns: str, name: str, state: str = "bound") -> Callable[[_N], _N]:
    """Handle a stream-level element in a state of the stream: "stranger" before sign-in (and behind TLS, where that is
    required), "signed-in" before binding, "bound".

    The method gets (session, nonza) when bound and (stream, nonza) before; then the stream is a NegotiatingStream
    (`xmppd.contracts.authentication`). Plain function; an element that it returns (`xml.written`) is the answer. Before
    binding it may be a coroutine, which the stream waits for. Raises StreamError.
    """
    if state not in ("stranger", "signed-in", "bound"):
        raise ValueError(state)

    def mark(method: _N) -> _N:
        routes: list[NonzaRoute] = method.__dict__.setdefault("__xmppd_nonza__", [])
        routes.append(NonzaRoute(f"{ns}|{name}", state))
        return method

    return mark


def http(method: str, path: str, max_body: int | None = 0, cors: bool = False) -> Callable[[_R], _R]:
    """Answer HTTP requests for that path of the host, such as `/icons/{name}` (`contracts.http`), on every listener of
    kind `http` that serves it. `max_body`: bytes that the body of a request may have; None: the handler sees to it.
    `cors`: pages of other origins may ask and read every answer, errors too; OPTIONS is answered.

    The method gets the request and returns an HttpResponse; a raised HttpError is the error. HEAD is answered as GET.
    """
    if method not in METHODS:
        raise ValueError(f"{method!r} is none of {', '.join(sorted(METHODS))}")
    parse_path(path)

    def mark(handler: _R) -> _R:
        routes: list[HttpMark] = handler.__dict__.setdefault("__xmppd_http__", [])
        routes.append(HttpMark(method, path, max_body, cors))
        return handler

    return mark


class Plugin(Generic[C]):
    """One subject. Subclass it, declare, implement; everything is optional.

    `serves`: the types of host it can run on, or ANY_HOST. `standard`: runs without being named (only if it comes with
    the server).
    `features`: namespaces that the host shows in service discovery; `account_features`: those of an account.
    `uses`, `provides`: services; they settle the start order, and a missing one is an error before start.
    `host_types`: types of host that the plugin brings.
    """

    xeps: ClassVar[tuple[Xep, ...]] = ()
    features: ClassVar[tuple[str, ...]] = ()
    account_features: ClassVar[tuple[str, ...]] = ()
    uses: ClassVar[tuple[Service[Any], ...]] = ()
    provides: ClassVar[tuple[Service[Any], ...]] = ()
    serves: ClassVar[tuple[str, ...]] = (ACCOUNTS.name,)
    host_types: ClassVar[tuple[HostType, ...]] = ()
    standard: ClassVar[bool] = True

    name: str = ""

    @classmethod
    def runs_on(cls, type: str) -> bool:
        """Whether it can run on hosts of that type."""
        return type in cls.serves or cls.serves == ANY_HOST

    def __init__(self, host: Host, config: C) -> None:
        self.host = host
        self.config = config
        self.setup()

    def setup(self) -> None:
        """Open stores (`self.host.storage.map(...)`) and make attributes. No I/O."""

    async def start(self) -> None:
        """Before any listener opens; services are there."""

    def reconfigured(self) -> None:
        """`self.config` has other options now, while the server runs. For what was made from the old ones."""

    async def stop(self) -> None:
        """After the listeners are closed, in reverse order."""

    def spawn(self, work: Coroutine[Any, Any, None], name: str = "") -> None:
        """Run in the background; owned, named, logged on failure and cancelled at stop by the core."""
        self.host.background.spawn(work, f"{self.name}.{name}" if name else self.name)

    async def in_thread(self, call: Callable[..., T], *args: Any) -> T:
        """Call what blocks or computes long; it must not touch what the event loop uses."""
        return await self.host.background.in_thread(call, *args)

    def every(self, seconds: float, call: Callable[[], Awaitable[None] | None], name: str = "") -> None:
        """Call again and again until stop."""
        self.host.background.every(seconds, call, f"{self.name}.{name}" if name else self.name)
