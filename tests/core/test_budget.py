"""Bytes that wait in memory: bounded for one session, one account and the process, and nothing acknowledged is lost."""

from __future__ import annotations

from typing import Any

import pytest

from tests.core.test_delivery import Reader, acked, bodies, enable, say
from tests.harness import Client, Harness, condition
from xmppd.delivery.cursor_writer import LOG
from xmppd.memory.budget import FREE, MemoryBudget, Pool, Share
from xmppd.storage.api import Entry, Range
from xmppd.xep.duplicates import latest

KIB = 1 << 10
NO_STORE = "<no-store xmlns='urn:xmpp:hints'/>"
STATE = "<active xmlns='http://jabber.org/protocol/chatstates'/>"
SMALL = "limits: {queue_size: 256 KiB, account_memory: 768 KiB, memory: 2 MiB}"
UNSHAPED = "limits: {per_connection: {stanzas: 0}, per_account: {stanzas: 0}}"
ROOM = "hall@conference.localhost"


def session(server: Harness, client: Client) -> Any:
    return server.host.account(client.bare).sessions[client.jid.partition("/")[2]]


def held(channel: Any) -> int:
    """The bytes that are really there."""
    queue = sum(len(data) for data, _, _ in channel.queue.items) if channel.queue is not None else 0
    return queue + sum(len(data) for data, _ in channel.waiting())


def all_held(server: Harness) -> int:
    accounts = [each for each in server.host.accounts.values() if each is not None]
    return sum(held(each.channel) for account in accounts for each in account.sessions.values())


async def said(server: Harness, client: Client, to: str, numbers: range, size: int, type: str = "chat") -> None:
    """Large messages, no faster than one client may send, all acknowledged."""
    for number in numbers:
        body = f"{number} " + "x" * size
        client.send(f"<message to='{to}' type='{type}' id='{number}'><body>{body}</body></message>")
        await server.advance(size / (200 * KIB))


def numbers(texts: list[str]) -> list[int]:
    return [int(text.split()[0]) for text in texts if text[0].isdigit()]


# ---- the account of bytes


def test_bytes_count_three_times_and_are_given_back() -> None:
    memory, account = MemoryBudget(1000 * KIB, 400 * KIB), Pool()
    one, two = Share(account, memory), Share(account, memory)
    one.take(200 * KIB)
    two.take(50 * KIB)
    assert (one.used, account.used, memory.used) == (200 * KIB, 250 * KIB, 250 * KIB)
    one.take(150 * KIB)
    assert one.crowded
    assert not two.crowded, "who holds little is not held up for what others hold"
    one.close()
    assert (account.used, memory.used) == (50 * KIB, 50 * KIB)
    one.take(10)
    one.give(5)
    assert (account.used, memory.used) == (50 * KIB, 50 * KIB), "what is over counts nowhere"


def test_it_is_told_once_that_room_is_wanted() -> None:
    memory, account, calls = MemoryBudget(100, 60), Pool(), list[tuple[Pool, int]]()
    memory.on_pressure = lambda pool: calls.append((pool, pool.used))
    share = Share(account, memory)
    for _ in range(5):
        share.take(40)
    assert calls == [(account, 80), (memory, 120)]
    share.give(200)
    account.pressed = memory.pressed = False
    share.take(101)
    assert calls[2:] == [(account, 101), (memory, 101)]


# ---- one session


@pytest.mark.server(more=SMALL)
async def test_what_is_in_the_archive_waits_there(server: Harness) -> None:
    """Few large messages fill the queue as many small ones do; the log is the queue, and all come in order."""
    romeo = await server.login("romeo")
    juliet = await server.login("juliet", "balcony", presence=True)
    await enable(juliet)
    await enable(romeo)
    channel = session(server, juliet).channel
    await said(server, romeo, "juliet@localhost", range(30), 40 * KIB)
    assert await acked(romeo) == 30
    assert not channel.live and len(channel.queue) == 7
    assert channel.share.used == held(channel) == server.server.memory.used < 300 * KIB
    reader, got = Reader(juliet), list[str]()
    for _ in range(20):
        got += await reader.read()
        assert held(channel) < 300 * KIB, "a page of the log does not overrun it either"
    assert numbers(got) == list(range(30))
    assert channel.live and server.server.memory.used == channel.share.used == 0


@pytest.mark.server(more=SMALL)
async def test_a_session_that_waits_for_its_client_is_bounded_and_loses_nothing(server: Harness) -> None:
    romeo = await server.login("romeo")
    await enable(romeo)
    juliet = await server.login("juliet", "balcony", presence=True)
    id = await enable(juliet)
    channel = session(server, juliet).channel
    juliet.cut()
    await said(server, romeo, "juliet@localhost", range(20), 40 * KIB)
    assert await acked(romeo) == 20
    assert held(channel) < 300 * KIB
    await server.register("juliet")
    again = server.connect()
    await again.sign_in("juliet")
    again.send(f"<resume xmlns='urn:xmpp:sm:3' previd='{id}' h='0'/>")
    reader, got = Reader(again), list[str]()
    for _ in range(10):
        got += await reader.read()
    assert numbers(got) == list(range(20))


@pytest.mark.server(more="limits: {queue: 10, ask_every: 5}")
async def test_of_each_sender_the_last_presence_waits(server: Harness) -> None:
    """The queue is full: a hundred changes of one contact are one, and chat states are dropped; the session goes on."""
    romeo, juliet = await server.login("romeo", presence=True), await server.login("juliet", presence=True)
    await enable(juliet)
    channel = session(server, juliet).channel
    for number in range(10):
        say(romeo, juliet.jid, str(number))
    for number in range(100):
        romeo.send(f"<presence to='{juliet.jid}'><status>{number}</status></presence>")
        romeo.send(f"<message to='{juliet.jid}' type='chat'>{STATE}</message>")
    await server.quiet()
    assert not session(server, juliet).ended
    assert held(channel) == server.server.memory.used
    dropped = server.server.counts.dropped
    assert dropped == 100 - 9, "nine states found room beside the presence"
    reader = Reader(juliet)
    await reader.read()
    found = await juliet.receive_all()
    assert [each.findtext("{jabber:client}status") for each in found if each.tag.endswith("}presence")] == ["99"]


@pytest.mark.server(more="limits: {queue: 10, ask_every: 5}")
async def test_what_must_not_be_missed_ends_the_session(server: Harness) -> None:
    """Nothing is dropped without a word: the stream ends, and what was in the archive comes to the next session."""
    romeo, juliet = await server.login("romeo"), await server.login("juliet", "balcony", presence=True)
    await enable(juliet)
    for number in range(10):
        say(romeo, "juliet@localhost", str(number))
    for number in range(11):
        romeo.send(
            f"<message to='{juliet.jid}' type='chat' id='p{number}'><body>p</body>"
            "<no-store xmlns='urn:xmpp:hints'/></message>"
        )
    await server.quiet()
    assert await juliet.stream_error() == "resource-constraint"
    assert server.server.counts.overflows == 1 and server.server.memory.used == 0
    fresh = await server.login("juliet", "balcony")
    fresh.send("<presence/>")
    assert bodies(await fresh.receive_all()) == [str(number) for number in range(10)]


@pytest.mark.server(more=SMALL)
async def test_what_waits_for_a_sleeping_client_is_bounded_in_bytes(server: Harness) -> None:
    """XEP-0352: more than `client_state.held_size` goes out; the bytes that wait are counted."""
    romeo, juliet = await server.login("romeo"), await server.login("juliet", presence=True)
    juliet.send("<inactive xmlns='urn:xmpp:csi:0'/>")
    channel = session(server, juliet).channel
    for number in range(3):
        status = str(number) * 10 * KIB
        romeo.send(f"<presence to='{juliet.jid}'><status>{status}</status></presence>")
        await server.quiet()
        assert 10 * KIB < held(channel) < 11 * KIB and held(channel) == server.server.memory.used
    for number in range(40):
        romeo.send(f"<message to='{juliet.jid}' type='headline' id='{number}'><body>{'x' * 20 * KIB}</body></message>")
        await server.advance(0.1)
        assert held(channel) < 540 * KIB and held(channel) == server.server.memory.used
    assert await juliet.receive_all()
    juliet.send("<active xmlns='urn:xmpp:csi:0'/>")
    await server.quiet()
    assert server.server.memory.used == 0


# ---- one account, the process


async def crowd(server: Harness, user: str, count: int) -> list[Client]:
    """Sessions with acknowledgements, in a room, that acknowledge nothing from then on."""
    found = []
    for number in range(count):
        client = await server.login(user, f"r{number}")
        await enable(client)
        client.send(f"<presence to='{ROOM}/{user}{number}'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
        await client.receive_all()
        if number == 0 and user == "romeo":
            await client.iq(
                "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>",
                "set",
                ROOM,
            )
        found.append(client)
    return found


@pytest.mark.server(more="limits: {queue_size: 256 KiB, account_memory: 768 KiB, memory: 64 MiB}")
async def test_twenty_sessions_of_one_account_that_do_not_acknowledge(server: Harness) -> None:
    """A fan-out is bytes in each queue: the account's bound holds for all of them together, sessions end with a word,
    others are not held up, and all that was acknowledged to the sender is in the room's archive."""
    sessions = await crowd(server, "romeo", 20)
    sender = await server.login("juliet", "sender")
    sender.send(f"<presence to='{ROOM}/juliet'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
    await sender.receive_all()
    await enable(sender)
    reader, peak = Reader(sender), 0
    for number in range(40):
        await said(server, sender, ROOM, range(number, number + 1), 40 * KIB, "groupchat")
        await reader.read()
        peak = max(peak, server.server.memory.used)
        assert server.server.memory.used == all_held(server)
    most = 768 * KIB + 20 * (FREE + 42 * KIB)
    assert peak < most, f"{peak / KIB:.0f} KiB"
    assert await acked(sender) == 40
    kept = await server.storage.log(LOG).page(ROOM, Range(), 1000)
    assert numbers([each.body.partition(b"<body>")[2].decode() for each in kept if b"<body>" in each.body]) == list(
        range(40)
    )
    assert not session(server, sender).ended
    ended = [client for client in sessions if client.closed]
    assert ended
    assert [await each.stream_error() for each in ended] == ["resource-constraint"] * len(ended)


@pytest.mark.server(more="limits: {queue_size: 256 KiB, account_memory: 1 MiB, memory: 1 MiB}")
async def test_the_process_makes_room_where_most_is_held(server: Harness) -> None:
    """Five accounts share what one may use alone: the largest ends, the small one does not notice."""
    romeo = await server.login("romeo")
    small = await server.login("benvolio", "phone", presence=True)
    await enable(small)
    await said(server, romeo, "benvolio@localhost", range(1), KIB)
    many = []
    for number in range(5):
        client = await server.login(f"juliet{number}", "phone", presence=True)
        await enable(client)
        many.append(client)
        for _ in range(8):  # what no log holds
            romeo.send(
                f"<message to='{client.jid}' type='chat' id='p'><body>{'x' * 40 * KIB}</body>"
                "<no-store xmlns='urn:xmpp:hints'/></message>"
            )
            await server.advance(0.2)
        assert server.server.memory.used <= 1024 * KIB + 42 * KIB
    assert server.server.counts.memory_full or server.server.counts.overflows
    assert not session(server, small).ended
    assert server.server.memory.used == all_held(server)


async def test_room_is_made_from_the_largest_down(server: Harness) -> None:
    romeo = await server.login("romeo")
    clients = {}
    for name, count in (("benvolio", 1), ("mercutio", 4), ("tybalt", 8)):
        client = clients[name] = await server.login(name, "phone", presence=True)
        await enable(client)
        await said(server, romeo, client.jid, range(count), 10 * KIB)
    memory = server.server.memory
    memory.configure(memory.used - 1, memory.used)
    await said(server, romeo, clients["benvolio"].jid, range(1), 10)
    assert [name for name, client in clients.items() if client.closed] == ["tybalt"]
    assert memory.used == all_held(server) and not memory.pressed
    fresh = await server.login("tybalt", "phone")
    fresh.send("<presence/>")
    assert numbers(bodies(await fresh.receive_all())) == list(range(8)), "nothing stored is lost by it"


# ---- answers of many stanzas


@pytest.mark.server(more=SMALL)
async def test_a_page_of_large_messages_is_a_smaller_page(server: Harness) -> None:
    """XEP-0059: fewer than were asked for, so that a client can read its archive whatever is in it."""
    romeo, juliet = await server.login("romeo"), await server.login("juliet")
    await said(server, romeo, "juliet@localhost", range(20), 40 * KIB)
    await enable(juliet)
    reader, got, after = Reader(juliet), list[int](), ""
    for _ in range(20):
        query = f"<set xmlns='http://jabber.org/protocol/rsm'><max>20</max>{after}</set>"
        answer = await juliet.iq(f"<query xmlns='urn:xmpp:mam:2'>{query}</query>", "set")
        found = await juliet.receive_all()
        reader.h += 1 + sum(each.tag.startswith("{jabber:client}") for each in found)
        juliet.send(f"<a xmlns='urn:xmpp:sm:3' h='{reader.h}'/>")
        texts = [str(each.text) for one in found for each in one.iter("{jabber:client}body")]
        assert 0 < len(texts) <= 4
        got += numbers(texts)
        fin = answer[0]
        if fin.get("complete") == "true":
            break
        after = f"<after>{fin.findtext('.//{http://jabber.org/protocol/rsm}last')}</after>"
    assert got == list(range(20))


# ---- what comes in


def large(number: int, to: str = "juliet@localhost") -> str:
    return f"<message to='{to}' type='chat' id='{number}'><body>{number} {'x' * 20 * KIB}</body></message>"


@pytest.mark.server(more="limits: {incoming_size: 64 KiB}")
async def test_behind_a_slow_answer_few_large_stanzas_wait(server: Harness) -> None:
    """The stream is not read until what it sent before is handled; nothing is lost."""
    romeo, juliet = await server.login("romeo"), await server.login("juliet", presence=True)
    server.backend.hold()
    romeo.send("<iq type='set' id='slow'><query xmlns='jabber:iq:private'><a xmlns='x'/></query></iq>")
    for number in range(20):
        romeo.send(large(number))
    await server.quiet()
    assert romeo.link.paused and len(romeo.stream.inbox or ()) == 4
    server.backend.release()
    assert numbers(bodies(await juliet.receive_all())) == list(range(20))
    assert not romeo.link.paused and not romeo.stream.inbox_size


@pytest.mark.server(more="limits: {incoming_size: 64 KiB}")
async def test_few_large_stanzas_wait_for_their_commit(server: Harness) -> None:
    romeo, juliet = await server.login("romeo"), await server.login("juliet", presence=True)
    await enable(romeo)
    server.backend.hold()
    for number in range(20):
        romeo.send(large(number))
    await server.quiet()
    sender = session(server, romeo)
    assert romeo.link.paused and sender.received - sender.handled == 4
    server.backend.release()
    assert numbers(bodies(await juliet.receive_all())) == list(range(20))
    assert await acked(romeo) == 20 and not romeo.link.paused


@pytest.mark.server(more="limits: {queue_size: 256 KiB, account_memory: 512 KiB, memory: 64 MiB}")
async def test_what_all_streams_of_an_account_send_is_bounded_together(server: Harness) -> None:
    """Each may have 1 MiB on its way, all together a quarter of the account's; then TCP makes them wait, in step with
    the store, and nothing is lost. Another account is not held up."""
    juliet, mercutio = await server.login("juliet", presence=True), await server.login("mercutio")
    romeos = [await server.login("romeo", f"r{number}") for number in range(4)]
    pool = session(server, romeos[0]).account.pool
    server.backend.hold()
    for number in range(10):
        for place, romeo in enumerate(romeos):
            romeo.send(large(number * 4 + place))
    await server.quiet()
    memory = server.server.memory
    assert 128 * KIB < pool.incoming == memory.incoming <= 128 * KIB + 4 * 21 * KIB
    assert all(romeo.link.paused for romeo in romeos)
    mercutio.send(large(40))
    assert not mercutio.link.paused
    server.backend.release()
    assert sorted(numbers(bodies(await juliet.receive_all()))) == list(range(41))
    assert pool.incoming == memory.incoming == 0 and not any(romeo.link.paused for romeo in romeos)


@pytest.mark.server(more="limits: {queue_size: 256 KiB, account_memory: 1 MiB, memory: 1 MiB}")
async def test_what_all_accounts_send_is_bounded_together(server: Harness) -> None:
    """Behind slow answers, too; the bound of the process."""
    juliet = await server.login("juliet", presence=True)
    senders = [await server.login(f"user{number}") for number in range(6)]
    server.backend.hold()
    for place, sender in enumerate(senders):
        sender.send("<iq type='set' id='slow'><query xmlns='jabber:iq:private'><a xmlns='x'/></query></iq>")
        for number in range(20):
            sender.send(large(place * 20 + number))
    await server.quiet()
    memory = server.server.memory
    assert 256 * KIB < memory.incoming <= 256 * KIB + 6 * 21 * KIB
    assert all(sender.link.paused for sender in senders)
    senders[0].cut()
    await server.quiet()
    server.backend.release()
    got = numbers(bodies(await juliet.receive_all()))
    assert sorted(number for number in got if number >= 20) == list(range(20, 120))
    assert memory.incoming == 0
    assert all(each.pool.incoming == 0 for each in server.host.accounts.values() if each is not None)


@pytest.mark.server(
    plugins={"register": {"mode": "open", "captcha": False}}, more="limits: {before_sign_in: {size: 64 KiB}}"
)
async def test_what_strangers_send_counts_for_the_process(server: Harness) -> None:
    stranger, memory = server.connect(), server.server.memory
    stranger.open()
    server.backend.hold()
    await server.quiet()
    fields = "<username>tybalt{}</username><password>{}</password>"
    ask = f"<iq type='set' id='{{}}'><query xmlns='jabber:iq:register'>{fields}</query></iq>"
    stranger.send(ask.format("a", "", "secret-of-tybalt"))
    memory.configure(64 * KIB, 64 * KIB)
    for number in range(10):
        stranger.send(ask.format(number, number, "x" * 4 * KIB))
    await server.quiet()
    assert 16 * KIB < memory.incoming < 16 * KIB + 5 * KIB
    assert stranger.link.paused
    stranger.cut()
    server.backend.release()
    await server.quiet()
    assert memory.incoming == 0


# ---- who does not read


@pytest.mark.server(more=UNSHAPED)
@pytest.mark.parametrize("ask", ["<r xmlns='urn:xmpp:sm:3'/>", "<enable xmlns='urn:xmpp:sm:3'/>"])
async def test_who_does_not_read_the_answers_is_not_read(server: Harness, ask: str) -> None:
    """A flood of what is answered at once: what waits is bounded, counts, and goes on where it was."""
    romeo = await server.login("romeo")
    await enable(romeo)
    romeo.link.stalled = True
    for _ in range(10_000):
        romeo.send(ask)
    await server.quiet()
    memory, channel = server.server.memory, session(server, romeo).channel
    unsent = romeo.link.write_buffer_size
    assert romeo.link.paused and unsent < 2 * 64 * KIB + 1024
    assert memory.used == channel.share.used == unsent
    sent = 10_000 - len(romeo._unsent)
    romeo.link.go_on()
    assert memory.used == channel.share.used == 0
    found = await romeo.receive_all()
    assert len(found) == 10_000 > sent and not romeo.link.paused
    assert not session(server, romeo).ended


async def test_a_slow_client_that_asks_for_nothing_is_read(server: Harness) -> None:
    """It gets a long answer over a slow line, and speaks meanwhile."""
    romeo, juliet = await server.login("romeo"), await server.login("juliet", presence=True)
    await enable(juliet)
    juliet.link.stalled = True
    await said(server, romeo, juliet.bare, range(20), 10 * KIB)
    assert session(server, juliet).channel.paused
    juliet.send("<message to='romeo@localhost' type='chat' id='m'><body>wait</body></message>")
    romeo.send("<presence/>")
    assert bodies(await romeo.receive_all()) == ["wait"]
    used = server.server.memory.used
    assert used == session(server, juliet).channel.share.used >= juliet.link.write_buffer_size > 64 * KIB
    juliet.cut()
    await server.quiet()
    assert server.server.memory.used == held(session(server, juliet).channel)


@pytest.mark.server(more=UNSHAPED)
async def test_a_stranger_who_reads_no_answers_is_not_read(server: Harness) -> None:
    await server.register("romeo")
    romeo = server.connect()
    await romeo.sign_in("romeo")
    romeo.link.stalled = True
    for _ in range(10_000):
        romeo.send("<r xmlns='urn:xmpp:sm:3'/>")
    await server.quiet()
    assert romeo.link.paused and romeo.link.write_buffer_size < 64 * KIB + 1024
    romeo.link.go_on()
    assert len(await romeo.receive_all()) == 10_000


async def test_who_has_only_begun_to_lag_stays(server: Harness) -> None:
    """The session that holds most has read a second ago, the others of its account have not for long: they end."""
    romeo = await server.login("romeo")
    clients = []
    for number in range(4):
        client = await server.login("juliet", f"r{number}", presence=True)
        await enable(client)
        clients.append(client)
    memory, sender = server.server.memory, clients[1]
    await said(server, romeo, "juliet@localhost", range(10), 10 * KIB)
    await server.advance(5)
    await Reader(sender).read()
    for number in range(15):
        body = "x" * 10 * KIB
        romeo.send(f"<message to='{sender.jid}' type='chat' id='n{number}'><body>{body}</body>{NO_STORE}</message>")
    await server.advance(0.5)
    holds = [session(server, client).channel.share.used for client in clients]
    assert max(holds) == holds[1]
    memory.configure(memory.limit, session(server, sender).account.pool.used)
    romeo.send(f"<message to='{sender.jid}' type='chat' id='n'><body>x</body>{NO_STORE}</message>")
    await server.quiet()
    assert [client.closed for client in clients].count(True) in (1, 2) and not sender.closed


async def test_a_presence_is_kept_long_so_it_is_small(server: Harness) -> None:
    romeo = await server.login("romeo", presence=True)
    juliet = await server.login("juliet", presence=True)
    romeo.send(f"<presence to='{juliet.jid}' id='p'><status>{'x' * 40 * KIB}</status></presence>")
    romeo.send(f"<presence id='q'><status>{'x' * 40 * KIB}</status></presence>")
    answers = await romeo.receive_all()
    assert [(each.get("id"), condition(each)) for each in answers] == [
        ("p", "policy-violation"),
        ("q", "policy-violation"),
    ]
    await juliet.silence()


async def test_strangers_names_do_not_pile_up_behind_accounts_in_use(
    server: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xmppd.sessions.account_cache.BOUND", 30)
    romeo = await server.login("romeo")
    for number in range(10):
        await server.login(f"juliet{number}", presence=True)
    for number in range(100):
        romeo.send(f"<message to='nobody{number}@localhost' type='chat'><body>x</body></message>")
    await server.quiet()
    assert len(server.host.accounts) <= 31
    assert all(server.host.account(f"juliet{number}@localhost") for number in range(10))


async def test_what_a_room_remembers_of_an_iq_is_short(server: Harness) -> None:
    """Its id is kept until the answer comes."""
    romeo, juliet = await server.login("romeo"), await server.login("juliet")
    for client, nick in ((romeo, "romeo"), (juliet, "juliet")):
        client.send(f"<presence to='{ROOM}/{nick}'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
        if client is romeo:
            await romeo.iq(
                "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>",
                "set",
                ROOM,
            )
    await juliet.receive_all()
    version = "<query xmlns='jabber:iq:version'/>"
    romeo.send(f"<iq type='get' id='{'x' * 2000}' to='{ROOM}/juliet'>{version}</iq>")
    answers = [each for each in await romeo.receive_all() if each.tag.endswith("}iq")]
    assert [condition(each) for each in answers] == ["not-acceptable"]
    await juliet.silence()
    romeo.send(f"<iq type='get' id='{'x' * 200}' to='{ROOM}/juliet'>{version}</iq>")
    assert (await juliet.receive()).get("type") == "get"


async def test_what_waits_is_fetched_in_parts(server: Harness) -> None:
    """XEP-0013: 4 MiB wait; one part is fetched, and the rest comes as always."""
    romeo, juliet = await server.login("romeo"), await server.login("juliet")
    await said(server, romeo, "juliet@localhost", range(40), 100 * KIB)
    await enable(juliet)
    reader = Reader(juliet)
    answer = await juliet.iq("<offline xmlns='http://jabber.org/protocol/offline'><fetch/></offline>")
    assert answer.get("type") == "result"
    reader.h += 1
    got = await reader.read()
    assert numbers(got) == list(range(10))
    juliet.send("<presence/>")
    rest: list[str] = []
    for _ in range(20):
        rest += await reader.read()
    assert numbers(rest) == list(range(10, 40))


async def test_a_node_of_large_items_is_read_in_pages(server: Harness) -> None:
    """XEP-0060 section 6.5.4: the newest first, and what is needed to ask for the others."""
    romeo = await server.login("romeo")
    node = "urn:xmpp:microblog:0"
    pubsub, rsm = "http://jabber.org/protocol/pubsub", "http://jabber.org/protocol/rsm"
    for number in range(8):
        item = f"<item id='i{number}'><entry xmlns='http://www.w3.org/2005/Atom'>{'x' * 200 * KIB}</entry></item>"
        publish = f"<publish node='{node}'>{item}</publish>"
        assert (await romeo.iq(f"<pubsub xmlns='{pubsub}'>{publish}</pubsub>", "set")).get("type") == "result"
        await server.advance(1)
    found: list[str] = []
    more = ""
    for _ in range(8):
        answer = await romeo.iq(f"<pubsub xmlns='{pubsub}'><items node='{node}'/>{more}</pubsub>")
        page = [str(each.get("id")) for each in answer.iter(f"{{{pubsub}}}item")]
        if not page:
            break
        assert len(page) <= 5
        found = page + found
        more = f"<set xmlns='{rsm}'><before>{page[0]}</before></set>"
    assert found == [f"i{number}" for number in range(8)]


async def test_one_large_stanza_to_many_is_refused(server: Harness) -> None:
    romeo = await server.login("romeo")
    many = "".join(f"<address type='to' jid='user{number}@localhost'/>" for number in range(40))
    addresses = f"<addresses xmlns='http://jabber.org/protocol/address'>{many}</addresses>"
    romeo.send(f"<message to='localhost' id='m'>{addresses}<body>{'x' * 120 * KIB}</body></message>")
    assert condition(await romeo.receive()) == "not-acceptable"


# ---- what is over


async def test_an_idle_stream_does_not_keep_the_batch_that_its_last_message_was_in(server: Harness) -> None:
    romeo = await server.login("romeo")
    await server.register("juliet")
    await said(server, romeo, "juliet@localhost", range(1), 40 * KIB)
    tail = session(server, romeo).lane.tail
    assert tail is not None and tail.done and not tail.items and not tail.resolved


async def test_a_session_with_nothing_to_acknowledge_is_not_held_up(server: Harness) -> None:
    """What is crowded for others, or is its own but in no queue, must not leave it waiting for an acknowledgement."""
    romeo, juliet = await server.login("romeo"), await server.login("juliet", "phone", presence=True)
    await enable(juliet)
    channel = session(server, juliet).channel
    server.server.memory.account_spill = 70 * KIB
    await said(server, romeo, "juliet@localhost", range(7), 40 * KIB)
    assert len(channel.queue) == 2
    for number in range(2):
        body = "x" * 40 * KIB
        romeo.send(f"<message to='{juliet.jid}' id='n{number}'><body>{body}</body>{NO_STORE}</message>")
        await server.advance(0.2)
    assert not channel.live
    reader, got = Reader(juliet), list[str]()
    for _ in range(6):
        got += await reader.read()
    assert numbers(got) == list(range(7)) and len([each for each in got if each.startswith("x")]) == 2
    assert channel.live and channel.share.used == 0


async def test_the_last_messages_of_an_account_are_looked_at_up_to_a_size(server: Harness) -> None:
    log = server.storage.log(LOG)
    entries = [Entry(number * 1000 + 1, "juliet@localhost", "", 0, b"x" * 200 * KIB) for number in range(60)]
    await server.storage.commit([log.append("romeo@localhost", each) for each in entries])
    found = await latest(log, "romeo@localhost", Range(), 10, 60_000_000, 1000)
    assert found == entries[-20:]
    assert await latest(log, "romeo@localhost", Range(), 50, 60_000_000, 1000) == entries[-20:]
