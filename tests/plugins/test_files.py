"""XEP-0363: slots and their limits, putting and fetching, what goes when, for people and administrators."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from plugins.files.model import StoredFile, file_name
from plugins.files.serving import waits_for_end
from tests.harness import Client, Element, Harness, condition
from tests.harness.clock import FakeClock
from tests.harness.http import HttpAnswer
from tests.harness.store_check import problems
from xmppd.storage.store import Store

NS = "urn:xmpp:http:upload:0"
PURPOSE = "urn:xmpp:http:upload:purpose:0"
BASE = "https://files.example.org"
UPLOAD = "upload.localhost"


@pytest.fixture
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Harness]:
    """`files(…)`: options of the plugin."""
    mark = request.node.get_closest_marker("files")
    options = {"public_url": BASE, "folder": str(tmp_path), **(mark.kwargs if mark is not None else {})}
    harness = Harness({"files": options})
    await harness.start()
    yield harness
    await harness.stop()


async def ask(client: Client, name: str = "a.png", size: int = 5, type: str = "", inside: str = "") -> Element:
    extra = f" content-type='{type}'" if type else ""
    return await client.iq(
        f"<request xmlns='{NS}' filename='{name}' size='{size}'{extra}>{inside}</request>", to=UPLOAD
    )


async def slot(client: Client, *args: Any, **options: Any) -> tuple[str, str]:
    """The targets (paths with queries) to put and to get."""
    answer = await ask(client, *args, **options)
    assert answer.get("type") == "result", condition(answer)
    put, get = (str(each.get("url")) for each in answer[0])
    assert put.startswith(f"{BASE}/upload/") and get.startswith(f"{BASE}/upload/")
    parts = urlsplit(put)
    return f"{parts.path}?{parts.query}", urlsplit(get).path


async def put(server: Harness, target: str, body: bytes = b"hello", **headers: str) -> HttpAnswer:
    return await server.http("PUT", target, body, {name.replace("_", "-"): value for name, value in headers.items()})


async def uploaded(server: Harness, client: Client, body: bytes = b"hello", **options: Any) -> str:
    """The path of a file that is there."""
    target, path = await slot(client, size=len(body), **options)
    assert (await put(server, target, body)).status == 201
    return path


async def status(server: Harness, path: str) -> int:
    return (await server.http("GET", path)).status


def files_in(folder: Path) -> list[Path]:
    return [each for each in folder.rglob("*") if each.is_file()]


# ---- the service


async def test_the_service_is_found(server: Harness) -> None:
    romeo = await server.login("romeo")
    items = await romeo.iq("<query xmlns='http://jabber.org/protocol/disco#items'/>", to="localhost")
    assert UPLOAD in [each.get("jid") for each in items[0]]
    info = (await romeo.iq("<query xmlns='http://jabber.org/protocol/disco#info'/>", to=UPLOAD))[0]
    identity = info.find("{*}identity")
    assert identity is not None and (identity.get("category"), identity.get("type")) == ("store", "file")
    features = {each.get("var") for each in info.iter("{*}feature")}
    assert {NS, *(f"{PURPOSE}#{each}" for each in ("message", "profile", "ephemeral", "permanent"))} <= features
    assert [each.text for each in info.iter("{*}value")] == [NS, "104857600"]
    assert condition(await romeo.iq("<query xmlns='jabber:iq:version'/>", to=UPLOAD)) == "service-unavailable"
    assert condition(await romeo.iq("<ping xmlns='urn:xmpp:ping'/>", to=f"somebody@{UPLOAD}")) == "service-unavailable"


async def test_a_file_is_put_and_fetched(server: Harness, tmp_path: Path) -> None:
    romeo = await server.login("romeo")
    target, path = await slot(romeo, "très cool.jpg", 5, "image/jpeg")
    assert path.endswith("/tr%C3%A8s%20cool.jpg")
    assert await status(server, path) == 404
    answer = await put(server, target, Content_Type="image/jpeg")
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (201, "*")
    found = await server.http("GET", path)
    assert (found.status, found.body) == (200, b"hello")
    assert found.headers["content-type"] == "image/jpeg"
    assert found.headers["content-disposition"].startswith("inline; filename=\"tr_s cool.jpg\"; filename*=UTF-8''tr%C3")
    assert found.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in found.headers["content-security-policy"]
    head = await server.http("HEAD", path)
    assert (head.status, head.headers["content-length"], head.body) == (200, "5", b"")
    (stored,) = files_in(tmp_path)
    assert stored.read_bytes() == b"hello" and stored.stat().st_mode & 0o077 == 0


async def test_dino_waits_for_the_end_of_the_connection(server: Harness) -> None:
    """It would show a spinner until the connection is closed for want of requests (seen with 0.4.2)."""
    romeo = await server.login("romeo")
    path = await uploaded(server, romeo)
    found = await server.http("GET", path, b"", {"Connection": "keep-alive", "User-Agent": "Dino/0.4.2"})
    assert (found.status, found.headers["connection"], found.body) == (200, "close", b"hello")
    assert not waits_for_end({"user-agent": "Gajim 1.7.3"}) and not waits_for_end({})


@pytest.mark.parametrize(
    "type", ["text/html", "image/svg+xml", "application/xhtml+xml", "text/xml", "application/pdf", ""]
)
async def test_what_a_browser_might_run_is_saved(server: Harness, type: str) -> None:
    romeo = await server.login("romeo")
    path = await uploaded(server, romeo, name="page.html", type=type)
    found = await server.http("GET", path)
    assert found.headers["content-type"] == "application/octet-stream"
    assert found.headers["content-disposition"].startswith("attachment;")


async def test_ranges_and_conditions(server: Harness) -> None:
    romeo = await server.login("romeo")
    path = await uploaded(server, romeo, b"0123456789", name="a.ogg", type="audio/ogg")

    async def get(**headers: str) -> HttpAnswer:
        return await server.http("GET", path, b"", {name.replace("_", "-"): value for name, value in headers.items()})

    whole = await get()
    assert whole.headers["accept-ranges"] == "bytes"
    for wanted, body, told in (
        ("bytes=0-3", b"0123", "bytes 0-3/10"),
        ("bytes=4-", b"456789", "bytes 4-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=8-100", b"89", "bytes 8-9/10"),
        ("bytes=-100", b"0123456789", "bytes 0-9/10"),
    ):
        answer = await get(Range=wanted)
        assert (answer.status, answer.body, answer.headers["content-range"]) == (206, body, told)
    for wanted in ("bytes=10-", "bytes=-0"):
        answer = await get(Range=wanted)
        assert (answer.status, answer.headers["content-range"]) == (416, "bytes */10")
        assert answer.headers["access-control-allow-origin"] == "*"
    for wanted in ("bytes=5-2", "bytes=-", "lines=1-2", "bytes=0-1,4-5", "bytes=a-b"):
        assert (await get(Range=wanted)).status == 200
    tag, date = whole.headers["etag"], whole.headers["last-modified"]
    assert (await get(If_None_Match=tag)).status == 304
    assert (await get(If_None_Match=f'"x", W/{tag}')).status == 304
    assert (await get(If_None_Match='"x"', If_Modified_Since=date)).status == 200
    assert (await get(If_Modified_Since=date)).status == 304
    assert (await get(If_Modified_Since="Thu, 01 Jan 1970 00:00:00 GMT")).status == 200
    assert (await get(If_Modified_Since="yesterday")).status == 200
    assert (await get(Range="bytes=0-1", If_Range=tag)).status == 206
    assert (await get(Range="bytes=0-1", If_Range=date)).status == 206
    assert (await get(Range="bytes=0-1", If_Range='"x"')).status == 200


# ---- what is refused


@pytest.mark.parametrize(
    ("attributes", "error"),
    [
        ("filename='a'", "bad-request"),
        ("size='5'", "bad-request"),
        ("filename='' size='5'", "bad-request"),
        ("filename='a' size='0'", "bad-request"),
        ("filename='a' size='-1'", "bad-request"),
        ("filename='a' size='1e3'", "bad-request"),
        (f"filename='a' size='{'9' * 40}'", "not-acceptable"),
        ("filename='a' size='5' content-type='a&#10;b'", "bad-request"),
        ("filename='a' size='104857617'", "not-acceptable"),
    ],
)
async def test_requests_that_get_no_slot(server: Harness, attributes: str, error: str) -> None:
    romeo = await server.login("romeo")
    answer = await romeo.iq(f"<request xmlns='{NS}' {attributes}/>", to=UPLOAD)
    assert condition(answer) in (error, "bad-request"), condition(answer)


async def test_a_file_that_is_too_large(server: Harness) -> None:
    romeo = await server.login("romeo")
    answer = await ask(romeo, size=104_857_600 + 17)
    assert condition(answer) == "not-acceptable"
    assert answer.find(f"{{{NS}}}request") is not None
    assert answer.findtext(f".//{{{NS}}}file-too-large/{{{NS}}}max-file-size") == "104857600"
    assert (await ask(romeo, size=104_857_600 + 16)).get("type") == "result"  # as long as OMEMO makes it


@pytest.mark.files(per_day="10 bytes", per_account="12 bytes", files=3)
async def test_limits_of_an_account(server: Harness) -> None:
    romeo = await server.login("romeo")
    await uploaded(server, romeo)
    await uploaded(server, romeo)
    answer = await ask(romeo, size=1)
    assert condition(answer) == "resource-constraint"
    retry = answer.find(f".//{{{NS}}}retry")
    assert retry is not None and str(retry.get("stamp")).endswith("Z")
    assert (await ask(await server.login("juliet"), size=1)).get("type") == "result"
    await server.advance(86_500)
    romeo = await server.login("romeo")
    assert (await ask(romeo, size=3)).get("type") == "error"  # 13 at once
    assert (await ask(romeo, size=1)).get("type") == "result"
    assert condition(await ask(romeo, size=1)) == "resource-constraint"  # a third file, though its slot is empty
    await server.advance(310)
    assert (await ask(romeo, size=1)).get("type") == "result"


async def test_strangers_get_no_slots(server: Harness) -> None:
    from tests.harness.peer import Peer

    peer = Peer(server, "other.example", relays=True)
    server.server.routes.register("other.example", peer)
    peer.send(
        f"<iq from='a@other.example/x' to='{UPLOAD}' type='get' id='1'>"
        f"<request xmlns='{NS}' filename='a' size='1'/></iq>"
    )
    await server.quiet()
    assert b"<forbidden" in peer.got[-1].data


@pytest.mark.parametrize(
    ("change", "headers", "wanted"),
    [
        (lambda target: target.replace("?s=", "?s=x"), {}, 403),
        (lambda target: target.partition("?")[0], {}, 403),
        (lambda target: target.replace("a.png", "b.png"), {}, 404),
        (lambda target: target.replace("/upload/", "/upload/x"), {}, 404),
        (lambda target: target.replace("a.png", "..%2f..%2fa.png"), {}, 404),
        (lambda target: target, {"Content-Type": "text/html"}, 415),
        (lambda target: target, {"Content-Length": "4"}, 400),
        (lambda target: target, {"Content-Length": "6"}, 413),
    ],
)
async def test_puts_that_are_refused(server: Harness, change: Any, headers: dict[str, str], wanted: int) -> None:
    romeo = await server.login("romeo")
    target, path = await slot(romeo, type="image/png")
    answer = await server.http("PUT", change(target), b"hello", headers)
    assert answer.status == wanted
    assert await status(server, path) == 404
    assert (await put(server, target)).status == 201  # the slot is still good


async def test_another_slots_signature_is_of_no_use(server: Harness) -> None:
    romeo, juliet = await server.login("romeo"), await server.login("juliet")
    target, _ = await slot(romeo)
    other, _ = await slot(juliet)
    assert (await put(server, f"{target.partition('?')[0]}?{other.partition('?')[2]}")).status == 403


async def test_a_slot_is_filled_once_and_in_time(server: Harness) -> None:
    romeo = await server.login("romeo")
    target, path = await slot(romeo)
    assert (await put(server, target)).status == 201
    assert (await put(server, target, b"other")).status == 409
    assert (await server.http("GET", path)).body == b"hello"
    late, _ = await slot(romeo)
    await server.advance(301)
    assert (await put(server, late)).status == 404


# ---- purposes and time


@pytest.mark.files(keep="2 days", permanent=False, profile_size="3 bytes")
async def test_how_long_files_stay(server: Harness, tmp_path: Path) -> None:
    romeo = await server.login("romeo")

    def purpose(name: str, **more: str) -> dict[str, str]:
        attributes = "".join(f" {key.replace('_', '-')}='{value}'" for key, value in more.items())
        return {"inside": f"<{name} xmlns='{PURPOSE}'{attributes}/>"}

    message = await uploaded(server, romeo)
    profile = await uploaded(server, romeo, b"abc", **purpose("profile"))
    soon = await uploaded(server, romeo, **purpose("ephemeral", expire_before="2023-11-15T00:00:00Z"))
    late = await uploaded(server, romeo, **purpose("ephemeral", expire_before="2033-11-15T00:00:00Z"))
    assert condition(await ask(romeo, size=20, **purpose("profile"))) == "not-acceptable"
    assert condition(await ask(romeo, **purpose("permanent"))) == "feature-not-implemented"
    assert condition(await ask(romeo, **purpose("ephemeral"))) == "bad-request"
    assert condition(await ask(romeo, **purpose("ephemeral", expire_before="2013-11-15T00:00:00Z"))) == "bad-request"
    assert (await server.http("GET", soon)).headers["cache-control"] == "no-store"
    await server.advance(86_400)
    assert [await status(server, each) for each in (message, profile, soon, late)] == [200, 200, 404, 200]
    await server.advance(86_500)
    assert [await status(server, each) for each in (message, profile, soon, late)] == [404, 200, 404, 404]
    await server.advance(1300)
    assert len(files_in(tmp_path)) == 1


# ---- what goes with what


async def test_a_file_goes_with_the_message_that_is_retracted(server: Harness) -> None:
    romeo, juliet = await server.login("romeo", presence=True), await server.login("juliet", presence=True)
    mine, hers = await uploaded(server, romeo), await uploaded(server, juliet)
    retract = (
        "<message to='{to}@localhost' type='chat' id='r{id}'>"
        "<retract id='{id}' xmlns='urn:xmpp:message-retract:1'/></message>"
    )
    for client, to, id, path in ((romeo, "juliet", "m1", hers), (romeo, "juliet", "m2", mine)):
        client.send(f"<message to='{to}@localhost' type='chat' id='{id}'><body>{BASE}{path}</body></message>")
        await server.quiet()
        client.send(retract.format(to=to, id=id))
        await server.quiet()
    assert [await status(server, each) for each in (mine, hers)] == [404, 200]  # another's file is not his to delete


async def test_a_file_goes_with_the_message_that_expires(server: Harness) -> None:
    romeo, juliet = await server.login("romeo", presence=True), await server.login("juliet", presence=True)
    path = await uploaded(server, romeo)
    romeo.send(
        f"<message to='juliet@localhost' type='chat' id='e1'><body>aesgcm{BASE.removeprefix('https')}{path}#00</body>"
        "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='60'/></message>"
    )
    await server.quiet()
    await juliet.receive_all()
    await server.advance(30)
    assert await status(server, path) == 200
    await server.advance(90)
    assert await status(server, path) == 404


async def test_files_go_with_the_account(server: Harness, tmp_path: Path) -> None:
    romeo = await server.login("romeo")
    path = await uploaded(server, romeo)
    await server.operation("user.del", jids=["romeo@localhost"])
    assert await server.until(lambda: not files_in(tmp_path))
    assert await status(server, path) == 404


async def test_a_person_and_an_administrator_see_and_delete_files(server: Harness) -> None:
    romeo = await server.login("romeo")
    first = await uploaded(server, romeo, name="one.png")
    await server.advance(1)
    second = await uploaded(server, romeo, name="two.png")
    node = "urn:xmppd:files#mine"
    form = await romeo.iq(f"<command xmlns='http://jabber.org/protocol/commands' node='{node}'/>", "set", "localhost")
    labels = [str(each.get("label")) for each in form.iter("{*}option")]
    assert labels == ["two.png (5 bytes)", "one.png (5 bytes)"]
    chosen = [str(each.findtext("{*}value")) for each in form.iter("{*}option")][1]
    await romeo.iq(
        f"<command xmlns='http://jabber.org/protocol/commands' node='{node}' sessionid='{form[0].get('sessionid')}' "
        f"action='complete'><x xmlns='jabber:x:data' type='submit'><field var='files'><value>{chosen}</value></field>"
        "</x></command>",
        "set", "localhost",
    )  # fmt: skip
    assert [await status(server, each) for each in (first, second)] == [404, 200]
    assert "two.png" in await server.operation("files.list", jid="romeo@localhost")
    assert await server.operation("files.delete", jid="romeo@localhost") == "1 deleted."
    assert await status(server, second) == 404
    assert json.dumps(await server.operation("files.list", jid="romeo@localhost")) == '"There are no files."'


# ---- what is looked at


@pytest.mark.files(scan=["sh", "-c", 'case "$(cat "$1")" in *virus*) exit 1;; esac', "scan"])
async def test_a_file_that_a_scanner_refuses_is_never_there(server: Harness, tmp_path: Path) -> None:
    romeo = await server.login("romeo")
    target, path = await slot(romeo, size=5)
    assert (await put(server, target, b"virus")).status == 422
    assert await status(server, path) == 404
    assert not files_in(tmp_path)
    assert (await put(server, target, b"clean")).status == 201


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("a.png", "a.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\windows\\a.exe", "a.exe"),
        ("a\u202egnp.exe", "agnp.exe"),
        ("a\r\nSet-Cookie: x", "aSet-Cookie: x"),
        ("..", "file"),
        ("/", "file"),
        ("x" * 300 + ".jpeg", "x" * 195 + ".jpeg"),
        ("\N{SNOWMAN}" * 100, "\N{SNOWMAN}" * 66),
        (".htaccess", "htaccess"),
    ],
)
def test_names_of_files(given: str, name: str) -> None:
    assert file_name(given) == name


# ---- what goes wrong


async def test_bytes_that_cannot_be_deleted_now_go_later(server: Harness, tmp_path: Path) -> None:
    romeo = await server.login("romeo")
    path = await uploaded(server, romeo)
    (content,) = files_in(tmp_path)
    aside = content.rename(tmp_path / "aside")
    content.mkdir()  # what no unlink deletes
    assert await server.operation("files.delete", jid="romeo@localhost") == "1 deleted."
    assert await status(server, path) == 404
    assert await server.operation("files.list", jid="romeo@localhost") == "There are no files."
    content.rmdir()
    aside.rename(content)
    await server.advance(601)
    assert not files_in(tmp_path)


async def test_what_is_deleted_while_it_comes_in_is_not_there(server: Harness, tmp_path: Path) -> None:
    romeo = await server.login("romeo")
    target, path = await slot(romeo)
    plugin = server.host.plugins["files"]
    publish = plugin.depot.publish

    async def deleted_meanwhile(token: str, spooled: Path) -> None:
        await publish(token, spooled)
        await server.operation("user.del", jids=["romeo@localhost"])

    plugin.depot.publish = deleted_meanwhile
    assert (await put(server, target)).status == 410
    assert await status(server, path) == 404
    assert not files_in(tmp_path)


@pytest.mark.files(per_day="10 bytes")
async def test_what_is_deleted_was_uploaded_all_the_same(server: Harness) -> None:
    romeo = await server.login("romeo")
    await uploaded(server, romeo, b"123456")
    assert await server.operation("files.delete", jid="romeo@localhost") == "1 deleted."
    assert condition(await ask(romeo, size=6)) == "resource-constraint"
    assert (await ask(romeo, size=4)).get("type") == "result"
    await server.advance(90_100)
    romeo = await server.login("romeo", "again")
    assert (await ask(romeo, size=6)).get("type") == "result"


async def test_a_file_waits_for_a_recipient_who_is_away(server: Harness) -> None:
    """The sender's copy of the message expires before the recipient has it."""
    await server.register("juliet")
    romeo = await server.login("romeo", presence=True)
    path = await uploaded(server, romeo)
    romeo.send(
        f"<message to='juliet@localhost' type='chat' id='e1'><body>{BASE}{path}</body>"
        "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='60'/></message>"
    )
    await server.quiet()
    await server.advance(200)
    assert await status(server, path) == 200


@pytest.mark.parametrize("target", ["/upload/../../etc/passwd", f"/upload/{'A' * 32}/..%2f..%2fx", "/upload/%00/a"])
async def test_no_way_out_of_the_folder(server: Harness, target: str) -> None:
    assert await status(server, target) in (400, 404)
    assert (await put(server, f"{target}?s=x")).status in (400, 404)


async def test_an_upload_without_a_length(server: Harness, tmp_path: Path) -> None:
    romeo = await server.login("romeo")
    target, _ = await slot(romeo)
    answer = await server.http("PUT", target, b"5\r\nhello\r\n0\r\n\r\n", {"Transfer-Encoding": "chunked"})
    assert answer.status in (400, 411)
    assert not files_in(tmp_path)


@pytest.mark.parametrize("step", ["slot", "fill", "end"])
@pytest.mark.parametrize("commits", range(3))
async def test_a_crash_between_the_two_records(server: Harness, tmp_path: Path, step: str, commits: int) -> None:
    """Of the token and of the account: what is left can be fetched only if it is listed, and goes when it is over."""
    await server.register("romeo")
    book, config = server.host.plugins["files"].book, server.host.plugins["files"].config
    now = server.clock.now()
    file = StoredFile("romeo@localhost", "a.png", 5, "", "", now, now + 300, expires=now + 3600)
    token = await book.add_slot(file, config) if step != "slot" else ""
    if step == "end":
        assert await book.fill(token, file)
        file = replace(file, stored=now)
    server.backend.hold()
    work = {"slot": lambda: book.add_slot(file, config), "fill": lambda: book.fill(token, file)}
    task = asyncio.create_task(work.get(step, lambda: book.end([(token, file)]))())
    for _ in range(commits):
        await server.quiet()
        server.backend.release(1)
    backend = server.backend.survivor()
    server.backend.release()
    await task
    clock = FakeClock(server.clock.now())
    backend.clock = clock
    after = Harness(server.made["plugins"], store=Store(backend, clock), clock=clock)
    await after.start()
    left = after.host.plugins["files"].book
    for found in (await left.files.scan(UPLOAD))[:1]:
        if found[2] is not None and found[2].stored:
            assert list(await left.of_account("romeo@localhost")) == [found[0].partition("@")[0]]
    # The bytes of these files were never there, so only what concerns the records.
    assert not [each for each in await problems(after) if "bytes" not in each]
    await after.advance(2 * 3600)
    assert await left.files.scan(UPLOAD) == [] and await left.own.read_all("romeo@localhost") == {}
    await after.stop()
