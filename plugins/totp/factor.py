"""Codes of a second factor (TOTP, RFC 6238) and recovery codes: what is stored, and what fits."""

from __future__ import annotations

import hmac
from base64 import b32decode, b32encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from secrets import token_bytes
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PERIOD: Final = 30
"""Seconds for which a code is shown (XEP-0400 section 3.2)."""
AROUND: Final = 1
"""Periods before and behind the present one whose codes count."""
RECOVERY_CODES: Final = 10
NONCE: Final = 12
CODE_LENGTH: Final = 100


@dataclass(frozen=True, slots=True)
class Factor:
    """`sealed`: the secret, encrypted. `step`: the period of the last code that was used: no code counts twice.
    `recovery`: hashes of codes that were not used yet. `since`: seconds since 1970 UTC."""

    sealed: bytes
    step: int
    recovery: tuple[bytes, ...]
    since: float


class Unreadable(ValueError):
    """The secret was sealed by another key."""


class Factors:
    """`key_for`: gives the keys of the server (contracts.core.Server)."""

    def __init__(self, key_for: Callable[[str], bytes], issuer: str) -> None:
        self._seal = AESGCM(key_for("totp secrets"))
        self._hash_key = key_for("totp recovery codes")
        self._issuer = issuer

    # ---- secrets

    @staticmethod
    def new_secret() -> str:
        """In base32, 160 bits."""
        return b32encode(token_bytes(20)).decode()

    def address(self, owner: str, secret: str) -> str:
        """What an application reads, often as a QR code (otpauth://)."""
        return str(self._totp(secret).provisioning_uri(name=owner, issuer_name=self._issuer))

    @staticmethod
    def _totp(secret: str) -> Any:
        return import_module("pyotp").TOTP(secret, interval=PERIOD)

    def _sealed(self, owner: str, secret: str) -> bytes:
        nonce = token_bytes(NONCE)
        return nonce + self._seal.encrypt(nonce, secret.encode(), owner.encode())

    def _opened(self, owner: str, sealed: bytes) -> str:
        """Raises Unreadable."""
        try:
            return self._seal.decrypt(sealed[:NONCE], sealed[NONCE:], owner.encode()).decode()
        except (InvalidTag, ValueError):
            raise Unreadable from None

    # ---- moving

    def secret(self, owner: str, factor: Factor) -> str:
        """In base32. Raises Unreadable."""
        return self._opened(owner, factor.sealed)

    def moved(self, owner: str, secret: str, since: float) -> Factor:
        """A factor that was set up on another server, without recovery codes: those are known to it only. Raises
        ValueError."""
        if not 16 <= len(b32decode(secret)) <= 64:
            raise ValueError("a secret of a second factor that cannot be")
        return Factor(self._sealed(owner, secret), 0, (), since)

    # ---- codes

    def first(self, owner: str, secret: str, code: str, now: float) -> Factor | None:
        """A factor whose owner has shown that the secret has arrived; None: it is not the code. Without recovery
        codes."""
        step = self._step(secret, code, now, 0)
        return Factor(self._sealed(owner, secret), step, (), now) if step else None

    def used(self, owner: str, factor: Factor, code: str, now: float) -> Factor | None:
        """The factor behind the use of a code, of either kind; None: it does not fit, or was used before. Raises
        Unreadable."""
        step = self._step(self._opened(owner, factor.sealed), code, now, factor.step)
        if step:
            return replace(factor, step=step)
        hashed = self._hashed(owner, code)
        left = tuple(each for each in factor.recovery if not hmac.compare_digest(each, hashed))
        return replace(factor, recovery=left) if len(left) < len(factor.recovery) else None

    def _step(self, secret: str, code: str, now: float, after: int) -> int:
        """The period of a code, later than `after`; 0: there is none such."""
        totp, present, found = self._totp(secret), int(now) // PERIOD, 0
        given = code.strip().encode()
        for step in range(present - AROUND, present + AROUND + 1):
            if hmac.compare_digest(totp.generate_otp(step).encode(), given) and step > after:
                found = step
        return found

    def with_recovery(self, owner: str, factor: Factor) -> tuple[Factor, tuple[str, ...]]:
        """New recovery codes, 80 bits each, in place of the old ones; they are shown once."""
        codes = tuple(_shown(b32encode(token_bytes(10)).decode().lower()) for _ in range(RECOVERY_CODES))
        return replace(factor, recovery=tuple(self._hashed(owner, code) for code in codes)), codes

    def _hashed(self, owner: str, code: str) -> bytes:
        plain = "".join(char for char in code[:CODE_LENGTH].lower() if char.isalnum())
        return hmac.digest(self._hash_key, f"{owner}\0{plain}".encode(), "sha256")


def _shown(code: str) -> str:
    return "-".join(code[at : at + 4] for at in range(0, len(code), 4))
