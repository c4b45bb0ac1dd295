"""Members of rooms who are not there when something is said: who is woken, also after a crash."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from xmppd.contracts.messages import Push
from xmppd.contracts.rooms import ROOMS, RoomSaid
from xmppd.errors import StorageUnavailable
from xmppd.plugin import JID, Stanza
from xmppd.stanza import parse_stanza
from xmppd.storage.api import Write

if TYPE_CHECKING:
    from . import PushNotifications

AGAIN: Final = 10.0
NOTED: Final = 10_000
"""So many notes are remembered; of one that is not, the device is woken once more after the next start."""
Absent = tuple[str, str]
"""A bare JID, and the nick that the room has reserved for it."""


@dataclass(frozen=True, slots=True)
class Said:
    """A message that a room keeps (`data`: as the occupants get it), of which not all absent members' devices have a
    job yet. Committed with the message, gone with the commit of the jobs."""

    data: str


class InRooms:
    """Who is absent is decided at the release. Only after a crash is it decided anew: nobody is in a room then."""

    def __init__(self, plugin: PushNotifications) -> None:
        self.plugin = plugin
        self.host = plugin.host
        self.notes = self.host.storage.map("push-said", Said)
        self.noted: set[str] = set()

    def note(self, event: RoomSaid) -> Iterable[Write]:
        """Before the commit."""
        if not self._matters(event.stanza):
            return ()
        owners = self.plugin.owners
        if not event.absent(owners) and not any(map(self._left, event.attending(owners))):
            return ()
        key = _key(event)
        if len(self.noted) >= NOTED:
            self.noted.clear()
        self.noted.add(key)
        return (self.notes.put(self.host.domain, key, Said(event.stanza.data.decode())),)

    def _left(self, bare: str) -> bool:
        """It is in the room with a session that waits for its client."""
        account = self.host.account(bare)
        return account is not None and any(each.stream is None for each in account.sessions.values())

    def said(self, event: RoomSaid) -> None:
        """After the commit, when the occupants have it."""
        key = _key(event)
        noted = key in self.noted
        self.noted.discard(key)
        absent = event.absent(self.plugin.owners) if self._matters(event.stanza) else []
        if absent or noted:
            self.plugin.spawn(self._wake(event.stanza, absent, key if noted else ""), "rooms")

    def _matters(self, stanza: Stanza) -> bool:
        return bool(self.plugin.owners) and self.plugin.rules.policy(stanza).push is not Push.NEVER

    async def _wake(self, stanza: Stanza, absent: Iterable[Absent], key: str) -> None:
        """`key`: of the note, "" if there is none. It is kept until the store has told of everybody."""
        left: list[Absent] = []
        for bare, nick in absent:
            try:
                await self._wake_one(stanza, bare, nick)
            except StorageUnavailable:
                left.append((bare, nick))
        if left:
            self.host.clock.call_later(AGAIN, lambda: self.plugin.spawn(self._wake(stanza, left, key), "rooms"))
        elif key:
            self.plugin.outbox.with_them(self.notes.delete(self.host.domain, key))

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
        """What the last process did not get done."""
        try:
            for key, said in (await self.notes.read_all(self.host.domain)).items():
                stanza = parse_stanza(said.data.encode())
                await self._wake(stanza, await self._absent(stanza), key)
        except StorageUnavailable:
            self.host.clock.call_later(AGAIN, lambda: self.plugin.spawn(self.recover(), "rooms"))

    async def _absent(self, stanza: Stanza) -> Iterable[Absent]:
        assert stanza.sender is not None
        home = self.host.router.hosts.get(stanza.sender.domain)
        rooms = home.find(ROOMS) if home is not None else None
        if rooms is None or not self._matters(stanza):
            return ()
        return await rooms.absent(stanza.sender.to_bare(), self.plugin.owners)


def _key(event: RoomSaid) -> str:
    return f"{event.room.bare}/{event.id}"
