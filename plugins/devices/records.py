"""What is remembered of the clients of accounts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from xmppd.contracts.sign_in import SignIn
from xmppd.errors import ResourceConstraint, StorageUnavailable
from xmppd.plugin import Account, Host, Session

log = logging.getLogger("xmppd.devices")
FRESH: Final = 600.0
"""Seconds within which another sign-in is no news: phones come back all the time."""
NEVER: Final = -1


@dataclass(frozen=True, slots=True)
class Device:
    """One client (an installation), as its owner knows it again. `first`, `last`: seconds since 1970 UTC. `address`:
    from which it came last. `mechanism`: by which it has signed in last. `knows`: the generation of the credentials of
    which it has known the password, NEVER if it came by other ways only."""

    software: str
    device: str
    first: float
    last: float
    address: str
    mechanism: str
    knows: int = NEVER


def _told(device: Device) -> tuple[str | int, ...]:
    """All but the times."""
    return device.software, device.device, device.address, device.mechanism, device.knows


class DeviceRecords:
    """Written a moment later, together with what is written anyway."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._map = host.storage.map("devices", Device, cached=True)
        """Owner: the account; key: the client (`UserAgent.client`)."""
        self._notes = host.storage.notes(self._map)

    def signed_in(self, sign_in: SignIn, limit: int, addresses: bool) -> None:
        """A client has proven who it is. `limit`: so many of an account are remembered."""
        owner, client, now = sign_in.owner, sign_in.client, self.host.clock.now()
        if not client:
            return
        before = self._notes.get(owner, client)
        agent, address = sign_in.agent, sign_in.stream.peer if addresses else ""
        knows = before.knows if before is not None else NEVER
        if sign_in.mechanism.startswith(("SCRAM-", "PLAIN")):
            knows = sign_in.generation
        told = (agent.software, agent.device, address, sign_in.mechanism, knows)
        if before is None:
            self._make_room(owner, limit)
        elif now - before.last < FRESH and told == _told(before):
            return
        first = now if before is None else before.first
        self._put(owner, client, Device(agent.software, agent.device, first, now, address, sign_in.mechanism, knows))

    def _make_room(self, owner: str, limit: int) -> None:
        records = self._map.get(owner)
        for key in sorted(records, key=lambda key: records[key].last)[: max(0, len(records) - limit + 1)]:
            self._put(owner, key, None)

    def left(self, session: Session, client: str) -> None:
        owner, now = session.account.bare, self.host.clock.now()
        if not session.account.alive or not self.host.storage.loaded(owner):
            return
        device = self._notes.get(owner, client)
        if device is not None and now - device.last >= FRESH:
            self._put(owner, client, replace(device, last=now))

    def _put(self, owner: str, client: str, device: Device | None) -> None:
        try:
            self._notes.put(owner, client, device)
        except ResourceConstraint:
            log.warning("too much waits to be stored: a sign-in of %s is not remembered", owner)

    async def all(self, account: Account) -> Mapping[str, Device]:
        """By client. Raises StorageUnavailable."""
        await self._notes.flush()
        return self._map.get(account.bare)

    async def forget(self, account: Account, client: str) -> None:
        """Raises StorageUnavailable."""
        self._put(account.bare, client, None)
        await self._notes.flush()

    async def sweep(self, kept: float) -> None:
        """Forget who was not here for so many seconds; 0: nobody."""
        before, place = self.host.clock.now() - kept, ("", "")
        try:
            while kept and (page := await self._map.scan(self.host.domain, place)):
                place = page[-1][:2]
                old = [(owner, key) for owner, key, device in page if device is None or device.last < before]
                if old:
                    await self.host.storage.commit([self._map.delete(*each) for each in old])
        except StorageUnavailable as error:
            log.warning("devices that were not here for long stay in the store for now (%s)", error)

    async def flush(self) -> None:
        await self._notes.flush()
