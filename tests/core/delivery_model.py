"""People with devices of every kind, and what each of them has been sent: for tests/core/test_delivery_model.py."""

from __future__ import annotations

import random

from tests.harness import Client, Element, FakeClock, Harness
from tests.harness.client import STREAM
from xmppd.storage.memory import MemoryBackend
from xmppd.storage.store import Store
from xmppd.xep.elements import DELAY_NS, parse_time

SM = "urn:xmpp:sm:3"
MAM = "urn:xmpp:mam:2"
SID = "urn:xmpp:sid:0"
FORWARD = "urn:xmpp:forward:0"
BODY = "{jabber:client}body"
MESSAGE = "{jabber:client}message"
STANZAS = {f"{{jabber:client}}{name}" for name in ("message", "presence", "iq")}


class Model:
    """What happens, and what must be true in the end."""

    def __init__(self, server: Harness, chance: random.Random) -> None:
        self.server = server
        self.chance = chance
        self.said: dict[str, float] = {}
        """By body: the wall time when it was first said."""
        self.order: dict[str, list[str]] = {}
        self.hidden: set[str] = set()
        self.to: dict[str, str] = {}
        self.refused: set[str] = set()
        self.acked: set[str] = set()
        self.unacknowledged: set[str] = set()
        """What a device had when the server ended its session, and could not acknowledge any more."""
        self.crashes = 0
        self.devices: list[Device] = []
        self.trace: list[str] = []
        self.faults: list[str] = []

    def note(self, text: str) -> None:
        self.trace.append(f"{self.server.clock.wall - 1_700_000_000:.2f} {text}")

    def wrong(self, text: str) -> None:
        self.note(f"!! {text}")
        self.faults.append(text)

    async def restart(self, graceful: bool) -> None:
        old = self.server
        for device in self.devices:
            device.before_end(graceful)
        if graceful:
            old.backend._failures.clear()
            old.backend.release()
            await old.advance(3)  # a store that was away is tried again
            await old.stop()
            for device in self.devices:
                if device.client is not None:
                    device.read()
        backend: MemoryBackend = old.backend.survivor()
        for device in self.devices:
            device.gone(crash=not graceful)
        if not graceful:
            self.crashes += 1
        clock = FakeClock(old.clock.wall)
        backend.clock = clock
        self.server = Harness(**old.made, store=Store(backend, clock), clock=clock)
        await self.server.start()


class Device:
    def __init__(self, model: Model, user: str, name: str, kind: str) -> None:
        self.model, self.user, self.name, self.kind = model, user, name, kind
        self.client: Client | None = None
        self.id = ""
        self.h = 0
        self.acked_h = 0
        self.unacked: list[str] = []
        """Stanzas sent."""
        self.handled = 0
        self.there = False
        self.priority = 0
        self.had: list[str] = []
        self.live: list[str] = []
        self.last_id = ""
        self.restarts: set[str] = set()
        """What it had at the last crash: may come again."""
        self.asleep = False
        self.serial = 0

    # ---- connection

    async def come(self) -> None:
        model = self.model
        server = model.server
        await server.register(self.user)
        client = server.connect()
        try:
            await client.sign_in(self.user)
        except AssertionError:
            server.backend.release()
            await server.advance(1)
            client.cut()
            model.note(f"{self.name} could not sign in")
            return
        self.client = client
        if self.kind != "bare" and self.id:
            client.send(f"<resume xmlns='{SM}' previd='{self.id}' h='{self.h}'/>")
            if self.model.chance.random() < 0.7:
                server.backend.release()
            if not await server.until(lambda: bool(client.inbox)):
                server.backend.release()
            if not await server.until(lambda: bool(client.inbox)):
                server.backend._failures.clear()
                server.backend.release()
                await server.advance(3)
            answer = await client.receive()
            h = answer.get("h")
            model.note(f"{self.name} resume h={self.h}: {answer.tag.partition('}')[2]} {h}")
            if h is not None:
                self.covered(int(h), answer.tag.endswith("}failed"))
            if answer.tag.endswith("}resumed"):
                rest = list(self.unacked)
                for text in rest:
                    client.send(text)
                self.asleep = False
                await self.settle()
                return
            self.id = ""
        client.send(
            "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
            f"<resource>{self.name}</resource></bind></iq>"
        )
        if not await server.until(lambda: bool(client.inbox)):
            server.backend.release()
            await server.advance(3)
        await server.until(lambda: bool(client.inbox))
        if not client.inbox:
            model.wrong(f"{self.name} cannot bind")
            return
        answer = client.inbox.popleft()
        if answer.get("type") != "result":
            model.note(f"{self.name} cannot bind now")
            client.cut()
            self.client = None
            return
        client.jid = f"{self.user}@localhost/{self.name}"
        self.live = []
        self.there = False
        again, self.unacked = self.unacked, []
        self.asleep = False
        if self.kind != "bare":
            client.send(f"<enable xmlns='{SM}' resume='true'/>")
            answer = await client.receive()
            while not answer.tag.endswith("}enabled"):
                self.take(answer)
                answer = await client.receive()
            self.id = str(answer.get("id"))
            self.h = self.acked_h = self.handled = 0
        if self.kind == "archive":
            await self.query()
        if self.model.chance.random() < 0.5:
            self.send("<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
        if self.kind != "bare":
            for text in again:
                if text.startswith("<message"):
                    self.send(text)
        self.presence(0)
        await self.settle()

    async def settle(self) -> None:
        await self.model.server.quiet()
        self.read()

    async def query(self) -> None:
        server, client = self.model.server, self.client
        assert client is not None
        while True:
            after = f"<after>{self.last_id}</after>" if self.last_id else ""
            server.backend.release()
            self.serial += 1
            id = f"m{self.serial}"
            text = f"<iq type='set' id='{id}'><query xmlns='{MAM}'><set xmlns='http://jabber.org/protocol/rsm'><max>20</max>{after}</set></query></iq>"
            self.send(text)
            answer = await self.answer(id)
            if answer is None:
                await server.advance(5)
                answer = await self.answer(id)
            if answer is None:
                self.model.wrong(f"{self.name}: no answer to its archive query")
                return
            fin = answer.find(f"{{{MAM}}}fin")
            if fin is None:
                self.model.note(f"{self.name}: archive query refused")
                return
            if fin.get("complete") == "true":
                return

    async def answer(self, id: str) -> Element | None:
        """What comes before it is taken."""
        client = self.client
        assert client is not None
        while await self.model.server.until(lambda: bool(client.inbox)):
            element = client.inbox.popleft()
            self.take(element)
            if element.get("id") == id:
                return element
        return None

    # ---- sending

    def send(self, text: str) -> None:
        if self.kind != "bare":
            self.unacked.append(text)
        if self.client is not None:
            self.client.send(text)

    def presence(self, priority: int | None) -> None:
        self.there = priority is not None and priority >= 0
        self.send(
            "<presence type='unavailable'/>"
            if priority is None
            else f"<presence><priority>{priority}</priority></presence>"
        )

    def covered(self, h: int, failed: bool = False) -> None:
        count = h - self.handled
        if count < 0 and failed:
            return
        if count < 0 or count > len(self.unacked):
            self.model.wrong(f"{self.name}: h={h} but it has sent {self.handled}+{len(self.unacked)}")
            return
        for text in self.unacked[:count]:
            if "<body>" in text:
                self.model.acked.add(text.partition("<body>")[2].partition("</body>")[0])
        del self.unacked[:count]
        self.handled = h

    # ---- reading

    def read(self, most: int = 1 << 30) -> None:
        client = self.client
        while client is not None and client.inbox and most > 0:
            most -= 1
            self.take(client.inbox.popleft())

    def take(self, element: Element) -> None:
        model = self.model
        if element.tag == f"{{{SM}}}r":
            self.ack()
            return
        if element.tag == f"{{{SM}}}a":
            self.covered(int(str(element.get("h"))))
            return
        if element.tag == STREAM + "error":
            model.note(f"{self.name} stream error {element[0].tag}")
            model.unacknowledged |= set(self.had)
            self.client = None
            return
        if element.tag in STANZAS:
            self.h += 1
        if element.tag != MESSAGE:
            return
        if element.get("type") == "error":
            model.refused.add(str(element.get("id")).partition("-")[0])
            return
        result = element.find(f"{{{MAM}}}result")
        inner, way = element, "live"
        if result is not None:
            self.last_id = str(result.get("id"))
            inner, way = result.find(f".//{MESSAGE}"), "archive"
        else:
            carbon = element.find(f".//{{{FORWARD}}}forwarded")
            if carbon is not None:
                inner, way = carbon.find(f".//{MESSAGE}"), "carbon"
        body = inner.findtext(BODY)
        if body is None:
            return
        if inner.get("type") == "error":
            model.note(f"{self.name} error for {body}")
            model.refused.add(body)
            return
        if not str(inner.get("to")).startswith(f"{self.user}@"):
            return
        model.note(f"{self.name} got {body} ({way})")
        if way != "archive":
            self.stamps(element if way == "live" else inner, body, way)
        if (
            body in self.had
            and way != "archive"
            and body not in self.restarts
            and not (model.crashes and body in model.hidden)
        ):
            model.wrong(f"{self.name} got {body} twice ({way})")
        elif body in self.had and way == "live":
            model.note(f"{self.name} again after a crash: {body}")
        self.restarts.discard(body)
        if way == "live" and body not in self.had:
            self.live.append(body)
        self.had.append(body)

    def stamps(self, element: Element, body: str, way: str) -> None:
        model = self.model
        delays = [each for each in element.findall(f"{{{DELAY_NS}}}delay") if each.get("from") == "localhost"]
        if way == "carbon":
            return
        if len(delays) > 1:
            model.wrong(f"{self.name}: {body} has {len(delays)} stamps")
        if delays:
            at = parse_time(str(delays[0].get("stamp"))) / 1e6
            if not model.said[body] - 0.01 <= at <= model.server.clock.wall + 0.1:
                model.wrong(f"{self.name}: {body} has a wrong stamp")

    def ack(self) -> None:
        self.acked_h = self.h
        if self.client is not None:
            self.client.send(f"<a xmlns='{SM}' h='{self.h}'/>")

    # ---- the end

    def before_end(self, graceful: bool) -> None:
        if self.client is None:
            return
        if self.client.link.stalled:
            self.client.link.backlog.clear()
        if graceful or self.kind == "bare":
            self.read()
        else:
            self.read(self.model.chance.randint(0, 10))

    def gone(self, crash: bool = False) -> None:
        if self.client is not None and self.kind == "bare":
            self.read()
        self.client = None
        if crash or self.kind == "bare":
            self.restarts |= set(self.had)

    def cut(self) -> None:
        if self.client is None:
            return
        if self.kind == "bare":
            self.read()
        else:
            self.read(self.model.chance.randint(0, 10))
        self.client.cut()
        self.client.inbox.clear()
        self.client = None
        if self.kind == "bare":
            self.restarts |= set(self.had)
