"""A name server that is asked over UDP, and over TCP for longer answers, up to a bound."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import dns.exception
import dns.message
import dns.nameserver
import dns.query

from ..config.federation import nameserver_address

LARGEST: Final = 8 << 10
"""Bytes of an answer. Twenty SRV records with the addresses of their hosts need half of it; to parse the 64 KB that
somebody may put into the DNS would hold up everything else for a tenth of a second."""


class TooLong(dns.exception.FormError):
    """An answer has more bytes than we read."""


class Nameserver(dns.nameserver.Do53Nameserver):
    async def async_query(
        self,
        request: dns.message.QueryMessage,
        timeout: float,  # noqa: ASYNC109 - as dnspython calls it
        source: str | None,
        source_port: int,
        max_size: bool,
        backend: Any,
        one_rr_per_rrset: bool = False,
        ignore_trailing: bool = False,
    ) -> dns.message.Message:
        if not max_size:
            return await super().async_query(
                request, timeout, source, source_port, max_size, backend, one_rr_per_rrset, ignore_trailing
            )
        try:
            async with asyncio.timeout(timeout):
                answer = await self._over_tcp(request)
        except TimeoutError:
            raise dns.exception.Timeout(timeout=timeout) from None  # type: ignore[no-untyped-call]
        if not request.is_response(answer):
            raise dns.query.BadResponse
        return answer

    async def _over_tcp(self, request: dns.message.QueryMessage) -> dns.message.Message:
        """RFC 7766 section 8. Raises OSError, EOFError, DNSException."""
        reader, writer = await asyncio.open_connection(self.address, self.port)
        try:
            wire = request.to_wire()
            writer.write(len(wire).to_bytes(2, "big") + wire)
            size = int.from_bytes(await reader.readexactly(2), "big")
            if size > LARGEST:
                raise TooLong(f"an answer of {size} bytes")  # type: ignore[no-untyped-call]
            return dns.message.from_wire(await reader.readexactly(size))
        finally:
            writer.close()


def nameserver(text: str) -> Nameserver:
    """ "address", "address:port" or "[IPv6 address]:port". Raises ValueError."""
    return Nameserver(*nameserver_address(text))
