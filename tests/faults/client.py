"""A client as people have them, that writes down all it does: sends, resumes, sends again, reads archives.

What it does with a broken stream is what Conversations and Gajim do: resume; if that fails, take over what `h` of
<failed/> says, and send the rest again with the same ids, before anything new.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from lxml import etree

from tests.process.client import CLIENT, SM, STREAMS, Element, SignInFailed, Wire

from .ledger import Attempt, Device, How, Kind, Ledger, Message, Receipt

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

SID = "{urn:xmpp:sid:0}stanza-id"
MAM = "urn:xmpp:mam:2"
RSM = "http://jabber.org/protocol/rsm"
CARBONS = "urn:xmpp:carbons:2"
FORWARDED = "{urn:xmpp:forward:0}forwarded"
MUC = "http://jabber.org/protocol/muc"
STANZAS = (f"{CLIENT}message", f"{CLIENT}iq", f"{CLIENT}presence")
ROOM = "garden@conference.localhost"
WINDOW = 30
"""Messages that a client with XEP-0198 has on their way."""
PATIENCE = 30.0
BROKEN = (OSError, EOFError, TimeoutError, SignInFailed, etree.XMLSyntaxError)
"""How a connection may end while the server is killed and starved. A failed sign-in: its store is away."""


class Link(Wire):
    """A connection whose elements are taken in the batches in which they are read."""

    async def batch(self) -> list[Element]:
        """What one read brings. Raises EOFError at the end of the stream."""
        if not self._inbox:
            if self.ended:
                raise EOFError("the stream has ended")
            await self._read()
        found = list(self._inbox)
        self._inbox.clear()
        return found

    async def receive(self, within: float = PATIENCE) -> Element:
        """The next element. A stream error is the end: EOFError."""
        element = await super().receive(within)
        if element.tag == f"{STREAMS}error":
            raise EOFError(etree.tostring(element).decode())
        return element

    async def drain(self) -> None:
        await self._writer.drain()


class Actor:
    """One device. `run` connects, and connects again, until `leave`; `live` of them are `away` now and then."""

    def __init__(self, ledger: Ledger, device: Device, port: int, chance: random.Random, tls: str = "none") -> None:
        self.ledger, self.device, self.port, self.tls = ledger, device, port, tls
        self.chance = chance
        self.peers: list[str] = []
        self.rooms = False
        self.talks = False
        """Whether it sends."""
        self.pause = 0.06
        """Seconds between its bursts, on average."""
        self.away_until = 0.0
        self.deaf_until = 0.0
        self.online = False
        self.last_id = device.since
        self.unacked: deque[Message | None] = deque()
        """All stanzas since <enable/> that `h` has not covered; None for what is no message."""
        self._pending: list[Message] = []
        """Of sessions that cannot be resumed: to be sent again once the new one has begun."""
        self._begun = False
        self._begun_in = 0
        self._sent = self._handled = self._covered = 0
        self._previous = ""
        self._stream = self._session = self._sitting = self._sittings = self._number = self._iqs = 0
        self._link: Link | None = None
        self._answers: dict[str, asyncio.Future[Element]] = {}
        self._room_moved: asyncio.Event = asyncio.Event()
        self._leaving = False
        self._managed = device.kind is not Kind.BARE

    # ---- life

    async def run(self) -> None:
        while not self._leaving:
            wait = self.away_until - time.monotonic()
            try:
                if wait > 0:
                    await asyncio.sleep(min(wait, 0.05))
                    continue
                await self._connected()
            except BROKEN as error:
                self.device.denied += "handled-count-too-high" in repr(error)
                self.device.errors = [*self.device.errors[-3:], repr(error)]
            finally:
                self._broken()
            await asyncio.sleep(self.chance.uniform(0.01, 0.08))

    def _broken(self) -> None:
        if self._link is not None:
            self._link.cut()
        self._link, self.online = None, False
        for answer in self._answers.values():
            answer.cancel()
        self._answers.clear()

    def cut(self, how: str = "abort") -> None:
        """Break the connection: at once, in the middle of a stanza, or with data on its way that is never read."""
        link = self._link
        if link is None:
            return
        if how == "stanza":
            link.send("<message to='bob@localhost' type='chat'><body>half")
            asyncio.get_running_loop().call_soon(link.cut)
        elif how == "deaf":
            self.deaf_until = time.monotonic() + 0.25
            asyncio.get_running_loop().call_later(0.2, link.cut)
        else:
            link.cut()

    def leave(self) -> None:
        """For good, without a word."""
        self._leaving = True
        if self._link is not None:
            self._link.cut()

    @property
    def epoch(self) -> int:
        """Of what comes and goes now: that in which the stream began. Where another server may end meanwhile, which
        does not end the stream, that of the moment."""
        return self._begun_in if self.ledger.domains == 1 else len(self.ledger.ends)

    @property
    def idle(self) -> bool:
        """It is online, and nothing that it sent waits for an acknowledgement."""
        return self.online and not self._pending and not any(self.unacked)

    async def _connected(self) -> None:
        port = self.port
        link = await Link.connect(port, self.tls, domain=self.device.account.rpartition("@")[2])
        assert isinstance(link, Link)
        if port != self.port:
            link.cut()
            raise EOFError("the server is elsewhere now")
        self._link, self._stream = link, self._stream + 1
        self._begun_in = len(self.ledger.ends)
        await link.sign_in(self.device.account.partition("@")[0])
        resumed = bool(self._previous) and self._begun and await self._resume(link)
        if not resumed:
            self._pending += [each for each in self.unacked if each is not None]
            self.unacked.clear()
            if self._previous and not self._begun:
                self.device.abandoned[self._session] = time.monotonic()
            self._session += 1
            self._begun, self._sitting = False, 0
            await link.bind(self.device.name.partition("/")[2])
            if self._managed:
                enabled = await link.enable()
                self._previous = str(enabled.get("id") or "")
                self._sent = self._handled = self._covered = 0
        reading = asyncio.ensure_future(self._read(link))
        try:
            await self._until(reading, self._at_work(link, resumed))
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _until(self, reading: asyncio.Future[None], work: Coroutine[Any, Any, None]) -> None:
        """Work as long as the stream can be read."""
        working = asyncio.ensure_future(work)
        try:
            done, _ = await asyncio.wait((reading, working), return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                if not each.cancelled():
                    each.result()
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def _at_work(self, link: Link, resumed: bool) -> None:
        if resumed:
            self._again(link)
        else:
            await self._begin(link)
        self.online = self._begun = True
        while True:
            if self.talks and sum(each is not None for each in self.unacked) < WINDOW:
                for _ in range(self.chance.randrange(1, 6)):
                    self._say(link)
            if self._managed:
                link.send(f"<r xmlns='{SM}'/>")
            await link.drain()
            await asyncio.sleep(self.chance.uniform(0.1, 1.9) * self.pause)

    # ---- a new stream

    async def _resume(self, link: Link) -> bool:
        link.send(f"<resume xmlns='{SM}' previd='{self._previous}' h='{self._handled}'/>")
        answer = await link.receive(PATIENCE)
        if answer.tag not in (f"{{{SM}}}resumed", f"{{{SM}}}failed"):
            raise EOFError(f"neither resumed nor failed: {etree.tostring(answer)!r}")
        told = answer.get("h")
        if told is not None and (answer.tag == f"{{{SM}}}resumed" or int(told) > self._covered):
            self._settle(int(told))  # <failed/> after a crash is exact for messages: it may fall behind other stanzas
        if answer.tag == f"{{{SM}}}resumed":
            return True
        self._previous = ""
        return False

    async def _begin(self, link: Link) -> None:
        """A new session: archive, presence, room, and what was not acknowledged on the old one."""
        if self.device.kind is Kind.ARCHIVE:
            await self._iq(link, f"<enable xmlns='{CARBONS}'/>")
            await self._fetch(link)
        self._stanza(link, "<presence/>")
        if self.rooms:
            self._room_moved.clear()
            nick = self.device.name.partition("@")[0] + self.device.name.rpartition("/")[2]
            inside = f"<x xmlns='{MUC}'><history maxstanzas='0'/></x>"
            self._stanza(link, f"<presence to='{ROOM}/{nick}'>{inside}</presence>")
            async with asyncio.timeout(PATIENCE):
                await self._room_moved.wait()
        again, self._pending = self._pending, []
        for message in again:
            self._write(link, message)

    async def _fetch(self, link: Link) -> None:
        """What came behind the last id that is known (XEP-0313 section 4.3.3), page by page.

        Carbons that come before its presence do not move that id: there may be more before them, which are sent behind
        the presence, and if the connection breaks before, are in the archive behind the last page.
        """
        while True:
            after = f"<after>{self.last_id}</after>" if self.last_id else ""
            page = f"<set xmlns='{RSM}'><max>100</max>{after}</set>"
            answer = await self._iq(link, f"<query xmlns='{MAM}'>{page}</query>")
            if answer.get("type") != "result":
                if self.last_id and answer.find(".//{urn:ietf:params:xml:ns:xmpp-stanzas}item-not-found") is not None:
                    self.last_id = 0  # what it had seen is gone: from the start (no honest server comes here)
                    continue
                raise EOFError("the archive cannot be read now")
            if answer[0].get("complete") == "true":
                return

    async def _iq(self, link: Link, payload: str, to: str = "") -> Element:
        self._iqs += 1
        id = f"i{self._iqs}"
        answer = self._answers[id] = asyncio.get_running_loop().create_future()
        address = f" to='{to}'" if to else ""
        self._stanza(link, f"<iq type='set' id='{id}'{address}>{payload}</iq>")
        try:
            return await asyncio.wait_for(answer, PATIENCE)
        except asyncio.CancelledError:
            if asyncio.current_task() is not None and answer.cancelled():
                raise EOFError("the stream has ended") from None
            raise

    # ---- out

    async def open_room(self) -> None:
        """Who made it unlocks it (XEP-0045 section 10.1.2), to be kept."""
        assert self._link is not None
        field = "<field var='{}'><value>{}</value></field>".format
        form = field("FORM_TYPE", f"{MUC}#roomconfig") + field("muc#roomconfig_persistentroom", 1)
        x = f"<x xmlns='jabber:x:data' type='submit'>{form}</x>"
        answer = await self._iq(self._link, f"<query xmlns='{MUC}#owner'>{x}</query>", ROOM)
        assert answer.get("type") == "result", etree.tostring(answer)

    def _stanza(self, link: Link, text: str, message: Message | None = None) -> None:
        link.send(text)
        if self._managed:
            self.unacked.append(message)

    def _say(self, link: Link) -> None:
        device = self.device
        self._number += 1
        room = self.rooms and self.chance.random() < 0.2
        to = ROOM if room else self.chance.choice(self.peers)
        kept = room or self.chance.random() > 0.08
        key = f"{device.name}#{self._number}"
        self._write(link, Message(key, device.name, device.account, to, self._number, kept, room))

    def _write(self, link: Link, message: Message) -> None:
        self.ledger.sent(message, Attempt(self.epoch, time.monotonic()))
        hint = "" if message.kept else "<no-permanent-store xmlns='urn:xmpp:hints'/>"
        self._stanza(
            link,
            f"<message to='{message.to}' type='{'groupchat' if message.room else 'chat'}' id='{message.key}'>"
            f"<body>{message.key}</body>{hint}<origin-id xmlns='urn:xmpp:sid:0' id='{message.key}'/></message>",
            message,
        )

    def _again(self, link: Link) -> None:
        """On a resumed session: what is not covered yet, also what is no message, for all of it counts."""
        again, self.unacked = list(self.unacked), deque()
        for message in again:
            if message is None:
                self._stanza(link, f"<presence to='{self.device.account}/nobody'/>")
            else:
                self._write(link, message)

    def _settle(self, h: int) -> None:
        new = h - self._covered
        if new < 0 or new > len(self.unacked):
            raise AssertionError(f"{self.device.name}: h={h} after {self._covered} with {len(self.unacked)} waiting")
        self._covered = h
        for _ in range(new):
            message = self.unacked.popleft()
            if message is not None:
                self.ledger.acked(message.key)

    # ---- in

    async def _read(self, link: Link) -> None:
        while True:
            for element in await link.batch():
                self._take(link, element)
            if time.monotonic() < self.deaf_until:
                await asyncio.sleep(0.25)

    def _take(self, link: Link, element: Element) -> None:
        tag = element.tag
        if tag in STANZAS:
            self._handled += 1
            if tag == f"{CLIENT}message":
                self._message(element)
            elif tag == f"{CLIENT}iq":
                self._answer(link, element)
            elif str(element.get("from", "")).startswith(f"{ROOM}/"):
                self._in_room(element)
            if self._managed and self._handled % 16 == 0:
                link.send(f"<a xmlns='{SM}' h='{self._handled}'/>")
        elif tag == f"{{{SM}}}r":
            link.send(f"<a xmlns='{SM}' h='{self._handled}'/>")
        elif tag == f"{{{SM}}}a":
            self._settle(int(element.get("h", "0")))
        elif tag == f"{STREAMS}error":
            raise EOFError(etree.tostring(element).decode())
        parent = element.getparent()
        if parent is not None:
            parent.remove(element)

    def _answer(self, link: Link, element: Element) -> None:
        answer = self._answers.pop(str(element.get("id")), None)
        if answer is not None and not answer.done():
            answer.set_result(element)
        elif element.get("type") == "get":
            self._stanza(link, f"<iq type='result' id='{element.get('id')}' to='{element.get('from', 'localhost')}'/>")

    def _in_room(self, element: Element) -> None:
        if element.get("type") == "error":
            raise EOFError("the room cannot be entered now")
        if element.find(f"{{{MUC}#user}}x/{{{MUC}#user}}status[@code='110']") is not None:
            if not self._room_moved.is_set():
                self._sittings += 1
                self._sitting = self._sittings
            self._room_moved.set()

    def _message(self, element: Element) -> None:
        result = element.find(f"{{{MAM}}}result")
        if result is not None:
            self._note(result.find(f"{FORWARDED}/{CLIENT}message"), How.READ, str(result.get("id")))
            return
        for name in ("sent", "received"):
            inner = element.find(f"{{{CARBONS}}}{name}/{FORWARDED}/{CLIENT}message")
            if inner is None:
                continue
            if inner.get("type") == "error":  # to another device of the account, which is gone
                self._refused(inner)
            else:
                self._note(inner, How.CARBON)
            return
        if element.get("type") == "error":
            self._refused(element)
            return
        self._note(element, How.ROOM if element.get("type") == "groupchat" else How.LIVE)

    def _refused(self, error: Element) -> None:
        message = self.ledger.messages.get(str(error.get("id")))
        if message is not None:
            message.refused = True

    def _note(self, message: Element | None, how: How, id: str = "") -> None:
        key = message.findtext(f"{CLIENT}body") if message is not None else None
        if message is None or key is None:
            return
        by = ROOM if how is How.ROOM else self.device.account
        id = id or next(self._ids(message, by), "")
        if id and how is not How.ROOM and (how is How.READ or self.online):
            self.last_id = max(self.last_id, int(id))
        sitting = self._sitting if how is How.ROOM else 0
        receipt = Receipt(key, id, how, self.epoch, self._stream, time.monotonic(), sitting, self._session)
        self.device.receipts.append(receipt)

    def _ids(self, message: Element, by: str) -> Iterator[str]:
        for element in message.iterchildren(SID):
            if element.get("by") == by:
                yield str(element.get("id"))


async def read_archive(
    port: int, user: str, room: str = "", after: int = 0, tls: str = "none", domain: str = "localhost"
) -> list[tuple[int, str]]:
    """All of an archive behind `after`, by a visitor without presence: (id, body). Raises EOFError when it cannot be
    read now."""
    found: list[tuple[int, str]] = []
    link = await Wire.login(port, user, resource="auditor", tls=tls, domain=domain)
    try:
        to = f" to='{room}'" if room else ""
        while True:
            last = f"<after>{after}</after>" if after else ""
            link.send(
                f"<iq type='set' id='q{after}'{to}><query xmlns='{MAM}'><set xmlns='{RSM}'><max>250</max>{last}</set>"
                "</query></iq>"
            )
            while (element := await link.receive(PATIENCE)).tag != f"{CLIENT}iq":
                result = element.find(f"{{{MAM}}}result")
                message = result.find(f"{FORWARDED}/{CLIENT}message") if result is not None else None
                if result is not None and message is not None:
                    found.append((int(str(result.get("id"))), message.findtext(f"{CLIENT}body") or ""))
            if element.find(f"{CLIENT}error[@type='wait']") is not None:
                raise EOFError("the archive cannot be read now")
            assert element.get("type") == "result", etree.tostring(element)
            if element[0].get("complete") == "true":
                return found
            after = found[-1][0]
    finally:
        link.cut()
