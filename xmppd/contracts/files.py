"""Uploaded files (XEP-0363)."""

from __future__ import annotations

from typing import Protocol

from ..service import Service


class Files(Protocol):
    """The files of the accounts of one host."""

    @property
    def bases(self) -> tuple[str, ...]:
        """The addresses under which files are reached, without a path: those of clients with TLS, and of clients
        without, which are on this machine. None where no listener serves files."""
        ...

    async def delete_named_in(self, author: str, content: bytes) -> None:
        """Delete the files of `author` (a bare JID of the host) whose addresses stand in `content`, a message that is
        deleted itself. Raises StorageUnavailable; may be called again."""
        ...


FILES = Service[Files]("files")
