"""The conversations of the accounts of a host, as they are stored: two maps, a cache, and a write-behind buffer for
each account that has changes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from xmppd.plugin import Account, Host

from .cache import ConversationCache
from .model import NEW, Conversation, Summary
from .write_behind import WriteBehindBuffer

INTERVAL = 1.0
"""Seconds after which changes are written."""
BUFFERED_BYTES = 16 << 20
"""Bytes of the changes of all accounts."""


class ConversationStore:
    def __init__(
        self, host: Host, count: Callable[[WriteBehindBuffer], Awaitable[None]], rejected: Callable[[str], None]
    ) -> None:
        """`count`: counts the activities of a buffer before it is written; may raise StorageUnavailable. `rejected`: is
        told whose conversations the store has rejected."""
        self.conversations = host.storage.map("inbox", Conversation)
        self.summaries = host.storage.map("inbox-summary", Summary)
        self.soon = host.storage.write_behind(INTERVAL, BUFFERED_BYTES, count)
        self.buffers: dict[str, WriteBehindBuffer] = host.owned(
            {},
            stays=lambda owner: not self.buffers[owner].is_empty,
            leaving=lambda owner: self.buffers[owner].discard(),
        )
        """By owner, while there is something that the store does not have."""
        self.cache = ConversationCache(host)
        self._rejected = rejected

    def buffer(self, account: Account) -> WriteBehindBuffer:
        """The buffer of an account, made if there is none."""
        found = self.buffers.get(account.bare)
        if found is None:
            found = self.buffers[account.bare] = WriteBehindBuffer(self, account)
        if account.alive:
            found.account = account  # it may have left the memory, and come again
        return found

    def remove_buffer(self, buffer: WriteBehindBuffer) -> None:
        if self.buffers.get(buffer.account.bare) is buffer:
            del self.buffers[buffer.account.bare]

    def write_soon(self, buffer: WriteBehindBuffer) -> None:
        self.soon.note(buffer, buffer)

    async def flush(self) -> None:
        """Counts and writes everything. Raises StorageUnavailable."""
        await self.soon.flush()

    async def read_all(self, buffer: WriteBehindBuffer) -> dict[str, Conversation]:
        """All conversations of an account by peer, with the changes in its buffer. The caller holds the lock of the
        account's inbox. Raises StorageUnavailable."""
        owner = buffer.account.bare
        cached = self.cache.get_all(owner)
        if cached is not None:
            return cached
        unstored = buffer.unstored()
        stored = await self.conversations.read_all(owner)
        found = {peer: each for peer, each in {**stored, **unstored}.items() if each is not NEW}
        self.cache.fill(owner, found)
        return found

    def rejected(self, owner: str) -> None:
        self.cache.forget(owner)
        self._rejected(owner)
