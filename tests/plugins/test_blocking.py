"""XEP-0191: the matrix of section 3.3 in all forms of an address (T34)."""

from __future__ import annotations

import pytest
from lxml import etree

from tests.harness import Client, Element, Harness, condition, xml

NS = "urn:xmpp:blocking"
LIST = f"<blocklist xmlns='{NS}'/>"
PING = "<ping xmlns='urn:xmpp:ping'/>"
ROMEO = "romeo@localhost/orchard"


def command(name: str, *jids: str) -> str:
    items = "".join(f'<item jid="{jid}"/>' for jid in jids)
    return f"<{name} xmlns='{NS}'>{items}</{name}>"


def jids(answer: Element) -> list[str]:
    return [str(each.get("jid")) for each in answer[0]]


async def couple(server: Harness) -> tuple[Client, Client]:
    """Romeo and Juliet see each other."""
    romeo = await server.login("romeo", "orchard", presence=True)
    juliet = await server.login("juliet", "balcony", presence=True)
    for one, other in ((romeo, juliet), (juliet, romeo)):
        one.send(f"<presence to='{other.bare}' type='subscribe'/>")
        await server.quiet()
        other.send(f"<presence to='{one.bare}' type='subscribed'/>")
        await server.quiet()
    await romeo.receive_all()
    await juliet.receive_all()
    return romeo, juliet


async def block(client: Client, *jids: str) -> None:
    assert (await client.iq(command("block", *jids), "set")).get("type") == "result"
    await client.receive_all()


# ---- the list


async def test_list_block_unblock(server: Harness) -> None:
    juliet = await server.login("juliet")
    assert jids(await juliet.iq(LIST)) == []
    await block(juliet, "romeo@localhost", "MERCUTIO@LOCALHOST", "tybalt@localhost/Sword")
    assert jids(await juliet.iq(LIST)) == ["mercutio@localhost", "romeo@localhost", "tybalt@localhost/Sword"]
    await juliet.iq(command("unblock", "romeo@localhost", "never@blocked"), "set")
    assert jids(await (await server.login("juliet")).iq(LIST)) == ["mercutio@localhost", "tybalt@localhost/Sword"]
    await juliet.iq(command("unblock"), "set")
    assert jids(await juliet.iq(LIST)) == []


async def test_only_who_asked_for_the_list_gets_pushes(server: Harness) -> None:
    first = await server.login("juliet", "one")
    second, third = await server.login("juliet", "two"), await server.login("juliet", "three")
    for client in (first, second):
        await client.iq(LIST)
    await third.iq(command("block", "romeo@localhost"), "set")
    for client in (first, second):
        push = await client.receive()
        assert push.get("type") == "set" and push.get("to") == client.jid and push.get("from") == client.bare
        assert push[0].tag == f"{{{NS}}}block" and jids(push) == ["romeo@localhost"]
        client.send(f"<iq type='result' id='{push.get('id')}'/>")
    await third.silence()
    await first.iq(command("unblock"), "set")
    push = await second.receive()
    assert push[0].tag == f"{{{NS}}}unblock" and len(push[0]) == 0


@pytest.mark.parametrize(
    ("payload", "wanted"),
    [
        (command("block"), "bad-request"),
        (f"<block xmlns='{NS}'><item/></block>", "bad-request"),
        (f"<unblock xmlns='{NS}'><item/></unblock>", "bad-request"),
        (command("block", "a@b@c"), "jid-malformed"),
        (command("block", "@localhost"), "jid-malformed"),
        (command("block", "juliet@localhost"), "not-allowed"),
        (command("block", "romeo@localhost", "juliet@localhost/other"), "not-allowed"),
        (command("block", "localhost"), "not-allowed"),
    ],
)
async def test_what_is_refused(server: Harness, payload: str, wanted: str) -> None:
    juliet = await server.login("juliet")
    assert condition(await juliet.iq(payload, "set")) == wanted
    assert jids(await juliet.iq(LIST)) == []


async def test_lists_are_private(server: Harness) -> None:
    romeo, _ = await server.login("romeo"), await server.login("juliet")
    assert condition(await romeo.iq(LIST, to="juliet@localhost")) == "service-unavailable"
    refused = await romeo.iq(command("block", "x@y"), "set", to="juliet@localhost")
    assert condition(refused) == "service-unavailable"


@pytest.mark.server(plugins={"blocking": {"limit": 2}})
async def test_limit(server: Harness) -> None:
    juliet = await server.login("juliet")
    await block(juliet, "a@b")
    assert condition(await juliet.iq(command("block", "c@d", "e@f"), "set")) == "resource-constraint"
    await block(juliet, "a@b", "c@d")
    assert jids(await juliet.iq(LIST)) == ["a@b", "c@d"]


async def test_nothing_changes_when_the_store_is_away(server: Harness) -> None:
    romeo, juliet = await couple(server)
    server.storage.available = False
    answer = await juliet.iq(command("block", "romeo@localhost"), "set")
    server.storage.available = True
    assert condition(answer) == "resource-constraint"
    await romeo.silence()
    assert jids(await juliet.iq(LIST)) == []


# ---- the matrix


@pytest.mark.parametrize("entry", ["romeo@localhost", "romeo@localhost/orchard"])
async def test_incoming(server: Harness, entry: str) -> None:
    romeo, juliet = await couple(server)
    await block(juliet, entry)
    await romeo.receive_all()

    for to in ("juliet@localhost", "juliet@localhost/balcony"):
        for type in ("chat", "normal", "headline", "groupchat"):  # the last is from no room (ADR 0007)
            romeo.send(f"<message to='{to}' type='{type}' id='m'><body>hi</body></message>")
            refused = await romeo.receive()
            assert refused.get("id") == "m" and condition(refused) == "service-unavailable"
        romeo.send(f"<message to='{to}' type='error' id='e'><error type='cancel'/></message>")
        for type in ("result", "error"):
            romeo.send(f"<iq to='{to}' type='{type}' id='r'/>")
        romeo.send(f"<presence to='{to}'/><presence to='{to}' type='unavailable'/>")
        await romeo.silence()
        for type in ("get", "set"):
            answer = await romeo.iq("<x xmlns='urn:x'/>", type, to=to)
            assert condition(answer) == "service-unavailable"
    await juliet.silence()


async def test_a_probe_is_answered_as_every_stranger_s(server: Harness) -> None:
    """Silence would tell that there is an account, and that it blocks (ADR 0007)."""
    romeo = await server.login("romeo", "orchard", presence=True)
    juliet = await server.login("juliet", "balcony", presence=True)
    await block(juliet, "romeo@localhost")
    await romeo.receive_all()
    answers = []
    for name in ("juliet", "nobody"):
        romeo.send(f"<presence to='{name}@localhost' type='probe'/>")
        answers.append(etree.tostring(await romeo.receive()).decode().replace(name, ""))
    assert answers[0] == answers[1] and "unsubscribed" in answers[0]
    await juliet.silence()


@pytest.mark.parametrize("type", ["subscribe", "subscribed", "unsubscribe", "unsubscribed"])
async def test_subscriptions_get_silence(server: Harness, type: str) -> None:
    romeo = await server.login("romeo", "orchard", presence=True)
    juliet = await server.login("juliet", "balcony", presence=True)
    await block(juliet, "romeo@localhost")
    await romeo.receive_all()
    romeo.send(f"<presence to='juliet@localhost' type='{type}'/>")
    assert not [each for each in await romeo.receive_all() if each.tag == "{jabber:client}presence"]
    await juliet.silence()


async def test_a_full_address_blocks_that_resource_only(server: Harness) -> None:
    juliet = await server.login("juliet", presence=True)
    other = await server.login("romeo", "street")
    await block(juliet, ROMEO)
    other.send("<message to='juliet@localhost' type='chat'><body>hi</body></message>")
    assert (await juliet.receive()).get("from") == "romeo@localhost/street"


async def test_a_blocked_request_looks_like_one_to_nobody(server: Harness) -> None:
    """P03."""
    romeo, juliet = await couple(server)
    await block(juliet, "romeo@localhost")
    await romeo.receive_all()
    for payload in (PING, "<query xmlns='jabber:iq:last'/>", "<vCard xmlns='vcard-temp'/>"):
        blocked = await romeo.iq(payload, to="juliet@localhost", id="x")
        absent = await romeo.iq(payload, to="nobody@localhost", id="x")
        assert xml(blocked).replace("juliet", "nobody") == xml(absent)


@pytest.mark.parametrize("entry", ["romeo@localhost", "romeo@localhost/orchard"])
async def test_outgoing(server: Harness, entry: str) -> None:
    romeo, juliet = await couple(server)
    await block(juliet, entry)
    await romeo.receive_all()
    for stanza in (
        f"<message to='{ROMEO}' type='chat' id='o'><body>hi</body></message>",
        f"<presence to='{ROMEO}' id='o'/>",
        f"<iq to='{ROMEO}' type='get' id='o'>{PING}</iq>",
    ):
        juliet.send(stanza)
        refused = await juliet.receive()
        error = refused.find("{jabber:client}error")
        assert refused.get("id") == "o" and condition(refused) == "not-acceptable"
        assert error is not None and error.get("type") == "cancel"
        assert error.find("{urn:xmpp:blocking:errors}blocked") is not None
    juliet.send(f"<iq to='{ROMEO}' type='result' id='r'/><message to='{ROMEO}' type='error' id='e'/>")
    await juliet.silence()
    await romeo.silence()


async def test_a_domain_blocks_all_below_it(server: Harness) -> None:
    juliet = await server.login("juliet", presence=True)
    await block(juliet, "conference.localhost")
    juliet.send(
        "<presence to='room@conference.localhost/juliet'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
    )
    assert condition(await juliet.receive()) == "not-acceptable"
    answer = await juliet.iq(PING, to="conference.localhost")
    assert condition(answer) == "not-acceptable"


async def test_own_devices_and_server_always_get_through(server: Harness) -> None:
    juliet, other = await server.login("juliet", presence=True), await server.login("juliet", "other")
    await block(juliet, "romeo@localhost", "conference.localhost")
    other.send("<message to='juliet@localhost' type='chat'><body>note</body></message>")
    assert any(each.tag == "{jabber:client}message" for each in await juliet.receive_all())
    assert (await juliet.iq(PING, to="localhost")).get("type") == "result"


# ---- presence


async def test_the_blocked_contact_sees_the_account_leave_and_return(server: Harness) -> None:
    romeo, juliet = await couple(server)
    await block(juliet, "romeo@localhost")
    gone = await romeo.receive()
    assert (gone.get("type"), gone.get("from")) == ("unavailable", "juliet@localhost/balcony")
    juliet.send("<presence><status>secret</status></presence>")
    await romeo.silence()
    romeo.send("<presence><status>here</status></presence>")
    found = await juliet.receive_all()
    assert not [each for each in found if each.get("from") == ROMEO]
    await romeo.receive_all()
    assert (await juliet.iq(command("unblock", "romeo@localhost"), "set")).get("type") == "result"
    back = await romeo.receive()
    assert back.get("type") is None and back.get("from") == "juliet@localhost/balcony"


async def test_a_blocked_contact_who_signs_in_sees_nothing(server: Harness) -> None:
    romeo, juliet = await couple(server)
    await block(juliet, "romeo@localhost")
    romeo.close()
    await server.quiet()
    again = await server.login("romeo", "orchard")
    again.send("<presence/>")
    assert not [each for each in await again.receive_all() if str(each.get("from")).startswith("juliet")]


async def test_blocking_a_stranger_tells_him_nothing(server: Harness) -> None:
    romeo = await server.login("romeo", presence=True)
    juliet = await server.login("juliet", presence=True)
    await block(juliet, "romeo@localhost")
    await juliet.iq(command("unblock"), "set")
    await romeo.silence()


async def test_a_list_outlives_its_sessions(server: Harness) -> None:
    romeo = await server.login("romeo")
    juliet = await server.login("juliet")
    await block(juliet, "romeo@localhost")
    juliet.close()
    await server.quiet()
    romeo.send("<message to='juliet@localhost' type='chat' id='m'><body>hi</body></message>")
    assert condition(await romeo.receive()) == "service-unavailable"
    again = await server.login("juliet")
    again.send("<presence/>")
    assert not [each for each in await again.receive_all() if each.tag == "{jabber:client}message"]


async def test_strangers_cannot_ask_for_a_list_by_claiming_to_speak_for_somebody(server: Harness) -> None:
    """ADR 0007: only what a room writes says for whom it speaks (XEP-0045 section 7.8.2)."""
    romeo, juliet = await server.login("romeo"), await server.login("juliet", presence=True)
    await block(juliet, "tybalt@localhost")
    for name in ("invite", "decline"):
        for who in ("tybalt@localhost", "nobody@localhost"):
            claim = f"<x xmlns='http://jabber.org/protocol/muc#user'><{name} from='{who}'/></x>"
            romeo.send(f"<message to='{juliet.bare}' id='m'>{claim}<body>psst</body></message>")
            await romeo.silence()
            assert "psst" in xml(await juliet.receive())


async def test_a_groupchat_message_of_a_person_bounces_as_everybody_s(server: Harness) -> None:
    """ADR 0007: from who is blocked, to who is not there, to who would not take it anyway."""
    romeo, juliet = await server.login("romeo"), await server.login("juliet", presence=True)
    await server.login("nurse", presence=True)
    await block(juliet, romeo.bare)
    heard = set()
    for name in ("juliet", "nurse", "nobody"):
        romeo.send(f"<message to='{name}@localhost' type='groupchat' id='m'><body>hi</body></message>")
        heard.add(xml(await romeo.receive()).replace(f"{name}@", "X@"))
    assert len(heard) == 1, heard
