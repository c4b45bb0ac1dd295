"""Whether the two records of each file, and its bytes, agree (`xmppd store check`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from xmppd.contracts.store_check import StoreCheck, in_map
from xmppd.plugin import Host

from .book import FileBook
from .depots import path_in
from .model import StoredFile


class FilesCheck:
    """`folder`: where the bytes are; None: in a bucket, where nobody looks. Raises StorageUnavailable."""

    def __init__(self, host: Host, book: FileBook, folder: Path | None, store: StoreCheck) -> None:
        self.host = host
        self.book = book
        self.folder = folder if store.beside else None
        self.store = store
        self.now = store.now / 1_000_000

    async def check(self) -> None:
        book, store = self.book, self.store
        async for owner, key, file in store.records(book.files, book.address):
            token = owner.rpartition("@")[0]
            if key:
                store.problem(owner, in_map(book.files.name, key), "a file has one record, and this is another one")
            elif not file.is_over(self.now):  # else the next sweep takes it away
                own = await book.own.read_stored(file.account, token)
                for what in self._disagreements(file, own.file if own is not None else None, file.account):
                    store.problem(file.account, in_map(book.files.name, token), what)
        async for account, token, own in store.records(book.own):
            found = await book.files.read_stored(book.owner_of(token), "")
            where = in_map(book.own.name, token)
            for what in self._disagreements(own.file, found, account):
                store.problem(account, where, what)
            if self.folder is not None and own.file.stored and not own.file.is_over(self.now):
                for what in await self.host.background.in_thread(byte_problems, path_in(self.folder, token), own.file):
                    store.problem(account, where, what)
        if self.folder is not None and store.concerns(self.host.domain):
            await self._check_folder(self.folder)

    def _disagreements(self, file: StoredFile, other: StoredFile | None, account: str) -> Iterator[str]:
        """`other`: what the second record says. `account`: whose it is."""
        if file.account != account:
            yield f"it is listed among the files of {account}, and belongs to {file.account}"
        if other is not None and not (file.stored and other.stored):
            return  # one of them is over, or will be soon, and goes with the other
        if other is None and not file.stored:
            return
        if other is None:
            yield "its second record is not there: it can be fetched and counts for nobody, or the other way round"
        elif other != file:
            yield f"its two records differ: {file} and {other}"

    async def _check_folder(self, folder: Path) -> None:
        in_thread = self.host.background.in_thread
        for part in await in_thread(_listed, folder):
            for token in await in_thread(_tokens, part):
                if await self.book.files.read_stored(self.book.owner_of(token), "") is None:
                    what = "it is on the disk and in no record, so it is never deleted"
                    self.store.problem(self.host.domain, str(path_in(folder, token)), what)


def byte_problems(path: Path, file: StoredFile) -> list[str]:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return [f"its bytes are not on the disk ({path})"]
    except OSError as error:
        return [f"its bytes cannot be read: {error}"]
    return [] if size == file.size else [f"it is said to have {file.size} bytes, and has {size} ({path})"]


def _listed(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _tokens(part: Path) -> list[str]:
    """The names of the files two folders below the whole."""
    return sorted(path.name for path in part.glob("*/*") if path.is_file())
