"""/etc/hosts: addresses that an administrator has written down, which count before those of DNS."""

from __future__ import annotations

import ipaddress
import logging
from pathlib import Path
from typing import Final

log = logging.getLogger("xmppd.net")

LARGEST: Final = 1 << 20
"""Bytes; no more of it are read."""


class HostsFile:
    """Read again when it has changed. One that is missing or cannot be read is empty."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._version: tuple[int, int, int] | None = None
        self._names: dict[str, tuple[str, ...]] = {}

    def addresses(self, name: str) -> tuple[str, ...]:
        """Of a name in lower case; those of both families in the order of the file."""
        if self._path is None:
            return ()
        try:
            stat = self._path.stat()
            version = stat.st_mtime_ns, stat.st_size, stat.st_ino
            if version != self._version:
                with self._path.open("rb") as file:
                    self._names = parse(file.read(LARGEST).decode("utf-8", "replace"))
                self._version = version
        except OSError as error:
            if self._version is not None or self._names:
                log.warning("%s: %s", self._path, error.strerror or error)
            self._version, self._names = None, {}
        return self._names.get(name, ())


def parse(text: str) -> dict[str, tuple[str, ...]]:
    """hosts(5): an address and its names in each line."""
    names: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) < 2:
            continue
        try:
            address = str(ipaddress.ip_address(words[0].partition("%")[0]))
        except ValueError:
            continue
        for name in words[1:]:
            name = name.lower().rstrip(".")
            if address not in names.get(name, ()):
                names[name] = (*names.get(name, ()), address)
    return names
