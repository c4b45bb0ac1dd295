"""XEP-0060: types of events, what an item tells of its publisher, what is announced and what works."""

from __future__ import annotations

import pytest

from tests.harness import Client, Element, Harness, condition

from .test_access import CARD, NS, OWNER, befriend, ids, items, options, own, publish
from .test_pep import announce

SERVICE = "pubsub.localhost"
EVENT = f"{{{NS}#event}}"
X = "{jabber:x:data}"
HOSTS = {SERVICE: {"type": "pubsub", "admins": ["admin@localhost"]}}
EMPTY, FULL = "<item id='1'/>", f"<item id='1'>{CARD}</item>"

TYPES_OF_EVENTS = {
    # persistent, payload: what is published -> condition of the answer ("" is success), and what the event holds
    ("1", "1"): {"": "item-required", EMPTY: "payload-required", FULL: ""},
    ("1", "0"): {"": "item-required", EMPTY: "", FULL: ""},
    ("0", "1"): {"": "item-required", EMPTY: "payload-required", FULL: ""},
    ("0", "0"): {"": "", EMPTY: "item-forbidden", FULL: "item-forbidden"},
}
"""Sections 4.3 and 7.1.3.7."""


async def make(client: Client, node: str, to: str | None, **wanted: str) -> None:
    configure = f"<configure>{options('node_config', **wanted)}</configure>" if wanted else ""
    answer = await client.iq(f"<pubsub xmlns='{NS}'><create node='{node}'/>{configure}</pubsub>", "set", to=to)
    assert answer.get("type") == "result"


async def subscribe(client: Client, node: str, to: str) -> Element:
    bare = str(client.jid).partition("/")[0]
    return await client.iq(f"<pubsub xmlns='{NS}'><subscribe node='{node}' jid='{bare}'/></pubsub>", "set", to=to)


@pytest.mark.server(hosts=HOSTS)
@pytest.mark.parametrize("to", [None, SERVICE])
@pytest.mark.parametrize(("persist", "payload"), TYPES_OF_EVENTS)
async def test_types_of_events(server: Harness, to: str | None, persist: str, payload: str) -> None:
    juliet, romeo = await server.login("juliet", presence=True), await server.login("romeo", presence=True)
    await make(juliet, "n", to, access_model="open", persist_items=persist, deliver_payloads=payload)
    await subscribe(romeo, "n", to or "juliet@localhost")
    for item, expected in TYPES_OF_EVENTS[persist, payload].items():
        answer = await juliet.iq(f"<pubsub xmlns='{NS}'><publish node='n'>{item}</publish></pubsub>", "set", to=to)
        assert own(answer) == expected, item
        assert condition(answer) == ("bad-request" if expected else "")
        told = [each for message in await romeo.receive_all() for each in message.iter(f"{EVENT}items")]
        assert len(told) == (not expected)
        for each in told:
            assert len(each) == bool(item), "an event of a node without items is empty"
            assert len(each.findall(f"{EVENT}item/*")) == (item == FULL and payload == "1")


@pytest.mark.server(hosts=HOSTS)
@pytest.mark.parametrize("to", [None, SERVICE])
async def test_where_nothing_is_kept(server: Harness, to: str | None) -> None:
    """Sections 6.5.9.4, 7.2.3.5 and 8.5.3.3; what was kept before is gone with the configuration."""
    juliet = await server.login("juliet")
    await make(juliet, "n", to, access_model="open", max_items="max")
    for id in ("1", "2"):
        await publish(juliet, "n", id, to=to)
    configure = f"<configure node='n'>{options('node_config', persist_items='0')}</configure>"
    assert (await juliet.iq(f"<pubsub xmlns='{OWNER}'>{configure}</pubsub>", "set", to=to)).get("type") == "result"
    retract = f"<pubsub xmlns='{NS}'><retract node='n'><item id='1'/></retract></pubsub>"
    answers = [
        await items(juliet, to, "n"),
        await juliet.iq(retract, "set", to=to),
        await juliet.iq(f"<pubsub xmlns='{OWNER}'><purge node='n'/></pubsub>", "set", to=to),
    ]
    for answer in answers:
        assert (condition(answer), own(answer)) == ("feature-not-implemented", "unsupported")
        unsupported = answer.find(f".//{{{NS}#errors}}unsupported")
        assert unsupported is not None and unsupported.get("feature") == "persistent-items"
    again = configure.replace("<value>0</value>", "<value>1</value>")
    await juliet.iq(f"<pubsub xmlns='{OWNER}'>{again}</pubsub>", "set", to=to)
    assert ids(await items(juliet, to, "n")) == []


async def test_a_second_request_while_the_first_waits(server: Harness) -> None:
    """Section 6.1.3.7; the owner is asked once."""
    juliet, romeo = await server.login("juliet", presence=True), await server.login("romeo", presence=True)
    await publish(juliet, "n", access_model="authorize")
    assert (await subscribe(romeo, "n", "juliet@localhost"))[0][0].get("subscription") == "pending"
    again = await subscribe(romeo, "n", "juliet@localhost")
    assert (condition(again), own(again)) == ("not-authorized", "pending-subscription")
    assert len(await juliet.receive_all()) == 1


@pytest.mark.server(hosts=HOSTS)
@pytest.mark.parametrize("to", [None, SERVICE])
async def test_no_collections(server: Harness, to: str | None) -> None:
    juliet = await server.login("juliet")
    await make(juliet, "leaf", to, node_type="leaf")
    kind = options("node_config", node_type="collection")
    answers = [
        await juliet.iq(
            f"<pubsub xmlns='{NS}'><create node='c'/><configure>{kind}</configure></pubsub>", "set", to=to
        ),
        await juliet.iq(
            f"<pubsub xmlns='{OWNER}'><configure node='leaf'>{kind}</configure></pubsub>", "set", to=to
        ),
        await juliet.iq(f"<pubsub xmlns='{OWNER}'><default>{kind}</default></pubsub>", to=to),
        await publish(juliet, "p", to=to, node_type="collection"),
    ]  # fmt: skip
    for answer in answers:
        assert (condition(answer), own(answer)) == ("feature-not-implemented", "unsupported")
        unsupported = answer.find(f".//{{{NS}#errors}}unsupported")
        assert unsupported is not None and unsupported.get("feature") == "collections"
    assert condition(await items(juliet, to, "c")) == condition(await items(juliet, to, "p")) == "item-not-found"


@pytest.mark.server(hosts=HOSTS)
@pytest.mark.parametrize(
    ("to", "itemreply", "publisher"),
    [
        (None, "", None),
        (None, "none", None),
        (None, "publisher", "juliet@localhost"),
        (SERVICE, "", "juliet@localhost"),
        (SERVICE, "none", None),
    ],
)
async def test_what_an_item_tells_of_its_publisher(
    server: Harness, to: str | None, itemreply: str, publisher: str | None
) -> None:
    """Sections 7.1.2.3 and 12.13: the same in events, in the last item and when it is retrieved; never a resource."""
    juliet, romeo = await server.login("juliet", "secret"), await server.login("romeo", presence=True)
    await make(juliet, "n", to, access_model="open", **({"itemreply": itemreply} if itemreply else {}))
    service = to or "juliet@localhost"
    await publish(juliet, "n", to=to)
    await subscribe(romeo, "n", service)
    (last,) = [each for message in await romeo.receive_all() for each in message.iter(f"{EVENT}item")]
    await publish(juliet, "n", to=to)
    (event,) = (await romeo.receive()).iter(f"{EVENT}item")
    found = [last, event]
    for inside, rsm in (("", ""), ("<item id='1'/>", ""), ("", "<set xmlns='http://jabber.org/protocol/rsm'/>")):
        found += (await items(romeo, service, "n", inside=inside, rsm=rsm)).iter(f"{{{NS}}}item")
    assert [each.get("publisher") for each in found] == [publisher] * 5


@pytest.mark.server(hosts=HOSTS)
async def test_who_is_subscribed_by_the_owner_is_told(server: Harness) -> None:
    """Sections 8.8.2 and 8.8.4: only what changes, and a state that is not named stays."""
    juliet, romeo = await server.login("juliet"), await server.login("romeo", presence=True)
    await make(juliet, "n", SERVICE)

    async def change(attributes: str, verb: str = "subscription") -> tuple[str, list[tuple[str | None, str | None]]]:
        inside = f"<{verb}s node='n'><{verb} jid='romeo@localhost'{attributes}/></{verb}s>"
        answer = await juliet.iq(f"<pubsub xmlns='{OWNER}'>{inside}</pubsub>", "set", to=SERVICE)
        told = [each for message in await romeo.receive_all() for each in message.iter(f"{EVENT}subscription")]
        return condition(answer), [(each.get("jid"), each.get("subscription")) for each in told]

    assert await change("") == ("", [])
    assert await change(" subscription='subscribed'") == ("", [("romeo@localhost", "subscribed")])
    assert await change(" subscription='subscribed'") == ("", [])
    assert await change("") == ("", [])
    assert await change(" subscription='none'") == ("", [("romeo@localhost", "none")])
    assert await change(" subscription='unconfigured-x'") == ("bad-request", [])
    await change(" subscription='subscribed'")
    assert await change(" affiliation='outcast'", "affiliation") == ("", [("romeo@localhost", "none")])
    assert await change("", "affiliation") == ("", []), "an affiliation that is not named stays"
    assert await change(" subscription='subscribed'") == ("not-acceptable", [])
    twice = "<affiliation jid='romeo@localhost' affiliation='none'/>" * 2
    inside = f"<pubsub xmlns='{OWNER}'><affiliations node='n'>{twice}</affiliations></pubsub>"
    assert condition(await juliet.iq(inside, "set", to=SERVICE)) == "bad-request"


async def test_an_account_stays_the_owner_of_its_nodes(server: Harness) -> None:
    juliet = await server.login("juliet")
    await publish(juliet, "n")
    change = "<affiliations node='n'><affiliation jid='juliet@localhost' affiliation='none'/></affiliations>"
    assert condition(await juliet.iq(f"<pubsub xmlns='{OWNER}'>{change}</pubsub>", "set")) == "not-acceptable"


# ---- forms (section 16.4), and what is announced (section 10)

REGISTERED = {
    "node_config": [
        "access_model",
        "body_xslt",
        "contact",
        "dataform_xslt",
        "deliver_notifications",
        "deliver_payloads",
        "description",
        "item_expire",
        "itemreply",
        "language",
        "max_items",
        "max_payload_size",
        "node_type",
        "notification_type",
        "notify_config",
        "notify_delete",
        "notify_retract",
        "notify_sub",
        "persist_items",
        "presence_based_delivery",
        "publish_model",
        "publish_node_full",
        "purge_offline",
        "roster_groups_allowed",
        "send_last_published_item",
        "tempsub",
        "subscribe",
        "title",
        "type",
    ],
    "meta-data": [
        "contact",
        "creation_date",
        "creator",
        "description",
        "language",
        "access_model",
        "publish_model",
        "num_subscribers",
        "owner",
        "publisher",
        "title",
        "type",
        "max_items",
    ],
    "subscribe_authorization": ["allow", "node", "subscriber_jid", "subid"],
}
KINDS = {"roster_groups_allowed": "list-multi", "creator": "jid-single", "owner": "jid-multi", "allow": "boolean",
         "subscriber_jid": "jid-single", "subid": "hidden"}  # fmt: skip
LISTS = {"access_model", "itemreply", "node_type", "notification_type", "publish_model", "send_last_published_item"}
BOOLEANS = {"deliver_notifications", "deliver_payloads", "notify_config", "notify_delete", "notify_retract",
            "persist_items"}  # fmt: skip
OTHERS = {"num_items"}
"""Not registered, and told by most servers."""


def fields_of(form: Element) -> dict[str, Element]:
    found = {str(each.get("var")): each for each in form.iter(f"{X}field")}
    kind = found.pop("FORM_TYPE").findtext(f"{X}value") or ""
    names = {var.removeprefix("pubsub#"): field for var, field in found.items()}
    assert set(names) - OTHERS <= set(REGISTERED[kind.removeprefix(f"{NS}#")]), kind
    for name, field in names.items():
        expected = KINDS.get(name, "list-single" if name in LISTS else "boolean" if name in BOOLEANS else "text-single")
        assert field.get("type") == expected, name
    return names


@pytest.mark.server(hosts=HOSTS)
@pytest.mark.parametrize("to", [None, SERVICE])
async def test_forms_are_those_of_the_registry_and_every_option_can_be_chosen(server: Harness, to: str | None) -> None:
    juliet, romeo = await server.login("juliet", presence=True), await server.login("romeo", presence=True)
    await befriend(server, juliet, romeo)
    await make(juliet, "n", to, access_model="authorize")
    answer = await juliet.iq(f"<pubsub xmlns='{OWNER}'><configure node='n'/></pubsub>", to=to)
    offered = fields_of(answer)
    for name, field in offered.items():
        choices = [each.text for each in field.iterfind(f"{X}option/{X}value")]
        assert bool(choices) == (field.get("type") == "list-single")
        assert not choices or field.findtext(f"{X}value") in choices
        for choice in choices:
            chosen = options("node_config", **{name: str(choice)})
            change = f"<pubsub xmlns='{OWNER}'><configure node='n'>{chosen}</configure></pubsub>"
            assert (await juliet.iq(change, "set", to=to)).get("type") == "result", (name, choice)
        wrong = options("node_config", **{name: "no such choice"})
        change = f"<pubsub xmlns='{OWNER}'><configure node='n'>{wrong}</configure></pubsub>"
        if choices:
            assert condition(await juliet.iq(change, "set", to=to)) == "not-acceptable", name
    await juliet.iq(
        f"<pubsub xmlns='{OWNER}'><configure node='n'>{options('node_config', access_model='authorize')}</configure>"
        "</pubsub>", "set", to=to,
    )  # fmt: skip
    info = "<query xmlns='http://jabber.org/protocol/disco#info' node='n'/>"
    shown = fields_of(await juliet.iq(info, to=to or "juliet@localhost"))
    assert (shown["owner"].findtext(f"{X}value"), shown["access_model"].findtext(f"{X}value")) == (
        "juliet@localhost", "authorize",
    )  # fmt: skip
    await juliet.receive_all()
    await subscribe(romeo, "n", to or "juliet@localhost")
    assert set(fields_of(await juliet.receive())) == set(REGISTERED["subscribe_authorization"])


@pytest.mark.server(hosts=HOSTS)
@pytest.mark.parametrize(("to", "presence"), [("juliet@localhost", True), (SERVICE, False)])
async def test_last_published_is_announced_where_it_is_the_default(server: Harness, to: str, presence: bool) -> None:
    """Section 4.3: the feature means on_sub_and_presence, which only an account can do."""
    juliet = await server.login("juliet")
    info = await juliet.iq("<query xmlns='http://jabber.org/protocol/disco#info'/>", to=to)
    announced = f"{NS}#last-published" in {each.get("var") for each in info[0]}
    default = fields_of(await juliet.iq(f"<pubsub xmlns='{OWNER}'><default/></pubsub>", to=to))
    value = default["send_last_published_item"].findtext(f"{X}value")
    assert (announced, value == "on_sub_and_presence") == (presence, presence)


BLOCKING = "urn:xmpp:blocking"
CAUSES = {
    "subscribe": f"<pubsub xmlns='{NS}'><subscribe node='n' jid='juliet@localhost'/></pubsub>",
    "publish": f"<pubsub xmlns='{NS}'><publish node='n'><item id='2'>{CARD}</item></publish></pubsub>",
    "retract": f"<pubsub xmlns='{NS}'><retract node='n' notify='1'><item id='1'/></retract></pubsub>",
    "configure": f"<pubsub xmlns='{OWNER}'><configure node='n'>{options('node_config', notify_config='1')}"
    "</configure></pubsub>",
    "delete": f"<pubsub xmlns='{OWNER}'><delete node='n'/></pubsub>",
    "block": f"<block xmlns='{BLOCKING}'><item jid='romeo@localhost'/></block>",
    "unblock": f"<unblock xmlns='{BLOCKING}'><item jid='romeo@localhost'/></unblock>",
}


@pytest.mark.parametrize("what", CAUSES)
async def test_a_result_comes_before_what_it_causes(server: Harness, what: str) -> None:
    """XEP-0060 sections 6.1.7 and 7.1.2, XEP-0191 section 3.3; also to the session that asked."""
    juliet = await server.login("juliet", presence=True)
    await juliet.iq(f"<blocklist xmlns='{BLOCKING}'/>")
    await announce(juliet, "n")
    await publish(juliet, "n")
    await juliet.receive_all()
    juliet.send(f"<iq type='set' id='asked'>{CAUSES[what]}</iq>")
    got = [(each.get("id") == "asked", each.get("type")) for each in await juliet.receive_all()]
    assert got[0] == (True, "result")
    assert len(got) == 2


async def test_nothing_is_caused_by_what_is_refused(server: Harness) -> None:
    juliet, romeo = await server.login("juliet", presence=True), await server.login("romeo", presence=True)
    await publish(juliet, "n", access_model="open")
    await subscribe(romeo, "n", "juliet@localhost")
    await romeo.receive_all()
    assert condition(await publish(romeo, "n", to="juliet@localhost")) == "forbidden"
    await romeo.silence()
