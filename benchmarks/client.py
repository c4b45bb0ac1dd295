"""A client that costs little: raw bytes, no XML parser, markers are searched and counted.

It knows the servers it talks to (stanzas are written with </message>, attributes of headers with ' or ") and is no
example of how to write a client.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import ssl
from collections.abc import Callable
from secrets import token_urlsafe
from typing import ClassVar, Final, Self, cast
from uuid import UUID

DOMAIN: Final = "localhost"
PASSWORD: Final = "correct horse"
WAIT: Final = 60.0
"""Seconds for an answer, the whole machine being busy."""
END_OF_MESSAGE: Final = b"</message>"

_SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
_SASL2 = "urn:xmpp:sasl:2"
_FAST_NS = "urn:xmpp:fast:0"
_FAST = "HT-SHA-256-NONE"
_JID = re.compile(rb"<jid>([^<]+)</jid>")
_TEXT = re.compile(rb">([^<]*)<")
_PING = re.compile(rb"""<iq\b[^>]*?\sid=['"]([^'"]+)['"][^>]*><ping\b""")
_LONGEST_PING: Final = 300
"""Bytes; so much of one read is looked at again with the next."""

_salted: dict[tuple[bytes, int], bytes] = {}
"""Clients keep the salted password (RFC 5802 section 3); so the accounts of a benchmark share a salt."""


class LoadError(Exception):
    """The server did not do what the load expects."""


def user(number: int) -> str:
    """The address of a benchmark account."""
    return f"u{number}@{DOMAIN}"


def opening_of(domain: str) -> bytes:
    """The header of a stream to a domain."""
    return (
        f"<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' xmlns='jabber:client' "
        "xmlns:stream='http://etherx.jabber.org/streams'>"
    ).encode()


class Client(asyncio.Protocol):
    """One connection. Either `expect` reads, or `sink` gets all bytes."""

    domain: ClassVar[str] = DOMAIN
    opening: ClassVar[bytes] = opening_of(DOMAIN)
    closing: ClassVar[bytes] = b"</stream:stream>"

    def __init__(self) -> None:
        self.jid = ""
        self.sink: Callable[[bytes], None] | None = None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._read = bytearray()
        self._tail = b""
        self._wanted: tuple[bytes, asyncio.Future[None]] | None = None
        self._ids = 0

    @classmethod
    async def connect(cls, port: int, tls: ssl.SSLContext | None = None) -> Self:
        """With `tls`, from the first byte. Raises OSError."""
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(
            cls, "127.0.0.1", port, ssl=tls, server_hostname=cls.domain if tls is not None else None
        )
        return client

    @classmethod
    async def signed_in(
        cls, port: int, number: int, resource: str = "load", tls: ssl.SSLContext | None = None, scram: bool = False
    ) -> Self:
        """Connected, signed in, bound. Raises LoadError, OSError."""
        client = await cls.connect(port, tls)
        await client.sign_in(f"u{number}", scram)
        await client.bind(resource)
        return client

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass

    def data_received(self, data: bytes) -> None:
        if self.sink is not None:
            self._answer_pings(data)
            self.sink(data)
            return
        self._read += data
        if self._wanted is not None and self._wanted[0] in self._read:
            waiter, self._wanted = self._wanted[1], None
            if not waiter.done():
                waiter.set_result(None)

    def _answer_pings(self, data: bytes) -> None:
        """A client answers every IQ (RFC 6120 section 8.2.3); who stays mute is not believed to have received."""
        seen = self._tail + data
        done = max(0, len(seen) - _LONGEST_PING)
        if b"<ping" in seen:
            for found in _PING.finditer(seen):
                self.write(b"<iq type='result' id='%b' to='%b'/>" % (found[1], self.domain.encode()))
                done = max(done, found.end())
        self._tail = seen[done:]

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
        if self._wanted is not None and not self._wanted[1].done():
            self._wanted[1].set_exception(LoadError(f"connection lost: {bytes(self._read[-300:])!r}"))

    # ---- reading and writing

    def write(self, data: bytes) -> None:
        """Send one element; over TCP it may be several. Raises LoadError when the connection is gone."""
        self.write_all([data])

    def write_all(self, elements: list[bytes]) -> None:
        """Raises LoadError when the connection is gone."""
        self.write_raw(b"".join(elements))

    def write_raw(self, data: bytes) -> None:
        """Raises LoadError when the connection is gone."""
        if self._transport is None or self.lost.done():
            raise LoadError(f"{self.jid or 'a client'} is not connected")
        self._transport.write(data)

    async def expect(self, marker: bytes) -> bytes:
        """Everything up to the first `marker`, with it. Raises LoadError."""
        if marker not in self._read:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._wanted = (marker, waiter)
            try:
                await asyncio.wait_for(waiter, WAIT)
            except TimeoutError:
                raise LoadError(f"no {marker!r} in {bytes(self._read[-500:])!r}") from None
        end = self._read.index(marker) + len(marker)
        found = bytes(self._read[:end])
        del self._read[:end]
        return found

    async def iq(self, type: str, payload: str, to: str = "", end: str = "") -> bytes:
        """Send an IQ and read to the end of its answer (`end`: a marker near it; else that it has begun)."""
        self._ids += 1
        id = f"q{self._ids}"
        address = f" to='{to}'" if to else ""
        self.write(f"<iq type='{type}' id='{id}'{address}>{payload}</iq>".encode())
        found = await self._one_of(f"id='{id}'".encode(), f'id="{id}"'.encode())
        return found + (await self.expect(end.encode()) if end else await self.expect(b">"))

    async def _one_of(self, single: bytes, double: bytes) -> bytes:
        if double in self._read:
            return await self.expect(double)
        return await self.expect(single)

    async def settled(self) -> None:
        """The server has worked off all that this client has sent: it answers in order (RFC 6120 section 10.1)."""
        await self.iq("get", "<ping xmlns='urn:xmpp:ping'/>", to=self.domain)

    # ---- signing in

    async def sign_in(self, name: str, scram: bool = False) -> None:
        """Up to the features of the signed-in stream. Raises LoadError."""
        self.write(self.opening)
        await self.expect(b"</stream:features>")
        if scram:
            await self._scram(name)
        else:
            plain = base64.b64encode(f"\0{name}\0{PASSWORD}".encode()).decode()
            self.write(f"<auth xmlns='{_SASL}' mechanism='PLAIN'>{plain}</auth>".encode())
        await self.expect(b"<success")
        await self.expect(b">")
        self.write(self.opening)
        await self.expect(b"</stream:features>")

    async def _scram(self, name: str) -> None:
        """SCRAM-SHA-256 without channel binding (RFC 5802 section 5, RFC 7677)."""
        first = f"n={name},r={token_urlsafe(18)}"
        begin = base64.b64encode(f"n,,{first}".encode()).decode()
        self.write(f"<auth xmlns='{_SASL}' mechanism='SCRAM-SHA-256'>{begin}</auth>".encode())
        self.write(f"<response xmlns='{_SASL}'>{await self._proof(first)}</response>".encode())

    async def sign_in_at_once(self, name: str, previous: str = "", token: str = "", want_token: bool = False) -> bytes:
        """By SASL2 (XEP-0388), with SCRAM-SHA-256 or a `token` (XEP-0484). In the same step come a resource, stream
        management and carbons (XEP-0386), or the resumption of a stream, by its SM-ID. The header and the request are
        sent together, as by a client that knows what is offered (XEP-0509). Returns the answer. Raises LoadError."""
        first = f"n={name},r={token_urlsafe(18)}"
        mechanism, initial, more = "SCRAM-SHA-256", f"n,,{first}".encode(), ""
        if token:
            proof = hmac.digest(token.encode(), b"Initiator", "sha256")
            mechanism, initial, more = _FAST, f"{name}\0".encode() + proof, f"<fast xmlns='{_FAST_NS}'/>"
        elif want_token:
            more = f"<request-token xmlns='{_FAST_NS}' mechanism='{_FAST}'/>"
        if more:
            more += f"<user-agent id='{UUID(int=int(name[1:]), version=4)}'/>"
        begin = base64.b64encode(initial).decode()
        resume = f"<resume xmlns='urn:xmpp:sm:3' h='0' previd='{previous}'/>" if previous else ""
        inline = "<enable xmlns='urn:xmpp:carbons:2'/><enable xmlns='urn:xmpp:sm:3' resume='true'/>"
        self.write(
            self.opening
            + f"<authenticate xmlns='{_SASL2}' mechanism='{mechanism}'><initial-response>{begin}</initial-response>"
            f"{more}{resume}<bind xmlns='urn:xmpp:bind:0'><tag>load</tag>{inline}</bind></authenticate>".encode()
        )
        if not token:
            self.write(f"<response xmlns='{_SASL2}'>{await self._proof(first)}</response>".encode())
        answer = await self.expect(b"</success>")
        if b"<resumed" not in answer:
            if b"<enabled" not in answer:
                raise LoadError(f"no stream management: {answer[-300:]!r}")
            await self.expect(b"</stream:features>")
        return answer

    def drop(self) -> None:
        """End the connection without a word."""
        if self._transport is not None:
            self._transport.abort()

    async def hang_up(self) -> None:
        """End the connection, and wait until the other side has, too."""
        assert self._transport is not None
        self._transport.close()
        await self.lost

    async def _proof(self, first: str) -> str:
        """Waits for the challenge. Returns what answers it."""
        await self.expect(b"<challenge")
        text = _TEXT.search(b">" + (await self.expect(b"</challenge>")).partition(b">")[2])
        assert text is not None
        challenge = base64.b64decode(text[1])
        fields = dict(part.split(b"=", 1) for part in challenge.split(b","))
        salt, iterations = base64.b64decode(fields[b"s"]), int(fields[b"i"])
        salted = _salted.get((salt, iterations))
        if salted is None:
            salted = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), salt, iterations)
            _salted[salt, iterations] = salted
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        bare = b"c=biws,r=" + fields[b"r"]
        message = b",".join((first.encode(), challenge, bare))
        signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        return base64.b64encode(bare + b",p=" + base64.b64encode(proof)).decode()

    async def bind(self, resource: str) -> None:
        """Raises LoadError."""
        bind = f"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{resource}</resource></bind>"
        found = _JID.search(await self.iq("set", bind, end="</iq>"))
        if found is None:
            raise LoadError("no address was bound")
        self.jid = found[1].decode()

    async def appear(self) -> None:
        """Initial presence, and wait until it is broadcast."""
        self.write(b"<presence/>")
        await self.settled()

    async def manage(self) -> None:
        """Enable stream management; from now on `h` counts messages only, so nothing else may come."""
        self.write(b"<enable xmlns='urn:xmpp:sm:3'/>")
        await self.expect(b"<enabled")
        await self.expect(b">")

    async def archived(self) -> int:
        """How many messages the last page of at most two in the own archive shows (XEP-0313)."""
        rsm = "<set xmlns='http://jabber.org/protocol/rsm'><max>2</max><before/></set>"
        return (await self.iq("set", f"<query xmlns='urn:xmpp:mam:2'>{rsm}</query>", end="</iq>")).count(b"</result>")

    async def close(self) -> None:
        if not self.lost.done() and self._transport is not None:
            self.write(self.closing)
            try:
                await asyncio.wait_for(asyncio.shield(self.lost), WAIT)
            except TimeoutError:
                self._transport.abort()


class Counter:
    """A sink that counts messages. `arrived` gets how many ended in the last read."""

    __slots__ = ("_arrived", "_client", "_managed", "_tail", "count")

    def __init__(self, client: Client, arrived: Callable[[int], None], managed: bool = False) -> None:
        self.count = 0
        self._client = client
        self._arrived = arrived
        self._managed = managed
        self._tail = b""
        client.sink = self.take

    def take(self, data: bytes) -> None:
        seen = self._tail + data
        found = seen.count(END_OF_MESSAGE)
        self._tail = seen[-len(END_OF_MESSAGE) + 1 :]
        self.count += found
        if self._managed and (b"<r " in seen or b"<r/>" in seen):
            self._tail = self._tail.replace(b"<r", b"")
            self._client.write(b"<a xmlns='urn:xmpp:sm:3' h='%d'/>" % self.count)
        if found:
            self._arrived(found)
