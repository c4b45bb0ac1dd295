"""What an administrator can do to accounts; run by the server itself or, while it does not run, on its store."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol

from ..errors import ItemNotFound, MalformedJid, StorageUnavailable
from ..jid import JID, prepare_domain
from .accounts import AccountExists, Accounts, NoSuchAccount
from .removal import NameHeld

REMOVED_WITHIN = 20.0
"""Seconds that who removes an account waits for the end."""


class OperationError(Exception):
    """It was not done; the text says why, for the person who asked."""


class Runner(Protocol):
    async def run(self, command: str, arguments: dict[str, Any]) -> Any: ...


class Operations:
    """`domains`: those of type accounts. `more`: what only a running server can do, by name of the command."""

    def __init__(
        self, accounts: Accounts, domains: Iterable[str], more: Mapping[str, Callable[[], Awaitable[Any]]] | None = None
    ) -> None:
        self.accounts = accounts
        self.domains = frozenset(JID.parse(domain).domain for domain in domains)
        self._commands: dict[str, Callable[..., Awaitable[Any]]] = {
            "user add": self.add,
            "user list": self.list,
            "user passwd": self.passwd,
            "user del": self.delete,
            "user release": self.release,
            "ping": self.ping,
            **(more or {}),
        }

    async def run(self, command: str, arguments: dict[str, Any]) -> Any:
        """Raises OperationError."""
        found = self._commands.get(command)
        if found is None:
            raise OperationError(f"unknown command {command!r}")
        try:
            inspect.signature(found).bind(**arguments)
        except TypeError as error:
            raise OperationError(f"{command}: {error}") from None
        if not all(isinstance(value, str) for value in arguments.values()):
            raise OperationError(f"{command}: arguments are texts")
        try:
            return await found(**arguments)
        except StorageUnavailable as error:
            raise OperationError(f"the store does not answer: {error}") from None

    async def ping(self) -> str:
        return "pong"

    def _jid(self, text: str) -> JID:
        try:
            jid = JID.parse(text)
        except MalformedJid as error:
            raise OperationError(f"{text}: {error}") from None
        if not jid.local or jid.resource:
            example = min(self.domains, default="example.org")
            raise OperationError(f"{text}: an account looks like name@{example}")
        self._served(text, jid.domain)
        return jid

    def _served(self, text: str, domain: str) -> None:
        if domain not in self.domains:
            known = ", ".join(sorted(self.domains)) or "no domain"
            raise OperationError(f"{text}: this server has accounts at {known}")

    async def add(self, jid: str, password: str) -> str:
        if not password:
            raise OperationError("an empty password is no password")
        try:
            await self.accounts.create(self._jid(jid), password)
        except AccountExists:
            raise OperationError(f"{jid}: there is such an account already") from None
        except NameHeld as error:
            raise OperationError(f"{jid}: {error.text}") from None
        except ValueError as error:
            raise OperationError(f"{jid}: {error}") from None
        return self._jid(jid).bare

    async def passwd(self, jid: str, password: str) -> str:
        if not password:
            raise OperationError("an empty password is no password")
        try:
            await self.accounts.set_password(self._jid(jid), password)
        except NoSuchAccount:
            raise OperationError(f"{jid}: there is no such account") from None
        except ValueError as error:
            raise OperationError(f"{jid}: {error}") from None
        return self._jid(jid).bare

    async def delete(self, jid: str) -> str:
        """Waits a little for the end; what is not done by then is done later, whatever happens."""
        try:
            await self.accounts.delete(self._jid(jid))
        except NoSuchAccount:
            raise OperationError(f"{jid}: there is no such account") from None
        bare = self._jid(jid).bare
        if self.accounts.remover is None:
            return f"{bare} (what rooms, nodes and contacts hold of it is removed when the server runs)"
        if not await self.accounts.deleted(self._jid(jid), REMOVED_WITHIN):
            return f"{bare} (what rooms, nodes and contacts hold of it is still being removed)"
        return bare

    async def release(self, jid: str) -> str:
        try:
            await self.accounts.release(self._jid(jid))
        except (NameHeld, ItemNotFound) as error:
            raise OperationError(f"{jid}: {error.text}") from None
        return self._jid(jid).bare

    async def list(self, domain: str, after: str = "") -> list[str]:
        try:
            prepared = prepare_domain(domain)
        except MalformedJid as error:
            raise OperationError(f"{domain}: {error}") from None
        self._served(domain, prepared)
        return await self.accounts.list(prepared, after)
