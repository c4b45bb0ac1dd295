"""The web client's page, what it is told, and its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.harness import Harness


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("converse.min.js", "converse.min.css", "chunkjs/locales/dayjs/de.js", "converse.min.js.map"):
        path = tmp_path / "web" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"/* {name} */")
    (tmp_path / "secret").write_text("secret")
    return tmp_path / "web"


async def test_the_page_its_settings_and_its_files(folder: Path) -> None:
    server = await Harness({"web_client": {"folder": str(folder), "title": "Chat & more"}}).start()
    try:
        page = await server.http("GET", "/")
        assert page.status == 200 and b"<title>Chat &amp; more</title>" in page.body
        policy = page.headers["content-security-policy"]
        assert "script-src 'self' 'wasm-unsafe-eval';" in policy and "ws://localhost" in policy
        other = await server.http("GET", "/", headers={"Host": "a;sandbox"})
        assert "ws://localhost " in other.headers["content-security-policy"]
        assert "sandbox" not in other.headers["content-security-policy"]
        script = (await server.http("GET", "/web-client.js")).body.decode()
        told = json.loads(script.removeprefix("converse.initialize(").removesuffix(");\n"))
        assert told["websocket_url"] == "ws://localhost/xmpp-websocket"
        assert told["bosh_service_url"] == "http://localhost/http-bind"
        assert (told["locked_domain"], told["muc_domain"]) == ("localhost", "conference.localhost")
        found = await server.http("GET", "/web/chunkjs/locales/dayjs/de.js")
        assert (found.status, found.body) == (200, b"/* chunkjs/locales/dayjs/de.js */")
        assert found.headers["content-type"] == "text/javascript; charset=utf-8"
        again = await server.http("GET", "/web/converse.min.css", headers={"If-None-Match": found.headers["etag"]})
        assert again.status == 200
        again = await server.http("GET", "/web/converse.min.css", headers={"If-None-Match": again.headers["etag"]})
        assert again.status == 304
        for path in (
            "/web/../secret",
            "/web/..%2fsecret",
            "/web/%2e%2e/secret",
            "/web/converse.min.js.map",
            "/web/x.js",
        ):
            assert (await server.http("GET", path)).status == 404, path
    finally:
        await server.stop()


async def test_a_page_without_its_files_says_so(tmp_path: Path) -> None:
    server = await Harness({"web_client": {"folder": str(tmp_path)}}).start()
    try:
        page = await server.http("GET", "/")
        assert page.status == 200 and b"make web" in page.body
    finally:
        await server.stop()
