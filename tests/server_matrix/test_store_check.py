"""`xmppd store check` over every kind of store."""

from __future__ import annotations

from tests.harness.store_check import findings, problems
from tests.server_matrix.harness import RealHarness
from xmppd.clock import microseconds
from xmppd.storage.api import MapPut

DAY = 86_400_000_000


async def test_a_busy_server_and_what_is_wrong_in_its_store(server: RealHarness, url: str) -> None:
    romeo = await server.login("romeo", presence=True)
    juliet = await server.login("juliet", presence=True)
    for number in range(60):
        romeo.send(f"<message to='juliet@localhost' type='chat' id='m{number}'><body>{number}</body></message>")
    juliet.send(
        "<message to='romeo@localhost' type='chat'><displayed xmlns='urn:xmpp:chat-markers:0' id='m20'/></message>"
    )
    await server.eventually(lambda: len(juliet.inbox) == 60)
    await server.host.plugins["inbox"].counter.store.flush()
    await server.host.cursor_writer.flush()
    assert await findings(server) == []

    owners = [f"nobody-{number:04}@localhost" for number in range(20 if url.startswith("mongodb") else 210)]
    await server.storage.commit_each(
        [MapPut("vcard", owner, "", {"xml": "<vCard xmlns='vcard-temp'/>"})] for owner in owners
    )
    later = microseconds(server.clock) + 3 * DAY
    await server.storage.commit_each(
        [
            [MapPut("cursor", "juliet@localhost", "", {"position": later})],
            [MapPut("blocklist", "romeo@localhost", "a@b", {"when": "now"})],
        ]
    )
    found = await problems(server)
    assert {line.partition(":")[0] for line in found} == {*owners, "juliet@localhost", "romeo@localhost"}
    assert len(found) == len(owners) + 2
    assert len(await problems(server, "juliet@localhost")) == 1
    assert await problems(server, "nobody-0000@localhost") == [
        "nobody-0000@localhost: vcard: it is there, and its owner is not"
    ]
