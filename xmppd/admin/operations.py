"""What an administrator can do to the accounts of a host, in a running server or on its store while it does not run."""

from __future__ import annotations

import asyncio
import enum
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final

from ..config.units import Duration
from ..contracts.admin import (
    ADMIN_NS,
    AccountJid,
    AdHoc,
    Argument,
    Code,
    DeviceJid,
    Domain,
    Needs,
    OperationError,
    Page,
    Result,
    Secret,
    Shown,
    failure,
    operation,
)
from ..contracts.core import Host
from ..errors import StanzaError
from ..jid import JID
from .accounts import PAGE, Accounts

ONE: Final = {"jid": "accountjid"}
WITHIN: Final = Duration(20)
"""So long who deletes an account waits for the end."""
SEVERAL: Final = {"jids": "accountjids"}


class State(enum.Enum):
    """Which accounts."""

    REGISTERED = "registered"
    ONLINE = "online"
    """One of its devices has sent presence."""
    ACTIVE = "active"
    """Somebody is connected."""
    DISABLED = "disabled"


TITLES: Final = {
    State.REGISTERED: "registered accounts",
    State.ONLINE: "accounts online",
    State.ACTIVE: "accounts in use",
    State.DISABLED: "disabled accounts",
}


def _counted(state: State) -> AdHoc:
    """XEP-0133 sections 4.13 to 4.17."""
    shown = Shown("count", f"{state.value}usersnum", label=TITLES[state])
    node = f"{ADMIN_NS}#get-{state.value}-users-num"
    return AdHoc(node, f"Number of {TITLES[state]}", fixed={"state": state.value}, results=(shown,))


def _listed(state: State) -> AdHoc:
    """XEP-0133 sections 4.18 to 4.22."""
    shown = Shown("items", f"{state.value}userjids", "jid-multi", TITLES[state])
    node = f"{ADMIN_NS}#get-{state.value}-users-list"
    return AdHoc(node, f"List of {TITLES[state]}", fixed={"state": state.value}, results=(shown,))


def _xep0133(node: str, title: str = "") -> AdHoc:
    """A command about one account or several."""
    return AdHoc(f"{ADMIN_NS}#{node}", title, fields=ONE | SEVERAL)


class Added(Result, frozen=True):
    jid: JID

    def text(self) -> str:
        return f"Added {self.jid}."


class Changed(Result, frozen=True):
    jid: JID

    def text(self) -> str:
        return f"Changed the password of {self.jid}."


class Released(Result, frozen=True):
    jid: JID

    def text(self) -> str:
        return f"{self.jid} can be added again."


class Disabled(Result, frozen=True):
    """`disabled`: False if they can sign in again."""

    jids: tuple[JID, ...]
    disabled: bool

    def text(self) -> str:
        return f"{'Disabled' if self.disabled else 'Enabled'} {_names(self.jids)}."


class Deleted(Result, frozen=True):
    """`left`: those of which rooms, nodes and contacts still hold something; it goes by itself. `live`: it is going."""

    jids: tuple[JID, ...]
    left: tuple[JID, ...]
    live: bool

    def text(self) -> str:
        when = "is still being removed" if self.live else "is removed when the server runs"
        more = f" (what rooms, nodes and contacts hold of it {when})"
        return f"Deleted {', '.join(f'{jid}{more}' if jid in self.left else str(jid) for jid in self.jids)}."


class Ended(Result, frozen=True):
    sessions: int

    def text(self) -> str:
        return f"{self.sessions} sessions have ended."


class Count(Result, frozen=True):
    count: int

    def text(self) -> str:
        return str(self.count)


class AccountOperations:
    """`host`: None while the server does not run."""

    def __init__(self, accounts: Accounts, domain: str, host: Host | None = None) -> None:
        self.accounts = accounts
        self.domain = JID.parse(domain).domain
        self.host = host

    # ---- one account (XEP-0133 sections 4.1 to 4.6)

    @operation(
        "user.add",
        "Add an account.",
        needs=Needs.NOTHING,
        forms=(AdHoc(f"{ADMIN_NS}#add-user", fields=ONE, repeated={"password": "password-verify"}),),
    )
    async def add(
        self,
        jid: Annotated[AccountJid, Argument("The account, as name@domain.")],
        password: Annotated[Secret, Argument("The password.", "-p")],
    ) -> Added:
        with _about(jid):
            await self.accounts.create(jid, password)
        return Added(jid)

    @operation(
        "user.passwd",
        "Set a new password; sessions signed in with the old one end.",
        needs=Needs.STORE,
        forms=(_xep0133("change-user-password", title="Change a password"),),
    )
    async def passwd(
        self,
        jid: Annotated[AccountJid, Argument("The account, as name@domain.")],
        password: Annotated[Secret, Argument("The password.", "-p")],
    ) -> Changed:
        with _about(jid):
            await self.accounts.set_password(jid, password)
        return Changed(jid)

    @operation(
        "user.release",
        "Give the name of a deleted account free before its quarantine ends (option `quarantine` of the host).",
        needs=Needs.STORE,
        forms=(AdHoc("urn:xmppd:release-name", "Give the name of a deleted account free", fields=ONE),),
    )
    async def release(self, jid: Annotated[AccountJid, Argument("The account, as name@domain.")]) -> Released:
        with _about(jid):
            await self.accounts.release(jid)
        return Released(jid)

    # ---- several; all are looked at before anything is done to one

    @operation(
        "user.del",
        "Delete accounts and everything they own.",
        needs=Needs.STORE,
        dangerous=True,
        forms=(AdHoc(f"{ADMIN_NS}#delete-user", fields=SEVERAL, fixed={"wait": 0}),),
    )
    async def delete(
        self,
        jids: Annotated[tuple[AccountJid, ...], Argument("The accounts, as name@domain.")],
        wait: Annotated[Duration, Argument("How long to wait until nothing on this server names them.")] = WITHIN,
    ) -> Deleted:
        """What is not done by then is done later, whatever happens."""
        await self._there(jids)
        for jid in jids:
            with _about(jid):
                await self.accounts.delete(jid)
        if not wait:
            return Deleted(jids, jids, self.host is not None)
        done = await asyncio.gather(*(self.accounts.deleted(jid, float(wait)) for jid in jids))
        left = tuple(jid for jid, complete in zip(jids, done, strict=True) if not complete)
        return Deleted(jids, left, self.host is not None)

    @operation(
        "user.disable",
        "Disable accounts: nobody signs in to them, and they keep what they have and get messages.",
        needs=Needs.STORE,
        forms=(_xep0133("disable-user", title="Disable accounts"),),
    )
    async def disable(
        self, jids: Annotated[tuple[AccountJid, ...], Argument("The accounts, as name@domain.")]
    ) -> Disabled:
        return await self._disable(jids, True)

    @operation(
        "user.enable",
        "Enable accounts again that were disabled.",
        needs=Needs.STORE,
        forms=(_xep0133("reenable-user"),),
    )
    async def enable(
        self, jids: Annotated[tuple[AccountJid, ...], Argument("The accounts, as name@domain.")]
    ) -> Disabled:
        return await self._disable(jids, False)

    async def _disable(self, jids: tuple[JID, ...], disabled: bool) -> Disabled:
        await self._there(jids)
        for jid in jids:
            with _about(jid):
                await self.accounts.set_disabled(jid, disabled)
        return Disabled(jids, disabled)

    @operation("session.end", "End sessions.", forms=(_xep0133("end-user-session"),))
    async def end_sessions(
        self,
        jids: Annotated[tuple[DeviceJid, ...], Argument("Accounts, or full JIDs of devices.")],
    ) -> Ended:
        """Section 4.5: of a bare JID all, of a full one that."""
        host, count = self._running, 0
        for jid in jids:
            account = host.account(jid.bare)
            for session in list(account.sessions.values()) if account is not None else ():
                if not jid.resource or session.resource == jid.resource:
                    host.server.session_manager.end(session, "policy-violation")
                    count += 1
        return Ended(count)

    # ---- all of them (sections 4.13 to 4.22)

    @operation("user.list", "List the accounts of a domain.", needs=Needs.STORE, forms=tuple(map(_listed, State)))
    async def list_(
        self,
        domain: Annotated[Domain, Argument("The domain.")],
        state: Annotated[State, Argument("Only those that are so.")] = State.REGISTERED,
        after: Annotated[str, Argument("Only those behind this one, in the order of the list.")] = "",
    ) -> Page:
        if state in (State.ONLINE, State.ACTIVE):
            found = self._in_use(state)
            page = found[bisect_right(found, after) :][:PAGE]
        else:
            found = page = await self.accounts.list(self.domain, after)
        following = page[-1] if len(page) == PAGE else ""
        if state is State.DISABLED:
            page = [bare for bare in page if await self._is_disabled(bare)]
        return Page(tuple(page), following)

    @operation("user.count", "Count the accounts of a domain.", needs=Needs.STORE, forms=tuple(map(_counted, State)))
    async def count(
        self,
        domain: Annotated[Domain, Argument("The domain.")],
        state: Annotated[State, Argument("Only those that are so.")] = State.REGISTERED,
    ) -> Count:
        page = await self.list_(domain, state)
        number = len(page.items)
        while page.next:
            page = await self.list_(domain, state, page.next)
            number += len(page.items)
        return Count(number)

    def _in_use(self, state: State) -> list[str]:
        accounts = [(bare, account) for bare, account in self._running.accounts.items() if account is not None]
        if state is State.ONLINE:
            return sorted(bare for bare, account in accounts if account.available())
        return sorted(
            bare for bare, account in accounts if any(each.stream is not None for each in account.sessions.values())
        )

    async def _is_disabled(self, bare: str) -> bool:
        try:
            return await self.accounts.is_disabled(JID.parse(bare))
        except StanzaError:  # it was deleted meanwhile
            return False

    # ---- whom

    @property
    def _running(self) -> Host:
        """Raises OperationError."""
        if self.host is None:
            raise OperationError("only a running server knows that", Code.NOT_RUNNING)
        return self.host

    async def _there(self, jids: tuple[JID, ...]) -> None:
        for jid in jids:
            if not await self.accounts.exists(jid):
                raise OperationError(f"{jid}: there is no such account", Code.NOT_FOUND)


@contextmanager
def _about(jid: JID) -> Iterator[None]:
    try:
        yield
    except StanzaError as error:
        raise failure(error, jid) from None


def _names(jids: tuple[JID, ...]) -> str:
    return ", ".join(map(str, jids))
