"""What brings a code to a telephone, and what happens when it does not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from aiohttp import web

from plugins.phone.step import CODE
from tests.harness import Harness, condition, xml
from tests.plugins.test_phone import KEY, OPEN, ROMEO, apply, prove
from tests.plugins.test_register import exists, stranger
from tests.plugins.webhook_signature import is_genuine
from xmppd.hosts.loader import PluginError

SECRET = "s" * 32


class Provider:
    """A real receiver of the webhook, which answers what it is told to."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.codes: list[str] = []

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.requests.append((dict(request.headers), body))
        self.codes.append(str(json.loads(body)["code"]))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 204)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    made = Provider()
    app = web.Application()
    app.router.add_post("/codes", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/codes"
    yield made
    await runner.cleanup()


@pytest.fixture
async def sending(provider: Provider) -> AsyncIterator[Harness]:
    phone: dict[str, Any] = {"key": KEY, "sender": "webhook", "webhook": provider.url, "webhook_secret": SECRET}
    server = Harness({"register": OPEN, "phone": phone})
    await server.start()
    yield server
    await server.stop()


async def test_a_signed_request(sending: Harness, provider: Provider) -> None:
    client, _ = await stranger(sending)
    assert "code was sent" in xml(await apply(client))
    ((headers, body),) = provider.requests
    now = sending.clock.now()
    assert is_genuine(headers, body, SECRET, now) and not is_genuine(headers, body, SECRET, now + 300)
    assert not is_genuine(headers, body + b" ", SECRET, now) and not is_genuine(headers, body, "x" * 32, now)
    assert not is_genuine({**headers, "Xmppd-Timestamp": str(int(now) + 1)}, body, SECRET, now)
    assert headers["Xmppd-Timestamp"] == str(int(sending.clock.now()))
    content = json.loads(body)
    assert content["id"] == headers["Xmppd-Id"] and content["to"] == ROMEO and content["domain"] == "localhost"
    assert content["text"].startswith(f"{content['code']} is your code for localhost")
    assert condition(await prove(client, content["code"])) == ""


async def test_one_more_try_of_the_same(sending: Harness, provider: Provider) -> None:
    provider.statuses = [503]
    client, _ = await stranger(sending)
    assert "code was sent" in xml(await apply(client))
    (first, one), (second, other) = provider.requests
    assert first["Xmppd-Id"] == second["Xmppd-Id"] and one == other, "so that who receives it sends one message"


@pytest.mark.parametrize(
    ("statuses", "wanted", "tries"),
    [([500, 502, 500], "service-unavailable", 2), ([401], "service-unavailable", 1), ([302], "service-unavailable", 1),
     ([422], "not-acceptable", 1)],
)  # fmt: skip
async def test_it_is_not_sent(
    sending: Harness, provider: Provider, statuses: Sequence[int], wanted: str, tries: int
) -> None:
    """The person learns it at once, can try again without a pause, and the code is worth nothing."""
    provider.statuses = [*statuses[:tries]]
    client, _ = await stranger(sending)
    answer = await apply(client)
    assert condition(answer) == wanted and ("sent" in xml(answer) or "number" in xml(answer))
    assert len(provider.requests) == tries
    wrong = await apply(client, **{CODE: provider.codes[0]})
    assert condition(wrong) == "not-acceptable" and not await exists(sending, "romeo")
    assert "code was sent" in xml(await apply(client))
    assert condition(await prove(client, provider.codes[-1])) == ""


async def test_nobody_answers(unused_tcp_port: int) -> None:
    phone = {
        "key": KEY,
        "sender": "webhook",
        "webhook": f"http://127.0.0.1:{unused_tcp_port}/x",
        "webhook_secret": SECRET,
    }
    server = Harness({"register": OPEN, "phone": phone})
    await server.start()
    try:
        client, _ = await stranger(server)
        answer = await apply(client)
        assert condition(answer) == "service-unavailable" and answer.find(".//{*}error").get("type") == "wait"  # type: ignore[union-attr]
        assert "codes: 1" in await server.operation("phone.status"), "who knows what has become of it"
    finally:
        await server.stop()


async def test_another_plugin_that_is_not_there() -> None:
    server = Harness({"phone": {"key": KEY, "sender": "plugin"}})
    with pytest.raises(PluginError, match="no plugin of this host sends codes"):
        await server.start()
    await server.stop()


async def test_another_key_than_before(server: Harness) -> None:
    first = Harness({"phone": {"key": KEY}}, store=server.storage, clock=server.clock)
    await first.start()
    other = Harness({"phone": {"key": "o" * 32}}, store=server.storage, clock=server.clock)
    with pytest.raises(PluginError, match="the key is not the one"):
        await other.start()


async def test_a_sender_that_is_down_shuts_nobody_out(sending: Harness, provider: Provider) -> None:
    client, _ = await stranger(sending)
    for _ in range(7):
        provider.statuses = [500, 500]
        assert condition(await apply(client)) == "service-unavailable"
    assert "code was sent" in xml(await apply(client))
