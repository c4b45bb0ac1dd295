"""A guest: a client that asks, and is never available (so nothing that waits for the account comes to it)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal
from xml.etree import ElementTree as ET

from slixmpp import JID, ClientXMPP
from slixmpp.exceptions import IqError, IqTimeout

STREAMS = "{http://etherx.jabber.org/streams}"
PARTING = 2.0
"""Seconds for the server to close its side."""
Matches = Callable[[ET.Element], bool]


@dataclass(frozen=True)
class Address:
    """Where a client connects. `direct`: TLS from the first byte."""

    host: str
    port: int
    direct: bool = False

    def __str__(self) -> str:
        return f"{self.host}:{self.port} ({'direct TLS' if self.direct else 'STARTTLS'})"


class Refused(Exception):
    """A stanza error."""

    def __init__(self, condition: str, text: str = "") -> None:
        super().__init__(f"{condition} ({text})" if text else condition)
        self.condition = condition


class NoSignIn(Exception):
    """Its text says why."""


class Visitor(ClientXMPP):
    """One session. `resumable`: with stream management."""

    def __init__(self, jid: str, password: str, context: ssl.SSLContext, timeout: float, resumable: bool = False):
        super().__init__(jid, password)
        self.ssl_context = context
        self.timeout = timeout
        self.auto_authorize, self.auto_subscribe = None, False  # it decides nothing for the account's owner
        self.whitespace_keepalive = False
        self.offers: list[ET.Element] = []
        """Stream features, as they came."""
        self.last: dict[str, ET.Element] = {}
        """By tag, of what is no stanza: the latest."""
        self.resumed = False
        self.errors: list[str] = []
        """Conditions of failed attempts and of stream errors."""
        self.mechanism = ""
        self._waiting: list[tuple[Matches, asyncio.Future[ET.Element]]] = []
        self._arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.gone = asyncio.Event()
        if resumable:
            self.register_plugin("xep_0198")
        self.add_filter("in", self._see)
        for event, handler in {
            "session_start": lambda _: self._here(),
            "session_resumed": lambda _: self._here(resumed=True),
            "failed_auth": lambda failure: self.errors.append(failure["condition"]),
            "failed_all_auth": lambda _: self._not_here(self._said() or "no mechanism that is safe here"),
            "ssl_invalid_chain": lambda error: self._not_here(certificate_problem(error)),
            "connection_failed": lambda error: self._not_here(certificate_problem(error)),
            "stream_error": lambda error: self.errors.append(error["condition"]),
            "disconnected": self._lost,
        }.items():
            self.add_event_handler(event, handler)

    # ---- coming and going

    async def sign_in(self, where: Address) -> None:
        """Connected, signed in, bound (or resumed). Raises NoSignIn."""
        self.enable_direct_tls, self.enable_starttls = where.direct, not where.direct
        self._arrived = asyncio.get_running_loop().create_future()
        self.gone.clear()
        self.offers.clear()
        self.connect(where.host, where.port)
        try:
            async with asyncio.timeout(self.timeout):
                await self._arrived
        except BaseException as error:
            self.cancel_connection_attempt()
            self.abort()
            if isinstance(error, TimeoutError):
                raise NoSignIn(f"no answer within {self.timeout:g} s") from None
            raise

    async def leave(self) -> None:
        """End the stream as one should, so that the server keeps nothing for a return."""
        self.cancel_connection_attempt()
        if self.transport is not None:
            self.end_session_on_disconnect = True
            await self.disconnect(PARTING, ignore_send_queue=True)

    async def cut(self) -> None:
        """Lose the connection without a word."""
        if self.transport is not None:
            self.transport.abort()
            async with asyncio.timeout(self.timeout):
                await self.gone.wait()

    def _here(self, resumed: bool = False) -> None:
        self.resumed = resumed
        mechanism = self.plugin["feature_mechanisms"].mech
        self.mechanism = mechanism.name if mechanism is not None else ""
        if not self._arrived.done():
            self._arrived.set_result(None)

    def _not_here(self, why: str) -> None:
        if not self._arrived.done():
            self._arrived.set_exception(NoSignIn(why))
        self.cancel_connection_attempt()

    def _said(self) -> str:
        """The errors, each once: many mechanisms fail alike."""
        return ", ".join(dict.fromkeys(self.errors))

    def _lost(self, reason: object) -> None:
        self.gone.set()
        self._not_here(self._said() or f"the server closed the connection ({reason})")
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(ConnectionError("the connection was lost"))
        self._waiting.clear()

    # ---- talking

    def _see(self, stanza: Any) -> Any:
        xml = stanza.xml
        if xml.tag == f"{STREAMS}features":
            self.offers.append(xml)
        if not xml.tag.startswith("{jabber:client}"):
            self.last[xml.tag] = xml
        for entry in list(self._waiting):
            matches, future = entry
            if future.done() or matches(xml):
                self._waiting.remove(entry)
                if not future.done():
                    future.set_result(xml)
        return stanza

    async def expect(self, matches: Matches, send: str) -> ET.Element:
        """Send XML; the first element afterwards that is the answer. Raises TimeoutError, ConnectionError."""
        self._connected()
        future: asyncio.Future[ET.Element] = asyncio.get_running_loop().create_future()
        self._waiting.append((matches, future))
        self.send_raw(send)
        async with asyncio.timeout(self.timeout):
            return await future

    async def ask(self, kind: Literal["get", "set"], payload: str, to: str = "") -> ET.Element:
        """The answer to an IQ. Raises Refused, TimeoutError, ConnectionError."""
        self._connected()
        iq = self.Iq()
        iq["type"] = kind
        if to:
            iq["to"] = JID(to)
        iq.append(ET.fromstring(payload))
        answer = asyncio.ensure_future(iq.send(timeout=self.timeout))  # type: ignore[no-untyped-call]
        lost = asyncio.ensure_future(self.gone.wait())
        try:
            await asyncio.wait({answer, lost}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise ConnectionError("the server closed the connection")
            found: ET.Element = (await answer).xml
            return found
        except IqError as error:
            raise Refused(error.condition, error.text) from None
        except IqTimeout:
            raise TimeoutError from None
        finally:
            lost.cancel()
            answer.cancel()

    def _connected(self) -> None:
        if self.transport is None:
            raise ConnectionError("the connection was lost")


def certificate_problem(error: object) -> str:
    """One line about an error of a connection."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = "--insecure accepts it, --ca-file trusts its issuer"
        return f"the certificate is not trusted: {error.verify_message} ({why})"
    return str(error)
