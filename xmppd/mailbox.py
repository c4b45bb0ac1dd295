"""What is owed to an account: up to which entry of its log everything was acknowledged by some device."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .account import Account

READERS: Final = 20
"""So many resources are remembered that read the archive themselves."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """`position`: every incoming entry up to this id is settled. `settled`: later ones that are, too.

    `readers`: resources that read the archive themselves.
    """

    position: int = 0
    settled: tuple[int, ...] = ()
    readers: tuple[str, ...] = ()


class Mailbox:
    """An account's incoming entries: settled, in flight, or waiting in the log."""

    __slots__ = ("account", "dirty", "gap", "hidden", "holders", "position", "readers", "settled")

    def __init__(self, account: Account) -> None:
        self.account = account
        self.position = 0
        self.settled: set[int] = set()
        self.holders: dict[int, int] = {}
        """Entries in flight: how many sessions hold them."""
        self.hidden: set[int] = set()
        """Those of them that are deleted once they are settled."""
        self.gap = 1
        """The lowest id that may wait in the log, neither settled nor in flight; 0 for none."""
        self.readers: tuple[str, ...] = ()
        self.dirty = False

    def restore(self, cursor: Cursor | None, last_id: int) -> None:
        """From the store, at loading."""
        if cursor is not None:
            self.position = cursor.position
            self.settled = set(cursor.settled)
            self.readers = cursor.readers
        self.gap = self.position + 1 if last_id > self.position else 0

    def record(self) -> Cursor:
        return Cursor(self.position, tuple(sorted(self.settled)), self.readers)

    # ---- the life of an entry

    def hold(self, id: int) -> None:
        """A session got it."""
        if id > self.position and id not in self.settled:
            holders = self.holders
            holders[id] = holders.get(id, 0) + 1

    def wait(self, id: int) -> None:
        """Nobody took it: it lies in the log."""
        if not self.gap or id < self.gap:
            self.gap = id

    def let_go(self, ids: Iterable[int]) -> None:
        """A session ends without having acknowledged these."""
        for id in ids:
            count = self.holders.get(id, 0)
            if count > 1:
                self.holders[id] = count - 1
            elif count:
                del self.holders[id]
                self.wait(id)

    def settle(self, ids: Iterable[int]) -> None:
        """A device acknowledged these."""
        for id in ids:
            self.holders.pop(id, None)
            if id > self.position:
                self.settled.add(id)
            if id in self.hidden:
                self.hidden.discard(id)
                self.account.host.delivery.forget(self, id)
        self._advance()

    def settle_until(self, id: int) -> None:
        """A device has read its archive up to there."""
        if id > self.position:
            self.position = id
            self.settled = {later for later in self.settled if later > id}
        if self.gap and self.gap <= id:
            self.gap = id + 1
        self._advance()
        self._touch()

    def owed(self, id: int) -> bool:
        """Neither settled nor in flight."""
        return id > self.position and id not in self.settled and id not in self.holders

    def read(self, start: int, end: int) -> None:
        """Everything behind `start` and up to `end` is in flight or settled."""
        if start < self.gap <= end:
            self.gap = end + 1 if end < self.account.released else 0
            self._advance()

    def _advance(self) -> None:
        settled = self.settled
        if not settled:
            return
        bound = min(self.holders) if self.holders else 0
        if self.gap and (not bound or self.gap < bound):
            bound = self.gap
        if bound:
            passed = [id for id in settled if id < bound]
            if not passed:
                self._touch()
                return
            self.position = max(passed)
            settled.difference_update(passed)
        else:
            self.position = max(settled)
            settled.clear()
        self._touch()

    def reads_archive(self, resource: str) -> None:
        """Remember that this device fetches its archive itself."""
        if resource not in self.readers:
            self.readers = (*self.readers, resource)[-READERS:]
            self._touch()

    def reads_no_archive(self, resource: str) -> None:
        """This device could not fetch its archive: it is sent what is owed, as one that never does."""
        if resource in self.readers:
            self.readers = tuple(each for each in self.readers if each != resource)
            self._touch()

    def _touch(self) -> None:
        if not self.dirty:
            self.dirty = True
            self.account.host.delivery.touched(self)
