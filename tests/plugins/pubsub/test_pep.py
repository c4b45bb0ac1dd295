"""XEP-0163, with the caps that it rests on (XEP-0115), and what nodes keep."""

from __future__ import annotations

import pytest

from plugins.entity_caps import verification
from tests.harness import Client, Element, Harness, condition, xml
from xmppd.xml import parse

from .test_access import CARD, NS, OWNER, befriend, ids, items, options, own, publish

EVENT = f"{NS}#event"
INFO = "http://jabber.org/protocol/disco#info"
CAPS = "http://jabber.org/protocol/caps"


def info(*nodes: str) -> str:
    features = "".join(f"<feature var='{node}+notify'/>" for node in nodes)
    return f"<query xmlns='{INFO}'><identity category='client' type='phone'/>{features}</query>"


def caps(ver: str) -> str:
    return f"<presence><c xmlns='{CAPS}' hash='sha-1' node='urn:client' ver='{ver}'/></presence>"


async def announce(client: Client, *nodes: str, ver: str = "") -> bool:
    """Presence with caps; whether the server asked what they stand for (the answer is given)."""
    client.send(caps(ver or verification(parse(info(*nodes).encode()))))
    await client.harness.quiet()
    await client.harness.until(lambda: any(each.tag == "{jabber:client}iq" for each in client.inbox))
    for each in list(client.inbox):
        if each.tag == "{jabber:client}iq" and each.get("type") == "get" and each.find(f"{{{INFO}}}query") is not None:
            client.inbox.remove(each)
            client.send(f"<iq type='result' id='{each.get('id')}' to='{each.get('from')}'>{info(*nodes)}</iq>")
            await client.harness.quiet()
            return True
    return False


def events(found: list[Element], node: str = "n") -> list[str]:
    return [
        str(item.get("id"))
        for each in found
        for held in each.iter(f"{{{EVENT}}}items")
        if held.get("node") == node
        for item in held.iter(f"{{{EVENT}}}item", f"{{{EVENT}}}retract")
    ]


async def test_who_is_interested_is_told(server: Harness) -> None:
    juliet, romeo = await server.login("juliet", "phone"), await server.login("romeo", "desk")
    nurse = await server.login("nurse")
    for client in (juliet, romeo, nurse):
        client.send("<presence/>")
    await befriend(server, juliet, romeo)
    await befriend(server, juliet, nurse)
    assert await announce(romeo, "n", "m")
    assert await announce(juliet, "n")
    assert await announce(nurse, "other")
    await server.quiet()
    for client in (juliet, romeo, nurse):
        await client.receive_all()
    await publish(juliet, "n", "1")
    await server.quiet()
    told = await romeo.receive_all()
    assert events(told) == ["1"]
    assert (told[0].get("from"), told[0].get("type"), told[0].get("to")) == ("juliet@localhost", "headline", romeo.jid)
    assert events(await juliet.receive_all()) == ["1"], "the publisher's own device, too"
    assert events(await nurse.receive_all()) == []


async def test_caps_are_asked_for_once(server: Harness) -> None:
    one, two = await server.login("one"), await server.login("two")
    assert await announce(one, "n")
    assert not await announce(two, "n")
    await publish(two, "n")
    assert events(await two.receive_all()) == ["1"]


@pytest.mark.parametrize(
    "written",
    [
        "<c xmlns='{ns}' hash='sha-1' node='urn:client' ver='{ver}'/>",
        "<e:c xmlns:e='{ns}' hash='sha-1' node='urn:client' ver='{ver}'/>",
        "<c xmlns='{ns}' hash='sha-1' node='>' ver='{ver}'/>",
        "<c hash='sha-1' ver='{ver}' node='urn:client' xmlns='{ns}'></c>",
        "<c xmlns='urn:other'/><e:c xmlns:e='{ns}' hash='sha-1' node='urn:client' ver='{ver}'/>",
        "<c node='{ns}' xmlns='urn:other'/><e:c xmlns:e='{ns}' hash='sha-1' node='urn:client' ver='{ver}'/>",
        "<x xmlns='urn:x'><c xmlns='{ns}' ver='a'/></x><c xmlns='{ns}' hash='sha-1' node='urn:client' ver='{ver}'/>",
    ],
)
async def test_what_is_new_is_noticed_however_it_is_written(server: Harness, written: str) -> None:
    juliet = await server.login("juliet")
    asked: list[str] = []
    for ver in ("1", "1", "2", "2", "1"):
        juliet.send(f"<presence><status>{len(asked)}</status>{written.format(ns=CAPS, ver=ver)}</presence>")
        asked += [
            str(query.get("node")).rpartition("#")[2]
            for each in await juliet.receive_all()
            for query in each.iter(f"{{{INFO}}}query")
        ]
    assert asked == ["1", "2", "1"]


async def test_a_forged_hash_deceives_nobody_else(server: Harness) -> None:
    """T34: an answer that does not fit its hash counts for the session that gave it."""
    true = verification(parse(info("n").encode()))
    mallory, juliet = await server.login("mallory"), await server.login("juliet")
    assert await announce(mallory, "secret", ver=true)
    await publish(mallory, "secret")
    assert events(await mallory.receive_all(), "secret") == ["1"]
    assert await announce(juliet, "n"), "asked again, since the forged answer was not kept"
    await publish(juliet, "n")
    await publish(juliet, "secret")
    found = await juliet.receive_all()
    assert (events(found), events(found, "secret")) == (["1"], [])


async def test_the_last_item_comes_with_presence(server: Harness) -> None:
    """Section 4.3.4: of the own account and of contacts, online or not."""
    juliet, romeo = await server.login("juliet", presence=True), await server.login("romeo", presence=True)
    await befriend(server, juliet, romeo)
    for number in ("1", "2"):
        await publish(juliet, "n", number, max_items="max") if number == "1" else await publish(juliet, "n", number)
    await publish(romeo, "n", "mine")
    await publish(juliet, "closed", "x", access_model="whitelist")
    juliet.close()
    romeo.close()
    await server.quiet()
    romeo = await server.login("romeo", "new")
    await announce(romeo, "n", "closed")
    await server.quiet()
    found = await romeo.receive_all()
    assert sorted(events(found)) == ["2", "mine"]
    assert events(found, "closed") == []
    hers = [each for each in found if each.get("from") == "juliet@localhost" and events([each])]
    assert [each.find("{urn:xmpp:delay}delay") is not None for each in hers] == [True], [xml(each) for each in hers]


@pytest.mark.parametrize("approved", ["afterwards", "before"])
async def test_the_last_item_comes_with_the_subscription(server: Harness, approved: str) -> None:
    """Two people who are online become contacts: without it neither has the other's OMEMO devices until one of them
    signs in anew (seen with Gajim)."""
    juliet, romeo = await server.login("juliet"), await server.login("romeo")
    await announce(juliet, "n", "closed")
    await announce(romeo, "n", "closed")
    await publish(juliet, "n", "hers")
    await publish(juliet, "closed", "x", access_model="whitelist")
    await publish(romeo, "n", "his")
    for client in (juliet, romeo):
        await client.receive_all()
    requests = [(romeo, "<presence type='subscribe' to='juliet@localhost'/>")]
    requests.insert(approved == "afterwards", (juliet, "<presence type='subscribed' to='romeo@localhost'/>"))
    for sender, request in requests:
        sender.send(request)
        await server.quiet()
    found = await romeo.receive_all()
    assert (events(found), events(found, "closed")) == (["hers"], [])
    assert events(await juliet.receive_all()) == [], "she does not see him"
    juliet.send("<presence type='subscribe' to='romeo@localhost'/>")
    await server.quiet()
    romeo.send("<presence type='subscribed' to='juliet@localhost'/>")
    await server.quiet()
    assert events(await juliet.receive_all()) == ["his"]
    assert events(await romeo.receive_all()) == [], "once"
    romeo.send("<presence type='unsubscribe' to='juliet@localhost'/>")
    await server.quiet()
    assert events(await romeo.receive_all()) == []


async def test_who_comes_back_gets_the_last_item_again(server: Harness) -> None:
    juliet = await server.login("juliet")
    await publish(juliet, "n")
    await announce(juliet, "n")
    assert events(await juliet.receive_all()) == ["1"]
    juliet.send("<presence type='unavailable'/>")
    await publish(juliet, "n", "2")
    assert events(await juliet.receive_all()) == []
    await announce(juliet, "n")
    assert events(await juliet.receive_all()) == ["2"]


async def test_max_items_and_a_new_version_of_an_item(server: Harness) -> None:
    juliet = await server.login("juliet")
    await publish(juliet, "n", "1", max_items="3")
    for id in ("2", "3", "1", "4"):
        await publish(juliet, "n", id)
    assert ids(await items(juliet, None, "n")) == ["3", "1", "4"]
    assert ids(await items(juliet, None, "n", " max_items='2'")) == ["1", "4"]
    assert ids(await items(juliet, None, "n", inside="<item id='3'/><item id='none'/>")) == ["3"]
    assert condition(await items(juliet, None, "n", " max_items='none'")) == "bad-request"


async def test_one_item_is_the_default(server: Harness) -> None:
    juliet = await server.login("juliet")
    for id in ("1", "2"):
        await publish(juliet, "n", id)
    assert ids(await items(juliet, None, "n")) == ["2"]


async def test_pages(server: Harness) -> None:
    """XEP-0059 over items, oldest first as without pages; <before/> gives the newest page."""
    juliet = await server.login("juliet")
    await publish(juliet, "n", "0", max_items="max")
    for number in range(1, 7):
        await publish(juliet, "n", str(number))

    async def page(inside: str, more: str = "") -> tuple[list[str], str]:
        answer = await items(juliet, None, "n", more, rsm=f"<set xmlns='http://jabber.org/protocol/rsm'>{inside}</set>")
        return ids(answer), answer.findtext(".//{http://jabber.org/protocol/rsm}count") or condition(answer)

    assert await page("<max>3</max>") == (["0", "1", "2"], "7")
    assert await page("") == (ids(await items(juliet, None, "n")), "7")
    assert await page("<max>3</max><after>2</after>") == (["3", "4", "5"], "7")
    assert await page("<max>3</max><after>5</after>") == (["6"], "7")
    assert await page("<max>2</max><before/>") == (["5", "6"], "7")
    assert await page("<max>2</max><before>5</before>") == (["3", "4"], "7")
    assert await page("<max>0</max>") == ([], "7")
    assert await page("<after>none</after>") == ([], "item-not-found")
    newest = " max_items='4'"
    assert await page("<max>3</max>", newest) == (["3", "4", "5"], "4"), "pages of the four newest"
    assert await page("<max>3</max><after>5</after>", newest) == (["6"], "4")
    assert await page("<max>3</max><before>5</before>", newest) == (["3", "4"], "4")
    assert await page("<max>2</max><after>0</after>", newest) == (["3", "4"], "4")


async def test_items_expire(server: Harness) -> None:
    juliet = await server.login("juliet")
    await publish(juliet, "n", "1", item_expire="60", max_items="max")
    await server.advance(40)
    await publish(juliet, "n", "2")
    await server.advance(30)
    assert ids(await items(juliet, None, "n")) == ["2"]
    await server.host.plugins["pubsub"].sweep()
    from xmppd.storage.api import Range

    kept = await server.storage.log("pubsub").page("juliet@localhost", Range(), 10)
    assert [entry.resource for entry in kept] == ["2"], "gone from the store, too"


async def test_stories_end_after_a_day(server: Harness) -> None:
    """XEP-0501."""
    node = "urn:xmpp:pubsub-social-feed:stories:0"
    juliet = await server.login("juliet")
    await publish(juliet, node, "1")
    await publish(juliet, node, "2")
    assert ids(await items(juliet, None, node)) == ["1", "2"]
    server.clock.wall += 86_000
    assert ids(await items(juliet, None, node)) == ["1", "2"]
    server.clock.wall += 500
    assert ids(await items(juliet, None, node)) == []


async def test_publish_options(server: Harness) -> None:
    """Section 7.1.5: the configuration of a new node, a condition for one that is there."""
    juliet = await server.login("juliet")
    await publish(juliet, "n", access_model="open", max_items="max")
    answer = await publish(juliet, "n", "2", access_model="whitelist")
    assert (condition(answer), own(answer)) == ("conflict", "precondition-not-met")
    assert own(await publish(juliet, "n", "2", unheard_of="1")) == "precondition-not-met"
    assert (await publish(juliet, "n", "2", access_model="open")).get("type") == "result"
    assert ids(await items(juliet, None, "n")) == ["1", "2"]
    assert condition(await publish(juliet, "new", access_model="nonsense")) == "not-acceptable"
    assert condition(await items(juliet, None, "new")) == "item-not-found"


@pytest.mark.server(plugins={"pubsub": {"item_size": 1024, "nodes": 2, "items": 3, "subscriptions": 2}})
async def test_bounds(server: Harness) -> None:
    """T35, T40: what is too large, too many, or no item."""
    juliet = await server.login("juliet")
    answer = await publish(juliet, "n", payload=f"<x xmlns='urn:x'>{'x' * 1100}</x>")
    assert (condition(answer), own(answer)) == ("not-acceptable", "payload-too-big")
    assert condition(await items(juliet, None, "n")) == "item-not-found"
    await publish(juliet, "n", max_items="max")
    for number in range(2, 6):
        await publish(juliet, "n", str(number))
    assert ids(await items(juliet, None, "n")) == ["3", "4", "5"]
    await publish(juliet, "m")
    answer = await publish(juliet, "o")
    assert (condition(answer), own(answer)) == ("resource-constraint", "max-nodes-exceeded")
    for payload, found in (("", "payload-required"), (CARD * 2, "invalid-payload")):
        assert own(await publish(juliet, "n", payload=payload)) == found
    assert condition(await publish(juliet, "n", id="x" * 2000)) == "not-acceptable"
    assert own(await publish(juliet, "")) == "nodeid-required"
    empty = await juliet.iq(f"<pubsub xmlns='{NS}'><publish node='n'/></pubsub>", "set")
    assert own(empty) == "item-required"
    for what in ("<nonsense/>", "<options node='n' jid='juliet@localhost'/>"):
        assert condition(await juliet.iq(f"<pubsub xmlns='{NS}'>{what}</pubsub>", "set")) == "feature-not-implemented"
    assert condition(await juliet.iq(f"<pubsub xmlns='{NS}'/>", "set")) == "bad-request"


async def test_a_node_that_is_not_there_has_the_number_that_profanity_looks_for(server: Harness) -> None:
    """Without it Profanity never announces its OMEMO device (seen with 0.13.1)."""
    juliet = await server.login("juliet")
    answer = await items(juliet, None, "eu.siacs.conversations.axolotl.devicelist")
    (error,) = answer.findall("{*}error")
    assert (condition(answer), dict(error.attrib)) == ("item-not-found", {"type": "cancel", "code": "404"})


async def test_retract_purge_and_delete(server: Harness) -> None:
    juliet = await server.login("juliet")
    await announce(juliet, "n")
    await publish(juliet, "n", "1", max_items="max", notify_retract="0")
    await publish(juliet, "n", "2")
    await juliet.receive_all()
    gone = f"<pubsub xmlns='{NS}'><retract node='n'{{0}}><item id='{{1}}'/></retract></pubsub>"
    assert (await juliet.iq(gone.format("", "1"), "set")).get("type") == "result"
    assert events(await juliet.receive_all()) == []
    assert (await juliet.iq(gone.format(" notify='true'", "2"), "set")).get("type") == "result"
    assert events(await juliet.receive_all()) == ["2"]
    assert condition(await juliet.iq(gone.format("", "2"), "set")) == "item-not-found"
    await publish(juliet, "n", "3")
    await juliet.receive_all()
    assert (await juliet.iq(f"<pubsub xmlns='{OWNER}'><purge node='n'/></pubsub>", "set")).get("type") == "result"
    assert ids(await items(juliet, None, "n")) == []
    answer = await juliet.iq(f"<pubsub xmlns='{OWNER}'><delete node='n'/></pubsub>", "set")
    assert answer.get("type") == "result"
    told = await juliet.receive_all()
    assert told[-1].find(f".//{{{EVENT}}}delete") is not None
    assert condition(await items(juliet, None, "n")) == "item-not-found"


async def test_what_is_published_is_on_disk(server: Harness) -> None:
    """Nobody is told of what is not committed."""
    juliet = await server.login("juliet")
    await announce(juliet, "n")
    await publish(juliet, "n", "1")
    await juliet.receive_all()
    server.backend.hold()
    item = f"<publish node='n'><item id='2'>{CARD}</item></publish>"
    juliet.send(f"<iq type='set' id='p'><pubsub xmlns='{NS}'>{item}</pubsub></iq>")
    await juliet.silence()
    server.backend.release()
    assert events(await juliet.receive_all()) == ["2"]


async def test_discovery(server: Harness) -> None:
    juliet, romeo = await server.login("juliet", presence=True), await server.login("romeo", presence=True)
    await befriend(server, juliet, romeo)
    await publish(juliet, "n", title="Hers")
    await publish(juliet, "closed", access_model="whitelist")
    answer = await romeo.iq(f"<query xmlns='{INFO}'/>", to="juliet@localhost")
    assert {("pubsub", "pep")} <= {(each.get("category"), each.get("type")) for each in answer[0]}
    assert {f"{NS}#publish-options", f"{NS}#config-node-max"} <= {each.get("var") for each in answer[0]}
    answer = await romeo.iq("<query xmlns='http://jabber.org/protocol/disco#items'/>", to="juliet@localhost")
    assert [(each.get("node"), each.get("name")) for each in answer[0]] == [("n", "Hers")]
    answer = await romeo.iq(f"<query xmlns='{INFO}' node='n'/>", to="juliet@localhost")
    assert answer.findtext(".//{jabber:x:data}field[@var='pubsub#num_items']/{jabber:x:data}value") == "1"
    assert (
        condition(await romeo.iq(f"<query xmlns='{INFO}' node='closed'/>", to="juliet@localhost")) == "item-not-found"
    )


async def test_configuration(server: Harness) -> None:
    juliet = await server.login("juliet")
    await juliet.iq(f"<pubsub xmlns='{NS}'><create node='n'/></pubsub>", "set")
    answer = await juliet.iq(f"<pubsub xmlns='{NS}'><create node='n'/></pubsub>", "set")
    assert condition(answer) == "conflict"
    made = await juliet.iq(f"<pubsub xmlns='{NS}'><create/></pubsub>", "set")
    assert made[0][0].get("node")
    configure = f"<pubsub xmlns='{OWNER}'><configure node='n'>{{}}</configure></pubsub>"
    for wrong in ({"access_model": "none"}, {"max_items": "-1"}, {"persist_items": "maybe"}):
        answer = await juliet.iq(configure.format(options("node_config", **wrong)), "set")
        assert condition(answer) in ("not-acceptable", "bad-request"), wrong
    await juliet.iq(configure.format(options("node_config", access_model="open", title="Mine")), "set")
    shown = await juliet.iq(f"<pubsub xmlns='{OWNER}'><configure node='n'/></pubsub>")
    values = {each.get("var"): each.findtext("{jabber:x:data}value") for each in shown.iter("{jabber:x:data}field")}
    assert (values["pubsub#access_model"], values["pubsub#title"]) == ("open", "Mine")
    assert values["pubsub#max_items"] == "1"


async def test_a_deleted_account_leaves_no_items(server: Harness) -> None:
    juliet = await server.login("juliet")
    await publish(juliet, "n")
    answer = await juliet.iq("<query xmlns='jabber:iq:register'><remove/></query>", "set")
    await server.quiet()
    del answer
    again = await server.login("juliet")
    assert condition(await items(again, None, "n")) == "item-not-found"


async def test_the_interested_hear_what_they_may_read(server: Harness) -> None:
    """XEP-0163 section 4.3.1: interest is no right. Of two contacts one is on the whitelist."""
    juliet, romeo, nurse = [await server.login(name, "r", presence=True) for name in ("juliet", "romeo", "nurse")]
    for client in (romeo, nurse):
        await befriend(server, juliet, client)
        await announce(client, "n")
    await publish(juliet, "n", access_model="whitelist")
    member = "<affiliation jid='romeo@localhost' affiliation='member'/>"
    await juliet.iq(f"<pubsub xmlns='{OWNER}'><affiliations node='n'>{member}</affiliations></pubsub>", "set")
    for client in (romeo, nurse):
        await client.receive_all()
    await publish(juliet, "n", "2")
    assert events(await romeo.receive_all()) == ["2"]
    assert events(await nurse.receive_all()) == []
