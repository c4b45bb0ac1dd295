"""Uploads (XEP-0363) on a server process: over https, large, broken off, killed; in a bucket."""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from tests.process.client import Wire
from tests.process.server import ServerProcess, configuration

NS = "urn:xmpp:http:upload:0"
LISTENERS = [{"port": 0}, {"kind": "http", "port": 0, "tls": "none"}]
PIECE = b"0123456789abcdef" * 4096


def files(folder: Path) -> list[Path]:
    return [each for each in (folder / "var" / "uploads").rglob("*") if each.is_file()]


async def until(true: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    for _ in range(500):
        if true():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not happen")


async def started(folder: Path, **options: Any) -> ServerProcess:
    plugins = {"files": {"size": "2 GiB", "per_day": "10 GiB", **options}}
    process = ServerProcess(folder, configuration(listeners=LISTENERS, plugins=plugins))
    await process.start()
    await process.account("romeo")
    return process


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    process = await started(tmp_path)
    yield process
    process.kill()
    assert "Traceback" not in process.log, process.log


async def slot(server: ServerProcess, size: int, name: str = "a.mp4", who: str = "romeo") -> tuple[str, str]:
    async with await Wire.login(server.port(), who) as romeo:
        answer = await romeo.iq(f"<request xmlns='{NS}' filename='{name}' size='{size}'/>", to="upload.localhost")
        put, get = (str(each.get("url")) for each in answer[0])
        assert re.fullmatch(r"http://localhost:\d+/upload/[\w-]{32}/a\.mp4", get), get
        return put, get


def peak(server: ServerProcess) -> int:
    """The most memory that the process had, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{server.pid}/status").read_text())
    assert found is not None
    return int(found[1]) << 10


async def pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield PIECE


async def test_a_large_file_goes_through_without_memory(server: ServerProcess) -> None:
    count = 4096  # 256 MiB
    size = count * len(PIECE)
    async with aiohttp.ClientSession() as http:
        put, get = await slot(server, len(PIECE))
        async with http.put(put, data=PIECE) as answer:  # what the first one loads
            assert answer.status == 201
        before = peak(server)
        put, get = await slot(server, size)
        async with http.put(put, data=pieces(count), headers={"Content-Length": str(size)}) as answer:
            assert answer.status == 201
        wanted = hashlib.sha256()
        for _ in range(count):
            wanted.update(PIECE)
        digest = hashlib.sha256()
        async with http.get(get) as answer:
            assert (answer.status, answer.content_length) == (200, size)
            async for piece in answer.content.iter_any():
                digest.update(piece)
        assert digest.digest() == wanted.digest()
    assert peak(server) - before < 16 << 20


async def test_many_that_do_not_read_cost_little(server: ServerProcess) -> None:
    size = 512 * len(PIECE)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        put, get = await slot(server, size)
        async with http.put(put, data=pieces(512), headers={"Content-Length": str(size)}) as answer:
            assert answer.status == 201
        before = peak(server)
        answers = [await http.get(get) for _ in range(40)]
        put, other = await slot(server, 5)  # and nobody waits for them
        async with http.put(put, data=b"hello") as answer:
            assert answer.status == 201
        async with http.get(other) as answer:
            assert await answer.read() == b"hello"
        for each in answers:
            each.close()
    assert peak(server) - before < 64 << 20  # the half of `memory` that is lent, and what connections need


async def under_way(put: str, body: bytes = b"x") -> asyncio.StreamWriter:
    """An upload that has begun and stands still."""
    port = int(put.split(":")[2].split("/", 1)[0])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    path = put.split(str(port), 1)[1]
    writer.write(f"PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(PIECE)}\r\n\r\n".encode() + body)
    await writer.drain()
    return writer


async def test_only_so_many_at_once(tmp_path: Path) -> None:
    """Of an account: 429, of all: 503; with the time to wait, for pages of other origins as well; it is good later."""
    server = await started(tmp_path, memory="1 MiB", memory_per_account="64 KiB")
    try:
        async with aiohttp.ClientSession() as http:
            standing = [await under_way((await slot(server, len(PIECE)))[0]) for _ in range(2)]
            await until(lambda: len(files(tmp_path)) == 2)
            put, get = await slot(server, len(PIECE))
            async with http.put(put, data=PIECE) as answer:
                told = {name: answer.headers[name] for name in ("Retry-After", "Access-Control-Allow-Origin")}
                assert (answer.status, told) == (429, {"Retry-After": "10", "Access-Control-Allow-Origin": "*"})
            await server.account("juliet")
            for number in range(14):
                await server.account(f"u{number}")
                standing.append(await under_way((await slot(server, len(PIECE), who=f"u{number}"))[0]))
            await until(lambda: len(files(tmp_path)) == 16)
            other, _ = await slot(server, len(PIECE), who="juliet")
            async with http.put(other, data=PIECE) as answer:
                assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
            for writer in standing:
                writer.transport.abort()
            await until(lambda: not files(tmp_path))
            for each in (put, other):
                async with http.put(each, data=PIECE) as answer:
                    assert answer.status == 201
            async with http.get(get) as answer:
                assert await answer.read() == PIECE
    finally:
        server.kill()
    assert "Traceback" not in server.log, server.log


async def test_who_leaves_in_the_middle_leaves_nothing(server: ServerProcess, tmp_path: Path) -> None:
    put, get = await slot(server, 10 * len(PIECE))
    host, port = "127.0.0.1", int(put.split(":")[2].split("/")[0])
    path = put.split(str(port), 1)[1]
    _, writer = await asyncio.open_connection(host, port)
    writer.write(f"PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {10 * len(PIECE)}\r\n\r\n".encode())
    writer.write(PIECE * 5)
    await writer.drain()
    await until(lambda: len(files(tmp_path)) == 1)
    writer.transport.abort()
    await until(lambda: not files(tmp_path))
    async with aiohttp.ClientSession() as http, http.get(get) as answer:
        assert answer.status == 404
    async with aiohttp.ClientSession() as http, http.put(put, data=PIECE * 10) as answer:
        assert answer.status == 201  # the slot is good for another try


async def test_what_was_answered_is_there_after_a_kill_and_what_was_not_is_not(
    server: ServerProcess, tmp_path: Path
) -> None:
    async with aiohttp.ClientSession() as http:
        put, get = await slot(server, len(PIECE))
        async with http.put(put, data=PIECE) as answer:
            assert answer.status == 201
        half, other = await slot(server, 2 * len(PIECE))
        port = int(half.split(":")[2].split("/")[0])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        path = half.split(str(port), 1)[1]
        writer.write(f"PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {2 * len(PIECE)}\r\n\r\n".encode())
        writer.write(PIECE)
        await writer.drain()
        await until(lambda: len(files(tmp_path)) == 2)
    server.kill()
    writer.close()
    await server.start()
    assert len(files(tmp_path)) == 1
    port = server.port("http")
    async with aiohttp.ClientSession() as http:
        async with http.get(re.sub(r":\d+/", f":{port}/", get)) as answer:
            assert await answer.read() == PIECE
        async with http.get(re.sub(r":\d+/", f":{port}/", other)) as answer:
            assert answer.status == 404


class Bucket(NamedTuple):
    url: str
    process: subprocess.Popen[bytes]


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    """An S3 service on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Bucket(f"http://127.0.0.1:{port}", process)
    finally:
        process.kill()
        process.wait()


async def test_files_in_a_bucket(bucket: Bucket, tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as http:
        for _ in range(600):
            try:
                async with http.put(f"{bucket.url}/pictures", headers={"Host": "s3.amazonaws.com"}) as answer:
                    assert answer.status == 200
                    break
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)
        options = {"bucket": "pictures/of-people", "endpoint": bucket.url, "access_key": "a", "secret_key": "b"}
        server = await started(tmp_path, **options)
        try:
            size = 300 * len(PIECE)  # in several parts
            put, get = await slot(server, size)
            async with http.put(put, data=pieces(300), headers={"Content-Length": str(size)}) as answer:
                assert answer.status == 201
            assert files(tmp_path) == []
            async with http.get(get) as answer:
                assert await answer.read() == PIECE * 300
            async with http.get(get, headers={"Range": f"bytes={len(PIECE) - 2}-{len(PIECE) + 1}"}) as answer:
                assert (answer.status, await answer.read()) == (206, b"ef01")
            await server.operation("files.delete", jid="romeo@localhost")
            async with http.get(get) as answer:
                assert answer.status == 404
            async with http.get(f"{bucket.url}/pictures") as answer:
                assert b"<Key>" not in await answer.read()
            put, get = await slot(server, 5)
            async with http.put(put, data=b"hello") as answer:
                assert answer.status == 201
            bucket.process.kill()  # and then it does not answer
            with pytest.raises(aiohttp.ClientError):
                async with http.get(get) as answer:
                    await answer.read()
            put, _ = await slot(server, 5)
            async with http.put(put, data=b"hello") as answer:
                told = {name: answer.headers[name] for name in ("Retry-After", "Access-Control-Allow-Origin")}
                assert (answer.status, told) == (503, {"Retry-After": "30", "Access-Control-Allow-Origin": "*"})
            assert files(tmp_path) == []
        finally:
            server.kill()
        assert "Traceback" not in server.log, server.log
