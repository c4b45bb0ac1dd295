"""How nicks look to readers: which are the same (XEP-0045 section 17.1.1), which are taken for one another (UTS 39)."""

from __future__ import annotations

from typing import Final, NamedTuple

from xmppd.cache import Cache
from xmppd.jid import prepare_nick as _prepare_nick
from xmppd.lookalike import skeleton


class Looks(NamedTuple):
    """`key`: the same for nicks that are the same. `folded`: how that looks. `seen`: how the nick looks as it is
    written, and then in lower case, because to a reader capitals make no difference."""

    key: str
    folded: str
    seen: str

    def alike(self, other: Looks) -> bool:
        """A capital I is like a small l, though an i is not. "BOB" in Cyrillic letters is like "bob", though small
        ones are not."""
        return self.seen in (other.seen, other.folded) or self.folded in (other.folded, other.seen)


def _weight(nick: str, found: Looks) -> int:
    return 500 + 2 * sum(map(len, (nick, *found)))


_KNOWN: Final[Cache[str, Looks]] = Cache(20_000, 16 << 20, _weight)


def looks(nick: str) -> Looks:
    """Remembered: every entrance looks at all reserved nicks. Raises MalformedJid."""
    found = _KNOWN.get(nick)
    if found is None:
        key = _prepare_nick(nick)
        found = Looks(key, skeleton(key), skeleton(skeleton(nick).lower()))
        _KNOWN.put(nick, found)
    return found


def prepare_nick(nick: str) -> str:
    """A nick's comparison key. Raises MalformedJid."""
    return looks(nick).key
