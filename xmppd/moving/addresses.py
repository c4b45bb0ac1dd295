"""Domains that have another name on this server (`--host old=new`): addresses in what comes in follow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..errors import MalformedJid
from ..jid import JID
from ..xml import Element

ATTRIBUTES: Final = ("jid", "from", "to", "by", "value", "id", "publisher", "node")
TEXTS: Final = frozenset(("value", "jid", "JABBERID"))
"""Names of elements whose text may be an address."""


class Renamed:
    def __init__(self, domains: Mapping[str, str]) -> None:
        """Old to new, both as JIDs have them."""
        self._domains = dict(domains)

    def domain(self, text: str) -> str:
        """The name here of a domain there. Raises MalformedJid."""
        found = JID.parse(text)
        if not found.is_domain:
            raise MalformedJid(f"{text!r} is no domain")
        return self._domains.get(found.domain, found.domain)

    def change(self, element: Element) -> None:
        """All addresses in an element, in place."""
        if not self._domains:
            return
        for each in element.iter("*"):
            for name in ATTRIBUTES:
                value = each.get(name)
                if value:
                    each.set(name, self.text(str(value)))
            if each.text and str(each.tag).rpartition("}")[2] in TEXTS:
                each.text = self.text(each.text)

    def text(self, text: str) -> str:
        """An address, with its domain as it is here; any other text as it is."""
        local, at, rest = text.partition("@")
        domain, slash, resource = (rest if at else text).partition("/")
        new = self._domains.get(domain.lower())
        if new is None or (slash and not at and not resource):
            return text
        return f"{local}@{new}{slash}{resource}" if at else f"{new}{slash}{resource}"
