"""The server's side of SASL (RFC 4422, RFC 6120 section 6) without I/O.

    exchange = start(mechanism, context)
    step = exchange.respond(decode(text))       Challenge: send it and give the answer to `respond`
                                                NeedCredentials: look up, then `exchange.credentials(found)`
                                                NeedCheck: run it, then `exchange.checked(result)`
                                                Success: signed in as `step.username`
Each of these calls raises SaslFailure when the sign-in has failed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from xmppd.protocol.sasl.codec import decode, encode
from xmppd.protocol.sasl.keys import ITERATIONS, Credentials, ScramKeys, prepare_password
from xmppd.protocol.sasl.plain import Plain
from xmppd.protocol.sasl.scram import Scram
from xmppd.protocol.sasl.steps import (
    Challenge,
    Exchange,
    NeedCheck,
    NeedCredentials,
    SaslContext,
    SaslFailure,
    Step,
    Success,
)

__all__ = [
    "ITERATIONS",
    "Challenge",
    "Credentials",
    "Exchange",
    "NeedCheck",
    "NeedCredentials",
    "SaslContext",
    "SaslFailure",
    "ScramKeys",
    "Step",
    "Success",
    "decode",
    "encode",
    "offered",
    "prepare_password",
    "start",
]

_SCRAM: Final = {
    "SCRAM-SHA-256-PLUS": ("SHA-256", True),
    "SCRAM-SHA-1-PLUS": ("SHA-1", True),
    "SCRAM-SHA-256": ("SHA-256", False),
    "SCRAM-SHA-1": ("SHA-1", False),
}
"""Hash and channel binding by name, strongest first: binding to the channel is worth more than the hash."""


def offered(secure: bool, allow_plain: bool, channel_binding_types: Iterable[str]) -> list[str]:
    """The mechanisms to announce, strongest first (RFC 6120 section 6.3.3).

    Without TLS (`secure` is False) there is neither -PLUS nor PLAIN; whether anyone may sign in there at all
    is the caller's question.
    """
    plus = secure and any(True for _ in channel_binding_types)
    names = [name for name, (_, binds) in _SCRAM.items() if plus or not binds]
    return [*names, "PLAIN"] if secure and allow_plain else names


def start(mechanism_name: str, context: SaslContext) -> Exchange:
    """An exchange for a mechanism that was offered. Raises SaslFailure("invalid-mechanism")."""
    if mechanism_name == "PLAIN":
        return Plain(context)
    if mechanism_name not in _SCRAM:
        raise SaslFailure("invalid-mechanism")
    hash, plus = _SCRAM[mechanism_name]
    if plus and not context.channel_binding:
        raise SaslFailure("invalid-mechanism", "nothing to bind to")
    return Scram(hash, plus, context)
