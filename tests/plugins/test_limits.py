"""What may wait for who is away (T39, Q01), how much an archive keeps, and the other quotas of an account (T40)."""

from __future__ import annotations

import pytest

from tests.harness import Client, Harness, condition
from xmppd.contracts.archive import LOG
from xmppd.storage.api import DataError, Range

MAM = "<query xmlns='urn:xmpp:mam:2'/>"
FEW = {"limits": {"waiting_messages": 5}}


def message(text: str, to: str = "juliet@localhost", extra: str = "") -> str:
    return f"<message to='{to}' type='chat' id='{text}'><body>{text}</body>{extra}</message>"


async def refused(client: Client) -> list[str]:
    """The ids of the messages that came back with service-unavailable."""
    found = await client.receive_all()
    assert {condition(each) for each in found} <= {"service-unavailable"}
    return [str(each.get("id")) for each in found]


async def say(server: Harness, client: Client, *texts: str, extra: str = "") -> None:
    """One after the other: the count follows the releases."""
    for text in texts:
        client.send(message(text, extra=extra))
        await server.quiet()


async def bodies(client: Client) -> list[str | None]:
    return [each.findtext("{jabber:client}body") for each in await client.receive_all()]


async def away(server: Harness) -> Client:
    await server.register("juliet")
    return await server.login("romeo", presence=True)


@pytest.mark.one_home("the sender's archive has what the recipient's home refuses later")
@pytest.mark.server(plugins=FEW)
async def test_a_full_mailbox_refuses(server: Harness) -> None:
    """T39: the sender is told, and what is refused is in no archive."""
    romeo = await away(server)
    await say(server, romeo, *"abcdefg")
    assert await refused(romeo) == ["f", "g"]
    for owner in ("romeo@localhost", "juliet@localhost"):
        assert await server.storage.log(LOG).count(owner, Range()) == 5
    juliet = await server.login("juliet", presence=False)
    juliet.send("<presence/>")
    assert [text for text in await bodies(juliet) if text] == list("abcde")


@pytest.mark.server(plugins=FEW)
@pytest.mark.parametrize("held", [False, True], ids=["at once", "while the disk is slow"])
async def test_a_burst_does_not_overrun_it(server: Harness, held: bool) -> None:
    """All are decided before one is stored."""
    romeo, mercutio = await away(server), await server.login("mercutio")
    if held:
        server.backend.hold()
    for number in range(4):
        romeo.send("".join(message(f"r{number}{each}") for each in "abcd"))
        mercutio.send(message(f"m{number}"))
    await server.quiet()
    server.backend.release()
    await server.quiet()
    assert await server.storage.log(LOG).count("juliet@localhost", Range()) == 5
    told = [*await refused(romeo), *await refused(mercutio)]
    assert len(told) == 15


@pytest.mark.server(plugins=FEW)
async def test_what_the_store_refuses_takes_no_place(server: Harness) -> None:
    romeo = await away(server)
    server.backend.hold()
    server.backend.fail(DataError("no"), times=20)
    romeo.send("".join(map(message, "abcde")))
    await server.quiet()
    server.backend.release()
    await romeo.receive_all()
    server.backend._failures.clear()
    romeo.send("".join(map(message, "fghijklm")))
    await server.quiet()
    assert await refused(romeo) == ["k", "l", "m"]


@pytest.mark.server(plugins={"limits": {"waiting_messages": 5}})
async def test_a_burst_after_a_visit_counts_what_was_left(server: Harness) -> None:
    romeo = await away(server)
    await say(server, romeo, *"abc")
    juliet = await server.login("juliet")
    juliet.close()
    await server.quiet()
    romeo.send("".join(map(message, "defghijklm")))
    await server.quiet()
    assert await refused(romeo) == list("fghijklm")


@pytest.mark.server(plugins=FEW)
async def test_many_senders_share_it_and_others_are_unaffected(server: Harness) -> None:
    await away(server)
    told = []
    for number in range(8):
        sender = await server.login(f"user{number}")
        await say(server, sender, "x")
        told.append(len(await refused(sender)))
        sender.send(message("y", to="nurse@localhost"))
    assert told == [0, 0, 0, 0, 0, 1, 1, 1]
    romeo = await server.login("romeo")
    await server.register("benvolio")
    romeo.send(message("z", to="benvolio@localhost"))
    await romeo.silence()


@pytest.mark.server(plugins=FEW)
async def test_a_visit_makes_room(server: Harness) -> None:
    romeo = await away(server)
    await say(server, romeo, *"abcdef")
    assert await refused(romeo) == ["f"]
    juliet = await server.login("juliet", presence=True)
    await say(server, romeo, *"ghijklm")
    assert await refused(romeo) == []
    juliet.close()
    await server.quiet()
    await say(server, romeo, *"nopqrs")
    assert await refused(romeo) == ["s"]


@pytest.mark.server(plugins=FEW)
async def test_removing_some_without_presence_makes_room(server: Harness) -> None:
    """XEP-0013 section 2.7: purge."""
    romeo = await away(server)
    await say(server, romeo, *"abcde")
    juliet = await server.login("juliet")
    await juliet.iq("<offline xmlns='http://jabber.org/protocol/offline'><purge/></offline>", "set")
    juliet.close()
    await server.quiet()
    await say(server, romeo, *"fghijk")
    assert await refused(romeo) == ["k"]


@pytest.mark.server(plugins=FEW)
async def test_the_count_is_read_after_a_restart(server: Harness) -> None:
    romeo = await away(server)
    await say(server, romeo, *"abcd")
    server.host.plugins["limits"].counts.clear()
    server.host.forget("juliet@localhost")
    romeo.send("".join(map(message, "efg")))
    assert await refused(romeo) == ["f", "g"]


@pytest.mark.server(plugins=FEW)
async def test_what_counts(server: Harness) -> None:
    """Not one's own messages, not what nobody keeps, not what is addressed to a device that is there."""
    romeo = await away(server)
    await say(server, romeo, *"abcde")
    own = await server.login("juliet", "mute")
    own.send("<presence><priority>-1</priority></presence>")
    await own.receive_all()
    await say(server, own, "note")
    assert [text for text in await bodies(own) if text] == []
    romeo.send("<message to='juliet@localhost' type='headline'><body>news</body></message>")
    romeo.send("<message to='juliet@localhost' type='error' id='e'><body>x</body></message>")
    romeo.send(message("direct", to=own.jid))
    assert await refused(romeo) == []
    assert await bodies(own) == ["direct"]
    await say(server, romeo, "f", extra="<no-permanent-store xmlns='urn:xmpp:hints'/>")
    assert await refused(romeo) == ["f"]


@pytest.mark.server(plugins={"limits": {"waiting_messages": 0, "waiting_size": "1 KiB"}})
async def test_bytes_count_too(server: Harness) -> None:
    romeo = await away(server)
    await say(server, romeo, "a" * 300, "b" * 300, "c")
    assert await refused(romeo) == ["c"]


@pytest.mark.server(plugins={"limits": {"waiting_messages": 0, "waiting_size": 0}})
async def test_no_limit(server: Harness) -> None:
    romeo = await away(server)
    await say(server, romeo, *map(str, range(30)))
    assert await refused(romeo) == []


@pytest.mark.server(plugins=FEW)
async def test_a_hibernated_session_is_there(server: Harness) -> None:
    """What waits for a client that may resume is no mailbox of who is away."""
    romeo, juliet = await away(server), await server.login("juliet", presence=True)
    juliet.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
    await juliet.receive()
    juliet.cut()
    await say(server, romeo, *"abcdefgh")
    assert await refused(romeo) == []


async def test_the_default_is_a_thousand(server: Harness) -> None:
    """Q01, with the flood in one piece: what is under way at once may pass, no more than the lane holds."""
    romeo = await away(server)
    for number in range(1600):
        romeo.send(message(str(number)))
        if number % 100 == 99:
            await server.advance(1)
    await server.advance(10)
    back = await refused(romeo)
    assert 500 <= len(back) <= 600
    assert await server.storage.log(LOG).count("juliet@localhost", Range()) == 1600 - len(back)


# ---- the archive


@pytest.mark.server(plugins={"limits": {"archive_messages": 10}})
async def test_the_oldest_of_the_archive_go(server: Harness) -> None:
    romeo, juliet = await away(server), await server.login("juliet", presence=True)
    await say(server, romeo, *map(str, range(30)))
    await juliet.receive_all()
    await server.advance(3700)
    for client in (romeo, juliet):
        await client.receive_all()
    log = server.storage.log(LOG)
    for owner in ("romeo@localhost", "juliet@localhost"):
        kept = [entry.body for entry in await log.page(owner, Range(), 100)]
        assert [body.count(b">%d<" % number) for body, number in zip(kept, range(20, 30), strict=True)] == [1] * 10


@pytest.mark.server(plugins={"limits": {"archive_messages": 10}})
async def test_what_waits_is_kept(server: Harness) -> None:
    romeo = await away(server)
    await say(server, romeo, *map(str, range(30)))
    await server.advance(3700)
    log = server.storage.log(LOG)
    assert await log.count("romeo@localhost", Range()) == 10
    assert await log.count("juliet@localhost", Range()) == 30
    juliet = await server.login("juliet")
    juliet.send("<presence/>")
    assert [text for text in await bodies(juliet) if text] == [str(number) for number in range(30)]


# ---- the quotas of other plugins


@pytest.mark.server(
    plugins={
        "roster": {"contacts": 1},
        "vcard": {"size": "1 KiB"},
        "private_storage": {"size": "1 KiB", "elements": 1},
        "blocking": {"limit": 1},
    }
)
@pytest.mark.parametrize(
    ("fits", "too_much", "error"),
    [
        (
            "<query xmlns='jabber:iq:roster'><item jid='a@b'/></query>",
            "<query xmlns='jabber:iq:roster'><item jid='c@b'/></query>",
            "resource-constraint",
        ),
        (
            "<vCard xmlns='vcard-temp'><FN>R</FN></vCard>",
            f"<vCard xmlns='vcard-temp'><FN>{'R' * 1100}</FN></vCard>",
            "not-acceptable",
        ),
        (
            "<query xmlns='jabber:iq:private'><a xmlns='urn:a'/></query>",
            f"<query xmlns='jabber:iq:private'><a xmlns='urn:a'>{'a' * 1100}</a></query>",
            "not-acceptable",
        ),
        (
            "<query xmlns='jabber:iq:private'><a xmlns='urn:a'/></query>",
            "<query xmlns='jabber:iq:private'><b xmlns='urn:b'/></query>",
            "resource-constraint",
        ),
        (
            "<block xmlns='urn:xmpp:blocking'><item jid='a@b'/></block>",
            "<block xmlns='urn:xmpp:blocking'><item jid='c@b'/></block>",
            "resource-constraint",
        ),
    ],
)
async def test_quotas(server: Harness, fits: str, too_much: str, error: str) -> None:
    """T40: what is there stays as it was."""
    romeo = await server.login("romeo")
    assert (await romeo.iq(fits, "set")).get("type") == "result"
    await romeo.receive_all()
    assert condition(await romeo.iq(too_much, "set")) == error
    await romeo.silence()
    assert (await romeo.iq(fits, "set")).get("type") == "result"
