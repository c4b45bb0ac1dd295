"""XEP-0060 on a host of its own."""

from __future__ import annotations

import pytest

from tests.harness import Harness, condition
from tests.harness.peer import Peer

from .test_access import NS, OWNER, ids, items, options, own, publish
from .test_pep import events

TO = "pubsub.localhost"


def host(**options: object) -> dict[str, object]:
    return {TO: {"type": "pubsub", "admins": ["admin@localhost"], "plugins": {"pubsub": options}}}


pytestmark = pytest.mark.server(hosts=host())


@pytest.fixture
async def service(server: Harness) -> Harness:
    return server


async def test_anybody_of_this_server_makes_nodes_and_owns_them(service: Harness) -> None:
    romeo, juliet = await service.login("romeo", presence=True), await service.login("juliet", presence=True)
    admin = await service.login("admin")
    made = await romeo.iq(f"<pubsub xmlns='{NS}'><create node='news'/></pubsub>", "set", to=TO)
    assert made.get("type") == "result"
    assert condition(await publish(juliet, "news", to=TO)) == "forbidden"
    for client, jid in ((juliet, "juliet@localhost"), (juliet, juliet.jid)):
        answer = await client.iq(f"<pubsub xmlns='{NS}'><subscribe node='news' jid='{jid}'/></pubsub>", "set", to=TO)
        assert answer[0][0].get("subscription") == "subscribed"
    await publish(romeo, "news", "1", to=TO)
    assert events(await juliet.receive_all(), "news") == ["1", "1"], "both addresses are subscribed"
    answer = await juliet.iq(f"<pubsub xmlns='{NS}'><subscriptions/></pubsub>", to=TO)
    assert len(answer[0][0]) == 2
    answer = await juliet.iq(
        f"<pubsub xmlns='{NS}'><unsubscribe node='news' jid='{juliet.jid}'/></pubsub>", "set", to=TO
    )
    assert answer.get("type") == "result"
    await publish(romeo, "news", "2", to=TO)
    assert events(await juliet.receive_all(), "news") == ["2"]
    assert ids(await items(juliet, TO, "news")) == ["1", "2"]
    answer = await admin.iq(f"<pubsub xmlns='{OWNER}'><delete node='news'/></pubsub>", "set", to=TO)
    assert answer.get("type") == "result", "an administrator of the service owns all"


async def test_errors(service: Harness) -> None:
    romeo, juliet = await service.login("romeo"), await service.login("juliet")
    await romeo.iq(
        f"<pubsub xmlns='{NS}'><create node='n'/><configure>{options('node_config', access_model='whitelist')}"
        "</configure></pubsub>", "set", to=TO,
    )  # fmt: skip
    assert own(await items(juliet, TO, "n")) == "closed-node"
    assert condition(await items(juliet, TO, "none")) == "item-not-found"
    subscribe = f"<pubsub xmlns='{NS}'><subscribe node='n' jid='{{}}'/></pubsub>"
    assert own(await juliet.iq(subscribe.format("juliet@localhost"), "set", to=TO)) == "closed-node"
    assert own(await juliet.iq(subscribe.format("romeo@localhost"), "set", to=TO)) == "invalid-jid"
    assert condition(await juliet.iq(subscribe.format("@"), "set", to=TO)) == "jid-malformed"
    gone = f"<pubsub xmlns='{NS}'><unsubscribe node='n' jid='juliet@localhost'/></pubsub>"
    assert own(await juliet.iq(gone, "set", to=TO)) == "not-subscribed"
    other = f"<pubsub xmlns='{NS}'><unsubscribe node='n' jid='romeo@localhost'/></pubsub>"
    assert condition(await juliet.iq(other, "set", to=TO)) == "forbidden"
    answer = await romeo.iq(
        f"<pubsub xmlns='{OWNER}'><configure node='n'>{options('node_config', access_model='roster')}</configure>"
        "</pubsub>", "set", to=TO,
    )  # fmt: skip
    assert condition(answer) == "not-acceptable", "a service has no roster"
    answer = await romeo.iq(
        f"<pubsub xmlns='{OWNER}'><affiliations node='n'><affiliation jid='romeo@localhost' affiliation='none'/>"
        "</affiliations></pubsub>", "set", to=TO,
    )  # fmt: skip
    assert condition(answer) == "not-acceptable", "a node needs an owner"
    assert condition(await publish(romeo, "n", to="localhost")) == "service-unavailable"


@pytest.mark.server(hosts=host(create="admins"))
async def test_only_administrators_make_nodes_if_so_configured(service: Harness) -> None:
    romeo = await service.login("romeo")
    assert condition(await romeo.iq(f"<pubsub xmlns='{NS}'><create node='n'/></pubsub>", "set", to=TO)) == "forbidden"
    assert condition(await publish(romeo, "n", to=TO)) == "item-not-found"


async def test_a_publisher_takes_away_its_own_items_only(service: Harness) -> None:
    romeo, juliet = await service.login("romeo"), await service.login("juliet")
    await romeo.iq(
        f"<pubsub xmlns='{NS}'><create node='n'/><configure>{options('node_config', publish_model='open')}"
        "</configure></pubsub>", "set", to=TO,
    )  # fmt: skip
    await publish(romeo, "n", "his", to=TO)
    await publish(juliet, "n", "hers", to=TO)
    gone = f"<pubsub xmlns='{NS}'><retract node='n'><item id='{{}}'/></retract></pubsub>"
    assert condition(await juliet.iq(gone.format("his"), "set", to=TO)) == "forbidden"
    assert (await juliet.iq(gone.format("hers"), "set", to=TO)).get("type") == "result"
    assert condition(await publish(juliet, "n", "his", to=TO)) == "forbidden", "nor replace another's"
    assert ids(await items(romeo, TO, "n")) == ["his"]


async def test_an_owner_of_another_server_approves(service: Harness) -> None:
    """XEP-0060 section 8.6: who owns the node decides, wherever it lives; for others nothing happens."""
    peer, boss = Peer(service, "away.example"), "boss@away.example"
    service.server.router.routes.register(peer.domain, peer)
    juliet, romeo = await service.login("juliet", presence=True), await service.login("romeo", presence=True)
    await publish(juliet, "n", to=TO, access_model="authorize")
    await juliet.iq(
        f"<pubsub xmlns='{OWNER}'><affiliations node='n'><affiliation jid='{boss}' affiliation='owner'/>"
        "</affiliations></pubsub>", "set", to=TO,
    )  # fmt: skip
    subscribe = f"<pubsub xmlns='{NS}'><subscribe node='n' jid='romeo@localhost'/></pubsub>"
    assert (await romeo.iq(subscribe, "set", to=TO))[0][0].get("subscription") == "pending"
    assert boss in [str(stanza.to) for stanza in peer.got], "owners are asked"
    reply = options("subscribe_authorization", node="n", subscriber_jid="romeo@localhost", allow="true")
    for sender, expected in (("thief@away.example", "not-subscribed"), (boss, "")):
        peer.send(f"<message from='{sender}' to='{TO}'>{reply}</message>")
        await service.quiet()
        assert own(await items(romeo, TO, "n")) == expected
