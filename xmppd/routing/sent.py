"""What an owner has decided, at the home of the other one whom it concerns."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from typing import Protocol

from ..contracts.archive import LOG
from ..contracts.core import Account, Router
from ..contracts.routing import Inbound
from ..errors import NotNow, ResourceConstraint, StanzaError, StorageUnavailable
from ..jid import JID
from ..stanza import Kind, Stanza
from ..storage.api import NOBODY, Entry, Flags, Heard, LogAppend, Write
from .own import OwnOrder, OwnTransaction


class Sending(Protocol):
    """What an owner with another home has decided, and the store keeps until it is heard (`routing.outbox`)."""

    @property
    def heard(self) -> Heard:
        """What ends that."""
        ...

    @property
    def at(self) -> int:
        """When it was said, microseconds since 1970 UTC; 0: not known."""
        ...

    @property
    def waits(self) -> bool:
        """One before it, from the same owner to the same, could not be decided: it comes again, behind that."""
        ...

    def undecided(self) -> None:
        """It cannot be decided now."""
        ...

    def settled(self, decided: bool) -> None:
        """Its way has ended: it was committed or refused for good, or could not be decided."""
        ...


class SentTransaction(OwnTransaction):
    """What an owner with another home has decided before. `sending`: it stays in the store until this is committed;
    None: it is not kept, and nobody sends it again."""

    __slots__ = ("decided", "heard", "sending")

    own = False

    def __init__(self, router: Router, stanza: Stanza, order: OwnOrder, sending: Sending | None) -> None:
        super().__init__(router, stanza, order)
        self.sending = sending
        self.heard = sending.heard if sending is not None else None
        self.decided = True

    @property
    def kept(self) -> bool:  # type: ignore[override]
        return self.sending is not None

    def accept(self) -> Awaitable[None] | None:
        """Raises NotNow, too: one before it could not be decided."""
        if self.sending is not None:
            if self.sending.waits:
                raise NotNow()
            if self.stanza.type == "error":
                return self._tell(self.stanza)
        return super().accept()

    def finish(self) -> None:
        if self.heard is not None:
            self.writes = [*map(self._with_source, self.writes), self.heard]
        super().finish()

    def _with_source(self, write: Write) -> Write:
        """An entry of the recipient's log bears the source of what it was made of."""
        assert self.heard is not None
        if type(write) is LogAppend and write.log == LOG and write.owner == self.heard.owner:
            return LogAppend(LOG, write.owner, write.entry, self.heard.source)
        return write

    def refuse(self, error: StanzaError) -> None:
        """A refusal is a decision, too: the error goes back as the recipient's word."""
        if self.sending is None:
            super().refuse(error)
            return
        if isinstance(error, NotNow):
            self.decided = False
            self.sending.undecided()  # before what is behind it is decided
            super().refuse(error)
            return
        self._undo()
        self.writes, self.inbound, self.outbound, self.actions = [], [], [], []
        self.other = self.sends = None
        if not self.stanza.answers:
            self._keep_refusal(self.stanza.error(error))
        self.finish()

    def reply(self, stanza: Stanza) -> None:
        """To who has sent it: an answer is no decision of the sender's home."""
        self.order.orders.answer(stanza)

    def _tell_origin(self, error: Stanza) -> None:
        self.order.orders.answer(error)

    def _keep_refusal(self, error: Stanza) -> None:
        """The sender has been told that it is on its way: so the refusal must arrive."""
        assert error.sender is not None and error.to is not None
        try:
            words = self.router.outbox.keep(error.sender, error.to, (error,))
        except ResourceConstraint:
            self.then(lambda: self._tell_origin(error))
            return
        self.writes += words.writes()
        self.then(words.send)

    def failed(self, error: Exception) -> None:
        if self.sending is not None and isinstance(error, StorageUnavailable):
            self.decided = False
            self.sending.undecided()
        super().failed(error)
        if self.heard is not None and self.decided:
            with suppress(StorageUnavailable):  # else it comes again, and fails again
                self.router.storage.join((self.heard,), NOBODY)

    def _leave(self) -> None:
        super()._leave()
        if self.sending is not None:
            self.sending.settled(self.decided)

    def _answer_error(self, error: StanzaError) -> None:
        if self.decided:  # else it comes again
            super()._answer_error(error)

    def _tell(self, error: Stanza) -> Awaitable[None] | None:
        """What another home has refused. A client was told that its message is on its way: so the error waits for it,
        or for another device, in the log, hidden, until it is acknowledged."""
        to, routes = error.to, self.router.routes
        assert to is not None
        if error.kind is not Kind.MESSAGE or not routes.is_account(to.bare):
            self.then(partial(self.order.orders.answer, error))
            return None
        if not routes.is_loaded(to):
            return self._load_and_keep(error, to)
        self._keep_error(error, routes.account(to))
        return None

    async def _load_and_keep(self, error: Stanza, to: JID) -> None:
        self._keep_error(error, await self.router.routes.open_account(to))

    def _keep_error(self, error: Stanza, account: Account | None) -> None:
        """It goes past the rules of the account, as an answer does."""
        if account is None:
            return
        sender = error.sender
        assert sender is not None
        event = Inbound(error, account, self.origin, self.writes)
        flags = int(Flags.INCOMING | Flags.HIDDEN)
        event.append_entry(LOG, Entry(account.next_id(), sender.bare, sender.resource, flags, error.data))
        self.inbound.append(event)
