"""Reads and plays talks."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lxml import etree

from tests.harness import Client, Element, Harness
from tests.harness.component import SECRET, ComponentClient
from tests.harness.peer_stream import CalledStream, Federation, PeerStream, federate
from tests.harness.web_socket import SocketClient

from .requests import BoshRequests

_CLIENT = re.compile(r"\[(\w+)\]\s+([^@\s]+)@([^/\s]+)/(\S+)(?:\s+speaks (\S+))?(\s+available|\s+later)?$")
_STRANGER = re.compile(r"\[(\w+)\]\s+a stranger(?: over (WebSocket|BOSH))?$")
_COMPONENT = re.compile(r"\[(\w+)\]\s+the component (\S+)(\s+later)?$")
_SERVER = re.compile(r"\[(\w+)\]\s+(the server|our stream to) (\S+)$")
_ACT = re.compile(r"(\w+) (sends|receives|receives in any order):$")
_PLAIN = re.compile(r"(\w+) (receives nothing|disconnects|closes|connects|opens|ignores)$")
_TIME = re.compile(r"time passes ([\d.]+)$")
_VARIABLE = re.compile(r"\{(\w+)\}")
OPEN = "<stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
SERVER_OPEN = OPEN.replace("jabber:client' ", "jabber:server' xmlns:db='jabber:server:dialback' ")


@dataclass
class Step:
    line: int
    who: str
    act: str
    text: str = ""


@dataclass
class Person:
    user: str
    resource: str
    lang: str
    available: bool
    later: bool = False
    transport: str = ""
    client: Client | SocketClient | BoshRequests | None = None

    @property
    def header(self) -> str:
        """What its elements stand in."""
        return SERVER_OPEN if self.transport in ("the server", "our stream to") else OPEN


@dataclass
class Talk:
    plugins: dict[str, Any] = field(default_factory=dict)
    components: dict[str, Any] = field(default_factory=dict)
    people: dict[str, Person] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)


def read(path: Path) -> Talk:
    """Raises AssertionError with the line of what cannot be read."""
    talk = Talk()
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if line.startswith((" ", "\t")) and line.strip():
            assert talk.steps and talk.steps[-1].act != "", f"{path.name}:{number}: stray line"
            talk.steps[-1].text += line.strip() + "\n"
            continue
        line = line.rstrip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("server plugins "):
            talk.plugins = json.loads(line.removeprefix("server plugins "))
        elif line.startswith("server components "):
            talk.components = json.loads(line.removeprefix("server components "))
        elif found := _COMPONENT.match(line):
            talk.people[found[1]] = Person("", found[2], "", *_when(found[3]), transport="component")
            talk.components.setdefault(found[2], {}).setdefault("secret", SECRET)
        elif found := _SERVER.match(line):
            talk.people[found[1]] = Person("", found[3], "", False, later=True, transport=found[2])
        elif found := _CLIENT.match(line):
            talk.people[found[1]] = Person(found[2], found[4], found[5] or "", *_when(found[6]))
        elif found := _STRANGER.match(line):
            talk.people[found[1]] = Person("", "", "", False, later=True, transport=found[2] or "")
        elif found := _ACT.match(line) or _PLAIN.match(line):
            assert found[1] in talk.people, f"{path.name}:{number}: who is {found[1]}?"
            talk.steps.append(Step(number, found[1], found[2]))
        elif found := _TIME.match(line):
            talk.steps.append(Step(number, "", "time", found[1]))
        else:
            raise AssertionError(f"{path.name}:{number}: not understood: {line}")
    return talk


def _when(word: str | None) -> tuple[bool, bool]:
    """Available at the beginning; not there yet."""
    return (word or "").strip() == "available", (word or "").strip() == "later"


class Player:
    def __init__(self, talk: Talk, harness: Harness, name: str) -> None:
        self.talk = talk
        self.harness = harness
        self.name = name
        self.values: dict[str, str] = {}
        self.federation: Federation | None = None

    async def play(self) -> None:
        if any(person.header is SERVER_OPEN for person in self.talk.people.values()):
            self.federation = federate(self.harness)
        for person in self.talk.people.values():
            if not person.later:
                await self.connect(person)
        for person in self.talk.people.values():
            if person.client is not None:
                await person.client.receive_all()
        for step in self.talk.steps:
            try:
                await self.step(step)
            except AssertionError as error:
                raise AssertionError(f"{self.name}:{step.line}: {step.who} {step.act}: {error}") from None

    async def open(self, person: Person) -> None:
        if person.transport == "WebSocket":
            person.client = await SocketClient.connect(self.harness)
        elif person.transport == "BOSH":
            person.client = BoshRequests(self.harness)
        elif person.transport == "component":
            person.client = component = ComponentClient(self.harness, person.resource)
            component.open()
            self.values["handshake"] = component.proof()
        elif person.header is SERVER_OPEN:
            person.client = await self.peer(person)
        else:
            person.client = client = self.harness.connect()
            client.open()

    async def peer(self, person: Person) -> PeerStream | CalledStream:
        """One end of a stream between servers, encrypted."""
        assert self.federation is not None
        if person.transport == "our stream to":
            taken = [each.client for each in self.talk.people.values()]
            found = [each for each in self.federation.called if each.name == person.resource and each not in taken]
            assert found, f"no stream was opened to {person.resource}"
            await found[0].encrypt()
            return found[0]
        peer = PeerStream(self.federation, person.resource)
        peer.inbox.append(await peer.starttls())
        return peer

    async def connect(self, person: Person) -> None:
        if person.transport == "component":
            person.client = await ComponentClient(self.harness, person.resource).enter()
            return
        person.client = client = await self.harness.login(person.user, person.resource, lang=person.lang)
        if person.available:
            client.send("<presence/>")
            await client.receive_all()

    async def step(self, step: Step) -> None:
        if step.act == "time":
            await self.harness.advance(float(step.text))
            return
        person = self.talk.people[step.who]
        if step.act == "connects":
            await self.connect(person)
            return
        if step.act == "opens":
            await self.open(person)
            return
        client = person.client
        assert client is not None, "not there yet"
        if step.act == "sends":
            client.send(self.filled(step.text))
        elif step.act == "receives":
            for wanted in elements(step.text, person.header):
                self.compare(wanted, await client.receive())
        elif step.act == "receives in any order":
            await self.unordered(client, elements(step.text, person.header))
        elif step.act == "receives nothing":
            await client.silence()
        elif step.act == "ignores":
            await client.receive_all()
        elif step.act == "disconnects":
            client.cut()
        elif step.act == "closes":
            assert not isinstance(client, BoshRequests), "a session over BOSH is closed by what is sent"
            client.close()
            await self.harness.quiet()

    async def unordered(self, client: Client | SocketClient | BoshRequests, wanted: list[Element]) -> None:
        got = [await client.receive() for _ in wanted]
        for want in wanted:
            for candidate in got:
                before = dict(self.values)
                try:
                    self.compare(want, candidate)
                except AssertionError:
                    self.values = before
                    continue
                got.remove(candidate)
                break
            else:
                raise AssertionError(f"nothing like {text(want)} in {[text(each) for each in got]}")

    def filled(self, sent: str) -> str:
        return _VARIABLE.sub(lambda found: self.values.get(found[1], found[0]), sent)

    # ---- comparing

    def compare(self, wanted: Element, got: Element) -> None:
        where = f"\nwanted {text(wanted)}\ngot    {text(got)}"
        assert wanted.tag == got.tag, f"another element{where}"
        loose = "any" in wanted.attrib
        keys = set(wanted.attrib) - {"any"}
        for key in sorted(map(str, keys)):
            found = got.get(key)
            assert found is not None, f"no attribute {key}{where}"
            self.match(str(wanted.get(key)), found, f"attribute {key}{where}")
        if not loose:
            extra = set(got.attrib) - keys
            assert not extra, f"attributes {sorted(map(str, extra))}{where}"
        self.match((wanted.text or "").strip(), (got.text or "").strip(), f"text of {wanted.tag}{where}")
        mine, theirs = list(wanted), list(got)
        if not loose:
            assert len(mine) == len(theirs), f"{len(theirs)} children{where}"
        for child in mine:
            candidates = [each for each in theirs if each.tag == child.tag]
            assert candidates, f"no child {child.tag}{where}"
            self.first_like(child, candidates, theirs)

    def first_like(self, child: Element, candidates: list[Element], theirs: list[Element]) -> None:
        for candidate in candidates:
            before = dict(self.values)
            try:
                self.compare(child, candidate)
            except AssertionError:
                self.values = before
                if candidate is candidates[-1]:
                    raise
                continue
            theirs.remove(candidate)
            return

    def match(self, wanted: str, got: str, what: str) -> None:
        pattern = ""
        names: list[str] = []
        at = 0
        for found in _VARIABLE.finditer(wanted):
            pattern += re.escape(wanted[at : found.start()])
            name = found[1]
            if name == "any":
                pattern += "(?:.*)"
            elif name in self.values:
                pattern += re.escape(self.values[name])
            else:
                pattern += f"(?P<{name}>.*)"
                names.append(name)
            at = found.end()
        pattern += re.escape(wanted[at:])
        result = re.fullmatch(pattern, got, re.DOTALL)
        assert result is not None, f"{got!r} is not {wanted!r}: {what}"
        for name in names:
            self.values[name] = result[name]


def elements(text: str, header: str = OPEN) -> list[Element]:
    return list(etree.fromstring(f"{header}{text}</stream>", etree.XMLParser(remove_blank_text=True)))


def text(element: Element) -> str:
    return etree.tostring(element).decode()
