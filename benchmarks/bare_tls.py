"""python -m benchmarks.bare_tls CHAIN KEY: TLS handshakes of the library that the server uses, and nothing else.

A connection is taken, the handshake is done, what the client sends is decrypted and dropped, and the close is answered.
Prints the port.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import Final, cast

import uvloop
from OpenSSL import SSL

RECORD: Final = 16 << 10


class Handshake(asyncio.Protocol):
    def __init__(self, context: SSL.Context) -> None:
        self.tls = SSL.Connection(context)
        self.tls.set_accept_state()
        self.transport: asyncio.Transport | None = None
        self.done = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        self.tls.bio_write(data)
        ended = False
        try:
            if not self.done:
                self.tls.do_handshake()
                self.done = True
            while True:
                self.tls.recv(RECORD)
        except SSL.WantReadError:
            ended = False
        except SSL.ZeroReturnError:
            self.tls.shutdown()
            ended = True
        with suppress(SSL.WantReadError):  # there may be nothing to send
            self.transport.write(self.tls.bio_read(RECORD))
        if ended:
            self.transport.close()


async def serve(chain: str, key: str) -> None:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.use_certificate_chain_file(chain)
    context.use_privatekey_file(key)
    server = await asyncio.get_running_loop().create_server(lambda: Handshake(context), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:3]))
