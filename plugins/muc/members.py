"""Who belongs to a room, and the nicks that are reserved (XEP-0045 section 7.10)."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping

from xmppd.errors import MalformedJid

from .looks import looks
from .model import Member


class Members(UserDict[str, Member]):
    """By bare JID, or domain for a ban. Finds who has reserved a nick without looking at all: the index is made when
    it is first asked for, and follows each change from then on."""

    def __init__(self, members: Mapping[str, Member] | None = None) -> None:
        self._keys: dict[str, list[str]] = {}
        self._looks: dict[str, list[str]] = {}
        self._written: dict[str, list[str]] = {}
        self._loud: dict[str, list[str]] = {}
        self._made = False
        super().__init__()
        self.data.update(members or {})

    def __setitem__(self, bare: str, member: Member) -> None:
        self._drop(bare)
        super().__setitem__(bare, member)
        if self._made:
            self._note(bare, member.nick)

    def __delitem__(self, bare: str) -> None:
        self._drop(bare)
        super().__delitem__(bare)

    def discard(self, bare: str) -> None:
        """No longer, if it did."""
        if bare in self:
            del self[bare]

    # ---- nicks

    def reserved_for(self, key: str) -> str | None:
        """The bare JID that the nick of that comparison key is registered for."""
        self._make()
        found = self._keys.get(key)
        return found[0] if found else None

    def looks_reserved(self, nick: str, bare: str) -> bool:
        """Whether that nick of `bare` looks like one that is reserved for somebody else. Raises MalformedJid."""
        self._make()
        mine = looks(nick)
        found = [self._looks.get(look, ()) for look in {mine.folded, mine.seen}]
        found += [self._written.get(look, ()) for look in {mine.written, mine.loud}]
        found.append(self._loud.get(mine.written, ()))
        return any(other != bare for owners in found for other in owners)

    def _make(self) -> None:
        if not self._made:
            self._made = True
            for bare, member in self.items():
                self._note(bare, member.nick)

    def _places(self, nick: str) -> list[tuple[dict[str, list[str]], str]]:
        """Where a nick is in the index."""
        try:
            mine = looks(nick)
        except MalformedJid:
            return []  # nobody can enter with it
        looked = [(self._looks, each) for each in {mine.folded, mine.seen}]
        return [(self._keys, mine.key), *looked, (self._written, mine.written), (self._loud, mine.loud)]

    def _note(self, bare: str, nick: str) -> None:
        for index, text in self._places(nick) if nick else ():
            index.setdefault(text, []).append(bare)

    def _drop(self, bare: str) -> None:
        old = self.get(bare)
        if not self._made or old is None or not old.nick:
            return
        for index, text in self._places(old.nick):
            index[text].remove(bare)
            if not index[text]:
                del index[text]
