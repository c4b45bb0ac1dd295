"""Wakes the devices of room members who are not in the room when a message comes, also after a crash."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from xmppd.contracts.messages import Push
from xmppd.contracts.rooms import ROOMS, RoomSaid
from xmppd.contracts.store_check import StoreCheck, in_map
from xmppd.errors import StorageUnavailable
from xmppd.plugin import JID, Stanza
from xmppd.stanza import parse_stanza
from xmppd.storage.api import Write

from .notifier import Notifier

RETRY: Final = 10.0
"""Seconds until a store that is away is asked again."""
PENDING: Final = 10_000
"""Keys in memory; of a message whose key is dropped a device is woken once more after the next start."""
Absent = tuple[str, str]
"""A bare JID, and the nick that the room has reserved for it."""


@dataclass(frozen=True, slots=True)
class PendingRoomMessage:
    """A message in a room's archive (`data`: as the occupants get it) for which not all absent members' devices have a
    job yet. Committed with the message, deleted with the commit of the jobs."""

    data: str


class RoomNotifications:
    """Who is absent is decided at the release, and after a crash again: nobody is in a room then."""

    def __init__(self, plugin: Notifier) -> None:
        self.plugin = plugin
        self.host = plugin.host
        self.messages = self.host.storage.map("push-said", PendingRoomMessage)
        self.pending: set[str] = set()
        """Keys of messages that are stored in `messages` and not released yet."""

    def before_commit(self, event: RoomSaid) -> Iterable[Write]:
        """The write that makes the message's notifications outlive a crash."""
        if not self._notifies(event.stanza):
            return ()
        owners = self.plugin.owners
        if not event.absent(owners) and not any(map(self._is_detached, event.attending(owners))):
            return ()
        key = _key(event)
        if len(self.pending) >= PENDING:
            self.pending.clear()
        self.pending.add(key)
        return (self.messages.put(self.host.domain, key, PendingRoomMessage(event.stanza.data.decode())),)

    def _is_detached(self, bare: str) -> bool:
        """Whether a session of the account waits for its client."""
        account = self.host.account(bare)
        return account is not None and any(each.stream is None for each in account.sessions.values())

    def after_commit(self, event: RoomSaid) -> None:
        """The occupants have the message: wake the absent."""
        key = _key(event)
        stored = key in self.pending
        self.pending.discard(key)
        absent = event.absent(self.plugin.owners) if self._notifies(event.stanza) else []
        if absent or stored:
            self.plugin.spawn(self._wake(event.stanza, absent, key if stored else ""), "rooms")

    def _notifies(self, stanza: Stanza) -> bool:
        return bool(self.plugin.owners) and self.plugin.rules.policy(stanza).push is not Push.NEVER

    async def _wake(self, stanza: Stanza, absent: Iterable[Absent], key: str) -> None:
        """`key`: of the stored message, "" if there is none. It stays stored until everybody has a job."""
        left: list[Absent] = []
        for bare, nick in absent:
            try:
                await self._wake_one(stanza, bare, nick)
            except StorageUnavailable:
                left.append((bare, nick))
        if left:
            self.host.clock.call_later(RETRY, lambda: self.plugin.spawn(self._wake(stanza, left, key), "rooms"))
        elif key:
            self.plugin.outbox.write_after_jobs(self.messages.delete(self.host.domain, key))

    async def _wake_one(self, stanza: Stanza, bare: str, nick: str) -> None:
        plugin, sender = self.plugin, stanza.sender
        assert sender is not None
        await plugin.chats.load(bare)
        account = await self.host.open_account(JID.parse(bare))
        if account is None or not plugin.chats.joins(bare, sender.bare):
            return
        if plugin.chats.wakes(account, stanza, (nick,)):
            plugin.wake_for_room(account, stanza)

    # ---- after a crash

    async def recover(self) -> None:
        """Wakes for the messages that the last process has left."""
        try:
            for key, message in (await self.messages.read_all(self.host.domain)).items():
                stanza = parse_stanza(message.data.encode())
                await self._wake(stanza, await self._absent(stanza), key)
        except StorageUnavailable:
            self.host.clock.call_later(RETRY, lambda: self.plugin.spawn(self.recover(), "rooms"))

    async def check(self, store: StoreCheck) -> None:
        """For `xmppd store check`. Raises StorageUnavailable."""
        async for owner, key, message in store.records(self.messages):
            try:
                sender = parse_stanza(message.data.encode()).sender
            except ValueError:
                sender = None
            if sender is None:
                what = "it is no message of a room, so nobody is woken for those behind it"
                store.problem(owner, in_map(self.messages.name, key), what)

    async def _absent(self, stanza: Stanza) -> Iterable[Absent]:
        assert stanza.sender is not None
        rooms = self.host.router.routes.service(stanza.sender.domain, ROOMS)
        if rooms is None or not self._notifies(stanza):
            return ()
        return await rooms.absent(stanza.sender.to_bare(), self.plugin.owners)


def _key(event: RoomSaid) -> str:
    return f"{event.room.bare}/{event.id}"
