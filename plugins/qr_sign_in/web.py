"""Requests of the page: a code to show, and the answer to it.

Only a page of this server may ask, which browsers tell (Sec-Fetch-Site, or else Origin). Requests are JSON, which other
pages cannot send without being allowed to. Nothing secret stands in an address.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit

from xmppd.contracts.sign_in import TOKENS, Tokens, UserAgent
from xmppd.errors import ResourceConstraint, StorageUnavailable
from xmppd.plugin import JID, Host, HttpRequest, HttpResponse
from xmppd.window_limit import AddressLimit
from xmppd.xep.qr_code import qr_svg

from .browsers import Browser
from .options import Config
from .waiting import Approval, State, WaitingPage, WaitingPages

CODES: Final = "/qr-sign-in/code"
ANSWERS: Final = "/qr-sign-in/answer"
SCRIPT: Final = "/qr-sign-in.js"
MAX_BODY: Final = 1024
"""Bytes."""
MECHANISM: Final = "HT-SHA-256-NONE"
"""Browsers tell their pages nothing of TLS, so the tokens are bound to no channel."""
NODE: Final = "urn:xmppd:qr-sign-in"
WAIT: Final = 25.0
"""Seconds for which a request waits for the phone's answer."""
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True, slots=True)
class Refused(Exception):
    status: int


class Requests:
    def __init__(self, host: Host, config: Config) -> None:
        self.host = host
        self.pages = WaitingPages(host.clock, config.waiting, float(config.lifetime))
        self.asked = AddressLimit(host.clock, config.per_address, 60.0)
        self.fetched = AddressLimit(host.clock, 20 * config.per_address, 60.0)

    @property
    def tokens(self) -> Tokens | None:
        return self.host.find(TOKENS)

    async def code(self, request: HttpRequest) -> HttpResponse:
        """A code for a page that begins to wait."""
        try:
            await _asked(request)
            if self.tokens is None:
                raise Refused(503)
            self.asked.count(request.peer)
        except Refused as refused:
            return _answer(refused.status)
        except ResourceConstraint:
            return _answer(429)
        try:
            code, secret = self.pages.add(Browser.of(request.headers.get("user-agent", "")), request.peer)
        except ResourceConstraint:
            return _answer(503)
        address = uri(self.host.domain, code)
        found = {"code": code, "uri": address, "secret": secret, "image": qr_svg(address)}
        return _answer(200, found | {"seconds": self.pages.lifetime})

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """What has become of a code: "waiting", "approved" with a token (once), "refused", or "gone"."""
        try:
            asked = await _asked(request)
            self.fetched.count(request.peer)
        except Refused as refused:
            return _answer(refused.status)
        except ResourceConstraint:
            return _answer(429)
        secret, id = str(asked.get("secret", "")), str(asked.get("id", ""))
        page = self.pages.of_secret(secret)
        if page is not None and page.state is State.WAITING:
            await self._wait(page)
            page = self.pages.of_secret(secret)
        if page is None or not _UUID.fullmatch(id):
            return _answer(200, {"state": "gone"})
        if page.state is State.WAITING:
            return _answer(200, {"state": "waiting"})
        self.pages.remove(page)  # once
        if page.approval is None:
            return _answer(200, {"state": "refused"})
        try:
            return _answer(200, await self._token(page, page.approval, id))
        except StorageUnavailable:
            return _answer(503)

    async def _wait(self, page: WaitingPage) -> None:
        """Until the phone has answered, or it is time to tell the page that it has not."""
        clock = self.host.clock
        await page.wait(clock, min(WAIT, page.until - clock.monotonic() + 0.01))

    async def _token(self, page: WaitingPage, approval: Approval, id: str) -> dict[str, Any]:
        """Raises StorageUnavailable."""
        gone: dict[str, Any] = {"state": "gone"}
        account = await self.host.open_account(JID.parse(approval.owner))
        if account is None or not account.alive or self.tokens is None:
            return gone
        stored = self.host.stored_accounts.get(account.bare).get("")
        if stored is None or stored.credentials.disabled:
            return gone
        if (stored.incarnation, stored.credentials.generation) != (approval.incarnation, approval.generation):
            return gone  # another account of that name, or another password
        client = UserAgent(id).client(account.bare)
        token = await self.tokens.issue(account.bare, client, MECHANISM, approval.generation)
        browser = page.browser
        found = {"jid": account.bare, "token": token.secret, "mechanism": MECHANISM, "until": int(token.until)}
        return {"state": "approved", **found, "software": browser.software, "device": browser.system or "the web"}


def uri(domain: str, code: str) -> str:
    """What a phone opens (XEP-0147, action "command")."""
    return f"xmpp:{domain}?command;node={quote(f'{NODE}#{code}', safe='')};action=execute"


async def _asked(request: HttpRequest) -> dict[str, Any]:
    """What a page of ours asks. Raises Refused, HttpError."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if request.in_clear or (site is not None and site != "same-origin"):
        raise Refused(403)
    if (
        site is None
        and origin is not None
        and urlsplit(origin).netloc.lower() != request.headers.get("host", "").lower()
    ):
        raise Refused(403)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415)
    try:
        found = json.loads(await request.body.read())
    except (ValueError, RecursionError):
        raise Refused(400) from None
    if not isinstance(found, dict):
        raise Refused(400)
    return found


def _answer(status: int, found: dict[str, Any] | None = None) -> HttpResponse:
    return HttpResponse(status, json.dumps(found or {}).encode(), "application/json", _HEADERS)
