"""XEP-0033: Extended Stanza Addressing. One stanza to many: broadcast lists, as messengers call them.

Each recipient gets the message as one of its own, with receipts, archive and offline delivery; so does the sender's
archive, one for each. The router decides all of them together and commits them in one batch.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Final

from xmppd.config import Size, option
from xmppd.contracts.routing import ADDRESSES_NS, MULTICAST
from xmppd.errors import BadRequest, JidMalformed, MalformedJid, NotAcceptable
from xmppd.plugin import JID, E, Element, Kind, Plugin, Stanza, Xep
from xmppd.xml import children, name_of

TARGETS: Final = ("to", "cc", "bcc")


@dataclass(frozen=True)
class Config:
    recipients: int = option(
        50,
        "The most addresses that one stanza may go to (the XEP says 20 to 100).",
        low=1,
        high=1000,
    )
    size: Size = option(
        Size("4 MiB"), "Bytes of all its copies: each lies in two archives, all in one commit.", low=1024, high=1 << 30
    )


class Addressing(Plugin[Config]):
    """Implements `contracts.routing.Multicast`."""

    xeps = (Xep(33, "1.2.1", "for this server's users, to addresses of people; no URIs"),)
    features = (ADDRESSES_NS,)
    provides = (MULTICAST,)

    def copies(self, stanza: Stanza) -> list[Stanza]:
        if stanza.kind is Kind.PRESENCE and stanza.type not in ("", "unavailable"):
            raise BadRequest("only available and unavailable presence goes to many")
        shown, hidden, targets = self._read(stanza)
        if len(targets) > self.config.recipients:
            raise NotAcceptable(f"at most {self.config.recipients} addresses")
        if len(targets) * len(stanza.inside) > self.config.size:
            raise NotAcceptable("too large for so many addresses", ("urn:xmpp:errors", "stanza-too-big"))
        everybody = _with(stanza, shown)
        return [
            (_with(stanza, [*shown, hidden[to.full]]) if to.full in hidden else everybody).stamped(to=to)
            for to in targets.values()
        ]

    def _read(self, stanza: Stanza) -> tuple[list[Element], dict[str, Element], dict[str, JID]]:
        """What all recipients are shown, the blind copies by address, and who gets it (section 5)."""
        shown: list[Element] = []
        hidden: dict[str, Element] = {}
        targets: dict[str, JID] = {}
        named: set[str] = set()
        given = stanza.child(ADDRESSES_NS, "addresses")
        for each in children(given, ADDRESSES_NS, "address") if given is not None else ():
            kind, text = str(each.get("type", "")), each.get("jid")
            if not kind or (text is not None and each.get("uri") is not None):
                raise BadRequest("an address has a type, and a jid or a uri")
            address = deepcopy(each)
            if kind not in TARGETS or each.get("delivered") == "true":  # section 5.5: who has got it already
                if kind != "bcc":
                    shown.append(address)
                continue
            try:
                to = JID.parse(str(text or ""))
            except MalformedJid:
                raise JidMalformed("an address that cannot be written to") from None
            if kind == "bcc":
                hidden.setdefault(to.full, address)
            else:
                address.set("delivered", "true")
                shown.append(address)
                named.add(to.full)
            targets[to.full] = to
        return shown, {full: each for full, each in hidden.items() if full not in named}, targets


def _with(stanza: Stanza, addresses: list[Element]) -> Stanza:
    """With these addresses in the place of the first ones; others are left out."""
    inside: list[Element] = []
    found = False
    for child in stanza.xml:
        if name_of(child) != (ADDRESSES_NS, "addresses"):
            inside.append(child)
        elif not found:
            found = True
            inside.append(E("addresses", ADDRESSES_NS, {}, *map(deepcopy, addresses)))
    return stanza.with_inside(*inside)
