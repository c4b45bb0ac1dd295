"""Slidge as a component with privileges: registration, contacts that it brings along, a room, other devices there."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from itertools import count
from typing import Any

import pytest
from slixmpp import JID
from slixmpp.exceptions import IqError

from tests.interop.conftest import missing
from tests.interop.gateways import CHAT, ROOT, Process, server, slidge, slidge_python
from tests.interop.people import WITHIN, Person, eventually
from tests.process.server import ServerProcess

MERCUTIO, ROOM = f"mercutio@{CHAT}", f"verona@{CHAT}"
_serial = count(1)


@pytest.fixture(scope="module")
def python() -> str:
    try:
        return slidge_python(ROOT / "build" / "slidge")
    except (OSError, subprocess.SubprocessError) as error:
        output = getattr(error, "stderr", None) or b""
        missing(f"Slidge, which cannot be installed: {error} {output.decode()[-500:]}")


@pytest.fixture(scope="module")
def home(python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    found = server(tmp_path_factory.mktemp("slidge"))
    found.launch()
    yield found
    assert found.end() == 0
    assert "Traceback" not in found.log, found.log


@pytest.fixture(scope="module")
def gateway(home: ServerProcess, python: str) -> Iterator[Process]:
    process = slidge(home.folder / "gateway", home.port("component"), python)
    process.start()
    yield process
    process.stop()


@pytest.fixture
async def romeo(home: ServerProcess, gateway: Process) -> AsyncIterator[Person]:
    """Has an account at the gateway."""
    person = await signed_in(home, f"romeo{next(_serial)}")
    await there(person)
    request = person.make_iq_set(ito=JID(CHAT))
    request["register"]["username"], request["register"]["password"] = "romeo", "rapier"
    await request.send(timeout=WITHIN)
    yield person
    person.leave()


async def signed_in(home: ServerProcess, name: str, resource: str = "x", new: bool = True) -> Person:
    if new:
        await home.account(name)
    person = Person(f"{name}@localhost/{resource}", home.certificate)
    for plugin in ("xep_0050", "xep_0060", "xep_0077", "xep_0402"):
        person.register_plugin(plugin)
    await person.sign_in(home.port())
    await person.appear()
    await person.plugin["xep_0280"].enable(timeout=WITHIN)
    return person


async def there(person: Person) -> Any:
    """The component is connected, and says what it is."""
    for _ in range(300):
        try:
            return await person.plugin["xep_0030"].get_info(JID(CHAT), timeout=WITHIN)
        except IqError as error:
            assert error.condition == "remote-server-timeout"
            await asyncio.sleep(0.1)
    raise AssertionError("the component never came")


async def test_registration(home: ServerProcess, gateway: Process) -> None:
    """XEP-0077 with the gateway: a form, a refusal, an account, its greeting."""
    person = await signed_in(home, f"juliet{next(_serial)}")
    try:
        info = await there(person)
        assert ("gateway", "test") in {each[:2] for each in info["disco_info"]["identities"]}
        form = await person.plugin["xep_0077"].get_registration(JID(CHAT), timeout=WITHIN)
        assert {"username", "password"} <= form["register"]["fields"]
        for password, works in (("wrong", False), ("rapier", True)):
            request = person.make_iq_set(ito=JID(CHAT))
            request["register"]["username"], request["register"]["password"] = "juliet", password
            try:
                await request.send(timeout=WITHIN)
                assert works
            except IqError as error:
                assert not works and error.condition == "not-authorized"
        await eventually(lambda: any(who == CHAT and "Thank you" in text for who, text in person.said), "greeted")
    finally:
        person.leave()


async def test_contacts(romeo: Person) -> None:
    """They are in the contact list without a question, both ways, and there."""
    for name in (MERCUTIO, f"benvolio@{CHAT}"):
        await eventually(lambda name=name: romeo.subscribed(name) and romeo.sees(name), f"{name} is there")
    assert romeo.client_roster[MERCUTIO]["name"] == "Mercutio"
    assert romeo.client_roster[MERCUTIO]["groups"] == ["slidge"]
    for number in range(10):
        romeo.say(MERCUTIO, f"m{number}")
    await eventually(lambda: len(heard(romeo, MERCUTIO)) == 10)
    assert heard(romeo, MERCUTIO) == [f"mercutio: m{number}" for number in range(10)]


def heard(person: Person, contact: str) -> list[str]:
    return [text for who, text in person.said if who.startswith(contact)]


async def test_what_was_said_on_another_device(home: ServerProcess, romeo: Person) -> None:
    """It comes to the devices as if one of them had said it, and is in the archive (XEP-0356)."""
    await eventually(lambda: romeo.sees(MERCUTIO))
    laptop = await signed_in(home, romeo.boundjid.user, "laptop", new=False)
    copies: list[tuple[str, str]] = []
    for device in (romeo, laptop):
        device.add_event_handler(
            "carbon_sent", lambda message: copies.append((str(message["to"].resource), message["carbon_sent"]["body"]))
        )
    try:
        romeo.say(MERCUTIO, "phone")
        await eventually(lambda: {("x", "from my phone"), ("laptop", "from my phone")} <= set(copies), f"{copies}")
        results = await romeo.plugin["xep_0313"].retrieve(with_jid=JID(MERCUTIO), timeout=WITHIN)
        bodies = [each["mam_result"]["forwarded"]["stanza"]["body"] for each in results["mam"]["results"]]
        assert bodies == ["phone", "from my phone"]
    finally:
        laptop.leave()


async def test_a_room(romeo: Person) -> None:
    """It is bookmarked in the account, joined, and answers."""

    async def bookmarked() -> bool:
        try:
            items = await romeo.plugin["xep_0060"].get_items(
                romeo.boundjid.bare, "urn:xmpp:bookmarks:1", timeout=WITHIN
            )
        except IqError:
            return False
        return ROOM in [item["id"] for item in items["pubsub"]["items"]]

    for _ in range(100):
        if await bookmarked():
            break
        await asyncio.sleep(0.1)
    else:
        raise AssertionError("there is no bookmark")
    await romeo.plugin["xep_0045"].join_muc_wait(JID(ROOM), "romeo", timeout=WITHIN)
    assert "Mercutio" in [str(each) for each in romeo.plugin["xep_0045"].get_roster(ROOM)]
    romeo.say(ROOM, "But soft!", "groupchat")
    await eventually(lambda: (f"{ROOM}/Mercutio", "heard: But soft!") in romeo.said)


async def test_it_restarts(home: ServerProcess, gateway: Process, romeo: Person) -> None:
    """Its contacts are there again, and who is online is known to it."""
    await eventually(lambda: romeo.sees(MERCUTIO))
    gateway.stop()
    refused: list[Any] = []
    romeo.add_event_handler("message_error", refused.append)
    romeo.say(MERCUTIO, "lost?")
    await eventually(lambda: bool(refused), "it came back")
    assert refused[0]["error"]["condition"] == "remote-server-timeout" and refused[0]["error"]["type"] == "wait"
    gateway.start()
    await there(romeo)

    async def answers() -> bool:
        romeo.say(MERCUTIO, "again")
        await asyncio.sleep(0.3)
        return "mercutio: again" in heard(romeo, MERCUTIO)

    for _ in range(50):
        if await answers():
            return
    raise AssertionError("it does not answer any more")
