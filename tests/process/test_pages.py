"""A stranger follows the manual: what the pages say is pasted as it stands there, in a fresh copy of the checkout, and
then people do what it says they would do."""

from __future__ import annotations

import asyncio
import shutil
import xml.etree.ElementTree as ET  # slixmpp's
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from slixmpp import JID

from tests.interop.people import WITHIN, Person, eventually
from tests.process.page import Checkout
from xmppd.config import parse_config

pytestmark = pytest.mark.timeout(500)
ROOM = "garden@conference.localhost"


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    found = Checkout(tmp_path)
    yield found
    found.close()


async def signed_in(checkout: Checkout, *jids: str) -> list[Person]:
    people = []
    for jid in jids:
        certificate = checkout.folder / "var" / "certs" / f"{JID(jid).domain}.crt"
        people.append(Person(jid, certificate))
        await people[-1].sign_in(checkout.port)
        people[-1].send_presence()
    return people


async def heard(person: Person, count: int) -> list[str]:
    return [(await person.hear())["body"] for _ in range(count)]


async def test_first_server(checkout: Checkout) -> None:
    page = checkout.page("tutorial/first-server.md")
    start = page.take("Start it", "sh").text
    server, named = await checkout.serve(start)
    assert (checkout.folder / "xmppd.yaml").exists()
    added = page.take("Add two people", "sh").text
    assert named == added.splitlines()[0], "what the server says is what the page says"
    shown = await checkout.run(added)
    assert "Added romeo@localhost." in shown
    assert "Added juliet@localhost." in shown
    listed = await checkout.run(page.take("Add two people", "sh").text)
    assert listed.split() == ["juliet@localhost", "romeo@localhost"]

    romeo, juliet = await signed_in(checkout, "romeo@localhost", "juliet@localhost")
    romeo.send_presence_subscription(JID("juliet@localhost"))
    await eventually(partial(romeo.sees, "juliet@localhost"), "Romeo sees Juliet")
    romeo.say("juliet@localhost", "But, soft! what light")
    assert await heard(juliet, 1) == ["But, soft! what light"]
    juliet.plugin["xep_0198"].send_ack()  # as clients do that are closed; slixmpp leaves it to who uses it
    await juliet.disconnect()
    await eventually(lambda: not romeo.sees("juliet@localhost"), "Juliet is seen to leave")
    lines = ["through yonder window breaks?", "It is the east,", "and Juliet is the sun."]
    for line in lines:
        romeo.say("juliet@localhost", line)
    await romeo.settled()
    (juliet,) = await signed_in(checkout, "juliet@localhost")
    assert await heard(juliet, 3) == lines
    await juliet.settled()
    assert len(juliet.said) == 3

    await server.interrupt()
    for person in (romeo, juliet):
        person.leave()
    server, _ = await checkout.serve(start)
    romeo, juliet = await signed_in(checkout, "romeo@localhost", "juliet@localhost")
    await asyncio.gather(romeo.settled(), juliet.settled())
    assert not juliet.said, "what she had does not come again"
    await a_room(romeo, juliet)
    await server.interrupt()
    for person in (romeo, juliet):
        person.leave()

    checkout.write(page.take("From a phone", "yaml"))
    server, named = await checkout.serve(page.take("From a phone", "sh").text)
    assert "Added juliet@chat.example.org." in await checkout.run(page.take("From a phone", "sh").text)
    assert "Added romeo@chat.example.org." in await checkout.run(named)
    romeo, juliet = await signed_in(checkout, "romeo@chat.example.org", "juliet@chat.example.org")
    romeo.say("juliet@chat.example.org", "with a domain")
    assert await heard(juliet, 1) == ["with a domain"]
    for person in (romeo, juliet):
        person.leave()
    await server.interrupt()
    assert not page.pasted


async def a_room(romeo: Person, juliet: Person) -> None:
    """The owner makes it, unlocks it and invites."""
    rooms: Any = romeo.plugin["xep_0045"]
    await rooms.join_muc_wait(JID(ROOM), "Romeo", timeout=WITHIN)
    form = await rooms.get_room_config(JID(ROOM))
    await rooms.set_room_config(JID(ROOM), form)
    invited = asyncio.ensure_future(juliet.wait_until("groupchat_invite", WITHIN))
    await asyncio.sleep(0)
    rooms.invite(JID(ROOM), JID("juliet@localhost"))
    await invited
    await juliet.plugin["xep_0045"].join_muc_wait(JID(ROOM), "Juliet", timeout=WITHIN)
    juliet.say(ROOM, "What man art thou?", "groupchat")
    assert "What man art thou?" in await heard(romeo, 1)


async def test_first_plugin(checkout: Checkout) -> None:
    page = checkout.page("tutorial/first-plugin.md")
    first, option, test = "One file", "An option", "Its test"
    start = page.take("A server to try it on", "sh").text
    server, _ = await checkout.serve(start)
    added = await checkout.run(page.take("A server to try it on", "sh").text)
    assert "Added romeo@localhost." in added and "Added juliet@localhost." in added
    await server.interrupt()

    checkout.write(page.take(first, "python"))
    checkout.write(page.take(first, "yaml"))
    assert "The configuration is valid." in await checkout.run(page.take(first, "sh").text)
    assert page.take(first, "sh").text == start
    server, _ = await checkout.serve(start)
    assert await checkout.run(page.take(first, "sh").text) == page.take(first, "").text
    (romeo,) = await signed_in(checkout, "romeo@localhost")
    romeo.say("juliet@localhost", "Thanks!")
    await romeo.settled()
    assert await checkout.run(page.take(first, "sh").text) == page.take(first, "").text
    romeo.leave()
    await server.interrupt()

    checkout.write(page.take(option, "python"))
    checkout.write(page.take(option, "yaml"))
    server, _ = await checkout.serve(page.take(option, "sh").text)
    (romeo,) = await signed_in(checkout, "romeo@localhost")
    romeo.say("juliet@localhost", "Merci")
    await romeo.settled()
    assert await checkout.run(page.take(option, "sh").text) == page.take(option, "").text
    romeo.leave()
    await server.interrupt()

    checkout.write(page.take(test, "python"))
    passed = page.take(test, "").text.strip()
    assert passed in await checkout.run(page.take(test, "sh").text)
    assert not page.pasted
    plugin = checkout.folder / "my" / "plugins" / "thanks.py"
    plugin.write_text(plugin.read_text().replace("stored.times + 1", "1"))
    broken = await checkout.run(".venv/bin/python -m pytest -p tests.conftest my || true")
    assert "2 failed" in broken


async def ask(person: Person, payload: str, to: str = "", kind: str = "get") -> Any:
    """The payload of the result."""
    iq = person.make_iq(ito=to or None, itype=kind)
    iq.append(ET.fromstring(payload))
    answer = await iq.send(timeout=WITHIN)
    return answer.xml[0] if len(answer.xml) else None


async def test_write_a_plugin(checkout: Checkout) -> None:
    page = checkout.page("howto/write-a-plugin.md")
    await checkout.run(page.take("Write a plugin", "sh").text)
    quick, full = "The quick way: a file in a folder", "The full way: a distribution"
    checkout.write(page.take(quick, "python"))
    configuration = checkout.write(page.take(quick, "yaml"))
    assert "The configuration is valid." in await checkout.run(page.take(quick, "sh").text)
    start = page.take(quick, "sh").text
    server, named = await checkout.serve(start)
    added = page.take(quick, "sh").text
    assert added.strip() == named
    await checkout.run(added)
    (romeo,) = await signed_in(checkout, "romeo@localhost")
    assert (await heard(romeo, 1))[0].startswith("Hello! Ask in the room lobby")
    romeo.leave()
    await server.interrupt()

    for kind in ("toml", "python"):
        checkout.write(page.take(full, kind))
    checkout.write(page.take("Which write", "python"))
    await checkout.run(page.take(full, "sh").text)
    more = page.take(full, "yaml").text + "      tally: {}\n"
    greeter = configuration.read_text()
    configuration.write_text(greeter.replace("  conference.localhost:\n", f"{more}  conference.localhost:\n"))
    server, _ = await checkout.serve(start)
    (romeo,) = await signed_in(checkout, "romeo@localhost")
    weather = "<weather xmlns='urn:example:weather'/>"
    assert (await ask(romeo, weather, "localhost")).get("sky") == "rain"
    await ask(romeo, weather.replace("/>", " place='Verona'/>"), kind="set")
    assert (await ask(romeo, weather)).get("place") == "Verona"
    for line in ("one", "two", "three"):
        romeo.say("romeo@localhost", line)
    assert await heard(romeo, 3) == ["one", "two", "three"]  # and no second greeting
    assert (await ask(romeo, "<tally xmlns='urn:example:tally'/>")).get("messages") == "3"
    assert "romeo@localhost begins at zero." in await checkout.run(page.take("Operations", "sh").text)
    assert (await ask(romeo, "<tally xmlns='urn:example:tally'/>")).get("messages") == "0"
    romeo.leave()
    await server.interrupt()

    checkout.write(page.take("Test it", "python"))
    checkout.write(page.take("Test it", "python"))
    test = page.take("Test it", "sh").text
    assert "5 passed" in await checkout.run(test)
    where = await checkout.run(".venv/bin/python -c 'import xmppd_weather; print(xmppd_weather.__file__)'")
    assert Path(where.strip()) == checkout.folder / "weather" / "xmppd_weather" / "__init__.py"
    shutil.copytree(checkout.folder / "weather", checkout.folder.parent / "weather")
    assert "4 passed" in await checkout.run(test.replace(" weather my", " ../weather"))
    listeners = page.take("Answer HTTP requests", "yaml").text
    config = parse_config(f"hosts: {{localhost: {{}}}}\n{listeners}")
    assert [each.kind for each in config.listeners] == ["client", "http"]
    assert not page.pasted
    await checkout.run("touch pyproject.toml; make dev")
    assert where == await checkout.run(".venv/bin/python -c 'import xmppd_weather; print(xmppd_weather.__file__)'")
