"""The contract of plugins: HTTP routes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import Harness
from tests.plugins.contract import HEAD, Serve, folder, serve
from xmppd.errors import LocalError

__all__ = ["folder", "serve"]

PAGE = """
class Page(Plugin[NoConfig]):
    standard = False
    serves = ANY_HOST

    @http("GET", "/page/{name}")
    async def show(self, request: HttpRequest) -> HttpResponse:
        text = f"{request.parameters['name']} of {request.host}"
        return HttpResponse(200, text.encode(), "text/plain; charset=utf-8")
"""


async def test_a_plugin_answers_for_its_host(folder: Path) -> None:
    (folder / "page.py").write_text(HEAD + PAGE, "utf-8")
    harness = Harness(
        plugins={"page": {}},
        rooms={"page": {}},
        hosts={"other.localhost": {}},
        more=f"plugin_path: ['{folder}']",
    )
    await harness.start()

    async def asked(host: str, *hosts: str) -> tuple[int, bytes]:
        answer = await harness.http("GET", "/page/a", headers={"Host": host}, hosts=hosts)
        return answer.status, answer.body

    try:
        assert await asked("localhost") == (200, b"a of localhost")
        assert await asked("LOCALHOST.:5281") == (200, b"a of localhost")
        assert await asked("conference.localhost") == (200, b"a of conference.localhost")
        assert await asked("127.0.0.1") == (200, b"a of localhost"), "a name that is none of ours"
        assert (await asked("other.localhost"))[0] == 404, "the plugin is not loaded there"
        # A listener for some of the hosts.
        assert await asked("conference.localhost", "localhost") == (200, b"a of localhost")
        assert await asked("127.0.0.1", "conference.localhost") == (200, b"a of conference.localhost")
        # A listener for some of the paths.
        assert (await harness.http("GET", "/page/a", paths=("/pages",))).status == 404
        assert (await harness.http("GET", "/page/a", paths=("/page",))).status == 200
        assert (await harness.http("POST", "/page/a", b"x")).headers["allow"] == "GET, HEAD"
        harness.host.started = False
        assert (await asked("localhost"))[0] == 503
    finally:
        harness.host.started = True
        await harness.stop()


async def test_errors_and_bodies(serve: Serve) -> None:
    harness = await serve(
        notes="""
        from xmppd.contracts.http import HttpError

        class Notes(Plugin[NoConfig]):
            standard = False

            def setup(self):
                self.notes = self.host.storage.map("notes", Note, cached=True)

            @http("PUT", "/notes/{id}", max_body=10)
            async def put(self, request: HttpRequest) -> HttpResponse:
                text = (await request.body.read()).decode()
                if not text:
                    raise HttpError(422, "A note has a text.")
                write = self.notes.put("romeo@localhost", request.parameters["id"], Note(text))
                await self.host.storage.commit([write])
                return HttpResponse(204)

            @http("DELETE", "/notes/{id}")
            async def crash(self, request: HttpRequest) -> HttpResponse:
                return await self.nothing()
        """
    )
    assert (await harness.http("PUT", "/notes/1", b"hello")).status == 204
    assert (await harness.http("PUT", "/notes/1", b"hello, hello")).status == 413
    answer = await harness.http("PUT", "/notes/1")
    assert (answer.status, answer.body) == (422, b"A note has a text.\n")
    answer = await harness.http("DELETE", "/notes/1")
    assert (answer.status, answer.body) == (500, b"Internal Server Error\n")
    await harness.storage.load("romeo@localhost")
    assert harness.host.plugins["notes"].notes.get("romeo@localhost")["1"].text == "hello"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            """
    @http("GET", "/page/{other}")
    async def show_again(self, request): ...
""",
            "page.show_again and page.show both answer GET",
        ),
        (
            """
    @http("GET", "/metrics")
    async def mine(self, request): ...
""",
            "page.mine and the server both answer GET /metrics",
        ),
        (
            """
    @http("GET", "/plain")
    def plain(self, request): ...
""",
            "page.plain: a handler of HTTP requests is an async function",
        ),
    ],
)
async def test_mistakes_are_errors_before_the_start(serve: Serve, source: str, said: str) -> None:
    with pytest.raises(LocalError, match=said):
        await serve(page=PAGE + source)


async def test_two_plugins_with_one_route(serve: Serve) -> None:
    with pytest.raises(LocalError, match=r"both answer GET /page/\{name\}"):
        await serve(one=PAGE, two=PAGE)
