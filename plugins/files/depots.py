"""Where the bytes of files are: a folder, or a bucket of an S3-compatible service."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

if TYPE_CHECKING:
    from .options import Config

SMALL: Final = 64
"""Pieces of an upload, as they come, that are put together: each has an overhead of its own."""
RETRIES: Final = 4
PATIENCE: Final = timedelta(seconds=20)
"""With a bucket that does not answer: the client waits, too."""
VECTOR: Final = 512
"""Pieces that one call of the system writes."""
PART: Final = 8 << 20
"""Bytes of a part on its way to a bucket."""

R = TypeVar("R")
P = TypeVar("P")

Room = Callable[[], int]
"""Bytes that may be in memory of a file that is on its way, from now on."""


class Workers(Protocol):
    """Threads for what blocks (`host.background.workers`)."""

    async def run(self, call: Callable[..., R], *args: Any) -> R: ...

    async def feed(self, call: Callable[[P], object], pieces: AsyncIterator[P]) -> None: ...


class Depot(Protocol):
    """Keeps files under tokens, which are strong random names. All raise OSError."""

    async def publish(self, token: str, spooled: Path) -> None:
        """Take a complete file over. It is durable on return, and there as a whole or not at all."""
        ...

    def pieces(self, token: str, start: int, end: int, room: Room) -> AsyncIterator[bytes]:
        """The bytes of a file from `start` to before `end`, as many at once as there is room for."""
        ...

    async def delete(self, token: str) -> None:
        """Forget a file, if there is one."""
        ...


class Spool:
    """Files on their way in. What a process that has died left here goes at the next start."""

    def __init__(self, folder: Path, workers: Workers) -> None:
        self.folder = folder
        self._workers = workers

    async def clear(self) -> None:
        """Delete what is there."""
        await self._workers.run(_cleared, self.folder)

    def path(self, token: str) -> Path:
        return self.folder / f"{token}.part"

    async def write(self, token: str, pieces: AsyncIterator[bytes], room: Room) -> int:
        """Write what comes into a new file, and return the bytes that came. Raises OSError."""
        file: SpoolFile = await self._workers.run(SpoolFile, self.path(token))
        try:
            await self._workers.feed(file.write, _collected(pieces, lambda: room() // 2))  # one comes, one is written
            return file.size
        finally:
            await self._workers.run(file.close)

    async def discard(self, token: str) -> None:
        await self._workers.run(self.path(token).unlink, True)

    async def is_harmless(self, token: str, command: Sequence[str], within: float) -> bool:
        """Whether the command that looks at files has nothing against this one. Raises OSError."""
        return bool(await self._workers.run(_scanned, [*command, str(self.path(token))], within))


class SpoolFile:
    """A file that is written piece by piece in threads. Who writes may be broken off while a thread is at it: the
    number of the file must not become another's meanwhile."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.size = 0
        """Bytes that were written."""
        self._number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._lock = threading.Lock()

    def write(self, pieces: list[bytes]) -> None:
        """Raises OSError."""
        with self._lock:
            if self._number < 0:
                return
            size = sum(map(len, pieces))
            written = os.writev(self._number, pieces) if len(pieces) <= VECTOR else 0
            rest = memoryview(b"".join(pieces))[written:] if written < size else b""
            while rest:
                rest = rest[os.write(self._number, rest) :]
            self.size += size

    def close(self) -> None:
        with self._lock:
            if self._number >= 0:
                os.close(self._number)
                self._number = -1


def path_in(folder: Path, token: str) -> Path:
    """Where the file of a token is."""
    return folder / token[:2] / token[2:4] / token


class Folder:
    """Files in a folder, spread over folders by the first letters of their tokens."""

    def __init__(self, folder: Path, workers: Workers) -> None:
        self.folder = folder
        self._workers = workers

    def path(self, token: str) -> Path:
        return path_in(self.folder, token)

    async def publish(self, token: str, spooled: Path) -> None:
        await self._workers.run(_published, spooled, self.path(token))

    async def pieces(self, token: str, start: int, end: int, room: Room) -> AsyncIterator[bytes]:
        # The file is opened for each piece: a thousand clients that read slowly hold no descriptor.
        path = self.path(token)
        while start < end:
            piece = await self._workers.run(_read, path, start, min(room(), end - start))
            if not piece:
                return
            start += len(piece)
            yield piece

    async def delete(self, token: str) -> None:
        await self._workers.run(self.path(token).unlink, True)


class Bucket:
    """Files in a bucket; the bytes pass through this server, which so knows lengths, quotas and rights."""

    def __init__(self, config: Config) -> None:
        """Raises ImportError without `obstore`, which the extra `s3` brings."""
        from obstore.store import S3Store

        name, _, prefix = config.bucket.partition("/")
        keys = {"access_key_id": config.access_key, "secret_access_key": config.secret_key}
        options: dict[str, Any] = {name: value for name, value in keys.items() if value}
        if config.endpoint:
            options["endpoint"] = config.endpoint
        plain = config.endpoint.startswith("http://")
        self._store = S3Store(
            name,
            prefix=prefix or None,
            region=config.region,
            client_options={"allow_http": plain, "timeout": timedelta(seconds=60)},
            retry_config={"max_retries": RETRIES, "retry_timeout": PATIENCE},
            **options,
        )

    async def publish(self, token: str, spooled: Path) -> None:
        import obstore

        with _as_os_error():
            await obstore.put_async(self._store, token, spooled, chunk_size=PART)

    async def pieces(self, token: str, start: int, end: int, room: Room) -> AsyncIterator[bytes]:
        import obstore

        # A request for each piece: who fetches slowly holds no connection, which the bucket would break off.
        while start < end:
            with _as_os_error():
                length = min(room(), end - start)
                piece = bytes(await obstore.get_range_async(self._store, token, start=start, length=length))
            start += len(piece)
            yield piece

    async def delete(self, token: str) -> None:
        import obstore

        with _as_os_error(), contextlib.suppress(FileNotFoundError):
            await obstore.delete_async(self._store, token)


@contextlib.contextmanager
def _as_os_error() -> Any:
    """What the bucket's library raises, as OSError."""
    from obstore.exceptions import BaseError

    try:
        yield
    except OSError:
        raise
    except BaseError as error:
        raise OSError(f"the bucket: {error}") from error


async def _collected(pieces: AsyncIterator[bytes], room: Room) -> AsyncIterator[list[bytes]]:
    """What comes, in lists of so many bytes as there is room for, and a piece more."""
    whole: list[bytes] = []
    small: list[bytes] = []
    size, most = 0, room()
    async for piece in pieces:
        size += len(piece)
        small.append(piece)
        if len(piece) >= 4096 or len(small) >= SMALL:
            whole.extend(small if len(piece) >= 4096 and len(small) == 1 else (b"".join(small),))
            small = []
        if size >= most:
            yield [*whole, *small]
            whole, small, size, most = [], [], 0, room()
    if size:
        yield [*whole, *small]


# ---- in threads


def _cleared(folder: Path) -> None:
    for path in folder.iterdir() if folder.is_dir() else ():
        path.unlink()


def _read(path: Path, start: int, size: int) -> bytes:
    number = os.open(path, os.O_RDONLY)
    try:
        return os.pread(number, size, start)
    finally:
        os.close(number)


def _published(spooled: Path, path: Path) -> None:
    """The file is on the disk before its name is, and its name before this returns."""
    number = os.open(spooled, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
    new = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.replace(spooled, path)
    for folder in {path.parent, *(each.parent for each in new)}:
        _sync(folder)


def _sync(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _scanned(command: list[str], within: float) -> bool:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=within,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
