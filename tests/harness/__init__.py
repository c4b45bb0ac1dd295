"""A whole server without sockets: real server object, memory store, fake clock, clients joined by function calls."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import Any

from lxml import etree

from xmppd.config import parse_config
from xmppd.contracts.accounts import ACCOUNT_MAP, StoredAccount
from xmppd.contracts.admin import OWNER
from xmppd.protocol.sasl import Credentials
from xmppd.server.server import Server
from xmppd.storage.memory import MemoryBackend
from xmppd.storage.store import Store

from .client import HEADER, STREAM, Client, Element, FakeLink
from .clock import FakeClock
from .homes import HOMES, watch
from .http import HttpAnswer, ask

__all__ = [
    "HEADER",
    "STREAM",
    "Client",
    "Element",
    "FakeClock",
    "FakeLink",
    "Harness",
    "HttpAnswer",
    "condition",
    "xml",
]

PASSWORD = "pencil"
LEAVE = bool(os.environ.get("XMPPD_TEST_LEAVE"))
"""Whenever the server is quiet, owners leave their home, and come back."""


@cache
def credentials() -> Credentials:
    return Credentials.from_password(PASSWORD, iterations=10_000)


def condition(element: Element) -> str:
    """The defined condition of a stanza error, "" if it is none."""
    error = element.find("{jabber:client}error")
    if element.get("type") != "error" or error is None:
        return ""
    for child in error:
        if child.tag.startswith("{urn:ietf:params:xml:ns:xmpp-stanzas}") and not child.tag.endswith("}text"):
            return str(etree.QName(child.tag).localname)
    return ""


def xml(element: Element) -> str:
    return etree.tostring(element).decode()


def configuration(
    plugins: dict[str, dict[str, Any]] | None = None,
    more: str = "",
    rooms: Any = None,
    hosts: Any = None,
    components: Any = None,
) -> str:
    """A configuration as YAML text (JSON is YAML)."""
    import json

    plugins_json = json.dumps({name: options for name, options in (plugins or {}).items()})
    rooms_json = json.dumps(rooms or {})
    others = "".join(f"  {name}: {json.dumps(host)}\n" for name, host in (hosts or {}).items())
    more += f"\nhomes: {HOMES}\n" if HOMES > 1 else ""
    listener = "  - {kind: component}" if components else ""
    more += f"\ncomponents: {json.dumps(components)}\n" if components else ""
    return f"""
hosts:
  localhost: {{plugins: {plugins_json}, admins: [admin@localhost]}}
  conference.localhost: {{type: rooms, plugins: {rooms_json}}}
{others}listeners:
  - {{address: 127.0.0.1, port: 5222, tls: none}}
{listener}
storage: "memory:"
{more}
"""


class Everybody:
    """All owners."""

    def __contains__(self, owner: object) -> bool:
        return True


class Threads(ThreadPoolExecutor):
    """The loop's threads, counted, so that waiting for them is no guess."""

    def __init__(self) -> None:
        super().__init__(2)
        self.active = 0

    def submit(self, call: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.active += 1
        future = super().submit(call, *args, **kwargs)
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._ended))
        return future

    def _ended(self) -> None:
        self.active -= 1


class Harness:
    """Made by the fixture `server`; `more`: YAML lines for the end of the configuration."""

    def __init__(
        self,
        plugins: dict[str, dict[str, Any]] | None = None,
        more: str = "",
        rooms: dict[str, Any] | None = None,
        hosts: dict[str, Any] | None = None,
        components: dict[str, Any] | None = None,
        store: Store | None = None,
        clock: FakeClock | None = None,
    ) -> None:
        self.made = {"plugins": plugins, "more": more, "rooms": rooms, "hosts": hosts, "components": components}
        self.clock = clock or FakeClock()
        self.config = parse_config(configuration(plugins, more, rooms, hosts, components), "test.yaml")
        self.storage = store or Store(MemoryBackend(self.clock), self.clock)
        watch(self.storage)
        self.server: Server
        self.clients: list[Client] = []
        self.threads = Threads()
        self.before_start: Callable[[Server], None] = lambda server: None

    async def start(self) -> Harness:
        asyncio.get_running_loop().set_default_executor(self.threads)
        await self.storage.open()
        self.server = Server(self.config, self.storage, self.clock, secret=b"s" * 32)
        # Nobody turns the clock while a test waits for an answer; tests of the even times set it again.
        self.server.limits = replace(self.server.limits, even_answers=0.0)
        self.before_start(self.server)
        await self.server.start()
        return self

    async def stop(self) -> None:
        if isinstance(self.backend, MemoryBackend):
            self.backend.release()
        self.server.limits = replace(self.server.limits, stop_time=0.1)  # clients here answer at once, or never
        await self.server.stop()

    @property
    def host(self) -> Any:
        return self.server.hosts["localhost"]

    @property
    def backend(self) -> Any:
        return self.storage.backend

    # ---- people

    async def register(self, user: str, domain: str = "localhost") -> None:
        host = self.server.hosts[domain]
        bare = f"{user}@{domain}"
        await self.storage.load(bare)
        if not self.storage.map(ACCOUNT_MAP, StoredAccount, cached=True).get(bare):
            write = host.stored_accounts.put(bare, "", StoredAccount(credentials(), self.clock.now()))
            await self.storage.commit([write])
            host.forget(bare)

    def connect(self, tls: str = "none") -> Client:
        """A connection on which nothing was said."""
        client = Client(self, tls)
        self.clients.append(client)
        return client

    async def login(self, user: str, resource: str | None = None, presence: bool = False, lang: str = "") -> Client:
        """A bound session of user@localhost (the account is made if it is not there). `lang`: of its streams."""
        await self.register(user)
        client = self.connect()
        client.lang = lang
        await client.sign_in(user)
        await client.bind(resource)
        if presence:
            client.send("<presence/>")
            await client.receive_all()
        return client

    async def http(
        self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None, **options: Any
    ) -> HttpAnswer:
        """The answer to an HTTP request; `options`: of the listener (`paths`, `hosts`)."""
        return await ask(self, method, target, body, headers or {}, options)

    async def operation(self, name: str, /, **arguments: Any) -> str:
        """What an operation says to the administrator who runs it (`xmppd op`). Raises OperationError."""
        return (await self.server.operations.run(name, arguments, OWNER)).text()

    # ---- time and quiet

    async def until(self, done: Callable[[], bool]) -> bool:
        """Let the loop run until `done` or until nothing moves any more. Does not turn the clock."""
        waited = spun = 0
        patience = 40 if isinstance(self.backend, MemoryBackend) else 1000  # nothing tells that a real store reads
        while not done():
            if self._elsewhere():
                await asyncio.sleep(0.0005)
                waited += 1
                if waited > 10_000:
                    return done()
                continue
            for _ in range(15):
                await asyncio.sleep(0)
                if done():
                    return True
            spun += 1
            if not self._elsewhere() and (spun > patience or not self._working()):
                return done()
            if spun > 5:
                await asyncio.sleep(0.0005)  # a thread that has just ended must be let tell us
        return True

    def _elsewhere(self) -> bool:
        """A thread or another process is at work for us."""
        backend_works = self.storage.busy and not isinstance(self.backend, MemoryBackend)
        return backend_works or self.threads.active > 0

    def _working(self) -> bool:
        hosts = self.server.hosts.values()
        return bool(self.server.background._tasks) or any(host.background._tasks for host in hosts)

    async def quiet(self) -> None:
        await self.until(lambda: False)
        if LEAVE and self._may_leave():
            await self.leave()

    async def leave(self) -> None:
        """Owners of whom nothing is under way leave their home, as if another process had it, and come back."""
        for host in self.server.hosts.values():
            left = (await host.unload(Everybody())).left
            await host.arrived(left)
        await self.until(lambda: False)

    def _may_leave(self) -> bool:
        """The store answers, and nothing waits for it or for work in the background."""
        backend = self.backend
        away = isinstance(backend, MemoryBackend) and (backend.holding or backend.unreachable)
        answers = self.storage.available and not away
        return self.server.ready and answers and not (self.storage.busy or self._working())

    async def advance(self, seconds: float) -> None:
        """Turn the clock; what falls due on the way runs in order."""
        end = self.clock.monotonic() + seconds
        while (callback := self.clock.due(end)) is not None:
            callback()
            await asyncio.sleep(0)
            if self._elsewhere() or self._working():
                await self.until(lambda: False)
        await self.quiet()
