"""What an exchange is given and what it answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from xmppd.errors import MalformedJid
from xmppd.jid import JID, prepare_local
from xmppd.protocol.sasl.keys import ITERATIONS

MESSAGE_LENGTH: Final = 16_384
"""Octets of one message of a client. Longest sane one: an authzid and a name of 2 and 1 KiB, escaped."""


class SaslFailure(Exception):
    """The exchange is over without a sign-in. `condition`: an element name of RFC 6120 section 6.5.

    `text` is for the log, not for the peer: one answer for all reasons. `advice`: what the peer is told beside it,
    where it has shown who it is.
    """

    def __init__(self, condition: str, text: str = "", advice: str = "") -> None:
        super().__init__(f"{condition}: {text}" if text else condition)
        self.condition = condition
        self.text = text
        self.advice = advice


@dataclass(frozen=True, slots=True)
class Challenge:
    """Send these bytes; the client's answer goes to `respond`."""

    data: bytes


@dataclass(frozen=True, slots=True)
class NeedCredentials:
    """Look up the account of this (prepared) localpart and call `credentials`, with None if there is none."""

    username: str


@dataclass(frozen=True, slots=True)
class NeedCheck:
    """Call `run` in any thread (it costs a PBKDF2) and give its result to `checked`."""

    run: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class SourceAnswer:
    """What a source of identity outside says: `username`: the localpart of an account that may sign in, None for
    nobody. `guess`: what the client sent may have been one, so it counts."""

    username: str | None
    guess: bool = True


@dataclass(frozen=True, slots=True)
class NeedSource:
    """Await `ask` (it raises SaslFailure) and give the username of its answer to `credentials`. `about`: the localpart
    that the client names, or, with `named` False, what stands for one that it does not name."""

    about: str
    ask: Callable[[], Awaitable[SourceAnswer]]
    named: bool = True


@dataclass(frozen=True, slots=True)
class Success:
    """Signed in as this localpart. `data`, if any, goes with the success (RFC 6120 section 6.4.6). `proof`: what proved
    it, for who has issued that; None for a password. `password`: the right one, where the account lacks keys that could
    be made of it now."""

    username: str
    data: bytes = b""
    proof: Any = None
    password: str = field(default="", repr=False)


Step = Challenge | NeedCredentials | NeedCheck | NeedSource | Success


@dataclass(slots=True)
class SaslContext:
    """What an exchange must know of the stream and of the server.

    `secret`: the server's own, 16 bytes or more and the same after a restart, else made-up salts change.
    `channel_binding`: data by type (RFC 5929, RFC 9266); empty without TLS.
    `plus_offered`: whether a -PLUS mechanism was in the list that this client saw.
    `nonce`: returns a fresh random text of printable ASCII without a comma (RFC 5802 section 5.1).
    `iterations`: what new accounts get, and so what accounts that do not exist pretend to have.
    `announced`: the names of the list that this client saw.
    `tls_version`: of the connection, as in "TLSv1.3"; "" without TLS.
    `header_from`: the bare JID that the header of the stream names, "" if it names none.
    `peer`: the IP address of the client.
    `request`: what the profile tells of the sign-in (`contracts.sign_in.SignIn` in XEP-0388); None in RFC 6120.
    """

    domain: str
    secret: bytes = field(repr=False)
    channel_binding: Mapping[str, bytes]
    plus_offered: bool
    nonce: Callable[[], str]
    iterations: int = ITERATIONS
    announced: tuple[str, ...] = ()
    tls_version: str = ""
    header_from: str = ""
    peer: str = ""
    request: Any = None


class Exchange(Protocol):
    """One run of a mechanism. After a SaslFailure or a Success it is used up."""

    def respond(self, data: bytes) -> Step:
        """The client's next message, decoded. Raises SaslFailure."""
        ...

    def credentials(self, found: Any) -> Step:
        """The answer to NeedCredentials (`Credentials`, or what the mechanism looks up itself; None if there is no such
        account), or to NeedSource. Raises SaslFailure; LocalError if nobody asked."""
        ...

    def checked(self, ok: bool) -> Success:
        """The answer to NeedCheck. Raises SaslFailure; LocalError if nobody asked."""
        ...


def text_of(data: bytes) -> str:
    """A message as text. Raises SaslFailure."""
    if len(data) > MESSAGE_LENGTH:
        raise SaslFailure("malformed-request", "message too long")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise SaslFailure("malformed-request", "not UTF-8") from None


@dataclass(frozen=True, slots=True)
class Name:
    """Who the client says it is. `prepared` is None for what cannot be a localpart: such a name goes through
    the exchange like one that nobody has, since failing early would tell the two apart."""

    given: str
    prepared: str | None

    @property
    def text(self) -> str:
        return self.given if self.prepared is None else self.prepared


def name_of(given: str, authzid: str, domain: str, header_from: str = "") -> Name:
    """The user name, after the authorization identity: only the own bare JID may be asked for (RFC 6120
    section 6.3.8), and no other than the header of the stream names (XEP-0388 section 2.3). Names alone decide, so this
    tells nothing about accounts. Raises SaslFailure."""
    try:
        prepared = prepare_local(given)
    except MalformedJid:
        prepared = None
    if authzid:
        try:
            same = prepared is not None and JID.parse(authzid) == JID.of(prepared, domain)
            same = same and header_from in ("", JID.of(prepared or "", domain).bare)
        except MalformedJid:
            same = False
        if not same:
            raise SaslFailure("invalid-authzid")
    return Name(given, prepared)
