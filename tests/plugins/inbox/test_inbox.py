"""XEP-0430: the list of conversations, on a real server."""

from __future__ import annotations

from contextlib import suppress
from random import Random

import pytest
from lxml import etree

from plugins.inbox.model import Activity, ActivityKind, Conversation
from tests.harness import Client, Harness, condition
from xmppd.contracts.pubsub import NODE_CHANGED, Change, NodeChanged, Published
from xmppd.errors import StorageUnavailable
from xmppd.jid import JID
from xmppd.storage.api import DataError
from xmppd.storage.memory import MemoryBackend
from xmppd.storage.store import Store

NS = "{urn:xmpp:inbox:1}"
MAM = "{urn:xmpp:mam:2}"
MARKERS = "urn:xmpp:chat-markers:0"


async def inbox(client: Client, more: str = "", inside: str = "") -> tuple[list[etree._Element], etree._Element]:
    """The messages with an entry, and the <fin/>."""
    answer = await client.iq(f"<inbox xmlns='urn:xmpp:inbox:1' {more}>{inside}</inbox>")
    assert answer.get("type") == "result", etree.tostring(answer)
    found = [each for each in await client.receive_all() if each.find(f"{NS}entry") is not None]
    return found, answer[0]


async def talks(client: Client, more: str = "", inside: str = "") -> list[tuple[str, int]]:
    """(who, unread), the last conversation first."""
    found, _ = await inbox(client, more, inside)
    entries = [each.find(f"{NS}entry") for each in found]
    return [(str(each.get("jid")), int(str(each.get("unread")))) for each in entries if each is not None]


def say(client: Client, to: str, body: str, id: str = "") -> None:
    client.send(f"<message to='{to}' type='chat' id='{id or body}'><body>{body}</body></message>")


def rsm(inside: str) -> str:
    return f"<set xmlns='http://jabber.org/protocol/rsm'>{inside}</set>"


async def three(server: Harness) -> tuple[Client, Client, Client]:
    return await server.login("romeo", "a"), await server.login("juliet"), await server.login("nurse")


async def test_lists_conversations_with_the_last_message(server: Harness) -> None:
    romeo, juliet, nurse = await three(server)
    say(juliet, "romeo@localhost", "one")
    say(nurse, "romeo@localhost", "two")
    say(juliet, "romeo@localhost", "three")
    await server.quiet()
    found, fin = await inbox(romeo)
    entry, result = found[0].find(f"{NS}entry"), found[0].find(f"{MAM}result")
    assert entry is not None
    assert result is not None
    assert dict(entry.attrib) == {"jid": "juliet@localhost", "unread": "2", "id": str(result.get("id"))}
    assert result.findtext(".//{jabber:client}body") == "three"
    assert result.find(".//{urn:xmpp:delay}delay") is not None
    assert [each.find(f"{NS}entry").get("jid") for each in found] == ["juliet@localhost", "nurse@localhost"]  # type: ignore[union-attr]
    assert {name: fin.get(name) for name in ("total", "unread", "all-unread")} == {
        "total": "2",
        "unread": "2",
        "all-unread": "3",
    }
    archived = await romeo.iq("<query xmlns='urn:xmpp:mam:2'/>", "set")
    assert archived.findtext(".//{http://jabber.org/protocol/rsm}last") == entry.get("id")


async def test_the_other_side_has_it_too_and_nothing_unread(server: Harness) -> None:
    _, juliet, _ = await three(server)
    say(juliet, "romeo@localhost", "one")
    assert await talks(juliet) == [("romeo@localhost", 0)]


async def test_a_displayed_marker_reads_up_to_what_it_names(server: Harness) -> None:
    romeo, juliet, _ = await three(server)
    for body in ("one", "two", "three"):
        say(juliet, "romeo@localhost", body)
    await server.quiet()
    romeo.send(f"<message to='juliet@localhost' type='chat'><displayed xmlns='{MARKERS}' id='two'/></message>")
    assert await talks(romeo) == [("juliet@localhost", 1)]
    romeo.send(f"<message to='juliet@localhost' type='chat'><displayed xmlns='{MARKERS}' id='unknown'/></message>")
    assert await talks(romeo) == [("juliet@localhost", 1)]
    romeo.send(f"<message to='juliet@localhost' type='chat'><displayed xmlns='{MARKERS}' id='three'/></message>")
    assert await talks(romeo) == [("juliet@localhost", 0)]


async def test_a_marker_that_is_not_kept_counts_too(server: Harness) -> None:
    romeo, juliet, _ = await three(server)
    say(juliet, "romeo@localhost", "one")
    await server.quiet()
    hint = "<no-store xmlns='urn:xmpp:hints'/>"
    romeo.send(f"<message to='juliet@localhost' type='chat'><displayed xmlns='{MARKERS}' id='one'/>{hint}</message>")
    assert await talks(romeo) == [("juliet@localhost", 0)]


async def test_somebody_elses_marker_reads_nothing(server: Harness) -> None:
    """A contact says what *they* have read (T29: what others say of us does not count)."""
    romeo, juliet, nurse = await three(server)
    say(juliet, "romeo@localhost", "one")
    say(juliet, "romeo@localhost", "two")
    for other in (juliet, nurse):
        other.send(f"<message to='romeo@localhost' type='chat'><displayed xmlns='{MARKERS}' id='two'/></message>")
    await server.quiet()
    assert ("juliet@localhost", 2) in await talks(romeo)


async def test_an_answer_reads_the_conversation(server: Harness) -> None:
    romeo, juliet, nurse = await three(server)
    say(juliet, "romeo@localhost", "one")
    say(nurse, "romeo@localhost", "two")
    await server.quiet()
    say(romeo, "juliet@localhost", "yes")
    assert await talks(romeo) == [("juliet@localhost", 0), ("nurse@localhost", 1)]


async def test_receipts_and_typing_do_not_move_it(server: Harness) -> None:
    romeo, juliet, nurse = await three(server)
    say(juliet, "romeo@localhost", "one")
    await server.quiet()
    say(nurse, "romeo@localhost", "two")
    juliet.send("<message to='romeo@localhost'><received xmlns='urn:xmpp:receipts' id='x'/></message>")
    juliet.send(
        "<message to='romeo@localhost' type='chat'><paused xmlns='http://jabber.org/protocol/chatstates'/></message>"
    )
    await server.quiet()
    assert await talks(romeo) == [("nurse@localhost", 1), ("juliet@localhost", 1)]


async def test_notes_to_oneself_are_read(server: Harness) -> None:
    romeo = await server.login("romeo")
    say(romeo, "romeo@localhost", "milk")
    assert await talks(romeo) == [("romeo@localhost", 0)]


async def test_unread_only_and_without_messages(server: Harness) -> None:
    romeo, juliet, nurse = await three(server)
    say(juliet, "romeo@localhost", "one")
    say(romeo, "nurse@localhost", "two")
    await server.quiet()
    found, fin = await inbox(romeo, "unread-only='true' messages='false'")
    assert [len(each) for each in found] == [1]
    assert found[0][0].get("jid") == "juliet@localhost"
    assert fin.get("total") == "2"
    assert fin.findtext(".//{http://jabber.org/protocol/rsm}count") == "1"
    assert nurse is not None


async def test_pages(server: Harness) -> None:
    romeo = await server.login("romeo")
    for name in ("a", "b", "c", "d", "e"):
        say(await server.login(name), "romeo@localhost", name)
        await server.quiet()
    found, fin = await inbox(romeo, "", rsm("<max>2</max>"))
    assert [each[0].get("jid") for each in found] == ["e@localhost", "d@localhost"]
    last = fin.findtext(".//{http://jabber.org/protocol/rsm}last")
    # the conversation at the seam moves to the top: the next page goes on where the first one ended
    say(await server.login("d"), "romeo@localhost", "again")
    await server.quiet()
    assert await talks(romeo, "", rsm(f"<max>2</max><after>{last}</after>")) == [("c@localhost", 1), ("b@localhost", 1)]
    assert await talks(romeo, "", rsm("<max>1</max><before/>")) == [("a@localhost", 1)]
    found, fin = await inbox(romeo, "", rsm("<max>0</max>"))
    assert not found
    assert fin.findtext(".//{http://jabber.org/protocol/rsm}count") == "5"
    assert (
        condition(await romeo.iq(f"<inbox xmlns='urn:xmpp:inbox:1'>{rsm('<after>x</after>')}</inbox>"))
        == "item-not-found"
    )
    assert condition(await romeo.iq("<inbox xmlns='urn:xmpp:inbox:1' messages='perhaps'/>")) == "bad-request"


async def test_of_others_nothing_is_told(server: Harness) -> None:
    romeo, juliet, _ = await three(server)
    say(juliet, "romeo@localhost", "one")
    await server.quiet()
    answers = [
        await juliet.iq("<inbox xmlns='urn:xmpp:inbox:1'/>", to=to) for to in ("romeo@localhost", "nobody@localhost")
    ]
    assert {condition(each) for each in answers} == {"service-unavailable"}
    assert romeo is not None


async def test_what_is_not_archived_is_not_listed(server: Harness) -> None:
    romeo, juliet, _ = await three(server)
    hint = "<no-permanent-store xmlns='urn:xmpp:hints'/>"
    juliet.send(f"<message to='romeo@localhost' type='chat'><body>secret</body>{hint}</message>")
    await server.quiet()
    assert await talks(romeo) == []


@pytest.mark.in_memory
async def test_is_stored_once_a_second_in_one_commit(server: Harness) -> None:
    romeo, juliet, _ = await three(server)
    for number in range(20):
        say(juliet, "romeo@localhost", f"m{number}")
    await server.quiet()
    kept = server.storage.map("inbox", server.host.plugins["inbox"].counter.store.conversations.record)
    assert await kept.read_all("romeo@localhost") == {}
    await server.advance(1.5)
    assert (await kept.read_all("romeo@localhost"))["juliet@localhost"].unread == 20
    assert romeo is not None


async def crashed(first: Harness) -> Harness:
    """Another process over what the first one has on disk."""
    backend = first.backend
    assert isinstance(backend, MemoryBackend)
    return await Harness(store=Store(backend, first.clock), clock=first.clock).start()


@pytest.mark.parametrize("stored", [False, True], ids=["before", "after"])
async def test_a_crash_loses_nothing_and_counts_nothing_twice(server: Harness, stored: bool) -> None:
    romeo, juliet, nurse = await three(server)
    say(juliet, "romeo@localhost", "one")
    say(nurse, "romeo@localhost", "two")
    await server.quiet()
    await server.advance(20)  # stored
    say(juliet, "romeo@localhost", "three")
    await server.quiet()
    say(romeo, "nurse@localhost", "yes")
    await server.quiet()
    if stored:
        await server.advance(1.5)
    second = await crashed(server)
    again = await second.login("romeo")
    assert await talks(again) == [("nurse@localhost", 0), ("juliet@localhost", 2)]
    assert await second.host.plugins["inbox"].unread("romeo@localhost") == 2
    await second.stop()


async def test_an_archive_from_before_is_counted_once(server: Harness) -> None:
    """The plugin is switched on where people have talked before."""
    romeo, juliet, nurse = await three(server)
    for number in range(130):
        say(juliet, "romeo@localhost", f"m{number}")
    await server.quiet()
    romeo.send(f"<message to='juliet@localhost' type='chat'><displayed xmlns='{MARKERS}' id='m119'/></message>")
    say(nurse, "romeo@localhost", "two")
    await server.quiet()
    second = await crashed(server)
    again = await second.login("romeo")
    assert await talks(again) == [("nurse@localhost", 1), ("juliet@localhost", 10)]
    await second.stop()


async def test_only_what_was_there_before_is_read_from_the_log(server: Harness) -> None:
    _, juliet, _ = await three(server)
    counter = server.host.plugins["inbox"].counter
    read: list[object] = []
    page = counter.archive.log.page

    async def watched(*asked: object) -> object:
        found = await page(*asked)
        read.extend(found)
        return found

    counter.archive.log.page = watched
    for number in range(5):
        say(juliet, "romeo@localhost", f"m{number}")
        await server.advance(2)
        await server.quiet()
    await server.advance(2)
    assert counter.caught_up.get("romeo@localhost").unread == 5
    assert read == []
    second = await crashed(server)
    again = await second.login("romeo")
    say(await second.login("juliet"), "romeo@localhost", "more")
    await second.quiet()
    assert await talks(again) == [("juliet@localhost", 6)]
    await second.stop()


@pytest.mark.parametrize("cached", [1000, 3])
async def test_what_is_known_need_not_be_read_again(server: Harness, cached: int) -> None:
    """And it is what the store has, also when there is no room for all."""
    romeo, juliet, nurse = await three(server)
    counter = server.host.plugins["inbox"].counter
    counter.caught_up.most, counter.store.cache.accounts.size = cached, cached * 300
    asked: list[str] = []
    read_all = counter.store.conversations.read_all

    async def watched(owner: str) -> dict[str, Conversation]:
        asked.append(owner)
        return dict(await read_all(owner))

    counter.store.conversations.read_all = watched
    random = Random(cached)
    for step in range(60):
        one, other = random.sample((romeo, juliet, nurse), 2)
        if random.random() < 0.7:
            say(one, other.bare, f"m{step}")
        else:
            one.send(
                f"<message to='{other.bare}' type='chat'><displayed xmlns='{MARKERS}' id='m{step - 1}'/></message>"
            )
        await server.advance(random.choice((0.1, 1.5)))
        await talks(random.choice((romeo, juliet, nurse)))
    if cached == 1000:
        assert sorted(asked) == sorted(client.bare for client in (romeo, juliet, nurse))
    for client in (romeo, juliet, nurse):
        shown = await talks(client)
        await counter.store.flush()
        stored = await read_all(client.bare)
        cached_now = counter.store.cache.get_all(client.bare)
        assert cached_now is None or cached_now == stored
        listed = {peer: each for peer, each in stored.items() if each.last}
        assert dict(shown) == {peer: each.unread for peer, each in listed.items()}
        assert len(shown) == len(listed) == 2


async def test_the_store_is_away_and_comes_back(server: Harness) -> None:
    romeo, juliet, _ = await three(server)
    say(juliet, "romeo@localhost", "one")
    await server.quiet()
    server.backend.hold()
    await server.advance(1.2)
    say(juliet, "romeo@localhost", "two")
    server.backend.release()
    await server.quiet()
    assert await talks(romeo) == [("juliet@localhost", 2)]


@pytest.mark.server(plugins={"inbox": {"conversations": 10}})
async def test_the_oldest_conversations_go(server: Harness) -> None:
    """T40: bounded."""
    romeo = await server.login("romeo")
    for number in range(13):
        say(await server.login(f"p{number}"), "romeo@localhost", "hello")
        await server.quiet()
    assert [name for name, _ in await talks(romeo)] == [f"p{number}@localhost" for number in range(12, 2, -1)]
    assert await server.host.plugins["inbox"].unread("romeo@localhost") == 10


async def test_private_messages_of_a_room_are_conversations_of_their_own(server: Harness) -> None:
    romeo, juliet, _ = await three(server)
    room = "hall@conference.localhost"
    for client, nick in ((romeo, "R"), (juliet, "J")):
        client.send(f"<presence to='{room}/{nick}'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
        await server.quiet()
        await client.iq(
            "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>",
            "set",
            room,
        )
        await client.receive_all()
    juliet.send(f"<message to='{room}' type='groupchat'><body>to all</body></message>")
    mark = "<x xmlns='http://jabber.org/protocol/muc#user'/>"
    juliet.send(f"<message to='{room}/R' type='chat'><body>to you</body>{mark}</message>")
    await server.quiet()
    await romeo.receive_all()
    assert await talks(romeo) == [(f"{room}/J", 1)]
    romeo.send(f"<message to='{room}/J' type='chat'><body>and you</body></message>")
    assert await talks(romeo) == [(f"{room}/J", 0)]


async def test_a_deleted_account_leaves_nothing(server: Harness) -> None:
    romeo, juliet, _ = await three(server)
    say(juliet, "romeo@localhost", "one")
    await server.quiet()
    await server.server.accounts.delete(JID.parse("romeo@localhost"))
    await server.advance(3)
    counter = server.host.plugins["inbox"].counter
    assert await counter.store.conversations.read_all("romeo@localhost") == {}
    assert await counter.store.summaries.read("romeo@localhost", "") is None
    assert romeo is not None


async def test_displayed_synchronisation_reads_up_to_what_it_names(server: Harness) -> None:
    """XEP-0490: what a device publishes; ids of rooms and of what is to come read nothing."""
    romeo, juliet, _ = await three(server)
    for body in ("one", "two", "three"):
        say(juliet, "romeo@localhost", body)
    await server.quiet()
    found, _ = await inbox(romeo)
    newest = int(str(found[0][0].get("id")))

    def publish(id: int, by: str = "romeo@localhost") -> None:
        stanza_id = f"<stanza-id xmlns='urn:xmpp:sid:0' by='{by}' id='{id}'/>"
        payload = f"<displayed xmlns='urn:xmpp:mds:displayed:0'>{stanza_id}</displayed>".encode()
        me = JID.parse("romeo@localhost/a")
        item = Published("juliet@localhost", payload, me, 0)
        change = NodeChanged("romeo@localhost", "urn:xmpp:mds:displayed:0", Change.PUBLISH, (item,), me, None)
        server.host.tell(NODE_CHANGED, change)

    publish(newest, by="room@conference.localhost")
    assert await talks(romeo) == [("juliet@localhost", 3)]
    publish(newest - 1)
    left = dict(await talks(romeo))["juliet@localhost"]
    assert 0 < left < 3
    publish(10**18 - 1)
    assert await talks(romeo) == [("juliet@localhost", 0)]
    say(juliet, "romeo@localhost", "four")
    await server.quiet()
    assert await talks(romeo) == [("juliet@localhost", 1)]


@pytest.mark.in_memory
async def test_more_than_may_wait_is_counted_from_the_log(server: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is buffered of a conversation is bounded, and nothing is miscounted for it."""
    monkeypatch.setattr("plugins.inbox.write_behind.ACCOUNT_BYTES", 1000)
    romeo, juliet, nurse = await three(server)
    say(nurse, "romeo@localhost", "first")
    await server.quiet()
    assert await talks(romeo) == [("nurse@localhost", 1)]
    for number in range(23):
        say(juliet, "romeo@localhost", f"m{number}")
    await server.quiet()
    counter = server.host.plugins["inbox"].counter
    assert "romeo@localhost" in counter.incomplete
    assert 0 < counter.store.buffers["romeo@localhost"].size <= 1000
    assert await talks(romeo) == [("juliet@localhost", 23), ("nurse@localhost", 1)]
    say(juliet, "romeo@localhost", "one more")
    await server.quiet()
    assert await talks(romeo) == [("juliet@localhost", 24), ("nurse@localhost", 1)]


@pytest.mark.in_memory
async def test_a_flood_of_markers_stays_bounded(server: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Markers that no archive keeps: the last ones count."""
    monkeypatch.setattr("plugins.inbox.write_behind.ACCOUNT_BYTES", 2000)
    romeo, juliet, _ = await three(server)
    say(juliet, "romeo@localhost", "one")
    await server.quiet()
    assert await talks(romeo) == [("juliet@localhost", 1)]
    for name in [*("nothing" for _ in range(30)), "one"]:
        romeo.send(
            f"<message to='juliet@localhost' type='chat'><displayed xmlns='{MARKERS}' id='{name}'/>"
            "<no-store xmlns='urn:xmpp:hints'/></message>"
        )
    await server.quiet()
    counter = server.host.plugins["inbox"].counter
    assert 0 < counter.store.buffers["romeo@localhost"].size <= 2000
    assert await talks(romeo) == [("juliet@localhost", 0)]


@pytest.mark.in_memory
async def test_a_crash_between_counting_and_storing_takes_nothing(server: Harness) -> None:
    """The question is answered before its sums are on disk: the next process counts the same."""
    romeo, juliet, nurse = await three(server)
    for body in ("one", "two"):
        say(juliet, "romeo@localhost", body)
    await server.quiet()
    await server.advance(20)
    say(nurse, "romeo@localhost", "three")
    await server.quiet()
    say(romeo, "juliet@localhost", "yes")
    await server.quiet()
    commits = server.backend.commits
    expected = await talks(romeo)
    assert expected == [("juliet@localhost", 0), ("nurse@localhost", 1)]
    assert server.backend.commits == commits, "a question waits for no disk"
    kept = await server.host.plugins["inbox"].counter.store.conversations.read_all("romeo@localhost")
    assert kept["juliet@localhost"].unread == 2
    second = await crashed(server)
    again = await second.login("romeo")
    assert await talks(again) == expected
    await second.stop()


@pytest.mark.in_memory
async def test_a_question_while_the_store_is_away(server: Harness) -> None:
    """What was counted waits, is told, and is stored once, when the store is back. Nothing of it stays in memory."""
    romeo, juliet, nurse = await three(server)
    counter = server.host.plugins["inbox"].counter
    say(juliet, "romeo@localhost", "one")
    await server.quiet()
    await server.advance(2)
    say(juliet, "romeo@localhost", "two")
    await server.quiet()
    server.backend.hold()
    await server.advance(1.2)
    await server.advance(30)
    assert not server.storage.available
    assert counter.store.soon.reserved > 0
    assert (await counter.count(server.host.accounts["romeo@localhost"])).unread == 2
    server.backend.release()
    await server.advance(5)
    assert await talks(romeo) == [("juliet@localhost", 2)]
    await counter.store.flush()
    assert (await counter.store.conversations.read_all("romeo@localhost"))["juliet@localhost"].unread == 2
    assert (counter.store.soon.reserved, len(counter.store.soon), counter.store.buffers) == (0, 0, {})
    assert nurse is not None


@pytest.mark.in_memory
async def test_what_the_store_refuses_is_counted_anew(server: Harness) -> None:
    romeo, juliet, nurse = await three(server)
    counter = server.host.plugins["inbox"].counter
    for body in ("one", "two"):
        say(juliet, "romeo@localhost", body)
    await server.quiet()
    await server.advance(20)
    await counter.store.flush()
    say(juliet, "romeo@localhost", "three")
    await server.quiet()
    await counter.count(server.host.accounts["juliet@localhost"])
    for _ in range(3):  # the batch, then each of the two alone
        server.backend.fail(DataError("poison"))
    await server.advance(5)
    assert (counter.store.soon.reserved, len(counter.store.soon), counter.store.buffers) == (0, 0, {})
    assert (await counter.store.conversations.read_all("romeo@localhost"))["juliet@localhost"].unread == 2
    say(nurse, "romeo@localhost", "four")
    await server.quiet()
    assert await talks(romeo) == [("nurse@localhost", 1), ("juliet@localhost", 3)]
    await counter.store.flush()
    assert (await counter.store.summaries.read("romeo@localhost", "")).unread == 4


async def test_what_waits_of_all_accounts_is_bounded(server: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is miscounted for it."""
    romeo, juliet, nurse = await three(server)
    counter = server.host.plugins["inbox"].counter
    say(juliet, "romeo@localhost", "first")
    await server.quiet()
    await counter.store.flush()
    monkeypatch.setattr(counter.store.soon, "_limit", 3000)
    for number in range(30):
        say(juliet, "romeo@localhost", f"j{number}")
        say(nurse, "romeo@localhost", f"n{number}")
        await server.quiet()
        assert counter.store.soon.reserved <= 3000
    assert dict(await talks(romeo)) == {"juliet@localhost": 31, "nurse@localhost": 30}
    await counter.store.flush()
    assert counter.store.soon.reserved == 0


@pytest.mark.in_memory
async def test_a_name_that_is_used_again_begins_with_nothing(server: Harness) -> None:
    """What was counted for the former account, and was on its way to the store, is not the new one's."""
    romeo, juliet, _ = await three(server)
    counter = server.host.plugins["inbox"].counter
    say(juliet, "romeo@localhost", "one")
    await server.quiet()
    former = server.host.accounts["romeo@localhost"]
    await counter.count(former)
    await server.server.accounts.delete(JID.parse("romeo@localhost"))
    counter.record(former, "juliet@localhost", Activity(ActivityKind.RECEIVED, 10**15, "late"))
    await counter.store.flush()
    assert "romeo@localhost" not in counter.store.buffers
    assert counter.store.cache.get_all("romeo@localhost") is None
    assert counter.store.soon.reserved == 0
    assert await counter.store.conversations.read_all("romeo@localhost") == {}
    assert romeo is not None


@pytest.mark.parametrize("seed", range(6))
async def test_whenever_it_crashes_the_next_process_counts_the_same(
    server: Harness, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Counted, on its way, refused, or forgotten for want of room."""
    monkeypatch.setattr("plugins.inbox.write_behind.ACCOUNT_BYTES", 1800)
    random = Random(seed)
    clients = await three(server)
    for step in range(60):
        one, other = random.sample(clients, 2)
        if random.random() < 0.7:
            say(one, other.bare, f"m{step}")
        else:
            one.send(
                f"<message to='{other.bare}' type='chat'><displayed xmlns='{MARKERS}' id='m{step - 1}'/></message>"
            )
        await server.quiet()
        await server.advance(random.choice((0, 0.1, 0.1, 1.5, 12)))
        what = random.random()
        if what < 0.2:
            await talks(random.choice(clients))
        elif what < 0.3:
            counter = server.host.plugins["inbox"].counter
            await counter.count(server.host.accounts[random.choice(clients).bare])
            if not server.storage.busy:
                server.backend.fail(DataError("poison"), times=len(counter.store.soon) + 1)
                with suppress(StorageUnavailable):
                    await counter.store.flush()
                server.backend._failures.clear()
    expected = {client.bare: dict(await talks(client)) for client in clients}
    second = await crashed(server)
    for name in ("romeo", "juliet", "nurse"):
        assert dict(await talks(await second.login(name))) == expected[f"{name}@localhost"]
    told = {}
    for bare in expected:
        told[bare] = await second.host.plugins["inbox"].unread(bare)
    assert told == {bare: sum(counts.values()) for bare, counts in expected.items()}
    await second.stop()
