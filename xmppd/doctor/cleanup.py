"""What was made on the server and must go again, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from .client import Refused, Visitor

Payment = Callable[[Visitor], Awaitable[object]]


class Debts:
    """Written down before the server is asked to make anything; crossed out when it is known to be gone."""

    def __init__(self) -> None:
        self._owed: dict[str, Payment] = {}

    @property
    def owed(self) -> list[str]:
        return list(self._owed)

    def owe(self, what: str, payment: Payment) -> None:
        """Taking it away twice must do no harm: it is tried again when the answer was lost."""
        self._owed[what] = payment

    def forgive(self, what: str) -> None:
        """The server has refused to make it."""
        self._owed.pop(what, None)

    async def settle(self, client: Visitor, what: str) -> bool:
        """Take one thing away. False: it is still owed."""
        payment = self._owed.get(what)
        if payment is None:
            return True
        try:
            await payment(client)
        except Refused as refused:
            if refused.condition not in ("item-not-found", "gone"):
                return False
        except (TimeoutError, ConnectionError):
            return False
        del self._owed[what]
        return True

    async def settle_all(self, client: Visitor) -> None:
        for what in reversed(self.owed):
            await self.settle(client, what)

    @asynccontextmanager
    async def owing(self, client: Visitor, what: str, payment: Payment) -> AsyncIterator[None]:
        """Owe it within the block, and pay at its end."""
        self.owe(what, payment)
        try:
            yield
        finally:
            await self.settle(client, what)
