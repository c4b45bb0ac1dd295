"""Which files there are, whose, and how many may be added.

A file has two records of two owners: one under its token, found when it is fetched, and one of its account, which is
counted and listed. They are written one after the other: what a crash in between leaves is a slot or a file that cannot
be fetched, and the sweep takes both records away when that is over.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Final

from xmppd.errors import ResourceConstraint, StanzaError
from xmppd.storage.api import Write
from xmppd.xep.elements import stamp

from .model import NS, Purpose, StoredFile

if TYPE_CHECKING:
    from xmppd.plugin import Host

    from .options import Config

DAY: Final = 86_400.0
HOUR: Final = 3600.0
KEPT_HOURS: Final = 25
OMEMO: Final = 16
"""Bytes that encryption adds to a file (AES-GCM): a file of the largest size may have so many more."""
PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class OwnFile:
    """The account's side of a file: what counts for its limits, and what a list shows."""

    file: StoredFile


@dataclass(frozen=True, slots=True)
class DeletedToday:
    """What an account has uploaded lately and deleted: that has been uploaded all the same. (when, in whole hours since
    1970 UTC; bytes)."""

    hours: tuple[tuple[int, int], ...] = ()


def _noted(sizes: Iterable[tuple[float, int]], old: DeletedToday | None) -> DeletedToday:
    hours = dict(old.hours) if old is not None else {}
    for asked, size in sizes:
        hour = int(asked // HOUR)
        hours[hour] = hours.get(hour, 0) + size
    return DeletedToday(tuple(sorted(hours.items())[-KEPT_HOURS:]))


def _by_account(files: Iterable[tuple[str, StoredFile]]) -> dict[str, list[tuple[str, StoredFile]]]:
    found: dict[str, list[tuple[str, StoredFile]]] = {}
    for token, file in files:
        found.setdefault(file.account, []).append((token, file))
    return found


class FileTooLarge(StanzaError):
    """Section "Error conditions"."""

    condition, type = "not-acceptable", "modify"

    def __init__(self, most: int) -> None:
        element = f"<file-too-large xmlns='{NS}'><max-file-size>{most}</max-file-size></file-too-large>"
        super().__init__(f"File too large. The maximum file size is {most} bytes", element.encode())


class QuotaReached(ResourceConstraint):
    """The same. `again`: when there is room again, seconds since 1970 UTC; 0 for when files are deleted."""

    def __init__(self, text: str, again: float) -> None:
        super().__init__(text, (NS, "retry", {"stamp": stamp(int(again) * 1_000_000)}) if again else None, type="wait")


class FileBook:
    """The files of a host's accounts. `address`: of the service, under which the tokens are recorded."""

    def __init__(self, host: Host, address: str) -> None:
        self.host = host
        self.address = address
        self.files = host.storage.map("file", StoredFile)
        self.own = host.storage.map("own-file", OwnFile)
        self.today = host.storage.map("file-today", DeletedToday)

    def owner_of(self, token: str) -> str:
        """Under which the record of a token is."""
        return f"{token}@{self.address}"

    async def find(self, token: str) -> StoredFile | None:
        """The file or slot of a token, unless it is over. Raises StorageUnavailable."""
        found = await self.files.read(self.owner_of(token), "")
        return None if found is None or found.is_over(self.host.clock.now()) else found

    async def of_account(self, account: str) -> dict[str, StoredFile]:
        """The files and slots of an account by token, the newest first. Raises StorageUnavailable."""
        now = self.host.clock.now()
        found = {token: own.file for token, own in (await self.own.read_all(account)).items()}
        there = [(token, file) for token, file in found.items() if not file.is_over(now)]
        return dict(sorted(there, key=lambda each: each[1].asked, reverse=True))

    async def add_slot(self, file: StoredFile, config: Config) -> str:
        """Record a slot, and return its token. Raises FileTooLarge, QuotaReached, StorageUnavailable."""
        most = int(config.profile_size if file.purpose == Purpose.PROFILE else config.size)
        if file.size > most + OMEMO:
            raise FileTooLarge(most)
        async with self.host.locks.hold(f"files {file.account}"):
            deleted = await self.today.read(file.account, "")
            self._check_quota(file, (await self.of_account(file.account)).values(), config, deleted or DeletedToday())
            token = token_urlsafe(24)
            await self.host.storage.commit([self._put(token, file)])
            await self.host.storage.commit([self.own.put(file.account, token, OwnFile(file))])
        return token

    def _check_quota(
        self, file: StoredFile, files: Iterable[StoredFile], config: Config, deleted: DeletedToday
    ) -> None:
        there = list(files)
        ends = sorted(each.expires for each in there if each.expires) or [0.0]
        if len(there) >= config.files:
            raise QuotaReached(f"You can have {config.files} files here", ends[0])
        if sum(each.size for each in there) + file.size > int(config.per_account):
            raise QuotaReached(f"You can have {config.per_account} of files here", ends[0])
        recent = [(each.asked, each.size) for each in there if each.asked > file.asked - DAY]
        recent += [(hour * HOUR, size) for hour, size in deleted.hours if hour * HOUR > file.asked - DAY]
        if sum(size for _, size in recent) + file.size > int(config.per_day):
            again = min((asked for asked, _ in recent), default=file.asked) + DAY
            raise QuotaReached(f"You can upload {config.per_day} a day", again)

    def _put(self, token: str, file: StoredFile) -> Write:
        return self.files.put(self.owner_of(token), "", file)

    async def fill(self, token: str, file: StoredFile) -> bool:
        """Record that the file is there. False: meanwhile it was deleted, with its account perhaps, or is over. Raises
        StorageUnavailable."""
        now = self.host.clock.now()
        async with self.host.locks.hold(f"files {file.account}"):
            there = await self.files.read(self.owner_of(token), "")
            if there is None or there.until != file.until or 0 < file.expires <= now:
                return False
            stored = replace(file, stored=now)
            await self.host.storage.commit([self.own.put(file.account, token, OwnFile(stored))])
            await self.host.storage.commit([self._put(token, stored)])
        return True

    async def end(self, files: Iterable[tuple[str, StoredFile]]) -> None:
        """From now on they cannot be found, and count no more, but for what was uploaded today. Raises
        StorageUnavailable."""
        for account, own in _by_account(files).items():
            async with self.host.locks.hold(f"files {account}"):
                await self.host.storage.commit_each(
                    [self._put(token, replace(file, stored=0.0, until=0.0))] for token, file in own
                )
                writes: list[Write] = [self.own.delete(account, token) for token, _ in own]
                sizes = [(file.asked, file.size) for _, file in own if file.stored]
                if sizes:
                    writes.append(self.today.update(account, "", partial(_noted, sizes)))
                await self.host.storage.commit(writes)

    async def remove(self, files: Iterable[tuple[str, StoredFile]]) -> None:
        """Forget files whose bytes are gone. Raises StorageUnavailable."""
        for account, own in _by_account(files).items():
            await self.host.storage.commit([self.own.delete(account, token) for token, _ in own])
            await self.host.storage.commit_each([self.files.delete(self.owner_of(token), "")] for token, _ in own)

    async def over(self, after: str = "") -> tuple[list[tuple[str, StoredFile]], str]:
        """Of a page of all files those that are over, and where the next page begins ("": nowhere)."""
        now = self.host.clock.now()
        page = await self.files.scan(self.address, (after, ""), PAGE)
        found = [(owner.rpartition("@")[0], file) for owner, _, file in page if file is not None and file.is_over(now)]
        return found, page[-1][0] if len(page) == PAGE else ""
