"""XEP-0202."""

from __future__ import annotations

from tests.harness import Harness

NS = "{urn:xmpp:time}"


async def test_time(server: Harness) -> None:
    romeo = await server.login("romeo")
    await server.advance(1.5)
    for domain in ("localhost", "conference.localhost"):
        answer = await romeo.iq("<time xmlns='urn:xmpp:time'/>", to=domain)
        assert answer[0].findtext(NS + "tzo") == "+00:00"
        assert answer[0].findtext(NS + "utc") == "2023-11-14T22:13:21Z"
