"""How nicks look to readers: which are the same (XEP-0045 section 17.1.1), which are taken for one another (UTS 39)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from xmppd.cache import Cache
from xmppd.jid import prepare_nick as _prepare_nick
from xmppd.xep.confusables import skeleton

_CAPITAL_I: Final = re.compile("(?<![a-z])I")
"""Where one expects a capital: read as what it is. Within small letters it is read as an l."""


class NickForms(NamedTuple):
    """The forms of a nick that a reader may take for another nick's.

    To a reader capitals make no difference, but some look like other small letters than their own.

    `key`: the same for nicks that are the same. `written`: how the nick looks as it is written. `folded`: how its key
    looks, which is in small letters. `capital`: how its key looks in capitals. `lowered`: how the nick looks when
    what is written is put in small letters.
    """

    key: str
    written: str
    folded: str
    capital: str
    lowered: str

    def confusable_with(self, other: NickForms) -> bool:
        """Whether a reader may take one nick for the other.

        A capital I is like a small l, though an i is not. "BOB" in Cyrillic letters is like "bob", though small
        ones are not. "ADM" with a small l and "N" is like the capitals of "admin"."""
        if self.written in (other.written, other.capital) or self.capital == other.written:
            return True
        return self.lowered in (other.lowered, other.folded) or self.folded in (other.folded, other.lowered)


def _weight(nick: str, found: NickForms) -> int:
    return 500 + 2 * sum(map(len, (nick, *found)))


_FORMS: Final[Cache[str, NickForms]] = Cache(20_000, 16 << 20, _weight)


def nick_forms(nick: str) -> NickForms:
    """Computes the forms of a nick, cached: every join compares all reserved nicks. Raises MalformedJid."""
    found = _FORMS.get(nick)
    if found is None:
        key = _prepare_nick(nick)
        lowered = skeleton(skeleton(_CAPITAL_I.sub("i", nick)).lower())
        found = NickForms(key, skeleton(nick), skeleton(key), skeleton(key.upper()), lowered)
        _FORMS.put(nick, found)
    return found


def prepare_nick(nick: str) -> str:
    """Returns a nick's comparison key. Raises MalformedJid."""
    return nick_forms(nick).key
