"""TLS on real connections: data, and the end."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from xmppd.memory.heap import Heap
from xmppd.net.engine import Timing
from xmppd.net.tls import make_self_signed, server_context
from xmppd.net.tls_layer import Pipes, TlsError, TlsLayer

from .net_support import (
    ALERT,
    DATA,
    Peer,
    Recorder,
    client_context,
    event_loop_policy,
    pauses,
    records,
    serving,
    starttls,
)

__all__ = ["event_loop_policy"]

HASTY = Timing(handshake=0.1, close=0.1, sweep=0.02)


# ---- data


async def test_all_writes_of_a_turn_are_one_record(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        peer, server = await here.connect_tls()
        server.link.write(b"first")
        assert await peer.hear(5) == b"first"  # and what belongs to the handshake
        before = len(peer.ciphertext)
        for word in (b"one ", b"two ", b"three"):
            server.link.write(word)
        assert await peer.hear(13) == b"one two three"
        assert records(peer.ciphertext[before:]) == [DATA]


async def test_records_of_one_read_are_delivered_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        peer, server = await here.connect_tls()
        await peer.send(b"".join(peer.sealed(b"%d " % number) for number in range(20)))
        await server.until(lambda: server.data.endswith(b"19 "))
        assert len(server.pieces) == 1


async def test_large_both_ways_in_odd_pieces(tmp_path: Path) -> None:
    rng = random.Random(5)
    data = rng.randbytes(1_000_000)
    async with serving(tmp_path) as here:
        peer, server = await here.connect_tls()
        server.on_data = lambda me, data: me.link.write(data)

        async def send() -> None:
            sealed = peer.sealed(data)
            at = 0
            while at < len(sealed):
                step = rng.choice((1, 5, 100, 20_000, 200_000))
                await peer.send(sealed[at : at + step])
                at += step

        sending = asyncio.create_task(send())
        assert await peer.hear(len(data)) == data
        await sending
        server.link.write(data)
        assert await peer.hear(len(data)) == data


async def test_neighbours_with_half_a_record_do_not_mix(tmp_path: Path) -> None:
    """They share one pair of pipes."""
    rng = random.Random(7)
    async with serving(tmp_path) as here:
        pairs = [await here.connect_tls() for _ in range(8)]
        for _, server in pairs:
            server.on_data = lambda me, data: me.link.write(data)
        said = [b"".join(b"%d:%d " % (who, n) for n in range(200)) for who in range(len(pairs))]
        unsent = [peer.sealed(words) for (peer, _), words in zip(pairs, said, strict=True)]
        while any(unsent):
            who = rng.randrange(len(pairs))
            size = rng.choice((1, 3, 50, 400))
            await pairs[who][0].send(unsent[who][:size])
            unsent[who] = unsent[who][size:]
        for (peer, server), words in zip(pairs, said, strict=True):
            assert await peer.hear(len(words)) == words
            assert server.data == words


async def test_closing_another_one_while_data_is_worked_off(tmp_path: Path) -> None:
    """Its close_notify goes through the same pipes."""
    async with serving(tmp_path) as here:
        peer, server = await here.connect_tls()
        other_peer, other = await here.connect_tls()

        def close_other(me: Recorder, data: bytes) -> None:
            other.link.write(b"conflict")
            other.link.close()
            me.link.write(data)

        server.on_data = close_other
        await peer.say(b"x" * 60_000)
        assert len(await peer.hear(60_000)) == 60_000
        assert await other_peer.hear(100) == b"conflict"


async def test_paused_in_secured(tmp_path: Path) -> None:
    """Data in the same segment as the end of the handshake is held back, then delivered before anything new."""
    async with serving(tmp_path, "direct") as here:
        here.set_up = lambda me: setattr(me, "on_secured", pauses)
        peer, server = await here.connect()
        await peer.send(peer.hello())
        await peer.finish_handshake(b"first ")
        await server.seen("secured")
        await peer.say(b"second")
        await asyncio.sleep(0.02)
        assert server.events == ["connected", "secured"]
        server.link.resume_reading()
        assert server.events == ["connected", "secured"]  # in a later turn
        await server.until(lambda: server.data == b"first second")
        assert server.pieces[0] == b"first "


async def test_paused_again_while_held_data_is_delivered(tmp_path: Path) -> None:
    async with serving(tmp_path, "direct") as here:

        def set_up(me: Recorder) -> None:
            me.on_secured = pauses
            me.on_data = lambda me, data: me.link.pause_reading()

        here.set_up = set_up
        peer, server = await here.connect()
        await peer.send(peer.hello())
        await peer.finish_handshake(b"first")
        await server.seen("secured")
        await peer.say(b"second")
        server.link.resume_reading()
        await server.seen("data")
        await asyncio.sleep(0.02)
        assert server.pieces == [b"first"]
        server.link.resume_reading()
        await server.until(lambda: server.pieces == [b"first", b"second"])


async def test_a_slow_reader_pauses_the_writer(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        peer, server = await here.connect_tls()
        sent = 0
        while "pause" not in server.events:
            server.link.write(b"x" * 50_000)
            sent += 50_000
            await asyncio.sleep(0)
        assert len(await peer.hear(sent)) == sent
        await server.seen("resume")
        assert server.link.write_buffer_size == 0


# ---- what goes wrong


@pytest.mark.parametrize("mode", ["starttls", "direct"])
@pytest.mark.parametrize(
    "junk", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\xff", b"\0"]
)
async def test_junk_instead_of_a_handshake(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: Any, junk: bytes
) -> None:
    """T07: closed, and nothing of it comes back."""
    caplog.set_level(logging.DEBUG, "xmppd")
    async with serving(tmp_path, mode) as here:
        here.set_up = starttls(here)
        peer, server = await here.connect()
        if mode == "starttls":
            await peer.send(b"<starttls/>")
            assert await peer.exactly(10) == b"<proceed/>"
        await peer.send(junk * 20)
        answer = await peer.rest()
        assert len(answer) <= 7 and set(records(answer)) <= {ALERT}
        peer.close()
        await server.seen("lost")
        assert isinstance(server.error, TlsError)
    assert [record for record in caplog.records if record.exc_info or record.levelno > logging.INFO] == []


async def test_a_broken_record_ends_the_connection(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(tmp_path) as here:
        neighbour, near = await here.connect_tls()
        peer, server = await here.connect_tls()
        sealed = bytearray(peer.sealed(b"<message/>"))
        sealed[-1] ^= 1
        await peer.send(bytes(sealed))
        await peer.rest()
        peer.close()
        await server.seen("lost")
        assert server.data == b""
        assert isinstance(server.error, TlsError)
        await neighbour.say(b"fine")
        await near.until(lambda: near.data == b"fine")
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_silent_handshake_has_a_deadline(tmp_path: Path) -> None:
    """T05: nothing, half a ClientHello, a drip."""
    async with serving(tmp_path, "direct", timing=HASTY) as here:
        for first in (b"", None):
            peer, server = await here.connect()
            await peer.send(peer.hello()[:100] if first is None else first)
            await server.seen("lost")
            assert isinstance(server.error, TimeoutError)
        peer, server = await here.connect()
        hello = peer.hello()
        with pytest.raises((ConnectionError, RuntimeError)):  # uvloop says so of what is closed already
            for at in range(len(hello) - 1):
                await peer.send(hello[at : at + 1])
                await asyncio.sleep(0.01)
        await server.seen("lost")


async def test_of_too_many_handshakes_the_oldest_ends(tmp_path: Path) -> None:
    """Each holds 55 KB; what has only half a ClientHello does not count, nor what is done."""
    async with serving(tmp_path, "direct", timing=Timing(handshakes=3)) as here:
        done, done_server = await here.connect()
        await done.start_tls()
        half, half_server = await here.connect()
        await half.send(half.hello()[:100])
        answered = []
        for _ in range(4):
            peer, server = await here.connect()
            await peer.send(peer.hello())
            await peer.receive()
            answered.append((peer, server))
        first, lost = answered.pop(0)
        await lost.seen("lost")
        assert isinstance(lost.error, TimeoutError)
        first.close()
        await done.say(b"here")
        await done_server.until(lambda: done_server.data == b"here")
        assert [server.events for _, server in (*answered, (half, half_server))] == [["connected"]] * 4


async def test_half_a_hello_costs_what_was_sent(tmp_path: Path) -> None:
    """OpenSSL would take 60 KB for it."""
    make_self_signed(["a"], tmp_path / "c", tmp_path / "k")
    context, pipes, heap = server_context(tmp_path / "c", tmp_path / "k"), Pipes(), Heap()
    begun = Peer.__new__(Peer)
    begun.incoming, begun.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    hello = begun.hello()
    layers = [TlsLayer(context, pipes) for _ in range(200)]
    before = heap.used()
    for layer in layers:
        assert layer.receive(memoryview(hello)[:-1]) == layer.output() == b""
        assert not layer.begun
    assert heap.used() - before < 200 * (len(hello) + 1000)
    layers[0].receive(memoryview(hello)[-1:])
    assert layers[0].begun and layers[0].output()


async def test_a_finished_handshake_has_none(tmp_path: Path) -> None:
    async with serving(tmp_path, timing=HASTY) as here:
        peer, server = await here.connect_tls()
        await asyncio.sleep(0.2)
        await peer.say(b"x")
        await server.until(lambda: server.data == b"x")
        assert here.listener._engine._timer is None


async def test_gone_during_the_handshake(tmp_path: Path) -> None:
    async with serving(tmp_path, "direct") as here:
        peer, server = await here.connect()
        await peer.send(peer.hello()[:50])
        peer.close()
        await server.seen("lost")
        assert isinstance(server.error, ConnectionError)


def test_nothing_comes_behind_a_failure(tmp_path: Path) -> None:
    make_self_signed(["a"], tmp_path / "c", tmp_path / "k")
    pipes = Pipes()
    layer = TlsLayer(server_context(tmp_path / "c", tmp_path / "k"), pipes)
    client = client_context().wrap_bio(incoming := ssl.MemoryBIO(), outgoing := ssl.MemoryBIO())
    while not layer.ready:
        with suppress(ssl.SSLWantReadError):
            client.do_handshake()
        assert layer.receive(memoryview(outgoing.read())) == b""
        incoming.write(layer.output())
    broken = []
    for word in (b"one", b"two", b"three"):
        client.write(word)
        broken.append(bytearray(outgoing.read()))
    broken[1][-1] ^= 1
    with pytest.raises(TlsError):
        layer.receive(memoryview(b"".join(broken)))
    assert layer.output()[0] == DATA  # the alert
    assert not layer.ready
    assert layer.goodbye() == b""
    with pytest.raises(TlsError):
        layer.encrypt(b"x")
    assert layer.output() == b""


# ---- the end


async def test_close_says_so_in_tls(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        peer, server = await here.connect_tls()
        server.link.write(b"x" * 500_000 + b"bye")
        server.link.close()
        assert not server.link.secure
        heard = await peer.hear(1_000_000)  # raises EOFError without close_notify
        assert heard[-4:] == b"xbye"
        assert await peer.rest() == b""
        peer.close()
        await server.seen("lost")
        assert server.error is None


async def test_the_peers_close_notify_is_its_end(tmp_path: Path) -> None:
    async with serving(tmp_path, timing=HASTY) as here:
        peer, server = await here.connect_tls()
        server.on_data = lambda me, data: me.link.write(b"answer")
        assert peer.tls is not None
        last = peer.sealed(b"question")
        with pytest.raises(ssl.SSLWantReadError):
            peer.tls.unwrap()
        await peer.send(last + peer.outgoing.read() + b"junk that does not count")
        assert await peer.hear(100) == b"answer"
        await server.seen("lost")
        assert server.data == b"question"
        assert server.error is None


async def test_who_has_said_close_notify_is_not_waited_for(tmp_path: Path) -> None:
    """What we still say arrives, with our close_notify and without a reset, and the connection is closed, though the
    peer has not closed its side."""
    async with serving(tmp_path, "direct", timing=Timing(close=60.0)) as here:
        peer, server = await here.connect()
        await peer.start_tls()
        server.on_data = lambda me, data: me.link.write(b"y" * 100_000)
        sealed = peer.sealed(b"x")
        assert peer.tls is not None
        with pytest.raises(ssl.SSLWantReadError):
            peer.tls.unwrap()
        await peer.send(sealed + peer.outgoing.read())
        assert await peer.hear(1_000_000) == b"y" * 100_000
        await server.seen("lost")
        assert server.error is None
        assert await peer.rest() == b"", "an orderly end"


async def test_gone_without_close_notify(tmp_path: Path) -> None:
    async with serving(tmp_path) as here:
        peer, server = await here.connect_tls()
        server.link.write(b"x")
        assert await peer.hear(1) == b"x"  # else what it has not read makes its kernel reset the connection
        peer.close()
        await server.seen("lost")
        assert server.error is None


async def test_an_exception_from_the_protocol(tmp_path: Path) -> None:
    def fail(me: Recorder, data: bytes) -> None:
        raise RuntimeError("a bug")

    async with serving(tmp_path) as here:
        neighbour, near = await here.connect_tls()
        peer, server = await here.connect_tls()
        server.on_data = fail
        await peer.send(peer.sealed(b"x") + peer.sealed(b"y")[:10])
        await server.seen("lost")
        assert isinstance(server.error, RuntimeError)
        await neighbour.say(b"fine")
        await near.until(lambda: near.data == b"fine")
