"""Whether the sessions that were stored at a stop can be brought back (`xmppd store check`)."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ..contracts.store_check import StoreCheck, in_map
from ..errors import MalformedJid
from ..jid import JID
from ..plugin import SessionKey
from ..stanza import Kind, look_at
from ..storage.api import Map
from .snapshots import SessionSnapshot


async def check_snapshots(stored: Map[SessionSnapshot], store: StoreCheck) -> None:
    """Of all accounts of a host. Raises StorageUnavailable."""
    async for owner, resource, record in store.records(stored):
        where = in_map(stored.name, resource)
        for what in snapshot_problems(owner, resource, record):
            store.problem(owner, where, f"{what}: its client cannot resume it")
        channel = record.channel
        latest = max((channel.position, channel.reached, channel.archive_read, *channel.stamps, *channel.copies))
        if store.is_future(latest):
            store.problem(owner, where, f"it was sent an entry of the future, {latest}")


def snapshot_problems(owner: str, resource: str, record: SessionSnapshot) -> Iterator[str]:
    """What stands in the way of a session."""
    try:
        JID.parse(owner).with_resource(resource)
    except MalformedJid:
        yield "its resource is none"
    if record.presence and not _is_stanza(record.presence, Kind.PRESENCE):
        yield "its presence is none"
    channel = record.channel
    if len(channel.stamps) != len(channel.queue) or (channel.times and len(channel.times) != len(channel.queue)):
        yield "its queue has stanzas without a log id or a time"
    if not all(map(_is_stanza, (*channel.queue, *channel.held))):
        yield "what waits for it is no stanza"
    for name, value in record.values.items():
        key = SessionKey.known.get(name)
        try:
            if key is not None:
                key.read(value)
        except (msgspec.ValidationError, ValueError, TypeError) as error:
            yield f"its state {name!r} cannot be read ({error})"


def _is_stanza(text: str, kind: Kind | None = None) -> bool:
    try:
        stanza = look_at(text.encode())
    except ValueError:
        return False
    return kind is None or stanza.kind is kind
