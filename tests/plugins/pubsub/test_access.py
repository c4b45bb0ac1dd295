"""XEP-0060 section 4.5: who may read, subscribe to and publish at which kind of node (T28, T29)."""

from __future__ import annotations

import pytest

from tests.harness import Client, Element, Harness, condition

NS = "http://jabber.org/protocol/pubsub"
OWNER = f"{NS}#owner"
ERRORS = f"{{{NS}#errors}}"
CARD = "<x xmlns='urn:x'>it</x>"


def options(kind: str, **values: str) -> str:
    fields = "".join(f"<field var='pubsub#{name}'><value>{value}</value></field>" for name, value in values.items())
    return (
        f"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{NS}#{kind}</value></field>{fields}</x>"
    )


async def publish(
    client: Client, node: str, id: str = "1", payload: str = CARD, to: str | None = None, **wanted: str
) -> Element:
    extra = f"<publish-options>{options('publish-options', **wanted)}</publish-options>" if wanted else ""
    return await client.iq(
        f"<pubsub xmlns='{NS}'><publish node='{node}'><item id='{id}'>{payload}</item></publish>{extra}</pubsub>",
        "set", to=to,
    )  # fmt: skip


async def items(client: Client, to: str | None, node: str, more: str = "", inside: str = "", rsm: str = "") -> Element:
    return await client.iq(f"<pubsub xmlns='{NS}'><items node='{node}'{more}>{inside}</items>{rsm}</pubsub>", to=to)


def ids(answer: Element) -> list[str]:
    return [str(each.get("id")) for each in answer.iter(f"{{{NS}}}item")]


def own(answer: Element) -> str:
    """The condition of XEP-0060 in an error."""
    return next((each.tag.removeprefix(ERRORS) for each in answer.iter() if str(each.tag).startswith(ERRORS)), "")


async def befriend(server: Harness, seen: Client, by: Client) -> None:
    """`by` gets the presence of `seen`."""
    by.send(f"<presence type='subscribe' to='{seen.jid.partition('/')[0]}'/>")
    await server.quiet()
    seen.send(f"<presence type='subscribed' to='{by.jid.partition('/')[0]}'/>")
    await server.quiet()
    await seen.receive_all()
    await by.receive_all()


@pytest.fixture
async def people(server: Harness) -> dict[str, Client]:
    """juliet owns nodes; friend is in her roster group Friends, contact sees her presence, member and outcast have
    those affiliations, stranger has nothing."""
    found = {name: await server.login(name, "r", presence=True) for name in
             ("juliet", "friend", "contact", "member", "outcast", "stranger")}  # fmt: skip
    juliet = found["juliet"]
    for name in ("friend", "contact", "outcast"):
        await befriend(server, juliet, found[name])
    await juliet.iq(
        "<query xmlns='jabber:iq:roster'><item jid='friend@localhost'><group>Friends</group></item></query>", "set"
    )
    await juliet.receive_all()
    return found


async def prepare(juliet: Client, model: str) -> None:
    more = {"roster_groups_allowed": "Friends"} if model == "roster" else {}
    assert (await publish(juliet, "n", access_model=model, **more)).get("type") == "result"
    await juliet.iq(
        f"<pubsub xmlns='{OWNER}'><affiliations node='n'><affiliation jid='member@localhost' affiliation='member'/>"
        "<affiliation jid='outcast@localhost' affiliation='outcast'/></affiliations></pubsub>", "set",
    )  # fmt: skip


READERS = {
    "open": {"friend", "contact", "member", "stranger"},
    "presence": {"friend", "contact", "member"},
    "roster": {"friend", "member"},
    "authorize": {"member"},
    "whitelist": {"member"},
}


@pytest.mark.parametrize("model", READERS)
async def test_who_may_read(people: dict[str, Client], model: str) -> None:
    await prepare(people["juliet"], model)
    refused = {"presence": "presence-subscription-required", "roster": "not-in-roster-group",
               "authorize": "not-subscribed", "whitelist": "closed-node"}  # fmt: skip
    for name, client in people.items():
        answer = await items(client, "juliet@localhost", "n")
        if name == "juliet" or name in READERS[model]:
            assert ids(answer) == ["1"], (name, model)
        else:
            assert ids(answer) == []
            if name in ("stranger", "member"):
                assert condition(answer) == "service-unavailable", "as of an account that does not exist"
            elif name == "outcast":
                assert condition(answer) == "forbidden"
            else:
                assert own(answer) == refused[model]


@pytest.mark.parametrize("model", READERS)
async def test_who_may_publish_and_own(people: dict[str, Client], model: str) -> None:
    """Nobody but the account itself, whatever the access model."""
    await prepare(people["juliet"], model)
    for name, client in people.items():
        if name == "juliet":
            continue
        for ns, what in (
            (NS, f"<publish node='n'><item id='2'>{CARD}</item></publish>"),
            (NS, "<retract node='n'><item id='1'/></retract>"),
            (NS, f"<publish node='new'><item id='2'>{CARD}</item></publish>"),
            (NS, "<create node='new'/>"),
            (OWNER, "<delete node='n'/>"),
            (OWNER, "<purge node='n'/>"),
            (OWNER, f"<configure node='n'>{options('node_config', access_model='open')}</configure>"),
            (OWNER, "<affiliations node='n'><affiliation jid='x@localhost' affiliation='owner'/></affiliations>"),
        ):
            answer = await client.iq(f"<pubsub xmlns='{ns}'>{what}</pubsub>", "set", to="juliet@localhost")
            assert condition(answer) in ("forbidden", "service-unavailable", "item-not-found"), (name, what)
        for what in ("configure", "affiliations", "subscriptions"):
            answer = await client.iq(f"<pubsub xmlns='{OWNER}'><{what} node='n'/></pubsub>", to="juliet@localhost")
            assert condition(answer) in ("forbidden", "service-unavailable"), (name, what)
    assert ids(await items(people["juliet"], None, "n")) == ["1"]
    assert condition(await items(people["juliet"], None, "new")) == "item-not-found"


@pytest.mark.parametrize("model", READERS)
async def test_notifications_go_to_readers_only(server: Harness, people: dict[str, Client], model: str) -> None:
    """A subscription is no way around the access model, nor is one that was made before."""
    juliet = people["juliet"]
    await publish(juliet, "n", access_model="open")
    for name, client in people.items():
        if name != "juliet":
            answer = await client.iq(
                f"<pubsub xmlns='{NS}'><subscribe node='n' jid='{name}@localhost'/></pubsub>", "set",
                to="juliet@localhost",
            )  # fmt: skip
            assert answer.get("type") == "result", name
    more = {"roster_groups_allowed": "Friends"} if model == "roster" else {}
    configured = await juliet.iq(
        f"<pubsub xmlns='{OWNER}'><configure node='n'>{options('node_config', access_model=model, **more)}</configure>"
        "</pubsub>", "set",
    )  # fmt: skip
    assert configured.get("type") == "result"
    await prepare_affiliations(juliet)
    for client in people.values():
        await client.receive_all()
    await publish(juliet, "n", "2")
    await server.quiet()
    expected = READERS[model] | ({"friend", "contact", "stranger"} if model == "authorize" else set())
    for name, client in people.items():
        told = [each for each in await client.receive_all() if each.find(f".//{{{NS}#event}}item[@id='2']") is not None]
        assert bool(told) == (name in expected), (name, model)


async def prepare_affiliations(juliet: Client) -> None:
    await juliet.iq(
        f"<pubsub xmlns='{OWNER}'><affiliations node='n'><affiliation jid='member@localhost' affiliation='member'/>"
        "<affiliation jid='outcast@localhost' affiliation='outcast'/></affiliations></pubsub>", "set",
    )  # fmt: skip


async def test_approval(server: Harness, people: dict[str, Client]) -> None:
    """Section 8.6: asked, approved by its owner only, and then the last item comes."""
    juliet, contact = people["juliet"], people["contact"]
    await publish(juliet, "n", access_model="authorize")
    answer = await contact.iq(
        f"<pubsub xmlns='{NS}'><subscribe node='n' jid='contact@localhost'/></pubsub>", "set", to="juliet@localhost"
    )
    assert answer[0][0].get("subscription") == "pending"
    asked = await juliet.receive()
    assert asked.find(".//{jabber:x:data}field[@var='pubsub#allow']") is not None
    reply = options("subscribe_authorization", node="n", subscriber_jid="contact@localhost", allow="true")
    people["friend"].send(f"<message to='juliet@localhost'>{reply}</message>")
    assert (await juliet.receive()).get("from") == people["friend"].jid, "a message like others: she sees it"
    assert own(await items(contact, "juliet@localhost", "n")) == "not-subscribed", "a friend cannot approve"
    juliet.send(f"<message to='juliet@localhost'>{reply}</message>")
    await server.quiet()
    told = await contact.receive_all()
    assert [each.get("subscription") for each in told[0].iter(f"{{{NS}#event}}subscription")] == ["subscribed"]
    assert told[1].find(f".//{{{NS}#event}}item") is not None
    assert ids(await items(contact, "juliet@localhost", "n")) == ["1"]


@pytest.mark.parametrize("owner, heard", [("nobody@localhost", ["service-unavailable"]), ("asleep@localhost", [])])
async def test_approval_of_what_nobody_has(
    server: Harness, people: dict[str, Client], caplog: pytest.LogCaptureFixture, owner: str, heard: list[str]
) -> None:
    """From anybody, of an account that does not exist or is not in memory: a message like others."""
    await server.register("asleep")
    server.host.forget("asleep@localhost")
    reply = options("subscribe_authorization", node="n", subscriber_jid="friend@localhost", allow="true")
    people["friend"].send(f"<message to='{owner}'>{reply}</message>")
    assert [condition(each) for each in await people["friend"].receive_all()] == heard
    assert [record for record in caplog.records if record.levelname in ("ERROR", "WARNING")] == []


async def test_no_difference_between_no_account_and_no_access(people: dict[str, Client]) -> None:
    """ADR 0007."""
    await publish(people["juliet"], "n")
    answers = [
        await items(people["stranger"], to, node)
        for to, node in (("juliet@localhost", "n"), ("juliet@localhost", "none"), ("nobody@localhost", "n"))
    ]
    assert {condition(each) for each in answers} == {"service-unavailable"}
