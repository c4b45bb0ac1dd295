"""What the server keeps of a password: SCRAM keys (RFC 5802 section 3), never the password."""

from __future__ import annotations

import hashlib
import hmac
import stringprep
import unicodedata
from dataclasses import dataclass, field
from functools import lru_cache
from secrets import token_bytes
from typing import Final

ITERATIONS: Final = 10_000
"""XEP-0438 section 4 and RFC 7677 section 4 (at least 4096)."""

SALT_LENGTH: Final = 16
PASSWORD_OCTETS: Final = 1024
HASHES: Final = {"SHA-1": "sha1", "SHA-256": "sha256", "SHA-512": "sha512"}
"""SCRAM's names and hashlib's."""


def prepare_password(password: str) -> str:
    """A password as a client hashes it: SASLprep (RFC 4013), which RFC 5802 section 2.2 asks of clients.

    More lenient where refusing protects nobody: code points that are new since Unicode 3.2 (emoji) and mixed
    directions pass. Raises ValueError for an empty or too long one, control characters and surrogates.
    """
    if len(password) > PASSWORD_OCTETS:
        raise ValueError("password too long")
    if password.isascii():
        prepared = password
    else:
        mapped = (
            " " if stringprep.in_table_c12(char) else char for char in password if not stringprep.in_table_b1(char)
        )
        prepared = unicodedata.normalize("NFKC", "".join(mapped))
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in prepared):
        raise ValueError("password has control characters")
    if not 0 < len(prepared.encode()) <= PASSWORD_OCTETS:
        raise ValueError("password empty or too long")
    return prepared


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """Keys of one account for one hash (of HASHES). Stored as it is."""

    hash: str
    salt: bytes = field(repr=False)
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    @classmethod
    def derive(cls, password: str, hash: str, *, salt: bytes | None = None, iterations: int = ITERATIONS) -> ScramKeys:
        """RFC 5802 section 3. `salt` is random unless given. Raises ValueError (see `prepare_password`)."""
        salt = token_bytes(SALT_LENGTH) if salt is None else salt
        name = HASHES[hash]
        salted = hashlib.pbkdf2_hmac(name, prepare_password(password).encode(), salt, iterations)
        return cls.from_salted(salted, hash, salt, iterations)

    @classmethod
    def from_salted(cls, salted: bytes, hash: str, salt: bytes, iterations: int) -> ScramKeys:
        """Of the SaltedPassword (RFC 5802 section 3), which the client has computed."""
        name = HASHES[hash]
        client_key = hmac.digest(salted, b"Client Key", name)
        return cls(
            hash=hash,
            salt=salt,
            iterations=iterations,
            stored_key=hashlib.new(name, client_key).digest(),
            server_key=hmac.digest(salted, b"Server Key", name),
        )

    def check(self, password: str) -> bool:
        """Whether this is the password. Costs the PBKDF2 (about a millisecond), outside the GIL."""
        try:
            derived = ScramKeys.derive(password, self.hash, salt=self.salt, iterations=self.iterations)
        except ValueError:
            return False
        return hmac.compare_digest(derived.stored_key, self.stored_key)


@dataclass(frozen=True, slots=True)
class Credentials:
    """All that an account can sign in with. `disabled`: it exists and may not. `generation`: rises when what was issued
    to clients of the account (tokens) holds no more."""

    scram_sha_1: ScramKeys | None
    scram_sha_256: ScramKeys | None
    disabled: bool = False
    generation: int = 0
    scram_sha_512: ScramKeys | None = None
    """Accounts from before there was such a thing lack it until their password is seen again (XEP-0480)."""

    @classmethod
    def from_password(cls, password: str, iterations: int = ITERATIONS) -> Credentials:
        """Fresh salts, all hashes. Raises ValueError (see `prepare_password`)."""
        return cls(
            ScramKeys.derive(password, "SHA-1", iterations=iterations),
            ScramKeys.derive(password, "SHA-256", iterations=iterations),
            scram_sha_512=ScramKeys.derive(password, "SHA-512", iterations=iterations),
        )

    def get(self, hash: str) -> ScramKeys | None:
        """The keys for a hash (of HASHES)."""
        if hash == "SHA-512":
            return self.scram_sha_512
        return self.scram_sha_256 if hash == "SHA-256" else self.scram_sha_1


def made_up(secret: bytes, domain: str, username: str, hash: str, iterations: int) -> ScramKeys:
    """Keys for an account that has none: always the same for a name, and no password fits them.

    As cheap as looking up real ones, so time does not tell them apart (RFC 5802 section 5.1, RFC 6120
    section 13.11). The salt is all that anybody sees of them, so the rest is the same for all names.
    """
    salt = hmac.digest(secret, f"salt\0{hash}\0{domain}\0{username}".encode(), HASHES[hash])
    stored_key, server_key = _nobodys(secret, hash)
    return ScramKeys(hash, salt[:SALT_LENGTH], iterations, stored_key, server_key)


@lru_cache(16)
def _nobodys(secret: bytes, hash: str) -> tuple[bytes, bytes]:
    """A StoredKey and a ServerKey that belong to no password."""
    stored_key, server_key = (
        hmac.digest(secret, f"{purpose}\0{hash}".encode(), HASHES[hash]) for purpose in ("stored key", "server key")
    )
    return stored_key, server_key
