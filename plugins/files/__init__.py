"""XEP-0363: HTTP File Upload. Pictures, voice messages and files, in a folder or a bucket."""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from secrets import token_bytes
from typing import Annotated, Final

from xmppd.contracts.accounts import ACCOUNTS_REMOVED
from xmppd.contracts.admin import AccountJid, Argument, Result, operation
from xmppd.contracts.commands import COMMANDS, Ask, Call, Command, CommandAsk, Done, Who
from xmppd.contracts.disco import DISCO_ITEMS, DiscoAsk, Item
from xmppd.contracts.files import FILES
from xmppd.contracts.http import HttpError, StreamedBody
from xmppd.contracts.store_check import CHECK_STORE, OWNED, OwnedPlace, StoreCheck
from xmppd.errors import StorageUnavailable
from xmppd.jid import prepare_domain
from xmppd.plugin import HttpRequest, HttpResponse, Plugin, Xep, http, on
from xmppd.xep.forms import Field, form

from .addresses import PATH, SIGNATURE, is_signed, tokens_in
from .book import FileBook
from .check import FilesCheck
from .depots import Bucket, Depot, Folder, Spool
from .model import StoredFile
from .options import Config
from .room import Place, Room
from .service import UploadService
from .serving import headers_of, is_another, is_not_modified, media_type, range_of, waits_for_end

__all__ = ["Config", "Uploads"]

log = logging.getLogger("xmppd.files")

ROUTE: Final = f"{PATH}/{{token}}/{{name}}"
LARGEST: Final = 1 << 50
"""Bytes: what a slot allows is looked at in each request."""
FILES_FOLDER: Final = "files"
SWEEP: Final = 600.0
SCANS: Final = 2
DISK: Final = 4
"""Worker threads for the disk and for scanners: passwords are hashed in others."""
PIECE: Final = 1 << 20
COLLECT: Final = 2 << 20
"""Bytes of a file that goes out, and of one that comes in, that are in memory while there is much room."""
LEAST_OUT: Final = 16 << 10
LEAST_IN: Final = 32 << 10
"""The same when there is little."""
LATER: Final = {"Retry-After": "30"}
NODE: Final = "urn:xmppd:files"
SHOWN: Final = 200
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{32}")


@dataclass(frozen=True, slots=True)
class Secret:
    """Signs the addresses to put files."""

    value: bytes


class FileRow(Result, frozen=True):
    """`id`: deletes it. `size`: bytes. `stored`: seconds since 1970 UTC, 0 while it is awaited."""

    id: str
    name: str
    size: int
    purpose: str
    stored: float

    def text(self) -> str:
        return f"{self.id}  {self.size:>12,}  {self.purpose:<9}  {self.name}"


class FileRows(Result, frozen=True):
    files: tuple[FileRow, ...]
    size: int
    """Bytes of all of them."""

    def text(self) -> str:
        if not self.files:
            return "There are no files."
        return "\n".join((*(each.text() for each in self.files), f"{len(self.files)} files, {self.size:,} bytes"))


class Deleted(Result, frozen=True):
    files: int

    def text(self) -> str:
        return f"{self.files} deleted."


class Uploads(Plugin[Config]):
    """Implements `contracts.files.Files`."""

    xeps = (Xep(363, "1.2.0", "all purposes; a file goes with the message that names it, and with the account"),)
    provides = (FILES,)

    def setup(self) -> None:
        address = self.config.address or f"upload.{self.host.domain}"
        self.address = prepare_domain(address)
        self.book = FileBook(self.host, self.address)
        self.service = UploadService(self.host, self.book, lambda: self.config, self.base)
        self.secrets = self.host.storage.map("file-secret", Secret)
        sizes = (lambda: int(self.config.memory), lambda: int(self.config.memory_per_account))
        self.uploads = Room(self._under_way(), LEAST_IN, *sizes)
        self.downloads = Room(self._under_way(), LEAST_OUT, *sizes)
        self.filling: set[str] = set()
        """Tokens of files that are just coming in."""
        self.spool: Spool
        self.depot: Depot

    def _under_way(self) -> dict[str, int]:
        return self.host.owned({}, stays=lambda account: True)

    async def start(self) -> None:
        """Raises OSError: the folder cannot be used; ValueError: the address is taken."""
        folder = self._folder
        workers = self.host.background.workers(DISK)
        self.spool = Spool(folder / "incoming", workers)
        await self.spool.clear()
        self.depot = Bucket(self.config) if self.config.bucket else Folder(folder / FILES_FOLDER, workers)
        self.service.secret = (await self._secret()).value
        self.host.router.routes.register(self.address, self.service)
        self.every(SWEEP, self.sweep, "expired files")

    async def stop(self) -> None:
        self.host.router.routes.unregister(self.address)

    @property
    def _folder(self) -> Path:
        folder = Path(self.config.folder) if self.config.folder else self.host.server.config.var / "uploads"
        return folder / self.host.domain

    async def _secret(self) -> Secret:
        found = await self.secrets.read(self.host.domain, "")
        if found is None:
            found = Secret(token_bytes(32))
            await self.host.storage.commit([self.secrets.put(self.host.domain, "", found)])
        return found

    def base(self, secure: bool = True) -> str:
        """The address under which files are reached, without a path; "" where no listener serves them. With TLS
        (XEP-0363 section 3; Gajim takes no other) for a client that has TLS itself. One without is on this machine, and
        may be a page that the browser lets reach nothing whose certificate nobody has signed."""
        return self.config.public_url or self.host.server.url(self.host.domain, PATH, secure).removesuffix(PATH)

    @property
    def bases(self) -> tuple[str, ...]:
        """See contracts.files."""
        return tuple(dict.fromkeys(base for base in (self.base(True), self.base(False)) if base))

    @on(DISCO_ITEMS)
    def items(self, ask: DiscoAsk) -> Iterable[Item]:
        if ask.account is None and not ask.node and self.bases:
            yield Item(self.address, "Files")

    # ---- fetching

    @http("GET", ROUTE, cors=True)
    async def fetch(self, request: HttpRequest) -> HttpResponse:
        token, file = await self._named(request)
        if not file.stored:
            raise HttpError(404)
        headers = headers_of(file, token)
        if is_another(file, token, request.headers):
            raise HttpError(412, headers=headers)
        if is_not_modified(file, token, request.headers):
            return HttpResponse(304, headers=headers)
        wanted = range_of(file, token, request.headers) if request.method == "GET" else None
        start, end = wanted or (0, file.size)
        status = 200
        if wanted is not None:
            status = 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
        if request.method != "HEAD":
            self.downloads.check(file.account)
        body = StreamedBody(end - start, lambda: self._pieces(token, file, start, end))
        return HttpResponse(status, body, media_type(file), headers, waits_for_end(request.headers))

    async def _pieces(self, token: str, file: StoredFile, start: int, end: int) -> AsyncIterator[bytes]:
        with self.downloads.enter(file.account) as place:
            try:
                async for piece in self.depot.pieces(token, start, end, lambda: place.size(PIECE)):
                    yield piece
            except OSError as error:
                if not isinstance(error, ConnectionError):  # the client has left
                    log.error("a file of %s cannot be read: %s", file.account, _without(token, error))
                raise ConnectionAbortedError from None

    async def _named(self, request: HttpRequest) -> tuple[str, StoredFile]:
        """The token and the file of an address. Raises HttpError, StorageUnavailable."""
        token = request.parameters["token"]
        file = await self.book.find(token) if _TOKEN.fullmatch(token) else None
        if file is None or file.name != request.parameters["name"]:
            raise HttpError(404)
        return token, file

    # ---- putting

    @http("PUT", ROUTE, max_body=LARGEST, cors=True)
    async def put(self, request: HttpRequest) -> HttpResponse:
        """Section "Upload": 201 when the file is on the disk, and can be fetched."""
        token, file = await self._named(request)
        if not is_signed(request.query.get(SIGNATURE, ""), token, file, self.service.secret):
            raise HttpError(403)
        if file.stored or token in self.filling:
            raise HttpError(409, "That file was put already.")
        _check_headers(request, file)
        self.uploads.check(file.account)
        self.filling.add(token)
        try:
            with self.uploads.enter(file.account) as place:
                await self._receive(request, token, file, place)
        except OSError as error:
            log.error("a file of %s was not stored: %s", file.account, _without(token, error))
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise (HttpError(507) if full else HttpError(503, headers=LATER)) from None
        finally:
            self.filling.discard(token)
            await self.spool.discard(token)
        return HttpResponse(201)

    async def _receive(self, request: HttpRequest, token: str, file: StoredFile, place: Place) -> None:
        """Raises HttpError, OSError, StorageUnavailable."""
        size = await self.spool.write(token, aiter(request.body), lambda: place.size(COLLECT))
        if size != file.size:
            raise HttpError(400, "The file has another length than was said.")
        if self.config.scan:
            async with self.host.locks.hold(f"scan {hash(token) % SCANS}"):
                harmless = await self.spool.is_harmless(token, self.config.scan, float(self.config.scan_time))
            if not harmless:
                log.warning("a file of %s was refused by %s", file.account, self.config.scan[0])
                raise HttpError(422, "The file was refused.")
        await self.depot.publish(token, self.spool.path(token))
        if not await self.book.fill(token, file):
            await self.depot.delete(token)
            raise HttpError(410, "The file was deleted before it was here.")

    # ---- deleting

    async def delete(self, files: Iterable[tuple[str, StoredFile]]) -> int:
        """Delete files: nobody can fetch them any more, then their bytes go, then what is known of them. What cannot be
        done now, or is broken off by a crash, a later sweep does. Returns how many. Raises StorageUnavailable."""
        gone = list(files)
        await self.book.end(gone)
        deleted = []
        for token, file in gone:
            try:
                await self.depot.delete(token)
            except OSError as error:
                log.error("the bytes of a deleted file are still there for now: %s (%s)", error, token)
            else:
                deleted.append((token, file))
        await self.book.remove(deleted)
        return len(gone)

    async def delete_named_in(self, author: str, content: bytes) -> None:
        """See contracts.files."""
        found = [(token, await self.book.find(token)) for token in tokens_in(content)]
        await self.delete([(token, file) for token, file in found if file is not None and file.account == author])

    @on(ACCOUNTS_REMOVED)
    async def removed(self, names: frozenset[str]) -> None:
        for name in names:
            if name.endswith(f"@{self.host.domain}"):
                await self.delete([(token, own.file) for token, own in (await self.book.own.read_all(name)).items()])

    async def sweep(self) -> None:
        """Delete what has expired, and slots that were not filled."""
        after = ""
        try:
            while True:
                found, after = await self.book.over(after)
                await self.delete([(token, file) for token, file in found if token not in self.filling])
                if not after:
                    return
        except StorageUnavailable as error:
            log.warning("files that have expired stay for now: %s", error)

    @on(CHECK_STORE)
    async def check(self, store: StoreCheck) -> None:
        """For `xmppd store check`."""
        folder = None if self.config.bucket else self._folder / FILES_FOLDER
        await FilesCheck(self.host, self.book, folder, store).check()

    @on(OWNED)
    def owned(self, place: OwnedPlace) -> Iterable[bool]:
        """What is recorded under tokens is looked at in `check`."""
        return (place.owner.endswith(f"@{self.address}"),)

    # ---- for people

    @on(COMMANDS)
    def commands(self, ask: CommandAsk) -> Iterable[Command]:
        if ask.account is None and self.bases:
            yield Command(f"{NODE}#mine", "My files", Who.USER, self._show)

    async def _show(self, call: Call) -> Ask | Done:
        files = await self.book.of_account(call.requester.bare)
        there = [(token, file) for token, file in files.items() if file.stored][:SHOWN]
        if not there:
            return Done("You have no files here.")
        choices = tuple((token, f"{file.name} ({file.size:,} bytes)") for token, file in there)
        fields = [Field("files", "list-multi", "To delete", options=choices)]
        size = sum(file.size for file in files.values())
        text = f"{len(files)} files, {size:,} bytes. Who has the address of a file you delete cannot fetch it any more."
        return Ask(form("form", NODE, fields, "My files", text), complete=self._chosen)

    async def _chosen(self, call: Call) -> Done:
        assert call.form is not None
        files = await self.book.of_account(call.requester.bare)
        chosen = [(token, files[token]) for token in call.form.values.get("files", ()) if token in files]
        return Done(f"{await self.delete(chosen)} deleted.")

    # ---- for administrators

    @operation("files.list", "Show the files that an account has uploaded.")
    async def list_files(self, jid: Annotated[AccountJid, Argument("Whose.")]) -> FileRows:
        files = await self.book.of_account(jid.bare)
        rows = tuple(FileRow(token, each.name, each.size, each.purpose, each.stored) for token, each in files.items())
        return FileRows(rows, sum(each.size for each in rows))

    @operation("files.delete", "Delete files that an account has uploaded: those named, or all.")
    async def delete_files(
        self,
        jid: Annotated[AccountJid, Argument("Whose.")],
        ids: Annotated[tuple[str, ...], Argument("Which; none: all.")] = (),
    ) -> Deleted:
        files = await self.book.of_account(jid.bare)
        return Deleted(await self.delete([(token, file) for token, file in files.items() if not ids or token in ids]))


def _without(token: str, error: OSError) -> str:
    """What went wrong, without what lets anybody fetch the file."""
    return str(error).replace(token, "…")


def _check_headers(request: HttpRequest, file: StoredFile) -> None:
    """Section "Upload". Raises HttpError."""
    length = request.headers.get("content-length")
    if length is None:
        raise HttpError(411)
    if not length.isdigit() or int(length) != file.size:
        larger = length.isdigit() and int(length) > file.size
        raise HttpError(413 if larger else 400, "The file has another length than the slot.")
    if "content-range" in request.headers:
        raise HttpError(400, "A file comes as a whole.")  # RFC 9110 section 14.5
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given and file.type and given != file.type.partition(";")[0].strip().lower():
        raise HttpError(415, "The file has another type than the slot.")
