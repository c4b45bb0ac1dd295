"""Biboumi as a component: a server of IRC, a room and a person there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from slixmpp import JID
from slixmpp.exceptions import IqError

from tests.interop.conftest import missing
from tests.interop.gateways import IRC, IrcPerson, Process, biboumi, irc_server, program, server
from tests.interop.people import WITHIN, Person, eventually
from tests.ports import free_port
from tests.process.server import ServerProcess

NETWORK = "127.0.0.1"
ROOM = f"#verona%{NETWORK}@{IRC}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    for name in ("biboumi", "ngircd"):
        if program(name) is None:
            missing(f"{name} (tests/prepare.sh installs it)")
    found = server(tmp_path_factory.mktemp("biboumi"))
    found.launch()
    yield found
    assert found.end() == 0
    assert "Traceback" not in found.log, found.log


@pytest.fixture(scope="module")
def irc(home: ServerProcess) -> Iterator[int]:
    port = free_port()
    process = irc_server(home.folder / "irc", port)
    process.start()
    yield port
    process.stop()


@pytest.fixture
def gateway(home: ServerProcess) -> Iterator[Process]:
    process = biboumi(home.folder / "gateway", home.port("component"))
    process.start()
    yield process
    process.stop()


@pytest.fixture
async def romeo(home: ServerProcess, request: pytest.FixtureRequest) -> AsyncIterator[Person]:
    name = f"romeo{abs(hash(request.node.name)) % 10_000}"
    await home.account(name)
    person = Person(f"{name}@localhost/x", home.certificate)
    for plugin in ("xep_0004", "xep_0050"):
        person.register_plugin(plugin)
    await person.sign_in(home.port())
    await person.appear()
    yield person
    person.leave()


async def there(romeo: Person, name: str = IRC) -> Any:
    """The component is connected, and says what it is."""
    for _ in range(200):
        try:
            return await romeo.plugin["xep_0030"].get_info(JID(name), timeout=WITHIN)
        except IqError as error:
            assert error.condition == "remote-server-timeout"
            await asyncio.sleep(0.05)
    raise AssertionError("the component never came")


async def configure(romeo: Person, port: int) -> None:
    """Where the server of IRC listens: by the commands of the component (XEP-0050)."""
    command = await romeo.plugin["xep_0050"].send_command(JID(f"{NETWORK}@{IRC}"), "configure", timeout=WITHIN)
    form = command["command"]["form"]
    form["type"] = "submit"
    form.set_values({**form.get_values(), "ports": [str(port)], "tls_ports": []})
    sent = await romeo.plugin["xep_0050"].send_command(
        JID(f"{NETWORK}@{IRC}"), "configure", action="complete", payload=form,
        sessionid=command["command"]["sessionid"], timeout=WITHIN,
    )  # fmt: skip
    assert sent["command"]["status"] == "completed"


async def join(romeo: Person, nick: str) -> None:
    await romeo.plugin["xep_0045"].join_muc_wait(JID(ROOM), nick, timeout=WITHIN)


def in_room(romeo: Person) -> list[str]:
    return [str(each) for each in romeo.plugin["xep_0045"].get_roster(ROOM)]


async def test_a_room_and_a_person(gateway: Process, irc: int, romeo: Person) -> None:
    items = await romeo.plugin["xep_0030"].get_items(JID("localhost"), timeout=WITHIN)
    assert IRC in {item[0] for item in items["disco_items"]["items"]}
    info = await there(romeo)
    assert ("conference", "irc") in {each[:2] for each in info["disco_info"]["identities"]}
    await configure(romeo, irc)
    mercutio = await IrcPerson("mercutio").connect(irc)
    try:
        mercutio.write("JOIN #verona")
        await join(romeo, "montague")
        await eventually(lambda: {"mercutio", "montague"} <= set(in_room(romeo)), "both are in the room")
        romeo.say(ROOM, "But soft!", "groupchat")
        await eventually(lambda: ("montague", "#verona", "But soft!") in mercutio.heard, "heard on IRC")
        mercutio.say("#verona", "Nay, gentle Romeo")
        await eventually(lambda: (f"{ROOM}/mercutio", "Nay, gentle Romeo") in romeo.said, "heard in the room")
        # one to one
        contact = f"mercutio%{NETWORK}@{IRC}"
        for number in range(6):
            romeo.say(contact, f"m{number}")
        await eventually(lambda: len(direct(mercutio)) == 6)
        assert direct(mercutio) == [f"m{number}" for number in range(6)]
        mercutio.say("montague", "A plague o' both your houses")
        await eventually(
            lambda: any(text == "A plague o' both your houses" and contact in who for who, text in romeo.said),
            "answered",
        )
        romeo.plugin["xep_0045"].leave_muc(JID(ROOM), "montague")
        await eventually(lambda: "montague" in mercutio.left, "gone for those on IRC")
    finally:
        mercutio.leave()


def direct(person: IrcPerson) -> list[str]:
    return [text for _, to, text in person.heard if not to.startswith("#")]


async def test_who_goes_away_leaves_the_room(home: ServerProcess, gateway: Process, irc: int, romeo: Person) -> None:
    """A connection that breaks: the server says it for the client, and the gateway takes it out of the channel."""
    await there(romeo)
    await configure(romeo, irc)
    mercutio = await IrcPerson("mercutio").connect(irc)
    try:
        mercutio.write("JOIN #verona")
        await join(romeo, "montague")
        romeo.say(ROOM, "here", "groupchat")
        await eventually(lambda: ("montague", "#verona", "here") in mercutio.heard)
        await romeo.disconnect()
        await eventually(lambda: "montague" in mercutio.left, "gone for those on IRC")
    finally:
        mercutio.leave()


async def test_it_restarts(gateway: Process, irc: int, romeo: Person) -> None:
    """What is said meanwhile comes back; afterwards all is as before."""
    await there(romeo)
    await configure(romeo, irc)
    await join(romeo, "montague")
    gateway.stop()
    refused: list[Any] = []
    romeo.add_event_handler("message_error", refused.append)
    romeo.say(ROOM, "lost?", "groupchat")
    await eventually(lambda: bool(refused), "it came back")
    assert refused[0]["error"]["condition"] == "remote-server-timeout" and refused[0]["error"]["type"] == "wait"
    gateway.start()
    await there(romeo)
    await join(romeo, "montague")
    romeo.say(ROOM, "again", "groupchat")
    await eventually(lambda: (f"{ROOM}/montague", "again") in romeo.said)


async def test_a_wrong_secret(home: ServerProcess, tmp_path: Path) -> None:
    process = biboumi(tmp_path, home.port("component"))
    config = tmp_path / "biboumi.cfg"
    config.write_text(config.read_text().replace("password=", "password=not "))
    process.start()
    try:
        await home.logged("does not know the secret of the component")
    finally:
        process.stop()
