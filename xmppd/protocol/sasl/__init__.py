"""The server's side of SASL (RFC 4422, RFC 6120 section 6) without I/O.

    exchange = mechanism.start(context)
    step = exchange.respond(decode(text))       Challenge: send it and give the answer to `respond`
                                                NeedCredentials: look up, then `exchange.credentials(found)`
                                                NeedCheck: run it, then `exchange.checked(result)`
                                                NeedSource: ask it, then `exchange.credentials(username)`
                                                Success: signed in as `step.username`
Each of these calls raises SaslFailure when the sign-in has failed.
"""

from __future__ import annotations

from xmppd.protocol.sasl.codec import decode, encode
from xmppd.protocol.sasl.keys import HASHES, ITERATIONS, Credentials, ScramKeys, prepare_password
from xmppd.protocol.sasl.mechanisms import BUILT_IN, SASL, SCRAM_SHA_512, Mechanism, offered
from xmppd.protocol.sasl.sources import OAuthBearer, SourcePlain
from xmppd.protocol.sasl.steps import (
    Challenge,
    Exchange,
    NeedCheck,
    NeedCredentials,
    NeedSource,
    SaslContext,
    SaslFailure,
    SourceAnswer,
    Step,
    Success,
)

__all__ = [
    "BUILT_IN",
    "HASHES",
    "ITERATIONS",
    "SASL",
    "SCRAM_SHA_512",
    "Challenge",
    "Credentials",
    "Exchange",
    "Mechanism",
    "NeedCheck",
    "NeedCredentials",
    "NeedSource",
    "OAuthBearer",
    "SaslContext",
    "SaslFailure",
    "ScramKeys",
    "SourceAnswer",
    "SourcePlain",
    "Step",
    "Success",
    "decode",
    "encode",
    "offered",
    "prepare_password",
]
