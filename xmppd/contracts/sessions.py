"""What happens to streams and sessions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from ..hooks import Collect, Notify
from ..jid import JID
from ..protocol.items import Nonza
from ..service import Service
from ..stanza import Stanza
from ..xml import Written
from .authentication import NegotiatingStream
from .core import Account, Session
from .session_keys import SessionKey
from .stream_features import FeatureAsk

ACCOUNT_LOADED = Notify["Account"]("account-loaded")
"""It comes into memory; handlers may be coroutines, and what is for it waits for them, so they are quick."""
BINDING = Notify["Account"]("binding")
"""A signed-in stream asks for a resource; binding waits for handlers that are coroutines."""
STREAM_LOST = Notify["Session"]("stream-lost", plain=True)
"""A session's connection broke without a goodbye, or the server ended it with an error: what was on its way, in both
directions, may not have arrived."""
STREAM_ENDING = Notify["Session"]("stream-ending", plain=True)
"""The server stops and is about to close the session's stream: the last moment to tell its client something."""
SESSION_BOUND = Notify["Session"]("session-bound", plain=True)
"""A client has bound a resource (RFC 6120 section 7): a new session."""
SESSION_ENDED = Notify["Session"]("session-ended", plain=True)
"""The session is gone for good (not merely detached). Its presence was already made unavailable."""
SESSION_RESTORED = Notify["Session"]("session-restored", plain=True)
"""A session that outlived a restart of the server is there again, detached. Nobody else is told."""
RESTORED = Notify[JID]("restored")
"""All sessions of the server that outlived a restart are there again; told to every host, with its address."""
SESSION_RESUMED = Notify["Session"]("session-resumed", plain=True)
"""A client has resumed its session on another stream (XEP-0198 section 5)."""


@dataclass(frozen=True, slots=True)
class InlineFeature:
    """What a client may ask for while its resource is bound (XEP-0386 section 3.2), or with the same element later.

    `ns`, `name`: of the element. `enable`: does what it asks for, and returns the answer, None if there is none. Who
    calls it writes the answer in the same turn of the loop: what is sent to the session from then on comes behind it.
    """

    ns: str
    name: str
    enable: Callable[[Session, Nonza], Written | None]


BIND_FEATURES = Collect[FeatureAsk, InlineFeature]("bind-features", plain=True)
"""What a client can ask for in the same step in which its resource is bound (XEP-0386)."""


BOUND_WITH = Collect[Account, Written]("bound-with")
"""What the client is told of its account with its resource, inside <bound/> (XEP-0386 section 3.2); asked right before
it is bound."""


@dataclass(frozen=True, slots=True)
class Resumption:
    """How an attempt to resume a session ended: `session`, None if it failed (then the client may bind a resource).

    Who has asked writes `answer`, and calls `go_on` behind it in the same turn of the loop: it sends what the client
    has not got.
    """

    answer: Written
    session: Session | None = None
    go_on: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class InlineResumption:
    """Resumes a session instead of binding a resource, as part of the sign-in (XEP-0388 section 2.7.1) or behind it.

    `feature`: announces it. `ns`, `name`: of the element that asks for it. `resume`: gets the stream, which has signed
    in; None: the stream has ended meanwhile. Raises StreamError.
    """

    feature: Written
    ns: str
    name: str
    resume: Callable[[NegotiatingStream, Nonza], Awaitable[Resumption | None]]


RESUMPTIONS = Collect[FeatureAsk, InlineResumption]("resumptions", plain=True)
"""Ways to resume a session in the step in which a client signs in or binds."""


class PresenceRules(Protocol):
    """RFC 6121 sections 3 and 4: who learns of whose presence. Provided by the presence plugin.

    The core does the rest, also for a provider that does nothing: it checks the priority, remembers presence and
    priority in the session, tells AVAILABLE and SHOWN behind `broadcast`, and starts the delivery of the account's
    messages to the session (docs/explanation/delivery.md).
    """

    def broadcast(self, session: Session, stanza: Stanza, before: Stanza | None) -> None:
        """A presence without `to` (available or unavailable) is released: tell who may know. The session has it
        already; `before`: what it had until now, None if it was not available."""
        ...

    def directed(self, session: Session, stanza: Stanza) -> None:
        """A presence (available or unavailable) to somebody is released: remember who got it."""
        ...

    def subscription(self, session: Session, stanza: Stanza) -> Awaitable[None]:
        """A subscribe, subscribed, unsubscribe or unsubscribed of a local user (sections 3.1 to 3.3): do all of it."""
        ...

    def own_subscription(self, account: Account, stanza: Stanza) -> Awaitable[None]:
        """The same in the name of a local account that need not be signed in. Raises ResourceConstraint,
        StorageUnavailable."""
        ...

    def arriving_subscription(self, account: Account, stanza: Stanza) -> Awaitable[None]:
        """The same, coming to a local account from a remote server or from a service."""
        ...

    def probe(self, stanza: Stanza, reply: Callable[[Stanza], None]) -> None:
        """A probe for the presence of an account of this host, which may not exist (section 4.3). `reply` tells who
        has sent it: a client, or the server of a contact."""
        ...

    def shown_to(self, account: Account, viewer: JID) -> list[Stanza] | None:
        """What an account of this host, which has sessions, shows to a contact's full JID: the presence of each
        available session that it may see (section 4.3.2). None: to this one the account shows nothing, as it is not
        subscribed."""
        ...

    def accepts_presence(self, account: Account, sender: str) -> bool:
        """Whether an account of this host gets the presence that a contact (a bare JID) broadcasts: its own contact
        list says so. Asked for each contact of a broadcast, so it must be quick."""
        ...

    def became_unavailable(self, session: Session, before: Stanza | None) -> None:
        """A session ends without unavailable presence: send it (section 4.5.2) to who has seen `before`, and to whom
        presence was sent directly. A room learns by this alone that its occupant is gone."""
        ...

    def remove(self, account: Account, contact: JID) -> Awaitable[None]:
        """Take a contact off the list, ending the subscriptions both ways (section 2.5.2).

        Raises ItemNotFound, StorageUnavailable.
        """
        ...

    def withdraw(self, account: Account, contact: str, policy: bool = False) -> None:
        """Show `contact` (a bare JID) that the account's resources are unavailable, if it saw them until now.

        Because it is blocked now (XEP-0191 section 3.3), or, `policy`, because the account's policy names it no longer;
        then what was sent to it directly stays.
        """
        ...

    def announce(self, account: Account, contact: str) -> None:
        """Send `contact` (a bare JID) the account's presence, if it is subscribed and may see it (XEP-0191)."""
        ...


PRESENCE = Service[PresenceRules]("presence")


@dataclass(frozen=True, slots=True)
class SubscriptionRequest:
    """A subscribe that has come to an account of this host (`account`: its bare JID)."""

    account: JID
    stanza: Stanza


APPROVALS = Collect[SubscriptionRequest, bool]("subscription-approvals")
"""Whether a request is approved in the name of the account, as by somebody whom it has invited (XEP-0379): one True is
enough. Then the sender is a contact at once, and asked to let the account see its presence, too. Whom the account
blocks gets nothing."""


@dataclass(frozen=True, slots=True)
class Seeing:
    """`account` is of this host; `contact` is a bare JID, of any domain."""

    account: Account
    contact: JID


SEEING = Notify[Seeing]("seeing")
"""A contact has let an account see its presence (RFC 6121 section 3.1.6), which it did not see before: after the commit
on both sides, and after the account has been told."""


@dataclass(slots=True)
class Showing:
    """`stanza`: available presence of the session as its client sent it, to which handlers add."""

    session: Session
    stanza: Stanza


SHOWING = Notify[Showing]("showing", plain=True)
"""A session's available presence goes out: broadcast now, or later to who asks or has come. What the server itself
says in it is said as it is then, so `session.presence` does not hold it."""
SHOWN = Notify["Session"]("shown", plain=True)
"""A session has broadcast available presence, its first or another; `session.presence` is it."""
AVAILABLE = Notify["Session"]("available", plain=True)
"""A session has sent its initial presence (RFC 6121 section 4.2), after the broadcast."""


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A session that was available has gone; `stanza`: the unavailable presence that says so."""

    session: Session
    stanza: Stanza


UNAVAILABLE = Notify[Withdrawal]("unavailable", plain=True)
"""A session is not available any more (RFC 6121 section 4.5), be it that its client has said so or that it has ended;
behind the broadcast."""

DIRECTED: SessionKey[tuple[str, ...]] = SessionKey("directed-presence", (), durable=True)
"""Who has got available presence of the session that no broadcast takes back (RFC 6121 section 4.6), as full addresses;
of a room the occupant's."""
