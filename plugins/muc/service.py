"""What the modules of this service share: how a decided change is carried out, how stanzas go out, who is there."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from xmppd.clock import microseconds
from xmppd.contracts.block_lists import BLOCK_LISTS, BlockLists
from xmppd.contracts.routes import Arrival
from xmppd.contracts.search import SEARCH
from xmppd.errors import ItemNotFound, NotAcceptable, StanzaError, StorageUnavailable
from xmppd.jid import JID
from xmppd.plugin import Kind, Stanza
from xmppd.xep.retraction import RetractionWriter

from .model import Effect, Plan, Send, ServiceSettings
from .registry import RoomRegistry, RoomSlot
from .retraction import find_retracted

if TYPE_CHECKING:
    from xmppd.plugin import Host

Spawn = Callable[[Coroutine[Any, Any, None], str], None]


def sender_of(arrival: Arrival) -> JID:
    """Returns the full JID that a stanza came from."""
    assert arrival.stanza.sender is not None
    return arrival.stanza.sender


def no_such_room(stanza: Stanza) -> StanzaError:
    """Returns the error for what is sent to a room that does not exist, or to one of its occupants."""
    if stanza.kind is Kind.IQ:  # XEP-0410 section 3.2: item-not-found would mean that one is in the room
        return NotAcceptable("you are not in the room", type="cancel")
    return ItemNotFound("there is no such room")


class RoomService:
    """The group chat service of a host. `spawn`: runs work in the background, under a name."""

    def __init__(self, host: Host, settings: ServiceSettings, spawn: Spawn) -> None:
        self.host = host
        self.spawn = spawn
        self.rooms = RoomRegistry(host, settings)
        archive = self.rooms.archive
        self.retractions = RetractionWriter(host, archive, partial(find_retracted, archive))
        self.block_lists: tuple[BlockLists, ...] = ()
        """Of all hosts of this server: who is on them is kept out."""

    @property
    def settings(self) -> ServiceSettings:
        return self.rooms.settings

    def configure(self, settings: ServiceSettings) -> None:
        """Takes the options of the service. Rooms in memory keep those they were opened with."""
        self.rooms.settings = replace(settings, searched=self.host.find(SEARCH) is not None)

    def find_block_lists(self) -> None:
        """Looks which hosts follow block lists; called once, when all have their plugins."""
        found = (host.find(BLOCK_LISTS) for host in self.host.router.routes.hosts())
        self.block_lists = tuple(each for each in found if each is not None)

    # ---- time and people

    def now(self) -> int:
        """Microseconds since 1970."""
        return microseconds(self.host.clock)

    def is_online(self, who: JID) -> bool | None:
        """Whether a full JID has a session here; None if that cannot be known."""
        routes = self.host.router.routes
        return routes.session(who) is not None if routes.is_local(who.domain) else None

    def incarnation(self, who: JID) -> str:
        """Returns the incarnation of an account of this server (StoredAccount), "" for others."""
        account = self.host.router.routes.account(who)
        return account.incarnation if account is not None else ""

    def account_hosts(self) -> Iterator[Host]:
        """Returns the hosts of this server that have accounts."""
        return (host for host in self.host.router.routes.hosts() if host.has_accounts)

    def count_change(self, slot: RoomSlot, who: JID) -> None:
        """Counts a change by a user. Raises PolicyViolation if there are too many."""
        slot.change_rate.count(who.bare, self.host.clock.monotonic(), self.settings.changes)

    # ---- what goes out

    def perform(self, effects: Iterable[Effect]) -> None:
        """Sends the stanzas of a change."""
        router = self.host.router
        for effect in effects:
            if isinstance(effect, Send):
                router.deliver(effect.stanza)
            else:
                router.fan_out(effect.stanza, effect.to)

    def reply(self, arrival: Arrival, stanza: Stanza) -> None:
        """Sends the answer to a request."""
        arrival.reply(stanza)

    def forward(self, arrival: Arrival, stanza: Stanza) -> None:
        """Passes a stanza on in the sender's batch: acknowledged means that the recipient's archive has it, too."""
        try:
            arrival.forward(stanza)
        except StanzaError:  # not at home here, or refused: told by an error to the room, as any delivery
            arrival.then(lambda: self.host.deliver(stanza))

    async def carry_out(self, slot: RoomSlot, plan: Plan | None, reply: Callable[[], None] | None = None) -> None:
        """Commits a plan, changes the room, sends what goes before the reply, replies, sends the rest.

        The caller holds the room's lock. Raises StorageUnavailable, and then nothing has changed.
        """
        if plan is None or slot.room is None:
            return
        deleted = plan.deletes_room
        try:
            await self.rooms.commit(slot.room, plan)
        except StorageUnavailable:
            if not plan.apply_unsaved:
                raise
            deleted = False  # the sweep for rooms that should be deleted finds it later
        effects = plan.apply()
        if deleted:
            slot.room = None
        self.perform(effects[: plan.before_reply])
        if reply is not None:
            reply()
        self.perform(effects[plan.before_reply :])
