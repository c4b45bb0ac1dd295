"""Bytes that wait in memory for clients: counted for each session, for each account and for the process.

Every queue takes its bytes from the `Share` of its session and gives them back. That costs three additions. What
happens at a bound is the queue's part (docs/howto/limits.md); at the account's and the process's `SessionManager`
makes room. What clients have sent and is not handled yet is counted beside it, with a bound of its own: a stream that
is not read must not be one whose client would acknowledge, and so free, what waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol

NOBODY: Final[Mapping[str, Any]] = MappingProxyType({})

FREE: Final = 64 << 10
"""A session in whose queues no more than so many bytes wait does not lag because of what waits for others."""


class Pool:
    """Bytes in use: of an account, or of the process. `pressed`: they are too many, and room is made at the end of this
    turn of the event loop, not at once: the caller that passes the bound is still sending. `sessions`: the account's.
    `incoming`: bytes that its streams have sent and that are not handled yet; `unfinished`: of them those of elements
    whose end has not come."""

    __slots__ = ("incoming", "pressed", "sessions", "unfinished", "used")

    def __init__(self, sessions: Mapping[str, Any] = NOBODY) -> None:
        self.sessions = sessions
        self.used = 0
        self.incoming = 0
        self.unfinished = 0
        self.pressed = False


class MemoryBudget(Pool):
    """The process's bytes. From `spill` (three quarters of the limit) on, what can be read from a log stays there.
    `incoming_limit`: a quarter, which may come in beside it."""

    __slots__ = (
        "account_incoming",
        "account_limit",
        "account_parts",
        "account_spill",
        "incoming_limit",
        "limit",
        "on_pressure",
        "parts",
        "parts_limit",
        "spill",
    )

    def __init__(self, limit: int = 1 << 62, account_limit: int = 1 << 62, element: int = 0) -> None:
        super().__init__()
        self.on_pressure: Callable[[Pool], object] | None = None
        """Called once when a limit is passed, with the account's or this; the callee clears `pressed`."""
        self.parts = Parts(self)
        self.configure(limit, account_limit, element)

    def configure(self, limit: int, account_limit: int, element: int = 0) -> None:
        """`element`: bytes that one may have; of such a few can come at once, whatever the limits are."""
        self.limit, self.account_limit = limit, account_limit
        self.spill, self.account_spill = limit * 3 // 4, account_limit * 3 // 4
        self.incoming_limit, self.account_incoming = limit // 4, account_limit // 4
        self.account_parts = max(self.account_incoming, 2 * element)
        self.parts_limit = max(self.incoming_limit // 2, 4 * element)

    def incoming_full(self, account: Pool | None) -> bool:
        """Whether so much came and is not handled that a stream is read again only when all it has sent is handled."""
        if self.incoming > self.incoming_limit:
            return True
        return account is not None and account.incoming > self.account_incoming

    def press(self, pool: Pool) -> None:
        """More than its limit is in use."""
        if not pool.pressed and self.on_pressure is not None:
            pool.pressed = True
            self.on_pressure(pool)


class Sender(Protocol):
    """Who sends something whose end has not come."""

    def break_off(self) -> None:
        """Too much of that is in memory, of this sender more than of others: forget it, and send no more."""
        ...


class Parts:
    """Elements and bodies that have come in part, and take memory until their end comes, if it comes. They count as
    incoming. Nobody can wait for that end by not reading, so at a bound (of an account all that may come in, of the
    process half) those are broken off that hold most: of the accounts that hold most, the largest; of two alike the
    older one. Who is not signed in counts as one account."""

    __slots__ = ("_sizes", "memory", "strangers")

    def __init__(self, memory: MemoryBudget) -> None:
        self.memory = memory
        self.strangers = Pool()
        self._sizes: dict[Sender, tuple[Pool, int]] = {}

    def count(self, sender: Sender, pool: Pool | None, size: int) -> None:
        """So much has come of what `sender` sends; 0: nothing, or it is whole."""
        former, held = self._sizes.get(sender, (None, 0))
        account = former or pool or self.strangers
        if size:
            self._sizes[sender] = (account, size)
        else:
            self._sizes.pop(sender, None)
        memory, more = self.memory, size - held
        account.unfinished += more
        account.incoming += more
        memory.unfinished += more
        memory.incoming += more
        if more > 0:
            if account is not self.strangers:
                self._make_room(account, memory.account_parts)
            self._make_room(memory, memory.parts_limit)

    def _make_room(self, pool: Pool, limit: int) -> None:
        """A quarter of the limit is free afterwards."""
        if pool.unfinished <= limit:
            return
        whole = pool is self.memory
        sizes = [
            (account.unfinished, size, sender)
            for sender, (account, size) in self._sizes.items()
            if whole or account is pool
        ]
        sizes.sort(key=lambda each: each[:2], reverse=True)
        for _, _, sender in sizes:
            if pool.unfinished <= limit * 3 // 4:
                break
            sender.break_off()
            self.count(sender, None, 0)


NOWHERE: Final = MemoryBudget()
"""Where bytes count of which nobody asks any more."""


class Share:
    """What one session holds, counted for its account and for the process as well."""

    __slots__ = ("account", "memory", "used")

    def __init__(self, account: Pool | None = None, memory: MemoryBudget | None = None) -> None:
        self.account = account or Pool()
        self.memory = memory or MemoryBudget()
        self.used = 0

    def take(self, size: int) -> None:
        self.used += size
        account, memory = self.account, self.memory
        account.used += size
        memory.used += size
        if account.used > memory.account_limit:
            memory.press(account)
        if memory.used > memory.limit:
            memory.press(memory)

    def give(self, size: int) -> None:
        self.used -= size
        self.account.used -= size
        self.memory.used -= size

    @property
    def crowded(self) -> bool:
        """The account's or the process's bytes run short: what a log holds need not be in memory as well."""
        memory = self.memory
        return self.used > FREE and (self.account.used >= memory.account_spill or memory.used >= memory.spill)

    def close(self) -> None:
        """The session is over: all is given back, and what its queues still do counts nowhere."""
        self.give(self.used)
        self.account, self.memory = Pool(), NOWHERE
