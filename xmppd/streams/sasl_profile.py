"""SASL as RFC 6120 section 6 writes it: the elements around an exchange."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from ..contracts.authentication import SASL, Authentication, NegotiatingStream, SaslFailure, decode, encode
from ..contracts.sign_in import SIGN_IN_TASKS, SignIn, UserAgent
from ..protocol.items import Nonza
from ..xml import escape
from .negotiation import SASL_NS

if TYPE_CHECKING:
    from ..contracts.core import Account
    from ..protocol.sasl import Success

SECOND_FACTOR: Final = (
    "This account has a second factor, which this client cannot ask for. Sign in with one that can (SASL2 tasks)."
)
NO_REQUEST: Final = Nonza(SASL_NS, "auth", {}, b"")
"""What <auth/> asks for beside the sign-in."""
CB_NS: Final = "urn:xmpp:sasl-cb:0"


@lru_cache(64)
def _features(mechanisms: tuple[str, ...], bindings: tuple[str, ...]) -> bytes:
    text = "".join(f"<mechanism>{name}</mechanism>" for name in mechanisms)
    text = f"<mechanisms xmlns='{SASL_NS}'>{text}</mechanisms>"
    if bindings:
        types = "".join(f"<channel-binding type='{name}'/>" for name in bindings)
        text += f"<sasl-channel-binding xmlns='{CB_NS}'>{types}</sasl-channel-binding>"
    return text.encode()


class Rfc6120Profile:
    """A `SaslProfile`."""

    __slots__ = ("stream",)
    namespace = SASL_NS
    blanks = True
    """Forbidden (section 6.3.5), and nothing depends on it any more."""

    def __init__(self, stream: NegotiatingStream) -> None:
        self.stream = stream

    def features(self) -> bytes:
        """The mechanisms (section 6.4.1) and the channel bindings (XEP-0440)."""
        authentication = self.stream.authentication
        return _features(authentication.mechanisms(), authentication.channel_bindings)

    def received(self, nonza: Nonza) -> Awaitable[None] | None:
        """One element of the client. An awaitable: the stream waits for it. Raises StreamError."""
        authentication: Authentication = self.stream.authentication
        try:
            if nonza.name == "auth":
                # No text: there is no initial response; "=": it is empty (section 6.4.2).
                initial = decode(nonza.text) if nonza.text else None
                return authentication.start(self, nonza.attributes.get("mechanism", ""), initial)
            if nonza.name == "response":
                return authentication.respond(self, decode(nonza.text))
        except SaslFailure as failure:
            authentication.fail(self, failure)
            return None
        authentication.fail(self, SaslFailure("aborted" if nonza.name == "abort" else "malformed-request"))
        return None

    def challenge(self, data: bytes) -> None:
        """Section 6.4.3."""
        self.stream.write(f"<challenge xmlns='{SASL_NS}'>{encode(data)}</challenge>".encode())

    def proven(self, account: Account, success: Success) -> bool:
        """Nothing more can be asked for here: where it must be, nobody signs in this way. Raises SaslFailure."""
        authentication = self.stream.authentication
        sign_in = SignIn(self.stream, NO_REQUEST, authentication.mechanism.name, SASL, UserAgent())
        sign_in.account, sign_in.proof = account, success.proof
        if self.stream.host.gather(SIGN_IN_TASKS, sign_in):
            raise SaslFailure("mechanism-too-weak", "a second factor is needed", advice=SECOND_FACTOR)
        return False

    def succeeded(self, account: Account, data: bytes) -> None:
        """Section 6.4.6: the client opens a new stream."""
        self.stream.write(f"<success xmlns='{SASL_NS}'>{encode(data) if data else ''}</success>".encode())
        self.stream.restart()

    def failed(self, failure: SaslFailure) -> None:
        """Section 6.4.5."""
        text = f"<text xml:lang='en'>{escape(failure.advice)}</text>" if failure.advice else ""
        self.stream.write(f"<failure xmlns='{SASL_NS}'><{failure.condition}/>{text}</failure>".encode())
