"""Telephone numbers of accounts: proven by a code, stored as keyed hashes, found by others only where their owners
allow it. A step of registration (XEP-0077), and ad-hoc commands."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final

from xmppd.contracts.accounts import ACCOUNTS_REMOVED
from xmppd.contracts.admin import AccountJid, Argument, Domain, Note, Result, operation
from xmppd.contracts.commands import COMMANDS, Ask, Call, Command, CommandAsk, Done, Who
from xmppd.contracts.phone import CODE_SENDER, CodeSender
from xmppd.contracts.registration import REGISTRATION_STEP, Create
from xmppd.contracts.store_check import CHECK_STORE, StoreCheck
from xmppd.errors import (
    BadRequest,
    Forbidden,
    ItemNotFound,
    LocalError,
    NotAcceptable,
    ServiceUnavailable,
    StorageUnavailable,
)
from xmppd.plugin import JID, E, Element, Plugin, Request, To, Xep, iq, on
from xmppd.storage.api import Write
from xmppd.xep.forms import Field, Submitted, form
from xmppd.xml import children

from .attachments import Attachment, AttachmentBook
from .check import check_attachments
from .codes import FAILED, CodeBook
from .keys import read_or_make
from .lookup import LookUp, unique
from .numbers import HASH, LONGEST, Hasher, e164
from .options import CONSOLE, WEBHOOK, Config
from .senders import ConsoleSender, WebhookSender
from .step import CODE, NS, PhoneStep

__all__ = ["Config", "Phone"]

log = logging.getLogger("xmppd.phone")
NODE: Final = NS
FIND: Final = f"{NS}#find"
SWEEP: Final = 3600.0


@dataclass(frozen=True, slots=True)
class KeyCheck:
    """Tells whether the key is the one by which the stored numbers were hashed."""

    check: str


class Status(Result, frozen=True):
    """`codes`: sent within this hour, of `per_hour`."""

    codes: int
    per_hour: int
    sender: str


class Phone(Plugin[Config]):
    """Implements `contracts.registration.RegistrationStep` by its step."""

    xeps = (Xep(77, "2.4", "a telephone number is proven first"),)
    features = (NS,)
    provides = (REGISTRATION_STEP,)
    standard = False

    def setup(self) -> None:
        self._hasher: Hasher | None = None
        self._check = self.host.storage.map("phone-key", KeyCheck)
        """Owner: the domain."""
        self.codes = CodeBook(self.host, self.config, lambda: self.hasher)
        self.book = AttachmentBook(self.host)
        self.look_up = LookUp(self.host, self.config, self.book)
        self.step = PhoneStep(self.config, self.codes, self.book, self.read, self._send_to_stranger)

    def reconfigured(self) -> None:
        self.codes.reconfigured(self.config)
        self.look_up.config = self.step.config = self.config

    async def start(self) -> None:
        """Raises OSError, ValueError: there is no key; LocalError: it is another one than before, or nobody sends the
        codes."""
        if self.config.sender not in (CONSOLE, WEBHOOK) and self.host.find(CODE_SENDER) is None:
            raise LocalError("sender: plugin, but no plugin of this host sends codes")
        if self.config.sender == CONSOLE:
            log.warning("codes are written to this log (plugin phone, option sender): who reads it has any number")
        key = self.config.key or await self.in_thread(read_or_make, self.host.server.config.var)
        hasher = Hasher(hashlib.sha256(key.encode()).digest(), self.host.domain)
        known = await self._check.read(self.host.domain, "")
        if known is None:
            await self.host.storage.commit([self._check.put(self.host.domain, "", KeyCheck(hasher.check))])
        elif known.check != hasher.check:
            raise LocalError("the key is not the one by which the stored numbers were hashed")
        self._hasher = hasher
        self.every(SWEEP, self._sweep, "codes")

    async def _sweep(self) -> None:
        try:
            await self.codes.sweep()
        except StorageUnavailable as error:
            log.warning("codes that are over stay in the store for now (%s)", error)

    @property
    def hasher(self) -> Hasher:
        """Raises ServiceUnavailable: the plugin has not started."""
        if self._hasher is None:
            raise ServiceUnavailable()
        return self._hasher

    @on(ACCOUNTS_REMOVED)
    async def removed(self, names: frozenset[str]) -> None:
        for bare in names:
            if bare.rpartition("@")[2] == self.host.domain:
                await self.book.forget(bare)

    @on(CHECK_STORE)
    async def check(self, store: StoreCheck) -> None:
        """For `xmppd store check`."""
        await check_attachments(store, self.host.domain, self.book.numbers, self.book.accounts)

    # ---- numbers and codes

    async def read(self, text: str) -> str:
        """E.164 of what a person has written. Beside the loop: the rules of all countries take a while to load. Raises
        NotAcceptable."""
        return await self.in_thread(e164, text, self.config.region, self.config.regions)

    @property
    def sender(self) -> CodeSender:
        """Raises ServiceUnavailable."""
        if self.config.sender == CONSOLE:
            return ConsoleSender()
        if self.config.sender == WEBHOOK:
            return WebhookSender(self.host, self.config)
        found = self.host.find(CODE_SENDER)
        if found is None:
            raise ServiceUnavailable(FAILED, type="wait")
        return found

    async def _send_to_stranger(self, number: str, peer: str) -> None:
        await self.codes.send(self.codes.of_stranger(number), number, peer, self.sender)

    # ---- contracts.registration.RegistrationStep

    def fields(self) -> Sequence[Field]:
        return self.step.fields()

    def proof_fields(self) -> Sequence[Field]:
        return self.step.proof_fields()

    def applies(self, form: Submitted | None) -> bool:
        return self.step.applies(form)

    def has_proof(self, form: Submitted | None) -> bool:
        return self.step.has_proof(form)

    @property
    def begun(self) -> tuple[str, str]:
        return NS, "code-sent"

    async def begin(self, form: Submitted | None, peer: str) -> str:
        return await self.step.begin(form, peer)

    async def finish(self, form: Submitted | None, jid: JID, create: Create) -> None:
        await self.step.finish(form, jid, create)

    # ---- the number of an account

    @on(COMMANDS)
    def commands(self, ask: CommandAsk) -> Iterable[Command]:
        if ask.account is not None:
            return (Command(NODE, "Phone number", Who.OWNER, self._show),)
        return (Command(FIND, "Find people by phone number", Who.USER, self._ask_for_numbers),)

    async def _show(self, call: Call) -> Ask:
        assert call.account is not None
        found = await self.book.of_account(call.account.bare)
        fields = [
            Field("state", "fixed", values=(self._described(found[1] if found is not None else None),)),
            Field("phone", "text-single", "New mobile phone number, as +49 151 12345678; empty: as it is"),
            Field(
                "discoverable",
                "boolean",
                "Who knows my number may find me",
                ("1" if found is not None and found[1].discoverable else "0",),
            ),
            Field("remove", "boolean", "Forget my number", ("0",)),
        ]
        return Ask(form("form", NODE, fields, "Phone number"), next=self._chosen, complete=self._chosen)

    def _described(self, found: Attachment | None) -> str:
        if found is None:
            return "This account has no phone number."
        text = f"This account has a phone number (which is not stored as such), proven on {_shown(found.since)}."
        if self.config.valid:
            text += f" It is good until {_shown(found.since + float(self.config.valid))}; then prove it again."
        return text

    async def _chosen(self, call: Call) -> Ask | Done:
        """Raises StanzaError, StorageUnavailable."""
        account, filled = call.account, call.form
        assert account is not None
        if filled is None:
            raise NotAcceptable("the form is missing")
        phone, discoverable = (filled.text("phone") or "").strip(), filled.boolean("discoverable")
        if filled.boolean("remove"):
            if phone:
                raise NotAcceptable("a new number, or none")
            await self.book.detach(account.bare)
            return Done("Your number is forgotten.")
        if not phone:
            if discoverable is not None:
                await self.book.show(account.bare, discoverable)
            return Done("Your choice is kept.")
        number = await self.read(phone)
        claim = self.codes.of_account(account.bare, number)
        await self.codes.send(claim, number, account.bare, self.sender)
        call.data["number"], call.data["discoverable"] = number, discoverable
        fields = (Field(CODE, "text-single", "Code from your phone", required=True),)
        asked = form("form", NODE, fields, "Phone number", "A code was sent to your phone.")
        return Ask(asked, next=self._proven, complete=self._proven)

    async def _proven(self, call: Call) -> Done:
        """Raises StanzaError, StorageUnavailable."""
        assert call.account is not None
        bare, number, discoverable = call.account.bare, call.data["number"], call.data["discoverable"]
        claim = self.codes.of_account(bare, number)
        behind: Callable[[], None] | None = None

        async def done(writes: Sequence[Write]) -> None:
            nonlocal behind
            found = await self.book.of_account(bare) if discoverable is None else None
            allowed = bool(discoverable) or (found is not None and found[1].discoverable)
            more, behind = await self.book.attach(claim.stored, bare, allowed)
            await self.host.storage.commit([*writes, *more])

        async with self.book.alone(bare):
            await self.codes.use(claim, (call.form.text(CODE) if call.form is not None else "") or "", done)
        if behind is not None:
            behind()
        return Done("The number is yours.")

    # ---- look-up

    @iq("get", NS, "lookup", To.HOST)
    async def answer(self, request: Request) -> Element:
        """Without numbers: how they are hashed, and how many may be asked for."""
        bare = self._asker(request)
        given = children(request.payload, NS, "number")
        hashes = [str(each.get("hash", "")) for each in given]
        if not hashes:
            await self.look_up.check(bare)
            left = await self.look_up.left(bare)
            facts = {"salt": self.hasher.salt, "hash": "sha-256", "max": str(self.config.batch), "left": str(left)}
            return E("lookup", NS, facts)
        if not all(HASH.fullmatch(each) for each in hashes):
            raise BadRequest("a hash is SHA-256 of salt and number, as 64 hex digits")
        found = await self.look_up.find(bare, hashes, self.hasher)
        return E("lookup", NS, {}, *(E("contact", NS, {"hash": each, "jid": jid}) for each, jid in found))

    def _asker(self, request: Request) -> str:
        """Raises Forbidden for who has no account here."""
        if request.session is None or request.session.host is not self.host:
            raise Forbidden()
        return request.sender.bare

    async def _ask_for_numbers(self, call: Call) -> Ask:
        await self.look_up.check(call.requester.bare)
        fields = (Field("numbers", "text-multi", "Phone numbers, one a line", required=True),)
        return Ask(form("form", FIND, fields, "Find people by phone number"), complete=self._find)

    async def _find(self, call: Call) -> Done:
        """Raises StanzaError, StorageUnavailable."""
        texts = unique(each.strip() for each in (call.form.values.get("numbers", ()) if call.form is not None else ()))
        texts = [each for each in texts if each]
        if not texts:
            raise NotAcceptable("no number is given")
        if len(texts) > self.config.batch or any(len(each) > LONGEST for each in texts):
            raise NotAcceptable(f"at most {self.config.batch} numbers, one a line")
        known = await self.in_thread(self._hashed, texts)
        # What is no number is asked for like one, so that everything costs the same.
        found = dict(await self.look_up.find(call.requester.bare, list(known), self.hasher))
        fields = [Field(known[each], "jid-single", known[each], (jid,)) for each, jid in found.items()]
        if not fields:
            return Done("Nobody is found.")
        return Done(form=form("result", FIND, fields, "Find people by phone number"))

    def _hashed(self, texts: Sequence[str]) -> dict[str, str]:
        """What is written, by the hash that a client would send."""
        known: dict[str, str] = {}
        for each in texts:
            try:
                number = e164(each, self.config.region, ())
            except NotAcceptable:
                number = ""
            known.setdefault(self.hasher.sent_hash(number or each), each)
        return known

    # ---- administrators

    @operation("phone.status", "Show how many codes were sent within this hour.")
    async def status(
        self,
        domain: Annotated[Domain, Argument("The host, if there are several.", positional=True)] = Domain(""),  # noqa: B008
    ) -> Status:
        return Status(await self.codes.sent_in_hour(), self.config.per_hour, self.config.sender)

    @operation("phone.find", "Tell which account a phone number belongs to.")
    async def find(
        self,
        number: Annotated[str, Argument("The number, with the code of its country.")],
        domain: Annotated[Domain, Argument("The host, if there are several.", positional=True)] = Domain(""),  # noqa: B008
    ) -> Note:
        found = await self.book.of_number(
            self.hasher.number(await self.in_thread(e164, number, self.config.region, ()))
        )
        if found is None:
            raise ItemNotFound("that number belongs to no account")
        return Note(f"It belongs to {found.account}, proven on {_shown(found.since)}.")

    @operation("phone.detach", "Forget the phone number of an account.")
    async def detach(self, jid: Annotated[AccountJid, Argument("The account.")]) -> Note:
        await self.book.detach(jid.bare)
        return Note(f"{jid} has no phone number any more.")


def _shown(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%d %B %Y")
