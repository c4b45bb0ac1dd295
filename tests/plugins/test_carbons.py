"""XEP-0280, by its sections, and what is owed beside it."""

from __future__ import annotations

import pytest

from tests.harness import Client, Element, Harness, condition

NS = "urn:xmpp:carbons:2"
FORWARDED = "{urn:xmpp:forward:0}forwarded"
SID = "urn:xmpp:sid:0"
ENABLE, DISABLE = f"<enable xmlns='{NS}'/>", f"<disable xmlns='{NS}'/>"
STATE = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
BODY = "<body>hi</body>"
INVITE = "<x xmlns='http://jabber.org/protocol/muc#user'><invite from='a@localhost'/></x>"
ROOM_MARK = "<x xmlns='http://jabber.org/protocol/muc#user'/>"


class Scene:
    """Romeo with three devices (the third without carbons), Juliet with one."""

    def __init__(self, server: Harness) -> None:
        self.server = server

    async def begin(self) -> Scene:
        self.orchard = await self.device("romeo", "orchard")
        self.home = await self.device("romeo", "home")
        self.plain = await self.server.login("romeo", "plain", presence=True)
        self.juliet = await self.server.login("juliet", "balcony", presence=True)
        for client in self.all:
            await client.receive_all()
        return self

    async def device(self, user: str, resource: str, presence: bool = True) -> Client:
        client = await self.server.login(user, resource, presence)
        assert (await client.iq(ENABLE, "set")).get("type") == "result"
        return client

    @property
    def all(self) -> tuple[Client, ...]:
        return self.orchard, self.home, self.plain, self.juliet


@pytest.fixture
async def scene(server: Harness) -> Scene:
    return await Scene(server).begin()


def carbon(element: Element, name: str) -> Element:
    """The message inside a carbon, which is checked."""
    bare = str(element.get("to")).partition("/")[0]
    assert element.get("from") == bare
    assert [child.tag for child in element] == [f"{{{NS}}}{name}"]
    assert [child.tag for child in element[0]] == [FORWARDED]
    (inner,) = element[0][0]
    assert element.get("type") == inner.get("type")
    assert inner.tag == "{jabber:client}message"
    return inner


async def test_received_goes_to_who_did_not_get_it(scene: Scene) -> None:
    scene.juliet.send(f"<message to='romeo@localhost/orchard' type='chat' id='1'>{BODY}</message>")
    original = await scene.orchard.receive()
    copied = await scene.home.receive()
    assert copied.get("to") == "romeo@localhost/home"
    inner = carbon(copied, "received")
    assert (inner.get("to"), inner.get("from")) == ("romeo@localhost/orchard", "juliet@localhost/balcony")
    assert inner.find(f"{{{SID}}}stanza-id").get("id") == original.find(f"{{{SID}}}stanza-id").get("id")  # type: ignore[union-attr]
    for client in scene.all:
        await client.silence()


async def test_to_the_bare_address_all_have_the_original(scene: Scene) -> None:
    scene.juliet.send(f"<message to='romeo@localhost' type='chat'>{BODY}</message>")
    for client in (scene.orchard, scene.home, scene.plain):
        assert (await client.receive()).find("{jabber:client}body") is not None
        await client.silence()


async def test_sent_goes_to_the_other_devices(scene: Scene) -> None:
    for client in (scene.orchard, scene.plain):  # section 8: whether or not the sender has carbons
        client.send(f"<message to='juliet@localhost/balcony' type='chat' id='2'>{BODY}</message>")
        await scene.juliet.receive()
        inner = carbon(await scene.home.receive(), "sent")
        assert inner.get("from") == client.jid
        assert inner.find(f"{{{SID}}}stanza-id").get("by") == "romeo@localhost"  # type: ignore[union-attr]
        await scene.orchard.receive_all()
        await scene.plain.silence()


async def test_the_sent_copy_names_the_entry_of_the_own_archive(scene: Scene) -> None:
    scene.orchard.send(f"<message to='juliet@localhost' type='chat'>{BODY}</message>")
    inner = carbon(await scene.home.receive(), "sent")
    answer = await scene.home.iq("<query xmlns='urn:xmpp:mam:2'/>", "set")
    assert answer[0][0][0].text == inner.find(f"{{{SID}}}stanza-id").get("id")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("type", "inside", "sent", "received"),
    [
        ("chat", BODY, True, True),
        ("chat", STATE, True, True),
        ("chat", "", True, True),
        ("normal", BODY, True, True),
        ("normal", "<x xmlns='urn:unknown'/>", False, False),
        ("normal", STATE, True, True),
        ("normal", "<received xmlns='urn:xmpp:receipts' id='1'/>", True, True),
        ("normal", "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>", True, True),
        ("normal", "<x xmlns='jabber:x:conference' jid='r@conference.localhost'/>", True, True),
        ("normal", INVITE, True, True),
        ("chat", BODY + ROOM_MARK, True, False),
        ("normal", BODY + ROOM_MARK, True, False),
        ("headline", BODY, False, False),
        ("groupchat", BODY, False, False),
        ("chat", f"{BODY}<private xmlns='{NS}'/><no-copy xmlns='urn:xmpp:hints'/>", False, False),
        ("chat", f"{BODY}<private xmlns='{NS}'/>", False, False),
        ("chat", f"{BODY}<no-copy xmlns='urn:xmpp:hints'/>", False, False),
    ],
)
async def test_eligible_messages(scene: Scene, type: str, inside: str, sent: bool, received: bool) -> None:
    """Section 6.1."""
    scene.juliet.send(f"<message to='romeo@localhost/orchard' type='{type}'>{inside}</message>")
    copies = await scene.home.receive_all()
    assert len(copies) == received
    for each in copies:
        carbon(each, "received")
    assert len(await scene.orchard.receive_all()) == 1
    scene.orchard.send(f"<message to='juliet@localhost/balcony' type='{type}'>{inside}</message>")
    copies = await scene.home.receive_all()
    assert len(copies) == sent
    for each in copies:
        carbon(each, "sent")


async def test_errors_for_a_bare_address_are_copied(scene: Scene) -> None:
    """Section 6.1: what answers a message that all devices have seen."""
    stanza = scene.server.host.jid
    error = "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    scene.juliet.send(f"<message to='romeo@localhost/orchard' type='error'>{error}</message>")
    assert len(await scene.orchard.receive_all()) == 1
    await scene.home.silence()
    from xmppd.errors import ServiceUnavailable
    from xmppd.jid import JID
    from xmppd.stanza import Kind, Stanza

    original = Stanza(Kind.MESSAGE, "chat", stanza, JID.parse("romeo@localhost/orchard"), "1")
    scene.server.host.deliver(original.error(ServiceUnavailable()))
    assert condition(carbon(await scene.home.receive(), "received")) == "service-unavailable"


async def test_to_oneself_nobody_has_it_twice(scene: Scene) -> None:
    scene.orchard.send(f"<message to='romeo@localhost' type='chat'>{BODY}</message>")
    for client in (scene.orchard, scene.home, scene.plain):
        assert len(await client.receive_all()) == 1
    scene.orchard.send(f"<message to='romeo@localhost/plain' type='chat'>{BODY}</message>")
    assert len(await scene.plain.receive_all()) == 1
    carbon(await scene.home.receive(), "received")
    await scene.orchard.silence()


async def test_on_and_off_again(scene: Scene) -> None:
    """Section 10.1."""
    for payload, copies in ((ENABLE, 1), (ENABLE, 1), (DISABLE, 0), (DISABLE, 0), (ENABLE, 1)):
        assert (await scene.home.iq(payload, "set")).get("type") == "result"
        scene.juliet.send(f"<message to='romeo@localhost/orchard' type='chat'>{BODY}</message>")
        assert len(await scene.home.receive_all()) == copies


async def test_not_for_others(scene: Scene) -> None:
    assert condition(await scene.juliet.iq(ENABLE, "set", "romeo@localhost")) == "service-unavailable"


async def test_a_forged_carbon_is_a_message_of_its_sender(scene: Scene) -> None:
    """Section 11, R02, T29."""
    fake = "<message xmlns='jabber:client' from='mother@localhost/x' to='romeo@localhost'><body>come</body></message>"
    for name in ("received", "sent"):
        inside = f"<{name} xmlns='{NS}'><forwarded xmlns='urn:xmpp:forward:0'>{fake}</forwarded></{name}>"
        scene.juliet.send(f"<message to='romeo@localhost/orchard' type='chat'>{inside}</message>")
        assert (await scene.orchard.receive()).get("from") == "juliet@localhost/balcony"
        inner = carbon(await scene.home.receive(), "received")
        assert inner.get("from") == "juliet@localhost/balcony"


async def test_what_waits_is_not_copied_to_who_will_get_it(server: Harness) -> None:
    """A device that has enabled carbons and not yet sent presence gets a waiting message once: at its presence."""
    juliet = await server.login("juliet", presence=True)
    romeo = await server.login("romeo", "orchard")
    await romeo.iq(ENABLE, "set")
    juliet.send(f"<message to='romeo@localhost' type='chat'>{BODY}</message>")
    await romeo.silence()
    romeo.send("<presence/>")
    messages = [each for each in await romeo.receive_all() if each.tag.endswith("}message")]
    assert [each[0].tag for each in messages] == ["{jabber:client}body"]


async def test_a_session_of_negative_priority_gets_copies(server: Harness) -> None:
    scene = await Scene(server).begin()
    for client in (scene.orchard, scene.plain):
        client.close()
    scene.home.send("<presence><priority>-1</priority></presence>")
    await server.quiet()
    await scene.home.receive_all()
    scene.juliet.send(f"<message to='romeo@localhost' type='chat'>{BODY}</message>")
    carbon(await scene.home.receive(), "received")
    assert not await scene.juliet.receive_all()


async def test_nothing_is_copied_of_what_was_refused(scene: Scene) -> None:
    scene.orchard.send(f"<message to='nobody@localhost' type='chat' id='9'>{BODY}</message>")
    assert condition(await scene.orchard.receive()) == "service-unavailable"
    await scene.home.silence()
