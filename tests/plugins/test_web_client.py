"""The web client's page, what it is told, and its files."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Harness
from tests.harness.http import HttpAnswer
from xmppd.config import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("converse.min.js", "converse.min.css", "chunkjs/locales/dayjs/de.js", "converse.min.js.map"):
        path = tmp_path / "web" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"/* {name} */")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "web" / ".installed").touch()
    return tmp_path / "web"


def directives(page: HttpAnswer) -> dict[str, str]:
    """Of the Content-Security-Policy."""
    parts = (each.strip().partition(" ") for each in page.headers["content-security-policy"].split(";"))
    return {name: value for name, _, value in parts}


async def settings(server: Harness) -> dict[str, Any]:
    """What Converse.js is told."""
    script = (await server.http("GET", "/web-client.js")).body.decode()
    found: dict[str, Any] = json.loads(script.partition("converse.initialize(")[2].removesuffix(");\n"))
    return found


async def test_who_must_wait_for_an_administrator_is_told_so(folder: Path) -> None:
    """In place of a sign-in that fails."""
    for waits in (False, True):
        register = {"mode": "open", "captcha": False, "approval": waits}
        server = await Harness({"web_client": {"folder": str(folder)}, "register": register}).start()
        try:
            script = (await server.http("GET", "/web-client.js")).body.decode()
            assert f"if (done && {str(waits).lower()}) {{" in script
            assert (await settings(server))["allow_registration"] is True
        finally:
            await server.stop()


async def test_the_page_and_its_settings(folder: Path) -> None:
    server = await Harness({"web_client": {"folder": str(folder), "title": "Chat & more"}}).start()
    try:
        page = await server.http("GET", "/")
        assert page.status == 200 and b"<title>Chat &amp; more</title>" in page.body
        policy = directives(page)
        assert policy["script-src"] == "'self' 'wasm-unsafe-eval'"
        assert policy["default-src"] == "'none'"
        assert policy["connect-src"] == "'self' ws://localhost"
        assert policy["img-src"] == "'self' data: blob:"
        other = await server.http("GET", "/", headers={"Host": "a;sandbox"})
        assert directives(other)["connect-src"] == "'self' ws://localhost"
        assert "sandbox" not in other.headers["content-security-policy"]
        told = await settings(server)
        assert told["websocket_url"] == "ws://localhost/xmpp-websocket"
        assert told["bosh_service_url"] == "http://localhost/http-bind"
        assert (told["locked_domain"], told["muc_domain"]) == ("localhost", "conference.localhost")
        assert told["allowed_image_domains"] == ["localhost"]
        assert told["allow_registration"] is False, "strangers need an invitation"
        icon = await server.http("GET", "/web-client.svg")
        assert (icon.status, icon.headers["content-type"]) == (200, "image/svg+xml")
        assert b'href="/web-client.svg"' in page.body
    finally:
        await server.stop()


async def test_where_everybody_may_register_the_page_does_it(folder: Path) -> None:
    server = await Harness({"web_client": {"folder": str(folder)}, "register": {"mode": "open"}}).start()
    try:
        told = await settings(server)
        assert (told["allow_registration"], told["registration_domain"]) == (True, "localhost")
    finally:
        await server.stop()


async def test_the_page_shows_what_is_uploaded_and_what_the_operator_allows(folder: Path) -> None:
    plugins = {
        "web_client": {"folder": str(folder), "media_from": ["https://pictures.example:444"]},
        "files": {"public_url": "https://files.example"},
    }
    server = await Harness(plugins).start()
    try:
        policy = directives(await server.http("GET", "/"))
        both = "https://files.example https://pictures.example:444"
        assert policy["img-src"] == f"'self' data: blob: {both}"
        assert policy["media-src"] == f"'self' blob: {both}"
        assert policy["connect-src"] == f"'self' ws://localhost {both}"
        told = await settings(server)
        assert told["allowed_video_domains"] == ["files.example", "localhost", "pictures.example"]
    finally:
        await server.stop()
    server = await Harness({"web_client": {"folder": str(folder), "media_from": ["https:"]}}).start()
    try:
        assert directives(await server.http("GET", "/"))["img-src"].endswith(" https:")
        assert "allowed_image_domains" not in await settings(server)
    finally:
        await server.stop()


@pytest.mark.parametrize("given", ["files.example", "https://a b", "https://a; script-src *", "data:"])
async def test_what_is_no_origin_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match="media_from"):
        await Harness({"web_client": {"media_from": [given]}}).start()


async def test_files_have_their_version_and_then_never_change(folder: Path) -> None:
    server = await Harness({"web_client": {"folder": str(folder)}}).start()
    try:
        path = (await settings(server))["assets_path"]
        assert f'src="{path}converse.min.js"'.encode() in (await server.http("GET", "/")).body
        found = await server.http("GET", f"{path}chunkjs/locales/dayjs/de.js")
        assert (found.status, found.body) == (200, b"/* chunkjs/locales/dayjs/de.js */")
        assert found.headers["content-type"] == "text/javascript; charset=utf-8"
        assert found.headers["cache-control"] == "public, max-age=31536000, immutable"
        again = await server.http("GET", f"{path}converse.min.css", headers={"If-None-Match": found.headers["etag"]})
        assert again.status == 200
        again = await server.http("GET", f"{path}converse.min.css", headers={"If-None-Match": again.headers["etag"]})
        assert (again.status, again.body) == (304, b"")
        old = await server.http("GET", "/web/0123456789abcdef/converse.min.css")
        assert (old.status, old.headers["cache-control"]) == (200, "no-cache")
        for name in ("../secret", "..%2fsecret", "%2e%2e/secret", "converse.min.js.map", "x.js", ".installed"):
            assert (await server.http("GET", f"{path}{name}")).status == 404, name
    finally:
        await server.stop()
    (folder / "converse.min.css").write_text("another")
    server = await Harness({"web_client": {"folder": str(folder)}}).start()
    try:
        assert (await settings(server))["assets_path"] != path
    finally:
        await server.stop()


async def test_what_lies_there_compressed_is_sent_so_to_who_takes_it(folder: Path) -> None:
    (folder / "converse.min.js.gz").write_bytes(gzip.compress(b"/* converse.min.js */"))
    (folder / "converse.min.css.gz").write_bytes(b"of an older file")
    os.utime(folder / "converse.min.css.gz", (1, 1))
    server = await Harness({"web_client": {"folder": str(folder)}}).start()
    try:
        path = (await settings(server))["assets_path"]

        async def coding(accepted: str, name: str = "converse.min.js") -> tuple[str, bytes, str]:
            found = await server.http("GET", f"{path}{name}", headers={"Accept-Encoding": accepted})
            assert found.headers["vary"] == "Accept-Encoding"
            return found.headers.get("content-encoding", ""), found.body, found.headers["etag"]

        small, body, tag = await coding("br, gzip;q=0.8")
        assert (small, gzip.decompress(body)) == ("gzip", b"/* converse.min.js */")
        for accepted in ("br", "br, gzip;q=0", "gzip; q=0.000", "x-gzip"):
            plain, body, other = await coding(accepted)
            assert (plain, body) == ("", b"/* converse.min.js */"), accepted
            assert other != tag
        assert (await coding("gzip", "converse.min.css"))[:2] == ("", b"/* converse.min.css */")
        assert (await server.http("GET", f"{path}converse.min.js.gz")).status == 404
    finally:
        await server.stop()


async def test_a_page_without_its_files_says_so(tmp_path: Path) -> None:
    server = await Harness({"web_client": {"folder": str(tmp_path)}}).start()
    try:
        page = await server.http("GET", "/")
        assert page.status == 200 and b"make web" in page.body
    finally:
        await server.stop()
