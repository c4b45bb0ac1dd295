"""One domain: its plugins and their services, handlers, accounts and requests put together."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from functools import partial
from typing import Any, TypeVar, cast

from ..background import Background
from ..clock import Clock
from ..contracts.core import Account, Router, Server
from ..contracts.internal import Unloaded
from ..contracts.owners import OWNERS_ARRIVED, OWNERS_LEAVING
from ..contracts.parts import Locks
from ..contracts.routing import OUTBOUND, Outbound
from ..delivery.cursor import CursorRecord
from ..delivery.cursor_check import is_acknowledged
from ..delivery.cursor_writer import CursorWriter
from ..errors import Forbidden, LocalError
from ..jid import JID
from ..plugin import CORE_TYPES, HostType, Plugin
from ..service import Service
from ..sessions.account_cache import AccountCache
from ..stanza import Stanza
from ..storage.api import Storage
from .handlers import Handlers
from .owner_memory import OwnerMemory
from .requests import ANSWER_TIME, HostRequests

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
        self.announced: dict[Any, Any] = {}
        self._memory = OwnerMemory(self.domain)
        self.owned, self.forget = self._memory.owned, self._memory.forget
        self.cursor_writer = CursorWriter(self)
        self._assemble()

    def _assemble(self) -> None:
        """Take over the methods of its parts: what they can do, a host can do itself, without a call in between."""
        cache = AccountCache(self, self.cursor_writer)
        self._loading = cache.loading
        self.accounts = cache.accounts
        self.stored_accounts = cache.stored
        self.account, self.open_account, self.ready = cache.get, cache.load, cache.ready
        self.session_of = cache.session_of
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

    # ---- owners whose home is elsewhere

    async def unload(self, owners: Container[str]) -> Unloaded:
        """Empty the memory of owners that leave for another home. Those stay for whom something is under way: a session
        is bound, or about to be, somebody is in the room, a lock is held, something is not committed.

        Raises StorageUnavailable, or what a handler raises, and then nothing has changed.
        """
        _raise_first(await self.tell_and_collect_errors(OWNERS_LEAVING, owners))
        await self.storage.settle()
        # From here on nobody else runs.
        here = {each for each in self.storage.owners() if each == self.domain or each.endswith(f"@{self.domain}")}
        here = {each for each in here | self._memory.owners() if each in owners}
        stay = here & self._under_way() | self._memory.staying(here) | {each for each in here if self._in_use(each)}
        left = here - stay
        self._memory.drop(left)
        self.storage.unload(left)
        return Unloaded(frozenset(left), frozenset(stay))

    def _in_use(self, owner: str) -> bool:
        return self._loading(owner) or self.storage.in_use(owner)

    def _under_way(self) -> set[str]:
        """Owners of whom something is not decided, in whatever part of the server."""
        signing_in = {stream.owner for stream in self.server.streams}
        return signing_in | self.router.under_way() | self.storage.undecided()

    async def arrived(self, owners: Container[str]) -> None:
        """Owners have their home here from now on. May be repeated. Raises StorageUnavailable, or what a handler
        raises."""
        _raise_first(await self.tell_and_collect_errors(OWNERS_ARRIVED, owners))

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
        self.announced.clear()

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

    def ask_for(self, account: Account, stanza: Stanza, answered: Callable[[Stanza | None], None]) -> None:
        """Send an IQ in the name of an account of this host, which need not be signed in, to where its `to` says (the
        account itself without one). What the account may not send is not sent. `answered` gets the answer, under an id
        of ours, None if none comes. Raises StanzaError."""
        to = stanza.to if stanza.to is not None else account.jid
        event = Outbound(stanza.stamped(to=to, sender=account.jid), account, None, [])
        if self.run(self.chain(OUTBOUND, event.stanza), event) is not None or event.writes:
            raise Forbidden("the account cannot send this")
        self.deliver(event.stanza.stamped(id=self.expect(to, answered, ANSWER_TIME)))

    async def delivered_until(self, owner: str) -> int:
        """Up to which id of an account's log some device has acknowledged everything; it need not be in memory. Raises
        StorageUnavailable."""
        account = self.account(owner)
        if account is not None:
            return account.cursor.position
        cursor = await self.cursor_writer.cursors.read(owner, "")
        return cursor.position if cursor is not None else 0

    async def acknowledged(self, owner: str) -> Callable[[int], bool]:
        """Tells of entries of an account's log whether some device has acknowledged them; it need not be in memory.
        Raises StorageUnavailable."""
        account = self.account(owner)
        if account is not None:
            return account.cursor.is_acknowledged
        cursor = await self.cursor_writer.cursors.read(owner, "") or CursorRecord()
        return partial(is_acknowledged, cursor)

    def deliver(self, stanza: Stanza) -> None:
        """Send a stanza of the host's own to where its `to` says (no OUTBOUND chain)."""
        self.router.deliver(stanza)


def _raise_first(errors: Iterable[Exception]) -> None:
    for error in errors:
        raise error
