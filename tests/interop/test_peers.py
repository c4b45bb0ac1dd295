"""The peers talk to each other, so what fails with ours is ours."""

from __future__ import annotations

import pytest

from tests.interop.conftest import Members
from tests.interop.peers import Federation


@pytest.mark.parametrize("starts", ["prosody", "ejabberd"])
async def test_peers_talk_to_each_other(federation: Federation, members: Members, starts: str) -> None:
    juliet = await members.login(federation.prosody, "juliet")
    nurse = await members.login(federation.ejabberd, "nurse")
    first, second = (juliet, nurse) if starts == "prosody" else (nurse, juliet)
    first.say(str(second.boundjid), "what news?")
    heard = await second.hear()
    assert (str(heard["from"]), heard["body"]) == (str(first.boundjid), "what news?")
    second.say(str(first.boundjid), "good news")
    assert (await first.hear())["body"] == "good news"
