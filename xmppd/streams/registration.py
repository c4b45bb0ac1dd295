"""Registration on a client's stream that is not signed in (XEP-0077 section 3.1, XEP-0445). A plugin answers."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from ..contracts.registration import REGISTRATION
from ..errors import ResourceConstraint, StanzaError, StorageUnavailable, StreamError

if TYPE_CHECKING:
    from ..contracts.authentication import NegotiatingStream
    from ..stanza import Stanza


def received(stream: NegotiatingStream, stanza: Stanza) -> Awaitable[None]:
    """A request of a stranger. Raises StreamError where registration is closed."""
    registration = stream.host.find(REGISTRATION)
    if registration is None or not registration.open:
        raise StreamError("not-authorized")
    return _answer(stream, stanza, registration.before_sign_in(stanza, stream))


async def _answer(stream: NegotiatingStream, stanza: Stanza, work: Awaitable[Stanza]) -> None:
    try:
        answer = await work
    except StanzaError as error:
        answer = stanza.error(error)
    except StorageUnavailable:
        answer = stanza.error(ResourceConstraint("the store does not answer now"))
    stream.write(answer.data)
