"""The numbers of a server process: by the command line, and over HTTP where the configuration says so."""

from __future__ import annotations

import re
from pathlib import Path

import aiohttp

from tests.process.server import ServerProcess, configuration


async def test_by_the_command_line_and_over_http(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, configuration(metrics={"port": 0}))
    await server.start()
    try:
        outcome = await server.cli("metrics")
        assert outcome.status == 0, outcome.text
        assert "xmppd_store_available 1.0\n" in outcome.out
        found = re.search(r"metrics at (http://127\.0\.0\.1:\d+/metrics)", server.log)
        assert found is not None, server.log
        async with aiohttp.ClientSession() as http, http.get(found[1]) as answer:
            assert "xmppd_store_available 1.0\n" in await answer.text()
        assert await server.stop() == 0
        gone = await server.cli("metrics")
        assert (gone.status, "no server is running here" in gone.err) == (3, True)
    finally:
        server.kill()
    assert "Traceback" not in server.log, server.log
