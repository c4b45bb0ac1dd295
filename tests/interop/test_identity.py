"""A server process whose people are in OpenLDAP: slixmpp chats, slapd goes away and comes back, somebody leaves."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.interop.people import WITHIN, Person
from tests.interop.slapd import BASE, PEOPLE, READER, READER_PASSWORD, Slapd, installed
from tests.process.client import SignInFailed, Wire
from tests.process.server import ServerProcess, configuration

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(not installed() and os.environ.get("CI") != "true", reason="LDAP IS NOT TESTED: no slapd"),
]


@pytest.fixture
async def directory(tmp_path: Path) -> AsyncIterator[Slapd]:
    slapd = Slapd(tmp_path / "slapd").start()
    yield slapd
    slapd.stop()


@pytest.fixture
async def server(directory: Slapd, tmp_path: Path) -> AsyncIterator[ServerProcess]:
    secret = tmp_path / "ldap-password"
    secret.write_text(READER_PASSWORD + "\n")
    options = {
        "servers": [directory.plain], "ca": str(directory.certificate), "base": PEOPLE, "bind_dn": READER,
        "password_file": "../ldap-password", "groups_base": f"ou=groups,{BASE}", "timeout": "1 second",
    }  # fmt: skip
    folder = tmp_path / "server"
    folder.mkdir()
    server = ServerProcess(folder, configuration(plugins={"ldap": options}))
    server.launch()
    yield server
    assert server.end() == 0
    assert "Traceback" not in server.log, server.log
    assert READER_PASSWORD not in server.log
    assert "pencil" not in server.log


async def signs_in(server: ServerProcess, user: str, password: str) -> bool:
    person = Person(f"{user}@localhost", server.certificate, password=password)
    failed = asyncio.get_running_loop().create_future()
    person.add_event_handler("failed_auth", lambda _: failed.done() or failed.set_result(None))
    signing = asyncio.ensure_future(person.sign_in(server.port()))
    try:
        await asyncio.wait((signing, failed), timeout=WITHIN, return_when=asyncio.FIRST_COMPLETED)
        return signing.done() and signing.exception() is None
    finally:
        signing.cancel()
        person.leave()


async def test_people_of_a_directory_chat(server: ServerProcess, directory: Slapd) -> None:
    romeo = Person("romeo@localhost", server.certificate, password="pencil")
    juliet = Person("juliet@localhost", server.certificate, password="rapier")
    try:
        for person in (romeo, juliet):
            await person.sign_in(server.port())
            await person.appear()
        romeo.say("juliet@localhost", "wherefore?")
        assert (await juliet.hear())["body"] == "wherefore?"
        assert not await signs_in(server, "romeo", "rapier")
        assert not await signs_in(server, "nobody", "pencil")

        # The directory is away: who is there stays, nobody comes in, and nobody waits for it.
        directory.stall(True)
        refused = [asyncio.ensure_future(signs_in(server, "tybalt", "cats")) for _ in range(10)]
        romeo.say("juliet@localhost", "still there?")
        assert (await juliet.hear())["body"] == "still there?"
        assert not any(await asyncio.gather(*refused))
        directory.stall(False)
        await eventually_in(server, "tybalt", "cats")

        directory.change("delete", f"uid=juliet,{PEOPLE}")
        ended = asyncio.ensure_future(juliet.wait_until("disconnected", WITHIN))
        told = await server.cli("op", "identity.check")
        assert told.status == 0, told.text
        await ended
        assert not await signs_in(server, "juliet", "rapier")
        gone = await server.cli("op", "identity.show", "juliet@localhost")
        assert "knows it no more" in gone.out
        shown = await server.cli("op", "identity.show", "romeo@localhost")
        assert "groups: montagues" in shown.out
    finally:
        romeo.leave()
        juliet.leave()


async def eventually_in(server: ServerProcess, user: str, password: str) -> None:
    """The directory rests for a moment after it was away."""
    end = time.monotonic() + WITHIN
    while not await signs_in(server, user, password):
        assert time.monotonic() < end


async def test_a_refusal_takes_the_same_time(server: ServerProcess) -> None:
    """Nobody hears at once, whether there is such a person or not: the answer waits for its tick (a quarter of a
    second), of which at least half a one is left when it is asked for."""

    async def taken(user: str) -> float:
        async with await Wire.connect(server.port()) as wire:
            began = time.monotonic()
            with pytest.raises(SignInFailed):
                await wire.sign_in(user, "wrong")
            return time.monotonic() - began

    found = {user: sorted([await taken(user) for _ in range(4)]) for user in ("romeo", "nobody")}
    assert all(each[0] > 0.1 for each in found.values()), found
