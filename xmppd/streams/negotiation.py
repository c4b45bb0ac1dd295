"""The negotiation of a client as one table: what it may send in each state, and where it goes from there (RFC 6120
sections 4.3, 5 to 7). `client` does what stands here."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

TLS_NS: Final = "urn:ietf:params:xml:ns:xmpp-tls"
SASL_NS: Final = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND_NS: Final = "urn:ietf:params:xml:ns:xmpp-bind"


class _Word(enum.Enum):
    """One of a few. A key of tables: hashed by identity, which costs no call (Enum's own hash does)."""

    __hash__ = object.__hash__


class State(_Word):
    CLEAR = "clear"
    """Before TLS, where it is required."""
    STRANGER = "stranger"
    """Nobody else can read along; not signed in."""
    SIGNED_IN = "signed-in"
    BOUND = "bound"
    """It has a session, and every stanza goes to the router."""
    CLOSED = "closed"


class Event(_Word):
    SECURED = "secured"
    """The TLS handshake is done."""
    SIGNED_IN = "signed in"
    BOUND = "bound"
    """A resource was bound, or a session resumed."""
    ENDED = "ended"


class Step(_Word):
    """What the core itself negotiates."""

    START_TLS = "starttls"
    AUTHENTICATE = "authenticate"
    REGISTER = "register"
    BIND = "bind"


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds in one state. What is named nowhere ends the stream."""

    next: Mapping[Event, State]
    offers: tuple[Step, ...] = ()
    """In <stream:features/>, in this order."""
    elements: Mapping[str, Step] = field(default_factory=dict)
    """Elements that are no stanzas, by "namespace|name" or by namespace."""
    requests: Mapping[str, Step] = field(default_factory=dict)
    """Before a session is bound: IQs by the "namespace|name" of their payload."""
    plugins: str = ""
    """The state by which plugins handle other elements (`xmppd.plugin.nonza`) and add features; "": none may."""
    otherwise: str = "not-authorized"
    """The stream error for other elements (RFC 6120 section 4.9.3); for other stanzas it is not-authorized."""


TABLE: Final[Mapping[State, Rules]] = {
    State.CLEAR: Rules(
        next={Event.SECURED: State.STRANGER, Event.ENDED: State.CLOSED},
        offers=(Step.START_TLS,),
        elements={f"{TLS_NS}|starttls": Step.START_TLS},
        otherwise="policy-violation",
    ),
    State.STRANGER: Rules(
        next={Event.SIGNED_IN: State.SIGNED_IN, Event.ENDED: State.CLOSED},
        offers=(Step.AUTHENTICATE,),
        elements={SASL_NS: Step.AUTHENTICATE},
        requests={"jabber:iq:register|query": Step.REGISTER, "urn:xmpp:pars:0|preauth": Step.REGISTER},
        plugins="stranger",
    ),
    State.SIGNED_IN: Rules(
        next={Event.BOUND: State.BOUND, Event.ENDED: State.CLOSED},
        offers=(Step.BIND,),
        requests={f"{BIND_NS}|bind": Step.BIND},
        plugins="signed-in",
    ),
    State.BOUND: Rules(
        next={Event.ENDED: State.CLOSED},
        plugins="bound",
        otherwise="unsupported-stanza-type",
    ),
    State.CLOSED: Rules(next={}),
}
