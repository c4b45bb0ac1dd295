"""What is still there after the server was stopped and started again."""

from __future__ import annotations

from tests.harness import xml
from tests.server_matrix.conftest import Start
from tests.server_matrix.test_server import archive, befriend, bodies, enter, roster

PERSISTENT = """
<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>
<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>
<field var='muc#roomconfig_roomname'><value>The Garden</value></field>
<field var='muc#roomconfig_persistentroom'><value>1</value></field>
<field var='muc#roomconfig_membersonly'><value>1</value></field>
</x></query>"""
ADMIN = "<query xmlns='http://jabber.org/protocol/muc#admin'>{}</query>"


async def test_accounts_contacts_messages(start: Start) -> None:
    server = await start()
    romeo = await server.login("romeo", presence=True)
    juliet = await server.login("juliet", presence=True)
    await befriend(romeo, juliet)
    juliet.cut()
    await server.quiet()
    for number in range(3):
        romeo.send(f"<message to='juliet@localhost' type='chat' id='m{number}'><body>m{number}</body></message>")
    await server.quiet()
    server = await start()
    juliet = await server.login("juliet")
    assert await roster(juliet) == {"romeo@localhost": ("", "both")}
    juliet.send("<presence/>")
    assert bodies(await juliet.receive_all()) == ["m0", "m1", "m2"]
    assert await archive(juliet) == ["m0", "m1", "m2"]
    juliet.close()
    await server.quiet()
    server = await start()
    juliet = await server.login("juliet")
    juliet.send("<presence/>")
    assert bodies(await juliet.receive_all()) == [], "delivered once"


async def test_a_room(start: Start) -> None:
    """Its configuration, its members, its history; nobody is in it."""
    server = await start()
    romeo = await server.login("romeo")
    await server.register("juliet")
    await enter(romeo, "garden")
    room = "garden@conference.localhost"
    assert (await romeo.iq(PERSISTENT, "set", room)).get("type") == "result"
    member = ADMIN.format("<item affiliation='member' jid='juliet@localhost'/>")
    assert (await romeo.iq(member, "set", room)).get("type") == "result"
    for number in range(3):
        romeo.send(f"<message to='{room}' type='groupchat'><body>g{number}</body></message>")
    romeo.send(f"<message to='{room}' type='groupchat'><subject>Of the moon</subject></message>")
    await server.quiet()
    server = await start()
    tybalt, juliet = await server.login("tybalt"), await server.login("juliet")
    tybalt.send(f"<presence to='{room}/tybalt'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
    refused = await tybalt.receive()
    assert "registration-required" in xml(refused)
    juliet.send(f"<presence to='{room}/juliet'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
    came = await juliet.receive_all()
    assert bodies(came) == ["g0", "g1", "g2"]
    assert "Of the moon" in "".join(map(xml, came))
    assert {str(element.get("from")) for element in came if element.tag.endswith("presence")} == {f"{room}/juliet"}
    assert await archive(juliet, room) == ["g0", "g1", "g2"]
    info = await juliet.iq("<query xmlns='http://jabber.org/protocol/disco#info'/>", to=room)
    assert "The Garden" in xml(info)
    assert "muc_membersonly" in xml(info)
