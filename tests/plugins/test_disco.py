"""XEP-0030, XEP-0128, XEP-0157."""

from __future__ import annotations

import pytest

from tests.harness import Client, Element, Harness, condition, xml

INFO = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
ITEMS = "<query xmlns='http://jabber.org/protocol/disco#items'/>"
INFO_NS = "{http://jabber.org/protocol/disco#info}"


def features(answer: Element) -> list[str]:
    return [str(each.get("var")) for each in answer[0].iter(INFO_NS + "feature")]


def identities(answer: Element) -> list[tuple[str, str]]:
    return [(str(each.get("category")), str(each.get("type"))) for each in answer[0].iter(INFO_NS + "identity")]


async def befriend(server: Harness, owner: str, contact: str) -> tuple[Client, Client]:
    """`contact` gets the presence of `owner`."""
    one, other = await server.login(owner, presence=True), await server.login(contact, presence=True)
    other.send(f"<presence to='{owner}@localhost' type='subscribe'/>")
    await server.quiet()
    one.send(f"<presence to='{contact}@localhost' type='subscribed'/>")
    await one.receive_all()
    await other.receive_all()
    return one, other


async def test_the_host(server: Harness) -> None:
    romeo = await server.login("romeo")
    answer = await romeo.iq(INFO, to="localhost")
    assert identities(answer) == [("server", "im")]
    found = features(answer)
    assert found == sorted(set(found))
    for each in ("http://jabber.org/protocol/disco#info", "urn:xmpp:ping", "urn:xmpp:blocking", "vcard-temp"):
        assert each in found


async def test_the_same_question_has_the_same_answer(server: Harness) -> None:
    romeo = await server.login("romeo")
    answers = [xml((await romeo.iq(INFO, to="localhost"))[0]) for _ in range(2)]
    assert answers[0] == answers[1]


async def test_own_account(server: Harness) -> None:
    romeo = await server.login("romeo")
    for to in (None, "romeo@localhost"):
        answer = await romeo.iq(INFO, to=to)
        assert identities(answer) == [("account", "registered"), ("pubsub", "pep")]
        assert "urn:xmpp:ping" in features(answer)


async def test_service_hosts_are_items(server: Harness) -> None:
    romeo = await server.login("romeo")
    answer = await romeo.iq(ITEMS, to="localhost")
    assert [each.get("jid") for each in answer[0]] == ["conference.localhost"]
    assert len((await romeo.iq(ITEMS))[0]) == 0


@pytest.mark.parametrize("ns", ["info", "items"])
@pytest.mark.parametrize("to", ["localhost", "romeo@localhost"])
async def test_unknown_nodes(server: Harness, ns: str, to: str) -> None:
    romeo = await server.login("romeo")
    query = f"<query xmlns='http://jabber.org/protocol/disco#{ns}' node='nowhere'/>"
    assert condition(await romeo.iq(query, to=to)) == "item-not-found"


@pytest.mark.parametrize("query", [INFO, ITEMS])
async def test_strangers_cannot_tell_an_account_from_none(server: Harness, query: str) -> None:
    romeo = await server.login("romeo")
    await server.login("juliet", presence=True)
    there = await romeo.iq(query, to="juliet@localhost", id="x")
    absent = await romeo.iq(query, to="nobody@localhost", id="x")
    if query == INFO:
        assert condition(there) == "service-unavailable"
    else:  # section 8
        assert there.get("type") == "result" and len(there[0]) == 0
    assert xml(there).replace("juliet", "nobody") == xml(absent)


async def test_subscribers_see_the_account(server: Harness) -> None:
    juliet, romeo = await befriend(server, "juliet", "romeo")
    answer = await romeo.iq(INFO, to="juliet@localhost")
    assert identities(answer) == [("account", "registered"), ("pubsub", "pep")]
    assert condition(await juliet.iq(INFO, to="romeo@localhost")) == "service-unavailable"


@pytest.mark.server(plugins={"disco": {"abuse": ["mailto:abuse@localhost"], "name": "Verona"}})
async def test_contact_addresses(server: Harness) -> None:
    romeo = await server.login("romeo")
    answer = await romeo.iq(INFO, to="localhost")
    data = "{jabber:x:data}"
    values = {
        str(field.get("var")): [value.text for value in field.iter(data + "value")]
        for form in answer[0].iter(data + "x")
        for field in form
        if form.findtext(f"{data}field[@var='FORM_TYPE']/{data}value") == "http://jabber.org/network/serverinfo"
    }
    assert values == {
        "FORM_TYPE": ["http://jabber.org/network/serverinfo"],
        "abuse-addresses": ["mailto:abuse@localhost"],
    }
    identity = answer[0].find(INFO_NS + "identity")
    assert identity is not None and identity.get("name") == "Verona"
