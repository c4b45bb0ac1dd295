"""XEP-0400: a second factor, asked for as a task of the sign-in (XEP-0388 section 2.6.3). People set it up by an ad-hoc
command of their account."""

from __future__ import annotations

import logging
from base64 import b64decode
from binascii import Error
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated, Final

from xmppd.cache import Cache
from xmppd.config import Duration, option
from xmppd.contracts.admin import AccountJid, Argument, Note, operation
from xmppd.contracts.authentication import SaslFailure
from xmppd.contracts.commands import COMMANDS, Ask, Call, Command, CommandAsk, Done, Who
from xmppd.contracts.moving import PORTABLE, Intake, OwnerKind, Portable
from xmppd.contracts.sign_in import SIGN_IN_TASKS, SignIn, SignInTask
from xmppd.errors import ItemNotFound, NotAcceptable, ResourceConstraint
from xmppd.plugin import JID, Account, E, Element, Host, Plugin, Xep, on
from xmppd.storage.api import Write
from xmppd.xep.forms import Field, form
from xmppd.xml import children, text_of

from .factor import CODE_LENGTH, Factor, Factors, Unreadable

__all__ = ["Config", "Totp"]

NS: Final = "urn:xmppd:totp:0"
TASK: Final = "TOTP"
MOVED_NS: Final = "urn:xmppd:totp:moved:0"
log = logging.getLogger("xmppd.totp")


@dataclass(frozen=True)
class Config:
    issuer: str = option("", "Name of this server in people's applications; empty: the domain.", high=100)
    attempts: int = option(
        5, "Wrong codes of one account that are free, wherever they come from; then it waits.", low=1, high=100
    )
    first_wait: Duration = option(
        Duration("30 seconds"), "The first wait; each further wrong code doubles it, up to an hour.", low=1, high=3600
    )

    def check(self) -> Iterable[tuple[str, str]]:
        if find_spec("pyotp") is None:
            yield "issuer", "needs the library pyotp: pip install 'xmppd[totp]'"


class Attempts:
    """Wrong codes of each account. In memory: who guesses cannot restart the server."""

    def __init__(self, host: Host) -> None:
        self._wrong: Cache[str, tuple[int, float]] = host.owned(Cache(20_000, 8 << 20))
        """How many, and until when the account waits (monotonic)."""

    def must_wait(self, owner: str, now: float) -> bool:
        found = self._wrong.get(owner)
        return found is not None and found[1] > now

    def failed(self, owner: str, now: float, config: Config) -> None:
        number = (self._wrong.get(owner) or (0, 0.0))[0] + 1
        over = number - config.attempts
        wait = min(3600.0, float(config.first_wait) * 2.0 ** min(over, 60)) if over >= 0 else 0.0
        if wait:
            log.warning("wrong codes for %s, whose password is known to who sends them: wait %.0f s", owner, wait)
        self._wrong.put(owner, (number, now + wait))

    def forget(self, owner: str) -> None:
        self._wrong.pop(owner)


class Task:
    """XEP-0400 section 5.2. A code comes in <next/>, or in <task-data/> when it was asked for."""

    name = TASK
    proves = True

    def __init__(self, plugin: Totp, owner: str) -> None:
        self.plugin = plugin
        self.owner = owner
        self.asked = False

    def received(self, data: Element) -> Element | Awaitable[Element | None] | None:
        code = code_in(data)
        if not code:
            if self.asked:
                raise SaslFailure("malformed-request", "no code")
            self.asked = True
            return E("totp", NS)
        return self._check(code)

    async def _check(self, code: str) -> None:
        await self.plugin.use(self.owner, code)


class Totp(Plugin[Config]):
    xeps = (Xep(400, "0.1.0", "set up by an ad-hoc command; the task of the sign-in"),)
    standard = False

    def setup(self) -> None:
        self.factors = self.host.storage.map("totp", Factor, cached=True)
        """Owner: the account; key: ""."""
        self.attempts = Attempts(self.host)
        self.reconfigured()

    def reconfigured(self) -> None:
        self.codes = Factors(self.host.server.key_for, self.config.issuer or self.host.domain)

    # ---- the sign-in

    @on(SIGN_IN_TASKS)
    def tasks(self, sign_in: SignIn) -> Iterable[SignInTask]:
        try:
            enrolled = bool(self.factors.get(sign_in.owner))
        except Exception:  # this handler must not fail: the sign-in would go on without it
            log.exception("%s: the second factor cannot be read", sign_in.owner)
            enrolled = True
        return (Task(self, sign_in.owner),) if enrolled else ()

    # ---- moving in and out

    @on(PORTABLE)
    def portable(self, domain: JID) -> Iterable[Portable]:
        yield Portable(OwnerKind.ACCOUNT, (f"{MOVED_NS}|factor",), self._give, self._take, secret=True)

    async def _give(self, owner: JID) -> AsyncIterator[Element]:
        """Raises Unreadable."""
        factor = await self.factors.read(owner.bare, "")
        if factor is not None:
            secret = self.codes.secret(owner.bare, factor)
            yield E("factor", MOVED_NS, {"secret": secret, "since": repr(factor.since)})

    async def _take(self, owner: JID, element: Element, intake: Intake) -> Sequence[Write]:
        """Raises ValueError."""
        if await self.factors.read(owner.bare, "") is not None and not intake.replace:
            intake.kept("second factors")
            return ()
        since = float(str(element.get("since", "0")))
        factor = self.codes.moved(owner.bare, str(element.get("secret", "")), since)
        intake.took("second factors")
        intake.note("has a second factor, and needs new recovery codes")
        return [self.factors.put(owner.bare, "", factor)]

    async def use(self, owner: str, code: str) -> None:
        """Use a code up. Raises SaslFailure, StorageUnavailable."""
        clock = self.host.clock
        async with self.host.locks.hold(f"totp {owner}"):
            if self.attempts.must_wait(owner, clock.monotonic()):
                raise SaslFailure("temporary-auth-failure", "too many wrong codes")
            factor = await self.factors.read(owner, "")
            if factor is None:
                return  # an administrator has taken it away meanwhile
            try:
                after = self.codes.used(owner, factor, code, clock.now())
            except Unreadable:
                log.error("the second factor of %s was stored with another key (the file secret in var)", owner)
                raise SaslFailure("temporary-auth-failure") from None
            if after is None:
                self.attempts.failed(owner, clock.monotonic(), self.config)
                raise SaslFailure("not-authorized", "a wrong code")
            await self.host.storage.commit([self.factors.put(owner, "", after)])
            self.attempts.forget(owner)
        if len(after.recovery) < len(factor.recovery):
            log.info("%s has used a recovery code, %d are left", owner, len(after.recovery))

    # ---- people

    @on(COMMANDS)
    def commands(self, ask: CommandAsk) -> Iterable[Command]:
        if ask.account is not None:
            yield Command(NS, "Second factor for signing in", Who.OWNER, self.show)

    async def show(self, call: Call) -> Ask:
        owner = _owner(call).bare
        if self.factors.get(owner):
            choices = (("codes", "New recovery codes"), ("off", "Turn the second factor off"))
            fields = [Field("do", "list-single", "What to do", ("codes",), choices, required=True), CODE]
            text = "It is on. A code of your application, or a recovery code, is needed."
            return Ask(form("form", NS, fields, "Second factor", text), complete=self.change)
        secret = call.data["secret"] = self.codes.new_secret()
        fields = [
            Field("uri", "text-single", "Address for the application", (self.codes.address(owner, secret),)),
            Field("secret", "text-single", "The same, to be typed", (secret,)),
            CODE,
        ]
        text = (
            "Clients that cannot ask for the code will not sign in any more. Give the address to an application for "
            "codes (TOTP), and enter the code that it shows. The address is shown this once."
        )
        return Ask(form("form", NS, fields, "Second factor", text), complete=self.enrol)

    async def enrol(self, call: Call) -> Done:
        """Raises NotAcceptable, ResourceConstraint."""
        owner, now = _owner(call).bare, self.host.clock.now()
        async with self.host.locks.hold(f"totp {owner}"):
            if self.factors.get(owner):
                raise NotAcceptable("it is on already")
            found = self.codes.first(owner, call.data["secret"], _code(call), now)
            if found is None:
                raise NotAcceptable("that is not the code: does the clock of your device go right?")
            found, recovery = self.codes.with_recovery(owner, found)
            await self.host.storage.commit([self.factors.put(owner, "", found)])
        self.attempts.forget(owner)
        log.info("%s has a second factor", owner)
        return _told("The second factor is on.", recovery)

    async def change(self, call: Call) -> Done:
        """Raises NotAcceptable, ResourceConstraint."""
        owner = _owner(call).bare
        wanted = (call.form.text("do") if call.form is not None else "") or ""
        if wanted not in ("codes", "off"):
            raise NotAcceptable("do is one of codes, off")
        try:
            await self.use(owner, _code(call))
        except SaslFailure as failure:
            if failure.condition == "not-authorized":
                raise NotAcceptable("that is not the code, or it was used before") from None
            raise ResourceConstraint("too many wrong codes: try again later") from None
        if wanted == "off":
            await self.host.storage.commit([self.factors.delete(owner, "")])
            log.info("%s has no second factor any more", owner)
            return Done("The second factor is off.")
        async with self.host.locks.hold(f"totp {owner}"):
            factor = await self.factors.read(owner, "")
            if factor is None:
                raise NotAcceptable("it is off")
            factor, recovery = self.codes.with_recovery(owner, factor)
            await self.host.storage.commit([self.factors.put(owner, "", factor)])
        return _told("The old recovery codes do not count any more.", recovery)

    # ---- administrators

    @operation("totp.reset", "Take the second factor of an account away, for who has lost it.", dangerous=True)
    async def reset(self, jid: Annotated[AccountJid, Argument("The account.")]) -> Note:
        async with self.host.locks.hold(f"totp {jid.bare}"):
            if await self.factors.read(jid.bare, "") is None:
                raise ItemNotFound("the account has no second factor")
            await self.host.storage.commit([self.factors.delete(jid.bare, "")])
        self.attempts.forget(jid.bare)
        log.info("the second factor of %s was taken away", jid.bare)
        return Note(f"{jid} signs in without a second factor now.")


CODE: Final = Field("code", "text-single", "The code", required=True)


def code_in(data: Element) -> str:
    """What the client has sent: the text of the element inside, plain or in base64. Raises SaslFailure."""
    found = next((text_of(each).strip() for each in children(data) if text_of(each).strip()), "")
    if len(found) > 2 * CODE_LENGTH:
        raise SaslFailure("malformed-request", "no code is that long")
    if found.isdigit() or "-" in found:
        return found
    try:
        return b64decode(found, validate=True).decode().strip()
    except (Error, ValueError):
        raise SaslFailure("incorrect-encoding", "not base64") from None


def _owner(call: Call) -> Account:
    assert call.account is not None
    return call.account


def _code(call: Call) -> str:
    """Raises NotAcceptable."""
    code = (call.form.text("code") if call.form is not None else "") or ""
    if not code.strip() or len(code) > CODE_LENGTH:
        raise NotAcceptable("the code is missing")
    return code


def _told(text: str, recovery: tuple[str, ...]) -> Done:
    fields = (Field("recovery", "text-multi", "Each signs you in once, without your device", recovery),)
    return Done(f"{text} Write the recovery codes down: they are shown this once.", form=form("result", NS, fields))
