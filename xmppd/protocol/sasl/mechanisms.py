"""Mechanisms: what they need, and which are announced (RFC 6120 sections 6.3.3 and 6.4.1)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from xmppd.jid import JID
from xmppd.protocol.sasl.keys import Credentials
from xmppd.protocol.sasl.plain import Plain
from xmppd.protocol.sasl.scram import Scram
from xmppd.protocol.sasl.steps import Exchange, SaslContext

LookUp = Callable[[JID, Credentials | None, Any], Awaitable[Any]]
SASL: Final = "sasl"


@dataclass(frozen=True, slots=True, eq=False)
class Mechanism:
    """One SASL mechanism, as the server has it. Equal to itself only: tuples of them are keys of tables.

    `strength`: stronger ones are announced first. `start`: a new exchange.
    `binds`: it needs a channel binding; `binding`: of that type, "" for any. `secret`: it tells its secret, or what is
    as good, so the stream has to be encrypted.
    `listed_in`: the list that announces it: "sasl" is that of RFC 6120 and XEP-0388, others are a plugin's own.
    `look_up`: what the exchange is given in answer to NeedCredentials, for the bare JID that it names (of an account
    or not; it must take the same time), its credentials and `SaslContext.request`; None: these `Credentials`. Raises
    StorageUnavailable.
    """

    name: str
    strength: int
    start: Callable[[SaslContext], Exchange]
    binds: bool = False
    secret: bool = False
    listed_in: str = SASL
    look_up: LookUp | None = None
    binding: str = ""


BUILT_IN: Final = (
    # Binding to the channel is worth more than the hash.
    Mechanism("SCRAM-SHA-256-PLUS", 60, partial(Scram, "SHA-256", True), binds=True),
    Mechanism("SCRAM-SHA-1-PLUS", 50, partial(Scram, "SHA-1", True), binds=True),
    Mechanism("SCRAM-SHA-256", 40, partial(Scram, "SHA-256", False)),
    Mechanism("SCRAM-SHA-1", 30, partial(Scram, "SHA-1", False)),
    Mechanism("PLAIN", 10, Plain, secret=True),
)

SCRAM_SHA_512: Final = (
    Mechanism("SCRAM-SHA-512-PLUS", 65, partial(Scram, "SHA-512", True), binds=True),
    Mechanism("SCRAM-SHA-512", 45, partial(Scram, "SHA-512", False)),
)
"""Offered where every account has the keys: clients take the strongest, and an account without would be locked out."""


def offered(
    mechanisms: Iterable[Mechanism], secure: bool, channel_binding_types: Collection[str], listed_in: str = SASL
) -> tuple[Mechanism, ...]:
    """The mechanisms of a list to announce, strongest first.

    Without TLS (`secure` is False) there is neither -PLUS nor PLAIN; whether anyone may sign in there at all
    is the caller's question.
    """
    able = (
        each
        for each in mechanisms
        if each.listed_in == listed_in
        and (secure or not each.secret)
        and (not each.binds or (secure and channel_binding_types))
        and (not each.binding or each.binding in channel_binding_types)
    )
    return tuple(sorted(able, key=lambda each: -each.strength))
