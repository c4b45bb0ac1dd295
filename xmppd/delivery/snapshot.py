"""A channel as it is stored over a restart (docs/explanation/delivery.md)."""

from __future__ import annotations

from dataclasses import dataclass

from ..protocol.ack_queue import OutboundQueue
from .channel import DeliveryChannel
from .states import State
from .unlogged_queue import UnloggedQueue


@dataclass(frozen=True, slots=True)
class ChannelSnapshot:
    """The names of the fields are those in the store. Ids are log ids, times are microseconds since 1970 UTC; stores
    of older versions have no times.

    `acknowledged`: the count of XEP-0198. `queue`: the stanzas behind it, with `stamps`, their log ids (0 for none),
    and `times`, when they were accepted. `held`: what waits in memory, with `held_times`, and `held_stamps`, the
    entries of which the first of these are carbons. `hidden`: which of all these entries are transient. `live`: not
    lagging. `reached`: the high-water mark. `since`: `due_after` of an available session, 0 for an unavailable one;
    `left`: `due_after` of an unavailable one. `copies`: entries that were already sent.
    """

    acknowledged: int
    queue: tuple[str, ...] = ()
    stamps: tuple[int, ...] = ()
    hidden: tuple[int, ...] = ()
    held: tuple[str, ...] = ()
    live: bool = True
    position: int = 0
    reached: int = 0
    since: int = 0
    archive_read: int = 0
    copies: tuple[int, ...] = ()
    left: int = 0
    times: tuple[int, ...] = ()
    held_times: tuple[int, ...] = ()
    held_stamps: tuple[int, ...] = ()


def snapshot(channel: DeliveryChannel) -> ChannelSnapshot:
    """Record a channel whose client is away."""
    # Not `or`: an empty queue is false, and its count matters most then.
    queue = channel.queue if channel.queue is not None else OutboundQueue()
    log_ids = tuple(log_id for _, log_id, _ in queue.items)
    carbons = tuple(log_id for _, _, log_id in (channel.unlogged.all() if channel.unlogged is not None else ()))
    waiting, transient = channel.waiting(), channel.session.account.cursor.transient
    return ChannelSnapshot(
        acknowledged=queue.acknowledged,
        queue=tuple(data.decode() for data, _, _ in queue.items),
        stamps=log_ids,
        hidden=tuple(log_id for log_id in (*log_ids, *carbons) if log_id in transient),
        held=tuple(data.decode() for data, _ in waiting),
        live=channel.live,
        position=channel.position,
        reached=channel.high_water,
        since=channel.due_after if channel.available else 0,
        archive_read=channel.archive_read,
        copies=tuple(channel.already_sent or ()),
        left=0 if channel.available else channel.due_after,
        times=tuple(at for _, _, at in queue.items),
        held_times=tuple(at for _, at in waiting),
        held_stamps=carbons,
    )


def restore(channel: DeliveryChannel, stored: ChannelSnapshot) -> None:
    """Make a new channel what another one was. Raises ValueError for a record that does not fit together.

    Nothing could come meanwhile; one that lagged, or for which something waits, goes on when it is resumed.
    """
    cursor = channel.session.account.cursor
    # Read all before anything changes: a record that is refused leaves no entry in flight.
    parts = zip(stored.queue, stored.stamps, stored.times or stored.stamps, strict=True)
    queued = [(text.encode(), log_id, at) for text, log_id, at in parts]
    none = (0,) * len(stored.held)
    parts = zip(stored.held, (*stored.held_stamps, *none), stored.held_times or none, strict=False)
    waiting = [(text.encode(), log_id, at) for text, log_id, at in parts]
    queue = channel.queue = OutboundQueue(channel.share)
    queue.acknowledged = queue.asked = stored.acknowledged
    for data, log_id, at in queued:
        queue.append(data, log_id, at)
        if log_id:
            cursor.mark_in_flight(log_id)
    cursor.transient.update(stored.hidden)
    if waiting:
        channel.unlogged = UnloggedQueue(channel.session, channel.share)
        for data, log_id, at in waiting:
            channel.unlogged.add(data, None, at, log_id)
    channel.position, channel.high_water = stored.position, stored.reached
    channel.due_after, channel.archive_read = stored.since or stored.left, stored.archive_read
    channel.already_sent = set(stored.copies) or None
    if stored.live and not stored.held:
        channel.enter(State.LIVE if stored.since else State.UNAVAILABLE)
    else:
        channel.enter(State.LAGGING if stored.since else State.UNAVAILABLE_LAGGING)
