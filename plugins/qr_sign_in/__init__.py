"""Signing in to the web client by a code that a phone reads: the page shows it, the phone, which is signed in, says
yes, and the page gets a token (XEP-0484) of its own (docs/howto/web-client.md)."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final

from xmppd.contracts.commands import COMMANDS, Ask, Call, Command, CommandAsk, Done, Who
from xmppd.contracts.sign_in import CLIENT
from xmppd.contracts.web_client import PAGE_SCRIPTS, PageScript
from xmppd.errors import Forbidden, ItemNotFound, NotAcceptable
from xmppd.plugin import JID, HttpRequest, HttpResponse, Plugin, Request, Session, To, http, iq, on
from xmppd.window_limit import network
from xmppd.xep.forms import Field, form

from .options import Config
from .script import PLUGIN, TEXT
from .waiting import Approval, WaitingPage
from .web import ANSWERS, CODES, MAX_BODY, NODE, SCRIPT, Requests

__all__ = ["Config", "QrSignIn"]

log = logging.getLogger("xmppd.qr_sign_in")
TITLE: Final = "Sign in a browser"
GONE: Final = "this code was used already, or has expired: the page shows another one"
"""Whatever is wrong with it."""
WARNING: Final = (
    "Say yes only if you have that page in front of you. Whoever sent you this code, or asks you to read it somewhere "
    "else, wants to read your messages."
)


class QrSignIn(Plugin[Config]):
    standard = False

    def setup(self) -> None:
        self.requests = Requests(self.host, self.config)
        self.pages = self.requests.pages

    def reconfigured(self) -> None:
        self.pages.most, self.pages.lifetime = self.config.waiting, float(self.config.lifetime)
        self.requests.asked.limit = self.config.per_address

    async def stop(self) -> None:
        self.pages.clear()

    # ---- the page

    @on(PAGE_SCRIPTS)
    def script(self, host: JID) -> Iterable[PageScript]:
        return (PageScript(SCRIPT, PLUGIN),) if self.requests.tokens is not None else ()

    @http("GET", SCRIPT)
    async def script_text(self, request: HttpRequest) -> HttpResponse:
        headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
        return HttpResponse(200, TEXT.encode(), "text/javascript; charset=utf-8", headers)

    @http("POST", CODES, max_body=MAX_BODY)
    async def code(self, request: HttpRequest) -> HttpResponse:
        return await self.requests.code(request)

    @http("POST", ANSWERS, max_body=MAX_BODY)
    async def answer(self, request: HttpRequest) -> HttpResponse:
        return await self.requests.answer(request)

    @iq("set", NODE, "sign-out", To.SELF)
    async def sign_out(self, request: Request) -> None:
        """The page is left for good: its token ends."""
        session, tokens = request.session, self.requests.tokens
        if session is not None and session[CLIENT] and tokens is not None:
            await tokens.revoke(session.account.bare, [session[CLIENT]])

    # ---- the phone

    @on(COMMANDS)
    def commands(self, ask: CommandAsk) -> Iterable[Command]:
        """One in the list, which asks for a code; and one for every code, whether there is such a code or not."""
        if ask.account is not None:
            return
        yield Command(NODE, TITLE, Who.USER, self._ask_for_code)
        if ask.node.startswith(f"{NODE}#"):
            code = ask.node.partition("#")[2]
            yield Command(ask.node, TITLE, Who.USER, lambda call: self._show(call, code))

    async def _ask_for_code(self, call: Call) -> Ask:
        self._session(call)
        fields = [Field("code", "text-single", "Code", required=True)]
        return Ask(form("form", NODE, fields, TITLE, "The code that stands on the page below the picture."), self._read)

    async def _read(self, call: Call) -> Ask:
        return await self._show(call, (call.form.text("code") or "").strip() if call.form is not None else "")

    async def _show(self, call: Call, code: str) -> Ask:
        """What is asked for, before it is approved: which browser, and where."""
        session = self._session(call)
        page = self._page(code)
        call.data["code"] = code
        where = f"{page.address}{_nearness(session, page)}"
        fields = [
            Field("browser", "fixed", "Browser", (str(page.browser),)),
            Field("address", "fixed", "IP address", (where,)),
            Field("account", "fixed", "Account", (session.account.bare,)),
            Field("approve", "boolean", "Yes, sign in this browser", ("0",), required=True),
        ]
        text = f"{page.browser} at {where} asks to sign in to {session.account.bare}, and to read and write as you. "
        return Ask(form("form", NODE, fields, TITLE, text + WARNING), complete=self._decide)

    async def _decide(self, call: Call) -> Done:
        session = self._session(call)
        if call.form is None or (yes := call.form.boolean("approve")) is None:
            raise NotAcceptable("yes or no")
        page = self._page(call.data["code"])
        if not yes:
            page.settle(None)
            return Done("The browser was not signed in.")
        stored = self.host.stored_accounts.get(session.account.bare)[""]
        page.settle(Approval(session.account.bare, stored.incarnation, stored.credentials.generation))
        log.info("%s lets %s at %s sign in", session.account.bare, page.browser, page.address)
        return Done(f"{page.browser} is being signed in. Your linked devices show it, and let you sign it out.")

    def _page(self, code: str) -> WaitingPage:
        """Raises ItemNotFound."""
        page = self.pages.of_code(code)
        if page is None:
            raise ItemNotFound(GONE)
        return page

    def _session(self, call: Call) -> Session:
        """Raises Forbidden: nobody but who is signed in to an account here."""
        session = call.session
        if session is None or session.account.host is not self.host:
            raise Forbidden()
        return session


def _nearness(session: Session, page: WaitingPage) -> str:
    """What the addresses say. Nothing, where one is of this machine: it is that of a proxy which is not trusted, and
    all the world has it."""
    own = session.stream.peer if session.stream is not None else ""
    if not own or any(ip_address(each.partition("%")[0]).is_loopback for each in (own, page.address)):
        return ""
    same = network(own) == network(page.address)
    return " (the same as this device)" if same else " (not the address of this device)"
