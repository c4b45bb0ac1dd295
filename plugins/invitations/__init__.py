"""XEP-0401: Ad-hoc Account Invitation Generation. Links that let people register (XEP-0445), and become contacts of who
has made them (XEP-0379)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from xmppd.contracts.accounts import ACCOUNTS_REMOVED
from xmppd.contracts.admin import Argument, Domain, Note, Result, operation
from xmppd.contracts.commands import COMMANDS, Ask, Call, Command, CommandAsk, Done, Who
from xmppd.contracts.registration import INVITATIONS, PREAUTH_NS, REGISTRATION, Admission, Create
from xmppd.contracts.rooms import ROOMS
from xmppd.contracts.sessions import APPROVALS, SubscriptionRequest
from xmppd.contracts.store_check import CHECK_STORE, OWNED, OwnedPlace, StoreCheck
from xmppd.errors import (
    BadRequest,
    Conflict,
    ItemNotFound,
    MalformedJid,
    NotAcceptable,
    NotAllowed,
    StorageUnavailable,
)
from xmppd.plugin import JID, HttpRequest, HttpResponse, Plugin, Xep, http, on
from xmppd.stanza import tag
from xmppd.xep.forms import Field, form
from xmppd.xep.qr_code import qr_text
from xmppd.xml import find

from .book import NAMES, SHOWN, Invitation, InvitationBook
from .links import uri
from .newcomers import Welcomer
from .options import ACCOUNTS, NOBODY, Config
from .web import MAX_FORM, PATH, Pages

__all__ = ["Config", "Invitations"]

log = logging.getLogger("xmppd.invitations")
NODE: Final = "urn:xmpp:invite"
INVITE: Final = f"{NODE}#invite"
CREATE_ACCOUNT: Final = f"{NODE}#create-account"
FORM_TYPE: Final = f"{NODE}#invitation"
PREAUTH_TAG: Final = tag(PREAUTH_NS, "preauth")
SWEEP: Final = 21_600.0
WELCOME: Final = 300.0
"""Seconds until it is tried again what the store did not let happen."""
MOST_USES: Final = 10_000
DAY: Final = 86_400.0


class Invited(Result, frozen=True):
    """`link`: for people, `uri`: for clients. `expires`: in UTC. `id`: revokes it."""

    link: str
    uri: str
    expires: str
    uses: int
    id: str

    def text(self) -> str:
        often = "once" if self.uses == 1 else f"{self.uses} times"
        lines = [self.link] if self.link == self.uri else [self.link, self.uri]
        return "\n".join((*lines, f"It can be used {often} until {self.expires}; `xmppd op invite.revoke {self.id}`."))

    def terminal(self) -> str:
        return f"{qr_text(self.link)}\n{self.text()}"


class OpenInvitation(Result, frozen=True):
    """`username`, `contact`, `group`: "" for none."""

    id: str
    expires: str
    uses: int
    contact: str
    username: str
    group: str

    def text(self) -> str:
        words = [self.id, f"until {self.expires}", f"{self.uses} left"]
        words += [f"{what} {value}" for what, value in (("for", self.username), ("by", self.contact)) if value]
        return "  ".join((*words, f"to {self.group}") if self.group else words)


class OpenInvitations(Result, frozen=True):
    invitations: tuple[OpenInvitation, ...]

    def text(self) -> str:
        return "\n".join(each.text() for each in self.invitations) or "No invitation is open."


class Invitations(Plugin[Config]):
    """Implements `contracts.registration.Invitations` by its book."""

    xeps = (
        Xep(379, "0.3.3", "the server makes the tokens, and approves in the name of who has invited"),
        Xep(401, "0.6.0"),
    )
    provides = (INVITATIONS,)

    def setup(self) -> None:
        self.book = InvitationBook(self.host)
        self.pages = Pages(self.host, self.book)
        self.welcomer = Welcomer(self.host, self.book)

    async def start(self) -> None:
        self.every(SWEEP, self._sweep, "expired")
        self.every(WELCOME, self.welcomer.welcome_all, "newcomers")
        self.spawn(self.welcomer.welcome_all(), "newcomers")

    async def _sweep(self) -> None:
        try:
            await self.book.sweep()
        except StorageUnavailable as error:
            log.warning("invitations that have expired stay in the store for now (%s)", error)

    @on(ACCOUNTS_REMOVED)
    def removed(self, names: frozenset[str]) -> Awaitable[None]:
        return self.book.forget(names)

    @on(CHECK_STORE)
    def check(self, store: StoreCheck) -> Awaitable[None]:
        """For `xmppd store check`."""
        return self.book.check(store)

    @on(OWNED)
    def owned(self, place: OwnedPlace) -> Iterable[bool]:
        """A name is kept for an account that is not there yet."""
        return (place.name == NAMES and place.owner.endswith(f"@{self.host.domain}"),)

    # ---- contracts.registration.Invitations

    def admit(self, token: str) -> Awaitable[Admission]:
        return self.book.admit(token)

    async def redeem(self, admission: Admission, jid: JID, create: Create) -> None:
        newcomer = await self.book.redeem(admission, jid, create)
        if newcomer.promised:
            self.spawn(self.welcomer.welcome(jid.bare, newcomer), "welcome")

    def holds(self, jid: JID, admission: Admission | None) -> Awaitable[bool]:
        return self.book.holds(jid, admission)

    # ---- XEP-0379: contacts

    @on(APPROVALS)
    async def approve(self, request: SubscriptionRequest) -> Iterable[bool]:
        """Section 3.5. What is wrong with a token makes an ordinary request of it (section 4.1)."""
        if PREAUTH_TAG not in request.stanza.tags:
            return ()
        preauth = find(request.stanza.xml, PREAUTH_NS, "preauth")
        token = str(preauth.get("token", "")) if preauth is not None else ""
        try:
            return (await self.book.use_for_contact(token, request.account.bare),)
        except StorageUnavailable:
            return ()

    # ---- the page of an invitation

    @http("GET", PATH)
    async def page(self, request: HttpRequest) -> HttpResponse:
        return await self.pages.show(request)

    @http("POST", PATH, max_body=MAX_FORM)
    async def page_form(self, request: HttpRequest) -> HttpResponse:
        return await self.pages.register(request)

    # ---- making one

    async def _invite(self, invitation: Invitation) -> Invited:
        """Raises StanzaError, StorageUnavailable."""
        if invitation.registers:
            registration = self.host.find(REGISTRATION)
            if registration is None or not registration.open:
                raise NotAllowed("registration is closed on this host (option `mode` of the plugin `register`)")
        if invitation.username:
            await self._check_name(JID.of(invitation.username, self.host.domain))
        token, key = await self.book.make(invitation, self.config.per_account, self.config.in_all)
        address = uri(invitation, token, self.host.domain)
        by = f" by {invitation.inviter}" if invitation.inviter else ""
        log.info("invitation %s%s was made for %s", key[:SHOWN], by, self.host.domain)
        return Invited(
            self.pages.page_url(token) or address, address, _shown(invitation.until), invitation.left, key[:SHOWN]
        )

    async def _check_name(self, jid: JID) -> None:
        """Raises Conflict, StorageUnavailable."""
        if await self.host.server.accounts.exists(jid):
            raise Conflict("there is such an account already")

    @operation("invite", "Invite somebody: make a link that lets people register.")
    async def invite(
        self,
        domain: Annotated[Domain, Argument("The host, if there are several.", positional=True)] = Domain(""),  # noqa: B008
        days: Annotated[int, Argument("How long it is good; 0: as long as the option `lifetime` says.")] = 0,
        uses: Annotated[int, Argument("How many accounts can be made with it.")] = 1,
        name: Annotated[str, Argument("The name of the new account; otherwise its owner chooses.")] = "",
        contact: Annotated[str, Argument("An account (JID) that becomes a contact of whoever comes.")] = "",
        group: Annotated[str, Argument("A room (JID) of this server that lets whoever comes in.")] = "",
    ) -> Invited:
        if not 0 <= days <= 3650 or not 1 <= uses <= MOST_USES:
            raise BadRequest(f"days are from 1 to 3650, uses from 1 to {MOST_USES}")
        if name and uses > 1:
            raise BadRequest("an account of that name can be made once only")
        inviter = await self._inviter(contact) if contact else ""
        room = self._room(group) if group else ""
        now = self.host.clock.now()
        until = now + (days * DAY or float(self.config.lifetime))
        return await self._invite(Invitation(now, until, uses, inviter, self._local(name), True, room))

    async def _inviter(self, text: str) -> str:
        """Raises BadRequest, ItemNotFound, StorageUnavailable."""
        try:
            jid = JID.parse(text)
        except MalformedJid as error:
            raise BadRequest(f"{text}: {error}") from None
        if jid.domain != self.host.domain or not jid.local or jid.resource:
            raise BadRequest(f"{text}: a contact is an account of {self.host.domain}")
        if not await self.host.server.accounts.exists(jid):
            raise ItemNotFound(f"{text}: there is no such account")
        return jid.bare

    def _room(self, text: str) -> str:
        """Raises BadRequest, ItemNotFound."""
        try:
            jid = JID.parse(text)
        except MalformedJid as error:
            raise BadRequest(f"{text}: {error}") from None
        rooms = self.host.router.routes.service(jid.domain, ROOMS)
        if jid.resource or rooms is None or not rooms.exists(jid):
            raise ItemNotFound(f"{text}: there is no such room")
        return jid.bare

    def _local(self, name: str) -> str:
        """Raises NotAcceptable."""
        try:
            return JID.of(name, self.host.domain).local if name else ""
        except MalformedJid:
            raise NotAcceptable(f"{name}: not a name") from None

    @operation("invite.list", "List the invitations that are open.")
    async def list(self) -> OpenInvitations:
        found = sorted((await self.book.open()).items(), key=lambda item: item[1].until)
        return OpenInvitations(
            tuple(
                OpenInvitation(key[:SHOWN], _shown(each.until), each.left, each.inviter, each.username, each.room)
                for key, each in found
            )
        )

    @operation("invite.revoke", "Revoke an invitation: its link does nothing any more.")
    async def revoke(self, id: Annotated[str, Argument("Its id in the list, or its token.")]) -> Note:
        await self.book.revoke(id)
        return Note("It is revoked.")

    # ---- XEP-0401: commands of people

    @on(COMMANDS)
    def commands(self, ask: CommandAsk) -> Iterable[Command]:
        if ask.account is not None:
            return ()
        who = Who.ADMIN if self.config.users == NOBODY else Who.USER
        invite = Command(INVITE, "Invite user", who, self._invite_contact)
        return (invite, Command(CREATE_ACCOUNT, "Create account", Who.ADMIN, self._ask_for_account))

    async def _invite_contact(self, call: Call) -> Done:
        """Section 4.1."""
        registration = self.host.find(REGISTRATION)
        may = self.config.users == ACCOUNTS or call.requester.bare in self.host.admins
        registers = may and registration is not None and registration.open
        return await self._done(self._new(call.requester, registers=registers))

    async def _ask_for_account(self, call: Call) -> Ask:
        """Section 4.4."""
        fields = (
            Field("username", "text-single", "Username"),
            Field("roster-subscription", "boolean", "Roster subscription"),
        )
        return Ask(form("form", NODE, fields, "Create account"), complete=self._create_account)

    async def _create_account(self, call: Call) -> Done:
        found = call.form
        if found is None or found.type != "submit":
            raise NotAcceptable("where is the form?")
        username = self._local((found.text("username") or "").strip())
        inviter = call.requester if found.boolean("roster-subscription") else None
        return await self._done(self._new(inviter, username))

    def _new(self, inviter: JID | None, username: str = "", registers: bool = True) -> Invitation:
        now = self.host.clock.now()
        bare = inviter.bare if inviter is not None else ""
        return Invitation(now, now + float(self.config.lifetime), 1, bare, username, registers)

    async def _done(self, invitation: Invitation) -> Done:
        made = await self._invite(invitation)
        fields: dict[str, Any] = {"uri": made.uri, "expire": _stamp(invitation.until)}
        if made.link != made.uri:
            fields["landing-url"] = made.link
        return Done(form=form("result", FORM_TYPE, [Field(var, values=(value,)) for var, value in fields.items()]))


def _stamp(seconds: float) -> str:
    """XEP-0082."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _shown(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M UTC")
