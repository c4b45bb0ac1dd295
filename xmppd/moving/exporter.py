"""Writes what owners have into a folder: files of XEP-0227, and their archives once more as lines of JSON for those who
want to read them.

    server.xml                      includes a file for each host with accounts
    services.xml                    the others (rooms), which other servers take for an error
    example.org.xml                 holds the accounts, or rooms: ejabberd takes no keys from a file of one account
    example.org/juliet.messages.jsonl
"""

from __future__ import annotations

import enum
import hashlib
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from pathlib import Path
from typing import IO, Final

from ..admin.accounts import PAGE, Accounts
from ..contracts.archive import LOG
from ..contracts.moving import MOVING_NS, PIE_NS, PIECE, PORTABLE_OWNERS, OwnerKind, Portable
from ..errors import StorageUnavailable
from ..hosts.host import Host
from ..jid import JID
from ..storage.api import Flags, Range
from ..xep.moved_messages import json_line
from ..xep.portable_xml import HEAD, PieceWriter
from ..xml import quoted
from .importer import portables
from .own_parts import encoded_twice

XINCLUDE: Final = "http://www.w3.org/2001/XInclude"
MAIN: Final = "server.xml"
MORE: Final = "services.xml"
SUFFIX: Final = ".messages.jsonl"
_PLAIN: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,149}")


class Reader(enum.Enum):
    """Who is to read the files."""

    ANY = "any"
    """Who keeps to XEP-0227."""
    EJABBERD = "ejabberd"
    """It wants the base64 of base64 where SCRAM keys are (23.01)."""


class Exporter:
    """`folder`: there and empty. `wanted`: bare JIDs and domains; empty: everything. `progress`: is told who is being
    written. Raises OSError, StorageUnavailable."""

    def __init__(
        self,
        hosts: Mapping[str, Host],
        accounts: Accounts,
        folder: Path,
        wanted: Collection[str] = (),
        json_lines: bool = True,
        reader: Reader = Reader.ANY,
        progress: Callable[[str], None] = lambda what: None,
    ) -> None:
        self._hosts = hosts
        self._accounts = accounts
        self._folder = folder
        self._wanted = frozenset(wanted)
        self._json_lines = json_lines
        self._twice = reader is Reader.EJABBERD
        self._progress = progress
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []

    async def run(self) -> None:
        included: dict[str, list[str]] = {MAIN: [], MORE: []}
        for domain, host in sorted(self._hosts.items()):
            if self._concerns(domain) and await self._host(host):
                included[MAIN if host.has_accounts else MORE].append(f"{_name(domain)}.xml")
        for main, names in included.items():
            if names or main == MAIN:
                with self._open(main) as file:
                    file.write(HEAD + f"<server-data xmlns='{PIE_NS}' xmlns:xi='{XINCLUDE}'>\n".encode())
                    file.writelines(f"<xi:include href='{name}'/>\n".encode() for name in names)
                    file.write(b"</server-data>\n")

    def _concerns(self, domain: str) -> bool:
        return not self._wanted or any(each.rpartition("@")[2] == domain for each in self._wanted)

    def _is_wanted(self, owner: JID) -> bool:
        return not self._wanted or owner.bare in self._wanted or owner.domain in self._wanted

    async def _host(self, host: Host) -> bool:
        """Whether there is something of it."""
        parts = portables(host)
        name = _name(host.domain)
        with self._open(f"{name}.xml") as file:
            head = f"<host xmlns='{PIE_NS}' xmlns:xi='{XINCLUDE}' jid='{quoted(host.domain)}'>\n"
            file.write(HEAD + head.encode())
            some = False
            if self._is_wanted(host.jid):
                async for data in self._pieces(host.jid, OwnerKind.HOST, parts):
                    file.write(data)
                    some = some or bool(data)
            async for kind, owner in self._owners(host):
                if self._is_wanted(owner):
                    self._progress(owner.bare)
                    await self._owner(kind, owner, parts, file)
                    some = True
            file.write(b"</host>\n")
        if not some:
            (self._folder / f"{name}.xml").unlink()
        return some

    async def _owners(self, host: Host) -> AsyncIterator[tuple[OwnerKind, JID]]:
        after = ""
        while host.has_accounts and (found := await self._accounts.list(host.domain, after)):
            for bare in found:
                yield OwnerKind.ACCOUNT, JID.parse(bare)
            after = found[-1]
            if len(found) < PAGE:
                break
        for more in host.gather(PORTABLE_OWNERS, host.jid):
            async for owner in more.owners():
                yield more.kind, owner

    async def _owner(self, kind: OwnerKind, owner: JID, parts: Collection[Portable], file: IO[bytes]) -> None:
        element, ns = ("user", PIE_NS) if kind is OwnerKind.ACCOUNT else ("room", MOVING_NS)
        file.write(f"<{element} xmlns='{ns}' name='{quoted(owner.local)}'>".encode())
        async for data in self._pieces(owner, kind, parts):
            file.write(data)
        file.write(f"</{element}>\n".encode())
        self.counts[f"{kind.name.lower()}s"] += 1
        if self._json_lines:
            await self._archive(owner, f"{_name(owner.domain)}/{_name(owner.local)}{SUFFIX}")

    async def _pieces(self, owner: JID, kind: OwnerKind, parts: Collection[Portable]) -> AsyncIterator[bytes]:
        writer = PieceWriter()
        for portable in parts:
            if portable.kind is not kind:
                continue
            try:
                async for element in portable.give(owner):
                    yield writer.write(encoded_twice(element) if self._twice else element)
            except StorageUnavailable:
                raise
            except ValueError as error:
                self.problems.append(f"{owner.bare}: {portable.tags[0]}: what is stored cannot be written: {error}")
        yield writer.end()

    async def _archive(self, owner: JID, name: str) -> None:
        log = self._accounts.storage.log(LOG)
        after, file = 0, None
        try:
            while page := await log.page(owner.bare, Range(after=after, without=Flags.HIDDEN), PIECE):
                file = file or self._open(name)
                file.writelines(json_line(entry) for entry in page)
                self.counts["messages"] += len(page)
                after = page[-1].id
        finally:
            if file is not None:
                file.close()

    def _open(self, name: str) -> IO[bytes]:
        """For nobody else to read: there are keys and messages in it."""
        path = self._folder / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _name(text: str) -> str:
    """Of a file: that of an account or a domain, if nobody has to write it otherwise in the address of a file (ejabberd
    takes such addresses as they are)."""
    if _PLAIN.fullmatch(text) and f"{text}.xml" not in (MAIN, MORE):
        return text
    readable = "".join(char if char.isascii() and char.isalnum() else "_" for char in text[:40])
    return f"{readable}~{hashlib.sha256(text.encode()).hexdigest()[:16]}"
