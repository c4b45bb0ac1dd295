"""Everyday life between people of this server and people of Prosody and ejabberd, in both directions.

`sides` is (here, there): the one who acts is here; one of both servers is ours.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from slixmpp import JID
from slixmpp.exceptions import IqError

from tests.interop.conftest import Members
from tests.interop.peers import Federation, Peer, Trust
from tests.interop.people import WITHIN, Person, eventually

Sides = tuple[Peer, Peer]
PEERS = ["prosody", "ejabberd"]
NOBODY = {"service-unavailable", "item-not-found"}
"""What servers say of an account that they do not have (RFC 6121 section 8.5.1)."""
RETURN = 60.0
"""Seconds until a server that was away is called again, at most."""


@pytest.fixture(params=PEERS)
def peer(request: pytest.FixtureRequest, federation: Federation) -> Peer:
    found: Peer = getattr(federation, request.param)
    return found


@pytest.fixture(params=["from_us", "to_us"])
def sides(request: pytest.FixtureRequest, federation: Federation, peer: Peer) -> Sides:
    return (federation.ours, peer) if request.param == "from_us" else (peer, federation.ours)


def noted(person: Person, *events: str) -> asyncio.Queue[Any]:
    """What comes with these events of slixmpp."""
    found: asyncio.Queue[Any] = asyncio.Queue()
    for event in events:
        person.add_event_handler(event, found.put_nowait)
    return found


async def soon(found: asyncio.Queue[Any]) -> Any:
    return await asyncio.wait_for(found.get(), WITHIN)


async def reach(person: Person, there: Peer) -> None:
    """There is a stream to the server: while it is made, Prosody 0.12 sends what waits behind what comes later."""
    await person.plugin["xep_0199"].send_ping(JID(there.domain), timeout=WITHIN)


async def befriend(one: Person, other: Person) -> None:
    """Subscriptions in both directions; the other side agrees and asks back, as slixmpp does."""
    one.send_presence_subscription(pto=JID(other.boundjid.bare))
    for person, mate in ((one, other.boundjid.bare), (other, one.boundjid.bare)):
        await eventually(partial(person.subscribed, mate), f"{person.boundjid.bare} and {mate} are friends")
        await eventually(partial(person.sees, mate), f"{person.boundjid.bare} sees {mate}")


async def test_contacts(sides: Sides, members: Members) -> None:
    """Subscribe both ways, see each other come and go, find who is there at the sign-in, remove."""
    here, there = sides
    romeo, juliet = await members.login(here, "romeo", "orchard"), await members.login(there, "juliet", "balcony")
    his, hers = romeo.boundjid.bare, juliet.boundjid.bare
    await befriend(romeo, juliet)
    juliet.send_presence(pshow="away", pstatus="at church")
    await eventually(lambda: romeo.client_roster[hers].resources["balcony"]["show"] == "away", "away")
    juliet.disconnect()
    await eventually(lambda: not romeo.sees(hers), "she is gone")
    juliet = await members.login(there, "juliet", "garden")
    await eventually(lambda: juliet.sees(his), "her server has asked for his presence")
    await eventually(lambda: "garden" in romeo.client_roster[hers].resources, "she is back")
    romeo.update_roster(JID(hers), subscription="remove", timeout=WITHIN)
    await eventually(lambda: juliet.client_roster[his]["subscription"] == "none", "he has taken back both")
    await eventually(lambda: not juliet.sees(his), "he is not seen any more")


async def test_chat(sides: Sides, members: Members) -> None:
    """In order; a receipt (XEP-0184); the other device has what comes and goes (XEP-0280)."""
    here, there = sides
    romeo = await members.login(here, "romeo", "orchard")
    phone, laptop = await members.login(there, "juliet", "phone"), await members.login(there, "juliet", "laptop")
    for each in (romeo, phone):
        each.register_plugin("xep_0184")
    received, sent = noted(laptop, "carbon_received"), noted(laptop, "carbon_sent")
    receipts = noted(romeo, "receipt_received")
    await laptop.plugin["xep_0280"].enable(timeout=WITHIN)
    await reach(romeo, there)
    for number in range(20):
        romeo.say(str(phone.boundjid), f"m{number}")
    assert [(await phone.hear())["body"] for _ in range(20)] == [f"m{number}" for number in range(20)]
    assert [(await soon(received))["carbon_received"]["body"] for _ in range(20)] == [f"m{n}" for n in range(20)]
    asked = romeo.make_message(phone.boundjid, mbody="do you hear?", mtype="chat")
    asked["request_receipt"] = True
    asked.send()
    assert (await phone.hear())["body"] == "do you hear?"
    assert (await soon(receipts))["receipt"] == asked["id"]
    phone.say(str(romeo.boundjid), "I do\N{HEAVY BLACK HEART} <&>")
    assert (await romeo.hear())["body"] == "I do\N{HEAVY BLACK HEART} <&>"
    while not (copy := (await soon(sent))["carbon_sent"])["body"]:  # the receipt before it
        pass
    assert copy["body"] == "I do\N{HEAVY BLACK HEART} <&>"


async def test_much(sides: Sides, members: Members) -> None:
    """A long message, and many at once."""
    here, there = sides
    romeo, juliet = await members.login(here, "romeo"), await members.login(there, "juliet")
    await reach(romeo, there)
    long = "\N{ROSE}" * 30_000
    romeo.say(str(juliet.boundjid), long)
    for number in range(300):
        romeo.say(str(juliet.boundjid), f"m{number}")
    assert (await juliet.hear())["body"] == long
    assert [(await juliet.hear())["body"] for _ in range(300)] == [f"m{number}" for number in range(300)]


async def archived(person: Person, mate: str) -> list[tuple[str, str]]:
    """(from, body) of what the archive has of a conversation."""
    pages = person.plugin["xep_0313"].iterate(with_jid=JID(mate), rsm={"max": 10})
    entries = [entry["mam_result"]["forwarded"]["stanza"] async for entry in pages]
    return [(str(JID(each["from"]).bare), each["body"]) for each in entries if each["body"]]


async def test_archive(sides: Sides, members: Members) -> None:
    """Both have the same conversation."""
    here, there = sides
    romeo, juliet = await members.login(here, "romeo"), await members.login(there, "juliet")
    his, hers = romeo.boundjid.bare, juliet.boundjid.bare
    for number in range(3):
        romeo.say(hers, f"m{number}")
        await juliet.hear()
    juliet.say(his, "and to you")
    await romeo.hear()
    expected = [(his, f"m{number}") for number in range(3)] + [(hers, "and to you")]
    assert await archived(romeo, hers) == expected
    assert await archived(juliet, his) == expected


async def test_questions(sides: Sides, members: Members) -> None:
    """Of the other server, its rooms, an account, a device; what is not there is refused."""
    here, there = sides
    romeo, juliet = await members.login(here, "romeo"), await members.login(there, "juliet")
    disco, ping = romeo.plugin["xep_0030"], romeo.plugin["xep_0199"]
    info = (await disco.get_info(JID(there.domain), timeout=WITHIN))["disco_info"]
    assert ("server", "im") in {identity[:2] for identity in info["identities"]}
    items = (await disco.get_items(JID(there.domain), timeout=WITHIN))["disco_items"]["items"]
    assert there.rooms in {str(item[0]) for item in items}
    rooms = (await disco.get_info(JID(there.rooms), timeout=WITHIN))["disco_info"]
    assert "http://jabber.org/protocol/muc" in rooms["features"]
    for jid in (there.domain, str(juliet.boundjid)):
        assert await ping.send_ping(JID(jid), timeout=WITHIN)
    card = juliet.plugin["xep_0054"].make_vcard()
    card["FN"] = "Juliet Capulet"
    await juliet.plugin["xep_0054"].publish_vcard(card, timeout=WITHIN)
    found = await romeo.plugin["xep_0054"].get_vcard(JID(juliet.boundjid.bare), timeout=WITHIN)
    assert found["vcard_temp"]["FN"] == "Juliet Capulet"
    with pytest.raises(IqError) as refused:  # not the vCard: the others have an empty one of everybody
        await disco.get_info(JID(f"nobody@{there.domain}"), timeout=WITHIN)
    assert refused.value.condition in NOBODY | {"subscription-required"}  # what ejabberd says of strangers, too


async def test_room(sides: Sides, members: Members) -> None:
    """A room of ours and one of theirs: join, history, talk both ways, a private message, be thrown out."""
    here, there = sides
    romeo, juliet = await members.login(here, "romeo"), await members.login(there, "juliet")
    room = members.room(here, "garden")
    muc, hers = romeo.plugin["xep_0045"], juliet.plugin["xep_0045"]
    await muc.join_muc_wait(JID(room), "Romeo", timeout=WITHIN)
    form = await muc.get_room_config(room, timeout=WITHIN)
    form["type"] = "submit"
    await muc.set_room_config(room, form, timeout=WITHIN)
    for number in range(3):
        romeo.say(room, f"g{number}", "groupchat")
        assert (await romeo.hear())["body"] == f"g{number}"
    _, _, occupants, history = await hers.join_muc_wait(JID(room), "Juliet", maxstanzas=10, timeout=WITHIN)
    assert [message["body"] for message in history if message["body"]] == ["g0", "g1", "g2"]
    assert "Romeo" in {str(occupant["from"].resource) for occupant in occupants}
    for _ in range(3):
        await juliet.hear()
    for number in range(10):
        romeo.say(room, f"h{number}", "groupchat")
    for person in (romeo, juliet):
        heard = [await person.hear() for _ in range(10)]
        assert [(str(each["from"]), each["body"]) for each in heard] == [
            (f"{room}/Romeo", f"h{number}") for number in range(10)
        ]
    juliet.say(room, "I am here", "groupchat")
    for person in (romeo, juliet):
        heard = await person.hear()
        assert (str(heard["from"]), heard["body"]) == (f"{room}/Juliet", "I am here")
    juliet.say(f"{room}/Romeo", "between us")
    heard = await romeo.hear()
    assert (str(heard["from"]), heard["type"], heard["body"]) == (f"{room}/Juliet", "chat", "between us")
    gone = noted(juliet, f"muc::{room}::self-presence", f"muc::{room}::got_offline")
    await muc.set_role(JID(room), "Juliet", "none", timeout=WITHIN)
    while (last := await soon(gone))["from"].resource != "Juliet" or last["type"] != "unavailable":
        pass
    assert 307 in last["muc"]["status_codes"]
    await eventually(lambda: "Juliet" not in muc.get_roster(JID(room)), "she has left")


async def test_personal_events(sides: Sides, members: Members) -> None:
    """A contact's nick comes by itself, the last one at the sign-in (XEP-0163)."""
    here, there = sides
    romeo, juliet = await members.login(here, "romeo", presence=False), await members.login(there, "juliet")
    nicks = await interested(romeo)
    await befriend(romeo, juliet)
    juliet.register_plugin("xep_0172")
    await juliet.plugin["xep_0172"].publish_nick("Jule", timeout=WITHIN)
    event = await soon(nicks)
    assert event["from"].bare == juliet.boundjid.bare
    assert event["pubsub_event"]["items"]["item"]["nick"]["nick"] == "Jule"
    romeo.disconnect()
    await eventually(lambda: not juliet.sees(romeo.boundjid.bare), "he is gone")
    romeo = await members.login(here, "romeo", presence=False)
    event = await soon(await interested(romeo))
    assert event["pubsub_event"]["items"]["item"]["nick"]["nick"] == "Jule"


async def test_avatar(sides: Sides, members: Members) -> None:
    """A contact's avatar is fetched (XEP-0084), a stranger's is not."""
    here, there = sides
    romeo, juliet = await members.login(here, "romeo"), await members.login(there, "juliet")
    tybalt = await members.login(here, "tybalt")
    await befriend(romeo, juliet)
    for person in (romeo, juliet, tybalt):
        person.register_plugin("xep_0084")
    avatar = juliet.plugin["xep_0084"]
    picture = bytes(range(256)) * 32
    await avatar.publish_avatar(picture, timeout=WITHIN)
    wanted = JID(juliet.boundjid.bare), avatar.generate_id(picture)
    found = await romeo.plugin["xep_0084"].retrieve_avatar(*wanted, timeout=WITHIN)
    assert found["pubsub"]["items"]["item"]["avatar_data"]["value"] == picture
    with pytest.raises(IqError) as refused:
        await tybalt.plugin["xep_0084"].retrieve_avatar(*wanted, timeout=WITHIN)
    assert refused.value.condition in {"not-authorized", "forbidden", "service-unavailable"}


async def interested(person: Person) -> asyncio.Queue[Any]:
    """It appears with `nick+notify` in its capabilities (XEP-0115)."""
    for plugin in ("xep_0115", "xep_0163", "xep_0172"):
        person.register_plugin(plugin)
    nicks = noted(person, "user_nick_publish")
    person.plugin["xep_0163"].add_interest("http://jabber.org/protocol/nick")
    await person.plugin["xep_0115"].update_caps()
    await person.appear()
    return nicks


async def test_blocking(sides: Sides, members: Members) -> None:
    """Who is blocked is told that nobody is there (XEP-0191), and is heard when it is over."""
    here, there = sides
    romeo, tybalt = await members.login(here, "romeo"), await members.login(there, "tybalt")
    enemy, blocking = JID(tybalt.boundjid.bare), romeo.plugin["xep_0191"]
    errors = noted(tybalt, "message_error")
    await blocking.block(enemy, timeout=WITHIN)
    tybalt.say(romeo.boundjid.bare, "a plague on your house")
    assert (await soon(errors))["error"]["condition"] == "service-unavailable"
    with pytest.raises(IqError) as refused:
        await tybalt.plugin["xep_0199"].send_ping(romeo.boundjid, timeout=WITHIN)
    assert refused.value.condition == "service-unavailable"
    await blocking.unblock(enemy, timeout=WITHIN)
    tybalt.say(romeo.boundjid.bare, "peace")
    assert (await romeo.hear())["body"] == "peace"


async def test_nobody_is_at_home(sides: Sides, members: Members) -> None:
    """Messages wait for the next sign-in; without an account they come back."""
    here, there = sides
    romeo = await members.login(here, "romeo")
    hers = await members.register(there, "juliet")
    errors = noted(romeo, "message_error")
    await reach(romeo, there)
    for number in range(3):
        romeo.say(hers, f"m{number}")
    romeo.say(f"nobody@{there.domain}", "is anybody there?")
    error = await soon(errors)  # behind the others, in the order of the stream
    assert error["from"] == f"nobody@{there.domain}"
    assert error["error"]["condition"] in NOBODY
    juliet = await members.login(there, "juliet")
    for number in range(3):
        heard = await juliet.hear()
        assert heard["body"] == f"m{number}"
        assert heard["delay"]["stamp"] is not None
    assert errors.empty()


async def has_all(peer: Peer, sender: Person) -> None:
    """The peer is through with what the sender has said to its people: an answer has come to what stands behind it."""
    errors = noted(sender, "message_error")
    sender.say(f"nobody@{peer.domain}", "is anybody there?")
    error = await asyncio.wait_for(errors.get(), RETURN)
    assert (error["from"], error["error"]["condition"] in NOBODY) == (f"nobody@{peer.domain}", True), str(error)


async def heard_once(person: Person, texts: list[str]) -> None:
    """In this order, and nothing behind them."""
    assert [(await person.hear())["body"] for _ in texts] == texts
    await person.settled()
    assert len(person.said) == len(texts)


async def test_a_peer_that_was_away(federation: Federation, peer: Peer, members: Members) -> None:
    """It ends in order and comes back; what was said meanwhile arrives once and in order."""
    romeo, hers = await members.login(federation.ours, "romeo"), await members.register(peer, "juliet")
    await reach(romeo, peer)
    await asyncio.to_thread(peer.stop)
    texts = [f"w{number}" for number in range(5)]
    for text in texts:
        romeo.say(hers, text)
    await romeo.settled()
    await asyncio.to_thread(peer.start)
    romeo.say(hers, "after")
    await has_all(peer, romeo)  # who signs in to ejabberd while they come misses some until the next time
    await heard_once(await members.login(peer, "juliet"), [*texts, "after"])


async def test_a_peer_that_crashes(federation: Federation, peer: Peer, members: Members) -> None:
    """It dies (SIGKILL) before it has read what it was sent; all arrives once and in order when it is back."""
    romeo, hers = await members.login(federation.ours, "romeo"), await members.register(peer, "juliet")
    await reach(romeo, peer)
    await eventually(lambda: peer.on_disk(hers), "her account is stored")
    peer.stall()
    texts = [f"w{number}" for number in range(5)]
    for text in texts:
        romeo.say(hers, text)
    await romeo.settled()
    await asyncio.to_thread(peer.kill)
    await asyncio.to_thread(peer.start)
    await has_all(peer, romeo)
    await heard_once(await members.login(peer, "juliet"), texts)


async def test_no_ghost_stays_in_a_room(federation: Federation, peer: Peer, members: Members) -> None:
    """An occupant whose server has crashed leaves when that server answers that nobody is there (XEP-0045)."""
    romeo, juliet = await members.login(federation.ours, "romeo"), await members.login(peer, "juliet")
    room = members.room(federation.ours, "garden")
    muc = romeo.plugin["xep_0045"]
    await muc.join_muc_wait(JID(room), "Romeo", timeout=WITHIN)
    form = await muc.get_room_config(room, timeout=WITHIN)
    form["type"] = "submit"
    await muc.set_room_config(room, form, timeout=WITHIN)
    await juliet.plugin["xep_0045"].join_muc_wait(JID(room), "Juliet", timeout=WITHIN)
    await eventually(lambda: "Juliet" in muc.get_roster(JID(room)), "she is in the room")
    await eventually(lambda: peer.on_disk(juliet.boundjid.bare), "her account is stored")
    await asyncio.to_thread(peer.kill)
    romeo.say(room, "are you still there?", "groupchat")
    await romeo.hear()
    await asyncio.to_thread(peer.start)
    romeo.say(room, "and now?", "groupchat")
    await romeo.hear()
    end = asyncio.get_running_loop().time() + RETURN
    while "Juliet" in muc.get_roster(JID(room)):
        assert asyncio.get_running_loop().time() < end, "she is a ghost"
        await asyncio.sleep(0.1)


async def test_our_crash_while_a_peer_is_away(federation: Federation, peer: Peer, members: Members) -> None:
    """What the server has taken survives its end (SIGKILL), and goes out when both are back."""
    romeo, hers = await members.login(federation.ours, "romeo"), await members.register(peer, "juliet")
    await asyncio.to_thread(peer.stop)
    texts = [f"w{number}" for number in range(5)]
    for text in texts:
        romeo.say(hers, text)
    await romeo.settled()
    await asyncio.to_thread(federation.ours.kill)
    romeo.leave()
    await asyncio.to_thread(federation.ours.start)
    await asyncio.to_thread(peer.start)
    await has_all(peer, await members.login(federation.ours, "romeo"))
    await heard_once(await members.login(peer, "juliet"), texts)


async def test_how_servers_prove_themselves(federation: Federation, members: Members) -> None:
    """By certificate where it proves something, else by dialback: as ejabberd has seen it, in both directions."""
    romeo, nurse = await members.login(federation.ours, "romeo"), await members.login(federation.ejabberd, "nurse")
    romeo.say(nurse.boundjid.bare, "hello")
    await nurse.hear()
    nurse.say(romeo.boundjid.bare, "hello")
    await romeo.hear()
    ours, ejabberd = federation.ours.domain, federation.ejabberd.domain
    inbound, outbound = {
        Trust.AUTHORITY: ("EXTERNAL", "EXTERNAL"),
        Trust.SERVER_ONLY: ("dialback", "EXTERNAL"),
        Trust.SELF_SIGNED: ("dialback", "dialback"),
    }[federation.trust]
    for said in (
        f"Accepted inbound s2s {inbound} authentication {ours} -> {ejabberd}",
        f"Accepted outbound s2s {outbound} authentication {ejabberd} -> {ours}",
    ):
        await eventually(lambda said=said: said in federation.ejabberd.log, said)  # type: ignore[misc]
