"""Questions to an issuer over HTTP, and tokens checked by its keys (RFC 7519, RFC 9068) or by itself (RFC 7662)."""

from __future__ import annotations

import json
import logging
from base64 import b64encode, urlsafe_b64decode
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final
from urllib.parse import quote

from xmppd.contracts.identity import Identity, SourceUnavailable
from xmppd.plugin import Host

from .claims import Unfit, identity_of
from .keys import KeyRing
from .options import Config, is_safe

log = logging.getLogger("xmppd.identity")
TYPES: Final = frozenset(("", "jwt", "at+jwt", "application/at+jwt"))
"""Of the header of a token."""
METADATA_LIFETIME: Final = 3600.0
REST: Final = 2.0
"""Seconds for which an issuer that did not answer is not asked about tokens."""
TOKEN_LENGTH: Final = 12_000


class Issuer:
    def __init__(self, config: Config, host: Host) -> None:
        self.config = config
        self.host = host
        self.keys = KeyRing(self._fetch_keys, host.clock, host.locks, float(config.keys_lifetime))
        self._metadata: Mapping[str, Any] = {}
        self._metadata_until = float("-inf")
        self._away_until = float("-inf")
        self._why = ""

    async def check(self, token: str) -> Identity | None:
        """Who has a token. Raises TokenExpired, SourceUnavailable."""
        try:
            claims = await (self._by_key(token) if self.config.tokens == "keys" else self._ask(token))
            return identity_of(claims, self.config, self.host.domain, self.host.clock.now())
        except Unfit as error:
            log.info("oidc: a token is refused: %s", error)
            return None

    # ---- by keys

    async def _by_key(self, token: str) -> Mapping[str, Any]:
        """The claims of a token whose signature is the issuer's. Raises Unfit."""
        header = _header(token)
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self.config.algorithms:
            raise Unfit("its algorithm does not count here")
        if "crit" in header or not isinstance(kid, str | None):
            raise Unfit("its header asks for what is not known here")
        if str(header.get("typ", "")).lower() not in TYPES:
            raise Unfit("it is no access token")
        # A key that the token itself brings or points to (jwk, jku, x5c, x5u) is not looked at.
        key = await self.keys.find(kid, algorithm)
        if key is None:
            raise Unfit("no key of the issuer fits")
        try:
            found = import_module("joserfc.jwt").decode(token, key, algorithms=[algorithm])
        except Exception as error:  # the library has many, and not one for all
            raise Unfit(f"it is not signed by the issuer ({error!r})") from None
        if not isinstance(found.claims, dict):
            raise Unfit("it says nothing")
        return found.claims

    async def _fetch_keys(self) -> Mapping[str, Any]:
        return await self._get(self.config.keys or await self._address("jwks_uri"))

    # ---- by the issuer

    async def _ask(self, token: str) -> Mapping[str, Any]:
        """RFC 7662 section 2. Raises Unfit."""
        now = self.host.clock.monotonic()
        if now < self._away_until:
            raise SourceUnavailable(self._why)
        try:
            url = self.config.introspection or await self._address("introspection_endpoint")
            said = await self._get(url, {"token": token, "token_type_hint": "access_token"}, self._credentials())
        except SourceUnavailable as error:
            self._away_until, self._why = self.host.clock.monotonic() + REST, str(error)
            raise
        if said.get("active") is not True:
            raise Unfit("the issuer does not know it")
        return said

    def _credentials(self) -> dict[str, str]:
        """RFC 6749 section 2.3.1."""
        try:
            secret = self.config.secret
        except (OSError, UnicodeError) as error:
            raise SourceUnavailable(f"the secret of the server itself cannot be read: {error}") from None
        pair = f"{quote(self.config.client_id, safe='')}:{quote(secret, safe='')}"
        return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}

    # ---- over HTTP

    async def _address(self, what: str) -> str:
        """From what the issuer says of itself (RFC 8414). Raises SourceUnavailable."""
        if self.host.clock.monotonic() >= self._metadata_until or what not in self._metadata:
            found = await self._get(self.config.discovery)
            if found.get("issuer") != self.config.issuer:
                raise SourceUnavailable(f"{self.config.discovery} is that of another issuer")
            self._metadata = found
            self._metadata_until = self.host.clock.monotonic() + METADATA_LIFETIME
        address = self._metadata.get(what)
        if not isinstance(address, str) or not is_safe(address):
            raise SourceUnavailable(f"the issuer has no {what} that can be used")
        return address

    async def _get(
        self, url: str, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> Mapping[str, Any]:
        """A JSON object. Raises SourceUnavailable."""
        within = float(self.config.timeout)
        accept = {"Accept": "application/json", **(headers or {})}
        try:
            status, body = await self.host.server.poster.fetch(url, form, accept, private=True, within=within)
            found = json.loads(body) if status == 200 else None
        except (OSError, ValueError, RecursionError) as error:
            raise SourceUnavailable(f"{url}: {error}") from None
        if not isinstance(found, dict):
            raise SourceUnavailable(f"{url} answers {status}" + ("" if status != 200 else ", and no JSON object"))
        return found


def _header(token: str) -> Mapping[str, Any]:
    """Of a signed token, which nobody has checked yet. Raises Unfit."""
    parts = token.split(".")
    if len(parts) != 3 or not all(parts) or len(token) > TOKEN_LENGTH:
        raise Unfit("it is no signed JWT")
    try:
        found = json.loads(urlsafe_b64decode(parts[0] + "=" * (-len(parts[0]) % 4)))
    except (ValueError, RecursionError):
        raise Unfit("it has no header") from None
    if not isinstance(found, dict):
        raise Unfit("it has no header")
    return found
