"""Who of the people in my address book is here? Only those who allow it, and not too often."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from plugins.phone import FIND
from plugins.phone.step import NS
from tests.harness import Client, Element, FakeClock, Harness, condition, xml
from tests.plugins.stores import KINDS, store_of
from tests.plugins.test_phone import KEY, OPEN, ROMEO, attach, choose, command, registered, whose
from xmppd.storage.store import Store

ON: dict[str, Any] = {"phone": {"key": KEY}}
on = pytest.mark.server(plugins=ON)
ASK = f"<lookup xmlns='{NS}'/>"
NUMBERS = {name: f"+49151123{digit}5678" for digit, name in enumerate(("juliet", "nurse", "tybalt", "paris"))}


async def facts(client: Client) -> Element:
    return (await client.iq(ASK, to="localhost"))[0]


def hashed(salt: str, number: str) -> str:
    """As docs/howto/phone-numbers.md tells clients to do it."""
    return hashlib.sha256((salt + number).encode()).hexdigest()


async def ask(client: Client, hashes: list[str]) -> Element:
    inside = "".join(f"<number hash='{each}'/>" for each in hashes)
    return await client.iq(f"<lookup xmlns='{NS}'>{inside}</lookup>", to="localhost")


def found(answer: Element) -> list[str]:
    assert condition(answer) == "", xml(answer)
    return [str(each.get("jid")) for each in answer[0]]


async def people(server: Harness, caplog: pytest.LogCaptureFixture) -> tuple[Client, dict[str, Client], str]:
    """Romeo, who asks; Juliet and the nurse, who can be found; Tybalt, who cannot; the salt."""
    romeo = await server.login("romeo")
    await attach(romeo, caplog, ROMEO)
    others = {name: await server.login(name) for name in ("juliet", "nurse", "tybalt")}
    for name, client in others.items():
        await attach(client, caplog, NUMBERS[name], discoverable="0" if name == "tybalt" else "1")
    return romeo, others, str((await facts(romeo)).get("salt"))


@on
async def test_who_allows_it_is_found(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    romeo, others, salt = await people(server, caplog)
    told = await facts(romeo)
    assert (told.get("hash"), told.get("max"), told.get("left")) == ("sha-256", "100", "1000")
    everybody = [hashed(salt, each) for each in (*NUMBERS.values(), ROMEO)]
    answer = await ask(romeo, everybody)
    assert found(answer) == ["juliet@localhost", "nurse@localhost"]
    assert [each.get("hash") for each in answer[0]] == everybody[:2]
    assert (await facts(romeo)).get("left") == "995"
    await choose(others["juliet"], discoverable="0")
    await choose(others["tybalt"], discoverable="1")
    assert found(await ask(romeo, everybody)) == ["nurse@localhost", "tybalt@localhost"]
    await choose(others["nurse"], remove="1")
    assert found(await ask(romeo, everybody)) == ["tybalt@localhost"]


@on
async def test_who_does_not_is_like_nobody(
    server: Harness, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same answer, after the same looks into the store."""
    romeo, _, salt = await people(server, caplog)
    real, looks = server.backend.read, []

    async def read(map: str, owner: str, key: str) -> Any:
        looks.append((map, owner))
        return await real(map, owner, key)

    monkeypatch.setattr(server.backend, "read", read)
    seen = []
    for name in ("tybalt", "paris"):
        looks.clear()
        number = f"<number hash='{hashed(salt, NUMBERS[name])}'/>"
        answer = await romeo.iq(f"<lookup xmlns='{NS}'>{number}</lookup>", to="localhost", id="1")
        seen.append((etree.tostring(answer), tuple(looks)))
        romeo.inbox.clear()
    assert seen[0] == seen[1] and ("phone-number", "localhost") in seen[0][1]


@on
async def test_whom_one_blocks_finds_nothing(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    romeo, others, salt = await people(server, caplog)
    await others["juliet"].iq("<block xmlns='urn:xmpp:blocking'><item jid='romeo@localhost'/></block>", "set")
    assert found(await ask(romeo, [hashed(salt, NUMBERS["juliet"])])) == []
    others["juliet"].close()
    await server.quiet()
    assert found(await ask(romeo, [hashed(salt, NUMBERS["juliet"])])) == [], "also while she is away"


@on
async def test_only_who_has_a_number(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    _, _, salt = await people(server, caplog)
    paris = await server.login("paris")
    assert condition(await paris.iq(ASK, to="localhost")) == "forbidden"
    assert condition(await ask(paris, [hashed(salt, NUMBERS["juliet"])])) == "forbidden"
    assert condition(await command(paris, "localhost", FIND)) == "forbidden"


@pytest.mark.server(plugins={"phone": {"key": KEY, "lookup_needs_number": False, "lookups": 10, "batch": 4}})
async def test_so_many_at_once_and_so_many_a_day(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    romeo = await server.login("romeo")
    one = [f"{number:064x}" for number in range(5)]
    assert condition(await ask(romeo, one)) == "policy-violation"
    results = [condition(await ask(romeo, one[:4])) for _ in range(3)]
    assert results == ["", "", "resource-constraint"], "also of the same ones"
    assert found(await ask(romeo, one[:2])) == []
    again = await server.login("romeo", "tomb")
    assert condition(await ask(again, one[:1])) == "resource-constraint", "nor on another device"
    server.clock.step(86_400)
    assert found(await ask(romeo, one[:4])) == []


@pytest.mark.server(plugins={"phone": {"key": KEY, "lookups": 0}})
async def test_no_look_up_at_all(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    romeo = await server.login("romeo")
    await attach(romeo, caplog, ROMEO)
    assert condition(await romeo.iq(ASK, to="localhost")) == "not-allowed"


@on
async def test_what_is_no_hash(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    romeo, _, salt = await people(server, caplog)
    good = hashed(salt, NUMBERS["juliet"])
    for bad in ("", "x", ROMEO, good[:63], good + "0", good.upper(), "é" * 64, "٣" * 64):
        assert condition(await ask(romeo, [good, bad])) == "bad-request", bad
    assert (await facts(romeo)).get("left") == "1000"


@on
async def test_a_number_that_was_proven_long_ago(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    romeo, others, salt = await people(server, caplog)
    asked = [hashed(salt, NUMBERS["juliet"])]
    server.clock.step(366 * 86_400)
    assert found(await ask(romeo, asked)) == []
    await attach(others["juliet"], caplog, NUMBERS["juliet"], discoverable="1")
    assert found(await ask(romeo, asked)) == ["juliet@localhost"]


@on
async def test_by_a_form(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """For clients that know nothing of it: the numbers as people write them."""
    romeo, _, _ = await people(server, caplog)
    first = await command(romeo, "localhost", FIND)
    numbers = ("+49 151 123 05678", "+49 (151) 12315678", " ", "not a number", NUMBERS["tybalt"], NUMBERS["paris"])
    done = await command(romeo, "localhost", FIND, str(first[0].get("sessionid")), numbers=numbers)
    assert re.findall(r"[a-z]+@localhost(?=<)", xml(done)) == ["juliet@localhost", "nurse@localhost"]
    assert (await facts(romeo)).get("left") == "995"
    first = await command(romeo, "localhost", FIND)
    many = tuple(f"+49151{number:08}" for number in range(101))
    over = await command(romeo, "localhost", FIND, str(first[0].get("sessionid")), numbers=many)
    assert condition(over) == "bad-request"


@on
async def test_the_next_owner_of_a_name_is_not_found(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    romeo, others, salt = await people(server, caplog)
    await others["juliet"].iq("<query xmlns='jabber:iq:register'><remove/></query>", "set")
    await server.quiet()
    await server.register("juliet")
    assert found(await ask(romeo, [hashed(salt, NUMBERS["juliet"])])) == []


@pytest.fixture(params=KINDS)
async def stored(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Store, FakeClock]]:
    clock = FakeClock()
    yield store_of(request, tmp_path, clock), clock


async def test_on_every_store(stored: tuple[Store, FakeClock], caplog: pytest.LogCaptureFixture) -> None:
    store, clock = stored
    server = Harness({"register": OPEN, **ON}, store=store, clock=clock)
    await server.start()
    try:
        await registered(server, caplog, "mercutio", NUMBERS["juliet"], discoverable=True)
        romeo, _, salt = await people_later(server, caplog)
        assert found(await ask(romeo, [hashed(salt, each) for each in NUMBERS.values()])) == [
            "juliet@localhost",
            "nurse@localhost",
        ]
        assert await whose(server, NUMBERS["juliet"]) == "juliet", "it was mercutio's"
        server.clock.step(86_400)
        await server.host.plugins["phone"].codes.sweep()
        assert await server.host.plugins["phone"].codes._sent.read_all("localhost") == {}
    finally:
        await server.stop()


async def people_later(server: Harness, caplog: pytest.LogCaptureFixture) -> tuple[Client, dict[str, Client], str]:
    server.clock.step(61)
    return await people(server, caplog)
