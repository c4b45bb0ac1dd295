"""The step of registration in which a stranger proves a number: implements contracts.registration.RegistrationStep."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from xmppd.contracts.registration import Create
from xmppd.plugin import JID
from xmppd.storage.api import Write
from xmppd.xep.forms import Field, Submitted

from .attachments import AttachmentBook
from .codes import CodeBook
from .options import OFF, REQUIRED, Config

NS: Final = "urn:xmppd:phone:0"
PHONE: Final = "phone"
"""The field of XEP-0077."""
CODE: Final = f"{{{NS}}}code"
DISCOVERABLE: Final = f"{{{NS}}}discoverable"
SENT: Final = (
    "A code was sent to your phone. Enter it to get your account. If you have to begin again, fill in the same form, "
    "and the code."
)
Read = Callable[[str], Awaitable[str]]
Send = Callable[[str, str], Awaitable[None]]


class PhoneStep:
    """`config` is replaced when the configuration is read again. `read`: makes E.164 of what people write; `send`:
    sends a code to a stranger's number, asked for from an address."""

    def __init__(self, config: Config, codes: CodeBook, book: AttachmentBook, read: Read, send: Send) -> None:
        self.config = config
        self.codes = codes
        self.book = book
        self._read = read
        self._send = send

    def fields(self) -> Sequence[Field]:
        if self.config.registration == OFF:
            return ()
        must = self.config.registration == REQUIRED
        return (
            Field(PHONE, "text-single", "Mobile phone number, as +49 151 12345678", required=must),
            Field(DISCOVERABLE, "boolean", "Who knows my number may find me", ("0",)),
            Field(CODE, "text-single", "Code; leave it empty at first: it is sent to your phone"),
        )

    def proof_fields(self) -> Sequence[Field]:
        return (Field(CODE, "text-single", "Code from your phone", required=True),)

    def applies(self, form: Submitted | None) -> bool:
        if self.config.registration == OFF:
            return False
        return self.config.registration == REQUIRED or bool(_text(form, PHONE)) or self.has_proof(form)

    def has_proof(self, form: Submitted | None) -> bool:
        return bool(_text(form, CODE))

    async def begin(self, form: Submitted | None, peer: str) -> str:
        _discoverable(form)
        await self._send(await self._read(_text(form, PHONE)), peer)
        return SENT

    async def finish(self, form: Submitted | None, jid: JID, create: Create) -> None:
        discoverable = _discoverable(form)
        claim = self.codes.of_stranger(await self._read(_text(form, PHONE)))
        behind: Callable[[], None] | None = None

        async def done(writes: Sequence[Write]) -> None:
            nonlocal behind
            more, behind = await self.book.attach(claim.stored, jid.bare, discoverable)
            await create((*writes, *more))

        await self.codes.use(claim, _text(form, CODE), done)
        if behind is not None:
            behind()


def _text(form: Submitted | None, var: str) -> str:
    return ((form.text(var) if form is not None else "") or "").strip()


def _discoverable(form: Submitted | None) -> bool:
    """Raises BadRequest."""
    return bool(form.boolean(DISCOVERABLE)) if form is not None else False
