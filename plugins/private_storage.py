"""XEP-0049: Private XML Storage."""

from __future__ import annotations

from dataclasses import dataclass

from xmppd.config import Size, option
from xmppd.contracts.private import CONVERTED
from xmppd.errors import BadRequest, NotAcceptable, ResourceConstraint
from xmppd.plugin import E, Element, Plugin, Request, To, Xep, iq
from xmppd.xml import alone, name_of, parse, to_bytes

NS = "jabber:iq:private"
RESERVED = ("jabber:", "http://jabber.org/", "vcard-temp")


@dataclass(frozen=True)
class Config:
    size: Size = option(Size("64 KiB"), "Bytes of one stored element.", low=1024, high=1 << 24)
    elements: int = option(100, "Elements that one account may store.", low=1, high=10_000)


@dataclass(frozen=True, slots=True)
class Stored:
    """One element as UTF-8 XML that stands alone."""

    xml: str


class PrivateStorage(Plugin[Config]):
    xeps = (Xep(49, "1.2", "one element at a time"),)
    features = (NS,)

    def setup(self) -> None:
        self.stored = self.host.storage.map("private", Stored)

    @iq("get", NS, "query", To.SELF)
    async def get(self, request: Request) -> Element:
        wanted = _only_child(request.payload)
        converted = self.host.find(CONVERTED)
        if converted is not None and _key(wanted) == converted.tag:
            return E("query", NS, {}, await converted.read_private(request.account.jid))
        found = await self.stored.read(request.account.bare, _key(wanted))
        if found is not None:
            return E("query", NS, {}, parse(found.xml.encode()))
        ns, name = name_of(wanted)
        return E("query", NS, {}, E(name, ns))  # section 4: as it was asked, empty

    @iq("set", NS, "query", To.SELF)
    async def set(self, request: Request) -> None:
        given = _only_child(request.payload)
        data = to_bytes(alone(given))
        if len(data) > self.config.size:
            raise NotAcceptable(f"at most {self.config.size}")
        owner, key = request.account.bare, _key(given)
        converted = self.host.find(CONVERTED)
        if converted is not None and key == converted.tag:
            await converted.write_private(request.account.jid, given)
            return
        stored = await self.stored.read_all(owner)
        if key not in stored and len(stored) >= self.config.elements:
            raise ResourceConstraint(f"at most {self.config.elements} elements")
        await self.host.storage.commit([self.stored.put(owner, key, Stored(data.decode()))])


def _only_child(query: Element) -> Element:
    """Section 6. Raises BadRequest, NotAcceptable."""
    if len(query) == 0:
        raise BadRequest("name what is wanted by an empty element of its namespace")
    if len(query) > 1:
        raise NotAcceptable("one element at a time")
    ns, _ = name_of(query[0])
    if not ns or ns == NS or ns.startswith(RESERVED):
        raise NotAcceptable("a reserved namespace")
    return query[0]


def _key(element: Element) -> str:
    ns, name = name_of(element)
    return f"{ns}|{name}"
