"""What a few people have on a server when they leave it: made by a client over the wire, on whatever server."""

from __future__ import annotations

import asyncio

from lxml import etree

from tests.process.client import Wire

PHOTO = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
VCARD = (
    "<vCard xmlns='vcard-temp'><FN>Juliet Capulet</FN><NICKNAME>Jule</NICKNAME>"
    f"<PHOTO><TYPE>image/png</TYPE><BINVAL>{PHOTO}</BINVAL></PHOTO></vCard>"
)
ROOM = "verona@conference.localhost"
SERVICE = "pubsub.localhost"
NODE = "news/of Verona"
MUC = "http://jabber.org/protocol/muc"
DEVICES = "eu.siacs.conversations.axolotl.devicelist"
PEOPLE = ("romeo", "juliet", "nurse", "tybalt", "françois")
SECRET = "<exodus xmlns='exodus:prefs'><defaultnick>Hamlet &amp; Söhne</defaultnick></exodus>"


async def ok(wire: Wire, payload: str, type: str = "set", to: str = "") -> etree._Element:
    answer = await wire.iq(payload, type, to)
    assert answer.get("type") == "result", etree.tostring(answer).decode()
    return answer


async def login(port: int, user: str, password: str = "pencil", available: bool = True) -> Wire:
    wire = await Wire.login(port, user, password, "old", tls="none")
    await ok(wire, "<query xmlns='jabber:iq:roster'/>", "get")
    if available:
        wire.send("<presence/>")
        await wire.find("presence")
    return wire


def publish(node: str, id: str, payload: str, options: str = "") -> str:
    form = (
        "<publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
        f"<value>http://jabber.org/protocol/pubsub#publish-options</value></field>{options}</x></publish-options>"
        if options
        else ""
    )
    return (
        f"<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{node}'><item id='{id}'>{payload}</item>"
        f"</publish>{form}</pubsub>"
    )


PRIVATE = (
    "<field var='pubsub#access_model'><value>whitelist</value></field>"
    "<field var='pubsub#persist_items'><value>true</value></field>"
)


async def live(port: int) -> None:
    """Contacts, cards, nodes, a block, messages read and unread, a room."""
    romeo, juliet = await login(port, "romeo"), await login(port, "juliet")
    await _contacts(romeo, juliet)
    await _belongings(juliet)
    for number in range(3):
        romeo.send(
            f"<message to='juliet@localhost' type='chat' id='r{number}'><body>Call me love {number}</body></message>"
        )
        await juliet.find("message", id=f"r{number}")
        juliet.send(
            f"<message to='romeo@localhost/old' type='chat' id='j{number}'><body>What man {number}?</body></message>"
        )
        await romeo.find("message", id=f"j{number}")
    romeo.send("<message to='nurse@localhost' type='chat' id='off1'><body>Commend me to thy lady</body></message>")
    romeo.send("<message to='nurse@localhost' type='chat' id='off2'><body>And stay, good nurse</body></message>")
    await ok(romeo, "<ping xmlns='urn:xmpp:ping'/>", "get")
    await _room(romeo, juliet)
    await _service(romeo, juliet)
    francois = await login(port, "françois")
    await ok(francois, "<query xmlns='jabber:iq:roster'><item jid='romeo@localhost' name='Roméo ☕'/></query>")
    for wire in (romeo, juliet, francois):
        wire.send("</stream:stream>")
    await asyncio.sleep(0.3)
    for wire in (romeo, juliet, francois):
        wire.cut()


async def _contacts(romeo: Wire, juliet: Wire) -> None:
    await ok(romeo, "<query xmlns='jabber:iq:roster'><item jid='juliet@localhost' name='Juliet'>"
                    "<group>Capulet</group><group>Love &lt;3</group></item></query>")  # fmt: skip
    romeo.send("<presence to='juliet@localhost' type='subscribe'/>")
    await juliet.find("presence", type="subscribe")
    juliet.send("<presence to='romeo@localhost' type='subscribed'/><presence to='romeo@localhost' type='subscribe'/>")
    await romeo.find("presence", type="subscribe")
    romeo.send("<presence to='juliet@localhost' type='subscribed'/>")
    await juliet.find("presence", type="subscribed")
    romeo.send("<presence to='mercutio@elsewhere.example' type='subscribe'/>")
    romeo.send("<presence to='nurse@localhost' type='subscribe'><status>It is I</status></presence>")
    await ok(romeo, "<ping xmlns='urn:xmpp:ping'/>", "get")


async def _belongings(juliet: Wire) -> None:
    await ok(juliet, VCARD)
    await ok(juliet, publish("http://jabber.org/protocol/nick", "current",
                             "<nick xmlns='http://jabber.org/protocol/nick'>Jule</nick>"))  # fmt: skip
    await ok(juliet, publish(DEVICES, "current",
                             "<list xmlns='eu.siacs.conversations.axolotl'><device id='4711'/></list>",
                             "<field var='pubsub#access_model'><value>open</value></field>"))  # fmt: skip
    await ok(juliet, publish("urn:xmpp:bookmarks:1", ROOM,
                             "<conference xmlns='urn:xmpp:bookmarks:1' name='Verona' autojoin='true'>"
                             "<nick>Jule</nick></conference>",
                             PRIVATE))  # fmt: skip
    await ok(juliet, f"<query xmlns='jabber:iq:private'>{SECRET}</query>")
    await ok(juliet, "<block xmlns='urn:xmpp:blocking'><item jid='tybalt@localhost'/></block>")


async def _service(romeo: Wire, juliet: Wire) -> None:
    """A node with people, and items of its own."""
    ns, form = "http://jabber.org/protocol/pubsub", "<x xmlns='jabber:x:data' type='submit'>"
    kind = f"<field var='FORM_TYPE' type='hidden'><value>{ns}#node_config</value></field>"
    options = f"<configure>{form}{kind}{PRIVATE}</x></configure>"
    await ok(romeo, f"<pubsub xmlns='{ns}'><create node='{NODE}'/>{options}</pubsub>", to=SERVICE)
    for number in range(2):
        await ok(romeo, publish(NODE, f"tale{number}", f"<tale xmlns='urn:tales'>Tale {number} ö</tale>"), to=SERVICE)
    people = "".join(
        f"<affiliation jid='{name}@localhost' affiliation='{word}'/>"
        for name, word in (("juliet", "publisher"), ("tybalt", "outcast"))
    )
    affiliations = f"<affiliations node='{NODE}'>{people}</affiliations>"
    await ok(romeo, f"<pubsub xmlns='{ns}#owner'>{affiliations}</pubsub>", to=SERVICE)
    await ok(juliet, f"<pubsub xmlns='{ns}'><subscribe node='{NODE}' jid='juliet@localhost'/></pubsub>", to=SERVICE)


async def _room(romeo: Wire, juliet: Wire) -> None:
    romeo.send(f"<presence to='{ROOM}/Romeo'><x xmlns='{MUC}'/></presence>")
    await romeo.find("message", type="groupchat")  # the subject ends a join
    fields = {
        "muc#roomconfig_roomname": "Verona",
        "muc#roomconfig_roomdesc": "Where we lay our scene",
        "muc#roomconfig_persistentroom": "1",
        "muc#roomconfig_membersonly": "1",
        "muc#roomconfig_publicroom": "0",
        "muc#roomconfig_whois": "anyone",
        "muc#roomconfig_passwordprotectedroom": "1",
        "muc#roomconfig_roomsecret": "montague",
    }
    form = "".join(f"<field var='{var}'><value>{value}</value></field>" for var, value in fields.items())
    await ok(
        romeo,
        f"<query xmlns='{MUC}#owner'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>"
        f"<value>{MUC}#roomconfig</value></field>{form}</x></query>",
        to=ROOM,
    )
    for jid, word in (("juliet@localhost", "admin"), ("tybalt@localhost", "outcast"), ("nurse@localhost", "member")):
        await ok(romeo, f"<query xmlns='{MUC}#admin'><item jid='{jid}' affiliation='{word}'><reason>why not"
                        "</reason></item></query>", to=ROOM)  # fmt: skip
    romeo.send(f"<message to='{ROOM}' type='groupchat' id='s'><subject>Two households</subject></message>")
    await _hears(romeo, "subject", "Two households")
    juliet.send(f"<presence to='{ROOM}/Juliet'><x xmlns='{MUC}'><password>montague</password></x></presence>")
    await _hears(juliet, "subject", "Two households")
    for number in range(3):
        who = (romeo, juliet)[number % 2]
        who.send(f"<message to='{ROOM}' type='groupchat' id='g{number}'><body>In fair Verona {number}</body></message>")
        await _hears(romeo, "body", f"In fair Verona {number}")


async def _hears(wire: Wire, name: str, text: str) -> None:
    while (await wire.find("message", type="groupchat")).findtext(f"{{jabber:client}}{name}") != text:
        pass
