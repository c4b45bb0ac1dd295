"""One domain: its plugins, their chains and handlers, its accounts in memory."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from functools import partial
from secrets import token_hex
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..background import Background
from ..clock import Clock, Timer
from ..contracts.accounts import ACCOUNT_MAP, StoredAccount
from ..contracts.core import Concerned, Locks, Maps, Router, Server
from ..contracts.http import HttpRoute
from ..contracts.routing import ARRIVED, INBOUND, OUTBOUND, SENT
from ..contracts.sessions import ACCOUNT_LOADED
from ..delivery.cursor_writer import LOG, CursorWriter
from ..errors import InternalServerError, LocalError, ServiceUnavailable, StanzaError, StorageUnavailable
from ..hooks import Collect, Hook, Notify, Registration, Verdict
from ..jid import JID
from ..net.http_routes import RouteTable
from ..observe.metrics import HookTimes
from ..plugin import CORE_TYPES, HostType, HttpMark, IqRoute, NonzaRoute, Plugin, Request, To
from ..service import Service
from ..sessions.account import Account
from ..stanza import Kind, Shape, Stanza, iq
from ..storage.api import Storage
from ..xml import Element, Written

if TYPE_CHECKING:
    from ..contracts.routing import Event

log = logging.getLogger("xmppd.hosts")
E = TypeVar("E")
T = TypeVar("T")

ACCOUNTS_KEPT = 20_000
ASK_TIMEOUT = 30.0
SAMPLE = 64
"""One in so many runs of a chain is timed (timing each would cost as much as the handlers)."""

CHAINS = 10_000
"""So many chains, by hook and shape of the stanza, are remembered."""

PATH = (OUTBOUND, INBOUND, SENT, ARRIVED)
"""The hooks on the path of a stanza."""

Handler = tuple[str, Callable[..., Any]]
Narrowing = tuple[Maps, tuple[Callable[[Stanza], Collection[str] | None], ...]]


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
        self.times = HookTimes()
        self.plugins: dict[str, Plugin[Any]] = {}
        self.ready_to_start = False
        """All plugins run; sessions that outlived the last process may still be on their way."""
        self.started = False
        """All plugins run. Until then nobody signs in here and nothing is taken."""
        self._services: dict[str, tuple[str, Any]] = {}
        self._handlers: dict[str, list[tuple[Registration, Handler]]] = {}
        self._built: dict[str, tuple[Handler, ...]] = {}
        self._chains: dict[tuple[Hook, Shape], tuple[Handler, ...]] = {}
        self._narrowings: dict[Shape, Narrowing | None] = {}
        self._iqs: dict[tuple[str, str, To], Handler] = {}
        self._nonzas: dict[tuple[str, str], Handler] = {}
        self.http_routes = RouteTable()
        """Those of its plugins."""
        self._turn = 0
        self.accounts: OrderedDict[str, Account | None] = OrderedDict()
        """Loaded accounts by bare JID; None: there is no such account."""
        self._opening: dict[str, asyncio.Future[Account | None]] = {}
        self.stored_accounts = storage.map(ACCOUNT_MAP, StoredAccount, cached=True)
        self.cursor_writer = CursorWriter(self)
        self._asks: dict[str, tuple[str, Callable[[Stanza | None], None], Timer]] = {}
        self._asked = 0
        self._ask_prefix = token_hex(4) + "-"

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
        for attribute in dir(type(plugin)):
            method = getattr(type(plugin), attribute, None)
            marks = getattr(method, "__dict__", None)
            if not marks or not callable(method):
                continue
            bound = (f"{name}.{attribute}", getattr(plugin, attribute))
            for registration in marks.get("__xmppd_on__", ()):
                self._register(registration, bound)
            for route in marks.get("__xmppd_iq__", ()):
                self._register_iq(route, bound)
            for nonza in marks.get("__xmppd_nonza__", ()):
                self._register_nonza(nonza, bound)
            for http in marks.get("__xmppd_http__", ()):
                self._register_http(http, bound)

    def _register(self, registration: Registration, handler: Handler) -> None:
        if registration.hook.plain and inspect.iscoroutinefunction(handler[1]):
            raise LocalError(f"{handler[0]}: {registration.hook} takes plain functions only")
        narrowed = (
            registration.types
            or registration.tags
            or registration.if_stored_in
            or registration.recipients_of is not None
        )
        if narrowed and registration.hook not in PATH:
            raise LocalError(f"{handler[0]}: {registration.hook} is about no stanza, so this says nothing")
        if registration.if_stored_in:
            self.storage.in_memory(registration.if_stored_in)  # there is such a map
        self._handlers.setdefault(registration.hook.name, []).append((registration, handler))
        self._built.clear()
        self._chains.clear()
        self._narrowings.clear()

    def _register_iq(self, route: IqRoute, handler: Handler) -> None:
        if not inspect.iscoroutinefunction(handler[1]):
            raise LocalError(f"{handler[0]}: a handler of IQs is an async function")
        for to in route.to:
            key = (route.type, route.tag, to)
            if key in self._iqs:
                raise LocalError(f"{handler[0]} and {self._iqs[key][0]} both answer {route.type} {route.tag}")
            self._iqs[key] = handler

    def _register_nonza(self, route: NonzaRoute, handler: Handler) -> None:
        key = (route.tag, route.state)
        if key in self._nonzas:
            raise LocalError(f"{handler[0]} and {self._nonzas[key][0]} both handle {route.tag}")
        self._nonzas[key] = handler

    def _register_http(self, mark: HttpMark, handler: Handler) -> None:
        if not inspect.iscoroutinefunction(handler[1]):
            raise LocalError(f"{handler[0]}: a handler of HTTP requests is an async function")
        route = HttpRoute(mark.method, mark.path, handler[1], mark.max_body, owner=handler[0])
        try:
            self.http_routes.add(route)
        except ValueError as error:
            raise LocalError(str(error)) from None

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

    def nonza_handler(self, tag: str, state: str) -> Callable[..., Any] | None:
        found = self._nonzas.get((tag, state))
        return found[1] if found else None

    # ---- hooks

    def handlers(self, hook: Hook) -> tuple[Handler, ...]:
        """The handlers of a hook in order. Built once."""
        built = self._built.get(hook.name)
        if built is None:
            built = self._built[hook.name] = tuple(handler for _, handler in self._sorted(hook))
        return built

    def chain(self, hook: Hook, stanza: Stanza) -> tuple[Handler, ...]:
        """The handlers of a hook on the path of a stanza that have to do with this one, in order."""
        shape = stanza.shape
        found = self._chains.get((hook, shape))
        return found if found is not None else self._narrowed(hook, shape)

    def _narrowed(self, hook: Hook, shape: Shape) -> tuple[Handler, ...]:
        found = tuple(handler for registration, handler in self._sorted(hook) if registration.concerns(shape))
        if shape.known:
            if len(self._chains) >= CHAINS:
                self._chains.clear()
            self._chains[hook, shape] = found
        return found

    def concerned(self, stanza: Stanza) -> Concerned | None:
        """The accounts for which a handler may have to do with a stanza that comes to them. None: all."""
        shape = stanza.shape
        if shape in self._narrowings:
            found = self._narrowings[shape]
        else:
            found = self._narrowing(shape)
        if found is None:
            return None
        maps, asked = found
        names: set[str] = set()
        try:
            for of in asked:
                some = of(stanza)
                if some is None:
                    return None
                names.update(some)
        except Exception:
            log.exception("whom a stanza concerns is not known: all are asked")
            return None
        return Concerned(maps, names)

    def _narrowing(self, shape: Shape) -> Narrowing | None:
        found: Narrowing | None = ((), ())
        for hook in (INBOUND, ARRIVED):
            for each, handler in self._sorted(hook):
                if found is None or not each.concerns(shape):
                    continue
                maps, asked = found
                if each.if_stored_in:
                    found = ((*maps, self.storage.in_memory(each.if_stored_in)), asked)
                elif each.recipients_of is not None:
                    found = (maps, (*asked, partial(each.recipients_of, handler[1].__self__)))  # type: ignore[attr-defined]
                else:
                    found = None
        if shape.known:
            if len(self._narrowings) >= CHAINS:
                self._narrowings.clear()
            self._narrowings[shape] = found
        return found

    def _sorted(self, hook: Hook) -> list[tuple[Registration, Handler]]:
        return sorted(self._handlers.get(hook.name, ()), key=lambda pair: pair[0].stage)

    def run(self, handlers: tuple[Handler, ...], event: Event) -> Verdict | None:
        """Ask a chain. Raises StanzaError; a handler that crashes refuses the stanza (fails closed)."""
        self._turn += 1
        if self._turn % SAMPLE == 0:
            return self._run_timed(handlers, event)
        try:
            for name, handler in handlers:  # noqa: B007 - for the log
                verdict: Verdict | None = handler(event)
                if verdict is not None:
                    return verdict
        except StanzaError:
            raise
        except Exception:
            log.exception("%s crashed: the stanza is refused", name)
            raise InternalServerError() from None
        return None

    def _run_timed(self, handlers: tuple[Handler, ...], event: Any) -> Verdict | None:
        for name, handler in handlers:
            before = perf_counter()
            try:
                verdict: Verdict | None = handler(event)
            except StanzaError:
                raise
            except Exception:
                log.exception("%s crashed: the stanza is refused", name)
                raise InternalServerError() from None
            finally:
                self.times.add(name, perf_counter() - before)
            if verdict is not None:
                return verdict
        return None

    def tell(self, hook: Notify[E], event: E) -> None:
        """Notify; a handler that crashes is logged and the next one runs (fails soft)."""
        handlers = self._built.get(hook.name) or self.handlers(hook)
        if handlers:
            self.tell_these(handlers, event)

    def tell_these(self, handlers: tuple[Handler, ...], event: Any) -> None:
        """The same, with the handlers looked up already."""
        for name, handler in handlers:
            try:
                work = handler(event)
                if work is not None:
                    self.background.spawn(work, name)
            except Exception:
                log.exception("%s failed", name)

    async def tell_and_wait(self, hook: Notify[E], event: E) -> None:
        """Notify, and wait for handlers that are coroutines."""
        for error in await self.told(hook, event):
            if isinstance(error, StorageUnavailable):
                log.warning("something was left undone after %s: the store does not answer (%s)", hook.name, error)

    async def told(self, hook: Notify[E], event: E) -> list[Exception]:
        """The same; returns what the handlers raised, in order, StorageUnavailable among it (the rest is logged). For
        what must not go on as if all had been done."""
        errors: list[Exception] = []
        for name, handler in self.handlers(hook):
            try:
                work = handler(event)
                if work is not None:
                    await work
            except StorageUnavailable as error:
                errors.append(error)
            except Exception as error:
                log.exception("%s failed in %s", name, hook.name)
                errors.append(error)
        return errors

    async def collect(self, hook: Collect[E, T], event: E) -> list[T]:
        """All that the handlers give. Raises what they raise."""
        found: list[T] = []
        for _, handler in self.handlers(hook):
            given = handler(event)
            found.extend(await given if inspect.isawaitable(given) else given)
        return found

    def gather(self, hook: Collect[E, T], event: E) -> list[T]:
        """The same for a plain hook."""
        return [item for _, handler in self.handlers(hook) for item in handler(event)]

    # ---- IQs

    def answers(self, stanza: Stanza, to: To) -> bool:
        """Whether a stanza is an IQ get or set for which there is a handler."""
        return stanza.kind is Kind.IQ and not stanza.answers and (stanza.type, stanza.tags[0], to) in self._iqs

    async def answer(self, request: Request, to: To) -> Element | Written | None:
        """Ask the handler of the payload. Raises StanzaError; ServiceUnavailable when there is none."""
        stanza = request.stanza
        key = (stanza.type, stanza.tags[0])
        handler = self._iqs.get((*key, to))
        if handler is None and to is To.SELF:
            handler = self._iqs.get((*key, To.ACCOUNT))
        if handler is None:
            raise ServiceUnavailable()
        answer: Element | Written | None = await handler[1](request)
        return answer

    def ask(self, to: JID, payload: Element, answered: Callable[[Stanza | None], None], type: str = "get") -> None:
        """Send an IQ of the host's own. `answered` gets the result or error, or None after a time-out.

        Only an answer from exactly `to` counts (an IQ result may come from anybody).
        """
        id = self.expect(to, answered, ASK_TIMEOUT)
        self.router.deliver(iq(type, id, payload, to=to, sender=self.jid))

    def expect(self, to: JID, answered: Callable[[Stanza | None], None], within: float) -> str:
        """The id for an IQ get of the host's own that the caller sends to `to`; `answered` as in `ask`."""
        self._asked += 1
        id = f"{self._ask_prefix}{self._asked}"

        def expired() -> None:
            if self._asks.pop(id, None) is not None:
                answered(None)

        self._asks[id] = (to.full, answered, self.clock.call_later(within, expired))
        return id

    def answered(self, stanza: Stanza) -> None:
        """A result or error came to the host."""
        found = self._asks.get(stanza.id)
        if found is not None and stanza.sender is not None and stanza.sender.full == found[0]:
            del self._asks[stanza.id]
            found[2].cancel()
            found[1](stanza)

    # ---- accounts

    def account(self, bare: str) -> Account | None:
        """An account that is in memory."""
        return self.accounts.get(bare)

    async def open_account(self, jid: JID) -> Account | None:
        """Load an account's working set; None if there is no such account. Raises StorageUnavailable."""
        bare = jid.bare
        if bare in self.accounts and self.storage.loaded(bare):
            return self.accounts[bare]
        opening = self._opening.get(bare)
        if opening is None:
            opening = self._opening[bare] = asyncio.ensure_future(self._open(jid.to_bare()))
            opening.add_done_callback(lambda _: self._opening.pop(bare, None))
        return await asyncio.shield(opening)

    async def _open(self, jid: JID) -> Account | None:
        bare = jid.bare
        await self.storage.load(bare)
        stored = self.stored_accounts.get(bare).get("")
        if stored is None:
            self._keep(bare, None)
            return None
        known = self.accounts.get(bare)
        if known is not None:
            return known
        last_id = await self.storage.log(LOG).last_id(bare)
        cursor = self.cursor_writer.cursors.get(bare).get("")
        if cursor is not None:  # the entry of the highest id may be deleted, and the clock may have been set back
            last_id = max(last_id, cursor.last)
        account = Account(self, jid, last_id, stored)
        account.cursor.restore(cursor, last_id)
        await self.tell_and_wait(ACCOUNT_LOADED, account)
        self._keep(bare, account)
        return account

    def ready(self, bare: str) -> bool:
        """Whether `account` can answer without waiting."""
        return bare in self.accounts and self.storage.loaded(bare)

    def _keep(self, bare: str, account: Account | None) -> None:
        accounts = self.accounts
        accounts[bare] = account
        accounts.move_to_end(bare)
        if len(accounts) > ACCOUNTS_KEPT:
            for _ in range(ACCOUNTS_KEPT // 10):
                name, old = accounts.popitem(last=False)
                if old is not None and (old.sessions or old.cursor.dirty or old.last_id > old.released):
                    accounts[name] = old  # in use: at the end, so that those behind it are looked at the next time

    def forget(self, bare: str) -> None:
        """After an account was created or deleted."""
        account = self.accounts.pop(bare, None)
        if account is not None:
            account.alive = False

    def session_of(self, jid: JID) -> Any:
        """The local session of a full JID, or None."""
        account = self.accounts.get(jid.bare)
        return account.sessions.get(jid.resource) if account is not None else None

    def deliver(self, stanza: Stanza) -> None:
        """Send a stanza of the host's own to where its `to` says (no OUTBOUND chain)."""
        self.router.deliver(stanza)
