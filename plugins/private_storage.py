"""XEP-0049: Private XML Storage."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

from xmppd.config import Size, option
from xmppd.contracts.moving import PORTABLE, Intake, OwnerKind, Portable
from xmppd.contracts.private import CONVERTED
from xmppd.contracts.store_check import CHECK_STORE, StoreCheck, in_map
from xmppd.errors import BadRequest, NotAcceptable, ResourceConstraint
from xmppd.plugin import JID, E, Element, Plugin, Request, To, Xep, iq, on
from xmppd.storage.api import Write
from xmppd.xml import alone, children, name_of, parse, to_bytes

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

    # ---- moving in and out

    @on(PORTABLE)
    def portable(self, domain: JID) -> Iterable[Portable]:
        yield Portable(OwnerKind.ACCOUNT, (f"{NS}|query",), self._give, self._take)

    async def _give(self, owner: JID) -> AsyncIterator[Element]:
        for _, stored in sorted((await self.stored.read_all(owner.bare)).items()):
            yield E("query", NS, {}, parse(stored.xml.encode()))

    async def _take(self, owner: JID, query: Element, intake: Intake) -> Sequence[Write]:
        """What is kept in another form (bookmarks) is taken in that. Raises StanzaError."""
        stored, writes = await self.stored.read_all(owner.bare), list[Write]()
        converted = self.host.find(CONVERTED)
        for element in children(query):
            key, data = _key(element), to_bytes(alone(element))
            if converted is not None and key == converted.tag:
                writes += await converted.take_private(owner, element, intake)
            elif key in stored and not intake.replace:
                intake.kept("private elements")
            elif len(data) > self.config.size:
                intake.lost(f"private {key}: at most {self.config.size} (private_storage.size)")
            elif key not in stored and len(stored) >= self.config.elements:
                intake.lost(f"private {key}: there are too many (private_storage.elements)")
            else:
                stored[key] = Stored(data.decode())
                writes.append(self.stored.put(owner.bare, key, stored[key]))
                intake.took("private elements")
        return writes

    @on(CHECK_STORE)
    async def check(self, store: StoreCheck) -> None:
        """For `xmppd store check`."""
        async for owner, key, stored in store.records(self.stored):
            try:
                found = _key(parse(stored.xml.encode()))
            except ValueError as error:
                store.problem(owner, in_map(self.stored.name, key), f"it is no XML: {error}")
            else:
                if found != key:
                    store.problem(owner, in_map(self.stored.name, key), f"it is {found}")


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
