"""A look at a server before signing in: stream features, TLS, certificate."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

from .client import STREAMS, Address
from .trees import has

TLS = "urn:ietf:params:xml:ns:xmpp-tls"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
ALPN = {"client": "xmpp-client", "server": "xmpp-server"}
LARGEST = 1 << 18
"""Bytes that a server may need for its features."""
Purpose = Literal["client", "server"]


class ProbeError(Exception):
    """Its text says what did not work."""


@dataclass(frozen=True)
class Probe:
    """What was seen. `problem`: why the chain of the certificate is not trusted; names are not looked at."""

    address: Address
    version: str
    certificate: bytes
    problem: str | None
    offered: ET.Element | None
    """Features before TLS; None with direct TLS."""
    features: ET.Element
    """Features behind TLS, before signing in."""
    required: bool = field(default=False)
    """Nothing is offered before TLS."""


def context(ca_file: Path | None, trusting: bool = False, names: bool = True) -> ssl.SSLContext:
    """For clients. `trusting`: any certificate; `names`: look at them too."""
    made = ssl.create_default_context()
    if ca_file is not None:
        made.load_verify_locations(cafile=ca_file)
    if trusting or not names:
        made.check_hostname = False
    if trusting:
        made.verify_mode = ssl.CERT_NONE
    return made


async def probe(
    address: Address, domain: str, ca_file: Path | None, within: float, purpose: Purpose = "client"
) -> Probe:
    """Raises ProbeError."""
    try:
        async with asyncio.timeout(within):
            try:
                return await _look(address, domain, context(ca_file, names=False), None, purpose)
            except ssl.SSLCertVerificationError as error:
                why = error.verify_message
            return await _look(address, domain, context(None, trusting=True), why, purpose)
    except TimeoutError:
        raise ProbeError(f"{address}: no answer within {within:g} s") from None
    except (OSError, EOFError, ET.ParseError) as error:
        raise ProbeError(f"{address}: {error or type(error).__name__}") from None


async def _look(address: Address, domain: str, tls: ssl.SSLContext, problem: str | None, purpose: Purpose) -> Probe:
    offered = None
    if address.direct:
        tls.set_alpn_protocols([ALPN[purpose]])
    async with _stream(address, domain, tls, purpose) as stream:
        if not address.direct:
            offered = await stream.open()
            if not has(offered, TLS, "starttls"):
                raise ProbeError(f"{address}: no encryption is offered")
            stream.send(f"<starttls xmlns='{TLS}'/>")
            answer = await stream.element()
            if answer.tag != f"{{{TLS}}}proceed":
                raise ProbeError(f"{address}: STARTTLS was refused ({answer.tag})")
            await stream.writer.start_tls(tls, server_hostname=domain)
        features = await stream.open()
        wire = stream.writer.get_extra_info("ssl_object")
        certificate = wire.getpeercert(True) or b""
        required = offered is None or not has(offered, SASL, "mechanisms")
        return Probe(address, wire.version() or "", certificate, problem, offered, features, required)


@asynccontextmanager
async def _stream(address: Address, domain: str, tls: ssl.SSLContext, purpose: Purpose) -> AsyncIterator[_Stream]:
    name = domain if address.direct else None
    reader, writer = await asyncio.open_connection(
        address.host, address.port, ssl=tls if address.direct else None, server_hostname=name
    )
    try:
        yield _Stream(reader, writer, domain, purpose)
    finally:
        writer.transport.abort()


class _Stream:
    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, domain: str, purpose: Purpose
    ) -> None:
        self.reader, self.writer = reader, writer
        self._header = (
            f"<?xml version='1.0'?><stream:stream xmlns='jabber:{purpose}' xmlns:stream='{STREAMS[1:-1]}' "
            f"to={quoteattr(domain)} version='1.0'>"
        )
        self._fresh()

    def _fresh(self) -> None:
        self._parser: ET.XMLPullParser[Any] = ET.XMLPullParser(("start", "end"))
        self._depth = self._read = 0

    def send(self, text: str) -> None:
        self.writer.write(text.encode())

    async def open(self) -> ET.Element:
        """A new stream; its features. Raises ProbeError, EOFError."""
        self._fresh()
        self.send(self._header)
        features = await self.element()
        if features.tag != f"{STREAMS}features":
            conditions = ", ".join(child.tag.rpartition("}")[2] for child in features)
            raise ProbeError(f"the stream was refused: {conditions or features.tag}")
        return features

    async def element(self) -> ET.Element:
        """Raises EOFError, ProbeError, ParseError."""
        while True:
            for event in self._parser.read_events():
                kind, found = event[0], event[-1]
                self._depth += 1 if kind == "start" else -1
                if kind == "end" and self._depth == 1 and isinstance(found, ET.Element):
                    return found
            data = await self.reader.read(4096)
            self._read += len(data)
            if not data:
                raise EOFError("the server closed the connection")
            if self._read > LARGEST:
                raise ProbeError("the server sends too much")
            self._parser.feed(data)
