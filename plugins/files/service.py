"""The service's own address, `upload.` and the domain: what it is, and slots (XEP-0363, "Requesting a slot")."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from xmppd.contracts.routes import Arrival
from xmppd.errors import BadRequest, FeatureNotImplemented, Forbidden, ItemNotFound, ServiceUnavailable, StanzaError
from xmppd.plugin import JID, E, Element, Kind, Stanza
from xmppd.xep.elements import parse_time
from xmppd.xep.forms import Field, form
from xmppd.xep.numbers import unsigned
from xmppd.xml import alone, name_of, to_bytes

from .addresses import get_address, put_address
from .book import FileBook
from .model import NS, PURPOSE_NS, Purpose, StoredFile, file_name

if TYPE_CHECKING:
    from xmppd.plugin import Host

    from .options import Config

INFO: Final = "http://jabber.org/protocol/disco#info"
ITEMS: Final = "http://jabber.org/protocol/disco#items"
TYPE_LENGTH: Final = 100


class UploadService:
    """Answers for the address of the service. Implements `contracts.routes.Destination`."""

    remote = False

    def __init__(self, host: Host, book: FileBook, config: Callable[[], Config], base: Callable[[bool], str]) -> None:
        """`base`: from whether a client has TLS to the address under which it reaches files, without a path; "" while
        there is none."""
        self.host = host
        self.book = book
        self.config = config
        self.base = base
        self.secret = b""

    def accept(self, arrival: Arrival, stanza: Stanza) -> Awaitable[None] | None:
        """Answer an IQ request. Messages and presence mean nothing to a service without people."""
        if stanza.kind is Kind.PRESENCE or (stanza.kind is Kind.IQ and stanza.answers):
            return None
        if stanza.kind is not Kind.IQ or (stanza.to is not None and not stanza.to.is_domain):
            raise ServiceUnavailable()
        return arrival.barrier(self._answer(arrival, stanza))

    async def _answer(self, arrival: Arrival, stanza: Stanza) -> None:
        """Raises StanzaError, StorageUnavailable."""
        payload = stanza.payload
        assert payload is not None
        ns, name = name_of(payload)
        if stanza.type == "get" and (ns, name) == (INFO, "query"):
            found = self._info(str(payload.get("node", "")))
        elif stanza.type == "get" and (ns, name) == (ITEMS, "query"):
            found = E("query", ITEMS)
        elif stanza.type == "get" and (ns, name) == (NS, "request"):
            try:
                found = await self._slot(arrival, stanza, payload)
            except StanzaError as error:
                error.echo = (f"{NS}|request", to_bytes(alone(payload)))
                raise
        else:
            raise ServiceUnavailable()
        result = stanza.result(found)
        arrival.then(lambda: arrival.reply(result))

    def _info(self, node: str) -> Element:
        """Raises ItemNotFound."""
        if node:
            raise ItemNotFound()
        config = self.config()
        purposes = [each for each in Purpose if each is not Purpose.PERMANENT or config.permanent]
        features = [INFO, ITEMS, NS, *(f"{PURPOSE_NS}#{each}" for each in purposes)]
        size = Field("max-file-size", values=(str(int(config.size)),))
        return E(
            "query", INFO, {},
            E("identity", INFO, {"category": "store", "type": "file", "name": "Files"}),
            *(E("feature", INFO, {"var": each}) for each in features),
            form("result", NS, [size]),
        )  # fmt: skip

    async def _slot(self, arrival: Arrival, stanza: Stanza, payload: Element) -> Element:
        """Raises BadRequest, Forbidden, FeatureNotImplemented, FileTooLarge, QuotaReached, StorageUnavailable."""
        sender = stanza.sender
        assert sender is not None
        if not sender.local or sender.domain != self.host.domain:
            raise Forbidden("Files are for the people of this server")
        stream = arrival.session.stream if arrival.session is not None else None
        base, config = self.base(stream is None or stream.secure), self.config()
        if not base:
            raise ServiceUnavailable()
        file = self._asked_for(sender, payload, config)
        token = await self.book.add_slot(file, config)
        put = E("put", NS, {"url": put_address(base, token, file, self.secret)})
        return E("slot", NS, {}, put, E("get", NS, {"url": get_address(base, token, file)}))

    def _asked_for(self, sender: JID, payload: Element, config: Config) -> StoredFile:
        """The slot that a client wants. Raises BadRequest, FeatureNotImplemented."""
        size = unsigned(str(payload.get("size", "")))
        given = str(payload.get("filename", ""))
        if size is None or size < 1 or not given:
            raise BadRequest("a file has a name and a size")
        type = str(payload.get("content-type", "")).strip()
        if len(type) > TYPE_LENGTH or not type.isprintable() or not type.isascii():
            raise BadRequest("that is no type of content")
        purpose, until = self._purpose(payload, config)
        now = self.host.clock.now()
        expires = now + float(config.keep) if config.keep and purpose in ("message", "ephemeral") else 0.0
        if until:
            expires = min(expires or until, until)
            if expires <= now:
                raise BadRequest("the file would have expired already")
        return StoredFile(
            sender.bare, file_name(given), size, type, purpose, now, now + float(config.slot), expires=expires
        )

    def _purpose(self, payload: Element, config: Config) -> tuple[Purpose, float]:
        """What a file is for, and until when it may be shown at most (0: no limit). Raises BadRequest,
        FeatureNotImplemented."""
        for child in payload:
            ns, name = name_of(child)
            if ns != PURPOSE_NS:
                continue
            if name not in set(Purpose) or (name == Purpose.PERMANENT and not config.permanent):
                raise FeatureNotImplemented("files are not taken for that purpose")
            if name != Purpose.EPHEMERAL:
                return Purpose(name), 0.0
            try:
                return Purpose.EPHEMERAL, parse_time(str(child.get("expire-before", ""))) / 1e6
            except ValueError:
                raise BadRequest("expire-before is a time (XEP-0082)") from None
        return Purpose.MESSAGE, 0.0
