"""One stanza on its path, from the decision by way of the commit to the release (docs/explanation/architecture.md)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec

from ..contracts.archive import Retention
from ..contracts.core import Router, Routes, Session
from ..contracts.order import Lane
from ..contracts.routes import Origin
from ..contracts.routing import MESSAGE_RULES, Inbound, Outbound
from ..errors import InternalServerError, NotNow, ServiceUnavailable, StanzaError, StorageUnavailable
from ..stanza import Kind, Stanza
from ..storage.api import Batch, LogAppend, Write
from .release import release_inbound, release_outbound

log = logging.getLogger("xmppd.routing")


def is_kept(routes: Routes, stanza: Stanza) -> bool:
    """Whether the store keeps a stanza until it is where it goes, for another home or another server."""
    to, sender = stanza.to, stanza.sender
    assert to is not None and sender is not None
    if stanza.kind is not Kind.MESSAGE:
        return False
    remote = not routes.serves(to.domain)
    rules = routes.service(sender.domain if remote else to.domain, MESSAGE_RULES)
    if remote and rules is None:  # a room's: the room has it, and who has lost it asks there
        return routes.is_local(sender.domain) and stanza.type in ("normal", "chat")
    return stanza.type == "groupchat" or rules is None or rules.policy(stanza).retention is not Retention.NONE


class StanzaTransaction:
    """One stanza from decision to release. Implements `Arrival` for destinations and `Release` for the store."""

    __slots__ = (
        "actions",
        "inbound",
        "informative",
        "lane",
        "number",
        "origin",
        "other",
        "outbound",
        "owner",
        "router",
        "sends",
        "session",
        "stanza",
        "writes",
    )

    own = False
    """The server itself sends it."""

    def __init__(self, router: Router, stanza: Stanza, origin: Origin) -> None:
        self.router = router
        self.stanza = stanza
        self.origin = origin
        self.session: Session | None = origin.session
        """The local session that sends it."""
        self.owner = self.session.account.bare if self.session is not None else ""
        """The bare JID of the account that sends it, "" for none."""
        self.lane = origin.lane
        self.number = origin.received
        """Its place among the stanzas of its origin."""
        self.other: Lane | None = None
        self.informative = False
        """Its answer holds something."""
        self.writes: list[Write] = []
        self.outbound: list[Outbound] = []
        self.inbound: list[Inbound] = []
        self.actions: list[Callable[[], None]] = []
        self.sends: list[tuple[str, str]] | None = None
        """From whom to whom it goes on to another home (bare JIDs)."""

    @property
    def home(self) -> int | None:
        """The home of the owner for which it is decided now."""
        return self.router.routes.homes.of(self.owner) if self.owner else None

    # ---- what a destination may do (contracts.routes.Arrival)

    def write(self, write: Write) -> None:
        self.writes.append(write)

    def behind(self, lane: Lane) -> None:
        self.other = lane

    def then(self, action: Callable[[], None]) -> None:
        self.actions.append(action)

    def send(self, stanza: Stanza) -> None:
        """What may be stored where it goes is kept until it is; the rest is sent once."""
        to, sender = stanza.to, stanza.sender
        assert to is not None and sender is not None
        if is_kept(self.router.routes, stanza):
            words = self.router.outbox.keep(sender, to, (stanza,))
            self.writes += words.writes()
            self.then(words.send)
        else:
            self.then(partial(self.router.carry, stanza))
        self.sends = [*(self.sends or ()), (sender.bare, to.bare)]

    def forward(self, stanza: Stanza) -> None:
        """Raises ServiceUnavailable if the recipient's account is not in memory. If its chain refuses the stanza, what
        it has written for it is forgotten, and whoever it comes from gets the error."""
        assert stanza.to is not None and stanza.kind is Kind.MESSAGE  # which is decided at once
        routes = self.router.routes
        if routes.homes.several and self.home != routes.homes.of(stanza.to.bare):
            self.send(stanza)
            return
        if routes.account(stanza.to) is None or not routes.is_loaded(stanza.to):
            raise ServiceUnavailable()
        writes, came = len(self.writes), len(self.inbound)
        try:
            routes.find(stanza.to).accept(self, stanza)
        except StanzaError as error:
            del self.writes[writes:], self.inbound[came:]
            if not stanza.answers:
                answer = stanza.error(error)
                self.then(lambda: self.router.deliver(answer))

    async def barrier(self, work: Awaitable[None]) -> None:
        """Decide when all before it in its order is released."""
        await self.router.until_idle(self.lane)
        await work

    # ---- decide

    async def finish_when(self, decided: Awaitable[None]) -> None:
        """Finish when the decision, which takes time, is made."""
        try:
            await decided
        except StanzaError as error:
            self.refuse(error)
        except StorageUnavailable:
            self.refuse(NotNow("the store does not answer now"))
        except Exception:
            log.exception("%r could not be handled", self.stanza)
            self.refuse(InternalServerError())
        else:
            self.restamp()
            self.finish()

    def restamp(self) -> None:
        """The decision took time: the entry in the sender's log gets an id above all that were stored meanwhile, so
        that whoever has read up to there has missed nothing."""
        for outbound in self.outbound:
            if outbound.log_id:
                self._restamp(outbound)

    def _restamp(self, outbound: Outbound) -> None:
        old, owner = outbound.log_id, outbound.owner
        outbound.log_id = owner.next_id()
        for place, write in enumerate(self.writes):
            if type(write) is LogAppend and write.owner == owner.bare and write.entry.id == old:
                entry = outbound.entry = msgspec.structs.replace(write.entry, id=outbound.log_id)
                self.writes[place] = LogAppend(write.log, write.owner, entry)

    # ---- commit

    def finish(self) -> None:
        """Decided: join a batch, wait behind what is pending, or be released at once."""
        storage = self.router.storage
        if self.writes:
            for event in (*self.outbound, *self.inbound):
                if event.after_id is not None:
                    self.writes += [write for make in event.after_id for write in make(event.log_id)]
            try:
                batch = storage.join(self.writes, self)
                self._set_tails(batch)
                if self.sends is not None:
                    self.router.expect(self.sends, batch)
                counter = self.origin.counter
                if counter is not None:
                    batch.counts[counter] = self.origin.accounted(self.number)
            except StorageUnavailable:
                self.refuse(NotNow("the store does not answer now"))
            except Exception:  # an update's function
                log.exception("what %r writes cannot be computed", self.stanza)
                self.refuse(InternalServerError())
            return
        tail = self._tail()
        if tail is None:
            self.sends = None  # nothing comes in between
            self.committed()
        else:
            storage.follow(tail, self)
            self._set_tails(tail)
            if self.sends is not None:
                self.router.expect(self.sends, tail)

    def _tail(self) -> Batch | None:
        mine, other = self.lane.tail, self.other.tail if self.other is not None else None
        if mine is not None and mine.done:
            mine = self.lane.tail = None
        if other is None or other.done:
            return mine
        return other if mine is None or other.number > mine.number else mine

    def _set_tails(self, batch: Batch) -> None:
        self.lane.tail = batch
        if self.other is not None:
            self.other.tail = batch

    # ---- release (storage.api.Release)

    def committed(self) -> None:
        try:
            for event in self.inbound:
                error = release_inbound(event)
                if error is not None:
                    self._bounce(event, error)
            for sent in self.outbound:
                release_outbound(sent)
            for action in self.actions:
                action()
        finally:
            self.actions = []  # some hold this, and an error its frames: without the circle all goes at once
            if self.sends is not None:
                self.router.came(self.sends)
            self.origin.settled()

    def _bounce(self, event: Inbound, error: Stanza) -> None:
        """To who sent it; of what a service has passed on that is the service, which alone may know the address."""
        if event.stanza.sender == self.stanza.sender:
            self._tell_origin(error)
        else:
            self.router.deliver(error)

    def failed(self, error: Exception) -> None:
        self._undo()
        if isinstance(error, StorageUnavailable):
            self._answer_error(NotNow("the store does not answer now"))
        else:
            log.error("the store refused what %r writes: %s", self.stanza, error)
            self._answer_error(InternalServerError())
        self.actions = []
        if self.sends is not None:
            self.router.came(self.sends)
        self.origin.settled()

    def refuse(self, error: StanzaError) -> None:
        """Not accepted: nothing is written, the sender is told in its place in the order."""
        self._undo()
        self.writes = []
        self.inbound = []
        self.outbound = []
        self.actions = [lambda: self._answer_error(error)]
        self.other = None
        self.sends = None
        tail = self._tail()
        if tail is None:
            self.committed()
        else:
            if self.stanza.kind is Kind.MESSAGE and not self.stanza.answers:
                self.origin.refusing(self.number)  # before the counts of what follows
            self.router.storage.follow(tail, self)
            self._set_tails(tail)

    def _undo(self) -> None:
        for event in (*self.outbound, *self.inbound):
            for call in event.undone or ():
                call(event.log_id)

    def _answer_error(self, error: StanzaError) -> None:
        if not self.stanza.answers:
            self._tell_origin(self.stanza.error(error))

    def _tell_origin(self, error: Stanza) -> None:
        self.origin.refuse(self.number, error)

    def reply(self, stanza: Stanza) -> None:
        """Answer the sender."""
        self.origin.reply(stanza)
