"""XEP-0478: what is announced is what holds."""

from __future__ import annotations

import pytest

from tests.harness import Harness

NS = "urn:xmpp:stream-limits:0"


@pytest.mark.server(more="limits: {after_sign_in: {size: 20000}, before_sign_in: {size: 9000}}")
async def test_it_says_what_holds(server: Harness) -> None:
    stranger = server.connect()
    stranger.open()
    features = await stranger.receive()
    assert features.findtext(f"{{{NS}}}limits/{{{NS}}}max-bytes") == "9000"
    stranger.send(f"<x xmlns='urn:x'>{'x' * 9000}</x>")
    assert await stranger.stream_error() == "policy-violation"
    romeo = await server.login("romeo")
    limits = romeo.features.find(f"{{{NS}}}limits")
    assert limits is not None
    size = int(str(limits.findtext(f"{{{NS}}}max-bytes")))
    assert size == 20_000
    assert int(str(limits.findtext(f"{{{NS}}}idle-seconds"))) == int(server.server.limits.ping_after)
    empty = "<message to='juliet@localhost'><body></body></message>"
    await server.register("juliet")
    romeo.send(empty.replace("><body>", f"><body>{'x' * (size - len(empty))}"))
    await romeo.silence()
    romeo.send(empty.replace("><body>", f"><body>{'x' * (size - len(empty) + 1)}"))
    assert (await romeo.receive()).get("type") == "error"
