"""One server publishes a block list, another follows it, over real streams."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.authority import Authority
from tests.harness.dns import DnsServer
from tests.process.client import Wire, body
from tests.process.two_servers import Domain, started

pytestmark = pytest.mark.timeout(120)
JOIN = "<x xmlns='http://jabber.org/protocol/muc'/>"
MUC_OWNER = "http://jabber.org/protocol/muc#owner"
USER = "{http://jabber.org/protocol/muc#user}"
PUBLISHER = "bl.capulet.test"


@pytest.fixture
async def two(tmp_path: Path, dns: DnsServer) -> AsyncIterator[tuple[Domain, Domain]]:
    """Romeo's server follows the list of Juliet's."""
    authority = Authority(tmp_path)
    romeo = Domain(tmp_path / "montague", "montague.test", "romeo", dns, authority)
    juliet = Domain(tmp_path / "capulet", "capulet.test", "juliet", dns, authority)
    certificate, key = authority.files(PUBLISHER)
    files = {"certificate": str(certificate), "key": str(key)}
    dns.records[f"_xmpp-server._tcp.{PUBLISHER}"] = dns.records["_xmpp-server._tcp.capulet.test"]
    change(romeo, {"montague.test": {"plugins": {"block_lists": {"lists": [{"service": PUBLISHER}]}}}})
    publishing = {"plugins": {"block_lists": {"publish_at": PUBLISHER}}}
    change(juliet, {"capulet.test": publishing, PUBLISHER: {"type": "pubsub", **files}})
    async with started(juliet, romeo):
        yield romeo, juliet


def change(domain: Domain, hosts: dict[str, dict[str, Any]]) -> None:
    whole = json.loads(domain.server.config.read_text())
    for name, options in hosts.items():
        whole["hosts"].setdefault(name, {}).update(options)
    domain.server.config.write_text(json.dumps(whole))


async def until(domain: Domain, entries: int) -> None:
    """The list has so many entries, and is subscribed to."""
    async with asyncio.timeout(20):
        while True:
            (state,) = (await domain.server.operation("block-list.list"))["lists"]
            if (state["entries"], state["subscribed"]) == (entries, True):
                return
            await asyncio.sleep(0.1)


def condition(element: Any) -> str:
    error = element.find("{*}error")
    return "" if error is None else str(error[0].tag).partition("}")[2]


async def open_room(romeo: Wire, room: str) -> None:
    romeo.send(f"<presence to='{room}/romeo'>{JOIN}</presence>")
    await romeo.find("message")  # the subject
    await romeo.iq(f"<query xmlns='{MUC_OWNER}'><x xmlns='jabber:x:data' type='submit'/></query>", "set", room)


async def test_an_entry_counts_at_once_and_outlives_a_restart(two: tuple[Domain, Domain]) -> None:
    montague, capulet = two
    room = f"orchard@{montague.rooms}"
    romeo, juliet = await montague.client(), await capulet.client()
    await capulet.server.operation("block-list.add", address="tybalt@capulet.test")
    await montague.server.operation("block-list.refresh")
    await until(montague, 1)
    await open_room(romeo, room)
    juliet.send(f"<presence to='{room}/juliet'>{JOIN}</presence>")
    await juliet.find("message")
    juliet.send(f"<message to='{montague.jid}' type='chat' id='m1'><body>m1</body></message>")
    while body(await romeo.find("message")) != "m1":
        pass

    done = await capulet.server.cli("op", "block-list.add", capulet.jid, "--text", "Too fond of balconies")
    assert done.status == 0, done
    kicked = await juliet.find("presence", type="unavailable", **{"from": f"{room}/juliet"})
    assert "307" in [each.get("code") for each in kicked.iter(f"{USER}status")]
    assert (await romeo.find("presence", type="unavailable")).get("from") == f"{room}/juliet"
    juliet.send(f"<presence to='{room}/juliet' id='j'>{JOIN}</presence>")
    assert condition(await juliet.find("presence", type="error")) == "forbidden"
    juliet.send(f"<message to='{montague.jid}' type='chat' id='m2'><body>m2</body></message>")
    assert condition(await juliet.find("message", id="m2")) == "policy-violation"
    shown = await montague.server.cli("op", "block-list.list", capulet.jid)
    assert "the address is on it (spam: Too fond of balconies)" in shown.out

    await montague.server.crash()
    await capulet.server.crash()
    await montague.server.start()
    state = await montague.server.operation("block-list.list", address=capulet.jid)
    assert state["refused"] and state["lists"][0]["entries"] == 2 and not state["lists"][0]["subscribed"]

    await capulet.server.start()
    await montague.server.operation("block-list.refresh")
    await until(montague, 2)
    await capulet.server.operation("block-list.remove", address=capulet.jid)
    await until(montague, 1)
    romeo, juliet = await montague.client(), await capulet.client()
    juliet.send(f"<message to='{montague.jid}' type='chat' id='m3'><body>m3</body></message>")
    while body(await romeo.find("message")) != "m3":
        pass
