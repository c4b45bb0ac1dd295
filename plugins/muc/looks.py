"""How nicks look to readers: which are the same (XEP-0045 section 17.1.1), which are taken for one another (UTS 39)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from xmppd.cache import Cache
from xmppd.jid import prepare_nick as _prepare_nick
from xmppd.xep.confusables import skeleton

_CAPITAL_I: Final = re.compile("(?<![a-z])I")
"""Where one expects a capital: read as what it is. Within small letters it is read as an l."""


class Looks(NamedTuple):
    """To a reader capitals make no difference, but some look like other small letters than their own.

    `key`: the same for nicks that are the same. `written`: how the nick looks as it is written. `folded`: how its key
    looks, which is in small letters. `loud`: the same in capitals. `seen`: what is written, put in small letters.
    """

    key: str
    written: str
    folded: str
    loud: str
    seen: str

    def alike(self, other: Looks) -> bool:
        """A capital I is like a small l, though an i is not. "BOB" in Cyrillic letters is like "bob", though small
        ones are not. "ADM" with a small l and "N" is like the capitals of "admin"."""
        if self.written in (other.written, other.loud) or self.loud == other.written:
            return True
        return self.seen in (other.seen, other.folded) or self.folded in (other.folded, other.seen)


def _weight(nick: str, found: Looks) -> int:
    return 500 + 2 * sum(map(len, (nick, *found)))


_KNOWN: Final[Cache[str, Looks]] = Cache(20_000, 16 << 20, _weight)


def looks(nick: str) -> Looks:
    """Remembered: every entrance looks at all reserved nicks. Raises MalformedJid."""
    found = _KNOWN.get(nick)
    if found is None:
        key = _prepare_nick(nick)
        seen = skeleton(skeleton(_CAPITAL_I.sub("i", nick)).lower())
        found = Looks(key, skeleton(nick), skeleton(key), skeleton(key.upper()), seen)
        _KNOWN.put(nick, found)
    return found


def prepare_nick(nick: str) -> str:
    """A nick's comparison key. Raises MalformedJid."""
    return looks(nick).key
