"""A server whose database another one has taken, as people see it: it says nothing more, and its process ends."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.process.client import Wire, body
from tests.process.server import ServerProcess, configuration
from xmppd.cli.common import Exit

pytestmark = pytest.mark.mongodb
ROSTER = "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>"
MESSAGE = "<message to='juliet@localhost' type='chat' id='{0}'><body>{0}</body></message><r xmlns='urn:xmpp:sm:3'/>"


@pytest.mark.parametrize("stopped", [True, False], ids=["stopped", "busy"])
async def test_what_the_former_server_still_says(tmp_path: Path, mongodb_database: str, stopped: bool) -> None:
    """Nothing, to a message or a question (whose answer it has in memory). What it has acknowledged is at the next."""
    first, second = (ServerProcess(tmp_path / name, configuration(mongodb_database)) for name in _folders(tmp_path))
    second.options = ("--take-over",)
    try:
        await first.start()
        await first.account("romeo", "juliet")
        romeo = await Wire.login(first.port(), "romeo")
        await romeo.enable()
        romeo.send(MESSAGE.format("kept"))
        await romeo.acknowledged(1)
        romeo.send(ROSTER)
        await romeo.find("iq")
        if stopped:
            os.kill(first.pid, signal.SIGSTOP)
        await second.start()
        romeo.send(ROSTER + MESSAGE.format("too late"))
        if stopped:
            await asyncio.sleep(1.5)
            os.kill(first.pid, signal.SIGCONT)
        said = []
        with pytest.raises(EOFError):
            while True:
                said.append(await romeo.receive())
        if stopped:
            assert said == []
        # One that could not know yet may answer from memory; what it says of messages is true: this one is the fourth.
        assert all(int(each.get("h", "")) < 4 for each in said if each.tag.endswith("}a"))
        assert not any(each.tag.endswith("}message") for each in said)
        assert await first.ended(within=10) == Exit.TAKEN_OVER
        assert "another server has taken the database" in first.log
        async with await Wire.login(second.port(), "juliet") as juliet:
            juliet.send("<presence/>")
            assert body(await juliet.find("message")) == "kept"
            romeo = await Wire.login(second.port(), "romeo")
            romeo.send(MESSAGE.format("said again"))
            assert body(await juliet.find("message")) == "said again"
        assert await second.stop() == 0
    finally:
        first.kill()
        second.kill()


def _folders(folder: Path) -> tuple[str, str]:
    for name in ("first", "second"):
        (folder / name).mkdir()
    return "first", "second"
