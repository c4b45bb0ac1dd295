"""The core as plugins see it: server, host, account, session. What only the core uses of them is in `internal`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from ..background import Background
from ..cache import Cache
from ..clock import Clock
from ..hooks import Collect, Notify
from ..jid import JID
from ..observe.metrics import Counts
from ..service import Service
from ..stanza import Stanza
from ..storage.api import Batch, Map, Storage
from ..xml import Element
from .accounts import StoredAccount
from .admin import OperationRegistry
from .delivery import Channel, Cursor
from .internal import AccountInternals, HostInternals, ServerInternals
from .order import Lane
from .outbox import Outbox
from .parts import Accounts, ClientStreamHandle, Locks, Poster, SessionManager
from .routes import Destination, Homes, Origin
from .runtime import RuntimeLimits
from .session_keys import SessionKey

E = TypeVar("E")
T = TypeVar("T")
Memory = dict[Any, Any] | set[Any] | Cache[Any, Any]
M = TypeVar("M", bound=Memory)


class Account(AccountInternals, Protocol):
    """A local account while it is in memory."""

    released: int
    """Up to this id the log is committed and released."""

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
        """False once it is deleted, or has left for another home."""
        ...

    @property
    def cursor(self) -> Cursor:
        """What of its log is delivered."""
        ...

    def next_id(self) -> int:
        """An id for the owner's log: microseconds, strictly rising even if the clock is set back."""
        ...

    def available(self) -> list[Any]:
        """Its sessions that have sent available presence."""
        ...


@dataclass(frozen=True, slots=True)
class AcknowledgedUpTo:
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
    def acknowledged_up_to(self) -> AcknowledgedUpTo | None:
        """What the client knows of `handled`; None: nothing, since it does not ask (XEP-0198)."""
        ...

    @property
    def receives_messages(self) -> bool:
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

    def note_acknowledgement(self) -> None:
        """The client is told now what is handled."""
        ...

    def all_settled(self) -> Awaitable[None]:
        """Wait until everything taken from the client has found its end."""
        ...


class Routes(Protocol):
    """Where addresses live. Nobody else looks at the table of hosts."""

    @property
    def homes(self) -> Homes:
        """Which home an owner has."""
        ...

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

    def is_account(self, bare: str) -> bool:
        """Whether a bare JID is that of an account of this server, or would be if there were one."""
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

    def reaches(self, jid: JID) -> bool:
        """Whether stanzas to an address go anywhere: it is of this server, or another one may be talked to."""
        ...

    def serves(self, domain: str) -> bool:
        """Whether a domain is of this server: a host's, or one that something was registered for, as a component."""
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
    @property
    def outbox(self) -> Outbox:
        """What owners have to say to others beside what they decide."""
        ...

    def under_way(self) -> set[str]:
        """Bare JIDs for whom a lock is held, something waits to be decided or released, or who is not heard yet."""
        ...

    def receive(self, origin: Origin, stanza: Stanza) -> Awaitable[None] | None:
        """Take a stanza. An awaitable: the origin must wait for it before it gives another."""
        ...

    def until_idle(self, lane: Lane) -> Awaitable[None]:
        """Wait until nothing of the lane waits for a commit."""
        ...

    def deliver(self, stanza: Stanza) -> None:
        """Route a stanza of the server's own."""
        ...

    def expect(self, pairs: Sequence[tuple[str, str]], batch: Batch) -> None:
        """Stanzas between these bare JIDs (sender, recipient) are decided, and carried when `batch` is released: what
        the server says for the sender comes behind them. `came` is called then."""
        ...

    def came(self, pairs: Sequence[tuple[str, str]]) -> None:
        """They are carried, or will not be."""
        ...

    def carry(self, stanza: Stanza) -> None:
        """Bring a stanza that its sender's home has decided to its recipient's."""
        ...

    def fan_out(self, stanza: Stanza, addresses: Iterable[JID], at: int = 0) -> None:
        """One stanza to many addresses, each through its chains."""
        ...

    def fan_to_contacts(
        self,
        stanza: Stanza,
        account: Any,
        contacts: Iterable[str],
        blocks: Callable[[JID], bool] | None = None,
        own: Iterable[Any] = (),
    ) -> None:
        """An account's presence to its contacts (bare JIDs), wherever they live, but for the addresses that it blocks;
        to its `own` sessions first."""
        ...

    def fan_to_interested(
        self,
        stanza: Stanza,
        account: Any,
        node: str,
        contacts: Iterable[str],
        may_read: Callable[[JID], bool] | None = None,
    ) -> None:
        """An account's event of a node to those contacts (bare JIDs) on this server that are interested in it
        (XEP-0163)."""
        ...

    def probe(self, session: Any, contacts: Collection[str]) -> None:
        """Probe contacts (bare JIDs), wherever they live, for a session (RFC 6121 section 4.3)."""
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


class Server(ServerInternals, Protocol):
    """What of the process hosts, sessions and plugins use."""

    @property
    def clock(self) -> Clock: ...
    @property
    def counts(self) -> Counts: ...
    @property
    def limits(self) -> RuntimeLimits: ...

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
    def poster(self) -> Poster: ...
    @property
    def config(self) -> Any:
        """The configuration (config.schema.ServerConfig)."""
        ...

    def key_for(self, purpose: str) -> bytes:
        """A secret key of the server for one purpose, 32 bytes: the same after a restart, and not in the store."""
        ...

    def open_port(self, address: str, port: int, make_receiver: Callable[[], Any]) -> Awaitable[Any]:
        """Listen for a plugin, without TLS, until the server stops; port 0 takes a free one. Raises OSError."""
        ...

    @property
    def components(self) -> Any:
        """Programs beside the server (contracts.components.Components)."""
        ...

    def url(self, domain: str, path: str = "/", secure: bool | None = None) -> str:
        """The address under which people reach a path of a domain over HTTP; "" where no listener serves it.
        `secure`: where several are as good, one with TLS, or one without; None: the first of the configuration."""
        ...

    @property
    def storage(self) -> Storage: ...


class Host(HostInternals, Protocol):
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

    def owned(
        self,
        memory: M,
        *,
        pairs: bool = False,
        stays: Callable[[Any], bool] | None = None,
        leaving: Callable[[Any], object] | None = None,
    ) -> M:
        """A dictionary, set or cache by owner (bare JID of an account or room of this host), made at setup, for good.
        It is given back as it is. When an owner leaves for another home, or an account is made or deleted, the host
        takes out what belongs to it. For an OrderedDict or Counter the same.

        `pairs`: keys are tuples that begin with the owner. `stays`: whether something is under way for a key, so that
        its owner cannot leave now. `leaving`: called with each key before it is taken out (to cancel a timer, to give
        back bytes); a plain function.
        """
        ...

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

    def tell(self, hook: Notify[E], event: E) -> None:
        """Notify; a handler that crashes is logged and the next one runs (fails soft)."""
        ...

    def tell_and_wait(self, hook: Notify[E], event: E) -> Awaitable[None]:
        """Notify, and wait for handlers that are coroutines."""
        ...

    def tell_and_collect_errors(self, hook: Notify[E], event: E) -> Awaitable[list[Exception]]:
        """The same; returns what the handlers raised."""
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

    def ask_for(self, account: Account, stanza: Stanza, answered: Callable[[Stanza | None], None]) -> None:
        """Send an IQ in the name of an account of this host, which need not be signed in, as if it had sent it. The
        answer has an id of ours; None: none has come. Raises StanzaError."""
        ...

    def account(self, bare: str) -> Account | None:
        """A loaded account."""
        ...

    def delivered_until(self, owner: str) -> Awaitable[int]:
        """Up to which id of an account's log some device has acknowledged everything; it need not be in memory. Raises
        StorageUnavailable."""
        ...

    def acknowledged(self, owner: str) -> Awaitable[Callable[[int], bool]]:
        """Tells of entries of an account's log whether some device has acknowledged them; it need not be in memory.
        Raises StorageUnavailable."""
        ...

    def open_account(self, jid: JID) -> Awaitable[Account | None]:
        """Load an account; None if there is none. Raises StorageUnavailable."""
        ...

    def deliver(self, stanza: Stanza) -> None:
        """Route a stanza of the server's own."""
        ...
