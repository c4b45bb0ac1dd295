"""`xmppd store check` on the store of a harness."""

from __future__ import annotations

from typing import Any, Protocol

from xmppd.server.server import Server
from xmppd.server.store_check import Finding, StoreChecker
from xmppd.storage.listed import ListedStore


class Stopped(Protocol):
    """What the check needs of a harness."""

    config: Any
    clock: Any

    @property
    def backend(self) -> Any: ...


async def findings(harness: Stopped, owner: str = "", **options: Any) -> list[Finding]:
    """What the check finds, by another server object on the same store. The harness need not be stopped if all that it
    had to store is stored."""
    store = ListedStore(harness.backend, harness.clock)
    server = Server(harness.config, store, harness.clock, secret=b"s" * 32)
    server.load_plugins()
    found: list[Finding] = []
    await StoreChecker(server, store, found.append, owner=owner, **options).run()
    return found


async def problems(harness: Stopped, owner: str = "", **options: Any) -> list[str]:
    """The same as text, without notes."""
    return [each.text() for each in await findings(harness, owner, **options) if each.level != "note"]
