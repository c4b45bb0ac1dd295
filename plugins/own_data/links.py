"""Links under which people download their data: secrets that are good for a while, for one download of each file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from secrets import token_urlsafe

from xmppd.plugin import Host

from .pages import ABOUT


@dataclass(slots=True)
class Link:
    """`key`: a hash of the token, so that looking for one tells nothing of it by the time it takes. `until`: monotonic
    seconds. `left`: what was not downloaded yet."""

    owner: str
    key: bytes
    until: float
    left: set[str]


class Links:
    """One for each account at most, in memory; a new one takes the place of the old one."""

    def __init__(self, host: Host) -> None:
        self._clock = host.clock
        self._by_key: dict[bytes, Link] = {}
        self._by_owner: dict[str, Link] = host.owned({}, leaving=self._forget)

    def __len__(self) -> int:
        return len(self._by_key)

    def _forget(self, owner: str) -> None:
        link = self._by_owner.get(owner)
        if link is not None:
            self._by_key.pop(link.key, None)

    def make(self, owner: str, lifetime: float) -> str:
        """The token of a new link."""
        now = self._clock.monotonic()
        for each in [each for each in self._by_owner.values() if each.until <= now]:
            self.end(each.owner)
        self.end(owner)
        token = token_urlsafe(24)
        link = Link(owner, _key(token), now + lifetime, set(ABOUT))
        self._by_owner[owner] = self._by_key[link.key] = link
        return token

    def find(self, token: str) -> Link | None:
        link = self._by_key.get(_key(token))
        if link is None or link.until <= self._clock.monotonic():
            return None
        return link

    def minutes(self, link: Link) -> int:
        """So many are left, rounded up."""
        return max(1, -int(-(link.until - self._clock.monotonic()) // 60))

    def end(self, owner: str) -> None:
        self._forget(owner)
        self._by_owner.pop(owner, None)


def _key(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
