"""A small HTTP listener for a monitoring system: GET /metrics, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import web


class MetricsListener:
    """`text`: the page, made for each request. `content_type`: with its parameters."""

    def __init__(self, text: Callable[[], bytes], content_type: str) -> None:
        self._text = text
        self._content_type = content_type
        self._runner: web.AppRunner | None = None
        self.port = 0
        """The real one, once started."""

    async def start(self, address: str, port: int) -> None:
        """Listen; port 0 takes a free one. Raises OSError."""
        from aiohttp import web  # only where somebody listens: 8 MB

        app = web.Application(client_max_size=0)
        app.router.add_get("/metrics", self._page)
        runner = self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, address, port).start()
        self.port = runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _page(self, request: web.Request) -> web.Response:
        from aiohttp import web

        return web.Response(body=self._text(), headers={"Content-Type": self._content_type})
