"""Large bodies over HTTP: how much of them is in memory, and which slowness is whose."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.core.http_place import running, until
from xmppd.net import http_connection, http_message
from xmppd.net.http_server import HttpBounds

TEN_GB = 10_000_000_000
PUT = b"PUT /slow HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"


async def test_a_body_of_any_size_waits_at_the_client_while_the_handler_is_slow() -> None:
    async with running() as it:
        peer = await it.connect()
        peer.write(PUT % TEN_GB)
        sent, piece = 0, bytes(1 << 20)
        peer.writer.transport.set_write_buffer_limits(1 << 20)
        while True:
            peer.write(piece)
            try:
                async with asyncio.timeout(0.3):
                    await peer.writer.drain()
            except TimeoutError:
                break
            sent += len(piece)
            assert sent < 64 << 20, "nobody stops the client"
        await until(lambda: it.taken > 0)
        assert it.taken < 1 << 20
        it.go_on.set()
        await peer.writer.drain()
        await until(lambda: it.taken > sent)
        assert it.memory.incoming == 0
        peer.writer.transport.abort()
        await until(lambda: not it.server.connections)


async def test_the_slowness_of_the_handler_is_not_the_clients() -> None:
    async with running(HttpBounds(body_time=0.2)) as it:
        peer = await it.connect()
        peer.write(PUT % 4 + b"ab")
        await until(lambda: it.taken == 2)
        await asyncio.sleep(0.4)
        it.go_on.set()
        await asyncio.sleep(0.05)
        peer.write(b"cd")
        assert (await peer.answer())[::2] == (200, b"4")


async def test_a_long_body_is_not_cut_and_one_that_stands_still_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much has come before."""
    monkeypatch.setattr(http_message, "SLOWEST", 100)
    async with running(HttpBounds(body_time=0.3)) as it:
        it.go_on.set()
        peer = await it.connect()
        peer.write(PUT % 1000)
        for _ in range(40):  # 200 B/s for three times as long as it may stand still
            peer.write(bytes(5))
            await asyncio.sleep(0.025)
        assert it.taken >= 150
        peer.write(bytes(500))
        status, headers, _ = await asyncio.wait_for(peer.answer(), 3)
        assert (status, headers["connection"]) == (408, "close")


async def test_a_body_in_drops_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_message, "SLOWEST", 1000)
    async with running(HttpBounds(body_time=0.3)) as it:
        it.go_on.set()
        peer = await it.connect()
        peer.write(PUT % 1000)
        answer = asyncio.create_task(peer.answer())
        while not answer.done():
            peer.write(b"x")
            await asyncio.sleep(0.02)
        assert (await answer)[0] == 408
        assert it.taken < 100


async def test_an_answer_that_is_taken_slowly_is_not_cut(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(http_connection, "TAKE_TIME", 0.3)
    caplog.set_level(logging.INFO)
    async with running() as it:
        peer = await it.connect()
        peer.write(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        left = 8 << 20
        await peer.reader.readuntil(b"\r\n\r\n")
        while left > 0:  # 1.2 seconds
            left -= len(await peer.reader.readexactly(min(left, 400_000)))
            await asyncio.sleep(0.05)
        peer.writer.close()
    assert "does not take" not in caplog.text
