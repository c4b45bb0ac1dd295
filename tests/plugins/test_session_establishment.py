"""Clients of RFC 3921, and web clients, ask for a session behind binding."""

from __future__ import annotations

import pytest

from tests.harness import Harness


@pytest.mark.parametrize("to", ["localhost", "romeo@localhost"])
async def test_a_session_is_there(server: Harness, to: str) -> None:
    romeo = await server.login("romeo")
    answer = await romeo.iq("<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>", "set", to)
    assert (answer.get("type"), len(answer)) == ("result", 0)
