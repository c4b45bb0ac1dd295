"""slixmpp, as a person."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from slixmpp import JID, ClientXMPP

WITHIN = 15.0
"""Seconds for anything to happen (the Java database server needs some of them at first)."""
PLUGINS = (4, 30, 45, 54, 59, 191, 198, 199, 203, 280, 297, 313, 359)


async def eventually(true: Callable[[], Any], what: str = "") -> None:
    """Wait until it is."""
    end = asyncio.get_running_loop().time() + WITHIN
    while not true():
        assert asyncio.get_running_loop().time() < end, f"never happened: {what or true}"
        await asyncio.sleep(0.02)


class Person(ClientXMPP):
    """A client that verifies the server's certificate and remembers what it is told."""

    def __init__(self, jid: str, certificate: Path, mechanism: str | None = None, password: str = "pencil") -> None:
        super().__init__(jid, password, sasl_mech=mechanism)
        self.ca_certs = certificate
        for number in PLUGINS:
            self.register_plugin(f"xep_{number:04d}")
        self.messages: asyncio.Queue[Any] = asyncio.Queue()
        self.said: list[tuple[str, str]] = []
        """(from, body) of all messages."""
        self.add_event_handler("message", self._hear)

    def _hear(self, message: Any) -> None:
        if message["body"]:
            self.said.append((str(message["from"]), message["body"]))
            self.messages.put_nowait(message)

    async def sign_in(self, port: int, tls: str = "starttls", address: str = "127.0.0.1") -> None:
        """Connected, signed in, bound. Raises TimeoutError."""
        self.enable_direct_tls, self.enable_starttls = tls == "direct", tls == "starttls"
        done = asyncio.ensure_future(self.wait_until("session_start", WITHIN))
        self.connect(address, port)
        await done

    async def appear(self) -> None:
        """What clients do: ask for the roster, then be available."""
        await self.get_roster(timeout=WITHIN)
        self.send_presence()
        await self.settled()

    async def hear(self) -> Any:
        """The next message with a body."""
        return await asyncio.wait_for(self.messages.get(), WITHIN)

    def say(self, to: str, text: str, kind: Literal["chat", "groupchat"] = "chat") -> None:
        self.send_message(mto=JID(to), mbody=text, mtype=kind)

    async def settled(self) -> None:
        """The server is through with all that was sent."""
        await self.plugin["xep_0199"].ping(JID(self.boundjid.domain), timeout=WITHIN)

    def sees(self, contact: str) -> bool:
        """A resource of the contact is available."""
        return contact in self.client_roster and bool(self.client_roster[contact].resources)

    def subscribed(self, contact: str) -> bool:
        """Both ways."""
        return bool(self.client_roster[contact]["subscription"] == "both")

    def leave(self) -> None:
        """Gone, without a word."""
        self.end_session_on_disconnect = True
        self.abort()
