"""The end of all streams at a stop: it waits for the disk, and not for who is silent (docs/explanation/delivery.md)."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

import xmppd.server.shutdown as module
from tests.core.test_budget import session
from tests.core.test_delivery import SM, bodies, enable, say
from tests.harness import Harness
from xmppd.contracts.sessions import STREAM_ENDING
from xmppd.hooks import on
from xmppd.plugin import NoConfig, Plugin
from xmppd.server.shutdown import StreamShutdown
from xmppd.sessions.session import Session


class LastWords(Plugin[NoConfig]):
    """Says something on each stream that the server ends."""

    @on(STREAM_ENDING)
    def ending(self, session: Session) -> None:
        session.nonza(b"<bye xmlns='urn:test'/>")


async def stop(server: Harness, stop_time: float = 2.0) -> None:
    server.server.limits = replace(server.server.limits, stop_time=stop_time)
    await StreamShutdown(server.server).run()


async def test_all_streams_end_and_plugins_have_the_last_word(server: Harness) -> None:
    server.host.add("lastwords", LastWords(server.host, NoConfig()))
    romeo, stranger = await server.login("romeo"), server.connect()
    stranger.open()
    await stranger.receive_all()
    await stop(server)
    assert server.server.stopping
    found = await romeo.receive_all()
    assert found[0].tag == "{urn:test}bye"
    assert await stranger.stream_error() == "system-shutdown"
    assert romeo.closed and stranger.closed


async def test_a_session_that_can_be_resumed_waits_the_others_end(server: Harness) -> None:
    romeo, juliet = await server.login("romeo", "phone"), await server.login("juliet", "phone")
    await enable(romeo)
    waits, ends = session(server, romeo), session(server, juliet)
    await stop(server)
    await server.quiet()
    assert not waits.ended and waits in server.server.session_manager.detached
    assert ends.ended


async def test_it_waits_for_the_disk(server: Harness) -> None:
    """What was read is acknowledged before the stream ends."""
    romeo = await server.login("romeo")
    await enable(romeo)
    await server.register("juliet")
    server.backend.hold()
    say(romeo, "juliet@localhost", "one")
    romeo.send(f"<r xmlns='{SM}'/>")
    await romeo.receive_all()
    ending = asyncio.ensure_future(stop(server))
    await asyncio.sleep(3 * module.LOOK)
    assert not romeo.closed and not ending.done()
    server.backend.release()
    await ending
    assert "1" in [each.get("h") for each in await romeo.receive_all()]


async def test_it_does_not_wait_for_ever(
    server: Harness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "WORK_WITHIN", 2 * module.LOOK)
    romeo = await server.login("romeo")
    await server.register("juliet")
    server.backend.hold()
    say(romeo, "juliet@localhost", "one")
    await server.quiet()
    await stop(server)
    assert "stanzas that are not settled" in caplog.text
    await server.quiet()
    assert romeo.closed
    server.backend.release()


async def test_who_cannot_resume_is_asked_what_it_has(server: Harness) -> None:
    """What it answers for is not sent again."""
    romeo, juliet = await server.login("romeo"), await server.login("juliet", presence=True)
    for text in ("one", "two"):
        say(romeo, "juliet@localhost", text)
        assert bodies(await juliet.receive_all()) == [text]
    assert juliet.pings == 1, "the second is asked for a moment later, with what comes until then"
    await stop(server)
    assert juliet.pings == 2
    cursor = server.host.account("juliet@localhost").cursor
    assert cursor.in_flight == {} and cursor.position == cursor.account.released


async def test_who_is_silent_is_sent_it_again(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    romeo, juliet = await server.login("romeo"), await server.login("juliet", presence=True)
    juliet.answers_pings = False
    say(romeo, "juliet@localhost", "one")
    await juliet.receive_all()
    with caplog.at_level(logging.INFO):
        await stop(server, stop_time=2 * module.LOOK)
    await server.quiet()
    assert "1 clients have not said what they have" in caplog.text
    cursor = server.host.account("juliet@localhost").cursor
    assert juliet.closed and cursor.first_pending
