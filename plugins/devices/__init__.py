"""XEP-0494: Client Access Management. An owner sees which clients come to the account, and signs them out: their tokens
and their sessions end at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Final

from xmppd.config import Duration, option
from xmppd.contracts.accounts import ACCOUNTS_REMOVED
from xmppd.contracts.admin import AccountJid, Argument, Note, Result, operation
from xmppd.contracts.commands import COMMANDS, Ask, Call, Command, CommandAsk, Done, Who
from xmppd.contracts.sessions import SESSION_BOUND, SESSION_ENDED
from xmppd.contracts.sign_in import CLIENT, SIGN_IN_STEPS, TOKENS, Order, SignIn, SignInStep
from xmppd.contracts.stream_features import FeatureAsk
from xmppd.errors import ItemNotFound, NotAcceptable, ServiceUnavailable, StorageUnavailable
from xmppd.plugin import Account, E, Element, Plugin, Request, Session, SessionKey, To, Xep, iq, on
from xmppd.xep.elements import stamp
from xmppd.xep.forms import Field, form

from .records import NEVER, Device, DeviceRecords

__all__ = ["Config", "Devices"]

NS: Final = "urn:xmpp:cam:0"
NODE: Final = "urn:xmppd:devices"
SINCE = SessionKey[float]("devices-since", 0.0, durable=True)
"""Of a session whose client has not told which one it is: when it was bound."""
SWEEP: Final = 21_600.0
OTHERS: Final = "all others"
KNOWS = "It knows the password, and can sign in again until that is changed."


@dataclass(frozen=True)
class Config:
    devices: int = option(100, "Clients of one account that are remembered.", low=1, high=1000)
    kept: Duration = option(
        Duration("180 d"), "For how long a client is remembered that does not come any more; 0: for ever.", low=0
    )
    addresses: bool = option(True, "Remember the IP address from which a client came last; its owner sees it.")


@dataclass(frozen=True, slots=True)
class Linked:
    """A client of an account, as it is shown. `sessions`: those that it has now. `token`: it has one to sign in by.
    `password`: it knows the password, as far as is known."""

    id: str
    device: Device
    sessions: tuple[Session, ...]
    token: bool
    password: bool

    @property
    def name(self) -> str:
        words = " on ".join(filter(None, (self.device.software, self.device.device)))
        return words or (self.sessions[0].resource if self.sessions else "?")

    def text(self) -> str:
        """A line for people."""
        device = self.device
        when = "now" if self.sessions else _shown(device.last)
        by = ", ".join(word for word, there in (("password", self.password), ("token", self.token)) if there)
        parts = [f"last seen {when}" + (f" from {device.address}" if device.address else "")]
        parts += [f"first seen {_shown(device.first)}", *([f"signs in by {by}"] if by else [])]
        return f"{self.name}: {'; '.join(parts)}"


class LinkedDevices(Result, frozen=True):
    devices: tuple[str, ...]

    def text(self) -> str:
        return "\n".join(self.devices) or "No client is known."


class Devices(Plugin[Config]):
    xeps = (Xep(494, "0.1.0", "whoever knows the password is signed out all the same, and the error tells that"),)
    account_features = (NS,)

    def setup(self) -> None:
        self.records = DeviceRecords(self.host)

    async def start(self) -> None:
        self.every(SWEEP, lambda: self.records.sweep(float(self.config.kept)), "forgotten")

    async def stop(self) -> None:
        with suppress(StorageUnavailable):
            await self.records.flush()

    # ---- what is remembered

    @on(SIGN_IN_STEPS)
    def step(self, ask: FeatureAsk) -> Iterable[SignInStep]:
        return (SignInStep(Order.TOKENS, b"", self._signed_in),)

    def _signed_in(self, sign_in: SignIn) -> None:
        self.records.signed_in(sign_in, self.config.devices, self.config.addresses)

    @on(SESSION_BOUND)
    def bound(self, session: Session) -> None:
        if session.stream is not None and not session.stream.client:
            session[SINCE] = self.host.clock.now()

    @on(SESSION_ENDED)
    def ended(self, session: Session) -> None:
        if session[CLIENT]:
            self.records.left(session, session[CLIENT])

    @on(ACCOUNTS_REMOVED)
    async def removed(self, names: frozenset[str]) -> None:
        """What is noted must not come behind the deletion."""
        await self.records.flush()

    # ---- what there is

    async def linked(self, account: Account) -> Mapping[str, Linked]:
        """All clients of an account by their ids, those that were here last first. Raises StorageUnavailable."""
        records = await self.records.all(account)
        tokens = self.host.find(TOKENS)
        with_token = tokens.clients(account) if tokens is not None else ()
        generation = self.host.stored_accounts.get(account.bare)[""].credentials.generation
        sessions: dict[str, list[Session]] = {}
        strangers: list[Linked] = []
        for session in account.sessions.values():
            if session[CLIENT]:
                sessions.setdefault(session[CLIENT], []).append(session)
            else:
                strangers.append(self._unnamed(session))
        now = self.host.clock.now()
        for client in (*sessions, *with_token):
            if client not in records:  # forgotten meanwhile
                records = {**records, client: Device("", "", now, now, "", "", NEVER)}
        found = [
            Linked(key, each, tuple(sessions.get(key, ())), key in with_token, each.knows == generation)
            for key, each in records.items()
        ]
        found.sort(key=lambda each: (not each.sessions, -each.device.last))
        return {each.id: each for each in (*found, *strangers)}

    def _unnamed(self, session: Session) -> Linked:
        """A session of a client that has not told which one it is: it has signed in by password."""
        address = session.stream.peer if session.stream is not None and self.config.addresses else ""
        device = Device("", "", session[SINCE], self.host.clock.now(), address, "", NEVER)
        id = sha256(f"session\0{session.jid.full}\0{session[SINCE]}".encode()).hexdigest()[:24]
        return Linked(id, device, (session,), False, True)

    # ---- signing out

    async def sign_out(self, account: Account, linked: Iterable[Linked], keep: Session | None = None) -> None:
        """Tokens and sessions (but `keep`) end, and what is not there any more is forgotten. Raises
        StorageUnavailable."""
        gone = list(linked)
        tokens = self.host.find(TOKENS)
        if tokens is not None:
            await tokens.revoke(account.bare, [each.id for each in gone if each.token])
        for each in gone:
            if not each.password:
                await self.records.forget(account, each.id)
        self._end(account, {each.id for each in gone}, [s for each in gone for s in each.sessions], keep)

    def _end(self, account: Account, clients: set[str], sessions: list[Session], keep: Session | None) -> None:
        server, why = self.host.server, "signed out by the owner of the account"
        for session in {*sessions, *(each for each in account.sessions.values() if each[CLIENT] in clients)}:
            if session is not keep:
                server.session_manager.end(session, "not-authorized", why)
        for stream in list(server.streams):
            if stream.account is account and stream.session is None and stream.client in clients:
                stream.end("not-authorized", why)  # signed in and not bound yet

    # ---- XEP-0494

    @iq("get", NS, "list", To.SELF)
    async def list(self, request: Request) -> Element:
        """Section 3.1."""
        return E("clients", NS, {}, *(_element(each) for each in (await self.linked(request.account)).values()))

    @iq("get", NS, "revoke", To.SELF)
    @iq("set", NS, "revoke", To.SELF)
    async def revoke(self, request: Request) -> None:
        """Section 3.2. (slixmpp asks with a get.)"""
        account, own = request.account, request.session
        found = (await self.linked(account)).get(request.payload.get("id", ""))
        if found is None:
            raise ItemNotFound("there is no such client")
        await self.sign_out(account, (found,), own)
        if own is not None and own in found.sessions:
            self.spawn(self._goodbye(own), "goodbye")
        if found.password:
            raise ServiceUnavailable(KNOWS, (NS, "password-reset-required"))

    async def _goodbye(self, session: Session) -> None:
        """Behind the answer."""
        self._end(session.account, set(), [session], None)

    # ---- for clients without it

    @on(COMMANDS)
    def commands(self, ask: CommandAsk) -> Iterable[Command]:
        if ask.account is not None:
            yield Command(NODE, "Linked devices", Who.OWNER, self._show)

    async def _show(self, call: Call) -> Ask:
        assert call.account is not None
        devices = await self.linked(call.account)
        own = [key for key, each in devices.items() if call.session in each.sessions]
        options = [(key, f"{'(this one) ' if key in own else ''}{each.text()}") for key, each in devices.items()]
        fields = [
            Field("devices", "list-multi", "Sign out", options=tuple(options)),
            Field("others", "boolean", "Sign out all but this one", ("0",)),
        ]
        text = "Who is signed out needs the password, unless it was kept. Change it to keep somebody out who knows it."
        return Ask(form("form", NODE, fields, "Linked devices", text), complete=self._sign_out)

    async def _sign_out(self, call: Call) -> Done:
        account, filled = call.account, call.form
        assert account is not None
        if filled is None:
            raise NotAcceptable("the form is missing")
        devices = await self.linked(account)
        wanted = [key for key in filled.values.get("devices", ()) if key]
        if filled.boolean("others"):
            wanted += [key for key, each in devices.items() if call.session not in each.sessions]
        gone = [devices[key] for key in dict.fromkeys(wanted) if key in devices]
        if any(call.session in each.sessions for each in gone):
            raise NotAcceptable("sign out of this one where you are")
        await self.sign_out(account, gone, call.session)
        if not gone:
            return Done("Nobody was signed out.")
        knowing = [each.name for each in gone if each.password]
        note = f"Signed out: {', '.join(each.name for each in gone)}."
        if knowing:
            note += f" {', '.join(knowing)} may know the password: change it, if they are not to come back."
        return Done(note, "warn" if knowing else "info")

    # ---- for administrators

    @operation("devices.list", "List the clients that come to an account.")
    async def listed(self, jid: Annotated[AccountJid, Argument("The account.")]) -> LinkedDevices:
        account = await self._account(jid)
        return LinkedDevices(tuple(each.text() for each in (await self.linked(account)).values()))

    @operation("devices.revoke", "Sign out all clients of an account; those that know the password can come back.")
    async def revoke_all(self, jid: Annotated[AccountJid, Argument("The account.")]) -> Note:
        account = await self._account(jid)
        devices = await self.linked(account)
        await self.sign_out(account, devices.values())
        return Note(f"Signed out: {len(devices)}.")

    async def _account(self, jid: AccountJid) -> Account:
        account = await self.host.open_account(jid)
        if account is None:
            raise ItemNotFound("there is no such account")
        return account


def _element(linked: Linked) -> Element:
    device = linked.device
    agent = [E(name, NS, {}, text) for name, text in (("software", device.software), ("device", device.device)) if text]
    proofs = [E(name, NS) for name, there in (("password", linked.password), ("fast", linked.token)) if there]
    return E(
        "client",
        NS,
        {"connected": "true" if linked.sessions else "false", "id": linked.id, "type": "session"},
        E("first-seen", NS, {}, stamp(int(device.first) * 1_000_000)),
        E("last-seen", NS, {}, stamp(int(device.last) * 1_000_000)),
        E("auth", NS, {}, *proofs),
        E("permission", NS, {"status": "unrestricted"}),
        E("user-agent", NS, {}, *agent),
    )


def _shown(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M UTC")
