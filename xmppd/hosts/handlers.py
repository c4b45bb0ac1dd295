"""The handlers of a host: by hook, payload of an IQ, stream-level element and HTTP route; how they are asked."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..background import Background
from ..contracts.http import HttpRoute
from ..contracts.internal import Concerned, Maps
from ..contracts.routing import ARRIVED, HOST_MESSAGE, INBOUND, OUTBOUND, SENT
from ..errors import InternalServerError, LocalError, ServiceUnavailable, StanzaError, StorageUnavailable
from ..hooks import Collect, Hook, Notify, Registration, Verdict
from ..net.http_routes import RouteTable
from ..observe.metrics import HookTimes
from ..plugin import HttpMark, IqRoute, NonzaRoute, Plugin, Request, To
from ..stanza import Kind, Shape, Stanza
from ..storage.api import Storage
from ..xml import Element, Written

if TYPE_CHECKING:
    from ..contracts.routing import Event

log = logging.getLogger("xmppd.hosts")
E = TypeVar("E")
T = TypeVar("T")

SAMPLE: Final = 64
"""One in so many runs of a chain is timed (timing each would cost as much as the handlers)."""
CHAINS: Final = 10_000
"""So many chains, by hook and shape of the stanza, are remembered."""
PATH: Final = (OUTBOUND, INBOUND, SENT, ARRIVED, HOST_MESSAGE)
"""The hooks on the path of a stanza."""

Handler = tuple[str, Callable[..., Any]]
Narrowing = tuple[Maps, tuple[Callable[[Stanza], Collection[str] | None], ...]]


class Handlers:
    """The handlers of one host. `background` runs those that are coroutines."""

    def __init__(self, storage: Storage, background: Background) -> None:
        self._storage = storage
        self._background = background
        self.times = HookTimes()
        self._registered: dict[str, list[tuple[Registration, Handler]]] = {}
        self._built: dict[str, tuple[Handler, ...]] = {}
        self._chains: dict[tuple[Hook, Shape], tuple[Handler, ...]] = {}
        self._narrowings: dict[Shape, Narrowing | None] = {}
        self._iqs: dict[tuple[str, str, To], Handler] = {}
        self._nonzas: dict[tuple[str, str], Handler] = {}
        self.http_routes = RouteTable()
        self._runs = 0

    # ---- registration

    def register(self, plugin: Plugin[Any]) -> None:
        """Register what a plugin declares. Raises LocalError on a clash or a coroutine on the hot path."""
        for attribute in dir(type(plugin)):
            method = getattr(type(plugin), attribute, None)
            marks = getattr(method, "__dict__", None)
            if not marks or not callable(method):
                continue
            bound = (f"{plugin.name}.{attribute}", getattr(plugin, attribute))
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
            self._storage.in_memory(registration.if_stored_in)  # there is such a map
        self._registered.setdefault(registration.hook.name, []).append((registration, handler))
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
        route = HttpRoute(mark.method, mark.path, handler[1], mark.max_body, cors=mark.cors, owner=handler[0])
        try:
            self.http_routes.add(route)
        except ValueError as error:
            raise LocalError(str(error)) from None

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
                    found = ((*maps, self._storage.in_memory(each.if_stored_in)), asked)
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
        return sorted(self._registered.get(hook.name, ()), key=lambda pair: pair[0].stage)

    def run(self, handlers: tuple[Handler, ...], event: Event) -> Verdict | None:
        """Ask a chain. Raises StanzaError; a handler that crashes refuses the stanza (fails closed)."""
        self._runs += 1
        if self._runs % SAMPLE == 0:
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
                    self._background.spawn(work, name)
            except Exception:
                log.exception("%s failed", name)

    async def tell_and_wait(self, hook: Notify[E], event: E) -> None:
        """Notify, and wait for handlers that are coroutines."""
        for error in await self.tell_and_collect_errors(hook, event):
            if isinstance(error, StorageUnavailable):
                log.warning("something was left undone after %s: the store does not answer (%s)", hook.name, error)

    async def tell_and_collect_errors(self, hook: Notify[E], event: E) -> list[Exception]:
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
            found += await given if isinstance(given, Awaitable) else given
        return found

    def gather(self, hook: Collect[E, T], event: E) -> list[T]:
        """The same for a plain hook."""
        found: list[T] = []
        for _, handler in self._built.get(hook.name) or self.handlers(hook):
            found += handler(event)
        return found

    # ---- IQs and stream-level elements

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

    def nonza_handler(self, tag: str, state: str) -> Callable[..., Any] | None:
        found = self._nonzas.get((tag, state))
        return found[1] if found else None
