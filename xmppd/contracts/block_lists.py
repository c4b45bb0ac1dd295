"""Lists of senders of spam and abuse that others publish, and this server follows (RTBL, https://xmppbl.org/dev)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from ..hooks import Notify
from ..jid import JID
from ..service import Service


class BlockLists(Protocol):
    """What the lists that a host follows say. Nobody of this server is on one, nor whom the administrator exempts."""

    def keeps_out(self, who: JID) -> bool:
        """Whether the rooms of this server are closed to somebody, who is on a list, or whose domain is."""
        ...

    def kept_out(self, who: JID) -> None:
        """A room has refused somebody something because of that: to be counted."""
        ...

    def refuses(self, domain: str) -> bool:
        """Whether a domain, being on a list, is not talked to at all."""
        ...

    def numbers(self) -> Iterable[tuple[str, int, int]]:
        """Each list: its name, how many entries it has, and how often something was refused because of it since the
        start."""
        ...


BLOCK_LISTS = Service[BlockLists]("block-lists")
LISTED = Notify[JID]("listed", plain=True)
"""There are new entries in the lists that a host (that domain) follows; told to every host of the server."""
