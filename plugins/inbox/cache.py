"""The conversations of the accounts that were counted or queried last, as the store has them."""

from __future__ import annotations

from collections.abc import Mapping

from xmppd.cache import BESIDE, Cache
from xmppd.plugin import Host

from .model import NEW, Conversation

CACHED_ACCOUNTS = 50_000
CACHED_BYTES = 32 << 20


class _Account:
    """`complete`: all conversations of the account are here. `size`: bytes."""

    __slots__ = ("by_peer", "complete", "size")

    def __init__(self, by_peer: Mapping[str, Conversation], complete: bool) -> None:
        self.by_peer = dict(by_peer)
        self.complete = complete
        self.size = sum(_weight(peer, each) for peer, each in by_peer.items())

    def update(self, changed: Mapping[str, Conversation]) -> None:
        by_peer = self.by_peer
        for peer, each in changed.items():
            old = by_peer.get(peer)
            self.size += _weight(peer, each) if old is None else len(each.mark) - len(old.mark)
        by_peer.update(changed)

    def remove(self, peer: str) -> None:
        old = self.by_peer.pop(peer, None)
        if old is not None:
            self.size -= _weight(peer, old)


def _weight(peer: str, conversation: Conversation) -> int:
    """Bytes, roughly: four numbers and two texts."""
    return BESIDE + 40 + len(peer) + len(conversation.mark)


class ConversationCache:
    def __init__(self, host: Host) -> None:
        self.accounts: Cache[str, _Account] = host.owned(
            Cache(CACHED_ACCOUNTS, CACHED_BYTES, lambda owner, account: account.size)
        )

    def get(self, owner: str, peer: str) -> Conversation | None:
        """None: the store must be asked."""
        account = self.accounts.get(owner)
        if account is None:
            return None
        found = account.by_peer.get(peer)
        return NEW if found is None and account.complete else found

    def get_all(self, owner: str) -> dict[str, Conversation] | None:
        """None: the store must be asked."""
        account = self.accounts.get(owner)
        return dict(account.by_peer) if account is not None and account.complete else None

    def update(self, owner: str, changed: Mapping[str, Conversation]) -> None:
        """Puts in conversations that were counted."""
        account = self.accounts.get(owner) or _Account({}, complete=False)
        account.update(changed)
        self.accounts.put(owner, account)

    def fill(self, owner: str, conversations: Mapping[str, Conversation]) -> None:
        """Puts in all conversations of an account."""
        self.accounts.put(owner, _Account(conversations, complete=True))

    def remove(self, owner: str, peer: str) -> None:
        account = self.accounts.get(owner)
        if account is not None:
            account.remove(peer)
            self.accounts.put(owner, account)

    def forget(self, owner: str) -> None:
        """The next access asks the store."""
        self.accounts.pop(owner)
