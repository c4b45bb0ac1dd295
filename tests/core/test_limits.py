"""What one peer may cost: shaping, and sign-ins that fail (T41, T42, A05, A10)."""

from __future__ import annotations

import asyncio
import base64
import threading
from itertools import count

import pytest

from tests.harness import Client, FakeClock, Harness
from xmppd.config import ConfigError, SignInLimits, parse_config
from xmppd.protocol.token_bucket import LONGEST, Rate, TokenBucket
from xmppd.streams.rate_limits import (
    REMEMBERED,
    REMEMBERED_BYTES,
    TICK,
    Hashing,
    SignInGuard,
)

SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
PING = "<iq type='get' id='p{}' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>"
DISCO = "<iq type='get' id='d{}' to='localhost'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
UNSHAPED = "{bytes: 0, stanzas: 0}"
SLOW = f"limits: {{per_connection: {{bytes: 0, stanzas: 10, stanzas_burst: 20}}, per_account: {UNSHAPED}}}"
SHARED = f"limits: {{per_connection: {UNSHAPED}, per_account: {{bytes: 0, stanzas: 10, stanzas_burst: 20}}}}"
HOME, ELSEWHERE = "192.0.2.1", "198.51.100.7"


# ---- the buckets


def test_a_burst_passes_and_flows_back() -> None:
    bucket, rate = TokenBucket(), Rate.of(1000, 5000, 10, 20)
    assert bucket.use(rate, 50.0, 5000, 20) == 0.0
    assert bucket.use(rate, 50.0, 500, 0) == pytest.approx(0.5)
    assert bucket.use(rate, 51.0, 0, 0) == 0.0
    assert bucket.use(rate, 51.0, 0, 15) == pytest.approx(0.5)
    assert bucket.use(rate, 1000.0, 5000, 20) == 0.0


def test_nobody_waits_longer_than_the_longest() -> None:
    bucket, rate = TokenBucket(), Rate.of(1024, 0, 1, 1)
    assert bucket.use(rate, 0.0, 10_000_000, 10_000) == LONGEST
    assert bucket.use(rate, LONGEST, 0, 0) == 0.0


def test_zero_is_no_limit() -> None:
    rate = Rate.of(0, 0, 0, 0)
    assert rate.unlimited
    assert TokenBucket().use(rate, 0.0, 1 << 40, 1 << 30) == 0.0


def test_a_rate_below_any_use_is_refused() -> None:
    text = "hosts: {a: {}}\nlisteners: [{port: 1}]\nlimits: {per_connection: {bytes: 100}}"
    with pytest.raises(ConfigError, match="0 for no limit, or at least 1 KiB"):
        parse_config(text)


# ---- shaping


def answers(client: Client) -> int:
    return sum(each.get("type") in ("result", "error") for each in client.inbox)


def timers(server: Harness) -> int:
    return sum(timer.callback is not None for _, _, timer in server.clock._timers)


@pytest.mark.server(more=SLOW)
async def test_a_connection_that_sends_too_much_is_not_read(server: Harness) -> None:
    romeo, juliet = await server.login("romeo"), await server.login("juliet")
    await server.advance(60)
    for number in range(40):
        romeo.send(PING.format(number))
    await server.quiet()
    assert romeo.link.paused
    assert answers(romeo) == 21  # the burst, and the read that went beyond it
    assert (await juliet.iq("<ping xmlns='urn:xmpp:ping'/>", to="localhost")).get("type") == "result"
    await server.advance(0.5)
    assert 22 <= answers(romeo) <= 27
    await server.advance(3)
    assert [each.get("id") for each in romeo.inbox] == [f"p{number}" for number in range(40)]
    assert not romeo.link.paused


@pytest.mark.server(more=SLOW)
async def test_one_timer_and_none_for_who_is_idle(server: Harness) -> None:
    clients = [await server.login(f"user{number}") for number in range(5)]
    await server.advance(60)
    before = timers(server)
    for client in clients:
        for number in range(25):
            client.send(PING.format(number))
    await server.quiet()
    assert all(client.link.paused for client in clients)
    assert timers(server) == before + 1
    await server.advance(2 + TICK)
    assert not any(client.link.paused for client in clients)
    assert timers(server) == before


@pytest.mark.server(more=SHARED)
async def test_the_connections_of_an_account_share_its_limit(server: Harness) -> None:
    one, two = await server.login("romeo"), await server.login("romeo")
    juliet = await server.login("juliet")
    await server.advance(60)
    for number in range(21):
        one.send(PING.format(number))
    two.send(PING.format(0))
    juliet.send(PING.format(0))
    await server.quiet()
    assert (one.link.paused, two.link.paused, juliet.link.paused) == (True, True, False)


@pytest.mark.server(more=SLOW)
async def test_a_shaped_connection_may_end(server: Harness) -> None:
    romeo = await server.login("romeo")
    await server.advance(60)
    for number in range(25):
        romeo.send(PING.format(number))
    romeo.cut()
    await server.advance(5)
    assert romeo.stream not in server.server.streams


@pytest.mark.server(
    more="limits: {idle_ping: 5, ping_timeout: 1, per_connection: {bytes: 0, stanzas: 1, stanzas_burst: 5}}"
)
async def test_who_is_not_read_is_not_taken_for_dead(server: Harness) -> None:
    romeo = await server.login("romeo")
    romeo.send("".join(PING.format(number) for number in range(50)))
    await server.advance(40)
    assert romeo.link.paused and not romeo.closed
    await server.advance(100)
    assert romeo.closed  # now it is silent


@pytest.mark.server(more=f"limits: {{per_connection: {UNSHAPED}, per_account: {UNSHAPED}}}")
async def test_without_limits(server: Harness) -> None:
    romeo = await server.login("romeo")
    assert not server.server.rate_limiter.on
    for number in range(3000):
        romeo.send(PING.format(number))
    for _ in range(10):
        await server.quiet()
    assert answers(romeo) == 3000


@pytest.mark.parametrize(
    "flood",
    [
        DISCO,
        "<iq type='set' id='a{}'><query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'>"
        "<max>1000000000</max></set></query></iq>",
        "<presence to='nobody{}@localhost/x'/>",
        "<presence type='probe' to='juliet@localhost' id='{}'/>",
    ],
)
async def test_a_flood_does_not_hold_up_others(server: Harness, flood: str) -> None:
    """T41: one at a time per stream, so the next user's answer is a few turns of the loop away."""
    mallory, juliet = await server.login("mallory"), await server.login("juliet")
    for part in range(20):
        mallory.send("".join(flood.format(part * 100 + number) for number in range(100)))
    juliet.send(PING.format("x"))
    for turns in count(1):
        if juliet.inbox:
            break
        assert turns < 20, "the answer did not come"
        await asyncio.sleep(0)
    assert mallory.link.paused


# ---- sign-ins


def guard(clock: FakeClock, **options: float) -> SignInGuard:
    return SignInGuard(clock, SignInLimits(**options))  # type: ignore[arg-type]


def test_long_names_of_strangers_are_bounded_in_bytes() -> None:
    limits = guard(FakeClock())
    for number in range(12_000):
        limits.failed(HOME, f"{number}{'x' * 1000}@localhost")
    assert limits._pairs.used <= REMEMBERED_BYTES and len(limits._pairs) < 8000


def test_waits_double_and_end() -> None:
    clock = FakeClock()
    limits = guard(clock, account_failures=3, first_wait=1, longest_wait=6)
    waits = []
    for _ in range(7):
        limits.failed(HOME, "romeo@localhost")
        waits.append(limits.wait(HOME, "romeo@localhost"))
        clock.time += waits[-1]
    assert waits == [0, 0, 1, 2, 4, 6, 6]
    assert limits.wait(HOME, "romeo@localhost") == 0


def test_failures_are_forgotten() -> None:
    clock = FakeClock()
    limits = guard(clock, account_failures=2, forget=100)
    limits.failed(HOME, "romeo@localhost")
    clock.time += 101
    limits.failed(HOME, "romeo@localhost")
    assert limits.wait(HOME, "romeo@localhost") == 0
    limits.failed(HOME, "romeo@localhost")
    assert limits.wait(HOME, "romeo@localhost") == 1
    limits.succeeded(HOME, "romeo@localhost")
    assert limits.wait(HOME, "romeo@localhost") == 0


def test_the_victim_is_not_locked_out() -> None:
    limits = guard(FakeClock(), account_failures=1, address_failures=1)
    for number in range(300):
        limits.failed(f"203.0.113.{number % 250}", "juliet@localhost")
    assert limits.wait("203.0.113.7", "juliet@localhost") > 0
    assert limits.wait(HOME, "juliet@localhost") == 0


def test_one_address_trying_many_accounts_waits_and_its_neighbours_do_not() -> None:
    limits = guard(FakeClock(), address_failures=10)
    limits.succeeded(HOME, "romeo@localhost")
    for number in range(10):
        limits.failed(HOME, f"guess{number}@localhost")
    assert limits.wait(HOME, "another@localhost") == 1
    assert limits.wait(HOME, "romeo@localhost") == 0  # has signed in from behind the same NAT
    assert limits.wait(ELSEWHERE, "another@localhost") == 0


def test_an_ipv6_network_is_one_address() -> None:
    limits = guard(FakeClock(), account_failures=2)
    limits.failed("2001:db8:1:2::1", "romeo@localhost")
    limits.failed("2001:db8:1:2:ffff::9", "romeo@localhost")
    assert limits.wait("2001:db8:1:2:3:4:5:6", "romeo@localhost") == 1
    assert limits.wait("2001:db8:1:3::1", "romeo@localhost") == 0


def test_tables_are_bounded() -> None:
    limits = guard(FakeClock())
    for number in range(REMEMBERED + 100):
        limits.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", "a@localhost")
        limits.succeeded(HOME, f"u{number}@localhost")
    assert len(limits._addresses) == len(limits._pairs) == len(limits._known) == REMEMBERED


def test_zero_never_waits() -> None:
    limits = guard(FakeClock(), account_failures=0, address_failures=0)
    for _ in range(1000):
        limits.failed(HOME, "romeo@localhost")
    assert limits.wait(HOME, "romeo@localhost") == 0


async def attempt(server: Harness, address: str, password: str, user: str = "juliet") -> Client:
    """A sign-in by PLAIN on a connection of its own, not yet answered."""
    client = server.connect()
    client.link.peer = address
    client.open()
    await client.receive()
    initial = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
    client.send(f"<auth xmlns='{SASL}' mechanism='PLAIN'>{initial}</auth>")
    return client


async def outcome(client: Client) -> str:
    """ "success", or the condition."""
    element = await client.receive()
    client.cut()
    return str((element if element.tag.endswith("}success") else element[0]).tag).partition("}")[2]


async def test_guessing_waits_and_the_owner_signs_in(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """A05 with the defaults: five tries, then not even the right password counts, from there."""
    await server.register("juliet")
    for _ in range(5):
        assert await outcome(await attempt(server, ELSEWHERE, "secret-guess")) == "not-authorized"
    for password in ("secret-guess", "pencil"):
        assert await outcome(await attempt(server, ELSEWHERE, password)) == "temporary-auth-failure"
    assert await outcome(await attempt(server, HOME, "pencil")) == "success"
    await server.advance(1.1)
    assert await outcome(await attempt(server, ELSEWHERE, "pencil")) == "success"
    assert f"failed sign-ins from {ELSEWHERE} to one account: it must wait 1 s there" in caplog.text
    assert "secret-guess" not in caplog.text


async def test_accounts_that_do_not_exist_are_not_told_apart(server: Harness) -> None:
    await server.register("juliet")
    told = []
    for user in ("juliet", "nobody"):
        told.append([await outcome(await attempt(server, HOME, "wrong", user)) for _ in range(8)])
    assert told[0] == told[1]


async def test_guesses_at_the_same_time_learn_nothing(server: Harness) -> None:
    """T42: nothing has failed yet when they come, and the last one would need no hashing."""
    await server.register("juliet")
    await outcome(await attempt(server, HOME, "pencil"))
    guesses = [await attempt(server, ELSEWHERE, "wrong") for _ in range(30)]
    guesses.append(await attempt(server, ELSEWHERE, "pencil"))
    told = [await outcome(client) for client in guesses]
    assert told[:5] == ["not-authorized"] * 5
    assert set(told[5:]) == {"temporary-auth-failure"}


async def test_scram_waits_too(server: Harness) -> None:
    await server.register("juliet")
    for _ in range(5):
        await outcome(await attempt(server, ELSEWHERE, "wrong"))
    client = server.connect()
    client.link.peer = ELSEWHERE
    client.open()
    await client.receive()
    first = base64.b64encode(b"n,,n=juliet,r=abcdefgh").decode()
    client.send(f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-256'>{first}</auth>")
    assert await outcome(client) == "temporary-auth-failure"


async def test_a_client_that_goes_on_is_closed(server: Harness) -> None:
    client = await attempt(server, ELSEWHERE, "wrong")
    initial = base64.b64encode(b"\0juliet\0wrong").decode()
    for _ in range(4):
        await client.receive()
        client.send(f"<auth xmlns='{SASL}' mechanism='PLAIN'>{initial}</auth>")
    assert await client.stream_error() == "policy-violation"


async def test_passwords_are_checked_a_few_at_a_time() -> None:
    """A10: a storm of PLAIN sign-ins leaves a processor to the loop."""
    hashing, lock, at_work, most = Hashing(), threading.Lock(), 0, 0
    allowed = hashing._free._value

    def work() -> bool:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        threading.Event().wait(0.002)
        with lock:
            at_work -= 1
        return True

    assert all(await asyncio.gather(*(hashing.run(work) for _ in range(50))))
    assert 1 <= most <= allowed
