"""When a session is there: its presence without `to` (RFC 6121 section 4), as far as it is the core's matter.

The core remembers presence and priority and starts the delivery to a session that has come; who else learns of it is
for the provider of `contracts.sessions.PRESENCE`. So messages are delivered whatever that one does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from ..contracts.core import Session
from ..contracts.sessions import AVAILABLE, PRESENCE, SHOWN, UNAVAILABLE, Withdrawal
from ..errors import BadRequest
from ..stanza import Kind, Stanza, tag
from ..xml import CLIENT_NS, children, text_of

log = logging.getLogger("xmppd.sessions")
PRIORITY: Final = tag(CLIENT_NS, "priority")


def priority_of(stanza: Stanza) -> int:
    """RFC 6121 section 4.7.2.3: an integer from -128 to 127, 0 if there is none. Raises BadRequest."""
    if PRIORITY not in stanza.tags:
        return 0
    found = list(children(stanza.xml, CLIENT_NS, "priority"))
    text = text_of(found[0]).strip(" \t\r\n")
    digits = text[1:] if text[:1] in ("-", "+") else text
    if len(found) > 1 or len(found[0]) or not (digits.isascii() and digits.isdigit() and len(digits) <= 10):
        raise BadRequest("a priority is one integer from -128 to 127")
    value = int(text)
    if not -128 <= value <= 127:
        raise BadRequest("a priority is one integer from -128 to 127")
    return value


def appear(session: Session, stanza: Stanza) -> None:
    """It has sent available presence (sections 4.2 and 4.4): others are told, then it catches up."""
    before, served = session.presence, session.receives_messages
    session.presence, session.priority = stanza, priority_of(stanza)
    host = session.host
    rules = host.find(PRESENCE)
    if rules is not None:
        _softly(lambda: rules.broadcast(session, stanza, before))
    if before is None:
        host.tell(AVAILABLE, session)
    host.tell(SHOWN, session)
    if session.ended or session.presence is not stanza:
        return
    if session.receives_messages and not served:
        session.channel.start()
    elif served and not session.receives_messages:
        session.channel.leave()


def leave(session: Session, stanza: Stanza) -> None:
    """It has sent unavailable presence (section 4.5)."""
    if session.receives_messages:
        session.channel.leave()
    before = _withdrawn(session)
    rules = session.host.find(PRESENCE)
    if rules is not None:
        _softly(lambda: rules.broadcast(session, stanza, before))
    if before is not None:
        session.host.tell(UNAVAILABLE, Withdrawal(session, stanza))


def vanish(session: Session) -> None:
    """It ends, and could not say so (section 4.5.2)."""
    before = _withdrawn(session)
    rules = session.host.find(PRESENCE)
    if rules is not None:
        _softly(lambda: rules.became_unavailable(session, before))
    if before is not None:
        stanza = Stanza(Kind.PRESENCE, "unavailable", None, session.jid)
        session.host.tell(UNAVAILABLE, Withdrawal(session, stanza))


def _withdrawn(session: Session) -> Stanza | None:
    before = session.presence
    session.presence, session.priority = None, 0
    return before


def _softly(tell: Callable[[], None]) -> None:
    """What fails in telling others must not keep the session from its messages."""
    try:
        tell()
    except Exception:
        log.exception("presence could not be told")
