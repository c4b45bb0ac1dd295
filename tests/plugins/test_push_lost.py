"""A device whose connection turns out to be dead is woken for what it has not acknowledged (XEP-0357)."""

from __future__ import annotations

import pytest

from tests.core.test_delivery import enable
from tests.core.test_snapshots import resume
from tests.harness import Client, Harness
from tests.plugins.muc.people import ROOM, admin, configure, join, tavern
from tests.plugins.test_push import NEVER, answer, bookmark, enabling, fields

BODY = "<body>hello</body>"
CALL = "<propose xmlns='urn:xmpp:jingle-message:0' id='c'><description xmlns='urn:xmpp:jingle:apps:rtp:1'/></propose>"
ACTIVE = "<active xmlns='http://jabber.org/protocol/chatstates'/>"


async def phone_of(server: Harness, counts: bool = True) -> tuple[Client, Client, str]:
    """romeo's phone, connected, has enabled push; its app server; the SM-ID."""
    app = await server.login("app", "server")
    romeo = await server.login("romeo", "phone")
    previous = await enable(romeo) if counts else ""
    romeo.send("<presence/>")
    assert (await romeo.iq(enabling(), "set")).get("type") == "result"
    await romeo.receive_all()
    await server.advance(1)
    return romeo, app, previous


def say(client: Client, inside: str = BODY, more: str = "", type: str = "chat") -> None:
    client.send(f"<message to='romeo@localhost' type='{type}'>{inside}{more}</message>")


async def woken(server: Harness, app: Client) -> int:
    """How many notifications come; each is answered."""
    count = 0
    while pushes := await app.receive_all():
        for push in pushes:
            if push.get("type") != "set":
                continue  # a ping: is it still there?
            count += 1
            assert fields(push)["FORM_TYPE"]
            answer(app, push)
    return count


def acknowledge(client: Client, h: int) -> None:
    client.send(f"<a xmlns='urn:xmpp:sm:3' h='{h}'/>")


async def received(client: Client) -> int:
    return sum(str(each.tag).startswith("{jabber:client}") for each in await client.receive_all())


@pytest.mark.parametrize(
    ("inside", "acknowledged", "pushes"), [(BODY, False, 1), (CALL, False, 1), (ACTIVE, False, 0), (BODY, True, 0)]
)
async def test_what_was_written_to_a_dying_connection(
    server: Harness, inside: str, acknowledged: bool, pushes: int
) -> None:
    juliet = await server.login("juliet")
    app = await server.login("app", "server")
    romeo = await server.login("romeo", "phone")
    await enable(romeo)
    romeo.send("<presence/>")
    await romeo.iq(enabling(), "set")
    h = 1 + await received(romeo)
    say(juliet, inside)
    h += await received(romeo)
    assert await woken(server, app) == 0, "it is connected"
    if acknowledged:
        acknowledge(romeo, h)
    romeo.cut()
    assert await woken(server, app) == pushes
    assert await server.host.plugins["push"].outbox.jobs.read_all("romeo@localhost") == {}


async def test_once_for_each_message(server: Harness) -> None:
    """However often the connection is lost; what came while nobody was connected has woken it already."""
    juliet = await server.login("juliet")
    romeo, app, previous = await phone_of(server)
    say(juliet)
    await server.quiet()
    romeo.cut()
    assert await woken(server, app) == 1
    await server.advance(1)
    say(juliet)
    assert await woken(server, app) == 1
    await server.advance(1)
    for _ in range(2):
        romeo, resumed = await resume(server, "romeo", previous, 0)
        assert resumed.tag.endswith("}resumed")
        assert await received(romeo) > 2, "it all comes again"
        romeo.cut()
        assert await woken(server, app) == 0
        await server.advance(1)
    romeo, _ = await resume(server, "romeo", previous, 0)
    await server.advance(1)
    say(juliet)
    await server.quiet()
    romeo.cut()
    assert await woken(server, app) == 1
    await server.advance(4000)  # its session ends
    romeo = await server.login("romeo", "phone", presence=True)
    await server.quiet()
    romeo.cut()
    assert await woken(server, app) == 0, "nor on a new session"


@pytest.mark.parametrize(("answers", "pushes"), [(True, 0), (False, 1)])
async def test_without_acknowledgements(server: Harness, answers: bool, pushes: int) -> None:
    """The answer to a ping counts."""
    juliet = await server.login("juliet")
    romeo, app, _ = await phone_of(server, counts=False)
    romeo.answers_pings = answers
    say(juliet)
    await server.quiet()
    romeo.cut()
    assert await woken(server, app) == pushes


async def test_one_that_did_not_read_at_all(server: Harness) -> None:
    """What waits in the log was not even written."""
    juliet = await server.login("juliet")
    romeo, app, _ = await phone_of(server)
    romeo.stream.pause_writing()
    say(juliet)
    assert await woken(server, app) == 0
    romeo.cut()
    assert await woken(server, app) == 1


async def test_one_that_the_server_ends(server: Harness) -> None:
    juliet = await server.login("juliet")
    _, app, _ = await phone_of(server)
    say(juliet)
    await server.quiet()
    session = server.host.accounts["romeo@localhost"].sessions["phone"]
    server.host.cursor_writer.overflow(session)
    assert await woken(server, app) == 1


async def test_a_goodbye_is_no_loss(server: Harness) -> None:
    juliet = await server.login("juliet")
    romeo, app, _ = await phone_of(server)
    say(juliet)
    await server.quiet()
    romeo.close()
    assert await woken(server, app) == 0


async def test_only_the_device_itself_and_nobody_for_own_words(server: Harness) -> None:
    romeo, app, _ = await phone_of(server)
    other = await server.login("romeo", "desk")
    await enable(other)
    say(other)  # to himself
    await server.quiet()
    other.cut()
    romeo.cut()
    assert await woken(server, app) == 0


async def test_a_chat_that_was_muted(server: Harness) -> None:
    juliet = await server.login("juliet")
    romeo, app, _ = await phone_of(server)
    await bookmark(romeo, "juliet@localhost", NEVER)
    say(juliet)
    await server.quiet()
    romeo.cut()
    assert await woken(server, app) == 0


@pytest.mark.parametrize(
    ("text", "members_only", "pushes"), [("hello", "1", 1), ("hello", "0", 0), ("hello Phone", "0", 1)]
)
@pytest.mark.parametrize("resumable", [True, False])
async def test_in_a_room(server: Harness, text: str, members_only: str, pushes: int, resumable: bool) -> None:
    """It is in no log of the account; in a public room a mention wakes. Own words do not."""
    app = await server.login("app", "server")
    desk, juliet = await tavern(server, "juliet")
    await admin(desk, "<item affiliation='member' jid='juliet@localhost'/>")
    await configure(desk, muc__roomconfig_membersonly=members_only)
    romeo = await server.login("romeo", "phone")
    previous = await enable(romeo, resumable)
    await romeo.iq(enabling(), "set")
    await join(romeo, "Phone")
    romeo.send(f"<message to='{ROOM}' type='groupchat' id='own'><body>Phone is here</body></message>")
    await server.advance(1)
    juliet.send(f"<message to='{ROOM}' type='groupchat' id='g'><body>{text}</body></message>")
    assert await woken(server, app) == 0
    romeo.cut()
    await server.advance(11)  # another device is in use: it might be read there
    assert await woken(server, app) == pushes
    if resumable:
        await server.advance(1)
        romeo, _ = await resume(server, "romeo", previous, 0)
        await server.quiet()
        romeo.cut()
        await server.advance(11)
        assert await woken(server, app) == 0


async def test_own_words_in_a_room(server: Harness) -> None:
    app = await server.login("app", "server")
    (desk,) = await tavern(server)
    await configure(desk, muc__roomconfig_membersonly="1")
    romeo = await server.login("romeo", "phone")
    await enable(romeo, False)
    await romeo.iq(enabling(), "set")
    await join(romeo, "Phone")
    await server.advance(1)
    for client in (romeo, desk):
        client.send(f"<message to='{ROOM}' type='groupchat' id='own'><body>I am here</body></message>")
    await server.quiet()
    romeo.cut()
    await server.advance(11)
    assert await woken(server, app) == 0
