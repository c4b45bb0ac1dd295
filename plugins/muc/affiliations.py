"""The affiliations of a room and the nicks reserved with it (XEP-0045 sections 5.2, 7.10)."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping

from xmppd.errors import MalformedJid

from .model import AffiliationRecord
from .nicks import nick_forms


class AffiliationList(UserDict[str, AffiliationRecord]):
    """Affiliation records by bare JID, or by domain for a ban.

    An index finds the owner of a reserved nick without a look at all records. It is built when it is first needed and
    follows each change from then on.
    """

    def __init__(self, records: Mapping[str, AffiliationRecord] | None = None) -> None:
        self._keys: dict[str, list[str]] = {}
        self._folded: dict[str, list[str]] = {}
        self._written: dict[str, list[str]] = {}
        self._capital: dict[str, list[str]] = {}
        self._indexed = False
        super().__init__()
        self.data.update(records or {})

    def __setitem__(self, bare: str, record: AffiliationRecord) -> None:
        self._remove_from_index(bare)
        super().__setitem__(bare, record)
        if self._indexed:
            self._add_to_index(bare, record.nick)

    def __delitem__(self, bare: str) -> None:
        self._remove_from_index(bare)
        super().__delitem__(bare)

    def discard(self, bare: str) -> None:
        """Removes the record of `bare`, if there is one."""
        if bare in self:
            del self[bare]

    # ---- nicks

    def nick_owner(self, key: str) -> str | None:
        """Finds the bare JID that has reserved the nick with this comparison key."""
        self._index()
        found = self._keys.get(key)
        return found[0] if found else None

    def resembles_reserved(self, nick: str, bare: str) -> bool:
        """Whether a nick for `bare` looks like one that is reserved for somebody else. Raises MalformedJid."""
        self._index()
        forms = nick_forms(nick)
        found = [self._folded.get(form, ()) for form in {forms.folded, forms.lowered}]
        found += [self._written.get(form, ()) for form in {forms.written, forms.capital}]
        found.append(self._capital.get(forms.written, ()))
        return any(other != bare for owners in found for other in owners)

    def _index(self) -> None:
        if not self._indexed:
            self._indexed = True
            for bare, record in self.items():
                self._add_to_index(bare, record.nick)

    def _index_keys(self, nick: str) -> list[tuple[dict[str, list[str]], str]]:
        """Returns the indexes that a nick is found in, each with its key."""
        try:
            forms = nick_forms(nick)
        except MalformedJid:
            return []  # nobody can join with it
        folded = [(self._folded, each) for each in {forms.folded, forms.lowered}]
        return [(self._keys, forms.key), *folded, (self._written, forms.written), (self._capital, forms.capital)]

    def _add_to_index(self, bare: str, nick: str) -> None:
        for index, text in self._index_keys(nick) if nick else ():
            index.setdefault(text, []).append(bare)

    def _remove_from_index(self, bare: str) -> None:
        old = self.get(bare)
        if not self._indexed or old is None or not old.nick:
            return
        for index, text in self._index_keys(old.nick):
            index[text].remove(bare)
            if not index[text]:
                del index[text]
