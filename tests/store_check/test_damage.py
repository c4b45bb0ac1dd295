"""`xmppd store check` finds each kind of damage, says whose and where it is, and finds nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.harness import FakeClock, Harness
from tests.harness.store_check import findings, problems
from tests.plugins.muc.people import ROOM
from tests.store_check.busy import busy, options
from xmppd.clock import microseconds
from xmppd.storage.api import Entry, LogAppend, LogDelete, LogReplace, MapDelete, MapPut, Range, Send, Write
from xmppd.storage.memory import MemoryBackend
from xmppd.storage.store import Store

ROMEO, JULIET, NURSE, NOBODY = (f"{name}@localhost" for name in ("romeo", "juliet", "nurse", "nobody"))
DAY = 86_400_000_000
SERVICE = {"pubsub.localhost": {"type": "pubsub"}}


_busy: list[Copy] = []


@dataclass
class Copy:
    """A store, and what else the check needs of a harness."""

    config: Any
    clock: FakeClock
    backend: MemoryBackend


@pytest.fixture
async def server(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A store of its own of a busy server, which was so once for all tests."""
    if not _busy:
        harness = Harness(options(tmp_path_factory.mktemp("files")), hosts=SERVICE)
        await harness.start()
        await busy(harness)
        _busy.append(Copy(harness.config, harness.clock, harness.backend.survivor()))
        await harness.stop()
    made = _busy[0]
    return Copy(made.config, made.clock, made.backend.survivor())


class Stored:
    """What is in the store, as builtin types."""

    def __init__(self, server: Copy) -> None:
        self.server = server
        self.now = microseconds(server.clock)

    async def change(self, map: str, owner: str, key: str = "", **values: Any) -> MapPut:
        """A record with other values."""
        record = await self.server.backend.read(map, owner, key)
        assert record is not None, f"there is no {map} of {owner}"
        unknown = values.keys() - record.keys()
        assert not unknown, unknown
        return MapPut(map, owner, key, {**record, **values})

    async def key(self, map: str, owner: str) -> str:
        return next(row.key for row in await self.server.backend.load(owner, (map,)))

    async def entry(self, owner: str, text: str, log: str = "archive") -> Entry:
        """The first one whose body holds that text."""
        for entry in await self.server.backend.page(log, owner, Range(), 1000, False):
            if text.encode() in entry.body:
                return entry
        raise AssertionError(f"{owner} has no entry with {text}")

    async def with_entry(self, owner: str, text: str, log: str = "archive", **values: Any) -> list[Write]:
        """Writes that put an entry in the place of another one, with other values."""
        entry = await self.entry(owner, text, log)
        fields = {name: getattr(entry, name) for name in entry.__struct_fields__}
        return [LogDelete(log, owner, (entry.id,)), LogAppend(log, owner, Entry(**{**fields, **values}))]


Writes = Callable[[Stored], Awaitable["list[Write] | Write"]]


@dataclass(frozen=True)
class Damage:
    """`expected`: a part of what is told, by the begin of its line."""

    name: str
    writes: Writes
    expected: tuple[tuple[str, str], ...]


DAMAGES: list[Damage] = []


def damage(*expected: tuple[str, str]) -> Callable[[Writes], Writes]:
    def note(writes: Writes) -> Writes:
        DAMAGES.append(Damage(writes.__name__, writes, expected))
        return writes

    return note


# ---- of every kind of record


@damage((f"{NOBODY}: vcard", "its owner is not"))
async def an_owner_that_is_not_there(stored: Stored) -> Write:
    return MapPut("vcard", NOBODY, "", {"xml": "<vCard xmlns='vcard-temp'/>"})


@damage((f"{NOBODY}: fast-tokens", "its owner is not"))
async def tokens_without_an_account(stored: Stored) -> Write:
    return MapPut("fast-tokens", NOBODY, "phone", {"tokens": []})


@damage((f"{NOBODY}: session", "its owner is not"))
async def a_session_without_an_account(stored: Stored) -> Write:
    return MapPut("session", NOBODY, "phone", SNAPSHOT)


@damage(("gone@conference.localhost: room_member", "its owner is not"))
async def a_member_of_a_room_that_is_not_there(stored: Stored) -> Write:
    return MapPut("room_member", "gone@conference.localhost", ROMEO, {"affiliation": "owner"})


@damage((f"{JULIET}: blocklist/tybalt@localhost", "cannot be read: Object missing required field `at`"))
async def a_record_of_another_shape(stored: Stored) -> Write:
    return MapPut("blocklist", JULIET, "tybalt@localhost", {"when": 1})


@damage((f"{ROMEO}: account/second", "another one"))
async def two_records_of_an_account(stored: Stored) -> Write:
    return MapPut("account", ROMEO, "second", await stored.server.backend.read("account", ROMEO, ""))


# ---- delivery


@damage((f"{JULIET}: cursor", "before its position"))
async def a_cursor_that_goes_back(stored: Stored) -> Write:
    entry = await stored.entry(JULIET, "m1")
    return await stored.change("cursor", JULIET, settled=[entry.id])


@damage((f"{JULIET}: cursor", "of the future"))
async def a_cursor_of_the_future(stored: Stored) -> Write:
    return await stored.change("cursor", JULIET, position=stored.now + 3 * DAY)


@damage((f"{JULIET}: cursor", "not in order"))
async def a_cursor_out_of_order(stored: Stored) -> Write:
    first, second = await stored.entry(JULIET, "m1"), await stored.entry(JULIET, "m2")
    return await stored.change("cursor", JULIET, position=1, settled=[second.id, first.id])


@damage((f"{JULIET}: cursor", "1 entries from"))
async def a_range_with_more_in_it(stored: Stored) -> Write:
    first, last = await stored.entry(JULIET, "m0"), await stored.entry(JULIET, "m2")
    return await stored.change("cursor", JULIET, position=1, settled=[], ranges=[[first.id, last.id, 1]])


@damage((f"{JULIET}: cursor", "alone and in a range"))
async def an_entry_acknowledged_twice(stored: Stored) -> Write:
    first, last = await stored.entry(JULIET, "m0"), await stored.entry(JULIET, "m2")
    return await stored.change("cursor", JULIET, position=1, settled=[last.id], ranges=[[first.id, last.id, 3]])


@damage((f"{JULIET}: cursor", "holds nothing"))
async def an_empty_range(stored: Stored) -> Write:
    return await stored.change("cursor", JULIET, position=1, settled=[], ranges=[[3, 2, 1]])


@damage((f"{NURSE}: archive#", "to be deleted when a device had acknowledged it"))
async def a_transient_entry_that_was_left(stored: Stored) -> Write:
    entry = await stored.entry(NURSE, "hidden")
    return MapPut("cursor", NURSE, "", {"position": entry.id})


SNAPSHOT = {
    "until": 0.0, "resumable": 60.0, "received": 1, "priority": 0, "presence": "<presence/>",
    "channel": {"acknowledged": 0}, "values": {},
}  # fmt: skip


@damage((f"{ROMEO}: session/phone", "its presence is none"))
async def a_session_with_a_presence_that_is_none(stored: Stored) -> Write:
    return MapPut("session", ROMEO, "phone", {**SNAPSHOT, "presence": "<message/>"})


@damage((f"{ROMEO}: session/phone", "without a log id"))
async def a_session_whose_queue_does_not_fit(stored: Stored) -> Write:
    channel = {"acknowledged": 0, "queue": ["<presence/>"], "stamps": []}
    return MapPut("session", ROMEO, "phone", {**SNAPSHOT, "channel": channel})


@damage((f"{ROMEO}: session/phone", "no stanza"))
async def a_session_for_which_garbage_waits(stored: Stored) -> Write:
    channel = {"acknowledged": 0, "queue": ["<presence"], "stamps": [0]}
    return MapPut("session", ROMEO, "phone", {**SNAPSHOT, "channel": channel})


@damage((f"{ROMEO}: session/phone", "its state 'roster' cannot be read"))
async def a_session_with_a_state_that_is_none(stored: Stored) -> Write:
    return MapPut("session", ROMEO, "phone", {**SNAPSHOT, "values": {"roster": 5}})


# ---- archive


@damage((f"{JULIET}: archive#", "no stanza"))
async def an_entry_that_is_cut_off(stored: Stored) -> Write:
    entry = await stored.entry(JULIET, "m0")
    return LogReplace("archive", JULIET, Entry(entry.id, "", "", entry.flags, entry.body[:-3]))


@damage((f"{JULIET}: archive#", "no message that is stored"))
async def an_entry_of_a_type_that_is_not_stored(stored: Stored) -> Write:
    entry = await stored.entry(JULIET, "m0")
    body = entry.body.replace(b"type='chat'", b"type='headline'")
    return LogReplace("archive", JULIET, Entry(entry.id, "", "", entry.flags, body))


@damage((f"{JULIET}: archive#", f"listed as from {NURSE}, and is from {ROMEO}/orchard"))
async def an_entry_under_another_peer(stored: Stored) -> list[Write]:
    return await stored.with_entry(JULIET, ">m0<", peer=NURSE, resource="")


@damage((f"{ROMEO}: archive#", f"listed as to {NURSE}"))
async def a_sent_entry_under_another_peer(stored: Stored) -> list[Write]:
    return await stored.with_entry(ROMEO, ">m0<", peer=NURSE)


@damage((f"{JULIET}: archive#", "flags, 2, say neither"), (f"{JULIET}: archive#", "listed as to"),
        (f"{JULIET}: archive#", "it is from somebody else"))  # fmt: skip
async def an_entry_with_other_flags(stored: Stored) -> Write:
    entry = await stored.entry(JULIET, ">m0<")
    return LogReplace("archive", JULIET, Entry(entry.id, "", "", 2, entry.body))


@damage((f"{NURSE}: archive#", "to somebody else"))
async def an_entry_of_somebody_else(stored: Stored) -> Write:
    entry = await stored.entry(JULIET, ">m0<")
    return LogAppend("archive", NURSE, Entry(stored.now, entry.peer, entry.resource, 3, entry.body))


@damage((f"{NURSE}: archive#", "from the future"))
async def an_entry_of_the_future(stored: Stored) -> list[Write]:
    return await stored.with_entry(NURSE, "hidden", id=stored.now + 3 * DAY)


@damage((f"{ROMEO}: archive-preferences", "the default is none"))
async def preferences_that_are_none(stored: Stored) -> Write:
    return await stored.change("archive-preferences", ROMEO, default="perhaps")


# ---- sendings


@damage((f"{ROMEO}: sending 0:", "no stanza"))
async def a_sending_that_is_cut_off(stored: Stored) -> Write:
    return Send(ROMEO, JULIET, b"<message><body>cut o")


@damage((f"{ROMEO}: sending 0:", "its recipient, 'juliet@localhost/balcony', is no address of an owner"))
async def a_sending_to_a_session(stored: Stored) -> Write:
    return Send(ROMEO, f"{JULIET}/balcony", b"<message/>")


@damage(("@localhost: sending 0:", "its sender, '@localhost', is no address"))
async def a_sending_from_nobody(stored: Stored) -> Write:
    return Send("@localhost", JULIET, b"<message/>")


# ---- inbox


@damage((f"{NURSE}: inbox/{ROMEO}", "1 are unread, and 2 messages came"), (f"{NURSE}: inbox-summary", "says 2 unread"))
async def fewer_unread_than_there_are(stored: Stored) -> Write:
    return await stored.change("inbox", NURSE, ROMEO, unread=1)


@damage((f"{JULIET}: inbox/{ROMEO}", "9 are unread"), (f"{JULIET}: inbox-summary", "the conversations have 9"))
async def more_unread_than_there_are(stored: Stored) -> Write:
    return await stored.change("inbox", JULIET, ROMEO, unread=9)


@damage((f"{JULIET}: inbox-summary", "it says 7 unread"))
async def a_sum_that_is_wrong(stored: Stored) -> Write:
    return await stored.change("inbox-summary", JULIET, unread=7)


@damage((f"{JULIET}: inbox-summary", "it says 5 conversations"))
async def a_number_of_conversations_that_is_wrong(stored: Stored) -> Write:
    return await stored.change("inbox-summary", JULIET, conversations=5)


@damage((f"{ROMEO}: inbox/{NURSE}", "there are messages, and no conversation"),
        (f"{ROMEO}: inbox-summary", "conversations"))  # fmt: skip
async def a_conversation_that_is_missing(stored: Stored) -> list[Write]:
    return [MapDelete("inbox", ROMEO, NURSE)]


@damage((f"{NURSE}: inbox/{ROMEO}", "is not in the archive"))
async def a_last_message_that_is_nowhere(stored: Stored) -> list[Write]:
    last = await stored.entry(NURSE, "w2")
    return [await stored.change("inbox", NURSE, ROMEO, last=last.id + 1, newest=last.id + 1)]


@damage((f"{JULIET}: inbox/{ROMEO}", "read beyond its end"), (f"{JULIET}: inbox/{ROMEO}", "and 0 messages came"))
async def a_conversation_read_beyond_its_end(stored: Stored) -> Write:
    return await stored.change("inbox", JULIET, ROMEO, read=stored.now)


@damage((f"{JULIET}: inbox-summary", "position is in the future"))
async def a_position_of_the_future(stored: Stored) -> Write:
    return await stored.change("inbox-summary", JULIET, position=stored.now + 3 * DAY)


# ---- contact lists


@damage((f"{ROMEO}: roster/{JULIET}", "does not know of it"))
async def a_subscription_that_one_side_knows(stored: Stored) -> Write:
    return await stored.change("roster", JULIET, ROMEO, subscription="from")


@damage((f"{ROMEO}: roster/{JULIET}", "no subscription 'friend'"),
        (f"{JULIET}: roster/{ROMEO}", "does not know of it"))  # fmt: skip
async def a_subscription_that_is_none(stored: Stored) -> Write:
    return await stored.change("roster", ROMEO, JULIET, subscription="friend")


@damage((f"{ROMEO}: roster/{JULIET}", "asks for what it has"))
async def a_request_for_what_is_there(stored: Stored) -> Write:
    return await stored.change("roster", ROMEO, JULIET, ask=True)


@damage((f"{ROMEO}: roster/{NOBODY}", "not there"))
async def a_subscription_with_nobody(stored: Stored) -> Write:
    return MapPut("roster", ROMEO, NOBODY, {"subscription": "both"})


@damage((f"{ROMEO}: roster/@", "no address"))
async def a_contact_without_an_address(stored: Stored) -> Write:
    return MapPut("roster", ROMEO, "@", {})


# ---- rooms


@damage(("conference.localhost: room_directory/gone", "there is no such room"))
async def a_room_that_is_listed_only(stored: Stored) -> Write:
    record = {"name": "", "public": True, "persistent": True, "creator": ROMEO}
    return MapPut("room_directory", "conference.localhost", "gone", record)


@damage((f"{ROOM}: room", "not in the directory"))
async def a_room_that_is_not_listed(stored: Stored) -> Write:
    return MapDelete("room_directory", "conference.localhost", "tavern")


@damage((f"{ROOM}: room", f"{NURSE} has made it"))
async def a_room_of_two_creators(stored: Stored) -> Write:
    return await stored.change("room_directory", "conference.localhost", "tavern", creator=NURSE)


@damage((f"{ROOM}: room", "cannot be 'yes'"))
async def a_room_with_an_option_that_is_none(stored: Stored) -> Write:
    record = await stored.server.backend.read("room", ROOM, "")
    changed = {**record["options"], "muc#roomconfig_moderatedroom": "yes"}
    return await stored.change("room", ROOM, options=changed)


@damage((f"{ROOM}: room", "cannot be opened"))
async def a_room_with_a_secret_that_is_none(stored: Stored) -> Write:
    return await stored.change("room", ROOM, secret="zz")


@damage((f"{ROOM}: room", "subject is no message"))
async def a_room_with_a_subject_that_is_none(stored: Stored) -> Write:
    return await stored.change("room", ROOM, subject="Verona")


@damage((f"{ROOM}: room_member/{JULIET}", "no affiliation 'friend'"))
async def an_affiliation_that_is_none(stored: Stored) -> Write:
    return await stored.change("room_member", ROOM, JULIET, affiliation="friend")


@damage((f"{ROOM}: room_member/{NURSE}", "reserved for juliet@localhost, too"))
async def a_nick_of_two(stored: Stored) -> list[Write]:
    record = {"affiliation": "member", "nick": "Capulet"}
    return [MapPut("room_member", ROOM, JULIET, record), MapPut("room_member", ROOM, NURSE, record)]


@damage((f"{ROOM}: room_seat/{ROMEO}/orchard", "cannot be brought back"))
async def an_occupant_that_cannot_come_back(stored: Stored) -> Write:
    record = {"nick": "romeo", "role": 7, "presence": "<presence/>"}
    return MapPut("room_seat", ROOM, f"{ROMEO}/orchard", record)


@damage((f"{ROOM}: archive#", "and is from"))
async def what_a_room_says_under_another_nick(stored: Stored) -> list[Write]:
    return await stored.with_entry(ROOM, ">hello<", resource="romeo")


@damage((f"{ROOM}: archive#", "no message of a room"))
async def a_room_that_holds_something_else(stored: Stored) -> Write:
    entry = await stored.entry(ROOM, ">hello<")
    body = entry.body.replace(b"type='groupchat'", b"type='chat'")
    return LogReplace("archive", ROOM, Entry(entry.id, "", "", entry.flags, body))


@damage((f"{ROOM}: retracted/x", "names no entry"))
async def a_retraction_in_a_room_of_nothing(stored: Stored) -> Write:
    return MapPut("retracted", ROOM, "x", {"peer": ROMEO, "id": "m", "by": "n"})


# ---- nodes


@damage((f"{ROMEO}: pubsub#", "a node that is not there"))
async def an_item_without_a_node(stored: Stored) -> Write:
    return MapDelete("pubsub-node", ROMEO, "tune")


@damage((f"{ROMEO}: pubsub#", "another item"))
async def two_items_of_one_id(stored: Stored) -> Write:
    entry = await stored.entry(ROMEO, "tune", "pubsub")
    return LogAppend("pubsub", ROMEO, Entry(stored.now, entry.peer, entry.resource, 0, entry.body))


@damage((f"{ROMEO}: pubsub#", "no item"))
async def an_item_that_is_no_xml(stored: Stored) -> Write:
    entry = await stored.entry(ROMEO, "tune", "pubsub")
    return LogReplace("pubsub", ROMEO, Entry(entry.id, "", "", 0, entry.body + b"<"))


@damage((f"{ROMEO}: pubsub-node/tune", "is no number"))
async def a_node_with_an_option_that_is_none(stored: Stored) -> Write:
    return await stored.change("pubsub-node", ROMEO, "tune", options={"max_items": ["many"]})


@damage(("pubsub.localhost: pubsub-node/news", "an affiliation that is none"))
async def a_node_of_a_service(stored: Stored) -> Write:
    return MapPut("pubsub-node", "pubsub.localhost", "news", {"affiliations": {ROMEO: "friend"}})


# ---- what else plugins store


@damage((f"{ROMEO}: file/", "second record is not there"))
async def a_file_that_counts_for_nobody(stored: Stored) -> Write:
    return MapDelete("own-file", ROMEO, await stored.key("own-file", ROMEO))


@damage((f"{ROMEO}: own-file/", "second record is not there"), ("localhost: ", "in no record"))
async def a_file_that_nobody_can_fetch(stored: Stored) -> Write:
    return MapDelete("file", f"{await stored.key('own-file', ROMEO)}@upload.localhost", "")


@damage((f"{ROMEO}: own-file/", "its two records differ"), (f"{ROMEO}: file/", "its two records differ"))
async def a_file_of_two_names(stored: Stored) -> Write:
    token = await stored.key("own-file", ROMEO)
    return await stored.change("file", f"{token}@upload.localhost", name="b.png")


@damage((f"{JULIET}: expiry", "they never end"))
async def timers_that_nobody_knows_of(stored: Stored) -> Write:
    return MapDelete("expiry", JULIET, "")


@damage((f"{JULIET}: expiry#", "names no message"))
async def a_timer_of_nothing(stored: Stored) -> Write:
    entry = await stored.entry(JULIET, "", "expiry")
    return LogReplace("expiry", JULIET, Entry(entry.id, "", "", 0, b"m1"))


@damage((f"{ROMEO}: retracted/x", "names no entry"))
async def a_retraction_of_nothing(stored: Stored) -> Write:
    return MapPut("retracted", ROMEO, "x", {"peer": JULIET, "id": "m", "by": "n"})


@damage((f"{ROMEO}: push-device/other", "it is the device"))
async def a_device_under_another_key(stored: Stored) -> Write:
    return MapPut("push-device", ROMEO, "other", {"jid": "conference.localhost", "node": "tablet"})


@damage(("localhost: push-said/x", "no message of a room"))
async def a_room_message_that_is_none(stored: Stored) -> Write:
    return MapPut("push-said", "localhost", "x", {"data": "<message"})


@damage((f"{ROMEO}: vcard", "no XML"))
async def a_card_that_is_no_xml(stored: Stored) -> Write:
    return MapPut("vcard", ROMEO, "", {"xml": "<vCard"})


@damage((f"{ROMEO}: private/urn:example|other", "it is urn:example|notes"))
async def a_private_element_under_another_name(stored: Stored) -> Write:
    key = await stored.key("private", ROMEO)
    return MapPut("private", ROMEO, "urn:example|other", await stored.server.backend.read("private", ROMEO, key))


@damage((f"{ROMEO}: blocklist/Tybalt@localhost", "blocks nobody: compared is tybalt@localhost"))
async def a_block_of_nobody(stored: Stored) -> Write:
    return MapPut("blocklist", ROMEO, "Tybalt@localhost", {"at": 0.0})


@damage((f"{ROMEO}: account", "lacks the keys for SCRAM-SHA-512"), (f"{JULIET}: account", "lacks the keys"),
        (f"{NURSE}: account", "lacks the keys"))  # fmt: skip
async def accounts_without_the_keys_that_are_offered(stored: Stored) -> list[Write]:
    writes: list[Write] = []
    for bare in (ROMEO, JULIET, NURSE):
        credentials = (await stored.server.backend.read("account", bare, ""))["credentials"]
        writes.append(await stored.change("account", bare, credentials={**credentials, "scram_sha_512": None}))
    return [*writes, MapPut("scram-sha-512", "localhost", "", {"since": 0.0})]


@damage((f"localhost: registration-waiting/{NOBODY}", "waits for ever"))
async def somebody_who_waits_without_an_account(stored: Stored) -> Write:
    return MapPut("registration-waiting", "localhost", NOBODY, {"since": 0.0})


@damage(("localhost: phone-number/abc", "which does not have it"))
async def a_number_of_somebody_without_one(stored: Stored) -> Write:
    return MapPut("phone-number", "localhost", "abc", {"account": ROMEO, "since": 0.0})


@damage((f"{ROMEO}: phone-account", "is nobody's"))
async def an_account_with_a_number_of_nobody(stored: Stored) -> Write:
    return MapPut("phone-account", ROMEO, "", {"number": "abc"})


# ---- the tests


def agrees(line: str, expected: tuple[str, str]) -> bool:
    return line.startswith(expected[0]) and expected[1] in line


async def test_a_busy_day_leaves_nothing_wrong(server: Copy) -> None:
    assert await findings(server) == []


@pytest.mark.parametrize(
    ("map", "owner"),
    [
        *((map, JULIET) for map in ("account", "cursor", "roster", "inbox", "inbox-summary", "expiry")),
        *((map, ROMEO) for map in ("pubsub-node", "own-file", "blocklist", "vcard", "archive-preferences")),
        *((map, ROOM) for map in ("room", "room_member")),
    ],
)
async def test_bytes_that_no_store_has_written(server: Copy, map: str, owner: str) -> None:
    """They stop nothing: what is wrong elsewhere is found, too."""
    records = server.backend._maps[map, owner]
    records[min(records)] = b"\xc1"
    await Store(server.backend, server.clock).commit([MapPut("vcard", NOBODY, "", {"xml": "<vCard/>"})])
    found = await problems(server)
    assert any(line.startswith(f"{owner}: {map}") and "damaged" in line for line in found), found
    assert any(line.startswith(f"{NOBODY}: vcard") for line in found), found


async def test_what_is_sent_and_not_heard_is_in_order(server: Copy) -> None:
    """More than a page."""
    sent = [Send(ROMEO, JULIET, b"<message><body>%d</body></message>" % number) for number in range(250)]
    await Store(server.backend, server.clock).commit(sent)
    assert await findings(server) == []


@pytest.mark.parametrize("each", DAMAGES, ids=lambda each: each.name)
async def test_damage(server: Copy, each: Damage) -> None:
    writes = await each.writes(Stored(server))
    await Store(server.backend, server.clock).commit(writes if isinstance(writes, list) else [writes])
    found = await problems(server)
    for expected in each.expected:
        assert any(agrees(line, expected) for line in found), (expected, found)
    surplus = [line for line in found if not any(agrees(line, expected) for expected in each.expected)]
    assert not surplus
