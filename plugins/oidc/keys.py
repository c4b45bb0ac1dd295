"""The public keys of an issuer (JWKS, RFC 7517): fetched, kept, and fetched again when they change."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from typing import Any, Final

from xmppd.clock import Clock
from xmppd.contracts.identity import SourceUnavailable
from xmppd.contracts.parts import Locks

log = logging.getLogger("xmppd.identity")
AGAIN: Final = 30.0
"""Seconds between two tries to fetch keys, whatever the tokens say: who makes tokens up fetches nothing."""
STALE: Final = 86_400.0
"""Seconds for which keys are used while new ones cannot be had."""
MOST: Final = 100
RSA_BITS: Final = 2048
KINDS: Final = {"R": "RSA", "P": "RSA", "ES": "EC", "Ed": "OKP"}
"""The kind of key by the first letters of an algorithm."""


def kind_of(algorithm: str) -> str:
    return next((kind for start, kind in KINDS.items() if algorithm.startswith(start)), "")


class KeyRing:
    """`fetch` gets the JWKS; it raises SourceUnavailable."""

    def __init__(
        self, fetch: Callable[[], Awaitable[Mapping[str, Any]]], clock: Clock, locks: Locks, lifetime: float
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._locks = locks
        self._lifetime = lifetime
        self._keys: list[Any] = []
        self._fetched = self._tried = float("-inf")
        self._why = "the keys were not fetched yet"

    async def find(self, kid: str | None, algorithm: str) -> Any:
        """The key for a token; None: the issuer has none such. Raises SourceUnavailable."""
        if self._clock.monotonic() - self._fetched > self._lifetime:
            await self.refresh()
        found = self._find(kid, algorithm)
        if found is None:  # the issuer may have a new one
            await self.refresh()
            found = self._find(kid, algorithm)
        return found

    def _find(self, kid: str | None, algorithm: str) -> Any:
        able = [
            key
            for key in self._keys
            if key.key_type == kind_of(algorithm) and key.get("alg") in (None, algorithm) and kid in (None, key.kid)
        ]
        return able[0] if len(able) == 1 else None

    async def refresh(self) -> None:
        """Fetch, unless somebody has tried a moment ago. Raises SourceUnavailable where there are no keys to use."""
        async with self._locks.hold(f"keys {id(self)}"):
            now = self._clock.monotonic()
            if now - self._tried >= (AGAIN if self._keys else AGAIN / 10):
                self._tried = now
                try:
                    self._keys = usable(await self._fetch())
                    self._fetched = self._clock.monotonic()
                except SourceUnavailable as error:
                    self._why = str(error)
                    log.warning("oidc: the keys could not be fetched: %s", error)
            if self._clock.monotonic() - self._fetched > self._lifetime + STALE:
                self._keys = []
            if not self._keys:
                raise SourceUnavailable(self._why)


def usable(found: Mapping[str, Any]) -> list[Any]:
    """Public keys for signatures. What is none is passed over. Raises SourceUnavailable."""
    jwk = import_module("joserfc.jwk")
    given = found.get("keys")
    if not isinstance(given, list):
        raise SourceUnavailable("what came is no set of keys")
    keys = []
    for each in given[:MOST]:
        if not isinstance(each, dict) or each.get("use", "sig") != "sig" or each.get("kty") not in KINDS.values():
            continue
        try:
            key = jwk.import_key(each)
            if each["kty"] == "RSA" and key.public_key.key_size < RSA_BITS:
                continue
        except Exception as error:  # whatever the library says of it
            log.info("oidc: a key of the issuer is passed over: %r", error)
            continue
        keys.append(key)
    if not keys:
        raise SourceUnavailable("the issuer has no keys for signatures")
    return keys
