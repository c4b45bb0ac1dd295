"""XEP-0355: requests that a component answers in place of a host and its accounts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.harness import Client, Element, Harness, condition, xml
from tests.harness.component import SECRET, ComponentClient

NS, GATE = "urn:xmpp:delegation:2", "gate.localhost"
PRIVATE = "<query xmlns='jabber:iq:private'><a xmlns='urn:a'/></query>"
INFO = "http://jabber.org/protocol/disco#info"
REST = f"{NS}:bare:disco#info:*"


def delegated(**namespaces: list[str]) -> pytest.MarkDecorator:
    found = {
        "private": "jabber:iq:private",
        "version": "jabber:iq:version",
        "pubsub": "http://jabber.org/protocol/pubsub",
    }
    names = {found.get(name, REST): filters for name, filters in namespaces.items()}
    components = {GATE: {"secret": SECRET, "delegates": {"localhost": names}}, "other.localhost": {"secret": SECRET}}
    return pytest.mark.server(components=components)


def answer(asked: Element, inner: str, type: str = "result") -> str:
    return (
        f"<iq from='{GATE}' to='localhost' type='{type}' id='{asked.get('id')}'><delegation xmlns='{NS}'>"
        f"<forwarded xmlns='urn:xmpp:forward:0'>{inner}</forwarded></delegation></iq>"
    )


def result(more: str = "", id: str = "1", to: str = "romeo@localhost/x", type: str = "result") -> str:
    return f"<iq xmlns='jabber:client' type='{type}' id='{id}' to='{to}' {more}><query xmlns='jabber:iq:private'/></iq>"


def told(asked: Element, *features: str, more: str = "") -> str:
    listed = "".join(f"<feature var='{each}'/>" for each in features)
    return (
        f"<iq from='{GATE}' to='localhost' type='result' id='{asked.get('id')}'>"
        f"<query xmlns='{INFO}' node='{asked[0].get('node')}'>{more}{listed}</query></iq>"
    )


@pytest.fixture
async def gate(server: Harness) -> ComponentClient:
    component = await ComponentClient(server, GATE).enter()
    await component.receive_all()
    return component


@pytest.fixture
async def romeo(server: Harness) -> Client:
    return await server.login("romeo", "x")


@delegated(private=["node", "other"], version=[])
async def test_it_is_told(server: Harness) -> None:
    component = await ComponentClient(server, GATE).enter()
    first, *asked = await component.receive_all()
    found = {each.get("namespace"): [name.get("name") for name in each] for each in first[0]}
    assert first[0].tag == f"{{{NS}}}delegation"
    assert found == {"jabber:iq:private": ["node", "other"], "jabber:iq:version": []}
    assert {each[0].get("node") for each in asked} == {
        f"{NS}{between}jabber:iq:{name}" for between in ("::", ":bare:") for name in ("private", "version")
    }
    other = await ComponentClient(server, "other.localhost").enter()
    assert await other.receive_all() == []


@delegated(private=[])
async def test_a_change_is_told(server: Harness, gate: ComponentClient, romeo: Client) -> None:
    """XEP-0355, "Business Rules"."""
    await gate.receive_all()
    other = await ComponentClient(server, "other.localhost").enter()
    before = server.config.components
    mine, nothing = before[GATE].delegates, {}
    given = {GATE: replace(before[GATE], delegates=nothing), "other.localhost": replace(before[GATE], delegates=mine)}
    server.server.components.configure(given)
    [told] = await gate.receive_all()
    assert told[0].tag == f"{{{NS}}}delegation"
    assert len(told[0]) == 0
    first, *_ = await other.receive_all()
    assert [each.get("namespace") for each in first[0]] == ["jabber:iq:private"]
    romeo.send(f"<iq type='get' id='1'>{PRIVATE}</iq>")
    assert (await other.receive()).get("type") == "set"
    assert await gate.receive_all() == []


@delegated(private=[], version=[])
@pytest.mark.parametrize("to", [None, "romeo@localhost"])
async def test_a_request(gate: ComponentClient, romeo: Client, to: str | None) -> None:
    where = f"to='{to}'" if to else ""
    romeo.send(f"<iq type='get' id='1' {where}>{PRIVATE}</iq>")
    romeo.send("<iq type='get' id='2' to='localhost'><query xmlns='jabber:iq:version'/></iq>")
    first, second = await gate.receive_all()
    assert (first.get("type"), first.get("from"), first.get("to")) == ("set", "localhost", GATE)
    inner = first[0][0][0]
    assert inner.tag == "{jabber:client}iq" and (inner.get("from"), inner.get("to")) == (romeo.jid, to)
    assert inner[0].tag == "{jabber:iq:private}query" and inner[0][0].tag == "{urn:a}a"
    gate.send(answer(second, result("from='localhost'", "2")))
    gate.send(answer(first, result(f"from='{to}'" if to else "")))
    two, one = await romeo.receive_all()
    assert (one.get("id"), one.get("from"), one[0].tag) == ("1", "romeo@localhost", "{jabber:iq:private}query")
    assert (two.get("id"), two.get("from"), two.get("type")) == ("2", "localhost", "result"), "nothing is held up"


@delegated(private=[])
async def test_of_anothers_account(server: Harness, gate: ComponentClient, romeo: Client) -> None:
    """A bare JID, and no other address; nothing is told of accounts that are not there."""
    juliet = await server.login("juliet", "y")
    romeo.send(f"<iq type='get' id='1' to='juliet@localhost'>{PRIVATE}</iq>")
    [asked] = await gate.receive_all()
    gate.send(answer(asked, result("from='juliet@localhost'")))
    [got] = await romeo.receive_all()
    assert (got.get("type"), got.get("from")) == ("result", "juliet@localhost")
    romeo.send(f"<iq type='get' id='2' to='juliet@localhost/y'>{PRIVATE}</iq>")
    assert len(await juliet.receive_all()) == 1 and await gate.receive_all() == []
    assert condition(await romeo.iq(PRIVATE, to="nobody@localhost")) == "service-unavailable"
    assert await gate.receive_all() == []


@delegated(private=["node"])
async def test_filters(gate: ComponentClient, romeo: Client) -> None:
    """Where the attribute is missing all is as ever."""
    assert (await romeo.iq(PRIVATE)).get("type") == "result" and await gate.receive_all() == []
    filtered = PRIVATE.replace("<query", "<query node=''")
    romeo.send(f"<iq type='get' id='1'>{filtered}</iq>")
    assert len(await gate.receive_all()) == 1


@delegated(private=[])
@pytest.mark.parametrize(
    "bad",
    [
        result(type="error"),
        result(type="set"),
        result(id="2"),
        result(to="romeo@localhost"),
        result(to="juliet@localhost/x"),
        result(to=""),
        result("from='juliet@localhost'"),
        result("from='localhost'"),
        result("from='gate.localhost'"),
        result() + result(),
        result().replace("jabber:client", "jabber:server"),
        "<message xmlns='jabber:client' to='romeo@localhost/x' id='1'/>",
        "",
    ],
)
async def test_a_bad_answer(server: Harness, gate: ComponentClient, romeo: Client, bad: str) -> None:
    """Section 4.3: <service-unavailable/>, and nothing of it goes to anybody."""
    juliet = await server.login("juliet", "x")
    romeo.send(f"<iq type='get' id='1' to='romeo@localhost'>{PRIVATE}</iq>")
    [asked] = await gate.receive_all()
    gate.send(answer(asked, bad))
    [got] = await romeo.receive_all()
    assert (got.get("id"), condition(got), got.get("from")) == ("1", "service-unavailable", "romeo@localhost")
    assert await juliet.receive_all() == []


@delegated(private=[])
async def test_errors(server: Harness, gate: ComponentClient, romeo: Client) -> None:
    """An error of the component's, no answer, an answer of somebody else, a component that is away."""
    romeo.send(f"<iq type='get' id='1'>{PRIVATE}</iq>")
    [asked] = await gate.receive_all()
    other = await ComponentClient(server, "other.localhost").enter()
    other.send(answer(asked, result()).replace(f"from='{GATE}'", "from='other.localhost'"))
    gate.send(answer(asked, result()).replace(f"from='{GATE}'", f"from='user@{GATE}'"))
    romeo.send(answer(asked, result()).replace(f"from='{GATE}'", ""))
    assert await romeo.receive_all() == [], "only the component answers"
    gate.send(f"<iq from='{GATE}' to='localhost' type='error' id='{asked.get('id')}'/>")
    assert [condition(each) for each in await romeo.receive_all()] == ["service-unavailable"]
    romeo.send(f"<iq type='get' id='2'>{PRIVATE}</iq>")
    await server.advance(40)
    assert [condition(each) for each in await romeo.receive_all()] == ["service-unavailable"]
    gate.close()
    assert condition(await romeo.iq(PRIVATE)) == "service-unavailable"
    assert server.host.plugins["delegation"].open == 0


@delegated(private=[])
async def test_its_own_are_answered_here(gate: ComponentClient, romeo: Client) -> None:
    """Section 4.3.1."""
    got = await gate.iq(PRIVATE, to=f"romeo@localhost' from='{GATE}")
    assert condition(got) == "service-unavailable" and await gate.receive_all() == []


@delegated(private=[])
async def test_too_many(server: Harness, gate: ComponentClient, romeo: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plugins.delegation.OPEN", 3)
    for number in range(5):
        romeo.send(f"<iq type='get' id='{number}'>{PRIVATE}</iq>")
    assert [condition(each) for each in await romeo.receive_all()] == ["resource-constraint"] * 2
    assert len(await gate.receive_all()) == 3


# ---- service discovery


@delegated(pubsub=[])
async def test_its_features_stand_for_ours(server: Harness, romeo: Client) -> None:
    """Section 7.2: of the host, of accounts, forms as well; what was announced is another thing now (XEP-0115)."""
    pubsub = "http://jabber.org/protocol/pubsub"

    async def features(to: str) -> set[Any]:
        found = await romeo.iq(f"<query xmlns='{INFO}'/>", to=to)
        return {each.get("var") or each.get("category") for each in found[0]}

    before, caps = await features("romeo@localhost"), server.host.plugins["entity_caps"].ver
    assert not any(str(each).startswith(pubsub) for each in before), "nobody has told anything yet"
    component = await ComponentClient(server, GATE).enter()
    _, host, bare = await component.receive_all()
    component.send(told(host, pubsub, f"{pubsub}#publish"))
    identity = "<identity category='pubsub' type='pep'/>"
    component.send(told(bare, f"{pubsub}#only-here", more=identity))
    await server.quiet()
    assert {pubsub, f"{pubsub}#publish", NS} <= await features("localhost")
    mine = await features("romeo@localhost")
    assert [each for each in mine if str(each).startswith(pubsub)] == [f"{pubsub}#only-here"] and "pubsub" in mine
    assert server.host.plugins["entity_caps"].ver != caps


@delegated(rest=[])
async def test_nodes_that_nobody_knows(server: Harness, gate: ComponentClient, romeo: Client) -> None:
    """Section 7.2.4."""
    romeo.send(f"<iq type='get' id='1' to='romeo@localhost'><query xmlns='{INFO}' node='urn:n'/></iq>")
    [asked] = await gate.receive_all()
    inner = f"<iq xmlns='jabber:client' type='result' id='1' to='{romeo.jid}'><query xmlns='{INFO}' node='urn:n'/></iq>"
    gate.send(answer(asked, inner))
    [got] = await romeo.receive_all()
    assert got[0].get("node") == "urn:n", xml(got)
    assert condition(await romeo.iq(f"<query xmlns='{INFO}' node='urn:n'/>", to="localhost")) == "item-not-found"
