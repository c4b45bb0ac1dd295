"""A real name server on this machine, UDP and TCP, for what a test says.

    records = {"_xmpp-server._tcp.them.example": ["SRV 0 5 5269 a.example."], "a.example": ["A 127.0.0.2"]}
    async with DnsServer(records) as server:
        resolver = Resolver(clock, [server.address])

A name that is missing does not exist (NXDOMAIN); one that is there without records of a type has none of it. Instead of
records, FAILS (SERVFAIL) or SILENT. `records` may be changed at any time; `asked` is what was asked for.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

FAILS = "FAILS"
SILENT = "SILENT"
SOA = "ns.test. admin.test. 1 3600 600 86400 {}"

Records = Sequence[str] | str


class DnsServer(asyncio.DatagramProtocol):
    def __init__(self, records: Mapping[str, Records], ttl: int = 300, negative_ttl: int = 60) -> None:
        self.records = dict(records)
        self.ttl = ttl
        self.negative_ttl = negative_ttl
        self.asked: list[tuple[str, str]] = []
        self.most = 512
        """Bytes of an answer over UDP; longer ones have to be asked for over TCP."""
        self.garble: Callable[[bytes], bytes] = lambda wire: wire
        """What becomes of an answer on its way."""
        self.port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> DnsServer:
        loop = asyncio.get_running_loop()
        while True:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = self._server.sockets[0].getsockname()[1]
            try:
                self._udp, _ = await loop.create_datagram_endpoint(
                    lambda: self, ("127.0.0.1", self.port), family=socket.AF_INET
                )
            except OSError:  # taken by somebody else
                self._server.close()
                continue
            return self

    async def __aexit__(self, *_: object) -> None:
        self._udp.close()
        self._server.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._udp = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        answer = self._answer(data)
        if answer is None:
            return
        wire = answer.to_wire()
        if len(wire) > self.most:
            short = dns.message.make_response(dns.message.from_wire(data))
            short.flags |= dns.flags.TC
            wire = short.to_wire()
        self._udp.sendto(self.garble(wire), address)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            size = int.from_bytes(await reader.readexactly(2), "big")
            answer = self._answer(await reader.readexactly(size))
            if answer is not None:
                wire = self.garble(answer.to_wire())
                writer.write(len(wire).to_bytes(2, "big") + wire)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    def _answer(self, data: bytes) -> dns.message.Message | None:
        try:
            query = dns.message.from_wire(data)
            question = query.question[0]
        except (dns.exception.DNSException, IndexError):
            return None
        if query.flags & dns.flags.QR:  # a late answer, for whoever had this port before
            return None
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        records = self.records.get(name)
        if records == SILENT:
            return None
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        if records == FAILS:
            answer.set_rcode(dns.rcode.SERVFAIL)
            return answer
        for each in records or ():
            if each.startswith("CNAME "):
                alias = dns.rrset.from_text(question.name, self.ttl, "IN", "CNAME", each[6:])
                answer.answer.append(alias)
                records = self.records.get(each[6:].rstrip("."))
                question = dns.rrset.RRset(alias[0].target, question.rdclass, question.rdtype)
        found = [each.partition(" ")[2] for each in records or () if each.partition(" ")[0] == kind]
        if found:
            answer.answer.append(dns.rrset.from_text_list(question.name, self.ttl, "IN", kind, found))
            return answer
        if records is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        answer.authority.append(
            dns.rrset.from_text(dns.name.root, self.negative_ttl, "IN", "SOA", SOA.format(self.negative_ttl))
        )
        return answer
