"""Requests to the pages of invitations: who has the link sees what it is good for, and can register in the browser."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs

from xmppd.contracts.registration import REGISTRATION, Registration
from xmppd.contracts.web_client import WEB_CLIENT
from xmppd.errors import ItemNotFound, ResourceConstraint, StanzaError, StorageUnavailable
from xmppd.plugin import Host, HttpRequest, HttpResponse

from .book import Invitation, InvitationBook
from .links import uri
from .pages import Offer, failure_page, invitation_page, welcome_page

PATH: Final = "/invite/{token}"
MAX_FORM: Final = 8192
"""Bytes."""
AWAY: Final = "The server cannot look it up at the moment. Please try again in a minute."
NO_GOOD: Final = "This invitation was used already, has expired or was taken back. Please ask for another one."
"""Whatever is wrong with it: nobody learns which ones there are."""
TOO_MANY: Final = "There were too many attempts from your address. Please try again later."
STATUSES: Final = {"conflict": 409, "not-acceptable": 400, "resource-constraint": 429}


class Pages:
    def __init__(self, host: Host, book: InvitationBook) -> None:
        self.host = host
        self.book = book

    def page_url(self, token: str) -> str:
        """The address of the page of an invitation, "" where no listener serves it."""
        return self.host.server.url(self.host.domain, PATH.replace("{token}", token))

    async def show(self, request: HttpRequest) -> HttpResponse:
        """GET."""
        try:
            offer = await self._offer(request)
        except StorageUnavailable:
            return failure_page(503, AWAY)
        return invitation_page(offer) if isinstance(offer, Offer) else offer

    async def register(self, request: HttpRequest) -> HttpResponse:
        """POST of the form."""
        try:
            offer = await self._offer(request)
            if not isinstance(offer, Offer):
                return offer
            return await self._register(request, offer)
        except StorageUnavailable:
            return failure_page(503, AWAY)

    async def _register(self, request: HttpRequest, offer: Offer) -> HttpResponse:
        registration = self._registration()
        if registration is None or not offer.form:
            return failure_page(403, "Nobody can register here with this invitation.")
        fields = _fields(await request.body.read(), request.headers.get("content-type", ""))
        if fields is None:
            return failure_page(400, "This is not the form of this page.")
        name, password = fields.get("username", "").strip(), fields.get("password", "")
        if password != fields.get("again", ""):
            return invitation_page(offer, 400, "The two passwords are not the same.", name)
        try:
            admission = await self.book.admit(request.parameters["token"])
            jid = await registration.register(name, password, request.peer, admission)
        except ItemNotFound:
            return failure_page(404, NO_GOOD)
        except StanzaError as error:
            said = TOO_MANY if isinstance(error, ResourceConstraint) else _sentence(error.text)
            return invitation_page(offer, STATUSES.get(error.condition, 400), said, name)
        return welcome_page(jid.bare, offer.user_agent, offer.web_client)

    async def _offer(self, request: HttpRequest) -> Offer | HttpResponse:
        """What the token is good for, or the answer that it is not: always the same. Raises StorageUnavailable."""
        token = request.parameters["token"]
        found = await self.book.find(token)
        registration = self._registration()
        if found is None:
            try:
                if registration is not None:
                    registration.count_attempt(request.peer)
            except ResourceConstraint:
                return failure_page(429, TOO_MANY)
            return failure_page(404, NO_GOOD)
        return self._described(found[1], token, request, registration)

    def _described(
        self, invitation: Invitation, token: str, request: HttpRequest, registration: Registration | None
    ) -> Offer:
        form = invitation.registers and registration is not None and registration.open and not request.in_clear
        address = uri(invitation, token, self.host.domain)
        agent = request.headers.get("user-agent", "")
        client = self.host.find(WEB_CLIENT)
        chat = client.address if client is not None else ""
        return Offer(invitation, self.host.domain, address, self.page_url(token), form, agent, chat)

    def _registration(self) -> Registration | None:
        return self.host.find(REGISTRATION)


def _fields(body: bytes, content_type: str) -> dict[str, str] | None:
    """A form; None for what is none."""
    if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        return None
    try:
        found = parse_qs(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=10)
    except ValueError:
        return None
    if any(len(values) != 1 for values in found.values()):
        return None
    return {name: values[0] for name, values in found.items()}


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else "That was not accepted."
