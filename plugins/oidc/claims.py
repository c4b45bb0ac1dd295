"""What a token says, and whether it is good for this host. Nothing here is believed before its signature was checked,
or before the issuer has said it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from xmppd.contracts.identity import Identity, TokenExpired
from xmppd.errors import MalformedJid
from xmppd.jid import prepare_domain, prepare_local

from .options import Config

OTHER_KINDS: Final = frozenset(("id", "refresh", "offline", "logout"))
"""Values of `typ` inside a token (Keycloak) that is no access token."""
GROUPS: Final = 200


class Unfit(Exception):
    """The token is not good here. The text is for the log."""


def identity_of(claims: Mapping[str, Any], config: Config, domain: str, now: float) -> Identity:
    """Who has a token of these claims. `now`: seconds since 1970 UTC. Raises Unfit, TokenExpired."""
    required = config.tokens == "keys"
    if (required or "iss" in claims) and claims.get("iss") != config.issuer:
        raise Unfit("it is of another issuer")
    if config.audience and not set(_texts(claims.get("aud"))) & set(config.audience):
        raise Unfit("it is for another service")
    if str(claims.get("typ", "")).lower() in OTHER_KINDS:
        raise Unfit("it is no access token")
    scopes = claims.get("scope", claims.get("scp"))
    if not set(config.scope.split()) <= set(scopes.split() if isinstance(scopes, str) else _texts(scopes)):
        raise Unfit("it is not good for what is asked")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= 1000 or not _is_unicode(subject):
        raise Unfit("it does not say whose it is")
    username = _username(claims, config, domain)
    _check_times(claims, config, now, required)
    named = (each[:200] for each in _texts(claims.get(config.groups)) if _is_unicode(each))
    groups = tuple(sorted(set(named)))[:GROUPS]
    return Identity(username, subject, _text(claims, config.display_name), _text(claims, config.mail), groups)


def _check_times(claims: Mapping[str, Any], config: Config, now: float, required: bool) -> None:
    leeway = float(config.leeway)
    times = {name: _time(claims, name) for name in ("exp", "nbf", "iat")}
    expires, not_before, issued = times["exp"], times["nbf"], times["iat"]
    if any(each is not None and each > now + leeway for each in (not_before, issued)):
        raise Unfit("its time has not come")
    if expires is None and required:
        raise Unfit("it does not say when it expires")
    if expires is not None and expires <= now - leeway:
        raise TokenExpired


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    """Seconds since 1970 UTC; None: it is not said. Raises Unfit."""
    value = claims.get(name)
    if value is None:
        return None
    try:
        found = math.nan if isinstance(value, bool) or not isinstance(value, int | float) else float(value)
    except OverflowError:  # JSON knows whole numbers without end
        found = math.nan
    if not math.isfinite(found):
        raise Unfit(f"{name} is no time")
    return found


def _username(claims: Mapping[str, Any], config: Config, domain: str) -> str:
    """The localpart. Raises Unfit."""
    given = claims.get(config.username)
    if not isinstance(given, str):
        raise Unfit(f"{config.username} is no name")
    if config.username == "email" and claims.get("email_verified") is not True:
        raise Unfit("the mail address is not verified")
    local, at, host = given.rpartition("@")
    try:
        if at and prepare_domain(host) != domain:
            raise Unfit("the name is of another domain")
        return prepare_local(local if at else given)
    except MalformedJid:
        raise Unfit("the name can be none of an account") from None


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    return value[:1000] if isinstance(value, str) and _is_unicode(value) else ""


def _is_unicode(text: str) -> bool:
    """JSON can spell half of a surrogate pair, which can be stored nowhere."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _texts(value: Any) -> list[str]:
    """A text, or a list of them."""
    if isinstance(value, str):
        return [value]
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
