"""Parts of the core without a server around them: a real host, accounts, sessions and a store in memory, with a fake
clock and streams that remember what was written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.harness import FakeClock
from xmppd.background import Background
from xmppd.config.schema import LimitsConfig
from xmppd.contracts.accounts import ACCOUNT_MAP, StoredAccount
from xmppd.contracts.archive import LOG
from xmppd.hosts.host import Host
from xmppd.jid import JID
from xmppd.memory.budget import MemoryBudget
from xmppd.observe.metrics import Counts
from xmppd.protocol.ack_queue import OutboundQueue
from xmppd.protocol.sasl import Credentials
from xmppd.routing.router import Router as RealRouter
from xmppd.routing.routes import Routes
from xmppd.server.limits import runtime_limits
from xmppd.sessions.account import Account
from xmppd.sessions.manager import SessionManager
from xmppd.sessions.session import Session
from xmppd.stanza import Stanza, parse_stanza
from xmppd.storage.api import Entry, Flags, Range
from xmppd.storage.memory import MemoryBackend
from xmppd.storage.store import Store

CREDENTIALS = Credentials.from_password("pencil", iterations=4096)


class HeldReads(MemoryBackend):
    """A store whose reads of logs can be held: `hold_reads`, wait for `asked`, `release_reads`."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()
        self.answer.set()
        self.reads = 0

    def hold_reads(self) -> None:
        self.asked.clear()
        self.answer.clear()

    def release_reads(self) -> None:
        self.answer.set()

    async def page(self, log: str, owner: str, range: Range, limit: int, backwards: bool) -> list[Entry]:
        self.reads += 1
        found = await super().page(log, owner, range, limit, backwards)
        self.asked.set()
        await self.answer.wait()
        return found


class Router(RealRouter):
    """Remembers what was delivered, and goes no further."""

    def __init__(self, storage: Store, clock: FakeClock) -> None:
        super().__init__(storage, Routes(), Background(clock))
        self.delivered: list[Stanza] = []

    def deliver(self, stanza: Stanza) -> None:
        self.delivered.append(stanza)


class Stream:
    """A client's stream: `written` is what its session sent, until `taken`."""

    def __init__(self, clock: FakeClock) -> None:
        self.secure, self.peer, self.inbox_size = True, "127.0.0.1", 0
        self.last_read = clock.monotonic()
        self.written: list[bytes] = []
        self.ended: tuple[str, str] | None = None
        self.closed = False
        self.answered_size = 0
        self.reliefs = 0
        self._drained: list[Callable[[], None]] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def taken(self) -> list[bytes]:
        """What was written since the last call."""
        written, self.written = self.written, []
        return written

    def on_drained(self, callback: Callable[[], None]) -> None:
        self._drained.append(callback)

    def drain(self) -> None:
        """The socket has taken all that was written."""
        callbacks, self._drained = self._drained, []
        for callback in callbacks:
            callback()

    def end(self, condition: str, text: str = "") -> None:
        self.ended = condition, text

    def close(self) -> None:
        self.closed = True

    def read_on(self) -> None:
        self.reliefs += 1

    def count_unread(self, size: int) -> None:
        self.answered_size += size


class Core:
    """One host, `localhost`, with accounts; it stands for the server of its host and sessions, too."""

    def __init__(self, clock: FakeClock | None = None, backend: MemoryBackend | None = None) -> None:
        self.clock = clock or FakeClock()
        self.backend = backend or HeldReads(self.clock)
        self.storage = Store(self.backend, self.clock)
        self.counts = Counts()
        self.memory = MemoryBudget()
        self.limits = replace(runtime_limits(LimitsConfig()), queue=4, ask_every=100)
        self.stopping = False
        self.router = Router(self.storage, self.clock)
        self.streams: set[Any] = set()
        self.hosts: dict[str, Host] = {}
        server: Any = self
        self.session_manager = SessionManager(server)
        self.host = self.add_host("localhost")

    def add_host(self, domain: str, type: str = "accounts") -> Host:
        server: Any = self
        host = self.hosts[domain] = Host(server, domain, type, self.storage, self.clock)
        self.router.routes.add_host(host)
        return host

    async def open(self) -> Core:
        await self.storage.open()
        return self

    async def close(self) -> None:
        for host in self.hosts.values():
            await host.background.close()
        self.backend.release()
        await self.storage.close()

    async def account(self, name: str = "juliet") -> Account:
        """An account that exists and is loaded."""
        jid = JID.of(name, "localhost")
        made = StoredAccount(CREDENTIALS, self.clock.now() - 3600)
        await self.storage.commit(
            [self.host.storage.map(ACCOUNT_MAP, StoredAccount, cached=True).put(jid.bare, "", made)]
        )
        self.host.forget(jid.bare)
        account = await self.host.open_account(jid)
        assert account is not None
        return account

    def session(self, account: Account, resource: str = "phone", acks: bool = False) -> tuple[Session, Stream]:
        """A bound session. `acks`: its client has enabled XEP-0198."""
        stream = Stream(self.clock)
        session = self.session_manager.bind(account, resource, stream)
        if acks:
            session.channel.queue = OutboundQueue(session.channel.share)
        return session, stream

    async def archive(self, account: Account, *texts: str, to: str = "", hidden: bool = False) -> list[int]:
        """Entries of the account's log, released, and not given to any session: their ids."""
        log, ids = self.storage.log(LOG), list[int]()
        for text in texts:
            self.clock.step(1)
            id = account.next_id()
            flags = Flags.INCOMING | (Flags.HIDDEN if hidden else Flags(0))
            data = body(text, to or account.bare)
            await self.storage.commit(
                [log.append(account.bare, Entry(id, "romeo@localhost", "hall", int(flags), data))]
            )
            account.released = id
            if hidden:
                account.cursor.transient.add(id)
            ids.append(id)
        return ids

    async def idle(self) -> None:
        """All that was spawned has come to its end."""
        for _ in range(3):
            await self.host.background.settle(5.0)
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        """Turn the clock, timer by timer."""
        until = self.clock.time + seconds
        while (callback := self.clock.due(until)) is not None:
            callback()
            await self.idle()
        await self.idle()


def body(text: str, to: str = "juliet@localhost", sender: str = "romeo@localhost/hall") -> bytes:
    """A message as bytes."""
    return f"<message to='{to}' from='{sender}' type='chat' id='{text}'><body>{text}</body></message>".encode()


def presence(sender: str = "romeo@localhost/hall", show: str = "") -> Stanza:
    inner = f"<show>{show}</show>" if show else ""
    return parse_stanza(f"<presence from='{sender}' to='juliet@localhost'>{inner}</presence>".encode())


def texts(written: list[bytes]) -> list[str]:
    """The bodies among what was written."""
    return [data.partition(b"<body>")[2].partition(b"</body>")[0].decode() for data in written if b"<body>" in data]
