"""The key of the stored numbers: in a file, so that whoever gets the store alone has nothing."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Final

NAME: Final = "phone.key"
LENGTH: Final = 64


def read_or_make(folder: Path) -> str:
    """Blocks. Two processes that make it at once get the same. Raises OSError; ValueError: the file holds no key."""
    path = folder / NAME
    with suppress(FileNotFoundError):
        return _checked(path)
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / f"{NAME}.{token_hex(8)}"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(token_hex(LENGTH // 2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(new, path)
    finally:
        os.unlink(new)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return _checked(path)


def _checked(path: Path) -> str:
    text = path.read_text().strip()
    if len(text) < 32:
        raise ValueError(f"{path} holds no key")
    return text
