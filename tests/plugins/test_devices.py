"""XEP-0494 and the command: who comes to an account, and how the owner ends that."""

from __future__ import annotations

import pytest

from tests.harness import Client, Element, Harness, condition, xml
from tests.harness.sasl2 import AGENT, SM, agent, bind, name, plain, signed_in
from tests.plugins.test_fast import by_token, issued, tried
from xmppd.contracts.sign_in import CLIENT
from xmppd.jid import JID

CAM = "urn:xmpp:cam:0"
COMMANDS = "http://jabber.org/protocol/commands"
FORMS = "jabber:x:data"
NODE = "urn:xmppd:devices"
OTHER = "11111111-2222-4333-8444-555555555555"
LIST = f"<list xmlns='{CAM}'/>"
RESET = f"{{{CAM}}}password-reset-required"


async def device(server: Harness, id: str | None = AGENT, token: str = "", tag: str = "Phone") -> Client:
    """A client that is signed in and bound."""
    more = bind(f"<enable xmlns='{SM}' resume='true'/>", tag)
    text = by_token(token, more, id=id) if token else plain(more=agent(id) + more)
    client, _ = await signed_in(server, text=text)
    await client.receive_all()
    return client


async def listed(client: Client) -> list[Element]:
    answer = await client.iq(LIST)
    assert answer.get("type") == "result", xml(answer)
    return list(answer[0])


def text(element: Element, path: str) -> str:
    return element.findtext("/".join(f"{{{CAM}}}{each}" for each in path.split("/"))) or ""


def ways(element: Element) -> list[str]:
    auth = element.find(f"{{{CAM}}}auth")
    assert auth is not None
    return [name(each) for each in auth]


async def only_token(server: Harness, id: str = OTHER) -> str:
    """A token of a client that has never known the password that holds now."""
    token = await issued(server, id=id)
    client = await device(server, id, token)
    await server.server.accounts.set_password(JID.parse("romeo@localhost"), "crayon", server.host.session_of(
        JID.parse(client.jid)
    ))  # fmt: skip
    client.close()
    await server.quiet()
    return token


async def test_clients_are_listed(server: Harness) -> None:
    phone = await device(server)
    desk = await server.login("romeo", "desk")  # the old way, and says nothing of itself
    clients = await listed(phone)
    assert len(clients) == 2
    first, second = clients
    assert dict(first.attrib) == {"connected": "true", "id": first.get("id"), "type": "session"}
    assert text(first, "user-agent/software") == "Balcony"
    assert text(first, "user-agent/device") == "Romeo's phone"
    assert text(first, "first-seen").startswith("2023-11-14T22:13:20")
    assert ways(first) == ["password"]
    assert ways(second) == ["password"]
    assert AGENT not in xml(first)
    desk.close()
    phone.cut()
    assert [each.get("connected") for each in await listed(await device(server, OTHER))] == ["true", "true"]
    await server.advance(700)
    again = await device(server)
    again.close()
    await server.quiet()
    found = {each.get("connected"): each for each in await listed(await device(server, OTHER))}
    assert found["false"].get("id") == first.get("id")
    assert text(found["false"], "last-seen") > text(found["false"], "first-seen")


async def test_tokens_are_listed(server: Harness) -> None:
    await issued(server)
    client = await device(server, OTHER)
    assert sorted(map(ways, await listed(client))) == [["password"], ["password", "fast"]]
    # by the token alone, since the password was changed by this client's owner elsewhere
    token = await only_token(server)
    other = await device(server, OTHER, token)
    assert ["fast"] in list(map(ways, await listed(other)))


async def test_nobody_else_asks(server: Harness) -> None:
    await device(server)
    juliet = await server.login("juliet")
    for payload in (LIST, f"<revoke xmlns='{CAM}' id='x'/>"):
        answer = await juliet.iq(payload, "get" if payload == LIST else "set", to="romeo@localhost")
        assert condition(answer) == "service-unavailable"


async def test_a_client_is_signed_out(server: Harness) -> None:
    """It knew no password: nothing is left of it."""
    token = await only_token(server)
    lost = await device(server, OTHER, token)
    phone, _ = await signed_in(server, text=plain(password="crayon", more=agent() + bind()))
    await phone.receive_all()
    id = next(each.get("id") for each in await listed(phone) if ways(each) == ["fast"])
    answer = await phone.iq(f"<revoke xmlns='{CAM}' id='{id}'/>", "set")
    assert answer.get("type") == "result"
    assert await lost.stream_error() == "not-authorized"
    assert await tried(server, by_token(token, id=OTHER)) == "credentials-expired"
    assert len(await listed(phone)) == 1
    again = await phone.iq(f"<revoke xmlns='{CAM}' id='{id}'/>", "set")
    assert condition(again) == "item-not-found"


async def test_one_that_knows_the_password(server: Harness) -> None:
    """Section 3.2: it is said that it can come back; its sessions and its token end all the same."""
    token = await issued(server, id=OTHER)
    lost, phone = await device(server, OTHER, token), await device(server)
    id = next(each.get("id") for each in await listed(phone) if "fast" in ways(each))
    answer = await phone.iq(f"<revoke xmlns='{CAM}' id='{id}'/>", "set")
    assert condition(answer) == "service-unavailable"
    assert answer.find(f".//{RESET}") is not None
    assert await lost.stream_error() == "not-authorized"
    assert await tried(server, by_token(token, id=OTHER)) == "credentials-expired"
    found = {each.get("id"): ways(each) for each in await listed(phone)}
    assert found[id] == ["password"]
    # a new password is the end of it
    await server.server.accounts.set_password(
        JID.parse("romeo@localhost"), "crayon", server.host.session_of(JID.parse(phone.jid))
    )
    assert {each.get("id"): ways(each) for each in await listed(phone)}[id] == []


@pytest.mark.in_memory
async def test_a_session_that_waits_to_be_resumed_ends(server: Harness) -> None:
    lost, phone = await device(server, OTHER), await device(server)
    lost.cut()
    ids = [each.get("id") for each in await listed(phone)]
    for id in ids:
        await phone.iq(f"<revoke xmlns='{CAM}' id='{id}'/>", "set")
        if phone.closed:
            break
    await server.quiet()
    assert not server.host.account("romeo@localhost").sessions


async def test_a_client_signs_itself_out(server: Harness) -> None:
    """The answer comes first."""
    token = await only_token(server)
    client = await device(server, OTHER, token)
    id = next(each.get("id") for each in await listed(client) if each.get("connected") == "true")
    client.send(f"<iq type='set' id='r'><revoke xmlns='{CAM}' id='{id}'/></iq>")
    answer = await client.receive()
    assert answer.get("type") == "result", xml(answer)
    assert await client.stream_error() == "not-authorized"
    assert await tried(server, by_token(token, id=OTHER)) == "credentials-expired"


async def test_one_that_is_not_bound_yet(server: Harness) -> None:
    phone = await device(server)
    lost, _ = await signed_in(server, agent(OTHER))
    await lost.receive()
    ids = [each.get("id") for each in await listed(phone) if each.get("connected") == "false"]
    await phone.iq(f"<revoke xmlns='{CAM}' id='{ids[0]}'/>", "set")
    assert await lost.stream_error() == "not-authorized"


# ---- the command


async def filled(client: Client, node: str, values: str) -> Element:
    first = await client.iq(f"<command xmlns='{COMMANDS}' node='{node}'/>", "set", client.bare)
    id = first[0].get("sessionid")
    form = f"<x xmlns='{FORMS}' type='submit'>{values}</x>"
    return await client.iq(
        f"<command xmlns='{COMMANDS}' node='{node}' sessionid='{id}' action='complete'>{form}</command>",
        "set", client.bare,
    )  # fmt: skip


def field(var: str, *values: str) -> str:
    return f"<field var='{var}'>{''.join(f'<value>{each}</value>' for each in values)}</field>"


async def test_all_others_by_command(server: Harness) -> None:
    token = await issued(server)
    phone, others = await device(server, AGENT, token), [await device(server, OTHER), await server.login("romeo")]
    shown = await phone.iq(f"<command xmlns='{COMMANDS}' node='{NODE}'/>", "set", "romeo@localhost")
    labels = [str(each.get("label")) for each in shown.iter(f"{{{FORMS}}}option")]
    assert len(labels) == 3
    assert [each for each in labels if "(this one)" in each and "Balcony on Romeo's phone" in each and "token" in each]
    done = await filled(phone, NODE, field("others", "1"))
    note = done.findtext(f".//{{{COMMANDS}}}note") or ""
    assert "Signed out" in note
    assert "password" in note
    for other in others:
        assert await other.stream_error() == "not-authorized"
    await phone.receive_all()
    assert not phone.closed
    assert await tried(server, by_token(token)) == "success"


async def test_some_by_command(server: Harness) -> None:
    phone, other = await device(server), await device(server, OTHER)
    ids = {each.get("id"): text(each, "last-seen") for each in await listed(phone)}
    own = server.host.session_of(JID.parse(phone.jid))

    wanted = next(id for id in ids if id != own[CLIENT])
    refused = await filled(phone, NODE, field("devices", own[CLIENT]))
    assert condition(refused) == "bad-request" or refused.get("type") == "error"
    await filled(phone, NODE, field("devices", str(wanted), "nothing"))
    assert await other.stream_error() == "not-authorized"


@pytest.mark.parametrize(("choice", "ends"), [("1", True), ("0", False)])
async def test_the_owner_chooses_what_a_new_password_ends(server: Harness, choice: str, ends: bool) -> None:
    token = await issued(server, id=OTHER)
    phone, other = await device(server), await device(server, OTHER, token)
    values = field("password", "crayon-box") + field("again", "crayon-box") + field("end_others", choice)
    done = await filled(phone, "urn:xmppd:password", values)
    assert done[0].get("status") == "completed", xml(done)
    await other.receive_all()
    assert other.closed is ends
    assert await tried(server, by_token(token, id=OTHER)) == ("credentials-expired" if ends else "success")
    assert await tried(server, plain(password="crayon-box")) == "success"


async def test_a_password_that_is_not_the_same_twice(server: Harness) -> None:
    phone = await device(server)
    for values in (
        field("password", "crayon-box"),
        field("password", "crayon-box") + field("again", "crayon-bow"),
        field("password", "x") + field("again", "x"),
    ):
        assert (await filled(phone, "urn:xmppd:password", values)).get("type") == "error"
    assert await tried(server, plain()) == "success"


# ---- what is remembered


@pytest.mark.server(plugins={"devices": {"devices": 3, "addresses": False}})
async def test_no_more_than_so_many(server: Harness) -> None:
    for number in range(5):
        client = await device(server, f"00000000-0000-4000-8000-{number:012}")
        await server.advance(5)
        client.close()
        await server.quiet()
    operation = await server.operation("devices.list", jid="romeo@localhost")
    assert len(operation.splitlines()) == 3
    assert "127.0.0.1" not in operation


@pytest.mark.server(plugins={"devices": {"kept": "10 d"}})
async def test_who_does_not_come_any_more_is_forgotten(server: Harness) -> None:
    client = await device(server)
    client.close()
    await server.quiet()
    assert "Romeo's phone" in await server.operation("devices.list", jid="romeo@localhost")
    server.clock.step(11 * 86_400)
    await server.advance(21_601)
    assert await server.operation("devices.list", jid="romeo@localhost") == "No client is known."


async def test_an_administrator_signs_all_out(server: Harness) -> None:
    token = await issued(server)
    client = await device(server, AGENT, token)
    assert await server.operation("devices.revoke", jid="romeo@localhost") == "Signed out: 1."
    assert await client.stream_error() == "not-authorized"
    assert await tried(server, by_token(token)) == "credentials-expired"
