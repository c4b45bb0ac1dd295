"""SCRAM, with and without channel binding (RFC 5802, RFC 7677)."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from xmppd.errors import LocalError
from xmppd.protocol.sasl.codec import decode_strict, encode
from xmppd.protocol.sasl.keys import HASHES, Credentials, ScramKeys, made_up
from xmppd.protocol.sasl.steps import (
    Challenge,
    Name,
    NeedCredentials,
    SaslContext,
    SaslFailure,
    Step,
    Success,
    name_of,
    text_of,
)

# No possessive quantifiers: the re module of Python 3.11.2 gets them wrong.
# Section 7. A saslname is any text without NUL and ",", with "=" only in "=2C" and "=3D".
_SASLNAME: Final = r"(?:[^\0,=]|=2C|=3D)+"
_EXTENSIONS: Final = r"((?:,[A-Za-z]=[^\0,]+)*)"
_client_first = re.compile(
    rf"((n|y|p=[A-Za-z0-9.-]+),(?:a=({_SASLNAME}))?,)"
    rf"(n=({_SASLNAME}),r=([!-+\--~]+){_EXTENSIONS})"
).fullmatch
_client_final = re.compile(
    r"(c=([A-Za-z0-9+/=]+),r=([!-+\--~]+)((?:,(?!p=)[A-Za-z]=[^\0,]+)*)),p=([A-Za-z0-9+/=]+)"
).fullmatch


TLS_VERSIONS: Final = {"TLSv1.2": "0303", "TLSv1.3": "0304"}


@dataclass(frozen=True, slots=True)
class _First:
    """What the client's first message says."""

    header: str
    flag: str
    authzid: str
    bare: str
    username: str
    nonce: str


class Scram:
    """The server's side. First message → NeedCredentials → Challenge → last message → Success.

    An account that is unknown, disabled or without keys for this hash goes the same way to the last message.
    """

    def __init__(self, hash: str, plus: bool, context: SaslContext) -> None:
        self._hash = hash
        self._plus = plus
        self._context = context
        self._waits_for = "first"
        self._name = Name("", None)
        self._keys: ScramKeys | None = None
        self._refused = True
        self._binding = ""
        self._nonce = ""
        self._first_bare = ""
        self._server_first = ""

    def respond(self, data: bytes) -> Step:
        """See `Exchange.respond`."""
        waited_for, self._waits_for = self._waits_for, ""
        if waited_for == "first":
            return self._on_first(text_of(data))
        if waited_for == "final":
            return self._on_final(text_of(data))
        raise SaslFailure("malformed-request", "message out of turn")

    def _on_first(self, message: str) -> Step:
        first = _parse_first(message)
        self._binding = encode(first.header.encode() + self._bind(first.flag))
        context = self._context
        self._name = name_of(first.username, first.authzid, context.domain, context.header_from)
        self._first_bare = first.bare
        self._nonce = first.nonce + context.nonce()
        if self._name.prepared is None:
            return self._challenge(None)
        self._waits_for = "credentials"
        return NeedCredentials(self._name.prepared)

    def _bind(self, flag: str) -> bytes:
        """The channel's data for a gs2 flag (section 6). Raises SaslFailure."""
        if self._plus:
            data = self._context.channel_binding.get(flag[2:]) if flag.startswith("p=") else None
            if data is None:
                raise SaslFailure("not-authorized", "no such channel binding")
            return data
        if flag.startswith("p="):
            raise SaslFailure("not-authorized", "channel binding with a mechanism that has none")
        if flag == "y" and self._context.plus_offered:
            # The client would have bound, had it seen the list that we sent: somebody took -PLUS out.
            raise SaslFailure("not-authorized", "downgrade of channel binding")
        return b""

    def credentials(self, found: Credentials | None) -> Step:
        """See `Exchange.credentials`."""
        if self._waits_for != "credentials":
            raise LocalError("no credentials were asked for")
        return self._challenge(found)

    def _challenge(self, found: Credentials | None) -> Challenge:
        context = self._context
        fake = made_up(context.secret, context.domain, self._name.text, self._hash, context.iterations)
        keys = found.get(self._hash) if found is not None else None
        self._refused = keys is None or found is None or found.disabled
        self._keys = keys or fake
        self._server_first = f"r={self._nonce},s={encode(self._keys.salt)},i={self._keys.iterations}"
        self._server_first += _protection(self._hash, context)
        self._waits_for = "final"
        return Challenge(self._server_first.encode())

    def _on_final(self, message: str) -> Step:
        match = _client_final(message)
        if match is None or ",m=" in match[4]:
            raise SaslFailure("malformed-request", "client-final-message")
        without_proof, binding, nonce, _, proof_text = match.groups()
        try:
            proof = decode_strict(proof_text)
        except ValueError:
            raise SaslFailure("malformed-request", "proof") from None
        keys = self._keys
        assert keys is not None
        auth_message = f"{self._first_bare},{self._server_first},{without_proof}".encode()
        # All is computed and compared in any case; which part was wrong is nobody's business.
        right = _proves(keys, proof, auth_message)
        right &= hmac.compare_digest(nonce.encode(), self._nonce.encode())
        right &= hmac.compare_digest(binding.encode(), self._binding.encode())
        if not right or self._refused or self._name.prepared is None:
            raise SaslFailure("not-authorized")
        signature = hmac.digest(keys.server_key, auth_message, HASHES[keys.hash])
        return Success(self._name.prepared, b"v=" + encode(signature).encode())

    def checked(self, ok: bool) -> Success:
        """See `Exchange.checked`: SCRAM never asks for a check."""
        raise LocalError("no check was asked for")


def _parse_first(message: str) -> _First:
    """Sections 5.1 and 7. A mandatory extension ("m=") is one that we do not know. Raises SaslFailure."""
    match = _client_first(message)
    if match is None or ",m=" in match[7]:
        raise SaslFailure("malformed-request", "client-first-message")
    header, flag, authzid, bare, username, nonce, _ = match.groups()
    return _First(header, flag, _unescape(authzid or ""), bare, _unescape(username), nonce)


def _protection(hash: str, context: SaslContext) -> str:
    """What lets the client see that nobody took something out of the lists that we sent, or stands between two
    connections (XEP-0474 section 5.1, XEP-0515 section 4.1)."""
    if not context.announced:
        return ""
    return _protected(hash, context.announced, tuple(context.channel_binding), context.tls_version)


@lru_cache(256)
def _protected(hash: str, announced: tuple[str, ...], bindings: tuple[str, ...], tls_version: str) -> str:
    text = "\x1e".join(sorted(announced))
    if bindings:
        text += "\x1f" + "\x1e".join(sorted(bindings))
    protection = f",h={encode(hashlib.new(HASHES[hash], text.encode()).digest())}"
    version = TLS_VERSIONS.get(tls_version)
    return f"{protection},t={version}" if version else protection


def _unescape(saslname: str) -> str:
    return saslname.replace("=2C", ",").replace("=3D", "=")


def _proves(keys: ScramKeys, proof: bytes, auth_message: bytes) -> bool:
    """Whether the client that made the proof knows the client key (section 3)."""
    name = HASHES[keys.hash]
    signature = hmac.digest(keys.stored_key, auth_message, name)
    if len(proof) != len(signature):
        return False
    client_key = (int.from_bytes(proof, "big") ^ int.from_bytes(signature, "big")).to_bytes(len(proof), "big")
    return hmac.compare_digest(hashlib.new(name, client_key).digest(), keys.stored_key)
