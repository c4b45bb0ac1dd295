"""The promise of docs/explanation/delivery.md under random interleavings, against a simple oracle, in one process:
several devices of every kind, breaks, crashes, stops, and a store that fails with and without having written."""

from __future__ import annotations

import logging
import random
from collections import Counter
from itertools import pairwise

import pytest

from tests.core.delivery_model import SM, Device, Model
from tests.harness import Harness
from xmppd.contracts.archive import LOG
from xmppd.errors import StorageUnavailable
from xmppd.storage.api import Entry, Flags, Range


async def run(server: Harness, seed: int, steps: int) -> Model:
    chance = random.Random(seed)
    model = Model(server, chance)
    alice, carol = Device(model, "alice", "a1", "sm"), Device(model, "carol", "c1", "sm")
    kinds = [chance.choice(("sm", "archive", "bare")) for _ in range(chance.choice((1, 2, 3)))]
    bobs = [Device(model, "bob", f"b{n}-{kind}", kind) for n, kind in enumerate(kinds)]
    model.devices = [alice, carol, *bobs]
    await server.register("bob")
    for each in model.devices:
        await each.come()
    serial = 0

    for _ in range(steps):
        for device in model.devices:
            if device.client is not None and device.client.closed:
                device.gone()
        act = chance.random()
        sender = chance.choice((alice, carol))
        bob = chance.choice(bobs)
        if act < 0.36:
            for _ in range(chance.randint(1, 6)):
                serial += 1
                body = f"{sender.user[0]}{serial:04}"
                way = chance.random()
                to = "bob@localhost" if way < 0.75 else f"bob@localhost/{bob.name}"
                hint = ""
                if chance.random() < 0.15:
                    hint = "<no-permanent-store xmlns='urn:xmpp:hints'/>"
                    model.hidden.add(body)
                model.said[body] = model.server.clock.wall
                model.to[body] = to
                model.order.setdefault(sender.user, []).append(body)
                sender.send(
                    f"<message to='{to}' type='chat' id='{body}-0123456789abcdef'><body>{body}</body>{hint}</message>"
                )
                if chance.random() < 0.1:
                    sender.send(
                        f"<message to='{to}' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>"
                    )
            model.note(f"{sender.name} said up to {serial}")
            if chance.random() < 0.7:
                await model.server.quiet()
        elif act < 0.42:
            model.note("hold")
            model.server.backend.hold()
        elif act < 0.47:
            model.note("release some")
            model.server.backend.release(chance.randint(1, 3))
            await model.server.quiet()
        elif act < 0.54:
            model.note("release")
            model.server.backend.release()
            await model.server.quiet()
        elif act < 0.57:
            written = chance.random() < 0.5
            model.note(f"fail, written {written}")
            model.server.backend.fail(StorageUnavailable("gone"), chance.randint(1, 3), written)
        elif act < 0.64:
            await bob.settle()
            if bob.kind != "bare" and bob.client is not None:
                bob.ack()
        elif act < 0.68:
            await sender.settle()
            if sender.client is not None:
                sender.client.send(f"<r xmlns='{SM}'/>")
            await sender.settle()
            sender.ack()
        elif act < 0.72:
            seconds = chance.choice((0.1, 0.3, 1.0, 2.0, 5.0))
            model.note(f"advance {seconds}")
            await model.server.advance(seconds)
        elif act < 0.80:
            device = chance.choice((bob, bob, sender))
            if device.client is not None:
                model.note(f"{device.name} cut")
                device.cut()
                if chance.random() < 0.5:
                    await model.server.quiet()
        elif act < 0.90:
            device = chance.choice(model.devices)
            if device.client is None:
                model.note(f"{device.name} comes")
                await device.come()
        elif act < 0.95:
            if bob.client is not None:
                priority = chance.choice((None, -1, 0, 1))
                model.note(f"{bob.name} presence {priority}")
                bob.presence(priority)
                if chance.random() < 0.6:
                    await model.server.quiet()
        elif act < 0.965:
            if bob.client is not None:
                bob.asleep = not bob.asleep
                model.note(f"{bob.name} csi {bob.asleep}")
                bob.client.send(f"<{'in' if bob.asleep else ''}active xmlns='urn:xmpp:csi:0'/>")
        elif act < 0.98:
            if bob.client is not None and not bob.client.link.stalled:
                model.note(f"{bob.name} stalls")
                bob.client.link.stalled = True
                await model.server.quiet()
            elif bob.client is not None:
                bob.client.link.go_on()
        else:
            graceful = chance.random() < 0.4
            model.note("stop" if graceful else "crash")
            await model.restart(graceful)
            server = model.server
    await finish(model, alice, carol, bobs)
    return model


async def finish(model: Model, alice: Device, carol: Device, bobs: list[Device]) -> None:
    model.note("the end")
    model.server.backend._failures.clear()
    model.server.backend.release()
    await model.server.advance(20)
    for device in model.devices:
        for _ in range(3):
            if device.client is None or device.client.closed:
                device.client = None
                await device.come()
        if device.client is not None and device.client.link.stalled:
            device.client.link.go_on()
        if device.client is not None and device.asleep:
            device.client.send("<active xmlns='urn:xmpp:csi:0'/>")
        device.presence(0)
    still = 6
    before = -1
    while still:
        now = sum(len(each.had) for each in model.devices)
        still, before = (still - 1 if now == before else 6), now
        for device in model.devices:
            await device.settle()
            if device.kind != "bare":
                device.ack()
        await model.server.advance(2)
    for device in (alice, carol):
        assert device.client is not None
        device.client.send(f"<r xmlns='{SM}'/>")
        await device.settle()
        if device.unacked:
            model.wrong(f"{device.name} is owed an acknowledgement: {len(device.unacked)}")
    last = Device(model, "bob", "last", "bare")
    model.devices.append(last)
    await last.come()
    still = 3
    while still:
        now = len(last.had)
        await last.settle()
        await model.server.advance(2)
        still = still - 1 if now == len(last.had) else 3
    had = Counter(body for each in bobs for body in set(each.had))
    if last.live:
        late = [body for body in last.live if had[body] and body not in model.unacknowledged]
        if late and not model.crashes:
            model.wrong(f"sent to the last device though another one has it: {late}")
        model.note(f"last got {last.live}")
    for body in model.said:
        if body in model.acked and body not in model.refused and not had[body] and body not in last.had:
            model.wrong(f"{body} was acknowledged and nobody has it")
    # the archives
    log = model.server.storage.log(LOG)
    for owner in ("bob@localhost", "alice@localhost", "carol@localhost"):
        entries: list[Entry] = []
        while page := await log.page(owner, Range(after=entries[-1].id if entries else 0), 1000):
            entries += page
        found = [
            e.body.partition(b"<body>")[2].partition(b"</body>")[0].decode() for e in entries if b"<body>" in e.body
        ]
        for body, count in Counter(found).items():
            if count > 1:
                model.wrong(f"{body} {count} times in the archive of {owner}")
        for user in ("alice", "carol"):
            mine = [body for body in found if body[0] == user[0] and body not in model.refused]
            if mine != sorted(mine):
                model.wrong(f"the archive of {owner} is out of order: {[(x, y) for x, y in pairwise(mine) if x > y]}")
        for body in model.acked:
            want = owner.startswith("bob") or body[0] == owner[0]
            if want and body not in model.hidden and body not in model.refused and body not in found:
                model.wrong(f"{body} is not in the archive of {owner}")
        left = [e.id for e in entries if e.flags & Flags.HIDDEN]
        if left:
            model.wrong(f"hidden entries left with {owner}: {len(left)}")


async def holds(server: Harness, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        model = await run(server, seed, 80)
    model.faults += [f"exception: {record.getMessage()}" for record in caplog.records if record.exc_info]
    if model.server is not server:
        await model.server.stop()
        server.backend._failures.clear()
        server.backend.release()  # it crashed, perhaps in the middle of a batch
        await server.advance(20)
    assert not model.faults, "\n".join([*model.trace, "", *model.faults])


@pytest.mark.parametrize("seed", range(6))
async def test_random_interleavings(server: Harness, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    await holds(server, seed, caplog)


@pytest.mark.server(more="limits: {queue: 10, ask_every: 3}")
@pytest.mark.parametrize("seed", (2001, 2003, 2006, 2032, 2038, 2071))
async def test_with_short_queues(server: Harness, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    await holds(server, seed, caplog)
