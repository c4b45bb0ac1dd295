"""slixmpp uploads a file (XEP-0363), and another person fetches it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from slixmpp import JID

from tests.interop.people import WITHIN, Person
from tests.process.server import ServerProcess, configuration

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 1000


@pytest.fixture
async def serving(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    listeners = [{"port": 0}, {"port": 0, "tls": "direct"}, {"kind": "http", "port": 0, "tls": "none"}]
    server = ServerProcess(tmp_path, configuration(listeners=listeners))
    try:
        yield await server.start()
    finally:
        server.kill()
    assert "Traceback" not in server.log, server.log


async def test_a_picture_is_sent(serving: ServerProcess, tmp_path: Path) -> None:
    await serving.account("romeo", "juliet")
    people = [Person(f"{name}@localhost", serving.certificate) for name in ("romeo", "juliet")]
    for person in people:
        person.register_plugin("xep_0363")
        await person.sign_in(serving.port())
        await person.appear()
    romeo, juliet = people
    picture = tmp_path / "très cool.png"
    picture.write_bytes(PICTURE)
    url = await romeo.plugin["xep_0363"].upload_file(
        picture, domain=JID("localhost"), content_type="image/png", timeout=WITHIN
    )
    romeo.say("juliet@localhost", url)
    heard = await juliet.hear()
    async with aiohttp.ClientSession() as http, http.get(heard["body"]) as answer:
        assert (answer.status, answer.content_type, await answer.read()) == (200, "image/png", PICTURE)
    for person in people:
        person.leave()
