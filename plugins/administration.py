"""XEP-0133: Service Administration: what administrators do from their clients, by ad-hoc commands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final

from xmppd.contracts.commands import COMMANDS, Ask, Call, Command, CommandAsk, Done, Who
from xmppd.contracts.roster import ROSTER
from xmppd.errors import ItemNotFound, JidMalformed, MalformedJid, NotAcceptable
from xmppd.plugin import JID, E, Element, NoConfig, Plugin, Xep, on
from xmppd.stanza import message
from xmppd.xep.forms import Field, Submitted, form

NS: Final = "http://jabber.org/protocol/admin"
RELEASE: Final = "urn:xmppd:release-name"
"""A command of our own: XEP-0133 knows no quarantine."""
LISTED: Final = 500
MOST: Final = 200
ONE: Final = Field("accountjid", "jid-single", "The account", required=True)
SEVERAL: Final = Field("accountjids", "jid-multi", "The accounts", required=True)
SECRET: Final = Field("password", "text-private", "The password", required=True)
TEXT: Final = Field("announcement", "text-multi", "What to say", required=True)
Work = Callable[[Submitted], Awaitable[Done]]


class Administration(Plugin[NoConfig]):
    xeps = (
        Xep(133, "1.2.0", "accounts, sessions, announcements, counts and lists; no message of the day, no white lists"),
    )

    def setup(self) -> None:
        self.accounts = self.host.server.accounts
        asking: dict[str, tuple[str, tuple[Field, ...], Work]] = {
            "add-user": ("Add an account", (ONE, SECRET, Field("password-verify", "text-private", "Again")), self.add),
            "delete-user": ("Delete accounts and all that they own", (SEVERAL,), self.delete),
            RELEASE: ("Give the name of a deleted account free", (ONE,), self.release),
            "disable-user": ("Disable accounts", (SEVERAL,), partial(self.disable, True)),
            "reenable-user": ("Enable accounts again", (SEVERAL,), partial(self.disable, False)),
            "end-user-session": ("End sessions", (SEVERAL,), self.end_sessions),
            "change-user-password": ("Change a password", (ONE, SECRET), self.password),
            "get-user-roster": ("Show a contact list", (ONE,), self.roster),
            "user-stats": ("Show an account", (ONE,), self.statistics),
            "announce": ("Tell all who are online", (TEXT,), self.announce),
        }
        telling: dict[str, tuple[str, Callable[[], Awaitable[list[str]]]]] = {
            "registered-users": ("registered accounts", self.registered),
            "online-users": ("accounts online", self.online),
            "active-users": ("accounts in use", self.active),
            "disabled-users": ("disabled accounts", self.disabled),
        }
        self.offered = [
            *(_asks(node, title, fields, work) for node, (title, fields, work) in asking.items()),
            *(_counts(node, title, find) for node, (title, find) in telling.items()),
            *(_lists(node, title, find) for node, (title, find) in telling.items()),
        ]

    @on(COMMANDS)
    def offer(self, ask: CommandAsk) -> Iterable[Command]:
        return self.offered if ask.account is None else ()

    # ---- accounts (sections 4.1 to 4.6)

    async def add(self, found: Submitted) -> Done:
        jid, password = self._one(found), found.text("password") or ""
        again = found.text("password-verify")
        if not password or again not in (None, "", password):
            raise NotAcceptable("the passwords differ, or there is none")
        try:
            await self.accounts.create(jid, password)
        except ValueError as error:
            raise NotAcceptable(str(error)) from None
        return Done(f"{jid} is there")

    async def delete(self, found: Submitted) -> Done:
        for jid in await self._several(found):
            await self.accounts.delete(jid)
        return Done("deleted; the last traces elsewhere on this server go in the background")

    async def release(self, found: Submitted) -> Done:
        jid = self._one(found)
        await self.accounts.release(jid)
        return Done(f"{jid} can be added again")

    async def disable(self, disabled: bool, found: Submitted) -> Done:
        for jid in await self._several(found):
            await self.accounts.set_disabled(jid, disabled)
        return Done("disabled" if disabled else "enabled")

    async def password(self, found: Submitted) -> Done:
        jid = await self._there(self._one(found))
        try:
            await self.accounts.set_password(jid, found.text("password") or "")
        except ValueError as error:
            raise NotAcceptable(str(error)) from None
        return Done("changed; its sessions have ended")

    async def end_sessions(self, found: Submitted) -> Done:
        """Section 4.5: of a bare JID all, of a full one that."""
        count = 0
        for text in found.values.get("accountjids", ())[:MOST]:
            jid = self._jid(text)
            account = self.host.account(jid.bare)
            for session in list(account.sessions.values()) if account is not None else ():
                if not jid.resource or session.resource == jid.resource:
                    self.host.server.session_manager.end(session, "policy-violation")
                    count += 1
        return Done(f"{count} sessions have ended")

    async def roster(self, found: Submitted) -> Done:
        jid = await self._there(self._one(found))
        await self.host.open_account(jid)
        items = self.host.service(ROSTER).items(jid.bare)
        query = E("query", "jabber:iq:roster")
        for contact, item in sorted(items.items()):
            if item.listed:
                attributes = {"jid": contact, "subscription": item.subscription}
                query.append(E("item", "jabber:iq:roster", attributes | ({"name": item.name} if item.name else {})))
        return Done(form=_result([Field("accountjid", "jid-single", values=(jid.bare,))], query))

    async def statistics(self, found: Submitted) -> Done:
        jid = await self._there(self._one(found))
        account = await self.host.open_account(jid)
        sessions = list(account.sessions.values()) if account is not None else []
        items = self.host.service(ROSTER).items(jid.bare).values()
        peers = [session.stream.peer for session in sessions if session.stream is not None]
        fields = [
            Field("ipaddresses", "list-multi", "Addresses", tuple(peers)),
            Field("rostersize", "text-single", "Contacts", (str(sum(item.listed for item in items)),)),
            Field("onlineresources", "text-multi", "Online", tuple(session.resource for session in sessions)),
        ]
        return Done(form=_result(fields))

    # ---- all of them (sections 4.13 to 4.23)

    async def registered(self) -> list[str]:
        found: list[str] = []
        while page := await self.accounts.list(self.host.domain, found[-1] if found else ""):
            found += page
        return found

    async def online(self) -> list[str]:
        accounts = self.host.accounts.items()
        return sorted(bare for bare, account in accounts if account is not None and account.available())

    async def active(self) -> list[str]:
        """Somebody is connected."""
        accounts = self.host.accounts.items()
        return sorted(
            bare
            for bare, account in accounts
            if account is not None and any(session.stream is not None for session in account.sessions.values())
        )

    async def disabled(self) -> list[str]:
        return [bare for bare in await self.registered() if await self.accounts.is_disabled(JID.parse(bare))]

    async def announce(self, found: Submitted) -> Done:
        """Section 4.23: a headline, so that it waits for nobody."""
        text = "\n".join(found.values.get("announcement", ()))
        if not text.strip():
            raise NotAcceptable("what?")
        online = await self.online()
        for bare in online:
            body = E("body", "jabber:client", {}, text)
            self.host.deliver(message("headline", body, to=JID.parse(bare), sender=self.host.jid))
        return Done(f"told {len(online)}")

    # ---- whom

    def _jid(self, text: str) -> JID:
        try:
            jid = JID.parse(text.strip())
        except MalformedJid:
            raise JidMalformed(f"{text} is no address") from None
        if not jid.local or jid.domain != self.host.domain:
            raise NotAcceptable(f"{text} is no account of {self.host.domain}")
        return jid

    def _one(self, found: Submitted) -> JID:
        return self._jid(found.text("accountjid") or "").to_bare()

    async def _there(self, jid: JID) -> JID:
        if not await self.accounts.exists(jid):
            raise ItemNotFound(f"there is no account {jid.bare}")
        return jid

    async def _several(self, found: Submitted) -> list[JID]:
        """All are looked at before anything is done to one."""
        texts = found.values.get("accountjids", ())
        if not texts or len(texts) > MOST:
            raise NotAcceptable(f"one account at least, {MOST} at most")
        return [await self._there(self._jid(text).to_bare()) for text in texts]


def _asks(node: str, title: str, fields: tuple[Field, ...], work: Work) -> Command:
    async def ask(call: Call) -> Ask:
        return Ask(form("form", NS, fields, title), complete=do)

    async def do(call: Call) -> Done:
        if call.form is None or call.form.type != "submit":
            raise NotAcceptable("where is the form?")
        return await work(call.form)

    return Command(node if node == RELEASE else f"{NS}#{node}", title, Who.ADMIN, ask)


def _counts(node: str, title: str, find: Callable[[], Awaitable[list[str]]]) -> Command:
    async def count(call: Call) -> Done:
        number = str(len(await find()))
        return Done(form=_result([Field(node.replace("-", "") + "num", "text-single", title, (number,))]))

    return Command(f"{NS}#get-{node}-num", f"Number of {title}", Who.ADMIN, count)


def _lists(node: str, title: str, find: Callable[[], Awaitable[list[str]]]) -> Command:
    async def list_them(call: Call) -> Done:
        found = await find()
        note = f"the first {LISTED} of {len(found)}" if len(found) > LISTED else ""
        name = node.removesuffix("s").replace("-", "") + "jids"  # onlineuserjids, and so on (section 6)
        shown = Field(name, "jid-multi", title, tuple(found[:LISTED]))
        return Done(note, form=_result([shown]))

    return Command(f"{NS}#get-{node}-list", f"List of {title}", Who.ADMIN, list_them)


def _result(fields: list[Field], more: Element | None = None) -> Element:
    made = form("result", NS, fields)
    if more is not None:
        made.append(more)
    return made
