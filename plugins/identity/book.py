"""What is stored of people whom a source knows, and the accounts that belong to them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from xmppd.contracts.identity import Authenticator, Identity, SourceUnavailable
from xmppd.errors import ItemNotFound, MalformedJid, StanzaError
from xmppd.plugin import JID, Host

log = logging.getLogger("xmppd.identity")
FRESH: Final = 60.0
"""Seconds in which a further sign-in writes nothing."""
FEW: Final = 5
"""So many people may go at once without a question; of more, a fifth of all."""


@dataclass(frozen=True, slots=True)
class Linked:
    """An account belongs to a person whom a source knows. `checked`: when the source said so last, seconds since 1970
    UTC. `suspended`: it is disabled since the source knows the person no more. The rest: see `Identity`."""

    subject: str
    checked: float
    suspended: bool = False
    name: str = ""
    mail: str = ""
    groups: tuple[str, ...] = ()

    @classmethod
    def of(cls, identity: Identity, now: float) -> Linked:
        return cls(identity.subject, now, False, identity.name, identity.mail, identity.groups)


GONE: Final = "the source knows the person no more"
"""Why nobody signs in."""
NOBODY: Final = Linked("", 0.0)
"""No person has signed in yet."""
HASHES: Final = ("SHA-1", "SHA-256", "SHA-512")


class Book:
    def __init__(self, host: Host) -> None:
        self.host = host
        self.linked = host.storage.map("identity", Linked)
        """Owner: the account; key: the name of the source."""

    def _lock(self, bare: str) -> str:
        return f"identity of {bare}"

    async def admit(self, source: Authenticator, identity: Identity) -> str | None:
        """The localpart of the account of who was recognised, which is made if need be; None if it may not be signed in
        to. Raises StorageUnavailable."""
        host, accounts = self.host, self.host.server.accounts
        try:
            jid = JID.of(identity.username, host.domain)
        except MalformedJid:
            log.warning("%s: %r can be no name of an account", source.source, identity.username[:100])
            return None
        bare, now = jid.bare, host.clock.now()
        async with host.locks.hold(self._lock(bare)):
            known = await self.linked.read(bare, source.source)
            if known is not None and known.subject not in ("", identity.subject):
                log.warning(
                    "%s: %s is another person now (%s, before: %s): refused; `xmppd op identity.forget` gives the "
                    "account to whom the source means now",
                    source.source, bare, identity.subject or "of whom nothing is known but the name", known.subject,
                )  # fmt: skip
                return None
            put = self.linked.put(bare, source.source, Linked.of(identity, now))
            try:
                if not await accounts.exists(jid):
                    if not source.creates_accounts:
                        log.info("%s: %s has no account", source.source, bare)
                        return None
                    await accounts.create(jid, None, writes=[put])
                elif known is None and not source.exclusive and await self._has_password(bare):
                    # Somebody may have registered the name before its owner came, and would stay inside.
                    log.warning(
                        "%s: %s is an account with a password of its own: refused; `xmppd op identity.forget` gives it "
                        "to whom the source means", source.source, bare,
                    )  # fmt: skip
                    return None
                elif known is not None and known.suspended:
                    await accounts.set_disabled(jid, False, writes=[put], reason=GONE)
                elif (
                    known is None
                    or now - known.checked > FRESH
                    or replace(known, checked=now) != Linked.of(identity, now)
                ):
                    await host.storage.commit([put])
                return None if await accounts.is_disabled(jid) else jid.local
            except StanzaError as error:  # a name that is kept free, an account that was removed meanwhile
                log.info("%s: %s does not sign in: %s", source.source, bare, error)
                return None

    async def of(self, jid: JID) -> dict[str, Linked]:
        """What the sources have told of an account, by source. Raises StorageUnavailable."""
        return await self.linked.read_all(jid.bare)

    async def _has_password(self, bare: str) -> bool:
        stored = await self.host.stored_accounts.read(bare, "")
        return stored is not None and any(stored.credentials.get(hash) for hash in HASHES)

    async def forget(self, jid: JID, sources: Iterable[Authenticator]) -> None:
        """The account belongs to whom one of the sources means by its name next. Raises ItemNotFound."""
        bare = jid.bare
        async with self.host.locks.hold(self._lock(bare)):
            if not await self.host.server.accounts.exists(jid):
                raise ItemNotFound("there is no such account")
            known = await self.linked.read_all(bare)
            names = {*known, *(each.source for each in sources)}
            puts = [self.linked.put(bare, name, replace(known.get(name, NOBODY), subject="")) for name in names]
            await self.host.storage.commit(puts)

    # ---- the check from time to time

    async def recheck(self, source: Authenticator) -> None:
        """Disable the accounts of people whom the source knows no more, enable those of who is there again. Raises
        StorageUnavailable."""
        gone: list[str] = []
        late: list[str] = []
        asked, place, began = 0, ("", ""), self.host.clock.now()
        try:
            while page := await self.linked.scan(self.host.domain, place):
                for bare, key, link in page:
                    if key != source.source or link is None:
                        continue
                    knows = await source.knows(bare.rpartition("@")[0], link.subject)
                    if knows is None:
                        if source.good_for and 0 < link.checked <= began - source.good_for:
                            late.append(bare)
                        continue
                    asked += 1
                    if knows and link.suspended:
                        await self._suspend(source, bare, False, began)
                    elif not knows and not link.suspended:
                        gone.append(bare)
                place = page[-1][:2]
        except SourceUnavailable as error:
            log.warning("%s: who is still there could not be asked: %s", source.source, error)
            return
        if len(gone) > max(FEW, asked // 5):
            log.error(
                "%s: knows %d of %d people no more, which is too many to be true: nobody is disabled",
                source.source, len(gone), asked,
            )  # fmt: skip
            gone = []
        for bare in (*gone, *late):
            await self._suspend(source, bare, True, began)

    async def _suspend(self, source: Authenticator, bare: str, suspended: bool, began: float) -> None:
        accounts, jid = self.host.server.accounts, JID.parse(bare)
        async with self.host.locks.hold(self._lock(bare)):
            link = await self.linked.read(bare, source.source)
            if link is None or link.suspended is suspended or link.checked > began:
                return
            try:
                put = self.linked.put(bare, source.source, replace(link, suspended=suspended))
                await accounts.set_disabled(jid, suspended, writes=[put], reason=GONE)
            except ItemNotFound:
                return
        log.info(
            "%s: %s %s", source.source, bare, "must be confirmed by a new sign-in" if suspended else "is there again"
        )
