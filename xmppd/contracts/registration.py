"""Accounts that strangers make (XEP-0077), and invitations (XEP-0401): who has one may register, and becomes a contact
of who made it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from ..jid import JID
from ..service import Service
from ..stanza import Stanza
from ..storage.api import Write
from ..xep.forms import Field, Submitted
from .authentication import NegotiatingStream

PREAUTH_NS: Final = "urn:xmpp:pars:0"
"""Of <preauth/>, which carries the token of an invitation (XEP-0379, XEP-0445)."""
INVALID: Final = "The provided token is invalid or expired"
"""What is said of every token that does not work, whatever the reason."""
Create = Callable[[Sequence[Write]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Admission:
    """An invitation was shown that is good for an account. Whether it has expired since is not asked again (XEP-0445
    section 4).

    `key`: of the invitation in the store. `username`: the only name that can be taken, "" for any. `inviter`: a bare
    JID, "" if an administrator has made it for no account.
    """

    key: str
    username: str = ""
    inviter: str = ""


class Invitations(Protocol):
    """What registration asks of them. Tokens are secrets, and are not stored."""

    async def admit(self, token: str) -> Admission:
        """Look at a token; that uses nothing up. Raises ItemNotFound, the same for all that do not work, and
        StorageUnavailable."""
        ...

    async def redeem(self, admission: Admission, jid: JID, create: Create) -> None:
        """Use it once, for the new account `jid`: `create` commits the account together with the writes that it is
        given. Of two at the same moment one wins. Raises ItemNotFound, and what `create` raises."""
        ...

    async def holds(self, jid: JID, admission: Admission | None) -> bool:
        """Whether a name is kept for an invitation that is not this one. Raises StorageUnavailable."""
        ...


INVITATIONS = Service[Invitations]("invitations")


class RegistrationStep(Protocol):
    """Something that strangers without an invitation prove before they get an account, such as a phone number.

    Its fields stand in the form for registration. A form without the proof begins the step; what its person then has is
    sent in a second one, on the same stream or on another.
    """

    def fields(self) -> Sequence[Field]:
        """For the form."""
        ...

    def proof_fields(self) -> Sequence[Field]:
        """For the second form: what was not to be known before."""
        ...

    def applies(self, form: Submitted | None) -> bool:
        """Whether who sends this form has to prove something."""
        ...

    def has_proof(self, form: Submitted | None) -> bool:
        """Whether the form brings the proof. Then nobody is asked whether he is a person (XEP-0158): the step itself
        sees to it that nobody guesses."""
        ...

    @property
    def begun(self) -> tuple[str, str]:
        """(namespace, name) of the condition that tells clients that the proof is on its way."""
        ...

    def begin(self, form: Submitted | None, peer: str) -> Awaitable[str]:
        """Let who asks from IP address `peer` have the proof; what to tell him. Raises StanzaError,
        StorageUnavailable."""
        ...

    def finish(self, form: Submitted | None, jid: JID, create: Create) -> Awaitable[None]:
        """Make the account `jid` if the proof is good: `create` commits it together with the writes that it is given.
        Of two with one proof one wins. Raises NotAcceptable, the same for every proof that is not, StorageUnavailable,
        and what `create` raises; then the proof is still good."""
        ...


REGISTRATION_STEP = Service[RegistrationStep]("registration-step")


class Registration(Protocol):
    """Accounts that strangers make: in-band (XEP-0077) on a stream that is not signed in, or on a page."""

    @property
    def open(self) -> bool:
        """Whether strangers can register, be it with an invitation only."""
        ...

    @property
    def for_everybody(self) -> bool:
        """Whether they can without an invitation."""
        ...

    @property
    def waits(self) -> bool:
        """Whether who registers without an invitation cannot sign in until an administrator has said yes."""
        ...

    def before_sign_in(self, stanza: Stanza, stream: NegotiatingStream) -> Awaitable[Stanza]:
        """Answer a jabber:iq:register IQ of a stranger, or one that shows an invitation (XEP-0445). Raises
        StanzaError."""
        ...

    def register(self, name: str, password: str, peer: str, admission: Admission) -> Awaitable[JID]:
        """Make an account for who comes from IP address `peer` with an invitation. Raises StanzaError,
        StorageUnavailable."""
        ...

    def count_attempt(self, peer: str) -> None:
        """A try of an IP address that led to nothing. Raises ResourceConstraint beyond the limit."""
        ...


REGISTRATION = Service[Registration]("registration")
