"""Options of the plugin."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from xmppd.config import Duration, option

SECRET_VARIABLE: Final = "XMPPD_OIDC_SECRET"
WELL_KNOWN: Final = "/.well-known/openid-configuration"
ALGORITHMS: Final = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
)
"""Signatures by a key pair. With a shared key (HS256) who can check tokens could make them."""


@dataclass(frozen=True)
class Config:
    issuer: str = option(
        doc="Who issues the tokens, exactly as they say it (`iss`), as `https://login.example.org/realms/chat`.", low=1
    )
    audience: tuple[str, ...] = option(
        (), "A token must be for one of these (`aud`). Required, unless the issuer is asked about each token."
    )
    tokens: Literal["keys", "introspection"] = option(
        "keys", "Tokens are checked by the keys of the issuer (JWT), or it is asked about each of them (RFC 7662)."
    )
    username: str = option(
        "preferred_username",
        "What in a token is the name of the account; an address (`anna@example.org`) must be one of this host.",
        low=1,
    )
    display_name: str = option("name", "What in a token is the name for people.")
    mail: str = option("email", "What in a token is the mail address.")
    groups: str = option("groups", "What in a token are the groups.")
    scope: str = option("", "What a token must be good for, separated by blanks, as `xmpp:client:normal`; empty: all.")
    algorithms: tuple[str, ...] = option(
        ("RS256", "PS256", "ES256", "EdDSA", "Ed25519"), "Signatures that count.", low=1, choices=ALGORITHMS
    )
    keys: str = option("", "Address of the keys (JWKS); empty: what the issuer says.")
    keys_lifetime: Duration = option(
        Duration("1 hour"), "How long keys are used before they are fetched again; unknown ones are looked for sooner.",
        low=60, high=604_800,
    )  # fmt: skip
    introspection: str = option("", "Address for questions about tokens; empty: what the issuer says.")
    client_id: str = option("", "As whom the server asks about tokens.")
    client_secret: str = option(
        "", "The secret for that; empty: that of `client_secret_file` or of the environment.", secret=True
    )
    client_secret_file: Path | None = option(
        None,
        f"File with that secret, read anew for each question; null: the variable {SECRET_VARIABLE} of the environment "
        "has it.",
    )
    leeway: Duration = option(Duration("30 seconds"), "By which the clocks may differ.", low=0, high=600)
    local_passwords: bool = option(
        False, "Accounts of this host that have a password sign in with it, too (SCRAM), and registration stays open."
    )
    create: bool = option(True, "Whom the issuer knows gets an account at the first sign-in.")
    sign_in_again: Duration = option(
        Duration("0 seconds"),
        "Nobody can ask the issuer who is still there: so long a sign-in is good, then people show a new token. 0: "
        "without end.",
        low=0,
        high=31_536_000,
    )
    timeout: Duration = option(Duration("5 seconds"), "For each answer of the issuer.", low=1, high=60)

    @property
    def discovery(self) -> str:
        return self.issuer.rstrip("/") + WELL_KNOWN

    @property
    def secret(self) -> str:
        """Raises OSError, UnicodeError."""
        if self.client_secret:
            return self.client_secret
        if self.client_secret_file is not None:
            return self.client_secret_file.read_text().rstrip("\r\n")
        return os.environ.get(SECRET_VARIABLE, "")

    def check(self) -> Iterable[tuple[str, str]]:
        if find_spec("joserfc") is None:
            yield "issuer", "needs the library joserfc: pip install 'xmppd[oidc]'"
        for name, address in (("issuer", self.issuer), ("keys", self.keys), ("introspection", self.introspection)):
            if address and not is_safe(address):
                yield name, f"expected an address such as 'https://login.example.org', got {address!r}"
        if self.tokens == "keys":
            if not self.audience:
                yield "issuer", "needs the option 'audience' as well: tokens for other services would sign in here"
            return
        try:
            if not self.client_id or not self.secret:
                yield "tokens", "needs the options 'client_id' and 'client_secret_file' as well"
        except (OSError, UnicodeError) as error:
            yield "client_secret_file", f"cannot be read: {error}"


def is_safe(address: str) -> bool:
    """Whether what comes from a URL can be believed: https, or this machine."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_here(host))


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
