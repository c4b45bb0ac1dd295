"""RFC 6121 section 2 over a whole server."""

from __future__ import annotations

import pytest

from plugins.roster import NS, RosterPlugin
from tests.harness import Client, Element, Harness, condition, xml
from xmppd.contracts.roster import ROSTER, RosterItem
from xmppd.storage.api import DataError

QUERY = f"<query xmlns='{NS}'/>"


def change(inside: str) -> str:
    return f"<query xmlns='{NS}'>{inside}</query>"


def items(iq: Element) -> dict[str, dict[str, str]]:
    """The items of a result or push by address: attributes, and "groups" joined."""
    found = {}
    for item in iq.iter(f"{{{NS}}}item"):
        attributes = {str(key): str(value) for key, value in item.attrib.items()}
        attributes["groups"] = ",".join(group.text or "" for group in item)
        found[attributes.pop("jid")] = attributes
    return found


def is_push(element: Element) -> bool:
    return element.tag == "{jabber:client}iq" and element.get("type") == "set"


async def user(server: Harness, name: str, interested: bool = True, resource: str | None = None) -> Client:
    client = await server.login(name, resource)
    if interested:
        assert (await client.iq(QUERY)).get("type") == "result"
    return client


async def test_a_new_account_has_an_empty_list(server: Harness) -> None:
    romeo = await server.login("romeo")
    answer = await romeo.iq(QUERY)
    assert answer.get("type") == "result"
    assert items(answer) == {}
    assert answer[0].get("ver") is not None, "also for who sent none (section 2.6.3)"


async def test_features_are_told_after_sign_in(server: Harness) -> None:
    romeo = await server.login("romeo")
    assert romeo.features.find("{urn:xmpp:features:rosterver}ver") is not None
    assert romeo.features.find("{urn:xmpp:features:pre-approval}sub") is not None


async def test_add_update_remove(server: Harness) -> None:
    romeo, other = await user(server, "romeo", resource="a"), await user(server, "romeo", resource="b")
    quiet = await user(server, "romeo", interested=False, resource="c")
    added = change("<item jid='juliet@localhost' name='Juliet'><group>Lovers</group><group>X</group></item>")
    assert (await romeo.iq(added, "set")).get("type") == "result"
    ids = set()
    for client in (romeo, other):
        push = await client.receive()
        assert is_push(push)
        assert push.get("to") == client.jid
        assert push.get("from") == client.bare, "section 2.1.6; Profanity 0.15.0 ignores one without"
        expected = {"name": "Juliet", "subscription": "none", "groups": "Lovers,X"}
        assert items(push) == {"juliet@localhost": expected}
        ids.add(push.get("id"))
    assert len(ids) == 2
    assert None not in ids
    await quiet.silence()

    await romeo.iq(change("<item jid='juliet@localhost'/>"), "set")
    for client in (romeo, other):
        assert items(await client.receive()) == {"juliet@localhost": {"subscription": "none", "groups": ""}}

    gone = await romeo.iq(change("<item jid='juliet@localhost' subscription='remove'/>"), "set")
    assert gone.get("type") == "result"
    assert items(await other.receive())["juliet@localhost"]["subscription"] == "remove"
    assert items(await other.iq(QUERY)) == {}


async def test_the_push_comes_before_the_result(server: Harness) -> None:
    romeo = await user(server, "romeo")
    added = change("<item jid='juliet@localhost'/>")
    romeo.send(f"<iq type='set' id='1'>{added}</iq>")
    assert is_push(await romeo.receive())
    assert (await romeo.receive()).get("id") == "1"


async def test_answers_to_pushes_are_absorbed(server: Harness) -> None:
    romeo = await user(server, "romeo")
    await romeo.iq(change("<item jid='juliet@localhost'/>"), "set")
    push = await romeo.receive()
    id = push.get("id")
    for to in ("", " to='romeo@localhost'", " to='localhost'"):
        romeo.send(f"<iq type='result' id='{id}'{to}/>")
    romeo.send(f"<iq type='error' id='{id}'><error type='cancel'/></iq>")
    await romeo.silence()


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("", "bad-request"),
        ("<item jid='a@localhost'/><item jid='b@localhost'/>", "bad-request"),
        ("<thing/>", "bad-request"),
        ("<item/>", "jid-malformed"),
        ("<item jid='@localhost'/>", "jid-malformed"),
        ("<item jid='a@localhost'><group>x</group><group>x</group></item>", "bad-request"),
        ("<item jid='a@localhost'><group/></item>", "not-acceptable"),
        (f"<item jid='a@localhost' name='{'n' * 21}'/>", "not-acceptable"),
        (f"<item jid='a@localhost'><group>{'n' * 21}</group></item>", "not-acceptable"),
        ("<item jid='a@localhost'><group>1</group><group>2</group><group>3</group></item>", "not-acceptable"),
        ("<item jid='nobody@localhost' subscription='remove'/>", "item-not-found"),
    ],
)
@pytest.mark.server(plugins={"roster": {"name_length": 20, "groups": 2}})
async def test_bad_changes_change_nothing(server: Harness, inside: str, expected: str) -> None:
    romeo = await user(server, "romeo")
    assert condition(await romeo.iq(change(inside), "set")) == expected
    await romeo.silence()
    assert items(await romeo.iq(QUERY)) == {}


async def test_clients_do_not_set_subscriptions(server: Harness) -> None:
    """Section 2.1.2.5: only the server does; also `ask` and `approved`."""
    romeo = await user(server, "romeo")
    forged = "<item jid='juliet@localhost' subscription='both' ask='subscribe' approved='true'/>"
    assert (await romeo.iq(change(forged), "set")).get("type") == "result"
    assert items(await romeo.iq(QUERY)) == {"juliet@localhost": {"subscription": "none", "groups": ""}}


async def test_addresses_have_one_form(server: Harness) -> None:
    romeo = await user(server, "romeo")
    for jid in ("Juliet@LOCALHOST", "juliet@localhost/balcony", "ｊｕｌｉｅｔ@localhost"):
        assert (await romeo.iq(change(f"<item jid='{jid}'/>"), "set")).get("type") == "result"
    assert list(items(await romeo.iq(QUERY))) == ["juliet@localhost"]


async def test_another_account_s_list_is_closed(server: Harness) -> None:
    """R06."""
    romeo, juliet = await user(server, "romeo"), await user(server, "juliet")
    assert condition(await romeo.iq(QUERY, "get", to=juliet.bare)) == "service-unavailable"
    added = change("<item jid='romeo@localhost'/>")
    there = await romeo.iq(added, "set", to=juliet.bare, id="x")
    absent = await romeo.iq(added, "set", to="nobody@localhost", id="x")
    assert condition(there) == "forbidden", "section 2.3.3"
    assert xml(there).replace("juliet", "nobody") == xml(absent)
    assert items(await juliet.iq(QUERY)) == {}


async def test_a_forged_push_is_not_delivered(server: Harness) -> None:
    """R06: the answer is that of a resource that is not there."""
    romeo, juliet = await user(server, "romeo"), await user(server, "juliet")
    forged = change("<item jid='evil@localhost' subscription='both'/>")
    there = await romeo.iq(forged, "set", to=juliet.jid)
    absent = await romeo.iq(forged, "set", to="juliet@localhost/nowhere")
    assert condition(there) == condition(absent) == "service-unavailable"
    await juliet.silence()


@pytest.mark.server(plugins={"roster": {"contacts": 2}})
async def test_a_full_list_takes_no_more(server: Harness) -> None:
    romeo = await user(server, "romeo")
    for name in ("a", "b"):
        await romeo.iq(change(f"<item jid='{name}@localhost'/>"), "set")
    assert condition(await romeo.iq(change("<item jid='c@localhost'/>"), "set")) == "resource-constraint"
    assert (await romeo.iq(change("<item jid='b@localhost' name='B'/>"), "set")).get("type") == "result"
    await romeo.receive_all()
    romeo.send("<presence type='subscribe' to='c@localhost' id='s'/>")
    assert condition(await romeo.receive()) == "resource-constraint"
    await romeo.iq(change("<item jid='a@localhost' subscription='remove'/>"), "set")
    assert (await romeo.iq(change("<item jid='c@localhost'/>"), "set")).get("type") == "result"


async def test_versions(server: Harness) -> None:
    """Section 2.6."""
    romeo = await server.login("romeo", "a")
    first = await romeo.iq(f"<query xmlns='{NS}' ver=''/>")
    known = first[0].get("ver")
    assert known
    assert len(await romeo.iq(f"<query xmlns='{NS}' ver='{known}'/>")) == 0

    await romeo.iq(change("<item jid='juliet@localhost'/>"), "set")
    push = await romeo.receive()
    newer = push[0].get("ver")
    assert newer not in (None, known)
    assert len(await romeo.iq(f"<query xmlns='{NS}' ver='{newer}'/>")) == 0
    full = await romeo.iq(f"<query xmlns='{NS}' ver='{known}'/>")
    assert list(items(full)) == ["juliet@localhost"]
    assert full[0].get("ver") == newer


async def test_every_change_has_its_own_version(server: Harness) -> None:
    """The clock does not turn here, and may be set back."""
    romeo = await server.login("romeo")
    await romeo.iq(f"<query xmlns='{NS}' ver=''/>")
    versions = []
    for name in ("a", "b", "c"):
        await romeo.iq(change(f"<item jid='{name}@localhost'/>"), "set")
        versions.append((await romeo.receive())[0].get("ver"))
    assert len(set(versions)) == 3


async def test_a_request_of_a_stranger_is_no_contact(server: Harness) -> None:
    romeo, juliet = await user(server, "romeo"), await user(server, "juliet")
    before = await juliet.iq(f"<query xmlns='{NS}' ver=''/>")
    romeo.send("<presence type='subscribe' to='juliet@localhost'/>")
    await romeo.receive_all()
    await juliet.silence()
    same = await juliet.iq(f"<query xmlns='{NS}' ver='{before[0].get('ver')}'/>")
    assert len(same) == 0
    gone = await juliet.iq(change("<item jid='romeo@localhost' subscription='remove'/>"), "set")
    assert condition(gone) == "item-not-found"


async def test_nothing_is_pushed_that_is_not_stored(server: Harness) -> None:
    romeo, other = await user(server, "romeo"), await user(server, "romeo")
    server.backend.hold()
    romeo.send("<iq type='set' id='kept'><query xmlns='jabber:iq:roster'><item jid='a@localhost'/></query></iq>")
    await romeo.silence()
    await other.silence()
    server.backend.release()
    assert is_push(await other.receive())


async def test_the_service(server: Harness) -> None:
    await server.login("romeo")
    plugin = server.host.service(ROSTER)
    assert isinstance(plugin, RosterPlugin)
    item = RosterItem(name="J", subscription="both")
    await server.storage.commit(plugin.write("romeo@localhost", "juliet@localhost", item))
    assert plugin.item("romeo@localhost", "juliet@localhost") == item
    assert dict(plugin.items("romeo@localhost")) == {"juliet@localhost": item}
    version = plugin.version("romeo@localhost")
    await server.storage.commit(plugin.write("romeo@localhost", "juliet@localhost", item))
    assert plugin.version("romeo@localhost") == version, "clients see no difference"
    await server.storage.commit(plugin.write("romeo@localhost", "juliet@localhost", None))
    assert plugin.item("romeo@localhost", "juliet@localhost") is None
    assert plugin.version("romeo@localhost") > version


async def test_two_devices_change_the_list_at_once(server: Harness) -> None:
    """Neither undoes the other, though both decide before either is stored."""
    one, two = await user(server, "romeo"), await user(server, "romeo")
    server.backend.hold()
    for client, name in ((one, "a"), (two, "b"), (one, "c")):
        added = change(f"<item jid='{name}@localhost'/>")
        client.send(f"<iq type='set' id='{name}'>{added}</iq>")
    await server.quiet()
    server.backend.release()
    await server.quiet()
    for client in (one, two):
        pushed = {name for push in await client.receive_all() if is_push(push) for name in items(push)}
        assert pushed == {"a@localhost", "b@localhost", "c@localhost"}
    assert set(items(await one.iq(QUERY))) == {"a@localhost", "b@localhost", "c@localhost"}


async def test_what_the_store_refuses_is_not_shown(server: Harness) -> None:
    romeo = await user(server, "romeo")
    server.backend.fail(DataError("no"))
    answer = await romeo.iq(change("<item jid='a@localhost'/>"), "set")
    assert condition(answer) == "internal-server-error"
    await romeo.silence()
    assert items(await romeo.iq(QUERY)) == {}
