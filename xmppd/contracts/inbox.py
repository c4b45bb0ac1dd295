"""The list of conversations of an account (XEP-0430): what is unread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..hooks import Notify
from ..service import Service


@dataclass(frozen=True, slots=True)
class ConversationRead:
    """`owner`: the bare JID of the account. `peer`: the address of the conversation. `until`: an id of the owner's log;
    everything of the conversation up to there has been read on some device."""

    owner: str
    peer: str
    until: int


CONVERSATION_READ = Notify[ConversationRead]("conversation-read", plain=True)
"""Not later than two seconds after it was read; before `Inbox.unread` returns."""


class Inbox(Protocol):
    """Counts the unread messages of the accounts of a host."""

    async def unread(self, owner: str) -> int:
        """How many messages of the account (a bare JID) are unread, all that was released counted.

        Raises StorageUnavailable.
        """
        ...


INBOX = Service[Inbox]("inbox")
