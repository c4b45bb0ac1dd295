"""XEP-0357: who is woken, when, and what an app server is told."""

from __future__ import annotations

import pytest
from lxml import etree

from tests.core.test_delivery import restarted
from tests.harness import Client, Harness, condition
from xmppd.errors import StorageUnavailable
from xmppd.storage.store import Store

NS = "urn:xmpp:push:0"
APP = "app@localhost/server"
X = "{jabber:x:data}"


def enabling(node: str = "n1", more: str = "", jid: str = APP) -> str:
    return f"<enable xmlns='{NS}' jid='{jid}' node='{node}'>{more}</enable>"


async def away(server: Harness, more: str = "", node: str = "n1") -> Client:
    """romeo's phone has enabled push and is offline; its app server."""
    app = await server.login("app", "server")
    romeo = await server.login("romeo", "phone", presence=True)
    answer = await romeo.iq(enabling(node, more), "set")
    assert answer.get("type") == "result"
    romeo.close()
    await server.quiet()
    return app


def say(client: Client, body: str = "hello") -> None:
    client.send(f"<message to='romeo@localhost' type='chat'><body>{body}</body></message>")


def fields(push: etree._Element) -> dict[str, str]:
    form = push.find(f".//{{{NS}}}notification/{X}x")
    assert form is not None, etree.tostring(push)
    return {str(each.get("var")): each.findtext(f"{X}value") or "" for each in form.findall(f"{X}field")}


def answer(app: Client, push: etree._Element, error: str = "", type: str = "cancel") -> None:
    inside = f"<error type='{type}'><{error} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>" if error else ""
    app.send(f"<iq type='{'error' if error else 'result'}' id='{push.get('id')}' to='localhost'>{inside}</iq>")


async def test_a_device_that_is_offline_is_woken(server: Harness) -> None:
    app = await away(server)
    juliet = await server.login("juliet")
    say(juliet)
    push = await app.receive()
    assert (push.get("from"), push.get("type")) == ("localhost", "set")
    assert push.find(".//{http://jabber.org/protocol/pubsub}publish").get("node") == "n1"  # type: ignore[union-attr]
    assert fields(push) == {"FORM_TYPE": "urn:xmpp:push:summary", "message-count": "1"}
    answer(app, push)
    await app.silence()
    assert await server.host.plugins["push"].outbox.jobs.read_all("romeo@localhost") == {}


async def test_publish_options_are_sent_along(server: Harness) -> None:
    kind = "http://jabber.org/protocol/pubsub#publish-options"
    form = (
        f"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{kind}</value></field>"
        "<field var='secret'><value>s3</value></field></x>"
    )
    app = await away(server, form)
    say(await server.login("juliet"))
    push = await app.receive()
    assert (
        push.findtext(f".//{{http://jabber.org/protocol/pubsub}}publish-options/{X}x/{X}field[@var='secret']/{X}value")
        == "s3"
    )


async def test_a_device_that_is_connected_is_not(server: Harness) -> None:
    app = await server.login("app", "server")
    romeo = await server.login("romeo", "phone", presence=True)
    await romeo.iq(enabling(), "set")
    say(await server.login("juliet"))
    await server.advance(60)
    await app.silence()


async def test_what_another_device_reads_wakes_nobody(server: Harness) -> None:
    app = await away(server)
    desk = await server.login("romeo", "desk", presence=True)
    juliet = await server.login("juliet")
    juliet.send("<message to='romeo@localhost' type='chat' id='m1'><body>hello</body></message>")
    await server.advance(3)
    await app.silence()
    desk.send("<message to='juliet@localhost'><displayed xmlns='urn:xmpp:chat-markers:0' id='m1'/></message>")
    await server.advance(60)
    await app.silence()
    say(juliet)
    await server.advance(15)
    assert fields(await app.receive())["message-count"] == "1"


async def test_a_call_rings_at_once(server: Harness) -> None:
    app = await away(server)
    await server.login("romeo", "desk", presence=True)
    juliet = await server.login("juliet")
    juliet.send(
        "<message to='romeo@localhost' type='chat'><propose xmlns='urn:xmpp:jingle-message:0' id='c'/></message>"
    )
    assert (await app.receive()).find(".//{tigase:push:priority:0}priority").text == "high"  # type: ignore[union-attr]


async def test_a_burst_is_merged_while_one_is_on_its_way(server: Harness) -> None:
    app = await away(server)
    juliet = await server.login("juliet")
    say(juliet)
    first = await app.receive()
    for _ in range(5):
        say(juliet)
    await app.silence()
    answer(app, first)
    second = await app.receive()
    assert fields(second)["message-count"] == "6"
    answer(app, second)
    await app.silence()


async def test_what_adds_nothing_to_a_job_is_not_stored_again(server: Harness) -> None:
    app = await away(server)
    juliet = await server.login("juliet")
    say(juliet)
    first = await app.receive()
    outbox = server.host.plugins["push"].outbox
    put, stored = outbox.jobs.put, []
    outbox.jobs.put = lambda owner, key, job: stored.append(job) or put(owner, key, job)
    outbox.draft = put
    for _ in range(5):
        say(juliet)
        await server.quiet()
    assert len(stored) == 1, "one that waits behind the one on its way"
    answer(app, first)
    assert fields(await app.receive())["message-count"] == "6"


@pytest.mark.parametrize("error", ["item-not-found", "gone", "forbidden"])
async def test_a_device_that_is_gone_is_forgotten(server: Harness, error: str) -> None:
    app = await away(server)
    juliet = await server.login("juliet")
    say(juliet)
    answer(app, await app.receive(), error)
    await server.quiet()
    say(juliet)
    await server.advance(3600)
    assert not [each for each in await app.receive_all() if each.find(f".//{{{NS}}}notification") is not None]


async def test_what_fails_for_now_is_tried_again(server: Harness) -> None:
    app = await away(server)
    say(await server.login("juliet"))
    answer(app, await app.receive(), "resource-constraint", "wait")
    await server.advance(5)
    await app.silence()
    await server.advance(6)
    answer(app, await app.receive())


async def test_a_timer_that_fires_early_does_not_hold_back_what_comes_later(server: Harness) -> None:
    """uvloop's do, by up to 1.1 ms: what is not due then is looked at again."""
    server.clock.early = 0.0011
    app = await away(server)
    await server.login("romeo", "desk", presence=True)
    juliet = await server.login("juliet")
    for _ in range(3):
        say(juliet)
        await server.quiet()
        await server.advance(9.9)
        await app.silence()
        await server.advance(0.2)
        answer(app, await app.receive())
    say(juliet)
    await server.quiet()
    await server.advance(11)
    answer(app, await app.receive(), "resource-constraint", "wait")
    await server.quiet()
    await server.advance(9.9)
    await app.silence()
    await server.advance(0.2)
    answer(app, await app.receive())
    await server.advance(60)
    await app.silence()
    assert not server.host.plugins["push"].outbox.waiting


@pytest.mark.parametrize("more", [False, True])
@pytest.mark.parametrize("step", [-86_400.0, -3600.0, 3600.0, 86_400.0])
async def test_a_wall_clock_that_is_set_moves_no_notification(server: Harness, step: float, more: bool) -> None:
    app = await away(server)
    await server.login("romeo", "desk", presence=True)
    juliet = await server.login("juliet")
    say(juliet)
    await server.quiet()
    server.clock.step(step)
    if more:
        say(juliet, "and more")
    await server.quiet()
    await server.advance(9.9)
    await app.silence()
    await server.advance(0.2)
    answer(app, await app.receive())
    await server.advance(60)
    await app.silence()


@pytest.mark.in_memory
async def test_a_clock_that_was_set_back_meanwhile_holds_back_no_job_of_the_last_process(server: Harness) -> None:
    app = await away(server)
    say(await server.login("juliet"))
    answer(app, await app.receive(), "resource-constraint", "wait")
    await server.quiet()
    server.clock.step(-30 * 86_400.0)
    second = await Harness(store=Store(server.backend, server.clock), clock=server.clock).start()
    await second.advance(3590)
    again = await second.login("app", "server")
    await second.advance(15)
    assert fields(await again.receive())["message-count"] == "1"
    await second.stop()


async def test_a_notification_that_cannot_be_made_jams_no_device(
    server: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = await away(server)
    push = server.host.plugins["push"]
    sent = push.outbox.send

    async def broken(owner: str, key: str, job: object) -> None:
        raise ValueError("a fault in the code")

    monkeypatch.setattr(push.outbox, "send", broken)
    say(await server.login("juliet"))
    await server.quiet()
    monkeypatch.setattr(push.outbox, "send", sent)
    await server.advance(11)
    answer(app, await app.receive())


@pytest.mark.parametrize("jid", ["push.elsewhere.example", "app@elsewhere.example/x"])
async def test_an_app_server_that_cannot_be_reached_is_refused(server: Harness, jid: str) -> None:
    romeo = await server.login("romeo", "phone", presence=True)
    refused = await romeo.iq(enabling(jid=jid), "set")
    assert condition(refused) == "remote-server-not-found"
    text = refused.findtext(".//{urn:ietf:params:xml:ns:xmpp-stanzas}text") or ""
    assert "this server does not talk to" in text
    assert not server.host.plugins["push"].devices.get("romeo@localhost")


@pytest.mark.parametrize("type", ["", " type='submit'"])
@pytest.mark.parametrize("kind", ["", "<field var='FORM_TYPE'><value>{}</value></field>"])
async def test_options_that_say_less_than_they_should(server: Harness, type: str, kind: str) -> None:
    """A form without its type or its FORM_TYPE; the app server gets a whole one (XEP-0004 section 3.2, XEP-0068)."""
    options = "http://jabber.org/protocol/pubsub#publish-options"
    secret = "<field var='secret'><value>s3</value></field>"
    app = await away(server, f"<x xmlns='jabber:x:data'{type}>{kind.format(options)}{secret}</x>")
    say(await server.login("juliet"))
    push = await app.receive()
    form = push.find(f".//{{http://jabber.org/protocol/pubsub}}publish-options/{X}x")
    assert form is not None
    assert form.get("type") == "submit"
    values = {each.get("var"): each.findtext(f"{X}value") for each in form.iter(f"{X}field")}
    assert values == {"FORM_TYPE": options, "secret": "s3"}


async def test_a_job_outlives_the_process(server: Harness) -> None:
    app = await away(server)
    say(await server.login("juliet"))
    answer(app, await app.receive(), "resource-constraint", "wait")
    await server.quiet()
    second = await Harness(store=Store(server.backend, server.clock), clock=server.clock).start()
    again = await second.login("app", "server")
    await second.advance(11)
    assert fields(await again.receive())["message-count"] == "1"
    await second.stop()


async def test_a_kill_behind_the_message_only_delays_it(server: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is on disk, and with it that the device is to be woken."""
    await away(server)
    juliet = await server.login("juliet")
    push = server.host.plugins["push"]
    monkeypatch.setattr(push.outbox, "add", lambda *job: None)
    monkeypatch.setattr(push.outbox, "withdraw", lambda *job: None)
    say(juliet)
    await server.quiet()
    second = await restarted(server)
    try:
        app = await second.login("app", "server")
        await second.advance(60)
        assert fields(await app.receive())["message-count"] == "1"
    finally:
        await second.stop()


async def muted(server: Harness) -> tuple[Client, Client]:
    """The app server of romeo, who is away, and juliet, of whom his phone says nothing."""
    app, juliet = await server.login("app", "server"), await server.login("juliet")
    romeo = await server.login("romeo", "phone", presence=True)
    await romeo.iq(enabling(), "set")
    await bookmark(romeo, "juliet@localhost", NEVER)
    romeo.close()
    await server.quiet()
    return app, juliet


@pytest.mark.parametrize("known", [True, False])
async def test_what_wakes_nobody_leaves_no_job(server: Harness, known: bool) -> None:
    """`known`: the settings of the chats are in memory when the message comes."""
    app, juliet = await muted(server)
    push = server.host.plugins["push"]
    if known:
        await push.chats.load("romeo@localhost")
    assert push.chats.ready("romeo@localhost") is known
    written: list[str] = []
    draft = push.outbox.draft
    push.outbox.draft = lambda *job: written.append(job[0]) or draft(*job)
    say(juliet)
    await server.advance(60)
    await app.silence()
    assert written == ([] if known else ["romeo@localhost"])
    assert await push.outbox.jobs.read_all("romeo@localhost") == {}
    assert not len(push.drafts)


async def test_disabling(server: Harness) -> None:
    app = await server.login("app", "server")
    romeo = await server.login("romeo", "phone")
    for node in ("n1", "n2", "n3"):
        await romeo.iq(enabling(node), "set")
    await romeo.iq(f"<disable xmlns='{NS}' jid='{APP}' node='n1'/>", "set")
    assert len(server.host.plugins["push"].devices.get("romeo@localhost")) == 2
    await romeo.iq(f"<disable xmlns='{NS}' jid='{APP}'/>", "set")
    assert not server.host.plugins["push"].devices.get("romeo@localhost")
    await app.silence()


@pytest.mark.server(plugins={"push": {"devices": 2}})
async def test_bad_requests(server: Harness) -> None:
    """T40: bounded; and nobody enables push for somebody else."""
    romeo = await server.login("romeo", "phone")
    assert condition(await romeo.iq(f"<enable xmlns='{NS}'/>", "set")) == "bad-request"
    assert condition(await romeo.iq(enabling(jid="@"), "set")) == "jid-malformed"
    assert condition(await romeo.iq(enabling("n" * 2000), "set")) == "not-acceptable"
    form = "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>x</value></field></x>"
    assert condition(await romeo.iq(enabling("n", form), "set")) == "bad-request"
    for node in ("n1", "n2", "n1"):
        assert (await romeo.iq(enabling(node), "set")).get("type") == "result"
    assert condition(await romeo.iq(enabling("n3"), "set")) == "resource-constraint"
    assert condition(await romeo.iq(enabling(), "set", "juliet@localhost")) == "service-unavailable"


# ---- XEP-0492: which chats wake a device

ROOM = "garden@conference.localhost"
SM = "urn:xmpp:sm:3"
SETTINGS = "urn:xmpp:notification-settings:1"


async def bookmark(client: Client, jid: str, notify: str, joins: str = "", nick: str = "") -> None:
    ns = "urn:xmpp:bookmarks:1"
    inside = f"<nick>{nick}</nick>" if nick else ""
    inside += f"<extensions><notify xmlns='{SETTINGS}'>{notify}</notify></extensions>" if notify else ""
    autojoin = f" autojoin='{joins}'" if joins else ""
    item = f"<item id='{jid}'><conference xmlns='{ns}' name='x'{autojoin}>{inside}</conference></item>"
    publish = f"<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{ns}'>{item}</publish></pubsub>"
    answer = await client.iq(publish, "set")
    assert answer.get("type") == "result", condition(answer)


async def room_of_two(server: Harness, members_only: bool) -> Client:
    """A room of juliet's, in which she is and romeo is a member."""
    juliet = await server.login("juliet", presence=True)
    juliet.send(f"<presence to='{ROOM}/Juliet'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
    await juliet.receive_all()
    only = f"<field var='muc#roomconfig_membersonly'><value>{int(members_only)}</value></field>"
    only += "<field var='muc#roomconfig_persistentroom'><value>1</value></field>"
    kind = "<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>"
    form = f"<x xmlns='jabber:x:data' type='submit'>{kind}{only}</x>"
    await juliet.iq(f"<query xmlns='http://jabber.org/protocol/muc#owner'>{form}</query>", "set", to=ROOM)
    member = "<item affiliation='member' jid='romeo@localhost'/>"
    await juliet.iq(f"<query xmlns='http://jabber.org/protocol/muc#admin'>{member}</query>", "set", to=ROOM)
    return juliet


async def in_room(server: Harness, members_only: bool, notify: str = "") -> tuple[Client, Client]:
    """romeo's phone is in a room and has lost its connection; its app server, and juliet in the room."""
    app, juliet = await server.login("app", "server"), await room_of_two(server, members_only)
    romeo = await server.login("romeo", "phone", presence=True)
    if notify:
        await bookmark(romeo, ROOM, notify)
    romeo.send(f"<enable xmlns='{SM}' resume='true'/>")
    assert (await romeo.iq(enabling(), "set")).get("type") == "result"
    romeo.send(f"<presence to='{ROOM}/Romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
    await romeo.receive_all()
    romeo.cut()
    await juliet.receive_all()
    return app, juliet


def say_in_room(client: Client, body: str, inside: str = "") -> None:
    client.send(f"<message to='{ROOM}' type='groupchat'><body>{body}</body>{inside}</message>")


NEVER, MENTION, ALWAYS = "<never/>", "<on-mention/>", "<always/>"
MENTIONED = "<reference xmlns='urn:xmpp:reference:0' type='mention' uri='xmpp:romeo@localhost'/>"
PHONE = "identity-category='client' identity-type='phone'"


@pytest.mark.parametrize(
    ("members_only", "notify", "body", "inside", "woken"),
    [
        (True, "", "hello", "", True),
        (False, "", "hello", "", False),
        (False, "", "where is romeo?", "", True),
        (False, "", "Romeos", "", False),
        (False, ALWAYS, "hello", "", True),
        (True, NEVER, "Romeo!", "", False),
        (True, MENTION, "hello", "", False),
        (True, MENTION, "hello", MENTIONED, True),
        (True, MENTION, "hello", f"<reply xmlns='urn:xmpp:reply:0' to='{ROOM}/Romeo' id='1'/>", True),
        (True, MENTION, "hello", f"<reply xmlns='urn:xmpp:reply:0' to='{ROOM}/Juliet' id='1'/>", False),
        (True, f"<never identity-category='client' identity-type='pc'/>{ALWAYS}", "hello", "", True),
        (True, f"<never {PHONE}/><always identity-category='client'/>{ALWAYS}", "hello", "", False),
        (True, "<always/><never identity-category='client'/>", "hello", "", False),
    ],
)  # fmt: skip
async def test_rooms(server: Harness, members_only: bool, notify: str, body: str, inside: str, woken: bool) -> None:
    """A session that waits for its client is woken by what a room says; section 3 for what was not chosen."""
    app, juliet = await in_room(server, members_only, notify)
    say_in_room(juliet, body, inside)
    await server.quiet()
    if woken:
        answer(app, await app.receive())
    await app.silence()


async def test_what_one_says_oneself_wakes_nobody(server: Harness) -> None:
    app, juliet = await in_room(server, True)
    laptop = await server.login("romeo", "laptop", presence=True)
    laptop.send(f"<presence to='{ROOM}/Romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
    await laptop.receive_all()
    say_in_room(laptop, "it is me")
    await server.advance(60)
    await app.silence()
    laptop.close()
    await server.quiet()
    say_in_room(juliet, "and me")
    answer(app, await app.receive())


async def test_a_muted_person(server: Harness) -> None:
    """And a change counts at once."""
    app, juliet = await muted(server)
    say(juliet)
    await app.silence()
    nurse = await server.login("nurse")
    say(nurse)
    answer(app, await app.receive())
    romeo = await server.login("romeo", "laptop")
    await bookmark(romeo, "juliet@localhost", ALWAYS)
    romeo.close()
    await server.quiet()
    say(juliet)
    answer(app, await app.receive())


@pytest.mark.parametrize(
    ("members_only", "joins", "notify", "nick", "body", "woken"),
    [
        (True, "true", "", "", "hello", True),
        (True, "1", ALWAYS, "", "hello", True),
        (True, "", "", "", "hello", False),
        (True, "true", NEVER, "", "hello", False),
        (False, "true", "", "Ro", "hello", False),
        (False, "true", "", "Ro", "hello, ro!", True),
    ],
)
async def test_a_member_who_is_not_there(
    server: Harness, members_only: bool, joins: str, notify: str, nick: str, body: str, woken: bool
) -> None:
    """Whose bookmark says that the account is in the room whenever it can; also after a restart."""
    romeo = await server.login("romeo", "phone", presence=True)
    assert (await romeo.iq(enabling(), "set")).get("type") == "result"
    await bookmark(romeo, ROOM, notify, joins, nick)
    romeo.close()
    await server.quiet()
    second = await restarted(server)
    try:
        app, juliet = await second.login("app", "server"), await room_of_two(second, members_only)
        for invitation in await app.receive_all():
            answer(app, invitation)
        say_in_room(juliet, body)
        await second.quiet()
        if woken:
            push = await app.receive()
            assert int(fields(push)["message-count"]) > 0
            answer(app, push)
        await app.silence()
    finally:
        await second.stop()


async def test_who_is_no_member_is_not_woken(server: Harness) -> None:
    app, juliet = await server.login("app", "server"), await room_of_two(server, False)
    tybalt = await server.login("tybalt", "phone", presence=True)
    await tybalt.iq(enabling(), "set")
    await bookmark(tybalt, ROOM, ALWAYS, "true")
    tybalt.close()
    await server.quiet()
    say_in_room(juliet, "hello")
    await app.silence()


async def absent_member(server: Harness) -> tuple[Client, Client]:
    """romeo, whose phone is away, belongs to a room; its app server, and juliet in the room."""
    romeo = await server.login("romeo", "phone", presence=True)
    assert (await romeo.iq(enabling(), "set")).get("type") == "result"
    await bookmark(romeo, ROOM, ALWAYS, "true")
    romeo.close()
    await server.quiet()
    app, juliet = await server.login("app", "server"), await room_of_two(server, True)
    for invitation in await app.receive_all():
        answer(app, invitation)
    await server.quiet()
    return app, juliet


@pytest.mark.parametrize("detached", [True, False])
async def test_a_kill_behind_what_a_room_keeps_only_delays_it(
    server: Harness, monkeypatch: pytest.MonkeyPatch, detached: bool
) -> None:
    """`detached`: romeo's session is in the room and waits for its client."""
    if detached:
        _, juliet = await in_room(server, True)
        laptop = await server.login("romeo", "laptop")
        await bookmark(laptop, ROOM, ALWAYS, "true")
        laptop.close()
    else:
        _, juliet = await absent_member(server)
    push = server.host.plugins["push"]
    monkeypatch.setattr(push.outbox, "add", lambda *job: None)
    monkeypatch.setattr(push.outbox, "write_after_jobs", lambda write: None)
    say_in_room(juliet, "hello")
    await server.quiet()
    assert not await push.outbox.jobs.read_all("romeo@localhost")
    assert len(await push.rooms.messages.read_all("localhost")) == 1
    second = await restarted(server)
    try:
        app = await second.login("app", "server")
        await second.advance(60)
        assert int(fields(await app.receive())["message-count"]) > 0
        assert not await second.host.plugins["push"].rooms.messages.read_all("localhost")
    finally:
        await second.stop()


async def test_what_a_room_keeps_is_noted_for_those_who_are_to_be_woken(server: Harness) -> None:
    app, juliet = await absent_member(server)
    push = server.host.plugins["push"]
    noted: list[str] = []
    put = push.rooms.messages.put
    push.rooms.messages.put = lambda owner, key, said: noted.append(key) or put(owner, key, said)
    say_in_room(juliet, "not kept", "<no-store xmlns='urn:xmpp:hints'/>")
    juliet.send(
        f"<message to='{ROOM}' type='groupchat'><active xmlns='http://jabber.org/protocol/chatstates'/></message>"
    )
    await server.quiet()
    assert noted == []
    await app.receive_all()
    say_in_room(juliet, "hello")
    await server.quiet()
    assert [key.partition("/")[0] for key in noted] == [ROOM]
    assert not await push.rooms.messages.read_all("localhost")
    assert not push.rooms.pending


async def test_a_room_is_heard_of_when_the_store_is_back(server: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    app, juliet = await absent_member(server)
    push = server.host.plugins["push"]
    asked: list[str] = []

    async def away(owner: str) -> None:
        asked.append(owner)
        raise StorageUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(push.chats, "load", away)
        say_in_room(juliet, "hello")
        await server.advance(15)
        assert len(asked) == 2
        assert len(await push.rooms.messages.read_all("localhost")) == 1
    await app.silence()
    await server.advance(10)
    answer(app, await app.receive())
    await server.quiet()
    assert not await push.rooms.messages.read_all("localhost")
