"""Components (XEP-0114): the handshake, whom they may speak for, what becomes of stanzas for one that is away, slow, or
has several connections."""

from __future__ import annotations

import gc

import pytest

from tests.harness import Client, Element, Harness, condition
from tests.harness.component import HEADER, SECRET, ComponentClient
from xmppd.jid import JID
from xmppd.stanza import Stanza

IRC, OTHER = "irc.localhost", "other.localhost"
BODY = "{jabber:client}body"
BIG = "x" * 30_000


def component(**options: object) -> pytest.MarkDecorator:
    return pytest.mark.server(components={IRC: {"secret": SECRET, **options}, OTHER: {"secret": SECRET}})


def chat(number: int | str, to: str = "romeo@localhost", sender: str = f"a@{IRC}", type: str = "chat") -> str:
    return f"<message from='{sender}' to='{to}' type='{type}' id='{number}'><body>{number}</body></message>"


def ids(found: list[Element]) -> list[str]:
    return [str(each.get("id")) for each in found if each.tag == "{jabber:client}message"]


@pytest.fixture
async def romeo(server: Harness) -> Client:
    return await server.login("romeo", "x", presence=True)


@pytest.fixture
async def irc(server: Harness) -> ComponentClient:
    return await ComponentClient(server, IRC).enter()


# ---- the handshake


@component()
async def test_handshake(server: Harness) -> None:
    peer = ComponentClient(server, IRC)
    peer.open()
    assert (peer.header.get("from"), peer.header.get("version")) == (IRC, None) and len(peer.id) > 16
    assert peer.header.nsmap[None] == "jabber:component:accept"
    peer.shake_hands()
    assert [each.tag for each in await peer.receive_all()] == ["{jabber:client}handshake"] and not peer.closed


@component()
@pytest.mark.parametrize(
    ("said", "error"),
    [
        (HEADER.format(name="unknown.example"), "host-unknown"),
        (HEADER.format(name="localhost"), "host-unknown"),
        (HEADER.format(name=""), "host-unknown"),
        (HEADER.format(name="a@b"), "host-unknown"),
        (HEADER.format(name=IRC).replace("component:accept", "client"), "invalid-namespace"),
        (HEADER.format(name=IRC).replace("component:accept", "component:connect"), "invalid-namespace"),
        (HEADER.format(name=IRC) + "<handshake>wrong</handshake>", "not-authorized"),
        (HEADER.format(name=IRC) + "<handshake/>", "not-authorized"),
        (HEADER.format(name=IRC) + "<handshake>\u00e4</handshake>", "not-authorized"),
        (HEADER.format(name=IRC) + "<other/>", "not-authorized"),
        (HEADER.format(name=IRC) + "<handshake xmlns='jabber:client'/>", "not-authorized"),
        (HEADER.format(name=IRC) + chat(1), "not-authorized"),
        (HEADER.format(name=IRC) + "<handshake>" + "a" * 9000, "policy-violation"),
        ("<!DOCTYPE x>", "restricted-xml"),
    ],
)
async def test_refused(server: Harness, romeo: Client, said: str, error: str) -> None:
    peer = ComponentClient(server, IRC)
    peer.send(said)
    assert await peer.stream_error() == error
    assert peer.closed and await romeo.receive_all() == []
    assert not server.server.components.streams


@component()
async def test_a_wrong_secret(server: Harness) -> None:
    peer = ComponentClient(server, IRC)
    peer.open()
    peer.shake_hands(SECRET + "x")
    assert await peer.stream_error() == "not-authorized"


@component()
async def test_another_handshake(irc: ComponentClient) -> None:
    irc.shake_hands()
    assert await irc.stream_error() == "unsupported-stanza-type"


@component()
async def test_who_says_nothing(server: Harness) -> None:
    silent, slow = ComponentClient(server, IRC), ComponentClient(server, IRC)
    slow.open()
    await server.advance(15)
    assert silent.closed and not slow.closed
    await server.advance(30)
    assert slow.closed and not server.server.components.streams


# ---- whom it speaks for


@component()
async def test_it_speaks_for_its_domain_only(server: Harness, romeo: Client, irc: ComponentClient) -> None:
    irc.send(chat(1) + chat(2, sender=IRC) + chat(3, sender=f"b@{IRC}/r"))
    assert ids(await romeo.receive_all()) == ["1", "2", "3"]
    irc.send(chat(4, sender="juliet@localhost") + chat(5))
    assert await irc.stream_error() == "invalid-from"
    assert ids(await romeo.receive_all()) == []


@component()
@pytest.mark.parametrize("sender", ["localhost", OTHER, f"sub.{IRC}", "romeo@localhost/x", "irc.localhost.evil"])
async def test_other_senders(irc: ComponentClient, romeo: Client, sender: str) -> None:
    irc.send(chat(1, sender=sender))
    assert await irc.stream_error() == "invalid-from"
    assert await romeo.receive_all() == []


@component()
@pytest.mark.parametrize(
    ("stanza", "error"),
    [
        ("<message to='romeo@localhost' id='1'><body>x</body></message>", "bad-request"),
        (f"<message from='a@{IRC}' id='1'><body>x</body></message>", "bad-request"),
        (f"<message from='a b@{IRC}' to='romeo@localhost' id='1'><body>x</body></message>", "jid-malformed"),
        (f"<message from='a@{IRC}' to='@localhost' id='1'><body>x</body></message>", "jid-malformed"),
        (f"<iq from='a@{IRC}' to='localhost' type='get' id='1'/>", "bad-request"),
        (f"<presence from='a@{IRC}' to='romeo@localhost' id='1'><x>{'y' * 40_000}</x></presence>", "policy-violation"),
    ],
)
async def test_bad_stanzas(irc: ComponentClient, romeo: Client, stanza: str, error: str) -> None:
    """They cost the stanza, not the connection: a gateway makes addresses of the names that strangers choose."""
    irc.send(stanza)
    [answer] = await irc.receive_all()
    assert condition(answer) == error and not irc.closed and await romeo.receive_all() == []


# ---- both ways


@component()
async def test_both_ways(server: Harness, romeo: Client, irc: ComponentClient) -> None:
    irc.send(chat("1"))
    [got] = await romeo.receive_all()
    assert (got.get("from"), got.findtext(BODY)) == (f"a@{IRC}", "1")
    romeo.send(f"<message to='a@{IRC}' id='2'><body xmlns='jabber:client'>2</body></message>")
    [came] = await irc.receive_all()
    assert (came.get("from"), came.get("to"), came.findtext(BODY)) == (romeo.jid, f"a@{IRC}", "2")
    answer = await irc.iq("<ping xmlns='urn:xmpp:ping'/>", to="localhost' from='" + IRC)
    assert answer.get("type") == "result"


@component()
async def test_stanzas_are_of_its_namespace(server: Harness, romeo: Client, irc: ComponentClient) -> None:
    """What is forwarded stays what it is."""
    seen: list[bytes] = []
    write = irc.stream.write
    irc.stream.write = lambda data: (seen.append(data), write(data))[1]  # type: ignore[func-returns-value]
    forwarded = (
        "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body>in</body></message></forwarded>"
    )
    romeo.send(f"<message to='a@{IRC}'><c:body xmlns:c='jabber:client'>1 &lt; 2</c:body>{forwarded}</message>")
    await server.quiet()
    [data] = seen
    assert b"<body xmlns='jabber:component:accept'>1 &lt; 2</body>" in data
    assert b"<message xmlns='jabber:client'><body>in</body>" in data


@component()
async def test_between_components(server: Harness, irc: ComponentClient) -> None:
    other = await ComponentClient(server, OTHER).enter()
    irc.send(chat(1, to=f"b@{OTHER}") + chat(2, to=f"c@{IRC}"))
    assert ids(await other.receive_all()) == ["1"] and ids(await irc.receive_all()) == ["2"]


@component()
async def test_contacts(server: Harness, romeo: Client, irc: ComponentClient) -> None:
    """Subscriptions, presence and probes, as between two domains (RFC 6121)."""
    romeo.send(f"<presence to='a@{IRC}' type='subscribe'/>")
    [asked] = await irc.receive_all()
    assert (asked.get("type"), asked.get("from")) == ("subscribe", "romeo@localhost")
    irc.send(f"<presence from='a@{IRC}' to='romeo@localhost' type='subscribed'/>")
    irc.send(f"<presence from='a@{IRC}' to='romeo@localhost' type='subscribe'/>")
    irc.send(f"<presence from='a@{IRC}' to='romeo@localhost'/>")
    await romeo.receive_all()
    romeo.send(f"<presence to='a@{IRC}' type='subscribed'/>")
    assert [each.get("type") for each in await irc.receive_all()] == ["subscribed", None]
    romeo.send("<presence type='unavailable'/>")
    assert [each.get("type") for each in await irc.receive_all()] == ["unavailable"]
    romeo.send("<presence/>")
    assert sorted(str(each.get("type")) for each in await irc.receive_all()) == ["None", "probe"]
    irc.send(f"<presence from='a@{IRC}' to='romeo@localhost' type='probe'/>")
    assert [each.get("from") for each in await irc.receive_all()] == [romeo.jid]


@component()
async def test_in_a_room(server: Harness, romeo: Client, irc: ComponentClient) -> None:
    """A component's user in a room of this server."""
    room, muc = "r@conference.localhost", "<x xmlns='http://jabber.org/protocol/muc'/>"
    romeo.send(f"<presence to='{room}/romeo'>{muc}</presence>")
    await romeo.receive_all()
    await romeo.iq(
        "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>",
        "set",
        room,
    )
    irc.send(f"<presence from='a@{IRC}/x' to='{room}/a'>{muc}</presence>")
    found = await irc.receive_all()
    assert len(found) >= 2
    irc.send(f"<message from='a@{IRC}/x' to='{room}' type='groupchat' id='9'><body>hi</body></message>")
    assert "9" in ids(await romeo.receive_all()) and ids(await irc.receive_all()) == ["9"]


@component()
async def test_it_is_listed(romeo: Client) -> None:
    items = await romeo.iq("<query xmlns='http://jabber.org/protocol/disco#items'/>", to="localhost")
    assert [each.get("jid") for each in items[0]] == ["conference.localhost", IRC, OTHER]


@component(listed=False)
async def test_it_is_not_listed(romeo: Client) -> None:
    items = await romeo.iq("<query xmlns='http://jabber.org/protocol/disco#items'/>", to="localhost")
    assert [each.get("jid") for each in items[0]] == ["conference.localhost", OTHER]


# ---- away, slow, several


@component()
async def test_away(server: Harness, romeo: Client) -> None:
    """It will be back: an error that says so (RFC 6120 section 8.3.3.16); presence is dropped."""
    romeo.send(chat(1, to=f"a@{IRC}", sender=romeo.jid) + f"<presence to='a@{IRC}'/>")
    romeo.send(f"<iq type='get' to='{IRC}' id='2'><ping xmlns='urn:xmpp:ping'/></iq>")
    answers = await romeo.receive_all()
    assert [condition(each) for each in answers] == ["remote-server-timeout"] * 2
    assert answers[0].find("{jabber:client}error").get("type") == "wait"  # type: ignore[union-attr]


@component()
async def test_it_goes_before_the_commit(server: Harness, romeo: Client, irc: ComponentClient) -> None:
    server.backend.hold()
    romeo.send(chat(1, to=f"a@{IRC}", sender=romeo.jid))
    await server.quiet()
    irc.cut()
    server.backend.release()
    assert [condition(each) for each in await romeo.receive_all()] == ["remote-server-timeout"]


@component(queue=262144)
async def test_a_slow_reader(server: Harness, romeo: Client, irc: ComponentClient) -> None:
    """More than may wait for it is refused; when it reads on it has all that was taken, in order."""
    irc.link.stalled = True
    for number in range(40):
        romeo.send(chat(number, to=f"a@{IRC}", sender=romeo.jid).replace("</body>", f"{BIG}</body>"))
    refused = await romeo.receive_all()
    assert {condition(each) for each in refused} == {"resource-constraint"} and 20 < len(refused) < 40
    assert irc.stream.unsent < 2 * 262144 and irc.link.paused, "it is not read either"
    irc.link.go_on()
    got = ids(await irc.receive_all())
    assert got == [str(number) for number in range(len(got))] and len(got) + len(refused) == 40
    assert irc.stream.unsent == 0 and not irc.link.paused and not irc.stream._keys
    romeo.send(chat("last", to=f"a@{IRC}", sender=romeo.jid))
    assert ids(await irc.receive_all()) == ["last"]


@component(queue=262144)
async def test_presence_that_nobody_reads(server: Harness, romeo: Client, irc: ComponentClient) -> None:
    """Nobody would send it again, so it is not left out: the connection ends, and with the next one all begins anew."""
    irc.link.stalled = True
    for number in range(12):
        romeo.send(f"<presence to='a@{IRC}' id='{number}'><status>{BIG}</status></presence>")
    await server.quiet()
    assert irc.link.closed and irc.stream.unsent == 0 and await romeo.receive_all() == []
    romeo.send(chat(1, to=f"a@{IRC}", sender=romeo.jid))
    assert [condition(each) for each in await romeo.receive_all()] == ["remote-server-timeout"]


@component()
async def test_what_it_has_not_read_comes_back(server: Harness, romeo: Client, irc: ComponentClient) -> None:
    juliet = await server.login("juliet", "x", presence=True)
    irc.link.stalled = True
    for number in range(5):
        romeo.send(chat(number, to=f"a@{IRC}", sender=romeo.jid))
    juliet.send(f"<iq type='get' to='{IRC}' id='q'><ping xmlns='urn:xmpp:ping'/></iq>")
    juliet.send(f"<iq type='result' to='{IRC}' id='r'/>")
    await server.quiet()
    irc.cut()
    found = await romeo.receive_all()
    assert ids(found) == list("01234") and {condition(each) for each in found} == {"remote-server-timeout"}
    assert [(each.get("id"), condition(each)) for each in await juliet.receive_all()] == [
        ("q", "remote-server-timeout")
    ]


@component()
async def test_one_connection(server: Harness, irc: ComponentClient, romeo: Client) -> None:
    """Another one is refused when it has proved who it is; the first is asked whether it lives, and ends if it does
    not."""
    second = ComponentClient(server, IRC)
    second.open()
    second.shake_hands("wrong")
    assert await second.stream_error() == "not-authorized" and await irc.receive_all() == []
    second = ComponentClient(server, IRC)
    second.open()
    second.shake_hands()
    assert await second.stream_error() == "conflict"
    [ping] = await irc.receive_all()
    assert ping[0].tag == "{urn:xmpp:ping}ping"
    await server.advance(70)
    assert irc.closed
    third = await ComponentClient(server, IRC).enter()
    romeo.send(chat(1, to=f"a@{IRC}", sender=romeo.jid))
    assert ids(await third.receive_all()) == ["1"]


@component()
async def test_one_that_lives_stays(server: Harness, irc: ComponentClient) -> None:
    second = ComponentClient(server, IRC)
    second.open()
    second.shake_hands()
    assert await second.stream_error() == "conflict"
    [ping] = await irc.receive_all()
    irc.send(f"<iq type='error' id='{ping.get('id')}' from='{IRC}' to='localhost'/>")
    await server.advance(120)
    assert not irc.closed


@component(connections=3)
async def test_several_connections(server: Harness) -> None:
    """What one person sends stays at one of them. When that ends, what waits goes to another, in order."""
    three = [await ComponentClient(server, IRC).enter() for _ in range(3)]
    for number, each in enumerate(three):
        each.stream.salt = bytes([number])
    fourth = ComponentClient(server, IRC)
    fourth.open()
    fourth.shake_hands()
    assert await fourth.stream_error() == "conflict"
    for each in three:
        await each.receive_all()  # the pings
    people = [await server.login(f"p{number}", "x") for number in range(12)]
    for number in range(6):
        for person in people:
            person.send(chat(number, to=f"u{number}@{IRC}", sender=person.jid))
    homes: dict[str, ComponentClient] = {}
    for each in three:
        for sender, numbers in by_sender(await each.receive_all()).items():
            assert numbers == list("012345") and sender not in homes
            homes[sender] = each
    assert len(homes) == 12 and len({id(each) for each in homes.values()}) == 3, "spread over all"
    gone = homes[people[0].jid]
    gone.link.stalled = True
    for number in range(6, 9):
        for person in people:
            person.send(chat(number, to=f"u@{IRC}", sender=person.jid))
    await server.quiet()
    gone.cut()
    for person in people:
        person.send(chat(9, to=f"u@{IRC}", sender=person.jid))
    await server.quiet()
    found: dict[str, list[str]] = {}
    for each in three:
        if each is not gone:
            for sender, numbers in by_sender(await each.receive_all()).items():
                assert sender not in found and (homes[sender] is gone or homes[sender] is each), "only those moved"
                found[sender] = numbers
    assert all(numbers == list("6789") for numbers in found.values()) and len(found) == 12
    assert [await person.receive_all() for person in people] == [[]] * 12, "nothing came back"


@component(connections=2)
async def test_a_second_one_overtakes_nothing(server: Harness) -> None:
    """While something of a person waits at the first one, the rest waits behind it."""
    first = await ComponentClient(server, IRC).enter()
    people = [await server.login(f"p{number}", "x") for number in range(8)]
    first.link.stalled = True
    for person in people:
        person.send(chat(1, to=f"u@{IRC}", sender=person.jid))
    await server.quiet()
    second = await ComponentClient(server, IRC).enter()
    first.stream.salt, second.stream.salt = b"1", b"2"
    for person in people:
        person.send(chat(2, to=f"u@{IRC}", sender=person.jid))
    assert await second.receive_all() == []
    first.link.go_on()
    assert all(numbers == ["1", "2"] for numbers in by_sender(await first.receive_all()).values())
    for person in people:
        person.send(chat(3, to=f"u@{IRC}", sender=person.jid))
    assert by_sender(await second.receive_all()), "from now on it has its share"


def by_sender(found: list[Element]) -> dict[str, list[str]]:
    answer: dict[str, list[str]] = {}
    for each in found:
        answer.setdefault(str(each.get("from")), []).append(str(each.get("id")))
    return answer


@component()
@pytest.mark.parametrize("to", [f"a@{IRC}", "nobody@localhost"])
async def test_what_is_refused_goes_at_once(server: Harness, romeo: Client, to: str) -> None:
    """It does not wait for Python's collector of circles: a flood of refused stanzas took all memory meanwhile."""
    gc.collect()
    gc.disable()
    try:
        for number in range(20):
            romeo.send(chat(number, to=to, sender=romeo.jid))
        assert len(ids(await romeo.receive_all())) == 20
        left = [
            each for each in gc.get_objects() if type(each) is Stanza and each.to is not None and each.to.full == to
        ]
        assert len(left) <= 1
    finally:
        gc.enable()


# ---- as an origin


@component()
async def test_backpressure(server: Harness, romeo: Client, irc: ComponentClient) -> None:
    server.backend.hold()
    for number in range(700):
        irc.send(chat(number))
    await server.quiet()
    assert irc.link.paused and irc.stream.received == 501
    server.backend.release()
    assert ids(await romeo.receive_all()) == [str(number) for number in range(700)]
    assert not irc.link.paused and irc.stream.received == irc.stream.handled == 700
    assert server.server.memory.incoming == 0


@component()
async def test_bytes_that_wait(server: Harness, romeo: Client, irc: ComponentClient) -> None:
    before = server.server.memory.incoming
    server.backend.hold()
    for number in range(300):
        irc.send(chat(number).replace("</body>", f"{BIG}</body>"))
    await server.quiet()
    assert irc.link.paused and irc.stream.received < 150
    irc.cut()
    assert server.server.memory.incoming == before, "nothing is counted for who is gone"
    server.backend.release()
    await server.quiet()
    assert server.server.memory.incoming == before


@component(rate={"stanzas": 10, "stanzas_burst": 20})
async def test_rate(server: Harness, romeo: Client, irc: ComponentClient) -> None:
    for number in range(50):
        irc.send(chat(number))
    await server.quiet()
    assert irc.link.paused and 15 <= irc.stream.received < 30
    await server.advance(5)
    assert irc.stream.received == 50 and not irc.link.paused


@component()
async def test_a_silent_one_is_asked(server: Harness, irc: ComponentClient) -> None:
    await server.advance(310)
    [ping] = await irc.receive_all()
    assert ping[0].tag == "{urn:xmpp:ping}ping"
    await server.advance(70)
    assert irc.closed


# ---- the end


@component()
async def test_the_server_stops(server: Harness, romeo: Client, irc: ComponentClient) -> None:
    await server.stop()
    assert await irc.stream_error() == "system-shutdown"


@component()
async def test_its_domain_is_never_elsewhere(server: Harness) -> None:
    """Also while it is away: nobody dials for it."""
    assert not server.server.router.routes.find(JID.parse(f"a@{IRC}")).remote
