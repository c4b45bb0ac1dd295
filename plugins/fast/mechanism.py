"""HT-SHA-256-* (draft-schmaus-kitten-sasl-ht): one message with a MAC under the token, and one back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from xmppd.contracts.authentication import (
    Credentials,
    Mechanism,
    NeedCredentials,
    SaslContext,
    SaslFailure,
    Step,
    Success,
)
from xmppd.contracts.sign_in import SignIn
from xmppd.errors import MalformedJid
from xmppd.jid import JID, prepare_local

from .tokens import EMPTY, ClientTokens, Token, TokenKeys

NS: Final = "urn:xmpp:fast:0"
LIST: Final = "fast"
"""These mechanisms are announced in <fast/> only, and are no part of what XEP-0474 hashes."""
BINDINGS: Final = {
    "HT-SHA-256-EXPR": "tls-exporter",
    "HT-SHA-256-UNIQ": "tls-unique",
    "HT-SHA-256-ENDP": "tls-server-end-point",
    "HT-SHA-256-NONE": "",
}
"""The best first."""
PROOF: Final = 32
NAME_OCTETS: Final = 1023
MOST: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class KnownClient:
    """What is known of the client that a sign-in comes from. `generation`: of the account's credentials."""

    record: ClientTokens
    generation: int


@dataclass(frozen=True, slots=True)
class Proof:
    """`Success.proof`: the token that was used, and the count that came with it, 0 for none."""

    token: Token
    count: int


class HashedToken:
    """One exchange. Message → NeedCredentials → Success."""

    def __init__(self, name: str, keys: TokenKeys, now: Callable[[], float], context: SaslContext) -> None:
        self._mechanism = name
        self._keys = keys
        self._now = now
        self._context = context
        self._username = ""
        self._proof = b""

    def respond(self, data: bytes) -> Step:
        """See `contracts.authentication.Exchange`."""
        name, nul, proof = data.partition(b"\0")
        if self._username or not nul or not name or len(name) > NAME_OCTETS or len(proof) != PROOF:
            raise SaslFailure("malformed-request", "not a message of HT")
        try:
            username = prepare_local(name.decode())
        except (UnicodeDecodeError, MalformedJid):
            raise SaslFailure("not-authorized", "nobody can have that name") from None
        self._username, self._proof = username, proof
        return NeedCredentials(username)

    def credentials(self, found: Any) -> Step:
        """The same. `found`: a KnownClient, None for an account that is not there or may not sign in."""
        known = found if isinstance(found, KnownClient) else KnownClient(EMPTY, -1)
        sign_in, context = self._context.request, self._context
        owner = f"{self._username}@{context.domain}"  # both are prepared
        client = sign_in.client_of(owner) if isinstance(sign_in, SignIn) else ""
        type = BINDINGS[self._mechanism]
        data = context.channel_binding.get(type, b"") if type else b""
        proven = self._keys.proven(owner, client, known.record, self._mechanism, self._proof, data)
        if proven is None or (type and not data):
            raise SaslFailure("not-authorized")
        token, answer = proven
        if not token.good(known.generation, self._now()):
            raise SaslFailure("credentials-expired")  # said to nobody but to who has the token
        count = count_of(sign_in)
        if count is not None and count <= token.count:
            raise SaslFailure("not-authorized", "replayed")
        return Success(self._username, answer, Proof(token, count or 0))

    def checked(self, ok: bool) -> Success:
        """The same: it never asks for a check."""
        raise NotImplementedError


def count_of(sign_in: SignIn) -> int | None:
    """What the client counts (XEP-0484 section 3.4), None if it does not. Raises SaslFailure."""
    asked = sign_in.asked(NS, "fast")
    text = asked.attributes.get("count") if asked is not None else None
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and 0 < int(text) <= MOST):
        raise SaslFailure("malformed-request", "a count is a positive number")
    return int(text)


def mechanisms(
    keys: TokenKeys,
    now: Callable[[], float],
    look_up: Callable[[JID, Credentials | None, Any], Any],
) -> tuple[Mechanism, ...]:
    def start(name: str) -> Callable[[SaslContext], HashedToken]:
        return lambda context: HashedToken(name, keys, now, context)

    return tuple(
        Mechanism(
            name,
            strength,
            start(name),
            binds=bool(binding),
            secret=True,  # who reads along can say it again
            listed_in=LIST,
            look_up=look_up,
            binding=binding,
        )
        for strength, (name, binding) in zip((4, 3, 2, 1), BINDINGS.items(), strict=True)
    )
