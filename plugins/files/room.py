"""How much memory files on their way may take, and so how many of them there may be at once."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Final

from xmppd.contracts.http import HttpError

FRACTION: Final = 16
"""Of what is free beyond the least, one file takes so small a part: the more there are, the less each has."""
AGAIN: Final = {"Retry-After": "10"}


class Room:
    """Memory for files that go one way. Half of it is for the least that each needs, the other half is lent to those
    that go well."""

    def __init__(
        self, places: dict[str, int], least: int, whole: Callable[[], int], per_account: Callable[[], int]
    ) -> None:
        """`places`: counts the files under way, by account. `least`: bytes without which a file cannot move. `whole`,
        `per_account`: bytes of memory, of which an account's files may have the least so often as it fits in."""
        self.least = least
        self.whole = whole
        self.per_account = per_account
        self.places = places
        self.count = 0
        self.lent = 0

    def check(self, account: str) -> None:
        """Raises HttpError: 429, the account has too many under way; 503, all together are too many."""
        own = self.places.get(account, 0)
        if own and (own + 1) * self.least > self.per_account():
            raise HttpError(429, "Too many files of this account are under way.", AGAIN)
        if self.count and (self.count + 1) * self.least > self.whole() // 2:
            raise HttpError(503, "Too many files are under way.", AGAIN)

    def enter(self, account: str) -> Place:
        """Room for a file of an account, until the place is left; `check` comes before it, in the same turn."""
        self.places[account] = self.places.get(account, 0) + 1
        self.count += 1
        return Place(self, account)

    def leave(self, account: str) -> None:
        self.count -= 1
        left = self.places.pop(account, 1) - 1  # there are none of an account that was deleted meanwhile
        if left:
            self.places[account] = left


class Place:
    """The room of one file; a context manager that gives it back."""

    def __init__(self, room: Room, account: str) -> None:
        self._room = room
        self._account = account
        self._lent = 0

    def size(self, most: int) -> int:
        """Bytes that the file may have in memory from now on, the least included and at most `most` of them."""
        room = self._room
        room.lent -= self._lent
        free = room.whole() // 2 - room.lent
        self._lent = max(0, min(most - room.least, free // FRACTION))
        room.lent += self._lent
        return room.least + self._lent

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._room.lent -= self._lent
        self._lent = 0
        self._room.leave(self._account)
