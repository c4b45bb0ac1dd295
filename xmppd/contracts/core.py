"""The core as plugins, and the parts of the core below, see it: server, host, account, session."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

from ..background import Background
from ..clock import Clock
from ..hooks import Collect, Hook, Notify, Verdict
from ..jid import JID
from ..memory.budget import MemoryBudget, Pool
from ..observe.metrics import Counts
from ..protocol.token_bucket import TokenBucket
from ..service import Service
from ..stanza import Stanza
from ..storage.api import Map, Storage
from ..xml import Element, Written
from .accounts import StoredAccount
from .admin import OperationRegistry
from .delivery import Channel, Cursor
from .order import Lane
from .routes import Destination, Origin
from .runtime import RuntimeLimits
from .session_keys import SessionKey

E = TypeVar("E")
T = TypeVar("T")
Handler = tuple[str, Callable[..., Any]]
"""Its name ("plugin.method"), and the bound method."""


class Account(Protocol):
    """A local account while it is in memory."""

    last_id: int
    """The last id that its log gave."""
    released: int
    """Up to this id the log is committed and released."""
    bucket: TokenBucket | None
    """What its connections have sent (streams.rate_limits)."""

    @property
    def host(self) -> Host: ...
    @property
    def jid(self) -> JID: ...
    @property
    def bare(self) -> str:
        """The bare JID: the owner of its records."""
        ...

    @property
    def created_at(self) -> int:
        """When it was made, in microseconds since 1970 UTC. What is older and bears its name is somebody else's."""
        ...

    @property
    def incarnation(self) -> str:
        """Tells it from a former account of the same name (contracts.accounts.StoredAccount)."""
        ...

    @property
    def sessions(self) -> Mapping[str, Session]:
        """Bound sessions by resource, attached or detached."""
        ...

    @property
    def last_id_at_load(self) -> int:
        """The last id of its log before the account came into memory."""
        ...

    @property
    def alive(self) -> bool:
        """False once it is deleted."""
        ...

    @property
    def cursor(self) -> Cursor:
        """What of its log is delivered."""
        ...

    @property
    def pool(self) -> Pool:
        """Bytes that wait for its sessions."""
        ...

    def add(self, session: Any) -> None:
        """A session is bound."""
        ...

    def remove(self, session: Any) -> None:
        """A session is gone."""
        ...

    def next_id(self) -> int:
        """An id for the owner's log: microseconds, strictly rising even if the clock is set back."""
        ...

    def available(self) -> list[Any]:
        """Its sessions that have sent available presence."""
        ...


class ClientStreamHandle(Protocol):
    """The stream that a session is attached to."""

    @property
    def secure(self) -> bool: ...

    @property
    def peer(self) -> str:
        """IP address."""
        ...

    @property
    def last_read(self) -> float:
        """When the client was last heard (monotonic)."""
        ...

    inbox_size: int
    """Bytes that came and wait behind something that takes its time."""

    @property
    def write(self) -> Callable[[bytes], None]: ...
    def on_drained(self, callback: Any) -> None: ...
    def end(self, condition: str, text: str = "") -> None:
        """Send a stream error and close."""
        ...

    def close(self) -> None: ...

    def read_on(self) -> None:
        """Fewer stanzas wait: read again, unless there is another reason not to."""
        ...

    def count_unread(self, size: int) -> None:
        """So many bytes were written because the client has asked, and it does not read."""
        ...

    def charge(self, size: int, stanzas: int) -> None:
        """The client has caused more work than it has sent: bytes and stanzas count against its limits."""
        ...


Maps = tuple[Mapping[str, Mapping[str, Any]], ...]


class Concerned(NamedTuple):
    """Accounts by bare JID: those in `names`, and those with something in one of the `maps`."""

    maps: Maps
    names: Collection[str]


@dataclass(frozen=True, slots=True)
class Told:
    """How far the acknowledgements go that a client was sent: the id up to which the account's log was released then,
    and the time, microseconds since 1970 UTC, or the highest id that any other log had then, which is later if the
    clock was set back."""

    log_id: int
    at: int


class Session(Origin, Protocol):
    """A bound resource (RFC 6120 section 7): one full JID, attached to a stream or detached."""

    handled: int
    """Stanzas of the client whose outcome is settled: durable where they are stored (the `h` of XEP-0198)."""
    delivered: int
    """Stanzas to the client that were sent, or queued for it."""
    stream: ClientStreamHandle | None
    """None while detached."""
    presence: Stanza | None
    """The last available presence without `to`, None while unavailable."""
    priority: int
    resumable: float
    """Seconds that the session waits for its client after the connection is lost; 0 for not at all."""

    @property
    def account(self) -> Account: ...
    @property
    def host(self) -> Host: ...
    @property
    def jid(self) -> JID:
        """The full JID."""
        ...

    @property
    def address(self) -> bytes:
        """The full JID as it stands in an attribute."""
        ...

    @property
    def resource(self) -> str: ...
    @property
    def told(self) -> Told | None:
        """What the client knows of `handled`; None: nothing, since it does not ask (XEP-0198)."""
        ...

    @property
    def served(self) -> bool:
        """It is there for the messages of its account: available, with a priority that is not negative."""
        ...

    @property
    def ended(self) -> bool: ...
    @property
    def session(self) -> Session:
        """Itself: it is an origin."""
        ...

    @property
    def channel(self) -> Channel:
        """The way to its client."""
        ...

    def __getitem__(self, key: SessionKey[T]) -> T: ...
    def __setitem__(self, key: SessionKey[T], value: T) -> None: ...

    def send(self, stanza: Stanza, log_id: int = 0) -> None:
        """Send to this client. `log_id`: the id of the log entry that this is, 0 for none."""
        ...

    def nonza(self, data: bytes) -> None:
        """Write a stream-level element, uncounted, behind all that was sent."""
        ...

    def tells_handled(self) -> None:
        """The client is told now what is handled."""
        ...

    def all_settled(self) -> Awaitable[None]:
        """Wait until everything taken from the client has found its end."""
        ...


class To(enum.Enum):
    """Which addresses an IQ handler answers for."""

    SELF = "self"
    """The sender's own account: no `to`, or the own bare JID."""
    ACCOUNT = "account"
    """The bare JID of any account of this host (the sender's too): the handler looks at the rights."""
    HOST = "host"
    """The domain."""
    ABSENT = "absent"
    """The bare JID of an account that is not there, or that lets nothing of the sender in (which must look the same):
    where a specification names an answer other than <service-unavailable/>. `Request.owner` is None."""


@dataclass(frozen=True, slots=True)
class Request:
    """An IQ get or set to be answered.

    `owner`: the account that is asked, None when the host is. `origin`: who has sent it.
    """

    stanza: Stanza
    payload: Element
    sender: JID
    owner: Account | None
    origin: Origin
    behind: list[Callable[[], object]] = field(default_factory=list)
    """What `then` has noted."""

    def then(self, action: Callable[[], object]) -> None:
        """Run `action` behind the result: what a request causes is seen after its answer. Not after an error."""
        self.behind.append(action)

    @property
    def session(self) -> Session | None:
        """The sender's local session."""
        session: Session | None = self.origin.session
        return session

    @property
    def lane(self) -> Lane:
        """The order of what the sender sends."""
        return self.origin.lane

    @property
    def account(self) -> Account:
        """The owner, where there must be one (To.SELF, To.ACCOUNT)."""
        assert self.owner is not None
        return self.owner

    @property
    def is_own(self) -> bool:
        """The sender asks for its own account."""
        return self.owner is not None and self.owner.bare == self.sender.bare


class CursorWriter(Protocol):
    """Moves the cursors of a host's accounts to the disk."""

    @property
    def cursors(self) -> Map[Any]:
        """The stored positions; key "": one for each account."""
        ...

    def touched(self, cursor: Any) -> None:
        """A cursor has moved."""
        ...

    def forget(self, cursor: Any, id: int) -> None:
        """Delete a transient entry that a device has acknowledged."""
        ...

    def merge(self, cursor: Any) -> None:
        """Make fewer ranges of what is acknowledged."""
        ...

    def overflow(self, session: Any) -> None:
        """End a session for which too much waits."""
        ...


class Locks(Protocol):
    """One at a time per owner, for what reads records, decides and commits."""

    def hold(self, *names: str) -> AbstractAsyncContextManager[None]:
        """Hold the locks of all `names`."""
        ...


class Routes(Protocol):
    """Where addresses live. Nobody else looks at the table of hosts."""

    def find(self, jid: JID) -> Destination:
        """Where stanzas to an address go."""
        ...

    def register(self, domain: str, destination: Destination) -> None:
        """From now on stanzas to all addresses of a domain go there. Raises ValueError for a domain that has one."""
        ...

    def unregister(self, domain: str) -> None:
        """Take back what `register` did."""
        ...

    def hosts(self) -> Iterable[Host]:
        """The hosts of this server."""
        ...

    def is_local(self, domain: str) -> bool:
        """Whether a host of this server serves a domain."""
        ...

    def serves_accounts(self, domain: str) -> bool:
        """Whether a host of this server serves a domain, and people sign in there."""
        ...

    def service(self, domain: str, key: Service[T]) -> T | None:
        """The provider of a service at the host of a domain; None if it has none, or is elsewhere."""
        ...

    def account(self, jid: JID) -> Account | None:
        """The local account of an address, if it is in memory: that of a session is."""
        ...

    def account_named(self, bare: str) -> Account | None:
        """The same, by the bare JID."""
        ...

    def session(self, jid: JID) -> Session | None:
        """The local session of a full JID."""
        ...

    def is_loaded(self, jid: JID) -> bool:
        """Whether `account` can answer without waiting."""
        ...

    def open_account(self, jid: JID) -> Awaitable[Account | None]:
        """Load the local account of an address; None if there is none here. Raises StorageUnavailable."""
        ...

    def since(self, sender: JID) -> int:
        """Since when what bears the name of a sender is its own, in microseconds since 1970 UTC."""
        ...


class Router(Protocol):
    """The path of a stanza."""

    newest: int
    """The highest id that a log of a service has given."""

    @property
    def locks(self) -> Locks: ...
    @property
    def routes(self) -> Routes: ...
    @property
    def storage(self) -> Storage: ...
    def receive(self, origin: Origin, stanza: Stanza) -> Awaitable[None] | None:
        """Take a stanza. An awaitable: the origin must wait for it before it gives another."""
        ...

    def until_idle(self, lane: Lane) -> Awaitable[None]:
        """Wait until nothing of the lane waits for a commit."""
        ...

    def deliver(self, stanza: Stanza) -> None:
        """Route a stanza of the server's own."""
        ...

    def fan_out(self, stanza: Stanza, addresses: Iterable[JID], at: int = 0) -> None:
        """One stanza to many addresses, each through its chains."""
        ...

    def fan_to(self, stanza: Stanza, sessions: Iterable[Any]) -> None:
        """One stanza to many sessions, each through its account's chains."""
        ...

    def admit(self, stanza: Stanza, account: Any) -> Any:
        """Run the INBOUND chain of an account; the event (contracts.routing.Inbound), whose writes the caller commits.
        None: it is refused, and nobody is told."""
        ...

    def release_to(self, event: Any, sessions: list[Any]) -> None:
        """Give what was admitted to some of the account's sessions, after the commit."""
        ...

    def hand_over(self, stanza: Stanza, account: Any, sessions: list[Any]) -> None:
        """One stanza to sessions of one account, through its chains."""
        ...


class SessionManager(Protocol):
    """Sessions come and go."""

    @property
    def detached(self) -> Mapping[Any, float]:
        """Until when (monotonic) a detached session waits for its client."""
        ...

    def bind(self, account: Any, wanted: str, stream: Any) -> Any:
        """A new session. Raises BadRequest, ResourceConstraint."""
        ...

    def attach(self, session: Any, stream: Any) -> None: ...
    def resumed(self, session: Any) -> None: ...
    def end(self, session: Any, condition: str = "", text: str = "") -> None: ...
    def detach(self, session: Any) -> None: ...
    def leave(self, session: Any) -> None:
        """The process ends; the session may be resumed in the next one."""
        ...

    def restore(self, session: Any, until: float) -> None:
        """A session that outlived the last process is there again, detached."""
        ...


class Accounts(Protocol):
    """Accounts are made, changed and deleted here."""

    def exists(self, jid: JID) -> Awaitable[bool]: ...
    def create(self, jid: JID, password: str, stranger: bool = False) -> Awaitable[None]:
        """Make an account. `stranger`: it registers itself. Raises StanzaError."""
        ...

    def set_password(self, jid: JID, password: str, keep: Any = None) -> Awaitable[None]:
        """Change a password and end all sessions but `keep`."""
        ...

    def set_disabled(self, jid: JID, disabled: bool) -> Awaitable[None]: ...
    def is_disabled(self, jid: JID) -> Awaitable[bool]: ...
    def delete(self, jid: JID, keep: Any = None) -> Awaitable[None]: ...
    def release(self, jid: JID) -> Awaitable[None]:
        """The name of a removed account may be taken again."""
        ...

    def reserved(self) -> Collection[str]:
        """Bare JIDs that nobody may register."""
        ...

    def list(self, domain: str, after: str = "") -> Awaitable[list[str]]:
        """A page of bare JIDs behind `after`."""
        ...


class Poster(Protocol):
    """Requests to the web, guarded against our own network."""

    def may_reach(self, host: str) -> bool: ...
    def post(self, url: str, body: bytes, headers: Mapping[str, str], private: bool = False) -> Awaitable[int]:
        """POST; the status. Raises OSError."""
        ...


class AnswerTimes(Protocol):
    """Answers that must not tell by their time whether an account exists (ADR 0007)."""

    def next(self, step: float) -> float: ...
    def come(self, at: float, step: float) -> Awaitable[None]: ...


class Server(Protocol):
    """What of the process hosts, sessions and plugins use."""

    @property
    def clock(self) -> Clock: ...
    @property
    def counts(self) -> Counts: ...
    @property
    def limits(self) -> RuntimeLimits: ...
    @property
    def memory(self) -> MemoryBudget: ...
    @property
    def default_host(self) -> Host:
        """The first one with accounts."""
        ...

    @property
    def router(self) -> Router: ...
    @property
    def session_manager(self) -> SessionManager: ...
    @property
    def streams(self) -> set[Any]:
        """Clients' streams that are open."""
        ...

    @property
    def accounts(self) -> Accounts: ...
    @property
    def operations(self) -> OperationRegistry: ...
    @property
    def answer_times(self) -> AnswerTimes: ...
    @property
    def poster(self) -> Poster: ...
    @property
    def config(self) -> Any:
        """The configuration (config.schema.ServerConfig)."""
        ...

    def open_port(self, address: str, port: int, make_receiver: Callable[[], Any]) -> Awaitable[Any]:
        """Listen for a plugin, without TLS, until the server stops; port 0 takes a free one. Raises OSError."""
        ...

    @property
    def stopping(self) -> bool: ...
    @property
    def storage(self) -> Storage: ...


class Host(Protocol):
    """One domain."""

    @property
    def server(self) -> Server: ...
    @property
    def router(self) -> Router: ...
    @property
    def jid(self) -> JID: ...
    @property
    def domain(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def storage(self) -> Storage: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def admins(self) -> Collection[str]:
        """Bare JIDs."""
        ...

    @property
    def quarantine(self) -> float:
        """Seconds for which nobody can take the name of an account that was removed."""
        ...

    @property
    def background(self) -> Background: ...
    @property
    def locks(self) -> Locks: ...
    @property
    def started(self) -> bool: ...
    @property
    def has_accounts(self) -> bool: ...
    @property
    def accounts(self) -> Mapping[str, Account | None]:
        """Loaded accounts by bare JID; None: there is no such account."""
        ...

    @property
    def stored_accounts(self) -> Map[StoredAccount]: ...
    @property
    def cursor_writer(self) -> CursorWriter: ...
    def service(self, key: Service[T]) -> T:
        """The provider of a service. Raises LookupError."""
        ...

    def find(self, key: Service[T]) -> T | None:
        """The provider, if there is one (a soft need)."""
        ...

    @property
    def plugins(self) -> Mapping[str, Any]:
        """By name."""
        ...

    def handlers(self, hook: Hook) -> tuple[Handler, ...]:
        """The handlers of a hook in order."""
        ...

    def chain(self, hook: Hook, stanza: Stanza) -> tuple[Handler, ...]:
        """The handlers of a hook on the path of a stanza that have to do with this one, in order."""
        ...

    def run(self, handlers: tuple[Handler, ...], event: Any) -> Verdict | None:
        """Ask a chain. Raises StanzaError."""
        ...

    def tell_these(self, handlers: tuple[Handler, ...], event: Any) -> None:
        """Notify handlers that were looked up already."""
        ...

    def tell(self, hook: Notify[E], event: E) -> None:
        """Notify; a handler that crashes is logged and the next one runs (fails soft)."""
        ...

    def tell_and_wait(self, hook: Notify[E], event: E) -> Awaitable[None]:
        """Notify, and wait for handlers that are coroutines."""
        ...

    def told(self, hook: Notify[E], event: E) -> Awaitable[list[Exception]]:
        """The same; returns what the handlers raised."""
        ...

    def concerned(self, stanza: Stanza) -> Concerned | None:
        """The accounts for which a handler may have to do with a stanza that comes to them. None: all."""
        ...

    def nonza_handler(self, tag: str, state: str) -> Callable[..., Any] | None:
        """The handler of a stream-level element in a state of the stream."""
        ...

    def answers(self, stanza: Stanza, to: To) -> bool:
        """Whether a stanza is an IQ get or set for which there is a handler."""
        ...

    def answer(self, request: Request, to: To) -> Awaitable[Element | Written | None]:
        """Ask the handler of the payload. Raises StanzaError."""
        ...

    def answered(self, stanza: Stanza) -> None:
        """The answer to an IQ of the host's own has come."""
        ...

    def collect(self, hook: Collect[E, T], event: E) -> Awaitable[list[T]]:
        """All that the handlers give. Raises what they raise."""
        ...

    def gather(self, hook: Collect[E, T], event: E) -> list[T]:
        """The same for a plain hook."""
        ...

    def ask(self, to: JID, payload: Element, answered: Callable[[Stanza | None], None], type: str = "get") -> None:
        """Send an IQ of the host's own; `answered` gets the answer, None if none comes."""
        ...

    def expect(self, to: JID, answered: Callable[[Stanza | None], None], within: float) -> str:
        """The id for an IQ that the caller sends; `answered` gets the answer, None if none comes `within` seconds."""
        ...

    def account(self, bare: str) -> Account | None:
        """A loaded account."""
        ...

    def forget(self, bare: str) -> None:
        """Take an account out of memory."""
        ...

    def ready(self, bare: str) -> bool:
        """Whether `account` can answer without waiting."""
        ...

    def session_of(self, jid: JID) -> Any:
        """The local session of a full JID, or None."""
        ...

    def open_account(self, jid: JID) -> Awaitable[Account | None]:
        """Load an account; None if there is none. Raises StorageUnavailable."""
        ...

    def deliver(self, stanza: Stanza) -> None:
        """Route a stanza of the server's own."""
        ...
