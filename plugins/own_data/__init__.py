"""A person's own data, to take along: an ad-hoc command gives a link to a page, from which it is downloaded.

Files are made while they are sent, page by page of the store, so their size is no matter.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs

from xmppd.config import Duration, option
from xmppd.contracts.accounts import CREDENTIALS_CHANGE, CredentialsChange
from xmppd.contracts.archive import LOG
from xmppd.contracts.commands import COMMANDS, Call, Command, CommandAsk, Done, Who
from xmppd.contracts.http import StreamedBody
from xmppd.contracts.moving import PIE_NS, PIECE, PORTABLE, OwnerKind
from xmppd.errors import ResourceConstraint
from xmppd.plugin import JID, HttpRequest, HttpResponse, Plugin, http, on
from xmppd.storage.api import Flags, Range, Write
from xmppd.window_limit import WindowLimit
from xmppd.xep.forms import Field, form
from xmppd.xep.moved_messages import json_line
from xmppd.xep.portable_xml import HEAD, PieceWriter
from xmppd.xml import quoted

from .links import Link, Links
from .pages import data_page, failure_page

NODE: Final = "urn:xmppd:own-data"
PATH: Final = "/my-data/{token}"
MAX_FORM: Final = 1024
DAY: Final = 86_400.0
NO_GOOD: Final = "This link is not good any more. Ask for a new one in your chat app."
BUSY: Final = "Others are downloading their data. Please try again in a minute."
IN_CLEAR: Final = "Your data is not sent over a connection that others may read. Please open this page by https."
TYPES: Final = {"account.xml": "application/xml", "messages.jsonl": "application/jsonl"}


@dataclass(frozen=True)
class Config:
    lifetime: Duration = option(Duration("15 minutes"), "For how long a link is good.", low=60, high=86_400)
    links: int = option(10, "Links that one account gets in a day.", low=1, high=1000)
    at_once: int = option(2, "Downloads that may run at once on this host.", low=1, high=100)


class OwnData(Plugin[Config]):
    def setup(self) -> None:
        self.links = Links(self.host)
        self.running = 0
        self.asked = WindowLimit(self.host.clock, self.config.links, DAY, "too many links today: try again tomorrow")

    def reconfigured(self) -> None:
        self.asked.limit = self.config.links

    # ---- the command

    @on(COMMANDS)
    def offer(self, ask: CommandAsk) -> Iterable[Command]:
        if ask.account is not None:
            yield Command(NODE, "Download my data", Who.OWNER, self.give_link)

    async def give_link(self, call: Call) -> Done:
        """Raises ResourceConstraint."""
        assert call.account is not None
        owner = call.account.bare
        if not self.host.server.url(self.host.domain, "/my-data/"):
            return Done("This server has no web pages from which data could be downloaded; ask its operator.", "error")
        self.asked.count(owner)
        token = self.links.make(owner, float(self.config.lifetime))
        address = self.host.server.url(self.host.domain, PATH.replace("{token}", token))
        result = form("result", NODE, [Field("url", "text-single", "Open this address", (address,))], "Your data")
        return Done(f"The address is a secret, and good for {self.config.lifetime}: {address}", form=result)

    @on(CREDENTIALS_CHANGE)
    def credentials_changed(self, change: CredentialsChange) -> Iterable[Write]:
        """Who has asked may be whom the owner wants to get rid of."""
        self.links.end(change.jid.bare)
        return ()

    # ---- the page

    @http("GET", PATH)
    async def show(self, request: HttpRequest) -> HttpResponse:
        link = await self._link(request)
        return (
            link
            if isinstance(link, HttpResponse)
            else data_page(link.owner, frozenset(link.left), self.links.minutes(link))
        )

    @http("POST", PATH, max_body=MAX_FORM)
    async def download(self, request: HttpRequest) -> HttpResponse:
        """A form, since programs that look at links in messages follow them."""
        fields = parse_qs((await request.body.read()).decode("ascii", "replace"), max_num_fields=5)
        name = fields.get("file", [""])[0]
        link = await self._link(request)
        if isinstance(link, HttpResponse):
            return link
        if name not in link.left:
            return failure_page(404, NO_GOOD)
        if self.running >= self.config.at_once:
            return failure_page(503, BUSY)
        link.left.discard(name)
        owner = JID.parse(link.owner)
        pieces = self._account if name == "account.xml" else self._messages
        headers = {
            "Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
        }  # fmt: skip
        return HttpResponse(200, StreamedBody(None, lambda: self._counted(pieces(owner))), TYPES[name], headers)

    async def _link(self, request: HttpRequest) -> Link | HttpResponse:
        """Raises StorageUnavailable."""
        if request.in_clear:
            return failure_page(403, IN_CLEAR)
        link = self.links.find(request.parameters["token"])
        if link is None or await self.host.open_account(JID.parse(link.owner)) is None:
            return failure_page(404, NO_GOOD)
        return link

    # ---- the files

    async def _counted(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        if self.running >= self.config.at_once:
            raise ResourceConstraint("too many downloads")  # one that began meanwhile
        self.running += 1
        try:
            async for piece in pieces:
                yield piece
        finally:
            self.running -= 1

    async def _account(self, owner: JID) -> AsyncIterator[bytes]:
        """A file of XEP-0227 with one account. What is a secret of the server (keys) is not in it."""
        host = f"<server-data xmlns='{PIE_NS}'><host jid='{quoted(owner.domain)}'><user name='{quoted(owner.local)}'>\n"
        yield HEAD + host.encode()
        writer = PieceWriter()
        for portable in self.host.gather(PORTABLE, self.host.jid):
            if portable.kind is OwnerKind.ACCOUNT and not portable.secret:
                async for element in portable.give(owner):
                    yield writer.write(element)
        yield writer.end() + b"</user></host></server-data>\n"

    async def _messages(self, owner: JID) -> AsyncIterator[bytes]:
        log, after = self.host.storage.log(LOG), 0
        while page := await log.page(owner.bare, Range(after=after, without=Flags.HIDDEN), PIECE):
            yield b"".join(map(json_line, page))
            after = page[-1].id
