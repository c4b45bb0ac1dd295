"""What the tests of group chat say again and again."""

from __future__ import annotations

from lxml import etree

from tests.harness import Client, Element, Harness

ROOM = "tavern@conference.localhost"
MUC = "http://jabber.org/protocol/muc"
USER = "{http://jabber.org/protocol/muc#user}"
DATA = "{jabber:x:data}"


def join_text(nick: str, room: str = ROOM, inside: str = "<history maxstanzas='0'/>") -> str:
    return f"<presence to='{room}/{nick}'><x xmlns='{MUC}'>{inside}</x></presence>"


async def join(client: Client, nick: str, room: str = ROOM, inside: str = "<history maxstanzas='0'/>") -> list[Element]:
    """Enter; all that came of it (it must end with the subject)."""
    client.send(join_text(nick, room, inside))
    got = await client.receive_all()
    assert got, "nothing came"
    assert got[-1].find("{jabber:client}subject") is not None, [etree.tostring(each) for each in got]
    return got


async def configure(client: Client, room: str = ROOM, **options: str) -> Element:
    fields = "".join(
        f"<field var='{var.replace('__', '#')}'><value>{value}</value></field>" for var, value in options.items()
    )
    kind = f"<field var='FORM_TYPE'><value>{MUC}#roomconfig</value></field>" if options else ""
    return await client.iq(
        f"<query xmlns='{MUC}#owner'><x xmlns='jabber:x:data' type='submit'>{kind}{fields}</x></query>", "set", room
    )


async def admin(client: Client, items: str, type: str = "set", room: str = ROOM) -> Element:
    return await client.iq(f"<query xmlns='{MUC}#admin'>{items}</query>", type, room)


async def tavern(server: Harness, *guests: str, **options: str) -> list[Client]:
    """romeo's room, unlocked, with guests who have entered and have heard everything."""
    romeo = await server.login("romeo", "orchard", presence=True)
    await join(romeo, "romeo")
    answer = await configure(romeo, **options)
    assert answer.get("type") == "result", etree.tostring(answer)
    clients = [romeo]
    for guest in guests:
        client = await server.login(guest, "phone", presence=True)
        await join(client, guest)
        clients.append(client)
    for client in clients:
        await client.receive_all()
    return clients


def codes(element: Element) -> list[str]:
    return sorted(str(each.get("code")) for each in element.iter(f"{USER}status"))


def item(element: Element) -> dict[str, str]:
    found = element.find(f"{USER}x/{USER}item")
    return {str(key): str(value) for key, value in found.attrib.items()} if found is not None else {}


def body(element: Element) -> str:
    return element.findtext("{jabber:client}body") or ""


def say(text: str, id: str = "m", room: str = ROOM, more: str = "") -> str:
    return f"<message type='groupchat' to='{room}' id='{id}'><body>{text}</body>{more}</message>"
