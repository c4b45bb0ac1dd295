"""Mechanisms whose secrets a source of identity outside checks: PLAIN (RFC 4616) and OAUTHBEARER (RFC 7628)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from xmppd.errors import LocalError
from xmppd.protocol.sasl.plain import read_plain
from xmppd.protocol.sasl.steps import (
    Challenge,
    Name,
    NeedSource,
    SaslContext,
    SaslFailure,
    SourceAnswer,
    Step,
    Success,
    name_of,
    text_of,
)

# RFC 7628 section 3.1: a header of GS2, then pairs that end with \1, then one more.
_client_response = re.compile(
    r"[ny],(?:a=((?:[^\x00\x01,=]|=2C|=3D)+))?,\x01((?:[A-Za-z]+=[\t\n\r -~]*\x01)*)\x01"
).fullmatch
_credentials = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] *([A-Za-z0-9._~+/-]*=*)").fullmatch  # RFC 6750 section 2.1
KVSEP: Final = b"\1"


async def _nobody() -> SourceAnswer:
    return SourceAnswer(None)


class SourcePlain:
    """One message → NeedSource → Success. `check` gets the localpart and the password."""

    def __init__(self, check: Callable[[str, str], Awaitable[SourceAnswer]], context: SaslContext) -> None:
        self._check = check
        self._context = context
        self._name: Name | None = None
        self._asked = False

    def respond(self, data: bytes) -> Step:
        """See `Exchange.respond`."""
        if self._asked:
            raise SaslFailure("malformed-request", "message out of turn")
        self._asked = True
        authzid, username, password = read_plain(data)
        self._name = name_of(username, authzid, self._context.domain, self._context.header_from)
        prepared, check = self._name.prepared, self._check
        if prepared is None:
            return NeedSource(username, _nobody)
        return NeedSource(prepared, lambda: check(prepared, password))

    def credentials(self, found: str | None) -> Step:
        """See `Exchange.credentials`."""
        if self._name is None:
            raise LocalError("no source was asked")
        if found is None or found != self._name.prepared:
            raise SaslFailure("not-authorized")
        return Success(found)

    def checked(self, ok: bool) -> Success:
        """See `Exchange.checked`."""
        raise LocalError("no check was asked for")


class OAuthBearer:
    """One message → NeedSource → Success; or a challenge that says why not and where tokens are to be had, which the
    client answers with \\1 (section 3.2.3), and then the failure. Who sends no token asks just for that.

    `check` gets the token; `discovery` and `scope`: see `contracts.identity.Authenticator`.
    """

    def __init__(
        self,
        check: Callable[[str], Awaitable[SourceAnswer]],
        discovery: str,
        scope: str,
        context: SaslContext,
    ) -> None:
        self._check = check
        self._discovery = discovery
        self._scope = scope
        self._context = context
        self._wanted: str | None = None
        """The localpart that the client wants to sign in as, None for that of the token."""
        self._waits_for = "message"

    def respond(self, data: bytes) -> Step:
        """See `Exchange.respond`."""
        if self._waits_for == "end":
            raise SaslFailure("not-authorized" if data == KVSEP else "malformed-request")
        if self._waits_for != "message":
            raise SaslFailure("malformed-request", "message out of turn")
        self._waits_for = ""
        authzid, token = self._read(data)
        if authzid:
            local = authzid.rpartition("@")[0]
            self._wanted = name_of(local, authzid, self._context.domain, self._context.header_from).prepared
        if not token:
            return self._refuse("invalid_request")
        self._waits_for = "source"
        check = self._check
        if self._wanted is not None:
            return NeedSource(self._wanted, lambda: check(token))
        # Nobody is named, so what fails again and again is the token.
        stands_for = "token-" + hashlib.sha256(token.encode()).hexdigest()[:32]
        return NeedSource(stands_for, lambda: check(token), named=False)

    def credentials(self, found: str | None) -> Step:
        """See `Exchange.credentials`."""
        if self._waits_for != "source":
            raise LocalError("no source was asked")
        if found is None or self._wanted not in (None, found):
            return self._refuse("invalid_token")
        self._waits_for = ""
        return Success(found)

    def checked(self, ok: bool) -> Success:
        """See `Exchange.checked`."""
        raise LocalError("no check was asked for")

    @staticmethod
    def _read(data: bytes) -> tuple[str, str]:
        """The authorization identity and the token, "" for none. Raises SaslFailure."""
        if data == KVSEP:
            return "", ""
        found = _client_response(text_of(data))
        if found is None:
            raise SaslFailure("malformed-request", "not an OAUTHBEARER message")
        pairs = [pair.partition("=")[::2] for pair in found[2].split("\1") if pair]
        given = [value for key, value in pairs if key == "auth"]
        if len(given) > 1:
            raise SaslFailure("malformed-request", "two tokens")
        authzid = (found[1] or "").replace("=2C", ",").replace("=3D", "=")
        if not given or not given[0]:
            return authzid, ""
        bearer = _credentials(given[0])
        if bearer is None:
            raise SaslFailure("malformed-request", "no bearer token")
        return authzid, bearer[1]

    def _refuse(self, status: str) -> Challenge:
        """Section 3.2.2."""
        self._waits_for = "end"
        said: dict[str, Any] = {"status": status}
        if self._scope:
            said["scope"] = self._scope
        if self._discovery:
            said["openid-configuration"] = self._discovery
        return Challenge(json.dumps(said).encode())
