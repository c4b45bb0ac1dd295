"""python -m benchmarks.bare_http FOLDER CHAIN KEY: files over HTTP by aiohttp alone, as the peer of ours.

It does what a program does that needs ten lines for it: no rights, no bounds, no ranges. What is put is on the disk
before the answer, as with us. Prints the ports of http and https.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from pathlib import Path
from typing import Final

import uvloop
from aiohttp import web

PIECE: Final = 256 << 10


async def put(request: web.Request) -> web.Response:
    with _path(request).open("wb", buffering=PIECE) as file:
        async for piece in request.content.iter_any():
            file.write(piece)
        file.flush()
        await asyncio.to_thread(os.fsync, file.fileno())
    return web.Response(status=201)


async def get(request: web.Request) -> web.StreamResponse:
    path = _path(request)
    response = web.StreamResponse()
    response.content_length = path.stat().st_size
    await response.prepare(request)
    with path.open("rb", buffering=0) as file:
        while piece := file.read(PIECE):
            await response.write(piece)
    await response.write_eof()
    return response


async def get_by_aiohttp(request: web.Request) -> web.FileResponse:
    """As aiohttp sends files by itself."""
    return web.FileResponse(_path(request))


def _path(request: web.Request) -> Path:
    return Path(request.app["folder"], request.match_info["name"])


async def serve(folder: str, chain: str, key: str) -> None:
    app = web.Application(client_max_size=1 << 40)
    app["folder"] = folder
    app.router.add_put("/{name}", put)
    app.router.add_get("/{name}", get)
    app.router.add_get("/file/{name}", get_by_aiohttp)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain, key)
    for tls in (None, context):
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    print(*(address[1] for address in runner.addresses), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:4]))
