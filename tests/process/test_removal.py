"""An account removes itself, and the process is killed a moment later: what the next one finds of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.process.client import Wire
from tests.process.server import ServerProcess, configuration
from xmppd.contracts.admin import OperationError

MUC, PUBSUB = "http://jabber.org/protocol/muc", "http://jabber.org/protocol/pubsub"
ROOMS = [f"room-{number}@conference.localhost" for number in range(50)]
WITHIN = 30.0
"""Seconds until a job is done."""


@pytest.fixture(params=["sqlite", pytest.param("mongodb", marks=pytest.mark.mongodb)])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ServerProcess]:
    storage = "sqlite:///var/xmppd.db" if request.param == "sqlite" else request.getfixturevalue("mongodb_database")
    made = ServerProcess(tmp_path, configuration(storage))
    await made.start()
    yield made
    made.kill()
    assert "Traceback" not in made.log, made.log


async def known_in_rooms(romeo: Wire) -> None:
    """He owns each, and made juliet an owner of it."""
    for room in ROOMS:
        romeo.send(f"<presence to='{room}/romeo'><x xmlns='{MUC}'/></presence>")
        form = (
            "<x xmlns='jabber:x:data' type='submit'>"
            f"<field var='FORM_TYPE'><value>{MUC}#roomconfig</value></field>"
            "<field var='muc#roomconfig_persistentroom'><value>1</value></field></x>"
        )
        assert (await romeo.iq(f"<query xmlns='{MUC}#owner'>{form}</query>", "set", room)).get("type") == "result"
        item = "<item jid='juliet@localhost' affiliation='owner'/>"
        assert (await romeo.iq(f"<query xmlns='{MUC}#admin'>{item}</query>", "set", room)).get("type") == "result"


async def known_in_nodes(juliet: Wire) -> None:
    form = (
        f"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{PUBSUB}#node_config</value></field>"
        "<field var='pubsub#access_model'><value>whitelist</value></field></x>"
    )
    for number in range(10):
        made = f"<create node='n{number}'/><configure>{form}</configure>"
        assert (await juliet.iq(f"<pubsub xmlns='{PUBSUB}'>{made}</pubsub>", "set")).get("type") == "result"
        member = "<affiliation jid='romeo@localhost' affiliation='member'/>"
        payload = f"<pubsub xmlns='{PUBSUB}#owner'><affiliations node='n{number}'>{member}</affiliations></pubsub>"
        assert (await juliet.iq(payload, "set")).get("type") == "result"


async def named_in(juliet: Wire) -> list[str]:
    """Rooms and nodes that still know romeo."""
    found = []
    for room in ROOMS:
        for affiliation in ("owner", "admin", "member", "outcast"):
            item = f"<item affiliation='{affiliation}'/>"
            answer = await juliet.iq(f"<query xmlns='{MUC}#admin'>{item}</query>", "get", room)
            assert answer.get("type") == "result"
            found += [room for each in answer[0] if each.get("jid") == "romeo@localhost"]
    for number in range(10):
        payload = f"<pubsub xmlns='{PUBSUB}#owner'><affiliations node='n{number}'/></pubsub>"
        answer = await juliet.iq(payload)
        assert answer.get("type") == "result"
        found += [f"n{number}" for each in answer[0][0] if each.get("jid") == "romeo@localhost"]
    return found


async def released(server: ServerProcess) -> None:
    """Wait until the name is in quarantine, which is when the job is done, and lift that."""
    async with asyncio.timeout(WITHIN):
        while True:
            with pytest.raises(OperationError, match=r"still being removed|is kept free until"):
                await server.operation("user.add", jid="romeo@localhost", password="pencil")
            try:
                await server.operation("user.release", jid="romeo@localhost")
            except OperationError as error:
                assert "still being removed" in str(error)
                await asyncio.sleep(0.05)
            else:
                return


@pytest.mark.parametrize("behind", [0.01, 0.035, 0.06])
async def test_killed_behind_remove(server: ServerProcess, behind: float) -> None:
    """Within 10 to 60 ms of the request, as it was found: the job is on the disk, or the account is as it was."""
    await server.account("romeo", "juliet")
    async with await Wire.login(server.port(), "romeo") as romeo, await Wire.login(server.port(), "juliet") as juliet:
        await known_in_rooms(romeo)
        await known_in_nodes(juliet)
        romeo.send("<iq type='set' id='r'><query xmlns='jabber:iq:register'><remove/></query></iq>")
        await asyncio.sleep(behind)
        await server.crash()
    await server.start()
    listed = (await server.operation("user.list", domain="localhost"))["items"]
    if "romeo@localhost" in listed:  # the mark had not reached the disk: nothing was answered, nothing is lost
        await server.operation("user.del", jids=["romeo@localhost"])
    await released(server)
    async with await Wire.login(server.port(), "juliet") as juliet:
        assert await named_in(juliet) == []
    await server.account("romeo")
    async with await Wire.login(server.port(), "romeo") as heir:
        for number in range(10):
            payload = f"<pubsub xmlns='{PUBSUB}'><items node='n{number}'/></pubsub>"
            assert (await heir.iq(payload, to="juliet@localhost")).get("type") == "error"
        item = "<item affiliation='owner'/>"
        answer = await heir.iq(f"<query xmlns='{MUC}#admin'>{item}</query>", "get", ROOMS[0])
        assert answer.get("type") == "error"


async def test_killed_behind_the_command(server: ServerProcess) -> None:
    """The same by an administrator's hand."""
    await server.account("romeo", "juliet")
    async with await Wire.login(server.port(), "romeo") as romeo, await Wire.login(server.port(), "juliet") as juliet:
        await known_in_rooms(romeo)
        await known_in_nodes(juliet)
    deleting = asyncio.ensure_future(server.operation("user.del", jids=["romeo@localhost"]))
    await server.logged("romeo@localhost is being removed")
    await server.crash()
    await asyncio.gather(deleting, return_exceptions=True)
    await server.start()
    assert "romeo@localhost" not in (await server.operation("user.list", domain="localhost"))["items"]
    await released(server)
    async with await Wire.login(server.port(), "juliet") as juliet:
        assert await named_in(juliet) == []
