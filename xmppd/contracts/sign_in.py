"""Signing in by XEP-0388, and what can be done in the same step: resume or bind, tokens, tasks."""

from __future__ import annotations

import enum
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Protocol

from ..hooks import Collect
from ..protocol.items import Nonza
from ..service import Service
from ..xml import Element
from .authentication import NegotiatingStream
from .core import Account, Session
from .session_keys import SessionKey
from .stream_features import FeatureAsk

CLIENT = SessionKey[str]("client", "", durable=True)
"""Which of the account's clients has the session (`UserAgent.client`), "" if it has not told."""


@dataclass(frozen=True, slots=True)
class UserAgent:
    """What a client tells of itself (XEP-0388 section 2.3). `id`: of its installation, a UUID, "" if it has none;
    nobody else may see it. `software`, `device`: for the owner of the account."""

    id: str = ""
    software: str = ""
    device: str = ""

    def client(self, owner: str) -> str:
        """The same for every sign-in of this installation to that account (a bare JID), "" without an id; says nothing
        about the id, and differs from account to account."""
        if not self.id:
            return ""
        return urlsafe_b64encode(sha256(f"resource\0{owner}\0{self.id}".encode()).digest()[:18]).decode()


@dataclass(slots=True)
class SignIn:
    """One sign-in, as the steps of it see it.

    `request`: <authenticate/>. `listed_in`: the list of mechanisms that was used, `announced`: each list that this
    client has seen. `account`: None until the exchange has succeeded. `proof`: what proved it (`Success.proof`),
    `generation`: of the account's credentials then. `session`: once one was resumed or bound, `resumed`: which of
    them. `answers`: what stands in <success/>, as bytes. `on_session`: called with the session in the turn of the
    loop in which it is bound or resumed. `behind`: called when the success, and the features behind it, are written.
    """

    stream: NegotiatingStream
    request: Nonza
    mechanism: str
    listed_in: str
    agent: UserAgent
    announced: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    account: Account | None = None
    proof: Any = None
    generation: int = 0
    session: Session | None = None
    resumed: bool = False
    answers: list[bytes] = field(default_factory=list)
    on_session: list[Callable[[Session], None]] = field(default_factory=list)
    behind: list[Callable[[], None]] = field(default_factory=list)
    _client: tuple[str, str] = ("", "")
    """The account that `client_of` was last asked about, and its answer."""
    _asked: dict[tuple[str, str], Nonza | None] = field(default_factory=dict)

    def asked(self, ns: str, name: str) -> Nonza | None:
        """The first element of that name, which is in a namespace, in <authenticate/>."""
        key = ns, name
        if key in self._asked:
            return self._asked[key]
        found = self._asked[key] = self.request.child(ns, name)
        return found

    @property
    def owner(self) -> str:
        """The bare JID of who has signed in."""
        assert self.account is not None
        return self.account.bare

    @property
    def client(self) -> str:
        """Which of the account's clients it is, "" if it has not told."""
        return self.client_of(self.owner)

    def client_of(self, owner: str) -> str:
        """Which client of that account (a bare JID) it would be, or is."""
        if self._client[0] != owner:
            self._client = owner, self.agent.client(owner)
        return self._client[1]


class Order(enum.IntEnum):
    """When a step runs. What waits for something comes first: from the resumption or the binding on, all is written in
    one turn of the loop."""

    TOKENS = 0
    RESUME = 1
    BIND = 2


@dataclass(frozen=True, slots=True)
class SignInStep:
    """What is done with a sign-in that has succeeded, before the client hears of it.

    `feature`: stands in <inline/>; b"" for what is not announced. `run`: raises StreamError, StorageUnavailable.
    `mechanisms`: the name of a list of mechanisms, and "namespace|name" of the element in the request that asks for it.
    """

    order: Order
    feature: bytes
    run: Callable[[SignIn], Awaitable[None] | None]
    mechanisms: tuple[str, str] | None = None


SIGN_IN_STEPS = Collect[FeatureAsk, SignInStep]("sign-in-steps", plain=True)
"""Asked, before anybody has signed in, for each list of mechanisms and channel bindings that is offered; what it
is told counts from then on."""


class SignInTask(Protocol):
    """More that is asked of a client whose exchange has succeeded (XEP-0388 section 2.6.5). One for each sign-in."""

    @property
    def name(self) -> str: ...
    @property
    def proves(self) -> bool:
        """It decides whether the client may sign in at all. Such tasks come first: what others change must wait until
        it is certain who asks."""
        ...

    def received(self, data: Element) -> Element | Awaitable[Element | None] | None:
        """<next/>, then each <task-data/>. Returns what stands in <task-data/>; None: the task is done. Raises
        SaslFailure, StorageUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class TaskOffer:
    """`feature`: stands in <authentication/>, b"" for what is not announced."""

    feature: bytes


SIGN_IN_TASKS = Collect[SignIn, SignInTask]("sign-in-tasks", plain=True)
"""What this client has to do before it is signed in, in that order, what proves something first; its account is in
memory. Not asked for tokens (XEP-0484 section 5.2)."""
TASK_OFFERS = Collect[FeatureAsk, TaskOffer]("task-offers", plain=True)
"""What a client may ask for (XEP-0480)."""


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """`secret`: for its client, and nobody else. `until`: seconds since 1970 UTC."""

    secret: str
    until: float


class Tokens(Protocol):
    """What lets clients sign in without a password (XEP-0484)."""

    def clients(self, account: Account) -> Collection[str]:
        """Those of the account's clients (`UserAgent.client`) that have a token which can be used."""
        ...

    def issue(self, owner: str, client: str, mechanism: str, generation: int) -> Awaitable[IssuedToken]:
        """A new token for one of the account's clients, to sign in by that mechanism while the account's credentials
        are of that generation. The account is in memory. Raises StorageUnavailable."""
        ...

    def revoke(self, owner: str, clients: Collection[str]) -> Awaitable[None]:
        """End all tokens of these clients of an account (a bare JID). Raises StorageUnavailable."""
        ...


TOKENS = Service[Tokens]("tokens")
