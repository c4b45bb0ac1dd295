"""Another server that costs little: raw bytes, no XML parser. It speaks for as many domains as are wanted, opens
streams and takes them, with TLS and a certificate of its own for each domain, and XEP-0198."""

from __future__ import annotations

import asyncio
import re
import ssl
from base64 import b64encode
from pathlib import Path
from typing import Final, Self

from .client import WAIT, LoadError
from .federation import Federation

_TLS: Final = "urn:ietf:params:xml:ns:xmpp-tls"
_SASL: Final = "urn:ietf:params:xml:ns:xmpp-sasl"
_SM: Final = "urn:xmpp:sm:3"
_END: Final = b"</stream:features>"
_TO: Final = re.compile(rb"""<stream:stream[^>]*\sto=['"]([^'"]+)['"]""")
_FROM: Final = re.compile(rb"""<stream:stream[^>]*\sfrom=['"]([^'"]+)['"]""")
_CALLED: Final = re.compile(rb"""<message[^>]*\sto=['"][^'"@]*@([^'"/]+)""")


class LightServer:
    """`domains`: what it speaks for."""

    def __init__(self, federation: Federation, folder: Path, domains: list[str]) -> None:
        self.federation = federation
        self.domains = domains
        self.port = 0
        self.taken: set[str] = set()
        """Domains to which something has come on a stream that the other server has opened."""
        self.lost = 0
        """Streams that have ended."""
        self._folder = folder / "light"
        self._folder.mkdir()
        self._contexts: dict[str, tuple[ssl.SSLContext, ssl.SSLContext]] = {}
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    async def __aenter__(self) -> Self:
        for domain in self.domains:
            self._contexts[domain] = self._made(domain)
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        for domain in self.domains:
            self.federation.publish(self.port, domain)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _made(self, domain: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        """For streams that it opens, and for those that it takes."""
        chain, key = self.federation.certificate(self._folder, domain)
        opens = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        opens.check_hostname, opens.verify_mode = False, ssl.CERT_NONE
        takes = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        takes.verify_mode = ssl.CERT_OPTIONAL
        takes.load_verify_locations(str(self.federation.authority.file))
        takes.num_tickets = 0
        for context in (opens, takes):
            context.load_cert_chain(str(chain), str(key))
        return opens, takes

    def _watch(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Enable acknowledgements and answer what asks for them, until the stream ends."""
        came = 0
        try:
            while data := await reader.read(1 << 16):
                before, enabled, behind = data.partition(b"<enable ")
                if enabled:
                    writer.write(f"<enabled xmlns='{_SM}'/>".encode())
                    came = behind.count(b"<message")
                else:
                    came += before.count(b"<message")
                self.taken.update(domain.decode() for domain in _CALLED.findall(data))
                if b"<r" in data:
                    writer.write(f"<a xmlns='{_SM}' h='{came}'/>".encode())
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # it is lost all the same
        if not self._closing:
            self.lost += 1

    # ---- streams that it opens

    async def open(self, domain: str, to: str, port: int) -> None:
        """A stream from one of its domains, with a stanza on it that asks for no answer. Raises LoadError, OSError."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.timeout(WAIT):
                await self._sign_in(reader, writer, domain, to)
        except (asyncio.IncompleteReadError, TimeoutError) as error:
            raise LoadError(f"{to} does not take a stream of {domain}: {error}") from None
        self._watch(reader, writer)

    async def _sign_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, domain: str, to: str) -> None:
        header = _header(domain, to)
        writer.write(header)
        await reader.readuntil(_END)
        writer.write(f"<starttls xmlns='{_TLS}'/>".encode())
        await _element(reader, b"<proceed")
        await writer.start_tls(self._contexts[domain][0], server_hostname=to)
        writer.write(header)
        if b"EXTERNAL" not in (offered := await reader.readuntil(_END)):
            raise LoadError(f"{to} does not believe the certificate of {domain}: {offered!r}")
        name = b64encode(domain.encode()).decode()
        writer.write(f"<auth xmlns='{_SASL}' mechanism='EXTERNAL'>{name}</auth>".encode())
        await _element(reader, b"<success")
        writer.write(header)
        managed = _SM.encode() in await reader.readuntil(_END)
        if managed:
            writer.write(f"<enable xmlns='{_SM}'/>".encode())
            await _element(reader, b"<enabled")
        writer.write(f"<presence from='x@{domain}/y' to='u0@{to}' type='unavailable'/>".encode())
        if managed:
            writer.write(f"<r xmlns='{_SM}'/>".encode())
            await _element(reader, b"<a ")

    # ---- streams that it takes

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(WAIT):
                await self._accept(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.close()  # who is not served is missed in `taken`
            return
        self._watch(reader, writer)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        domain = await _answer_header(reader, writer, f"<starttls xmlns='{_TLS}'><required/></starttls>")
        await _element(reader, b"<starttls")
        writer.write(f"<proceed xmlns='{_TLS}'/>".encode())
        await writer.start_tls(self._contexts[domain][1])
        external = f"<mechanisms xmlns='{_SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>"
        await _answer_header(reader, writer, external)
        await reader.readuntil(b"</auth>")
        writer.write(f"<success xmlns='{_SASL}'/>".encode())
        await _answer_header(reader, writer, f"<sm xmlns='{_SM}'/>")


def _header(domain: str, to: str, id: str = "") -> bytes:
    return (
        f"<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' "
        f"from='{domain}' to='{to}'{id} version='1.0'>"
    ).encode()


async def _element(reader: asyncio.StreamReader, start: bytes) -> None:
    """Up to the end of a start tag."""
    await reader.readuntil(start)
    await reader.readuntil(b">")


async def _answer_header(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, features: str) -> str:
    """Returns the domain that is called."""
    got = await reader.readuntil(b"<stream:stream") + await reader.readuntil(b">")
    to, sender = _TO.search(got), _FROM.search(got)
    if to is None or sender is None:
        raise ConnectionError("a header without addresses")
    domain = to[1].decode()
    writer.write(
        _header(domain, sender[1].decode(), " id='light'") + f"<stream:features>{features}</stream:features>".encode()
    )
    return domain
