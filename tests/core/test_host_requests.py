"""IQs that a host itself sends: answered by who was asked, or after a time by nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.core.parts import Core
from xmppd.hosts.requests import ANSWER_TIME
from xmppd.jid import JID
from xmppd.stanza import Stanza, iq
from xmppd.xml import E

JULIET = JID.parse("juliet@localhost/phone")


@pytest.fixture
async def core() -> AsyncIterator[Core]:
    core = await Core().open()
    yield core
    await core.close()


def answer(asked: Stanza, sender: JID, type: str = "result") -> Stanza:
    return iq(type, asked.id, to=asked.sender, sender=sender)


async def test_an_answer_from_who_was_asked(core: Core) -> None:
    got: list[Stanza | None] = []
    core.host.ask(JULIET, E("query", "urn:test"), got.append)
    (asked,) = core.router.delivered
    assert (asked.type, asked.to, asked.sender) == ("get", JULIET, core.host.jid)
    result = answer(asked, JULIET)
    core.host.answered(result)
    core.host.answered(result)
    assert got == [result], "once"
    await core.advance(ANSWER_TIME + 1)
    assert got == [result], "and not again when its time is over"


@pytest.mark.parametrize("other", ["juliet@localhost", "juliet@localhost/tablet", "localhost"])
async def test_nobody_else_can_answer(core: Core, other: str) -> None:
    got: list[Stanza | None] = []
    core.host.ask(JULIET, E("query", "urn:test"), got.append, "set")
    (asked,) = core.router.delivered
    core.host.answered(answer(asked, JID.parse(other)))
    core.host.answered(iq("result", "another", sender=JULIET))
    core.host.answered(Stanza(asked.kind, "result", core.host.jid, None, asked.id, b"", ()))
    assert got == [] and asked.type == "set"
    error = answer(asked, JULIET, "error")
    core.host.answered(error)
    assert got == [error]


async def test_no_answer(core: Core) -> None:
    got: list[Stanza | None] = []
    ids = [core.host.expect(JULIET, got.append, seconds) for seconds in (5.0, 10.0)]
    assert len(set(ids)) == 2 and core.router.delivered == [], "the caller sends it"
    await core.advance(5.0)
    assert got == [None]
    core.host.answered(iq("result", ids[0], sender=JULIET))
    assert got == [None], "too late"
