"""Block lists that others publish (RTBL): how they are followed, and who is refused what."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from plugins.block_lists.model import ListConfig
from tests.core.test_delivery import restarted
from tests.harness import Client, Harness, condition
from tests.harness.authority import Authority
from tests.harness.peer_stream import PeerStream, federate
from tests.harness.publisher import Elsewhere, Publisher
from xmppd.config import ConfigError
from xmppd.contracts.admin import OperationError
from xmppd.errors import StorageUnavailable
from xmppd.server.exposition import Exposition

LIST = {"service": "bl.example"}
CONFIG: dict[str, Any] = {"lists": [LIST], "exempt": ["friend@spam.example", "exempt.example"]}
SPAMMER = "sales@spam.example"
REPORT = (
    "<report xmlns='urn:xmpp:reporting:1' reason='urn:xmpp:reporting:spam'><text>Sells stolen cards</text></report>"
)
NOBODY = "<x xmlns='http://jabber.org/protocol/muc'/>"

pytestmark = pytest.mark.server(plugins={"block_lists": CONFIG})


def hashed(jid: str) -> str:
    return sha256(jid.encode()).hexdigest()


@pytest.fixture
def elsewhere(server: Harness) -> Elsewhere:
    return Elsewhere(server)


@pytest.fixture
def publisher(elsewhere: Elsewhere) -> Publisher:
    return Publisher(elsewhere)


def followed(server: Harness, host: str = "localhost") -> list[Any]:
    return list(server.server.hosts[host].plugins["block_lists"].lists.values())


def entries(server: Harness) -> int:
    return sum(len(each.entries) for each in followed(server))


async def stored(server: Harness) -> int:
    plugin = server.host.plugins["block_lists"]
    return len(await plugin.stored_entries.read_all("localhost"))


async def says(
    server: Harness, elsewhere: Elsewhere, sender: str, to: str = "romeo@localhost", inside: str = "<body>Hi</body>"
) -> str:
    """The condition of the error that a message gets, "" for none."""
    return await hears(server, elsewhere, sender, f"<message to='{to}' type='chat' id='m'>{inside}</message>")


async def hears(server: Harness, elsewhere: Elsewhere, sender: str, text: str) -> str:
    peer = elsewhere.peer(sender.partition("/")[0].rpartition("@")[2])
    peer.got.clear()
    peer.send(text.replace(" to=", f" from='{sender}' to=", 1))
    await server.quiet()
    for stanza in peer.got:
        if stanza.type == "error":
            return str(stanza.xml[-1][0].tag).partition("}")[2]
    return ""


async def read(server: Harness) -> None:
    """The first reading comes by itself."""
    await server.advance(3)


# ---- following


async def test_a_list_is_read_in_pages_and_subscribed_to(server: Harness, publisher: Publisher) -> None:
    publisher.items = {hashed(f"u{number}@spam.example"): REPORT for number in range(250)}
    assert not publisher.subscribers
    await read(server)
    assert publisher.subscribers == ["localhost"]
    assert (entries(server), await stored(server), publisher.pages) == (250, 250, 5)


async def test_who_knows_no_pages_gives_all_at_once(server: Harness, publisher: Publisher) -> None:
    publisher.knows_pages = False
    publisher.items = {hashed(f"u{number}@spam.example"): "" for number in range(250)}
    await read(server)
    assert (entries(server), publisher.pages) == (250, 1)


async def test_events_change_the_list(server: Harness, publisher: Publisher) -> None:
    await read(server)
    publisher.publish(hashed(SPAMMER), hashed("other@spam.example"))
    await server.quiet()
    assert (entries(server), await stored(server)) == (2, 2)
    publisher.retract(hashed(SPAMMER))
    await server.quiet()
    assert (entries(server), await stored(server)) == (1, 1)
    publisher.tell(f"<purge node='{publisher.node}'/>")
    await server.quiet()
    assert (entries(server), await stored(server)) == (0, 0)


async def test_a_node_that_is_deleted_is_empty_and_is_not_heard_again(server: Harness, publisher: Publisher) -> None:
    publisher.items[hashed(SPAMMER)] = ""
    await read(server)
    publisher.tell(f"<delete node='{publisher.node}'/>")
    await server.quiet()
    assert (entries(server), followed(server)[0].subscribed) == (0, False)
    publisher.publish(hashed(SPAMMER))
    await server.quiet()
    assert entries(server) == 0


@pytest.mark.parametrize(
    ("sender", "node"),
    [
        ("evil.example", "muc_bans_sha256"),
        ("bl.example", "another_node"),
        ("somebody@bl.example", "muc_bans_sha256"),
        ("bl.example/resource", "muc_bans_sha256"),
    ],
)
async def test_forged_events_are_not_heard(
    server: Harness, publisher: Publisher, elsewhere: Elsewhere, sender: str, node: str
) -> None:
    publisher.items[hashed("kept@spam.example")] = ""
    await read(server)
    peer = elsewhere.peer(sender.partition("/")[0].rpartition("@")[2])
    for change in (f"<items node='{node}'><item id='{hashed(SPAMMER)}'/></items>", f"<purge node='{node}'/>"):
        peer.send(
            f"<message from='{sender}' to='localhost'>"
            f"<event xmlns='http://jabber.org/protocol/pubsub#event'>{change}</event></message>"
        )
    await server.quiet()
    assert entries(server) == 1
    assert await says(server, elsewhere, SPAMMER) != "policy-violation"


async def test_an_event_while_the_list_is_read_counts(server: Harness, publisher: Publisher) -> None:
    """What comes between two pages is newer than both."""
    ids = [hashed(f"u{number}@spam.example") for number in range(150)]
    publisher.items = dict.fromkeys(ids, "")
    await server.advance(2.9)
    publisher.held = []
    await server.advance(0.2)
    for what in ("the subscription", "the newest", "the first page"):
        assert len(publisher.held) == 1, what
        if what != "the first page":
            publisher.let_go()
            publisher.held = []
            await server.quiet()
    page, publisher.held = publisher.held[0], []
    publisher.retract(ids[0])
    publisher.publish(hashed(SPAMMER))
    publisher.send(page)
    await server.quiet()
    publisher.let_go()
    await server.quiet()
    plugin = server.host.plugins["block_lists"]
    kept = await plugin.stored_entries.read_all("localhost")
    (found,) = followed(server)
    assert bytes.fromhex(ids[0]) not in found.entries and bytes.fromhex(hashed(SPAMMER)) in found.entries
    assert {key.partition("/")[2] for key in kept} == {each.hex() for each in found.entries}
    assert len(found.entries) == 150


async def test_a_list_that_is_emptied_while_it_is_read_is_empty(server: Harness, publisher: Publisher) -> None:
    publisher.items = {hashed(SPAMMER): ""}
    publisher.held = []
    await server.advance(3)
    publisher.let_go()
    publisher.held = []
    await server.quiet()
    assert len(publisher.held) == 1, "the newest are on their way"
    answer, publisher.held = publisher.held[0], []
    publisher.tell(f"<purge node='{publisher.node}'/>")
    publisher.send(answer)
    await server.quiet()
    publisher.let_go()
    await server.quiet()
    assert (entries(server), await stored(server)) == (0, 0)
    publisher.items.clear()
    await server.advance(31)
    assert (entries(server), followed(server)[0].problem) == (0, "")


async def test_what_is_gone_at_the_next_reading_goes(server: Harness, publisher: Publisher) -> None:
    publisher.items = {hashed(SPAMMER): "", hashed("other@spam.example"): ""}
    await read(server)
    del publisher.items[hashed(SPAMMER)]
    publisher.items[hashed("new@spam.example")] = ""
    assert entries(server) == 2
    await server.advance(6 * 3600)
    assert {each.hex() for each in followed(server)[0].entries} == publisher.items.keys()
    assert await stored(server) == 2


@pytest.mark.parametrize("way", ["silent", "fault"])
async def test_a_publisher_that_is_away_is_asked_again_and_the_list_stays(
    server: Harness, publisher: Publisher, way: str
) -> None:
    publisher.items[hashed(SPAMMER)] = ""
    await read(server)
    publisher.silent, publisher.fault = way == "silent", "item-not-found" if way == "fault" else ""
    await server.advance(6 * 3600 + 40)
    assert entries(server) == 1
    assert followed(server)[0].problem == ("there is no answer" if way == "silent" else "item-not-found")
    publisher.silent, publisher.fault = False, ""
    publisher.items[hashed("new@spam.example")] = ""
    await server.advance(70)
    assert (entries(server), followed(server)[0].problem) == (2, "")


async def test_a_list_outlives_a_restart(server: Harness, publisher: Publisher, elsewhere: Elsewhere) -> None:
    publisher.items = {hashed(SPAMMER): REPORT}
    await read(server)
    await server.quiet()
    again = await restarted(server)
    assert entries(again) == 1
    away = Elsewhere(again)
    await again.register("romeo")
    assert await says(again, away, SPAMMER) == "policy-violation"


# ---- bounds


async def test_a_long_list_without_pages(server: Harness, publisher: Publisher) -> None:
    """The newest ones with their reasons; of the others the names."""
    publisher.knows_pages = False
    publisher.items = {hashed(f"u{number}@spam.example"): REPORT for number in range(1200)}
    await read(server)
    assert (entries(server), await stored(server), publisher.pages) == (1200, 1200, 1)
    for number, reason in ((0, ""), (1199, " (spam: Sells stolen cards)")):
        shown = await server.operation("block-list.list", address=f"u{number}@spam.example")
        assert f"the address is on it{reason}\n" in shown


async def test_a_list_that_is_too_long_to_be_read(server: Harness, publisher: Publisher) -> None:
    """What is known stays, the newest come."""
    publisher.items = {hashed(SPAMMER): ""}
    await read(server)
    publisher.knows_pages = publisher.names = False
    publisher.items = {hashed(f"u{number}@spam.example"): "" for number in range(1200)}
    await server.advance(6 * 3600 + 40)
    assert entries(server) == await stored(server) == 501
    assert "only the newest 500" in followed(server)[0].problem


@pytest.mark.server(plugins={"block_lists": CONFIG | {"entries": 120}})
async def test_a_long_list_is_cut_with_one_warning(
    server: Harness, publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    publisher.items = {hashed(f"u{number}@spam.example"): "" for number in range(1000)}
    await read(server)
    assert (entries(server), await stored(server)) == (120, 120)
    assert publisher.pages <= 5
    publisher.publish(hashed(SPAMMER))
    await server.advance(6 * 3600)
    assert entries(server) == 120
    assert caplog.text.count("more than 120 entries") == 1


async def test_what_an_item_names(server: Harness, publisher: Publisher, elsewhere: Elsewhere) -> None:
    """Hashes in whatever case; lists of domains name them as they are; what names nobody is passed over."""
    await server.register("romeo")
    publisher.items = {
        hashed("one@upper.example").upper(): "",
        "Plain.Example": "",
        "two@plain.example.org": "",
        "a@b/c": "",
        "@": "",
        "z" * 4000: "",
        "0" * 63: "",  # a domain of that name
    }
    await read(server)
    assert entries(server) == 4
    assert await says(server, elsewhere, "one@upper.example/x") == "policy-violation"
    assert await says(server, elsewhere, "anybody@plain.example") == "policy-violation"
    assert await says(server, elsewhere, "two@plain.example.org") == "policy-violation"
    assert await says(server, elsewhere, "three@plain.example.org") == ""


# ---- what strangers are refused


async def listed(server: Harness, publisher: Publisher, *names: str) -> Client:
    romeo = await server.login("romeo", "orchard", presence=True)
    publisher.items = {hashed(name): "" for name in names or (SPAMMER,)}
    await read(server)
    await romeo.receive_all()
    return romeo


async def test_a_listed_stranger_is_refused(server: Harness, publisher: Publisher, elsewhere: Elsewhere) -> None:
    romeo = await listed(server, publisher)
    assert await says(server, elsewhere, f"{SPAMMER}/x") == "policy-violation"
    assert await says(server, elsewhere, SPAMMER, to="romeo@localhost/orchard") == "policy-violation"
    assert await hears(server, elsewhere, SPAMMER, "<presence to='romeo@localhost' type='subscribe'/>") == ""
    assert await hears(server, elsewhere, SPAMMER, "<presence to='romeo@localhost'/>") == ""
    await romeo.silence()
    assert await says(server, elsewhere, "honest@spam.example") == ""
    assert (await romeo.receive()).findtext("{*}body") == "Hi"
    assert followed(server)[0].hits == 4


async def test_a_listed_domain_is_refused_but_for_who_is_exempt(
    server: Harness, publisher: Publisher, elsewhere: Elsewhere
) -> None:
    await listed(server, publisher, "spam.example", "exempt.example", "localhost", "romeo@localhost")
    assert await says(server, elsewhere, "anybody@spam.example") == "policy-violation"
    assert await says(server, elsewhere, "friend@spam.example") == ""
    assert await says(server, elsewhere, "anybody@exempt.example") == ""
    assert await says(server, elsewhere, "anybody@sub.spam.example") == ""


async def test_nobody_here_is_refused(server: Harness, publisher: Publisher) -> None:
    romeo = await listed(server, publisher, "localhost", "juliet@localhost")
    juliet = await server.login("juliet", "balcony", presence=True)
    juliet.send("<message to='romeo@localhost' type='chat'><body>Ay me</body></message>")
    assert (await romeo.receive()).findtext("{*}body") == "Ay me"
    juliet.send(f"<presence to='tomb@conference.localhost/j'>{NOBODY}</presence>")
    assert "error" not in [each.get("type") for each in await juliet.receive_all()]


@pytest.mark.parametrize("contact", [SPAMMER, "spam.example"])
async def test_a_contact_is_heard(server: Harness, publisher: Publisher, elsewhere: Elsewhere, contact: str) -> None:
    romeo = await listed(server, publisher)
    await romeo.iq(f"<query xmlns='jabber:iq:roster'><item jid='{contact}'/></query>", "set")
    assert await says(server, elsewhere, SPAMMER) == ""


async def test_an_invitation_by_who_is_listed_is_refused_whatever_room_passes_it_on(
    server: Harness, publisher: Publisher, elsewhere: Elsewhere
) -> None:
    romeo = await listed(server, publisher)
    invitation = "<x xmlns='http://jabber.org/protocol/muc#user'><invite from='{}'/></x>"
    for inviter, wanted in ((SPAMMER, "policy-violation"), ("honest@spam.example", "")):
        text = f"<message to='romeo@localhost' id='i'>{invitation.format(inviter)}</message>"
        assert await hears(server, elsewhere, "room@rooms.example", text) == wanted
    assert len(await romeo.receive_all()) == 1


async def test_a_room_that_was_entered_is_heard(server: Harness, publisher: Publisher, elsewhere: Elsewhere) -> None:
    """Its domain is listed, and who is in it has chosen that."""
    romeo = await listed(server, publisher, "rooms.spam.example")
    for text in (
        "<presence to='romeo@localhost/orchard'/>",
        "<message to='romeo@localhost/orchard' type='groupchat'/>",
    ):
        await hears(server, elsewhere, "room@rooms.spam.example/nick", text)
    assert len(await romeo.receive_all()) == 2


@pytest.mark.server(plugins={"block_lists": {"lists": [LIST | {"strangers": False}]}})
async def test_a_list_for_rooms_only(server: Harness, publisher: Publisher, elsewhere: Elsewhere) -> None:
    await listed(server, publisher)
    assert await says(server, elsewhere, SPAMMER) == ""
    assert await joins(server, elsewhere, SPAMMER) == "forbidden"


# ---- rooms

ROOM = "tavern@conference.localhost"
USER = "http://jabber.org/protocol/muc#user"


async def joins(server: Harness, elsewhere: Elsewhere, who: str, nick: str = "s") -> str:
    return await hears(server, elsewhere, f"{who}/x", f"<presence to='{ROOM}/{nick}' id='j'>{NOBODY}</presence>")


async def open_room(server: Harness) -> Client:
    juliet = await server.login("juliet", "balcony", presence=True)
    juliet.send(f"<presence to='{ROOM}/juliet'>{NOBODY}</presence>")
    await juliet.receive_all()
    await juliet.iq(
        "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>",
        "set",
        ROOM,
    )
    await juliet.receive_all()
    return juliet


async def test_who_is_listed_is_kept_out_of_rooms(server: Harness, publisher: Publisher, elsewhere: Elsewhere) -> None:
    juliet = await open_room(server)
    await listed(server, publisher)
    assert await joins(server, elsewhere, SPAMMER) == "forbidden"
    for text in (
        f"<message to='{ROOM}' type='groupchat' id='g'><body>Buy</body></message>",
        f"<message to='{ROOM}/juliet' type='chat' id='p'><body>Buy</body></message>",
        f"<message to='{ROOM}' id='n'><x xmlns='{USER}'><invite to='a@b.c'/></x></message>",
        f"<iq to='{ROOM}' type='set' id='r'><query xmlns='jabber:iq:register'/></iq>",
        f"<iq to='{ROOM}/juliet' type='get' id='q'><query xmlns='jabber:iq:version'/></iq>",
        f"<presence to='new@conference.localhost/nick' id='c'>{NOBODY}</presence>",
    ):
        assert await hears(server, elsewhere, f"{SPAMMER}/x", text) == "forbidden", text
    await juliet.silence()
    assert followed(server)[0].hits == 7
    assert await joins(server, elsewhere, "honest@spam.example") == ""


async def test_who_is_in_a_room_is_kicked_when_the_entry_comes(
    server: Harness, publisher: Publisher, elsewhere: Elsewhere
) -> None:
    juliet = await open_room(server)
    await read(server)
    assert await joins(server, elsewhere, SPAMMER) == ""
    assert await joins(server, elsewhere, "member@spam.example", "m") == ""
    member = "<item affiliation='member' jid='member@spam.example'/>"
    await juliet.iq(f"<query xmlns='http://jabber.org/protocol/muc#admin'>{member}</query>", "set", ROOM)
    await juliet.receive_all()
    peer = elsewhere.peer("spam.example")
    peer.got.clear()
    publisher.publish(hashed("spam.example"))
    await server.advance(1)
    (gone,) = await juliet.receive_all()
    user = f"{{{USER}}}"
    assert (gone.get("from"), gone.get("type")) == (f"{ROOM}/s", "unavailable")
    assert [each.get("code") for each in gone.iter(f"{user}status")] == ["307"]
    assert gone.findtext(f".//{user}reason") == "You are on a block list that this server follows."
    told = [(str(each.sender), str(each.to), each.type) for each in peer.got]
    assert (f"{ROOM}/s", f"{SPAMMER}/x", "unavailable") in told
    said = f"<message to='{ROOM}' type='groupchat' id='g'><body>I am a member</body></message>"
    assert await hears(server, elsewhere, "member@spam.example/x", said) == ""
    assert len(await juliet.receive_all()) == 1
    assert await hears(server, elsewhere, f"{SPAMMER}/x", said) == "forbidden"


async def test_a_temporary_room_ends_with_its_last_occupant_who_is_kicked(
    server: Harness, publisher: Publisher, elsewhere: Elsewhere
) -> None:
    juliet = await open_room(server)
    await read(server)
    assert await joins(server, elsewhere, SPAMMER) == ""
    juliet.send(f"<presence to='{ROOM}/juliet' type='unavailable'/>")
    await juliet.receive_all()
    rooms = server.server.hosts["conference.localhost"].plugins["muc"].rooms
    assert "tavern" in rooms.directory
    publisher.publish(hashed(SPAMMER))
    await server.advance(1)
    assert "tavern" not in rooms.directory


async def test_who_is_listed_may_leave(server: Harness, publisher: Publisher, elsewhere: Elsewhere) -> None:
    juliet = await open_room(server)
    await read(server)
    await joins(server, elsewhere, SPAMMER)
    await juliet.receive_all()
    publisher.publish(hashed(SPAMMER))
    await server.quiet()
    left = f"<presence to='{ROOM}/s' type='unavailable'/>"
    assert await hears(server, elsewhere, f"{SPAMMER}/x", left) == ""
    assert (await juliet.receive()).get("type") == "unavailable"


# ---- administration


async def test_what_an_administrator_sees(server: Harness, publisher: Publisher, elsewhere: Elsewhere) -> None:
    await server.register("romeo")
    publisher.items[hashed(SPAMMER)] = REPORT
    shown = await server.operation("block-list.list", address="")
    assert shown == "bl.example muc_bans_sha256: 0 entries, 0 hits\n  not subscribed, read never"
    assert await server.operation("block-list.refresh") == "1 read, 1 entries."
    await says(server, elsewhere, SPAMMER)
    shown = await server.operation("block-list.list", address="SALES@spam.example/x")
    assert "1 entries, 1 hits" in shown and "the address is on it (spam: Sells stolen cards)" in shown
    assert shown.endswith("sales@spam.example is refused.")
    assert (await server.operation("block-list.list", address="x@y.z")).endswith("x@y.z is not refused.")
    with pytest.raises(OperationError):
        await server.operation("block-list.list", address="@@")
    publisher.fault = "forbidden"
    with pytest.raises(OperationError, match=r"bl\.example muc_bans_sha256: forbidden"):
        await server.operation("block-list.refresh")
    numbers = Exposition(server.server).text().decode()
    labels = '{host="localhost",list="bl.example muc_bans_sha256"}'
    assert f"xmppd_block_list_entries{labels} 1.0" in numbers and f"xmppd_block_list_hits_total{labels} 1.0" in numbers


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"lists": [{"service": "@"}]}, "expected an address such as 'xmppbl.org'"),
        ({"lists": [{}]}, "service"),
        ({"lists": [LIST, LIST | {"node": "muc_bans_sha256"}]}, "is there twice"),
        ({"exempt": ["a@b/c"]}, "expected an account or a domain"),
        ({"exempt": ["@"]}, "expected an account or a domain"),
    ],
)
async def test_mistakes_are_named(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        await Harness(plugins={"block_lists": options}).start()


# ---- whole domains


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.mark.server(plugins={"block_lists": {"lists": [LIST | {"streams": True}]}})
async def test_a_listed_domain_is_not_talked_to(server: Harness, publisher: Publisher, authority: Authority) -> None:
    """A stream that is there ends, and no other begins. One account of a domain that is listed ends nothing."""
    await read(server)
    romeo = await server.login("romeo")
    federation = federate(server, authority)
    bad, good = [
        await PeerStream(federation, name, authority.certificate(dns=[name]).ders).sign_in_external()
        for name in ("spam.example", "other.example")
    ]
    publisher.publish(hashed("spam.example"), hashed("user@other.example"))
    await server.quiet()
    federation.remotes.sweep()
    assert await bad.stream_error() == "policy-violation"
    assert condition(await romeo.iq("<ping xmlns='urn:xmpp:ping'/>", to="spam.example")) == "remote-server-not-found"
    assert not federation.called
    again = PeerStream(federation, "spam.example")
    again.header()
    assert await again.stream_error() == "policy-violation"
    good.send("<message from='user2@other.example' to='romeo@localhost' type='chat'><body>Hi</body></message>")
    romeo.send("<presence/>")
    assert "Hi" in [each.findtext("{*}body") for each in await romeo.receive_all()]


# ---- publishing

OWN = {"lists": [{"service": "pubsub.localhost"}], "publish_at": "pubsub.localhost"}


@pytest.mark.server(plugins={"block_lists": OWN}, hosts={"pubsub.localhost": {"type": "pubsub"}})
async def test_a_list_of_ones_own(server: Harness, elsewhere: Elsewhere) -> None:
    """Published here, and followed here as others follow it."""
    await server.register("romeo")
    told = await server.operation("block-list.add", address="Sales@spam.example/x", text="Sells stolen <cards>")
    assert told == "sales@spam.example is on pubsub.localhost muc_bans_sha256."
    await read(server)
    assert entries(server) == 1
    assert await says(server, elsewhere, SPAMMER) == "policy-violation"
    await server.operation("block-list.add", address="worse.example", reason="abuse")
    await server.quiet()
    assert await says(server, elsewhere, "anybody@worse.example") == "policy-violation"
    shown = await server.operation("block-list.list", address=SPAMMER)
    assert "the address is on it (spam: Sells stolen <cards>)" in shown
    await server.operation("block-list.remove", address=SPAMMER)
    await server.quiet()
    assert await says(server, elsewhere, SPAMMER) == ""
    with pytest.raises(OperationError, match="is not on"):
        await server.operation("block-list.remove", address=SPAMMER)
    with pytest.raises(OperationError, match="@@"):
        await server.operation("block-list.add", address="@@")


@pytest.mark.parametrize("where", ["", "localhost", "nowhere.localhost", "conference.localhost"])
async def test_where_nothing_can_be_published(where: str) -> None:
    server = await Harness(plugins={"block_lists": {"publish_at": where}}).start()
    with pytest.raises(OperationError, match="publish_at"):
        await server.operation("block-list.add", address=SPAMMER)
    await server.stop()


# ---- other options while the server runs


async def test_lists_come_and_go_with_the_configuration(
    server: Harness, publisher: Publisher, elsewhere: Elsewhere
) -> None:
    await listed(server, publisher)
    other = Publisher(elsewhere, "other.example", "spam_source_domains")
    other.items = {"worse.example": ""}
    plugin = server.host.plugins["block_lists"]
    wanted = ListConfig(service="other.example", node="spam_source_domains")
    plugin.config = replace(plugin.config, lists=(wanted,))
    plugin.reconfigured()
    await read(server)
    assert (entries(server), await stored(server), publisher.subscribers) == (1, 1, [])
    assert await says(server, elsewhere, SPAMMER) == ""
    assert await says(server, elsewhere, "x@worse.example") == "policy-violation"
    plugin.config = replace(plugin.config, exempt=("worse.example",))
    plugin.reconfigured()
    assert await says(server, elsewhere, "x@worse.example") == ""


async def test_what_the_last_process_followed_is_left(server: Harness, publisher: Publisher) -> None:
    await listed(server, publisher)
    server.made["plugins"] = {"block_lists": {}}
    again = await restarted(server)
    away = Elsewhere(again)
    left = Publisher(away)
    left.subscribers = ["localhost"]
    await read(again)
    assert (await stored(again), left.subscribers) == (0, [])


async def test_the_store_is_away_when_the_list_is_read(
    server: Harness, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read again."""
    (found,) = followed(server)
    found._unsaved = True  # something could not be stored, so the next reading looks what is

    async def away() -> set[bytes]:
        raise StorageUnavailable("the store does not answer")

    monkeypatch.setattr(found, "_stored", away)
    await read(server)
    assert found.problem == "the store does not answer"
    monkeypatch.undo()
    publisher.items = {hashed(SPAMMER): ""}
    await server.advance(31)
    assert (found.problem, entries(server), await stored(server)) == ("", 1, 1)


async def test_the_store_is_away_meanwhile(server: Harness, publisher: Publisher) -> None:
    """What could not be stored is stored with the next reading."""
    publisher.items = {hashed("gone@spam.example"): ""}
    await read(server)
    server.backend.hold()
    publisher.publish(hashed("first@spam.example"))
    await server.advance(15)
    assert not server.storage.available
    publisher.retract(hashed("first@spam.example"))
    publisher.retract(hashed("gone@spam.example"))
    publisher.publish(hashed(SPAMMER))
    await server.advance(30)
    assert {each.hex() for each in followed(server)[0].entries} == {hashed(SPAMMER)}
    server.backend.release()
    await server.advance(6 * 3600)
    plugin = server.host.plugins["block_lists"]
    kept = await plugin.stored_entries.read_all("localhost")
    assert {key.partition("/")[2] for key in kept} == {hashed(SPAMMER)}
