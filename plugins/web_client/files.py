"""The files of Converse.js as the server found them at its start: types, tags, and what is there compressed."""

from __future__ import annotations

import hashlib
import mimetypes
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PIECE: Final = 256 << 10
COMPRESSED: Final = ".gz"
"""What the name of a file that was compressed by gzip ends with; it lies beside the file itself."""
_OWN_TYPES: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".woff2": "font/woff2",
}
"""What the machine's own list of types may not know, or know otherwise."""


@dataclass(frozen=True, slots=True)
class WebFile:
    """One file of the client. `etag`: of its content. `compressed`: the same by gzip, if that is there."""

    path: Path
    size: int
    type: str
    etag: str
    compressed: WebFile | None = None


@dataclass(frozen=True, slots=True)
class WebFiles:
    """The files by their names below the folder. `version`: of all of them; another content has another."""

    files: Mapping[str, WebFile] = field(default_factory=dict)
    version: str = ""


def find_files(folder: Path) -> WebFiles:
    """Read the folder; without it there are no files. Raises OSError."""
    found = {}
    every = hashlib.sha256()
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.suffix in (".map", COMPRESSED) or path.name.startswith(".") or not path.is_file():
            continue
        name = path.relative_to(folder).as_posix()
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()[:20]
        every.update(f"{name}\n{digest}\n".encode())
        found[name] = WebFile(path, len(content), _type(path), f'"{digest}"', _compressed(path, digest))
    return WebFiles(found, every.hexdigest()[:16])


def _type(path: Path) -> str:
    return _OWN_TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def _compressed(path: Path, digest: str) -> WebFile | None:
    """What lies beside a file. An older one than the file was made of something else."""
    beside = path.with_name(path.name + COMPRESSED)
    if not beside.is_file() or beside.stat().st_mtime < path.stat().st_mtime:
        return None
    return WebFile(beside, beside.stat().st_size, _type(path), f'"{digest}-gz"')


def takes_gzip(accepted: str) -> bool:
    """Whether a client takes gzip, by its Accept-Encoding (RFC 9110 section 12.5.3)."""
    for each in accepted.lower().replace(" ", "").split(","):
        coding, _, weight = each.partition(";q=")
        if coding == "gzip":
            return weight.strip("0.") != "" or not weight
    return False


async def pieces(file: WebFile, in_thread: Callable[..., Awaitable[bytes]]) -> AsyncIterator[bytes]:
    """The content of a file. Raises OSError."""
    for start in range(0, file.size, PIECE):
        yield await in_thread(_read, file.path, start)


def _read(path: Path, start: int) -> bytes:
    number = os.open(path, os.O_RDONLY)
    try:
        return os.pread(number, PIECE, start)
    finally:
        os.close(number)
