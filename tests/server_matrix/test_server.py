"""What a server is for, on memory, SQLite and MongoDB."""

from __future__ import annotations

import pytest

from tests.harness import Client, Element, condition, xml
from tests.server_matrix.harness import RealHarness

C = "{jabber:client}"
MAM = "{urn:xmpp:mam:2}"
ROSTER = "<query xmlns='jabber:iq:roster'/>"


def body(message: Element) -> str:
    return message.findtext(f"{C}body") or ""


def bodies(elements: list[Element]) -> list[str]:
    return [body(element) for element in elements if element.tag == f"{C}message" and body(element)]


async def roster(client: Client) -> dict[str, tuple[str, str]]:
    """Contact → (name, subscription)."""
    answer = await client.iq(ROSTER)
    return {str(item.get("jid")): (item.get("name", ""), item.get("subscription", "none")) for item in answer[0]}


async def archive(client: Client, to: str | None = None, more: str = "") -> list[str]:
    """The bodies that the archive holds."""
    query = f"<query xmlns='urn:xmpp:mam:2'>{more}</query>"
    answer = await client.iq(query, "set", to)
    assert answer.get("type") == "result", xml(answer)
    found = [element for element in client.inbox if element.find(f"{MAM}result") is not None]
    for element in found:
        client.inbox.remove(element)
    held = [element.findtext(f".//{C}body") for element in found]
    return [text for text in held if text is not None]  # a room's archive holds its subjects too


async def befriend(romeo: Client, juliet: Client) -> None:
    """A subscription both ways (RFC 6121 section 3)."""
    for one, other in ((romeo, juliet), (juliet, romeo)):
        one.send(f"<presence to='{other.bare}' type='subscribe'/>")
        await one.harness.quiet()
        other.send(f"<presence to='{one.bare}' type='subscribed'/>")
        await one.harness.quiet()


async def test_sign_in(server: RealHarness) -> None:
    """The right password, a wrong one, nobody of that name."""
    romeo = await server.login("romeo", resource="orchard")
    assert romeo.jid == "romeo@localhost/orchard"
    for user, password in (("romeo", "wrong"), ("nobody", "pencil")):
        with pytest.raises(AssertionError, match="not-authorized"):
            await server.connect().sign_in(user, password)


async def test_roster_and_subscriptions(server: RealHarness) -> None:
    romeo = await server.login("romeo", presence=True)
    juliet = await server.login("juliet", presence=True)
    item = "<query xmlns='jabber:iq:roster'><item jid='juliet@localhost' name='Juliet'><group>C</group></item></query>"
    assert (await romeo.iq(item, "set")).get("type") == "result"
    await befriend(romeo, juliet)
    assert await roster(romeo) == {"juliet@localhost": ("Juliet", "both")}
    assert await roster(juliet) == {"romeo@localhost": ("", "both")}
    await romeo.receive_all()
    juliet.send("<presence><show>away</show></presence>")
    seen = [each for each in await romeo.receive_all() if each.get("from") == juliet.jid]
    assert [each.findtext(f"{C}show") for each in seen] == ["away"]
    await romeo.iq(
        "<query xmlns='jabber:iq:roster'><item jid='juliet@localhost' subscription='remove'/></query>", "set"
    )
    assert await roster(romeo) == {}
    await server.quiet()
    assert await roster(juliet) == {"romeo@localhost": ("", "none")}


async def test_messages_to_who_is_there_and_who_is_not(server: RealHarness) -> None:
    romeo = await server.login("romeo", presence=True)
    juliet = await server.login("juliet", presence=True)
    await server.register("tybalt")
    for number in range(25):
        romeo.send(f"<message to='juliet@localhost' type='chat' id='m{number}'><body>m{number}</body></message>")
        romeo.send(f"<message to='tybalt@localhost' type='chat' id='t{number}'><body>t{number}</body></message>")
    await server.quiet()
    assert bodies(await juliet.receive_all()) == [f"m{number}" for number in range(25)]
    tybalt = await server.login("tybalt")
    tybalt.send("<presence/>")
    waited = [each for each in await tybalt.receive_all() if body(each)]
    assert bodies(waited) == [f"t{number}" for number in range(25)]
    assert all(each.find("{urn:xmpp:delay}delay") is not None for each in waited)
    romeo.send("<message to='nobody@localhost' type='chat'><body>x</body></message>")
    assert condition(await romeo.receive()) == "service-unavailable"


async def test_archive(server: RealHarness) -> None:
    romeo = await server.login("romeo", presence=True)
    juliet = await server.login("juliet", presence=True)
    for number in range(12):
        romeo.send(f"<message to='juliet@localhost' type='chat' id='m{number}'><body>m{number}</body></message>")
    juliet.send("<message to='tybalt@localhost' type='chat'><body>other</body></message>")
    await server.quiet()
    everything = [f"m{number}" for number in range(12)]
    await juliet.receive_all()
    assert await archive(romeo) == everything
    with_romeo = (
        "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value>"
        "</field><field var='with'><value>romeo@localhost</value></field></x>"
    )
    assert await archive(juliet, more=with_romeo) == everything
    page = "<set xmlns='http://jabber.org/protocol/rsm'><max>5</max><before/></set>"
    assert await archive(juliet, more=with_romeo + page) == everything[-5:]


async def test_account_deleted_and_made_again(server: RealHarness) -> None:
    """Nothing of the former owner is left."""
    from xmppd.jid import JID

    romeo = await server.login("romeo", presence=True)
    await server.login("juliet", presence=True)
    romeo.send("<message to='juliet@localhost' type='chat'><body>hi</body></message>")
    await server.quiet()
    await server.server.accounts.delete(JID.parse("romeo@localhost"))
    await server.quiet()  # the job that takes everything away runs behind it
    again = await server.login("romeo", presence=True)
    assert await archive(again) == []
    assert await roster(again) == {}


async def test_room(server: RealHarness) -> None:
    romeo, juliet = await server.login("romeo"), await server.login("juliet")
    await enter(romeo, "garden")
    romeo.send("<message to='garden@conference.localhost' type='groupchat'><body>hello</body></message>")
    assert bodies(await romeo.receive_all()) == ["hello"]
    await enter(juliet, "garden", expect=["hello"])
    juliet.send("<message to='garden@conference.localhost' type='groupchat'><body>hi</body></message>")
    assert bodies(await romeo.receive_all()) == ["hi"]


async def enter(client: Client, room: str, expect: list[str] | None = None) -> None:
    """Enter, make the room with its defaults if it is new; `expect`: its history."""
    nick = client.bare.partition("@")[0]
    address = f"{room}@conference.localhost"
    client.send(f"<presence to='{address}/{nick}'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
    came = await client.receive_all()
    codes = {
        each.get("code") for element in came for each in element.iter("{http://jabber.org/protocol/muc#user}status")
    }
    assert "110" in codes, [xml(element) for element in came]
    if "201" in codes:
        form = "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>"
        assert (await client.iq(form, "set", address)).get("type") == "result"
        await client.receive_all()
    assert bodies(came) == (expect or [])
