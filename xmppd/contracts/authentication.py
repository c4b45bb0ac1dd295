"""Signing in: mechanisms, the profile that writes their elements, and streams before they have a session.

A plugin adds a mechanism with a handler of `MECHANISMS`, or a whole profile (XEP-0388) with nonzas of the state
"stranger" that drive `NegotiatingStream.authentication`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from ..errors import StreamError
from ..hooks import Collect
from ..protocol.sasl import (
    HASHES,
    ITERATIONS,
    SASL,
    SCRAM_SHA_512,
    Challenge,
    Credentials,
    Exchange,
    Mechanism,
    NeedCredentials,
    OAuthBearer,
    SaslContext,
    SaslFailure,
    ScramKeys,
    SourceAnswer,
    SourcePlain,
    Step,
    Success,
    decode,
    encode,
)
from .core import Account, Host, Session
from .stream_features import FeatureAsk

__all__ = [
    "HASHES",
    "ITERATIONS",
    "MECHANISMS",
    "SASL",
    "SCRAM_SHA_512",
    "WITHHELD",
    "Authentication",
    "Challenge",
    "Credentials",
    "Exchange",
    "Mechanism",
    "NeedCredentials",
    "NegotiatingStream",
    "OAuthBearer",
    "SaslContext",
    "SaslFailure",
    "SaslProfile",
    "ScramKeys",
    "SourceAnswer",
    "SourcePlain",
    "Step",
    "Success",
    "decode",
    "encode",
]

MECHANISMS = Collect[FeatureAsk, Mechanism]("sasl-mechanisms", plain=True)
"""Mechanisms beside those of the core, asked for once a second. Which of them a stream can use is settled by what they
need (`Mechanism`)."""


WITHHELD = Collect[FeatureAsk, str]("sasl-withheld", plain=True)
"""Names of mechanisms that are not offered, whoever has them: some accounts cannot use them, and would be locked out
(clients take the strongest that they see). Asked for as `MECHANISMS` is."""


class SaslProfile(Protocol):
    """The elements around an exchange (RFC 4422 section 4): told what to say, in the turn of the loop in which it is
    known."""

    @property
    def namespace(self) -> str:
        """Of the elements. A stream has one profile: with another one, it ends (XEP-0388)."""
        ...

    @property
    def blanks(self) -> bool:
        """White space that comes by itself in the middle of an exchange is passed over; False: it ends the stream."""
        ...

    def challenge(self, data: bytes) -> None:
        """The client has to answer this."""
        ...

    def proven(self, account: Account, success: Success) -> bool:
        """The exchange has succeeded. True: more is asked of the client first (XEP-0388 section 2.6.5), which is done
        when the profile calls `Authentication.complete`; until then nobody has signed in."""
        ...

    def succeeded(self, account: Account, data: bytes) -> Awaitable[None] | None:
        """The stream is signed in. `data`: goes with the success, b"" for none. An awaitable: the stream waits."""
        ...

    def failed(self, failure: SaslFailure) -> None:
        """The exchange is over. The client may try again, unless the stream ends now."""
        ...


class Authentication(Protocol):
    """The exchanges on one stream until one succeeds; free of XML.

    What the methods return is an awaitable if the stream has to wait. A failure is told to the profile; StreamError is
    raised where the stream must end.
    """

    @property
    def channel_bindings(self) -> tuple[str, ...]:
        """The types that can be used on this stream, the best first (XEP-0440)."""
        ...

    def mechanisms(self, listed_in: str = SASL) -> tuple[str, ...]:
        """What is announced on this stream in that list, and nothing else can be used. Strongest first."""
        ...

    @property
    def mechanism(self) -> Mechanism:
        """Of the exchange that is under way."""
        ...

    @property
    def profile(self) -> Any:
        """The SaslProfile of the last exchange, None before the first one."""
        ...

    def start(
        self,
        profile: SaslProfile,
        mechanism: str,
        initial: bytes | None,
        listed_in: str = SASL,
        request: Any = None,
    ) -> Awaitable[None] | None:
        """Begin an exchange, of which `profile` is told from now on. `initial`: the client's first message, None if it
        sent none. `request`: what mechanisms are told of the sign-in (`SaslContext.request`)."""
        ...

    def complete(self, profile: SaslProfile) -> Awaitable[None] | None:
        """What was asked for behind a proven exchange is done: sign in. What holds no more by then fails."""
        ...

    def respond(self, profile: SaslProfile, data: bytes) -> Awaitable[None] | None:
        """The client's answer to a challenge."""
        ...

    def fail(self, profile: SaslProfile, failure: SaslFailure) -> None:
        """End the exchange: it is aborted, or what came is no message at all."""
        ...


class NegotiatingStream(Protocol):
    """A client's stream that is not bound yet, as handlers of nonzas get it."""

    registration: Any
    """What the provider of REGISTRATION (contracts.registration) remembers of a stranger until it signs in."""
    client: str
    """Which of the account's clients has signed in (`contracts.sign_in.CLIENT`), "" if it has not told."""

    @property
    def account(self) -> Any:
        """The account that has signed in, None before."""
        ...

    @property
    def host(self) -> Host: ...
    @property
    def peer(self) -> str:
        """IP address."""
        ...

    @property
    def closed(self) -> bool: ...
    @property
    def authentication(self) -> Authentication:
        """Signs the stream in."""
        ...

    @property
    def write(self) -> Callable[[bytes], None]: ...
    def fail(self, error: StreamError) -> None:
        """Send a stream error and close."""
        ...

    def restart(self) -> None:
        """Expect a new header (RFC 6120 section 4.3.3)."""
        ...

    def send_features(self) -> None:
        """Tell what can be negotiated now, where no new header asks for it (XEP-0388 section 2.6.3)."""
        ...

    def bind(self, resource: str) -> Awaitable[Session | None]:
        """Bind a resource, "" for one of the server's choice. None: the stream has ended meanwhile. Raises StanzaError:
        it was not bound."""
        ...

    def bound(self, session: Any) -> None:
        """From now on the stream carries a session that was attached to it."""
        ...
