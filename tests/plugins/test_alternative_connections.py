"""XEP-0156: what web clients are told about where they connect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plugins.alternative_connections import Config
from tests.harness import Harness
from xmppd.config import HttpListenerConfig
from xmppd.doctor.checks.web import BOSH, SOCKET, links_json, links_xml
from xmppd.net.listen import Listener


async def told(harness: Harness, *listeners: dict[str, Any]) -> dict[str, list[str]]:
    """The links, which both forms give alike, and any page may read; none: 404."""
    harness.server.listeners.configured = [
        (HttpListenerConfig(**each), Listener(harness.server.clock, tls="none")) for each in listeners
    ]
    xml = await harness.http("GET", "/.well-known/host-meta")
    document = await harness.http("GET", "/.well-known/host-meta.json")
    assert xml.headers["access-control-allow-origin"] == document.headers["access-control-allow-origin"] == "*"
    if xml.status == document.status == 404:
        return {}
    assert (xml.status, xml.headers["content-type"]) == (200, "application/xrd+xml; charset=utf-8")
    assert (document.status, document.headers["content-type"]) == (200, "application/json")
    json.loads(document.body)
    assert links_xml(xml.body) == links_json(document.body)
    return links_xml(xml.body)


async def test_one_address_of_each_kind(server: Harness) -> None:
    assert await told(server, {"tls": "none", "public_url": "https://chat.{host}"}, {"port": 5281}) == {
        BOSH: ["https://chat.localhost/http-bind"],
        SOCKET: ["wss://chat.localhost/xmpp-websocket"],
    }
    answer = await server.http("OPTIONS", "/.well-known/host-meta", headers={"Origin": "https://a.example"})
    assert (answer.status, answer.headers["access-control-allow-methods"]) == (204, "GET, HEAD, OPTIONS")


async def test_plain_addresses_are_for_this_machine() -> None:
    for domain, found in (("localhost", True), ("example.org", False)):
        harness = Harness(hosts={domain: {}} if domain != "localhost" else {})
        await harness.start()
        try:
            harness.server.listeners.configured = [
                (HttpListenerConfig(tls="none"), Listener(harness.server.clock, tls="none"))
            ]
            answer = await harness.http("GET", "/.well-known/host-meta.json", headers={"Host": domain})
            assert answer.status == (200 if found else 404)
            assert (b"ws://localhost" in answer.body) is found
        finally:
            await harness.stop()


async def test_encrypted_addresses_go_first() -> None:
    harness = Harness(hosts={"example.org": {}})
    await harness.start()
    try:
        plain = HttpListenerConfig(address="0.0.0.0", tls="none", plain_anywhere=True)
        encrypted = HttpListenerConfig(address="0.0.0.0")
        harness.server.listeners.configured = [
            (each, Listener(harness.server.clock, tls="none")) for each in (plain, encrypted)
        ]
        assert harness.server.url("example.org", "/x").startswith("https://example.org")
    finally:
        await harness.stop()


@pytest.mark.parametrize(("option", "kept"), [("websocket", BOSH), ("bosh", SOCKET)])
async def test_what_is_switched_off_is_not_named(option: str, kept: str) -> None:
    harness = Harness(more=f"web: {{{option}: false}}")
    await harness.start()
    try:
        assert list(await told(harness, {"public_url": "https://chat.example.org"})) == [kept]
        assert await told(harness, {"paths": ("/metrics",)}) == {}
    finally:
        await harness.stop()


@pytest.mark.server(plugins={"alternative_connections": {"ips": ["192.0.2.7", "2001:db8::7"], "tls_port": 5223}})
async def test_everything_in_one_document(server: Harness) -> None:
    """XEP-0487; clients that know XEP-0156 alone find what they know."""
    found = await told(server, {"public_url": "https://chat.example"})
    assert found[SOCKET] == ["wss://chat.example/xmpp-websocket"]
    document = json.loads((await server.http("GET", "/.well-known/host-meta.json")).body)
    assert document["xmpp"] == {"ttl": 3600}
    tls, *others = document["links"]
    assert (tls["rel"], tls["port"], tls["sni"]) == ("urn:xmpp:alt-connections:tls", 5223, "localhost")
    assert {each["rel"]: each["sni"] for each in others} == dict.fromkeys((BOSH, SOCKET), "chat.example")
    for each in document["links"]:
        assert each["ips"] == ["192.0.2.7", "2001:db8::7"] and each["weight"] == 50
        assert each["priority"] == (10 if each is tls else 20)


def test_an_address_is_an_address() -> None:
    assert list(Config(ips=("chat.example",)).check()) == [("ips", "'chat.example' is no IP address")]
