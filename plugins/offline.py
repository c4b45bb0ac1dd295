"""XEP-0160: what waits for who is offline, and XEP-0013: fetching it piece by piece.

Storing and sending it is the core's part (the archive is the offline store); this tells about it and lets old
clients, and those that read the archive instead, say what they want done with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from xmppd.config import option
from xmppd.contracts.archive import LOG
from xmppd.contracts.disco import DISCO_FEATURES, DISCO_FORMS, DISCO_IDENTITIES, DISCO_ITEMS, DiscoAsk, Identity, Item
from xmppd.errors import BadRequest, Forbidden, ItemNotFound, ServiceUnavailable
from xmppd.plugin import Account, Element, Plugin, Request, Session, SessionKey, To, Xep, iq, on
from xmppd.stanza import appended
from xmppd.storage.api import Entry, Flags, Range
from xmppd.xep.elements import delay_bytes
from xmppd.xep.forms import Field, form
from xmppd.xep.mam import PAGE_SIZE, within
from xmppd.xep.numbers import log_id
from xmppd.xml import children, name_of

NS = "http://jabber.org/protocol/offline"
LISTED = SessionKey[tuple[int, ...]]("offline-listed", (), durable=True)
"""The messages that this session has asked about: it will not be flooded with them (section 2.2)."""
STEP = 200


@dataclass(frozen=True)
class Config:
    listed: int = option(1000, "Waiting messages that are listed or fetched at once.", low=1, high=10_000)


class Offline(Plugin[Config]):
    xeps = (Xep(13, "1.3", "what a session has listed is its own to view and remove; the archive keeps it anyway"),)
    features = ("msgoffline", NS)

    def setup(self) -> None:
        self.log = self.host.storage.log(LOG)

    # ---- waiting messages

    async def _waiting(self, account: Account) -> tuple[list[Entry], bool]:
        """Neither acknowledged by a device nor on its way to one; the oldest first. Whether there are more than can be
        listed or fetched at once."""
        cursor = account.cursor
        found: list[Entry] = []
        position = cursor.position
        while len(found) < self.config.listed and sum(len(entry.body) for entry in found) < PAGE_SIZE:
            page = await self.log.page(account.bare, Range(after=position, flags=Flags.INCOMING), STEP)
            found += [entry for entry in page if cursor.is_pending(entry.id)]
            if len(page) < STEP:
                some = within(found[: self.config.listed], PAGE_SIZE, False)
                return some, len(some) < len(found)
            position = page[-1].id
        return within(found[: self.config.listed], PAGE_SIZE, False), True

    async def _list(self, session: Session) -> list[Entry]:
        """Lists the waiting messages. The session fetches them itself from now on: no flood at initial presence
        (section 2.2)."""
        if session[LISTED]:
            return await self._entries(session, session[LISTED])
        last_id = await self.log.last_id(session.account.bare)
        entries, more = await self._waiting(session.account)
        session[LISTED] = tuple(entry.id for entry in entries)
        if session.presence is None:
            # More than can be listed is delivered as always.
            read = entries[-1].id if more and entries else last_id
            session.channel.read_by_client(read)
        return entries

    async def _entries(self, session: Session, ids: tuple[int, ...]) -> list[Entry]:
        return await self.log.page(session.account.bare, Range(ids=ids), len(ids))

    # ---- service discovery (sections 2.2 and 2.3)

    def _session_of(self, ask: DiscoAsk) -> Session | None:
        """The session that asks about its own messages, None for any other question."""
        if ask.node != NS or ask.account is None or ask.account.bare != ask.requester.bare:
            return None
        return ask.account.sessions.get(ask.requester.resource)

    @on(DISCO_IDENTITIES)
    def identity(self, ask: DiscoAsk) -> Iterable[Identity]:
        return [Identity("automation", "message-list")] if self._session_of(ask) is not None else []

    @on(DISCO_FEATURES)
    def feature(self, ask: DiscoAsk) -> Iterable[str]:
        return [NS] if self._session_of(ask) is not None else []

    @on(DISCO_FORMS)
    async def number(self, ask: DiscoAsk) -> Iterable[Element]:
        session = self._session_of(ask)
        if session is None:
            return []
        entries = await self._list(session)
        return [form("result", NS, [Field("number_of_messages", values=(str(len(entries)),))])]

    @on(DISCO_ITEMS)
    async def headers(self, ask: DiscoAsk) -> Iterable[Item]:
        session = self._session_of(ask)
        if session is None:
            return []
        bare = session.account.bare
        return [Item(bare, _sender(entry), str(entry.id)) for entry in await self._list(session)]

    # ---- commands

    @iq("get", NS, "offline", To.SELF)
    async def get(self, request: Request) -> None:
        """<fetch/> (section 2.6) or items to view (section 2.4)."""
        session = _session(request)
        if _command(request.payload) == "fetch":
            entries = await self._list(session)
        else:
            entries = await self._named(session, request.payload, "view")
        for entry in entries:
            session.channel.send(self._shown(session.account, entry), 0)

    @iq("get", NS, "offline", To.ACCOUNT, To.ABSENT)
    @iq("set", NS, "offline", To.ACCOUNT, To.ABSENT)
    async def of_another(self, request: Request) -> None:
        """Sections 2.4 to 2.7; also where there is no such account, so that nobody learns which exist (ADR 0007)."""
        raise Forbidden("only its owner reads what waits for an account")

    @iq("set", NS, "offline", To.SELF)
    async def set(self, request: Request) -> None:
        """<purge/> (section 2.7) or items to remove (section 2.5)."""
        session = _session(request)
        if _command(request.payload) == "purge":
            await self._purge(session)
            return
        entries = await self._named(session, request.payload, "remove")
        removed = {entry.id for entry in entries}
        session[LISTED] = tuple(id for id in session[LISTED] if id not in removed)
        await self._forget(session.account, [entry for entry in entries if entry.flags & Flags.HIDDEN])
        session.account.cursor.acknowledge(removed)

    async def _purge(self, session: Session) -> None:
        """Nothing waits any more. A session that does this before initial presence reads the archive instead."""
        account = session.account
        last_id = await self.log.last_id(account.bare)
        hidden = Range(high=last_id, flags=Flags.INCOMING | Flags.HIDDEN)
        while entries := await self.log.page(account.bare, hidden, STEP):
            await self._forget(account, entries)
        account.cursor.acknowledge_until(last_id)
        session[LISTED] = ()
        if session.presence is None:
            session.channel.read_by_client(last_id)

    async def _forget(self, account: Account, hidden: list[Entry]) -> None:
        """The archive keeps what is its own; what only waited is deleted."""
        if hidden:
            await self.host.storage.commit([self.log.delete(account.bare, [entry.id for entry in hidden])])

    async def _named(self, session: Session, command: Element, action: str) -> list[Entry]:
        """The entries that a command names. Raises BadRequest, ItemNotFound."""
        ids: list[int] = []
        for item in children(command, NS, "item"):
            id = log_id(str(item.get("node", "")))
            if item.get("action") != action:
                raise BadRequest(f"only items with action {action!r} here")
            if id is None or id not in session[LISTED]:
                raise ItemNotFound()
            ids.append(id)
        if not ids:
            raise BadRequest("name messages")
        entries = await self._entries(session, tuple(dict.fromkeys(ids)))
        if len(entries) != len(set(ids)):
            raise ItemNotFound()
        return entries

    def _shown(self, account: Account, entry: Entry) -> bytes:
        """Section 2.4: with its node, so that the client can remove it."""
        node = f"<offline xmlns='{NS}'><item node='{entry.id}'/></offline>".encode()
        return appended(entry.body, node + delay_bytes(account.host.domain, entry.id))


def _sender(entry: Entry) -> str:
    return f"{entry.peer}/{entry.resource}" if entry.resource else entry.peer


def _session(request: Request) -> Session:
    if request.session is None:
        raise ServiceUnavailable()
    return request.session


def _command(payload: Element) -> str:
    """The name of the one thing that is asked for. Raises BadRequest."""
    names = {name_of(child) for child in payload}
    if len(names) != 1:
        raise BadRequest("one kind of thing at a time")
    ns, name = names.pop()
    if ns != NS or (name != "item" and len(payload) != 1):
        raise BadRequest()
    return name
