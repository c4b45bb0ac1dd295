"""Resource binding on a client's stream (RFC 6120 section 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..contracts.sessions import BINDING
from ..errors import BadRequest, ResourceConstraint, StanzaError, StorageUnavailable
from ..stanza import Kind, Stanza
from ..xml import escape, find, text_of
from .negotiation import BIND_NS

if TYPE_CHECKING:
    from ..sessions.session import Session
    from .runtime import NegotiatingClient

FEATURES: Final = (
    f"<bind xmlns='{BIND_NS}'/><session xmlns='urn:ietf:params:xml:ns:xmpp-session'><optional/></session>".encode()
)
"""RFC 3921 clients ask for a session; it is a no-op (draft-cridland-xmpp-session)."""
BIND_TAG: Final = f"{BIND_NS}|bind"


async def bind(stream: NegotiatingClient, resource: str) -> Session | None:
    """A new session for the account that has signed in; "": a resource of the server's choice. None: the stream has
    ended meanwhile. Raises StanzaError."""
    account = stream.account
    assert account is not None
    # Plugins may need to look something up for a new session.
    errors = await stream.host.tell_and_collect_errors(BINDING, account)
    if any(isinstance(error, StorageUnavailable) for error in errors):
        raise ResourceConstraint("the store does not answer now")
    if stream.closed or stream.session is not None:
        return None
    session: Session = stream.server.session_manager.bind(account, resource, stream)
    if stream.closed:  # who was told of the session has ended it
        return None
    stream.bound(session)
    return session


async def answer(stream: NegotiatingClient, stanza: Stanza) -> None:
    """The client's request (section 7.6, 7.7)."""
    try:
        if stanza.type != "set" or not stanza.id:
            raise BadRequest()
        payload = stanza.payload
        assert payload is not None
        session = await bind(stream, text_of(find(payload, BIND_NS, "resource")).strip())
    except StanzaError as error:
        if not stream.closed:
            stream.write(stanza.error(error).data)
        return
    if session is not None:
        inside = f"<bind xmlns='{BIND_NS}'><jid>{escape(session.jid.full)}</jid></bind>".encode()
        stream.write(Stanza(Kind.IQ, "result", None, None, stanza.id, inside, (BIND_TAG,)).data)
