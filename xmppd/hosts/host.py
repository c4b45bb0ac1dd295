"""One domain: its plugins and their services, handlers, accounts and requests put together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar, cast

from ..background import Background
from ..clock import Clock
from ..contracts.core import Router, Server
from ..contracts.parts import Locks
from ..delivery.cursor_writer import CursorWriter
from ..errors import LocalError
from ..jid import JID
from ..plugin import CORE_TYPES, HostType, Plugin
from ..service import Service
from ..sessions.account_cache import AccountCache
from ..stanza import Stanza
from ..storage.api import Storage
from .handlers import Handlers
from .requests import HostRequests

T = TypeVar("T")


class Host:
    """A virtual host. `type`: as in the configuration (`HostConfig.type`)."""

    def __init__(
        self,
        server: Server,
        domain: str,
        type: str,
        storage: Storage,
        clock: Clock,
        admins: Iterable[str] = (),
        quarantine: float = 0.0,
    ) -> None:
        self.server = server
        self.jid = JID.parse(domain)
        self.domain = self.jid.domain
        self.type = type
        self.has_accounts = False
        """People sign in here."""
        if type in CORE_TYPES:
            self.become(CORE_TYPES[type])
        self.storage = storage
        self.clock = clock
        self.admins = frozenset(JID.parse(admin).bare for admin in admins)
        self.quarantine = quarantine
        """Seconds for which nobody can take the name of an account that was removed."""
        self.background = Background(clock)
        self.plugins: dict[str, Plugin[Any]] = {}
        self.ready_to_start = False
        """All plugins run; sessions that outlived the last process may still be on their way."""
        self.started = False
        """All plugins run. Until then nobody signs in here and nothing is taken."""
        self._services: dict[str, tuple[str, Any]] = {}
        self.cursor_writer = CursorWriter(self)
        self._assemble()

    def _assemble(self) -> None:
        """Take over the methods of its parts: what they can do, a host can do itself, without a call in between."""
        cache = AccountCache(self, self.cursor_writer)
        self.accounts = cache.accounts
        self.stored_accounts = cache.stored
        self.account, self.open_account, self.ready = cache.get, cache.load, cache.ready
        self.forget, self.session_of = cache.forget, cache.session_of
        handlers = Handlers(self.storage, self.background)
        self._register, self.times = handlers.register, handlers.times
        self.http_routes = handlers.http_routes
        self.handlers, self.chain, self.concerned = handlers.handlers, handlers.chain, handlers.concerned
        self.run, self.tell, self.tell_these = handlers.run, handlers.tell, handlers.tell_these
        self.tell_and_wait = handlers.tell_and_wait
        self.tell_and_collect_errors = handlers.tell_and_collect_errors
        self.collect, self.gather = handlers.collect, handlers.gather
        self.answers, self.answer, self.nonza_handler = handlers.answers, handlers.answer, handlers.nonza_handler
        requests = HostRequests(self.jid, self.clock, self.deliver)
        self.ask, self.expect, self.answered = requests.ask, requests.expect, requests.answered

    def become(self, kind: HostType) -> None:
        """Take the abilities of a type, which is known when the plugins are."""
        self.has_accounts = kind.has_accounts

    @property
    def router(self) -> Router:
        return self.server.router

    @property
    def locks(self) -> Locks:
        """One at a time per owner, for what reads records, decides and commits."""
        return self.server.router.locks

    # ---- plugins

    def add(self, name: str, plugin: Plugin[Any]) -> None:
        """Register what a plugin declares. Raises LocalError on a clash or a coroutine on the hot path."""
        plugin.name = name
        self.plugins[name] = plugin
        for service in plugin.provides:
            if service.name in self._services:
                other = self._services[service.name][0]
                raise LocalError(f"{name} and {other} both provide {service.name}")
            self._services[service.name] = (name, plugin)
        self._register(plugin)

    def service(self, key: Service[T]) -> T:
        """The provider of a service. Raises LookupError."""
        found = self._services.get(key.name)
        if found is None:
            raise LookupError(f"no plugin of {self.domain} provides {key.name}")
        return cast("T", found[1])

    def find(self, key: Service[T]) -> T | None:
        """The provider, if there is one (a soft need)."""
        found = self._services.get(key.name)
        return cast("T", found[1]) if found is not None else None

    async def delivered_until(self, owner: str) -> int:
        """Up to which id of an account's log some device has acknowledged everything; it need not be in memory. Raises
        StorageUnavailable."""
        account = self.account(owner)
        if account is not None:
            return account.cursor.position
        cursor = await self.cursor_writer.cursors.read(owner, "")
        return cursor.position if cursor is not None else 0

    def deliver(self, stanza: Stanza) -> None:
        """Send a stanza of the host's own to where its `to` says (no OUTBOUND chain)."""
        self.router.deliver(stanza)
