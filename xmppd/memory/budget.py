"""Bytes that wait in memory for clients: counted for each session, for each account and for the process.

Every queue takes its bytes from the `Share` of its session and gives them back. That costs three additions. What
happens at a bound is the queue's part (docs/howto/limits.md); at the account's and the process's `SessionManager`
makes room. What clients have sent and is not handled yet is counted beside it, with a bound of its own: a stream that
is not read must not be one whose client would acknowledge, and so free, what waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

NOBODY: Final[Mapping[str, Any]] = MappingProxyType({})

FREE: Final = 64 << 10
"""A session in whose queues no more than so many bytes wait does not lag because of what waits for others."""


class Pool:
    """Bytes in use: of an account, or of the process. `pressed`: they are too many, and room is made at the end of this
    turn of the event loop, not at once: the caller that passes the bound is still sending. `sessions`: the account's.
    `incoming`: bytes that its streams have sent and that are not handled yet."""

    __slots__ = ("incoming", "pressed", "sessions", "used")

    def __init__(self, sessions: Mapping[str, Any] = NOBODY) -> None:
        self.sessions = sessions
        self.used = 0
        self.incoming = 0
        self.pressed = False


class MemoryBudget(Pool):
    """The process's bytes. From `spill` (three quarters of the limit) on, what can be read from a log stays there.
    `incoming_limit`: a quarter, which may come in beside it."""

    __slots__ = (
        "account_incoming",
        "account_limit",
        "account_spill",
        "incoming_limit",
        "limit",
        "on_pressure",
        "spill",
    )

    def __init__(self, limit: int = 1 << 62, account_limit: int = 1 << 62) -> None:
        super().__init__()
        self.on_pressure: Callable[[Pool], object] | None = None
        """Called once when a limit is passed, with the account's or this; the callee clears `pressed`."""
        self.configure(limit, account_limit)

    def configure(self, limit: int, account_limit: int) -> None:
        self.limit, self.account_limit = limit, account_limit
        self.spill, self.account_spill = limit * 3 // 4, account_limit * 3 // 4
        self.incoming_limit, self.account_incoming = limit // 4, account_limit // 4

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
        self.account, self.memory = Pool(), MemoryBudget()
