"""PLAIN (RFC 4616): the password itself, so only inside TLS."""

from __future__ import annotations

import hmac
from secrets import token_bytes
from typing import Final

from xmppd.errors import LocalError
from xmppd.protocol.sasl.keys import HASHES, PASSWORD_OCTETS, Credentials, made_up
from xmppd.protocol.sasl.steps import (
    Name,
    NeedCheck,
    NeedCredentials,
    SaslContext,
    SaslFailure,
    Step,
    Success,
    name_of,
    text_of,
)


class Proofs:
    """What was checked before, so that a client that reconnects does not cost a PBKDF2 each time.

    Holds only keyed hashes over name, password and stored key: useless without this process, and void as soon
    as the password changes. `size`: entries; the one unused for longest goes.
    """

    def __init__(self, size: int = 10_000) -> None:
        self._size = size
        self._key = token_bytes(32)
        self._known: dict[bytes, None] = {}

    def of(self, account: str, password: str, stored_key: bytes) -> bytes:
        """The proof that an account's password fits its stored key."""
        parts = (account.encode(), password.encode(), stored_key)
        return hmac.digest(self._key, b"".join(len(part).to_bytes(4, "big") + part for part in parts), "sha256")

    def known(self, proof: bytes) -> bool:
        """Whether it was added, and not too long ago."""
        if proof not in self._known:
            return False
        del self._known[proof]
        self._known[proof] = None
        return True

    def add(self, proof: bytes) -> None:
        """Remember it. Not for several threads."""
        self._known.pop(proof, None)
        if len(self._known) >= self._size:
            del self._known[next(iter(self._known))]
        self._known[proof] = None

    def __len__(self) -> int:
        return len(self._known)


PROOFS: Final = Proofs()


def read_plain(data: bytes) -> tuple[str, str, str]:
    """The authorization identity ("" for none), the user name and the password (neither is empty) of a message. Raises
    SaslFailure."""
    parts = text_of(data).split("\0")
    if len(parts) != 3 or not parts[1] or not parts[2] or len(parts[2]) > PASSWORD_OCTETS:
        raise SaslFailure("malformed-request", "not a PLAIN message")
    authzid, username, password = parts
    return authzid, username, password


class Plain:
    """One message → NeedCredentials → NeedCheck (or at once, by a proof) → Success.

    An account that is unknown, disabled or without keys costs the same check.
    """

    def __init__(self, context: SaslContext, proofs: Proofs = PROOFS) -> None:
        self._context = context
        self._proofs = proofs
        self._name = Name("", None)
        self._password = ""
        self._proof: bytes | None = None
        self._new_keys_from = ""
        """The password, if the account lacks keys."""
        self._waits_for = "message"

    def respond(self, data: bytes) -> Step:
        """See `Exchange.respond`."""
        if self._waits_for != "message":
            raise SaslFailure("malformed-request", "message out of turn")
        self._waits_for = ""
        authzid, username, self._password = read_plain(data)
        self._name = name_of(username, authzid, self._context.domain, self._context.header_from)
        if self._name.prepared is None:
            return self._decide(None)
        self._waits_for = "credentials"
        return NeedCredentials(self._name.prepared)

    def credentials(self, found: Credentials | None) -> Step:
        """See `Exchange.credentials`."""
        if self._waits_for != "credentials":
            raise LocalError("no credentials were asked for")
        return self._decide(found)

    def _decide(self, found: Credentials | None) -> Step:
        context, password, name = self._context, self._password, self._name
        self._password = ""
        keys = None
        if found is not None:
            keys = found.scram_sha_256 or found.scram_sha_1
        if found is not None and keys is not None and not found.disabled:
            self._proof = self._proofs.of(f"{name.text}@{context.domain}", password, keys.stored_key)
            self._new_keys_from = password if any(found.get(hash) is None for hash in HASHES) else ""
            if self._proofs.known(self._proof):
                self._waits_for = ""
                return Success(name.text, password=self._new_keys_from)
        checked = keys or made_up(context.secret, context.domain, name.text, "SHA-256", context.iterations)
        self._waits_for = "check"
        return NeedCheck(lambda: checked.check(password))

    def checked(self, ok: bool) -> Success:
        """See `Exchange.checked`."""
        if self._waits_for != "check":
            raise LocalError("no check was asked for")
        self._waits_for = ""
        proof, self._proof = self._proof, None
        if not ok or proof is None or self._name.prepared is None:
            raise SaslFailure("not-authorized")
        self._proofs.add(proof)
        return Success(self._name.prepared, password=self._new_keys_from)
