"""XEP-0198: counting, acknowledging, resuming (M01 to M06, X14)."""

from __future__ import annotations

from typing import Any

import pytest
from lxml import etree

from plugins.stream_management import SWEEP, Count, Sent
from tests.harness import STREAM, Client, Element, Harness, condition, xml
from xmppd.jid import JID

NS = "urn:xmpp:sm:3"
ENABLE = f"<enable xmlns='{NS}' resume='true'/>"
R = f"<r xmlns='{NS}'/>"
PING = "<ping xmlns='urn:xmpp:ping'/>"


def name(element: Element) -> str:
    return str(etree.QName(element.tag).localname)


def reason(element: Element) -> str:
    """The condition inside <failed/>."""
    assert element.tag == f"{{{NS}}}failed", xml(element)
    return name(element[0])


async def enabled(client: Client, request: str = ENABLE) -> str:
    client.send(request)
    answer = await client.receive()
    assert answer.tag == f"{{{NS}}}enabled", xml(answer)
    return str(answer.get("id", ""))


async def signed_in(server: Harness, user: str) -> Client:
    """Signed in, not bound."""
    await server.register(user)
    client = server.connect()
    await client.sign_in(user)
    return client


def resume(id: str, h: int | str) -> str:
    return f"<resume xmlns='{NS}' previd='{id}' h='{h}'/>"


def ack(h: int | str) -> str:
    return f"<a xmlns='{NS}' h='{h}'/>"


def message(to: str, body: object) -> str:
    return f"<message to='{to}@localhost' type='chat' id='m{body}'><body>{body}</body></message>"


def bodies(elements: list[Element]) -> list[str]:
    found = [each.findtext("{jabber:client}body") for each in elements if each.tag == "{jabber:client}message"]
    return [body for body in found if body is not None]


async def h_of(client: Client) -> int:
    client.send(R)
    answers = [each for each in await client.receive_all() if each.tag == f"{{{NS}}}a"]
    return int(str(answers[-1].get("h")))


def session(server: Harness, client: Client) -> Any:
    return server.host.session_of(JID.parse(client.jid))


# ---- enabling


async def test_the_feature_is_offered_after_signing_in(server: Harness) -> None:
    client = server.connect()
    client.open()
    assert (await client.receive()).find(f"{{{NS}}}sm") is None
    romeo = await server.login("romeo")
    assert romeo.features.find(f"{{{NS}}}sm") is not None


async def test_enabled_with_resumption(server: Harness) -> None:
    romeo = await server.login("romeo")
    romeo.send(ENABLE)
    answer = await romeo.receive()
    assert answer.get("resume") == "true" and answer.get("max") == "3600"
    assert len(str(answer.get("id"))) >= 22  # 128 bits and more
    other = await server.login("romeo")
    assert await enabled(other) != answer.get("id")


@pytest.mark.in_memory
async def test_enabled_without_resumption(server: Harness) -> None:
    romeo = await server.login("romeo")
    assert await enabled(romeo, f"<enable xmlns='{NS}'/>") == ""
    romeo.cut()
    await server.quiet()
    assert not server.host.account("romeo@localhost").sessions


@pytest.mark.in_memory
async def test_the_client_may_ask_for_less_time(server: Harness) -> None:
    romeo = await server.login("romeo")
    romeo.send(f"<enable xmlns='{NS}' resume='1' max='60'/>")
    assert (await romeo.receive()).get("max") == "60"
    romeo.cut()
    await server.advance(50)
    assert len(server.host.account("romeo@localhost").sessions) == 1
    await server.advance(15)
    assert not server.host.account("romeo@localhost").sessions


@pytest.mark.parametrize("early", [ENABLE, resume("x", 0), R, ack(0)])
async def test_before_sign_in(server: Harness, early: str) -> None:
    """Section 3: an error of this protocol, and the stream goes on."""
    await server.register("romeo")
    client = server.connect()
    client.open()
    await client.receive()
    for _ in range(2):
        client.send(early)
        answer = await client.receive()
        assert answer.tag == f"{{{NS}}}failed" and reason(answer) == "unexpected-request"
    await client.authenticate("romeo")
    client.send(early)
    expected = "item-not-found" if early == resume("x", 0) else "unexpected-request"
    assert reason(await client.receive()) == expected
    await client.bind()
    assert await enabled(client)


async def test_order_is_enforced(server: Harness) -> None:
    client = await signed_in(server, "romeo")
    client.send(ENABLE)
    assert reason(await client.receive()) == "unexpected-request"
    await client.bind()
    for too_early in (R, ack(0)):
        client.send(too_early)
        assert reason(await client.receive()) == "unexpected-request"
    id = await enabled(client)
    for again in (ENABLE, resume(id, 0)):
        client.send(again)
        assert reason(await client.receive()) == "unexpected-request"
    assert await h_of(client) == 0  # all goes on as before


async def test_a_stranger_cannot_resume(server: Harness) -> None:
    """Not even what is there to be resumed."""
    romeo = await server.login("romeo")
    id = await enabled(romeo)
    client = server.connect()
    client.open()
    await client.receive()
    client.send(resume(id, 0))
    assert reason(await client.receive()) == "unexpected-request"
    assert await h_of(romeo) == 0


# ---- acknowledgements


async def test_h_counts_from_enable_on(server: Harness) -> None:
    romeo = await server.login("romeo", presence=True)
    await romeo.iq(PING)
    await enabled(romeo)
    assert await h_of(romeo) == 0
    await romeo.iq(PING)
    romeo.send("<presence/>")
    romeo.send(message("nobody", 1))  # answered with an error: handled all the same
    romeo.send(message("romeo", 2))
    assert await h_of(romeo) == 4


async def test_what_waits_at_enable_is_not_counted_later(server: Harness) -> None:
    romeo = await server.login("romeo")
    await server.login("juliet")
    server.backend.hold()
    romeo.send(message("juliet", 1))
    await server.quiet()
    await enabled(romeo)
    romeo.send(message("juliet", 2))
    server.backend.release()
    assert await h_of(romeo) == 1


async def test_r_is_answered_at_once_and_again_after_the_commit(server: Harness) -> None:
    romeo = await server.login("romeo")
    await server.login("juliet")
    await enabled(romeo)
    server.backend.hold()
    romeo.send(message("juliet", 1) + message("juliet", 2) + R)
    assert [each.get("h") for each in await romeo.receive_all()] == ["0"]
    romeo.send(message("juliet", 3) + R)
    assert [each.get("h") for each in await romeo.receive_all()] == ["0"]
    server.backend.release()
    answers = [int(str(each.get("h"))) for each in await romeo.receive_all()]
    assert answers[-1] == 3 and answers == sorted(set(answers))


@pytest.mark.parametrize("h", ["1_0", "٣", "+3", " 5 ", "-1", "", "9" * 5000, "4294967296", "0x1", "1.0"])
async def test_numbers_are_numbers(server: Harness, h: str) -> None:
    """X14."""
    client = await signed_in(server, "romeo")
    client.send(resume("some-id", h))
    assert reason(await client.receive()) == "bad-request"
    await client.bind()
    if h:
        client.send(f"<enable xmlns='{NS}' resume='true' max='{h}'/>")
        assert reason(await client.receive()) == "bad-request"
    await enabled(client)
    client.send(ack(h))
    assert await client.stream_error() == "bad-format"


async def test_acknowledging_too_much_ends_the_stream(server: Harness) -> None:
    romeo = await server.login("romeo")
    id = await enabled(romeo)
    await romeo.iq(PING)
    romeo.send(ack(2))
    error = next(each for each in await romeo.receive_all() if each.tag == STREAM + "error")
    detail = error.find(f"{{{NS}}}handled-count-too-high")
    assert detail is not None and (detail.get("h"), detail.get("send-count")) == ("2", "1")
    again = await signed_in(server, "romeo")
    again.send(resume(id, 0))
    assert reason(await again.receive()) == "item-not-found"


async def test_an_old_count_is_harmless(server: Harness) -> None:
    romeo = await server.login("romeo")
    await enabled(romeo)
    for _ in range(3):
        await romeo.iq(PING)
    romeo.send(ack(3) + ack(1) + ack(3))
    await romeo.silence()
    assert len(session(server, romeo).channel.queue) == 0


# ---- resumption


async def test_nothing_is_lost_and_nothing_twice(server: Harness) -> None:
    romeo = await server.login("romeo")
    juliet = await server.login("juliet", "balcony", presence=True)
    id = await enabled(juliet)
    romeo.send(message("juliet", 1) + message("juliet", 2))
    assert bodies(await juliet.receive_all()) == ["1", "2"]
    juliet.cut()
    romeo.send(message("juliet", 3))
    await server.quiet()
    again = await signed_in(server, "juliet")
    again.send(resume(id, 1))  # it has seen the first only
    resumed = await again.receive()
    assert resumed.tag == f"{{{NS}}}resumed" and (resumed.get("previd"), resumed.get("h")) == (id, "0")
    assert bodies(await again.receive_all()) == ["2", "3"]
    again.send(ack(3))
    romeo.send(message("juliet", 4))
    assert bodies(await again.receive_all()) == ["4"]
    again.jid = juliet.jid
    assert len(session(server, again).channel.queue) == 1


async def test_the_session_stays_as_it_was(server: Harness) -> None:
    juliet = await server.login("juliet", "balcony", presence=True)
    id = await enabled(juliet)
    juliet.send(message("nobody", 1))
    await juliet.receive_all()
    juliet.cut()
    again = await signed_in(server, "juliet")
    again.send(resume(id, 1))
    assert (await again.receive()).get("h") == "1"
    await again.silence()
    again.send(f"<iq type='get' id='p'>{PING}</iq>")
    assert (await again.receive()).get("to") == "juliet@localhost/balcony"
    assert await h_of(again) == 2


async def test_foreign_and_unknown_ids_look_alike(server: Harness) -> None:
    """T30, M01."""
    juliet = await server.login("juliet", presence=True)
    id = await enabled(juliet)
    answers = []
    for tried in (id, "x" * 32):
        romeo = await signed_in(server, "romeo")
        romeo.link.written.clear()
        romeo.send(resume(tried, 0))
        assert reason(await romeo.receive()) == "item-not-found"
        answers.append(bytes(romeo.link.written))
        await romeo.bind()  # and it may go on by binding (section 5)
    assert answers[0] == answers[1]
    await juliet.silence()
    assert (await juliet.iq(PING)).get("type") == "result"


async def test_a_living_stream_is_replaced(server: Harness) -> None:
    """M05."""
    romeo = await server.login("romeo")
    juliet = await server.login("juliet", presence=True)
    id = await enabled(juliet)
    romeo.send(message("juliet", 1))
    await juliet.receive_all()
    again = await signed_in(server, "juliet")
    again.send(resume(id, 0))
    assert name(await again.receive()) == "resumed"
    assert bodies(await again.receive_all()) == ["1"]
    assert await juliet.stream_error() == "conflict"
    assert not server.host.account("juliet@localhost").sessions[juliet.jid.partition("/")[2]].ended


async def test_the_former_stream_is_settled_first(server: Harness) -> None:
    """`h` is exact: what the old stream had sent is committed before <resumed/>, what it sends now is dropped."""
    romeo = await server.login("romeo")
    juliet = await server.login("juliet", presence=True)
    id = await enabled(romeo)
    server.backend.hold()
    romeo.send(message("juliet", 1) + message("juliet", 2))
    again = await signed_in(server, "romeo")
    again.send(resume(id, 0))
    await again.silence()
    romeo.send(message("juliet", 3))
    server.backend.release()
    assert (await again.receive()).get("h") == "2"
    assert bodies(await juliet.receive_all()) == ["1", "2"]


async def test_two_resumptions_at_once_have_one_winner(server: Harness) -> None:
    """T30, M05: no gap, nothing twice on the winning stream."""
    romeo = await server.login("romeo")
    juliet = await server.login("juliet", presence=True)
    id = await enabled(juliet)
    juliet.cut()
    romeo.send(message("juliet", 1))
    await server.quiet()
    server.backend.hold()
    first, second = await signed_in(server, "juliet"), await signed_in(server, "juliet")
    first.send(resume(id, 0))
    second.send(resume(id, 0))
    server.backend.release()
    got = [await first.receive_all(), await second.receive_all()]
    living = [client for client in (first, second) if not client.closed]
    assert len(living) == 1
    winner = got[0] if living[0] is first else got[1]
    assert bodies(winner) == ["1"]
    living[0].send(ack(1))
    romeo.send(message("juliet", 2))
    assert bodies(await living[0].receive_all()) == ["2"]


async def test_two_resumptions_while_the_old_stream_waits(server: Harness) -> None:
    romeo = await server.login("romeo")
    await server.login("juliet")
    id = await enabled(romeo)
    server.backend.hold()
    romeo.send(message("juliet", 1))
    clients = [await signed_in(server, "romeo") for _ in range(3)]
    for client in clients:
        client.send(resume(id, 0))
    await server.quiet()
    server.backend.release()
    await server.quiet()
    living = [client for client in clients if not client.closed]
    assert len(living) == 1
    assert name(await living[0].receive()) == "resumed"
    assert (await living[0].iq(PING)).get("type") == "result"


async def test_the_new_stream_dies_while_it_waits(server: Harness) -> None:
    romeo = await server.login("romeo")
    await server.login("juliet")
    id = await enabled(romeo)
    server.backend.hold()
    romeo.send(message("juliet", 1))
    again = await signed_in(server, "romeo")
    again.send(resume(id, 0))
    await server.quiet()
    again.cut()
    server.backend.release()
    await server.quiet()
    third = await signed_in(server, "romeo")
    third.send(resume(id, 0))
    assert (await third.receive()).get("h") == "1"


async def test_nothing_to_resume_after_a_goodbye(server: Harness) -> None:
    """M06: the session is over; its client learns what was handled, others wait in the log."""
    romeo, juliet = await server.login("romeo"), await server.login("juliet", presence=True)
    id = await enabled(juliet)
    await juliet.iq(PING)
    juliet.send(R)
    romeo.send(message("juliet", 1))
    await juliet.receive_all()
    juliet.close()
    again = await signed_in(server, "juliet")
    again.send(resume(id, 0))
    answer = await again.receive()
    assert reason(answer) == "item-not-found" and answer.get("h") == "1"
    await again.bind()
    again.send("<presence/>")
    assert bodies(await again.receive_all()) == ["1"]


async def test_too_late(server: Harness) -> None:
    juliet = await server.login("juliet", presence=True)
    id = await enabled(juliet)
    await juliet.iq(PING)
    juliet.cut()
    await server.advance(3605)
    again = await signed_in(server, "juliet")
    again.send(resume(id, 0))
    answer = await again.receive()
    assert reason(answer) == "item-not-found" and answer.get("h") == "1"


async def test_a_password_change_ends_what_could_be_resumed(server: Harness) -> None:
    """M06."""
    juliet = await server.login("juliet", presence=True)
    id = await enabled(juliet)
    juliet.cut()
    await server.server.accounts.set_password(server.host.account("juliet@localhost").jid, "pencil")
    again = await signed_in(server, "juliet")
    again.send(resume(id, 0))
    assert reason(await again.receive()) == "item-not-found"


async def test_h_too_high_on_resumption(server: Harness) -> None:
    juliet = await server.login("juliet", presence=True)
    id = await enabled(juliet)
    juliet.cut()
    again = await signed_in(server, "juliet")
    again.send(resume(id, 7))
    assert await again.stream_error() == "undefined-condition"
    third = await signed_in(server, "juliet")
    third.send(resume(id, 0))
    assert name(await third.receive()) == "resumed"


async def test_a_client_that_forgot_what_it_acknowledged(server: Harness) -> None:
    """Going on would leave a gap."""
    juliet = await server.login("juliet", presence=True)
    id = await enabled(juliet)
    await juliet.iq(PING)
    juliet.send(ack(1))
    juliet.cut()
    again = await signed_in(server, "juliet")
    again.send(resume(id, 0))
    assert reason(await again.receive()) == "item-not-found"


async def test_an_error_for_an_iq_that_nobody_answers(server: Harness) -> None:
    """Section 4: what a session did not acknowledge is treated as sent to an unavailable resource."""
    romeo, juliet = await server.login("romeo"), await server.login("juliet", presence=True)
    await enabled(juliet, f"<enable xmlns='{NS}' resume='true' max='60'/>")
    juliet.cut()
    romeo.send(f"<iq type='get' id='lost' to='{juliet.jid}'><query xmlns='jabber:iq:version'/></iq>")
    await romeo.silence()
    await server.advance(65)
    errors = [each for each in await romeo.receive_all() if each.get("id") == "lost"]
    assert [condition(each) for each in errors] == ["service-unavailable"]


# ---- limits


@pytest.mark.server(more="limits: {queue: 50, ask_every: 10}")
async def test_a_client_that_acknowledges_slowly(server: Harness) -> None:
    """M03: 2,000 messages, 50 in memory, all delivered in order, none twice."""
    romeo = await server.login("romeo")
    juliet = await server.login("juliet", "balcony", presence=True)
    await enabled(juliet)
    channel, total, got = session(server, juliet).channel, 2000, 0
    for start in range(0, total, 100):
        romeo.send("".join(message("juliet", number) for number in range(start, start + 100)))
        await server.advance(1)  # no faster than one client may send
        assert len(channel.queue) <= 50 and not channel.unlogged
    found: list[str] = []
    for _ in range(total):
        new = bodies(await juliet.receive_all())
        if not new:
            break
        found += new
        got += len(new)
        juliet.send(ack(got))
        assert len(channel.queue) <= 50
    assert found == [str(number) for number in range(total)]
    assert channel.live


@pytest.mark.server(more="limits: {queue: 50, ask_every: 10}")
async def test_what_is_not_stored_is_bounded_too(server: Harness) -> None:
    """M03: presence and chat states to a client that never acknowledges."""
    romeo = await server.login("romeo", presence=True)
    juliet = await server.login("juliet", "balcony", presence=True)
    await enabled(juliet)
    channel = session(server, juliet).channel
    active = "<active xmlns='http://jabber.org/protocol/chatstates'/>"
    for _ in range(500):
        romeo.send(f"<message to='juliet@localhost' type='chat'>{active}</message>")
    await server.quiet()
    assert len(channel.queue) + len(channel.unlogged or ()) <= 100
    romeo.send(message("juliet", "last"))
    got = 0
    for _ in range(20):
        new = [each for each in await juliet.receive_all() if each.tag == "{jabber:client}message"]
        got += len(new)
        juliet.send(ack(got))
        if "last" in bodies(new):
            return
    raise AssertionError("the message did not come")


async def test_many_dropped_sessions_of_one_account(server: Harness) -> None:
    """M04: the oldest go first."""
    limit = server.server.limits.sessions
    for number in range(limit + 20):
        client = await server.login("romeo", f"r{number}")
        await enabled(client)
        client.cut()
        await server.advance(0.1)
    sessions = server.host.account("romeo@localhost").sessions
    assert len(sessions) == limit and "r0" not in sessions and f"r{limit + 19}" in sessions


async def test_an_oversized_stanza_does_not_come_again_and_again(server: Harness) -> None:
    """T21, X11: it is refused as a stanza, and counted, so a client that resumes does not send it for ever. What is far
    too large ends the stream."""
    juliet = await server.login("juliet", presence=True)
    romeo = await server.login("romeo")
    previous = await enabled(romeo)
    romeo.send(message("juliet", 1))
    huge = "<message to='juliet@localhost' id='huge'><body>{}</body></message>"
    romeo.send(huge.format("x" * 300_000))
    romeo.send(message("juliet", 2))
    error = next(each for each in await romeo.receive_all() if each.get("type") == "error")
    assert (error.get("id"), condition(error)) == ("huge", "policy-violation")
    assert error.find(".//{urn:xmpp:errors}stanza-too-big") is not None
    assert bodies(await juliet.receive_all()) == ["1", "2"]
    assert await h_of(romeo) == 3
    romeo.cut()
    romeo = await signed_in(server, "romeo")
    romeo.send(resume(previous, 0))
    assert (await romeo.receive()).get("h") == "3"
    await romeo.receive_all()
    romeo.send(huge.format("x" * 1_200_000))
    assert await romeo.stream_error() == "policy-violation"


async def test_counts_that_a_crash_left_go(server: Harness) -> None:
    """After a day, and that of a live session never."""
    plugin = server.host.plugins["stream_management"]
    romeo = await server.login("romeo")
    romeo.send(f"<enable xmlns='{NS}' resume='true'/>")
    id = str((await romeo.receive()).get("id"))
    long_ago = server.clock.now() - 90_000
    writes = [plugin.counts.put("romeo@localhost", each, Count(1, long_ago)) for each in ("left", id)]
    writes += [plugin.counts.put("nurse@localhost", "new", Count(1, server.clock.now() - 3600))]
    writes += [plugin.sent.put("nurse@localhost", "left", Sent(0, (), (), long_ago))]
    await server.storage.commit(writes)
    await plugin.sweep()
    assert (await plugin.counts.read_all("romeo@localhost")).keys() == {id}
    assert (await plugin.counts.read_all("nurse@localhost")).keys() == {"new"}
    assert not await plugin.sent.read_all("nurse@localhost")
    await server.storage.commit([plugin.counts.put("nurse@localhost", "left", Count(1, long_ago))])
    await server.advance(SWEEP + 1)
    assert (await plugin.counts.read_all("nurse@localhost")).keys() == {"new"}, "nobody has to ask for it"


@pytest.mark.in_memory
async def test_a_session_without_a_stored_stanza_leaves_nothing_to_delete(server: Harness) -> None:
    """Signing in, enabling and leaving costs no commit."""
    romeo = await server.login("romeo")
    await enabled(romeo)
    before = server.storage.counts.rows
    romeo.close()
    await romeo.receive_all()
    deletes = server.storage.counts.rows - before
    await server.advance(2)
    assert deletes == 0
    assert server.storage.counts.rows == before + 1, "when it was here last"


@pytest.mark.in_memory
async def test_a_session_whose_count_is_stored_leaves_none(server: Harness) -> None:
    plugin = server.host.plugins["stream_management"]
    romeo = await server.login("romeo")
    await enabled(romeo)
    await server.register("juliet")
    romeo.send(message("juliet", 1))
    await romeo.receive_all()
    assert await plugin.counts.read_all("romeo@localhost")
    romeo.close()
    await romeo.receive_all()
    assert not await plugin.counts.read_all("romeo@localhost")
