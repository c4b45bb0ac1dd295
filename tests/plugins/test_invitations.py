"""XEP-0401, XEP-0445: invitations, and registration by them."""

from __future__ import annotations

import json
import re

import pytest
from lxml import etree

from tests.harness import Client, Element, Harness, condition
from xmppd.contracts.admin import OWNER, OperationError
from xmppd.jid import JID

GET = "<query xmlns='jabber:iq:register'/>"
TOKEN_FEATURE = "{urn:xmpp:ibr-token:0}register"
NODE = "urn:xmpp:invite"


def query(name: str, password: str = "wherefore") -> str:
    return f"<query xmlns='jabber:iq:register'><username>{name}</username><password>{password}</password></query>"


def preauth(token: str) -> str:
    return f"<preauth xmlns='urn:xmpp:pars:0' token='{token}'/>"


async def stranger(server: Harness, peer: str = "127.0.0.1") -> tuple[Client, Element]:
    client = server.connect()
    client.link.peer = peer
    client.open()
    return client, await client.receive()


async def shown(server: Harness, token: str, peer: str = "127.0.0.1") -> Client:
    """A stream that has shown a token."""
    client, _ = await stranger(server, peer)
    assert condition(await client.iq(preauth(token), "set", "localhost")) == ""
    return client


async def invited(server: Harness, **arguments: object) -> str:
    """The token of a new invitation."""
    text = await server.operation("invite", **arguments)
    found = re.search(r"preauth=([a-z2-7]{32})", text)
    assert found, text
    return found[1]


async def exists(server: Harness, name: str) -> bool:
    return await server.server.accounts.exists(JID.of(name, "localhost"))


async def listed(server: Harness) -> list[dict[str, object]]:
    answer = await server.server.operations.answer("invite.list", {})
    return json.loads(json.dumps(answer.result))["invitations"]


# ---- registration


async def test_an_invitation_makes_an_account(server: Harness) -> None:
    token = await invited(server)
    client, features = await stranger(server)
    assert features.find(TOKEN_FEATURE) is not None
    assert features.find("{urn:xmpp:invite}register") is not None
    assert features.find("{http://jabber.org/features/iq-register}register") is not None
    assert condition(await client.iq(GET)) == "forbidden"
    assert condition(await client.iq(query("romeo"), "set")) == "forbidden"
    assert condition(await client.iq(preauth(token), "set", "localhost")) == ""
    assert (await client.iq(GET))[0].findtext("{jabber:iq:register}username") == ""
    assert condition(await client.iq(query("Romeo"), "set")) == ""
    assert condition(await client.iq(query("juliet"), "set")) == "forbidden", "one account for one showing"
    await client.authenticate("romeo", "wherefore")
    await client.bind()
    assert client.jid.startswith("romeo@localhost/")
    again, _ = await stranger(server)
    assert condition(await again.iq(preauth(token), "set")) == "item-not-found"


async def test_a_name_is_given(server: Harness) -> None:
    """And kept for who has the invitation, as long as it is good."""
    token = await invited(server, name="Juliet", days=2)
    other = await shown(server, await invited(server))
    assert condition(await other.iq(query("juliet"), "set")) == "conflict"
    with pytest.raises(OperationError, match="already"):
        await invited(server, name="juliet")
    client = await shown(server, token)
    assert (await client.iq(GET))[0].findtext("{jabber:iq:register}username") == "juliet"
    assert condition(await client.iq(query("rosaline"), "set")) == "not-acceptable"
    assert condition(await client.iq(query("juliet"), "set")) == ""
    assert await listed(server) != [] and await exists(server, "juliet") and not await exists(server, "rosaline")
    with pytest.raises(OperationError, match="already"):
        await invited(server, name="juliet")


async def test_a_kept_name_is_free_again(server: Harness) -> None:
    token = await invited(server, name="juliet", days=1)
    await server.advance(86_395)
    waiting = await shown(server, token)
    await server.advance(10)
    other = await shown(server, await invited(server))
    assert condition(await other.iq(query("juliet"), "set")) == ""
    assert condition(await waiting.iq(query("juliet"), "set")) == "conflict"


async def test_time_counts_when_it_is_shown(server: Harness) -> None:
    """XEP-0445 section 4."""
    token = await invited(server, days=1)
    await server.advance(86_390)
    client = await shown(server, token)
    await server.advance(20)
    assert condition(await client.iq(query("romeo"), "set")) == ""


async def test_several_uses(server: Harness) -> None:
    token = await invited(server, uses=3)
    for number in range(3):
        client = await shown(server, token)
        assert condition(await client.iq(query(f"user-{number}x"), "set")) == ""
    client, _ = await stranger(server)
    assert condition(await client.iq(preauth(token), "set")) == "item-not-found"
    assert await listed(server) == []


async def test_what_fails_uses_nothing_up(server: Harness) -> None:
    token = await invited(server)
    client = await shown(server, token)
    assert condition(await client.iq(query("romeo", "short"), "set")) == "not-acceptable"
    server.storage.available = False
    assert condition(await client.iq(query("romeo"), "set")) == "resource-constraint"
    server.storage.available = True
    await server.register("taken")
    assert condition(await client.iq(query("taken"), "set")) == "conflict"
    assert condition(await client.iq(query("romeo"), "set")) == ""


async def test_two_at_the_same_moment(server: Harness) -> None:
    token = await invited(server)
    one, other = await shown(server, token), await shown(server, token)
    server.backend.hold()
    one.send(f"<iq type='set' id='1'>{query('romeo')}</iq>")
    other.send(f"<iq type='set' id='1'>{query('juliet')}</iq>")
    await server.until(lambda: False)
    server.backend.release()
    found = [condition(each) for each in [*await one.receive_all(), *await other.receive_all()]]
    assert sorted(found) == ["", "item-not-found"]
    assert [await exists(server, "romeo"), await exists(server, "juliet")].count(True) == 1


async def test_one_stream_that_sends_twice_at_once(server: Harness) -> None:
    client = await shown(server, await invited(server, uses=5))
    client.send(f"<iq type='set' id='1'>{query('romeo')}</iq><iq type='set' id='2'>{query('juliet')}</iq>")
    assert [condition(each) for each in await client.receive_all()] == ["", "forbidden"]
    assert (await listed(server))[0]["uses"] == 4


async def test_failures_are_all_the_same(server: Harness) -> None:
    """Unknown, used, revoked, expired, for something else, garbage: nobody learns which."""
    expired, used, revoked = await invited(server, days=1), await invited(server), await invited(server)
    await (await shown(server, used)).iq(query("romeo"), "set")
    await server.operation("invite.revoke", id=revoked)
    await server.advance(86_401)
    juliet = await server.login("juliet")
    contact_only = (await invite_by(juliet))["uri"].partition("preauth=")[2]
    bad = [expired, used, revoked, contact_only, "", "x", "a" * 32, "é" * 32, "a" * 5000, "../../etc/passwd"]
    answers = set()
    for number, token in enumerate(bad):
        client, _ = await stranger(server, f"192.0.2.{number}")
        answer = await client.iq(preauth(token), "set", id="1")
        assert condition(answer) == "item-not-found"
        answers.add(etree.tostring(answer))
    assert len(answers) == 1


async def test_guessing_is_limited(server: Harness) -> None:
    good = await invited(server)
    answers = []
    for number in range(22):
        client, _ = await stranger(server, f"2001:db8::{number:x}")
        answers.append(condition(await client.iq(preauth("a" * 32), "set")))
    assert answers == ["item-not-found"] * 20 + ["resource-constraint"] * 2
    client, _ = await stranger(server, "2001:db8::ffff")
    assert condition(await client.iq(preauth(good), "set")) == "resource-constraint", "a hit would tell"
    assert condition(await (await shown(server, good, "192.0.2.1")).iq(query("romeo"), "set")) == ""


async def test_a_class_from_one_address(server: Harness) -> None:
    token = await invited(server, uses=30)
    for number in range(30):
        client = await shown(server, token)
        assert condition(await client.iq(query(f"pupil-{number}x"), "set")) == ""


async def test_a_stream_that_does_nothing_more_ends(server: Harness) -> None:
    token = await invited(server)
    client = await shown(server, token)
    await server.advance(610)
    assert client.closed
    assert condition(await (await shown(server, token)).iq(query("romeo"), "set")) == "", "it was not used"


async def test_elsewhere_or_in_another_shape(server: Harness) -> None:
    token = await invited(server)
    client, _ = await stranger(server)
    assert condition(await client.iq(preauth(token), "set", to="elsewhere")) == "service-unavailable"
    assert condition(await client.iq(preauth(token), "get")) == "bad-request"
    romeo = await server.login("romeo")
    assert condition(await romeo.iq(preauth(token), "set", "localhost")) == "service-unavailable"


@pytest.mark.server(plugins={"register": {"mode": "closed"}})
async def test_closed(server: Harness) -> None:
    with pytest.raises(OperationError, match="closed"):
        await invited(server)
    client, features = await stranger(server)
    assert features.find(TOKEN_FEATURE) is None
    client.send(f"<iq type='set' id='1'>{preauth('a' * 32)}</iq>")
    assert await client.stream_error() == "not-authorized"


@pytest.mark.server(plugins={"register": {"mode": "open", "captcha": False}})
async def test_open_also_takes_invitations(server: Harness) -> None:
    token = await invited(server, name="juliet")
    client, features = await stranger(server)
    assert features.find(TOKEN_FEATURE) is not None
    assert condition(await client.iq(query("juliet"), "set")) == "conflict"
    assert condition(await client.iq(preauth("wrong"), "set")) == "item-not-found"
    assert condition(await client.iq(query("romeo"), "set")) == "", "the client may go on without"
    assert condition(await (await shown(server, token)).iq(query("juliet"), "set")) == ""


async def test_the_token_is_not_in_the_store(server: Harness) -> None:
    token = await invited(server, name="juliet", uses=1)
    assert token not in repr(server.backend.__dict__)


# ---- operations


async def test_list_and_revoke(server: Harness) -> None:
    await server.register("romeo")
    first = await invited(server, days=2, uses=4, contact="romeo@localhost")
    await invited(server, days=1, name="juliet")
    one, other = await listed(server)
    assert (one["username"], one["contact"], one["uses"]) == ("juliet", "", 1)
    assert (other["username"], other["contact"], other["uses"]) == ("", "romeo@localhost", 4)
    await server.operation("invite.revoke", id=str(one["id"]))
    await invited(server, name="juliet")
    await server.operation("invite.revoke", id=first)
    assert len(await listed(server)) == 1
    with pytest.raises(OperationError, match="no such"):
        await server.operation("invite.revoke", id=first)
    with pytest.raises(OperationError, match="no such"):
        await server.operation("invite.revoke", id="")


@pytest.mark.parametrize(
    "arguments",
    [
        {"days": -1},
        {"days": 4000},
        {"uses": 0},
        {"uses": 1_000_000},
        {"uses": 2, "name": "juliet"},
        {"name": "ju liet"},
        {"contact": "nobody@localhost"},
        {"contact": "localhost"},
        {"contact": "x@elsewhere"},
        {"domain": "elsewhere"},
    ],
)
async def test_what_cannot_be_made(server: Harness, arguments: dict[str, object]) -> None:
    with pytest.raises(OperationError):
        await server.operation("invite", **arguments)
    assert await listed(server) == []


@pytest.mark.server(plugins={"invitations": {"in_all": 3}})
async def test_the_bound(server: Harness) -> None:
    for _ in range(3):
        await invited(server, days=1)
    with pytest.raises(OperationError, match="too many"):
        await invited(server)
    await server.advance(86_401)
    await invited(server)
    await server.advance(30_000)
    assert len(await server.host.plugins["invitations"].book._invitations.read_all("localhost")) == 1


async def test_on_a_terminal_it_has_a_code(server: Harness) -> None:
    answer = await server.server.operations.answer("invite", {})
    assert "█" in answer.terminal and answer.result["uri"] in answer.terminal and "█" not in answer.text
    result = await server.server.operations.run("invite", {"domain": "localhost"}, OWNER)
    assert result.text().startswith("xmpp:localhost?register;preauth=")


# ---- XEP-0401


async def command(client: Client, node: str, inside: str = "", session: str = "") -> Element:
    id = f" sessionid='{session}'" if session else ""
    payload = f"<command xmlns='http://jabber.org/protocol/commands' node='{node}'{id}>{inside}</command>"
    return await client.iq(payload, "set", "localhost")


def fields(answer: Element) -> dict[str, str]:
    found = answer.iterfind(".//{jabber:x:data}field")
    return {str(each.get("var")): each.findtext("{jabber:x:data}value") or "" for each in found}


async def invite_by(client: Client) -> dict[str, str]:
    answer = await command(client, f"{NODE}#invite")
    assert condition(answer) == "", etree.tostring(answer)
    return fields(answer)


async def test_people_invite_contacts(server: Harness) -> None:
    juliet = await server.login("juliet")
    found = await invite_by(juliet)
    assert re.fullmatch(r"xmpp:juliet@localhost\?roster;preauth=[a-z2-7]{32}", found["uri"])
    assert found["FORM_TYPE"] == f"{NODE}#invitation" and found["expire"].endswith("Z")
    assert condition(await command(juliet, f"{NODE}#create-account")) == "forbidden"


@pytest.mark.server(plugins={"invitations": {"users": "accounts", "per_account": 2}})
async def test_people_invite_new_people(server: Harness) -> None:
    juliet = await server.login("juliet")
    assert (await invite_by(juliet))["uri"].endswith(";ibr=y")
    await invite_by(juliet)
    assert condition(await command(juliet, f"{NODE}#invite")) == "resource-constraint"


@pytest.mark.server(plugins={"invitations": {"users": "nobody"}})
async def test_people_may_not(server: Harness) -> None:
    assert condition(await command(await server.login("juliet"), f"{NODE}#invite")) == "forbidden"
    assert (await invite_by(await server.login("admin")))["uri"].endswith(";ibr=y")


async def test_an_administrator_makes_an_account(server: Harness) -> None:
    admin = await server.login("admin")
    answer = await command(admin, f"{NODE}#create-account")
    assert set(fields(answer)) == {"FORM_TYPE", "username", "roster-subscription"}
    session = str(answer[0].get("sessionid"))
    form = "<x xmlns='jabber:x:data' type='submit'><field var='username'><value>{}</value></field></x>"
    assert condition(await command(admin, f"{NODE}#create-account", form.format("@@"), session)) == "bad-request"
    answer = await command(admin, f"{NODE}#create-account", form.format("juliet"), session)
    uri = fields(answer)["uri"]
    assert uri.startswith("xmpp:juliet@localhost?register;preauth=")
    client = await shown(server, uri.partition("preauth=")[2])
    assert condition(await client.iq(query("juliet"), "set")) == ""


# ---- contacts (XEP-0379, XEP-0401 section 4.6)

ROSTER = "<query xmlns='jabber:iq:roster'/>"


async def contacts(client: Client) -> dict[str, str]:
    found = (await client.iq(ROSTER))[0]
    return {str(each.get("jid")): str(each.get("subscription")) for each in found}


def pushed(elements: list[Element]) -> dict[str, str]:
    """The last roster push of each contact."""
    items = [item for each in elements for item in each.iterfind("{jabber:iq:roster}query/{jabber:iq:roster}item")]
    return {str(item.get("jid")): str(item.get("subscription")) for item in items}


async def subscribe(client: Client, to: str, token: str) -> None:
    """As section 3.4 says: approved beforehand."""
    client.send(f"<presence to='{to}' type='subscribed'/>")
    client.send(f"<presence to='{to}' type='subscribe'>{preauth(token)}</presence>")


inviting = pytest.mark.server(plugins={"invitations": {"users": "accounts"}})


@inviting
async def test_who_comes_is_a_contact(server: Harness) -> None:
    romeo = await server.login("romeo", "orchard", presence=True)
    await contacts(romeo)
    token = (await invite_by(romeo))["uri"].partition("preauth=")[2].partition(";")[0]
    client = await shown(server, token)
    assert condition(await client.iq(query("juliet"), "set")) == ""
    await client.authenticate("juliet", "wherefore")
    await client.bind("balcony")
    seen = await romeo.receive_all()
    assert pushed(seen) == {"juliet@localhost": "both"}
    assert not [each for each in seen if each.get("type") == "subscribe"], "nobody is asked"
    assert await contacts(client) == {"romeo@localhost": "both"}
    client.send("<presence/>")
    assert "juliet@localhost/balcony" in [each.get("from") for each in await romeo.receive_all()]
    assert "romeo@localhost/orchard" in [each.get("from") for each in await client.receive_all()]


@inviting
async def test_who_invites_need_not_be_there(server: Harness) -> None:
    romeo = await server.login("romeo")
    token = (await invite_by(romeo))["uri"].partition("preauth=")[2].partition(";")[0]
    romeo.close()
    await (await shown(server, token)).iq(query("juliet"), "set")
    await server.quiet()
    assert await contacts(await server.login("romeo")) == {"juliet@localhost": "both"}


@pytest.mark.server(plugins={"invitations": {"users": "accounts"}, "roster": {"contacts": 1}})
async def test_a_full_list_of_contacts(server: Harness) -> None:
    """The account is made all the same."""
    romeo = await server.login("romeo")
    await romeo.iq("<query xmlns='jabber:iq:roster'><item jid='tybalt@localhost'/></query>", "set")
    token = (await invite_by(romeo))["uri"].partition("preauth=")[2].partition(";")[0]
    client = await shown(server, token)
    assert condition(await client.iq(query("juliet"), "set")) == ""
    await client.authenticate("juliet", "wherefore")
    await client.bind()
    await server.advance(400)
    assert await server.host.plugins["invitations"].book.unfinished() == [], "it is not tried for ever"


async def test_a_promise_outlives_a_crash(server: Harness) -> None:
    """The process died behind the commit of the account."""
    from plugins.invitations.book import Newcomer

    await server.register("juliet")
    await server.register("romeo")
    book = server.host.plugins["invitations"].book
    await server.storage.commit([book.newcomers.put("juliet@localhost", "", Newcomer("romeo@localhost"))])
    server.backend.unreachable = True
    await server.advance(301)
    server.backend.unreachable = False
    await server.advance(301)
    assert await contacts(await server.login("romeo")) == {"juliet@localhost": "both"}
    assert await book.unfinished() == []


async def test_a_contact_by_invitation(server: Harness) -> None:
    """For who has an account."""
    romeo = await server.login("romeo", presence=True)
    juliet = await server.login("juliet", presence=True)
    await contacts(romeo), await contacts(juliet)
    token = (await invite_by(romeo))["uri"].partition("preauth=")[2]
    await subscribe(juliet, "romeo@localhost", token)
    seen = await romeo.receive_all()
    assert pushed(seen) == {"juliet@localhost": "both"}
    assert not [each for each in seen if each.get("type") == "subscribe"]
    assert pushed(await juliet.receive_all()) == {"romeo@localhost": "both"}
    # It was for one.
    tybalt = await server.login("tybalt", presence=True)
    await subscribe(tybalt, "romeo@localhost", token)
    assert [each.get("type") for each in await romeo.receive_all()] == ["subscribe"]


async def test_a_token_is_for_its_inviter_only(server: Harness) -> None:
    romeo = await server.login("romeo", presence=True)
    mercutio = await server.login("mercutio", presence=True)
    juliet = await server.login("juliet")
    token = (await invite_by(romeo))["uri"].partition("preauth=")[2]
    for wrong in (token, "x", "a" * 32, "é" * 9, "a" * 5000, ""):
        await subscribe(juliet, "mercutio@localhost", wrong)
    await server.quiet()
    assert await contacts(mercutio) == {}
    await subscribe(juliet, "romeo@localhost", token)
    await server.quiet()
    assert await contacts(romeo) == {"juliet@localhost": "both"}, "it was not used up elsewhere"


async def test_who_is_blocked_gets_nothing(server: Harness) -> None:
    romeo = await server.login("romeo", presence=True)
    juliet = await server.login("juliet", presence=True)
    token = (await invite_by(romeo))["uri"].partition("preauth=")[2]
    await romeo.iq("<block xmlns='urn:xmpp:blocking'><item jid='juliet@localhost'/></block>", "set")
    await subscribe(juliet, "romeo@localhost", token)
    await server.quiet()
    assert await contacts(romeo) == {}


async def test_two_contacts_at_once_by_one_invitation(server: Harness) -> None:
    romeo = await server.login("romeo", presence=True)
    two = [await server.login(name, presence=True) for name in ("juliet", "rosaline")]
    token = (await invite_by(romeo))["uri"].partition("preauth=")[2]
    server.backend.hold()
    for each in two:
        await subscribe(each, "romeo@localhost", token)
    await server.quiet()
    server.backend.release()
    await server.quiet()
    assert sorted((await contacts(romeo)).values()) == ["both"]


@inviting
async def test_invitations_end_with_their_inviter(server: Harness) -> None:
    """Nobody becomes a contact of who has the name next."""
    romeo = await server.login("romeo")
    await invite_by(romeo)
    await romeo.iq("<query xmlns='jabber:iq:register'><remove/></query>", "set")
    await server.quiet()
    assert await listed(server) == []


# ---- rooms


async def owned_room(server: Harness, owner: Client) -> None:
    """For members only."""
    room = "hall@conference.localhost"
    owner.send(f"<presence to='{room}/o'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
    await owner.receive_all()
    values = {"FORM_TYPE": "http://jabber.org/protocol/muc#roomconfig", "muc#roomconfig_membersonly": "1"}
    values |= {"muc#roomconfig_persistentroom": "1", "muc#roomconfig_roomname": "Hall"}
    inside = "".join(f"<field var='{var}'><value>{value}</value></field>" for var, value in values.items())
    form = f"<x xmlns='jabber:x:data' type='submit'>{inside}</x>"
    answer = await owner.iq(f"<query xmlns='http://jabber.org/protocol/muc#owner'>{form}</query>", "set", room)
    assert condition(answer) == "", etree.tostring(answer)


async def test_into_a_room(server: Harness) -> None:
    romeo = await server.login("romeo", presence=True)
    await owned_room(server, romeo)
    with pytest.raises(OperationError, match="no such room"):
        await invited(server, group="cellar@conference.localhost")
    token = await invited(server, group="hall@conference.localhost")
    client = await shown(server, token)
    assert condition(await client.iq(query("juliet"), "set")) == ""
    await client.authenticate("juliet", "wherefore")
    await client.bind()
    await server.quiet()
    answer = await client.iq(
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:bookmarks:1'/></pubsub>"
    )
    item = next(answer.iter("{http://jabber.org/protocol/pubsub}item"))
    assert item.get("id") == "hall@conference.localhost" and item[0].get("autojoin") == "true"
    assert item[0].get("name") == "Hall"
    client.send("<presence to='hall@conference.localhost/j'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
    found = [each.get("from") for each in await client.receive_all() if each.get("type") is None]
    assert "hall@conference.localhost/j" in found


async def test_a_room_that_only_has_the_name_lets_nobody_in(server: Harness) -> None:
    romeo, tybalt = await server.login("romeo", presence=True), await server.login("tybalt", presence=True)
    await owned_room(server, romeo)
    token = await invited(server, group="hall@conference.localhost")
    destroy = "<query xmlns='http://jabber.org/protocol/muc#owner'><destroy/></query>"
    assert condition(await romeo.iq(destroy, "set", "hall@conference.localhost")) == ""
    await server.advance(1)
    await owned_room(server, tybalt)
    client = await shown(server, token)
    assert condition(await client.iq(query("juliet"), "set")) == ""
    await client.authenticate("juliet", "wherefore")
    await client.bind()
    await server.quiet()
    client.send("<presence to='hall@conference.localhost/j'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
    assert [condition(each) for each in await client.receive_all()] == ["registration-required"]


async def test_a_disabled_account_lets_nobody_in(server: Harness) -> None:
    await server.register("romeo")
    token = await invited(server, contact="romeo@localhost")
    await server.operation("user.disable", jids=["romeo@localhost"])
    client, _ = await stranger(server)
    assert condition(await client.iq(preauth(token), "set")) == "item-not-found"
    await server.operation("user.enable", jids=["romeo@localhost"])
    assert condition(await client.iq(preauth(token), "set")) == ""
