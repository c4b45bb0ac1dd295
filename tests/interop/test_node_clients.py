"""xmpp.js over WebSocket and Strophe over BOSH, in Node.js, and connections that are cut."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop import npm
from tests.interop.people import WITHIN, Person
from tests.process.server import ServerProcess, configuration

SCRIPTS = Path(__file__).with_name("node_clients")
PAGE = "https://chat.example.org"
"""The origin of a web page that may connect."""
pytestmark = pytest.mark.timeout(240)


class Cable:
    """Passes on what goes through a port, until it is cut."""

    def __init__(self, to: int) -> None:
        self.to = to
        self.whole = True
        self._losing: bytes | None = None
        self.lost = asyncio.Event()
        """What `lose` was told is."""
        self._ends: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Cable:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.cut()
        self._server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.whole:
            writer.transport.abort()
            return
        inner, outer = await asyncio.open_connection("127.0.0.1", self.to)
        self._ends |= {writer, outer}
        await asyncio.gather(self._pass(reader, outer), self._pass(inner, writer, back=True))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, back: bool = False) -> None:
        try:
            while data := await reader.read(65536):
                if self._losing is not None and self._losing in data:
                    self._losing = None
                    if not back:
                        writer.write(data)
                        await writer.drain()
                    self.lost.set()
                    self.flicker()
                    return
                writer.write(data)
                await writer.drain()
            writer.close()
        except ConnectionError:
            writer.transport.abort()

    def cut(self) -> None:
        """All connections end without a word, and new ones too until `mend`."""
        self.whole = False
        for each in self._ends:
            each.transport.abort()
        self._ends.clear()

    def mend(self) -> None:
        self.whole = True

    def flicker(self) -> None:
        """All connections end without a word, new ones are good."""
        self.cut()
        self.mend()

    def lose(self, what: bytes) -> None:
        """All connections end when this goes by: to the server it still goes, what comes from there is lost."""
        self.lost.clear()
        self._losing = what


class NodeClient:
    """A script in `node_clients`; `events` is all that it has told."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.events: list[list[Any]] = []

    def do(self, *command: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")

    async def expect(self, *what: Any) -> list[Any]:
        """The next event that begins so."""
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(2 * WITHIN):
                while line := await self.process.stdout.readline():
                    self.events.append(json.loads(line))
                    if self.events[-1][: len(what)] == list(what):
                        return self.events[-1]
        except TimeoutError:
            raise AssertionError(f"{what} does not come: {self.events}") from None
        raise AssertionError(f"{what} does not come, the script has ended: {self.events}")

    @property
    def heard(self) -> list[str]:
        return [event[2] for event in self.events if event[0] == "message"]

    async def end(self) -> int:
        self.do("end")
        return await asyncio.wait_for(self.process.wait(), WITHIN)


class Place:
    """A server behind a cable, and Juliet with slixmpp."""

    def __init__(self, server: ServerProcess, cable: Cable, folder: Path) -> None:
        self.server, self.cable, self.folder = server, cable, folder
        self.processes: list[asyncio.subprocess.Process] = []
        self.people: list[Person] = []

    async def juliet(self) -> Person:
        person = Person("juliet@localhost", self.server.certificate)
        self.people.append(person)
        await person.sign_in(self.server.port())
        await person.appear()
        return person

    async def start(self, script: str, address: str, *more: str) -> NodeClient:
        """Romeo."""
        shutil.copy(SCRIPTS / script, self.folder)
        process = await asyncio.create_subprocess_exec(
            npm.node(), script, address.format(self.cable.port), "localhost", "romeo", "pencil", *more, cwd=self.folder,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self.processes.append(process)
        return NodeClient(process)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    npm.node()
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "node_modules").symlink_to(npm.packages(SCRIPTS))
    listeners: list[dict[str, Any]] = [{"port": 0}, {"kind": "http", "port": 0, "tls": "none"}]
    server = ServerProcess(tmp_path, configuration(listeners=listeners, web={"origins": [PAGE]}))
    await server.start()
    await server.account("romeo", "juliet")
    try:
        async with Cable(server.port("http")) as cable:
            found = Place(server, cable, scripts)
            yield found
            for person in found.people:
                person.leave()
            for process in found.processes:
                if process.returncode is None:
                    process.kill()
                    await process.communicate()  # with what it still says: else its end is not seen
    finally:
        server.kill()
    assert "Traceback" not in server.log, server.log


async def test_xmpp_js_over_websocket(place: Place) -> None:
    juliet = await place.juliet()
    romeo = await place.start("xmpp.mjs", "ws://127.0.0.1:{}/xmpp-websocket")
    assert (await romeo.expect("mechanism"))[2].startswith("SCRAM-")
    assert (await romeo.expect("online"))[1].startswith("romeo@localhost/")
    romeo.do("say", "juliet@localhost", "1")
    heard = await juliet.hear()
    assert heard["body"] == "1"
    juliet.say(heard["from"], "2")
    await romeo.expect("message", juliet.boundjid.full, "2")

    place.cable.cut()
    await romeo.expect("disconnected")
    juliet.say(heard["from"], "3")
    await juliet.settled()
    place.cable.mend()
    await romeo.expect("resumed")
    if "3" not in romeo.heard:  # it may come before that is told
        await romeo.expect("message", juliet.boundjid.full, "3")
    romeo.do("say", "juliet@localhost", "4")
    again = await juliet.hear()
    assert (again["body"], again["from"]) == ("4", heard["from"]), "the same session"
    juliet.say(heard["from"], "5")
    await romeo.expect("message", juliet.boundjid.full, "5")
    assert romeo.heard == ["2", "3", "5"]
    assert await romeo.end() == 0


async def strophe(place: Place, *kept: str, page: str = PAGE) -> NodeClient:
    """Of a page of another site than the server's."""
    return await place.start("strophe.mjs", "http://127.0.0.1:{}/http-bind", page, *kept)


async def test_strophe_over_bosh(place: Place) -> None:
    juliet = await place.juliet()
    romeo = await strophe(place)
    assert (await romeo.expect("mechanism"))[1].startswith("SCRAM-")
    full = (await romeo.expect("online"))[1]
    assert full == "romeo@localhost/Strophe"
    romeo.do("say", "juliet@localhost", "1")
    heard = await juliet.hear()
    assert (heard["body"], heard["from"]) == ("1", full)
    juliet.say(full, "2")
    await romeo.expect("message", juliet.boundjid.full, "2")

    for _ in range(2):  # the time is over in which a request waits
        await romeo.expect("answer", 0)
    juliet.say(full, "3")
    await romeo.expect("message", juliet.boundjid.full, "3")

    romeo.do("appear", juliet.boundjid.full)
    await juliet.wait_until("presence_available", WITHIN)
    gone = asyncio.ensure_future(juliet.wait_until("presence_unavailable", WITHIN))
    assert await romeo.end() == 0
    assert (await gone)["from"] == full, "it has said so: nobody waits for the end of its time"


async def test_strophe_of_a_page_that_may_not_connect(place: Place) -> None:
    romeo = await strophe(place, page="https://chat.example.net")
    await romeo.expect("status", "DISCONNECTED")
    assert not [event for event in romeo.events if event[0] == "mechanism"]


async def test_strophe_repeats_what_was_lost(place: Place) -> None:
    """Each message once, whichever way of it the network breaks."""
    juliet = await place.juliet()
    romeo = await strophe(place)
    full = (await romeo.expect("online"))[1]

    async def both_ways(text: str) -> None:
        juliet.say(full, f"{text} for Romeo")
        await romeo.expect("message", juliet.boundjid.full, f"{text} for Romeo")
        romeo.do("say", "juliet@localhost", f"{text} for Juliet")
        assert (await juliet.hear())["body"] == f"{text} for Juliet"

    await both_ways("first")
    place.cable.lose(b"rid=")
    sent = [event[1] for event in romeo.events if event[0] == "request"]
    while len(set(sent)) == len(sent):
        sent += (await romeo.expect("request"))[1:]
    assert place.cable.lost.is_set()
    await both_ways("after a request that waits")

    place.cable.lose(b"<body>lost</body>")
    juliet.say(full, "lost")
    await asyncio.wait_for(place.cable.lost.wait(), WITHIN)
    await romeo.expect("message", juliet.boundjid.full, "lost")
    await both_ways("after an answer")

    place.cable.lose(b"<body")
    romeo.do("say", "juliet@localhost", "lost")
    await asyncio.wait_for(place.cable.lost.wait(), WITHIN)
    assert (await juliet.hear())["body"] == "lost"
    await both_ways("after a request with a message")

    times = ("first", "after a request that waits", "after an answer", "after a request with a message")
    assert romeo.heard == [f"{time} for Romeo" for time in times[:2]] + ["lost"] + [
        f"{time} for Romeo" for time in times[2:]
    ]
    assert [body for _, body in juliet.said] == [f"{time} for Juliet" for time in times[:3]] + ["lost"] + [
        f"{times[3]} for Juliet"
    ]
    assert await romeo.end() == 0


async def test_strophe_goes_on_when_its_page_is_loaded_again(place: Place) -> None:
    juliet = await place.juliet()
    romeo = await strophe(place)
    full = (await romeo.expect("online"))[1]
    juliet.say(full, "1")
    await romeo.expect("message", juliet.boundjid.full, "1")
    romeo.do("leave")
    session = (await romeo.expect("session"))[1]
    await asyncio.wait_for(romeo.process.wait(), WITHIN)
    place.cable.flicker()
    await juliet.settled()  # the server knows that nobody waits: what it wrote now to the page that is gone were lost
    juliet.say(full, "2")
    await juliet.settled()

    again = await strophe(place, session)
    assert (await again.expect("status"))[1] == "ATTACHED"
    await again.expect("message", juliet.boundjid.full, "2")
    again.do("say", "juliet@localhost", "3")
    heard = await juliet.hear()
    assert (heard["body"], heard["from"]) == ("3", full)
    assert await again.end() == 0
