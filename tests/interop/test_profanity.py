"""Profanity, a client in C (libstrophe), in a terminal that tmux keeps."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from slixmpp import JID

from tests.interop.conftest import People, needed
from tests.interop.people import WITHIN, eventually
from tests.process.server import ROOT

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 100
TUTORIAL = ROOT / "docs" / "tutorial" / "first-server.md"


class Profanity:
    """Types, and looks at the screen."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def tmux(self, *arguments: str) -> str:
        env = {**os.environ, "HOME": str(self.folder), "TERM": "xterm", "LANG": "C.UTF-8"}
        env |= {f"XDG_{kind}_HOME": str(self.folder / kind.lower()) for kind in ("CONFIG", "DATA", "CACHE")}
        process = await asyncio.create_subprocess_exec(
            "tmux", "-S", str(self.folder / "tmux"), "-f", "/dev/null", *arguments, env=env,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await asyncio.wait_for(process.communicate(), WITHIN)
        return out.decode(errors="replace")

    async def type(self, line: str) -> None:
        await self.tmux("send-keys", "-t", "p", "-l", line)
        await self.tmux("send-keys", "-t", "p", "Enter")

    async def screen(self) -> str:
        return await self.tmux("capture-pane", "-p", "-t", "p")

    async def shows(self, *texts: str) -> None:
        """Wait until all of them are on the screen."""
        shown, missing = "", list(texts)
        end = asyncio.get_running_loop().time() + WITHIN
        while missing:
            shown = await self.screen()
            missing = [text for text in texts if text not in shown]
            assert asyncio.get_running_loop().time() < end, f"{missing} is not on the screen:\n{shown}"
            await asyncio.sleep(0.05)


@pytest.fixture
async def profanity(tmp_path: Path) -> AsyncIterator[Profanity]:
    needed("tmux", "profanity")
    for folder in ("config", "data", "cache"):
        (tmp_path / folder).mkdir()
    client = Profanity(tmp_path)
    await client.tmux("new-session", "-d", "-s", "p", "-x", "160", "-y", "40", "profanity")
    await client.shows("Type '/help' to show complete help")
    yield client
    await client.tmux("kill-server")


async def connect(profanity: Profanity, people: People) -> None:
    """As the tutorial says: STARTTLS; the self-signed certificate is trusted, which Profanity cannot do for TLS from
    the first byte."""
    jid = await people.register("romeo")
    line = next(line for line in TUTORIAL.read_text("utf-8").splitlines() if line.startswith("/connect "))
    await profanity.type(line.replace("romeo@localhost", jid).replace("5222", str(people.server.port())))
    await profanity.shows("Enter password")
    await profanity.type("pencil")
    await profanity.shows("logged in successfully")


async def test_chat(people: People, profanity: Profanity) -> None:
    juliet = await people.login("juliet")
    await connect(profanity, people)
    await profanity.type(f"/msg {people.bare('juliet')} parting is such sweet sorrow")
    heard = await juliet.hear()
    assert (heard["from"].bare, heard["body"]) == (people.bare("romeo"), "parting is such sweet sorrow")
    juliet.say(str(heard["from"]), "good night, good night")
    await profanity.shows("parting is such sweet sorrow", "good night, good night")


async def test_pictures(people: People, profanity: Profanity, tmp_path: Path) -> None:
    """One each way, over https with the certificate that it was told to trust."""
    juliet = await people.login("juliet")
    await connect(profanity, people)
    picture, mate = tmp_path / "flower.png", people.bare("juliet")
    picture.write_bytes(PICTURE)
    await profanity.type(f"/msg {mate} look")
    assert (await juliet.hear())["body"] == "look"
    await profanity.type(f"/sendfile {picture}")
    address = (await juliet.hear())["body"]
    assert address.startswith("https://localhost:")
    trusting = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(people.server.certificate)))
    async with aiohttp.ClientSession(connector=trusting) as http, http.get(address) as answer:
        assert (answer.content_type, await answer.read()) == ("image/png", PICTURE)
    juliet.say(people.bare("romeo"), address)
    await profanity.shows("flower.png")
    saved = tmp_path / "saved.png"
    await profanity.type(f"/url save {address} {saved}")
    await eventually(lambda: saved.exists() and saved.read_bytes() == PICTURE, "the picture is saved")


async def test_contacts(people: People, profanity: Profanity) -> None:
    """A subscription with a slixmpp client, which agrees and asks back."""
    juliet = await people.login("juliet")
    mate, own = people.bare("juliet"), people.bare("romeo")
    await connect(profanity, people)
    await profanity.type(f"/roster add {mate} Juliet")
    await profanity.type(f"/sub request {mate}")
    await profanity.shows(f"Received authorization request from {mate}")
    await profanity.type(f"/sub allow {mate}")
    await eventually(partial(juliet.sees, own), "Profanity is seen")
    await profanity.type("/roster")
    await profanity.shows("Juliet", mate, "both")


async def test_group_chat(people: People, profanity: Profanity) -> None:
    juliet, room = await people.login("juliet"), people.room("tomb")
    await connect(profanity, people)
    await profanity.type(f"/join {room} nick Romeo")
    await profanity.shows("Room locked, requires configuration")
    await profanity.type("/room accept")
    await profanity.shows("Room unlocked")
    await juliet.plugin["xep_0045"].join_muc_wait(JID(room), "Juliet", timeout=WITHIN)
    await profanity.shows(" Juliet")  # among the participants
    juliet.say(room, "poison, I see", "groupchat")
    await profanity.shows("poison, I see")
    await profanity.type("thy drugs are quick")
    while (heard := await juliet.hear())["body"] != "thy drugs are quick":
        pass
    assert str(heard["from"]) == f"{room}/Romeo"
