"""A small client over real sockets, written from the RFCs and not from the server's code.

It exists for what no client library does: SCRAM with tls-server-end-point, stanzas of every shape, a socket that is
cut at a chosen moment.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ssl
from collections import deque
from itertools import count
from secrets import token_hex
from types import TracebackType
from typing import Any

from cryptography import x509
from lxml import etree

Element = etree._Element
CLIENT = "{jabber:client}"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
SM = "urn:xmpp:sm:3"
STREAMS = "{http://etherx.jabber.org/streams}"
WITHIN = 10.0
"""Seconds for any answer."""
_serial = count(1)


def any_certificate() -> ssl.SSLContext:
    """TLS without a look at the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class SignInFailed(Exception):
    """Its text is the condition."""


class Wire:
    """A connection: `send` text, `receive` elements."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._inbox: deque[Element] = deque()
        self.ended = False
        self.domain = "localhost"
        self.jid = ""
        self.features: Element
        self._fresh()

    @classmethod
    async def connect(
        cls, port: int, tls: str = "starttls", context: ssl.SSLContext | None = None, domain: str = "localhost"
    ) -> Wire:
        """Connect, negotiate TLS, read the features behind it."""
        context = context or any_certificate()
        direct: dict[str, Any] = {"ssl": context, "server_hostname": domain} if tls == "direct" else {}
        wire = cls(*await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port, **direct), WITHIN))
        wire.domain = domain
        await wire.open()
        if tls == "starttls":
            wire.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            answer = await wire.receive()
            assert answer.tag.endswith("}proceed"), etree.tostring(answer)
            await wire._writer.start_tls(context, server_hostname=domain)
            await wire.open()
        return wire

    @classmethod
    async def login(cls, port: int, user: str, password: str = "pencil", resource: str = "", **options: Any) -> Wire:
        """Connected, signed in, bound; no presence."""
        wire = await cls.connect(port, **options)
        await wire.sign_in(user, password)
        await wire.bind(resource)
        return wire

    async def __aenter__(self) -> Wire:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()

    # ---- wire

    def _fresh(self) -> None:
        self._parser = etree.XMLPullParser(events=("start", "end"))
        self._depth = 0

    async def open(self) -> None:
        self._fresh()
        self.send(
            f"<?xml version='1.0'?><stream:stream xmlns='jabber:client' to='{self.domain}' version='1.0' "
            "xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        self.features = await self.receive()
        assert self.features.tag == f"{STREAMS}features", etree.tostring(self.features)

    def send(self, text: str) -> None:
        self._writer.write(text.encode())

    async def receive(self, within: float = WITHIN) -> Element:
        """The next element. Raises TimeoutError; EOFError at the end of the stream."""
        async with asyncio.timeout(within):
            while not self._inbox:
                if self.ended:
                    raise EOFError("the stream has ended")
                await self._read()
        return self._inbox.popleft()

    async def _read(self) -> None:
        try:
            data = await self._reader.read(65536)
        except (ConnectionError, ssl.SSLError):
            data = b""
        if not data:
            self.ended = True
            return
        self._take(data)

    def _take(self, data: bytes) -> None:
        """What has come."""
        self._parser.feed(data)
        for event, element in self._parser.read_events():
            self._depth += 1 if event == "start" else -1
            if event == "end" and self._depth == 1 and isinstance(element, Element):
                self._inbox.append(element)
            elif self._depth == 0:
                self.ended = True

    async def find(self, name: str, within: float = WITHIN, **attributes: str) -> Element:
        """The next element `name` ("message", "{ns}name") with these attributes; what comes before is dropped."""
        tag = name if name.startswith("{") else CLIENT + name
        while True:
            element = await self.receive(within)
            if element.tag == tag and all(element.get(key) == value for key, value in attributes.items()):
                return element

    async def stream_error(self) -> str:
        """The condition of the stream error that ends the stream."""
        error = await self.find(f"{STREAMS}error")
        return etree.QName(error[0].tag).localname

    async def iq(self, payload: str, type: str = "get", to: str = "") -> Element:
        """The answer; what comes before it is dropped."""
        id, address = f"i{next(_serial)}", f" to='{to}'" if to else ""
        self.send(f"<iq type='{type}' id='{id}'{address}>{payload}</iq>")
        return await self.find("iq", id=id)

    def stop_reading(self) -> None:
        """Not even the end of the stream is seen from now on."""
        transport = self._writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()

    def cut(self) -> None:
        """Break the connection, without a word."""
        self._writer.transport.abort()

    # ---- sign-in

    @property
    def mechanisms(self) -> list[str]:
        return [str(each.text) for each in self.features.iter(f"{{{SASL}}}mechanism")]

    async def sign_in(self, user: str, password: str = "pencil", mechanism: str = "") -> None:
        """By the best mechanism that is offered. Raises SignInFailed."""
        mechanism = mechanism or next(iter(self.mechanisms))
        if mechanism == "PLAIN":
            self._say("auth", f"\0{user}\0{password}".encode(), f" mechanism='{mechanism}'")
            await self._hear("success")
        else:
            await self._scram(user, password, mechanism)
        await self.open()

    async def _scram(self, user: str, password: str, mechanism: str) -> None:
        """RFC 5802 sections 3 and 5; RFC 5929 section 4 for -PLUS."""
        hash_name = mechanism.removeprefix("SCRAM-").removesuffix("-PLUS").replace("SHA-", "sha")
        plus = mechanism.endswith("-PLUS")
        header = b"p=tls-server-end-point,," if plus else b"n,,"
        bare = f"n={user},r={token_hex(12)}".encode()
        self._say("auth", header + bare, f" mechanism='{mechanism}'")
        challenge = await self._hear("challenge")
        fields = dict(part.split("=", 1) for part in challenge.decode().split(","))
        salt, rounds = base64.b64decode(fields["s"]), int(fields["i"])
        salted = hashlib.pbkdf2_hmac(hash_name, password.encode(), salt, rounds)
        binding = base64.b64encode(header + (self.end_point() if plus else b"")).decode()
        final = f"c={binding},r={fields['r']}".encode()
        message = b",".join((bare, challenge, final))
        client_key = hmac.digest(salted, b"Client Key", hash_name)
        signature = hmac.digest(hashlib.new(hash_name, client_key).digest(), message, hash_name)
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature, strict=True)))
        self._say("response", final + b",p=" + proof)
        verifier = hmac.digest(hmac.digest(salted, b"Server Key", hash_name), message, hash_name)
        assert await self._hear("success") == b"v=" + base64.b64encode(verifier), "the server does not know the keys"

    def end_point(self) -> bytes:
        """RFC 5929 section 4.1: the certificate's hash, by the hash of its signature, SHA-256 for weak ones."""
        tls = self._writer.get_extra_info("ssl_object")
        encoded = tls.getpeercert(binary_form=True)
        algorithm = x509.load_der_x509_certificate(encoded).signature_hash_algorithm
        name = algorithm.name if algorithm is not None and algorithm.name not in ("md5", "sha1") else "sha256"
        return hashlib.new(name, encoded).digest()

    def _say(self, name: str, data: bytes, attributes: str = "") -> None:
        self.send(f"<{name} xmlns='{SASL}'{attributes}>{base64.b64encode(data).decode()}</{name}>")

    async def _hear(self, name: str) -> bytes:
        answer = await self.receive()
        if answer.tag == f"{{{SASL}}}failure":
            raise SignInFailed(etree.QName(answer[0].tag).localname)
        assert answer.tag == f"{{{SASL}}}{name}", etree.tostring(answer)
        return base64.b64decode(answer.text or "")

    async def bind(self, resource: str = "") -> None:
        """Raises SignInFailed: not now."""
        wanted = f"<resource>{resource}</resource>" if resource else ""
        answer = await self.iq(f"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>{wanted}</bind>", "set")
        error = answer.find("{*}error")
        if error is not None and error.get("type") == "wait":  # the store is away
            raise SignInFailed(etree.QName(error[0].tag).localname)
        assert answer.get("type") == "result", etree.tostring(answer)
        self.jid = str(answer[0][0].text)

    # ---- stream management (XEP-0198)

    async def enable(self) -> Element:
        self.send(f"<enable xmlns='{SM}' resume='true'/>")
        return await self.find(f"{{{SM}}}enabled")

    async def resume(self, previous: str, h: int = 0) -> Element:
        """Signed in, not bound: <resumed/> or <failed/>."""
        self.send(f"<resume xmlns='{SM}' previd='{previous}' h='{h}'/>")
        return await self.receive()

    async def acknowledged(self, count: int, within: float = WITHIN) -> None:
        """Ask, and wait until the server has taken responsibility for `count` stanzas since `enable`."""
        self.send(f"<r xmlns='{SM}'/>")
        while int((await self.find(f"{{{SM}}}a", within)).get("h", "0")) < count:
            pass


def body(message: Element) -> str:
    return message.findtext(f"{CLIENT}body") or ""
