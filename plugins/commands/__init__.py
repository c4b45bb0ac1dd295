"""XEP-0050: Ad-Hoc Commands. Other plugins offer them (contracts.commands); here they are listed and run."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, replace
from secrets import token_bytes, token_urlsafe
from typing import Final

from xmppd.config import Duration, option
from xmppd.contracts.commands import COMMANDS, NS, Call, Command, CommandAsk, Done, Handler, Who
from xmppd.contracts.disco import DISCO_FEATURES, DISCO_IDENTITIES, DISCO_ITEMS, DiscoAsk, Identity, Item
from xmppd.contracts.sessions import SESSION_ENDED
from xmppd.errors import (
    BadRequest,
    Forbidden,
    ItemNotFound,
    JidMalformed,
    NotAcceptable,
    NotAllowed,
    ResourceConstraint,
    ServiceUnavailable,
)
from xmppd.plugin import E, Element, Plugin, Request, Session, To, Xep, iq, on
from xmppd.xep.forms import NS as DATA_NS
from xmppd.xep.forms import Submitted
from xmppd.xml import LANG

from .steps import Run, answer, check_language, chosen, form_of, refused, show

ACTIONS: Final = ("execute", "cancel", "prev", "next", "complete")


@dataclass(frozen=True)
class Config:
    sessions: int = option(
        5, "Commands that one device may have under way; further ones end its oldest.", low=1, high=100
    )
    sessions_in_all: int = option(1000, "Commands under way on this host.", low=1, high=1_000_000)
    lifetime: Duration = option(Duration("10 minutes"), "How long a form waits to be filled in.", low=10, high=86_400)


class Commands(Plugin[Config]):
    xeps = (Xep(50, "1.3.0", "texts are English, whatever language is asked for; lists are not announced"),)

    def setup(self) -> None:
        self.runs: dict[str, Run] = {}
        self._key = token_bytes(32)

    # ---- who sees what (sections 2.1 and 2.2)

    def offered(self, ask: CommandAsk) -> list[Command]:
        return [each for each in self.host.gather(COMMANDS, ask) if self._may(ask, each)]

    def _may(self, ask: CommandAsk, command: Command) -> bool:
        bare, who = ask.requester.bare, command.who
        if who is Who.ADMIN:
            return bare in self.host.admins
        if who is Who.USER:
            return ask.requester.domain == self.host.domain and bool(ask.requester.local)
        if who is Who.OWNER:
            return ask.account is not None and ask.account.bare == bare
        return True

    def _command(self, ask: CommandAsk, node: str) -> Command | None:
        """None: there is none of that node. Raises Forbidden."""
        for command in self.host.gather(COMMANDS, replace(ask, node=node)):
            if command.node == node:
                if not self._may(ask, command):
                    raise Forbidden(type="cancel")  # section 4.4
                return command
        return None

    @on(DISCO_FEATURES)
    def show_features(self, ask: DiscoAsk) -> Iterable[str]:
        commands = CommandAsk(ask.requester, ask.account)
        if not ask.node:
            return (NS,) if self.offered(commands) else ()  # only to who has some
        if ask.node == NS or self._command(commands, ask.node) is None:
            return ()
        return NS, DATA_NS

    @on(DISCO_IDENTITIES)
    def show_identity(self, ask: DiscoAsk) -> Iterable[Identity]:
        if not ask.node:
            return ()
        if ask.node == NS:
            return (Identity("automation", "command-list"),)
        command = self._command(CommandAsk(ask.requester, ask.account), ask.node)
        return (Identity("automation", "command-node", command.name),) if command is not None else ()

    @on(DISCO_ITEMS)
    def show_items(self, ask: DiscoAsk) -> Iterable[Item]:
        if ask.node != NS:
            return ()
        found = self._items(CommandAsk(ask.requester, ask.account))
        own = self.host.account(ask.requester.bare) if ask.account is None else None
        if own is not None:  # clients look here first (Converse.js, Gajim); an item names who runs it (section 2.2)
            found += self._items(CommandAsk(ask.requester, own))
        return found

    def _items(self, ask: CommandAsk) -> list[Item]:
        jid = ask.account.bare if ask.account is not None else self.host.domain
        return [Item(jid, command.name, command.node) for command in self.offered(ask)]

    # ---- running (section 2.4)

    @iq("set", NS, "command", To.HOST, To.ACCOUNT)
    async def run(self, request: Request) -> Element:
        asked = request.payload
        node, id, action = (str(asked.get(name, "")) for name in ("node", "sessionid", "action"))
        ask = CommandAsk(request.sender, request.owner)
        if request.owner is not None and not request.is_own and not self.offered(ask):
            raise ServiceUnavailable()  # strangers learn nothing of an account, whatever they send (ADR 0007)
        action = action or "execute"
        if action not in ACTIONS:
            raise refused("malformed-action")
        check_language(str(asked.get(LANG, "") or ""))
        command = self._command(ask, node)
        if command is None:
            raise ItemNotFound("there is no such command")
        if not id:
            return await self._first(request, command, action)
        run = self._find(request, id, node)
        if run.busy:
            raise NotAllowed("this step is being worked on")
        if action == "cancel":
            self._end(run)
            return answer(run, "canceled")
        if action == "prev":
            return self._back(run)
        handler = chosen(run.steps[-1], action)
        form = form_of(asked)
        run.busy = True
        try:
            return await self._step(request, run, handler, form)
        finally:
            run.busy = False

    async def _first(self, request: Request, command: Command, action: str) -> Element:
        if action != "execute":
            raise refused("bad-action")
        entity = request.owner.bare if request.owner is not None else ""
        secret = token_urlsafe(18)
        requester = request.sender.full
        id = f"{secret}.{self._mac(secret, requester, entity, command.node)}"
        run = Run(id, requester, entity, command.node, 0.0)
        return await self._step(request, run, command.handler, form_of(request.payload))

    async def _step(self, request: Request, run: Run, handler: Handler, form: Submitted | None) -> Element:
        call = Call(request.sender, request.owner, request.session, form, run.data)
        try:
            reply = await handler(call)
        except (BadRequest, NotAcceptable, JidMalformed) as error:
            if error.extra is None:
                raise refused("bad-payload", error.text) from None
            raise
        if isinstance(reply, Done):
            self._end(run)
            result = answer(run, "completed")
            if reply.form is not None:
                result.append(reply.form)
            if reply.note:
                result.append(E("note", NS, {"type": reply.level}, reply.note))
            return result
        run.steps.append(reply)
        self._store(run)
        return show(run)

    def _back(self, run: Run) -> Element:
        if len(run.steps) < 2:
            raise refused("bad-action")
        run.steps.pop()
        self._store(run)
        return show(run)

    # ---- sessions (section 3.3)

    def _mac(self, secret: str, requester: str, entity: str, node: str) -> str:
        """Binds an id to who has it, so that a known one of somebody else is as good as an invented one."""
        data = "\0".join((secret, requester, entity, node)).encode()
        return hmac.new(self._key, data, hashlib.sha256).hexdigest()[:32]

    def _find(self, request: Request, id: str, node: str) -> Run:
        secret, _, mac = id.partition(".")
        entity = request.owner.bare if request.owner is not None else ""
        expected = self._mac(secret, request.sender.full, entity, node)
        if not hmac.compare_digest(mac.encode(), expected.encode()):
            raise refused("bad-sessionid")
        self._expire()
        run = self.runs.get(id)
        if run is None:
            raise NotAllowed(extra=(NS, "session-expired"))
        return run

    def _store(self, run: Run) -> None:
        """Raises ResourceConstraint."""
        self._expire()
        if run.id not in self.runs:
            own = [each for each in self.runs.values() if each.requester == run.requester]
            for old in own[: max(0, len(own) - self.config.sessions + 1)]:
                self._end(old)
            if len(self.runs) >= self.config.sessions_in_all:
                raise ResourceConstraint("too many commands are under way")
        run.until = self.host.clock.monotonic() + float(self.config.lifetime)
        self.runs[run.id] = run

    def _end(self, run: Run) -> None:
        self.runs.pop(run.id, None)

    def _expire(self) -> None:
        now = self.host.clock.monotonic()
        for run in [run for run in self.runs.values() if run.until <= now and not run.busy]:
            self._end(run)

    @on(SESSION_ENDED)
    def session_ended(self, session: Session) -> None:
        for run in [run for run in self.runs.values() if run.requester == session.jid.full]:
            self._end(run)
