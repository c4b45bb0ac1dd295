"""Which handler gets a stanza: the tables of group chat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from plugins.muc import (
    HANDLERS,
    LOCKING_HANDLERS,
    bounces,
    join,
    key_of,
    messages,
    messages_to_room,
    occupancy,
    occupant_iqs,
    private_messages,
    subject,
)
from tests.plugins.muc.people import MUC, ROOM
from tests.plugins.muc.rooms import stanza

NICK = f"{ROOM}/romeo"
X = f"<x xmlns='{MUC}'/>"
PING = "<ping xmlns='urn:xmpp:ping'/>"


@pytest.mark.parametrize(
    ("text", "handler"),
    [
        ("<message type='groupchat' to='{}'><body>x</body></message>", messages.handle_groupchat),
        ("<message type='groupchat' to='{}'><subject>s</subject></message>", subject.handle_subject),
        ("<message type='groupchat' to='{}'><subject>s</subject><body>x</body></message>", messages.handle_groupchat),
        ("<message type='error' to='{}'/>", bounces.handle_error),
        (f"<presence to='{{}}'>{X}</presence>", join.handle_join),
        ("<presence to='{}'/>", occupancy.handle_available),
        ("<presence type='unavailable' to='{}'/>", occupancy.handle_unavailable),
        (f"<presence type='unavailable' to='{{}}'>{X}</presence>", occupancy.handle_unavailable),
        ("<presence type='error' to='{}'/>", bounces.handle_error),
        ("<presence type='subscribe' to='{}'/>", None),
        ("<presence type='probe' to='{}'/>", None),
        ("<iq type='result' id='1' to='{}'/>", occupant_iqs.handle_answer),
        ("<iq type='error' id='1' to='{}'/>", occupant_iqs.handle_answer),
    ],
)
@pytest.mark.parametrize("to", [ROOM, NICK])
def test_to_room_and_occupant_alike(text: str, to: str, handler: Callable[..., Any] | None) -> None:
    assert handler_of(text.format(to)) is handler


@pytest.mark.parametrize(
    ("text", "to_room", "to_occupant"),
    [
        (
            "<message type='chat' to='{}'><body>x</body></message>",
            messages_to_room.handle_message,
            private_messages.handle_private_message,
        ),
        (
            "<message to='{}'><body>x</body></message>",
            messages_to_room.handle_message,
            private_messages.handle_private_message,
        ),
        # None: answered from the table of queries.
        (f"<iq type='get' id='1' to='{{}}'>{PING}</iq>", None, occupant_iqs.handle_request),
        (f"<iq type='set' id='1' to='{{}}'>{PING}</iq>", None, occupant_iqs.handle_request),
    ],
)
def test_to_room_or_occupant(text: str, to_room: Callable[..., Any] | None, to_occupant: Callable[..., Any]) -> None:
    assert handler_of(text.format(ROOM)) is to_room
    assert handler_of(text.format(NICK)) is to_occupant


def test_no_stanza_has_two_handlers() -> None:
    assert not HANDLERS.keys() & LOCKING_HANDLERS.keys()


def handler_of(text: str) -> Callable[..., Any] | None:
    parsed = stanza(text)
    assert parsed.to is not None
    key = key_of(parsed, parsed.to)
    return HANDLERS.get(key) or LOCKING_HANDLERS.get(key)
