"""Options, records, and what an item of a list names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from xmppd.config import Duration, option
from xmppd.errors import MalformedJid
from xmppd.plugin import JID, Element
from xmppd.xml import find, text_of

REPORTING_NS: Final = "urn:xmpp:reporting:1"
REASON: Final = 200
"""Characters that are stored of the reason for an entry."""
_HEX: Final = re.compile("[0-9a-fA-F]{64}", re.ASCII)


@dataclass(frozen=True)
class ListConfig:
    """One list: a node of a publish-subscribe service."""

    service: str = option(doc="The address of the service, such as `xmppbl.org`.", low=1, high=3071)
    node: str = option("muc_bans_sha256", "The node.", low=1, high=1024)
    rooms: bool = option(True, "Who is on it is kept out of the rooms of this server.")
    strangers: bool = option(True, "People do not hear of who is on it, unless they have it in their contact list.")
    streams: bool = option(False, "A domain that is on it as a whole is not talked to at all.")

    def check(self) -> Iterable[tuple[str, str]]:
        try:
            JID.parse(self.service)
        except MalformedJid:
            yield "service", f"expected an address such as 'xmppbl.org', got {self.service!r}"

    @property
    def name(self) -> str:
        return f"{self.service} {self.node}"

    @property
    def id(self) -> str:
        """What its records begin with."""
        return sha256(f"{JID.parse(self.service).full}\0{self.node}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Config:
    lists: tuple[ListConfig, ...] = option((), "The lists to follow.", high=50)
    exempt: tuple[str, ...] = option((), "Accounts and domains that no list concerns.", high=10_000)
    publish_at: str = option(
        "",
        "A host of this server, of type `pubsub`, where `xmppd op block-list.add` publishes; none: it does not.",
        high=255,
    )
    publish_node: str = option("muc_bans_sha256", "The node there.", low=1, high=1024)
    entries: int = option(
        100_000, "So many entries of one list are taken, about 150 bytes each; the rest is left out.", low=1, high=10**7
    )
    refresh: Duration = option(
        Duration("6 hours"),
        "So often a list is read anew, beside what is told of it meanwhile.",
        low=60,
        high=7 * 86_400,
    )

    def check(self) -> Iterable[tuple[tuple[str | int, ...], str]]:
        for at, each in enumerate(self.exempt):
            try:
                fits = not JID.parse(each).resource
            except MalformedJid:
                fits = False
            if not fits:
                yield ("exempt", at), f"expected an account or a domain, got {each!r}"
        seen = set[str]()
        for at, wanted in enumerate(self.lists):
            try:
                id = wanted.id
            except MalformedJid:
                continue  # said of the list itself
            if id in seen:
                yield ("lists", at), f"{wanted.name} is there twice"
            seen.add(id)


@dataclass(frozen=True, slots=True)
class FollowedList:
    """A list that is stored. `complete`: when it was read last, seconds since 1970 UTC; 0: not yet."""

    service: str
    node: str
    complete: float = 0.0


@dataclass(frozen=True, slots=True)
class ListEntry:
    """`plain`: the address, where the list names it, "" where it has the hash only. `reason`: what the publisher
    says."""

    plain: str = ""
    reason: str = ""


def digest(jid: str) -> bytes:
    """SHA-256 of a bare JID or a domain, in its one form."""
    return sha256(jid.encode()).digest()


def named(id: str) -> tuple[bytes, str] | None:
    """What an item stands for: the digest, and the address where it is not hashed (as in the lists of domains). None:
    it names nobody."""
    if _HEX.fullmatch(id):
        return bytes.fromhex(id), ""
    try:
        jid = JID.parse(id)
    except MalformedJid:
        return None
    return None if jid.resource else (digest(jid.bare), jid.bare)


def reason_of(item: Element) -> str:
    """What a <report/> says (XEP-0377), cut."""
    report = find(item, REPORTING_NS, "report")
    if report is None:
        return ""
    why = str(report.get("reason", "")).removeprefix("urn:xmpp:reporting:")
    text = find(report, REPORTING_NS, "text")
    said = " ".join(text_of(text).split()) if text is not None else ""
    return ": ".join(filter(None, (why, said)))[:REASON]
