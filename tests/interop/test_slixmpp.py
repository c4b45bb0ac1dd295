"""Everyday life with slixmpp."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from slixmpp import JID
from slixmpp.exceptions import IqError, PresenceError
from slixmpp.xmlstream import ET

from tests.interop.conftest import People
from tests.interop.people import WITHIN, eventually


async def test_contacts(people: People) -> None:
    """Add, name, subscribe both ways, see each other come and go, remove."""
    romeo, juliet = await people.login("romeo", "orchard"), await people.login("juliet", "balcony")
    contact = people.bare("juliet")
    romeo.update_roster(JID(contact), name="Juliet", groups=["Capulet"], timeout=WITHIN)
    await eventually(lambda: contact in romeo.client_roster, "the roster push")
    assert romeo.client_roster[contact]["name"] == "Juliet"
    assert romeo.client_roster[contact]["groups"] == ["Capulet"]
    romeo.send_presence_subscription(pto=contact)  # the other side agrees and asks back, as slixmpp does
    for person, mate in ((romeo, people.bare("juliet")), (juliet, people.bare("romeo"))):
        await eventually(partial(person.subscribed, mate), f"subscription both with {mate}")
        await eventually(partial(person.sees, mate), f"{mate} is seen")
    assert romeo.client_roster[contact]["name"] == "Juliet"
    juliet.send_presence(pshow="away", pstatus="at church")
    await eventually(lambda: romeo.client_roster[contact].resources["balcony"]["show"] == "away", "away")
    juliet.disconnect()
    await eventually(lambda: not romeo.sees(contact), "gone")
    romeo.update_roster(JID(contact), subscription="remove", timeout=WITHIN)
    roster = await romeo.get_roster(timeout=WITHIN)
    assert roster is not None
    assert not roster["roster"]["items"]


async def test_chat(people: People) -> None:
    """Both ways; an order is kept; who is offline finds it at the next sign-in."""
    romeo, juliet = await people.login("romeo"), await people.login("juliet")
    for number in range(20):
        romeo.say(people.bare("juliet"), f"m{number}")
    heard = [await juliet.hear() for _ in range(20)]
    assert [message["body"] for message in heard] == [f"m{number}" for number in range(20)]
    juliet.say(str(heard[0]["from"]), "and to you")
    assert (await romeo.hear())["body"] == "and to you"
    tybalt = people.bare("tybalt")
    await people.register("tybalt")
    romeo.say(tybalt, "when you are back")
    await romeo.settled()
    message = await (await people.login("tybalt")).hear()
    assert message["body"] == "when you are back"
    assert message["delay"]["stamp"] is not None


async def test_carbons(people: People) -> None:
    """Each of two devices sees what the other gets and sends."""
    romeo = await people.login("romeo")
    phone, laptop = await people.login("juliet", "phone"), await people.login("juliet", "laptop")
    copies: asyncio.Queue[Any] = asyncio.Queue()
    for event in ("carbon_received", "carbon_sent"):
        laptop.add_event_handler(event, lambda message, event=event: copies.put_nowait((event, message)))
    await laptop.plugin["xep_0280"].enable(timeout=WITHIN)
    romeo.say(str(phone.boundjid), "to the phone")
    assert (await phone.hear())["body"] == "to the phone"
    event, copy = await asyncio.wait_for(copies.get(), WITHIN)
    assert (event, copy["carbon_received"]["body"]) == ("carbon_received", "to the phone")
    phone.say(str(romeo.boundjid), "from the phone")
    event, copy = await asyncio.wait_for(copies.get(), WITHIN)
    assert (event, copy["carbon_sent"]["body"]) == ("carbon_sent", "from the phone")


async def test_archive(people: People) -> None:
    """Pages, forwards and backwards, of one contact; the same for both sides."""
    romeo, juliet = await people.login("romeo"), await people.login("juliet")
    tybalt = await people.login("tybalt")
    tybalt.say(people.bare("juliet"), "something else")
    for number in range(7):
        romeo.say(people.bare("juliet"), f"m{number}")
    for _ in range(8):
        await juliet.hear()
    expected = [f"m{number}" for number in range(7)]
    for person, mate in ((romeo, "juliet"), (juliet, "romeo")):
        for reverse in (False, True):
            pages = person.plugin["xep_0313"].iterate(with_jid=JID(people.bare(mate)), rsm={"max": 3}, reverse=reverse)
            found = [entry["mam_result"]["forwarded"]["stanza"]["body"] async for entry in pages]
            assert found == (expected[::-1] if reverse else expected)


async def test_group_chat(people: People) -> None:
    """Make a room, talk, history for the next one in, who may what."""
    romeo, juliet = await people.login("romeo"), await people.login("juliet")
    room = people.room("garden")
    muc = romeo.plugin["xep_0045"]
    await muc.join_muc_wait(JID(room), "Romeo", timeout=WITHIN)
    form = await muc.get_room_config(room, timeout=WITHIN)
    form["type"] = "submit"
    await muc.set_room_config(room, form, timeout=WITHIN)
    for number in range(3):
        romeo.say(room, f"g{number}", "groupchat")
    for number in range(3):
        assert (await romeo.hear())["body"] == f"g{number}"
    _, _, occupants, history = await juliet.plugin["xep_0045"].join_muc_wait(
        JID(room), "Juliet", maxstanzas=10, timeout=WITHIN
    )
    assert [message["body"] for message in history] == ["g0", "g1", "g2"]
    assert {str(occupant["from"].resource) for occupant in occupants} - {"Juliet"} == {"Romeo"}
    juliet.say(room, "I am here", "groupchat")
    heard = await romeo.hear()
    assert (str(heard["from"]), heard["body"]) == (f"{room}/Juliet", "I am here")
    await muc.set_affiliation(room, "member", jid=JID(people.bare("juliet")), timeout=WITHIN)
    members = await muc.get_affiliation_list(room, "member", timeout=WITHIN)
    assert [str(member) for member in members] == [people.bare("juliet")]
    nurse = await people.login("nurse")
    with pytest.raises(PresenceError) as taken:  # at once: the client knows the error by the <x/> of the request
        await nurse.plugin["xep_0045"].join_muc_wait(JID(room), "Romeo", timeout=WITHIN)
    assert taken.value.condition == "conflict"
    with pytest.raises(IqError) as refused:
        await juliet.plugin["xep_0045"].set_affiliation(room, "none", jid=JID(people.bare("romeo")), timeout=WITHIN)
    assert refused.value.condition in ("forbidden", "not-allowed")
    muc.leave_muc(JID(room), "Romeo")
    await eventually(lambda: "Romeo" not in juliet.plugin["xep_0045"].get_roster(JID(room)), "Romeo has left")


async def test_vcard(people: People) -> None:
    romeo, juliet = await people.login("romeo"), await people.login("juliet")
    card = romeo.plugin["xep_0054"].make_vcard()
    card["FN"] = "Romeo Montague"
    await romeo.plugin["xep_0054"].publish_vcard(card, timeout=WITHIN)
    found = await juliet.plugin["xep_0054"].get_vcard(JID(people.bare("romeo")), timeout=WITHIN)
    assert found["vcard_temp"]["FN"] == "Romeo Montague"


async def test_blocking(people: People) -> None:
    romeo, tybalt = await people.login("romeo"), await people.login("tybalt")
    enemy = people.bare("tybalt")
    await romeo.plugin["xep_0191"].block(JID(enemy), timeout=WITHIN)
    assert await romeo.plugin["xep_0191"].get_blocked_jids(timeout=WITHIN) == {JID(enemy)}
    tybalt.say(people.bare("romeo"), "a plague on your house")
    await tybalt.settled()
    await romeo.plugin["xep_0191"].unblock(JID(enemy), timeout=WITHIN)
    tybalt.say(people.bare("romeo"), "peace")
    assert (await romeo.hear())["body"] == "peace"


async def test_discovery_and_ping(people: People) -> None:
    romeo = await people.login("romeo")
    disco = romeo.plugin["xep_0030"]
    info = (await disco.get_info(JID("localhost"), timeout=WITHIN))["disco_info"]
    assert ("server", "im") in {identity[:2] for identity in info["identities"]}
    assert {"urn:xmpp:ping", "jabber:iq:roster", "http://jabber.org/protocol/disco#info"} & set(info["features"])
    items = (await disco.get_items(JID("localhost"), timeout=WITHIN))["disco_items"]["items"]
    assert "conference.localhost" in {str(item[0]) for item in items}
    rooms = (await disco.get_info(JID("conference.localhost"), timeout=WITHIN))["disco_info"]
    assert "http://jabber.org/protocol/muc" in rooms["features"]
    own = (await disco.get_info(JID(people.bare("romeo")), timeout=WITHIN))["disco_info"]
    assert "urn:xmpp:mam:2" in own["features"]
    assert await romeo.plugin["xep_0199"].ping(JID("localhost"), timeout=WITHIN) < WITHIN


async def test_resumption_after_a_cut(people: People) -> None:
    """Nobody sees that it was away; what was said meanwhile arrives once."""
    romeo, juliet = await people.login("romeo"), await people.login("juliet")
    await eventually(lambda: romeo.plugin["xep_0198"].sm_id, "stream management is enabled")
    jid = str(romeo.boundjid)
    gone = asyncio.ensure_future(romeo.wait_until("disconnected", WITHIN))
    assert romeo.transport is not None
    romeo.transport.abort()
    await gone
    juliet.say(people.bare("romeo"), "while you were away")
    juliet.say(jid, "and again")
    await juliet.settled()
    resumed = asyncio.ensure_future(romeo.wait_until("session_resumed", WITHIN))
    romeo.connect("127.0.0.1", people.server.port())
    await resumed
    assert [(await romeo.hear())["body"] for _ in range(2)] == ["while you were away", "and again"]
    romeo.say(people.bare("juliet"), "back")
    heard = await juliet.hear()
    assert (str(heard["from"]), heard["body"]) == (jid, "back")
    assert len(romeo.said) == 2


async def test_a_file_passes_through_the_proxy(people: People) -> None:
    """XEP-0065: found by service discovery, activated; all that was sent before the end arrives."""
    romeo, juliet = await people.login("romeo"), await people.login("juliet")
    for each in (romeo, juliet):
        each.register_plugin("xep_0065", {"auto_accept": True})
    came, ended = bytearray(), asyncio.Event()
    juliet.add_event_handler("socks5_data", came.extend)
    juliet.add_event_handler("socks5_closed", lambda _: ended.set())
    stream = await asyncio.wait_for(romeo.plugin["xep_0065"].handshake(juliet.boundjid, timeout=WITHIN), WITHIN)
    assert stream is not None
    data = bytes(range(256)) * 4096
    stream.transport.write(data)
    stream.transport.close()
    await asyncio.wait_for(ended.wait(), WITHIN)
    assert bytes(came) == data


async def test_words_are_found(people: People) -> None:
    """XEP-0431, as a field in the archive's form."""
    romeo, juliet = await people.login("romeo"), await people.login("juliet")
    for text in ("But soft, what light", "It is the east"):
        romeo.say(people.bare("juliet"), text)
        await juliet.hear()
    query = ET.Element("{urn:xmpp:mam:2}query")
    form = ET.SubElement(query, "{jabber:x:data}x", type="submit")
    for var, value in (("FORM_TYPE", "urn:xmpp:mam:2"), ("{urn:xmpp:fulltext:0}fulltext", "east")):
        ET.SubElement(ET.SubElement(form, "{jabber:x:data}field", var=var), "{jabber:x:data}value").text = value
    request = juliet.make_iq_set()
    request.append(query)
    answer = await request.send(timeout=WITHIN)
    assert answer.xml.findtext(".//{http://jabber.org/protocol/rsm}count") == "1"


async def test_one_message_to_many(people: People) -> None:
    """XEP-0033."""
    romeo, juliet, nurse = [await people.login(name) for name in ("romeo", "juliet", "nurse")]
    message = romeo.make_message(JID("localhost"), mbody="the feast is at eight", mtype="chat")
    addresses = ET.SubElement(message.xml, "{http://jabber.org/protocol/address}addresses")
    for name in ("juliet", "nurse"):
        ET.SubElement(addresses, "{http://jabber.org/protocol/address}address", type="bcc", jid=people.bare(name))
    message.send()
    for person in (juliet, nurse):
        assert (await person.hear())["body"] == "the feast is at eight"


async def test_nobody_sees_that_i_am_online(people: People) -> None:
    """The ad-hoc command of the own account, as a client shows it."""
    romeo, juliet = await people.login("romeo", "orchard"), await people.login("juliet", "balcony")
    contact = people.bare("juliet")
    romeo.send_presence_subscription(pto=JID(contact))
    await eventually(partial(romeo.sees, contact), "she is seen")
    commands: Any = juliet.register_plugin("xep_0050") or juliet.plugin["xep_0050"]
    done = asyncio.Event()

    def fill_in(answer: Any, session: dict[str, Any]) -> None:
        form = answer["command"]["form"]
        form["type"] = "submit"
        form.set_values({"online": "nobody"})
        session["payload"] = form
        session["next"] = lambda answer, _: done.set() if answer["command"]["status"] == "completed" else None
        commands.complete_command(session)

    commands.start_command(jid=contact, node="urn:xmppd:privacy", session={"next": fill_in})
    await asyncio.wait_for(done.wait(), WITHIN)
    await eventually(lambda: not romeo.sees(contact), "she is gone")
    juliet.send_presence(pshow="away")
    await juliet.settled()
    await romeo.settled()
    assert not romeo.sees(contact)
