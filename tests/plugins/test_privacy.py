"""Who sees that somebody is online, and when they were last."""

from __future__ import annotations

import pytest

from plugins.privacy import NODE
from tests.core.test_delivery import restarted
from tests.harness import Client, Element, Harness, condition
from tests.plugins.test_presence_subscriptions import friends, heard, person, send

COMMANDS = "http://jabber.org/protocol/commands"
LAST = "<query xmlns='jabber:iq:last'/>"
IDLE = "<idle xmlns='urn:xmpp:idle:1' since='2026-11-20T10:00:00Z'/>"


def names(presence: Element) -> list[str]:
    return [str(child.tag).partition("}")[2] for child in presence if "delay" not in str(child.tag)]


async def choose(client: Client, **values: str | tuple[str, ...]) -> Element:
    """The command to its end."""
    me = client.jid.partition("/")[0]
    first = await client.iq(f"<command xmlns='{COMMANDS}' node='{NODE}'/>", "set", to=me)
    session = first[0].get("sessionid")
    fields = ""
    for name, value in {"FORM_TYPE": NODE, **values}.items():
        texts = (value,) if isinstance(value, str) else value
        fields += f"<field var='{name}'>{''.join(f'<value>{text}</value>' for text in texts)}</field>"
    form = f"<x xmlns='jabber:x:data' type='submit'>{fields}</x>"
    return await client.iq(
        f"<command xmlns='{COMMANDS}' node='{NODE}' sessionid='{session}' action='complete'>{form}</command>",
        "set",
        to=me,
    )


async def last(client: Client, of: str) -> str:
    """The seconds, or the error's condition."""
    answer = await client.iq(LAST, to=of)
    return str(answer[0].get("seconds")) if answer.get("type") == "result" else condition(answer)


async def test_nobody_sees_that_i_am_online(server: Harness) -> None:
    romeo, juliet = await friends(server)
    assert (await choose(juliet, online="nobody"))[0].get("status") == "completed"
    assert await heard(romeo) == ["unavailable juliet@localhost/balcony"]
    juliet.send("<presence><show>away</show></presence>")
    assert await heard(juliet) == ["available juliet@localhost/balcony"], "her own devices see each other"
    assert await heard(romeo) == []
    again = await person(server, "romeo", "tomb", presence=False)
    again.send("<presence/>")
    assert [each for each in await heard(again) if "juliet" in each] == []
    await heard(romeo)
    juliet.send("<presence type='unavailable'/>")
    await heard(juliet)
    assert await heard(romeo) == [], "nor that she goes"
    juliet.send("<presence/>")
    await heard(juliet)
    await choose(juliet, online="contacts")
    assert await heard(romeo) == ["available juliet@localhost/balcony"]


async def test_a_probe_finds_nobody(server: Harness) -> None:
    """RFC 6121 section 4.3.2: a contact is told what it is told of somebody who is not there."""
    romeo, juliet = await friends(server)
    await choose(juliet, online="nobody")
    await heard(romeo)
    romeo.send("<presence to='juliet@localhost' type='probe'/>")
    assert await heard(romeo) == ["unavailable juliet@localhost"]


async def test_but_for_some(server: Harness) -> None:
    romeo, juliet = await friends(server)
    nurse = await person(server, "nurse", "house")
    send(nurse, "subscribe", "juliet@localhost")
    await server.quiet()
    send(juliet, "subscribed", "nurse@localhost")
    await nurse.receive_all()
    await choose(juliet, online_except=("nurse@localhost/house", " "))
    assert await heard(nurse) == ["unavailable juliet@localhost/balcony"]
    assert await heard(romeo) == []
    juliet.send("<presence><show>dnd</show></presence>")
    assert await heard(romeo) == ["available juliet@localhost/balcony"]
    assert await heard(nurse) == []
    await choose(juliet, online_except="localhost")
    assert await heard(romeo) == ["unavailable juliet@localhost/balcony"]
    await choose(juliet, online_except=())
    assert await heard(romeo) == ["available juliet@localhost/balcony"]
    assert await heard(nurse) == ["available juliet@localhost/balcony"]


async def test_presence_that_is_sent_to_somebody_goes(server: Harness) -> None:
    """A room, for example: that is the user's own act."""
    romeo, juliet = await friends(server)
    await choose(juliet, online="nobody", last_seen="nobody")
    await heard(romeo)
    juliet.send(f"<presence to='romeo@localhost/orchard'><show>chat</show>{IDLE}</presence>")
    presence = await romeo.receive()
    assert presence.get("type") is None
    assert names(presence) == ["show"], "without since when she is idle"
    await choose(juliet, online="contacts")
    await heard(romeo)
    await choose(juliet, online="nobody")
    assert await heard(romeo) == ["unavailable juliet@localhost/balcony"]


async def test_the_end_of_a_subscription_shows_nothing(server: Harness) -> None:
    romeo, juliet = await friends(server)
    await choose(juliet, online="nobody")
    await heard(romeo)
    send(juliet, "unsubscribed", "romeo@localhost")
    assert not [each for each in await heard(romeo) if each.startswith("unavailable")]


async def test_blocking_and_the_policy_do_not_uncover_each_other(server: Harness) -> None:
    romeo, juliet = await friends(server)
    await choose(juliet, online="nobody")
    await heard(romeo)
    item = "<item jid='romeo@localhost'/>"
    await juliet.iq(f"<block xmlns='urn:xmpp:blocking'>{item}</block>", "set")
    assert await heard(romeo) == []
    await choose(juliet, online="contacts")
    assert await heard(romeo) == []
    await choose(juliet, online="nobody")
    assert await heard(romeo) == []
    await juliet.iq(f"<unblock xmlns='urn:xmpp:blocking'>{item}</unblock>", "set")
    assert await heard(romeo) == []


async def test_last_seen(server: Harness) -> None:
    romeo, juliet = await friends(server)
    stranger = await server.login("mercutio")
    await server.advance(60)
    assert await last(romeo, "juliet@localhost") == "0"
    assert await last(stranger, "juliet@localhost") == "service-unavailable"
    await choose(juliet, last_seen="nobody")
    assert await last(romeo, "juliet@localhost") == "service-unavailable"
    assert await last(juliet, "juliet@localhost") == "0"
    await choose(juliet, last_seen="everyone", last_seen_except="romeo@localhost")
    assert await last(romeo, "juliet@localhost") == "service-unavailable"
    await choose(juliet, last_seen_except=())
    assert await last(romeo, "juliet@localhost") == "0"
    assert await last(stranger, "juliet@localhost") == "60", "online is for contacts, last seen for everyone"
    await choose(juliet, online="everyone")
    assert await last(stranger, "juliet@localhost") == "0"
    stranger.send("<presence to='juliet@localhost' type='probe'/>")
    assert await heard(stranger) == ["available juliet@localhost/balcony"]


async def test_a_device_is_not_asked_either(server: Harness) -> None:
    """XEP-0012 section 4: the client itself would answer."""
    romeo, juliet = await friends(server)
    await choose(juliet, last_seen="nobody")
    await juliet.receive_all()
    assert await last(romeo, "juliet@localhost/balcony") == "service-unavailable"
    assert await juliet.receive_all() == []
    await choose(juliet, last_seen="contacts")
    romeo.send(f"<iq type='get' id='l' to='juliet@localhost/balcony'>{LAST}</iq>")
    assert (await juliet.receive()).get("id") == "l"


async def test_idle_time_is_part_of_last_seen(server: Harness) -> None:
    """XEP-0319; XEP-0256 says the same in other words."""
    romeo, juliet = await friends(server)
    juliet.send(f"<presence><show>away</show>{IDLE}<query xmlns='jabber:iq:last' seconds='9'/></presence>")
    assert names(await romeo.receive()) == ["show", "idle", "query"]
    await juliet.receive_all()
    await choose(juliet, last_seen="nobody")
    assert names(await romeo.receive()) == ["show"], "what was shown is taken back"
    juliet.send(f"<presence><show>xa</show>{IDLE}</presence>")
    assert names(await romeo.receive()) == ["show"]
    assert names(await juliet.receive()) == ["show", "idle"], "her own devices see it"
    again = await person(server, "romeo", "tomb", presence=False)
    again.send("<presence/>")
    shown = [each for each in await again.receive_all() if each.get("from") == "juliet@localhost/balcony"]
    assert [names(each) for each in shown] == [["show"]]


async def test_it_outlives_a_restart(server: Harness) -> None:
    romeo, juliet = await friends(server)
    await choose(juliet, online="nobody", online_except="nurse@localhost")
    await heard(romeo)
    second = await restarted(server)
    juliet = await second.login("juliet", "balcony", presence=True)
    romeo = await second.login("romeo", "orchard")
    romeo.send("<presence/>")
    assert [each for each in await heard(romeo) if "juliet" in each] == []
    first = await juliet.iq(f"<command xmlns='{COMMANDS}' node='{NODE}'/>", "set", to="juliet@localhost")
    shown = {
        str(field.get("var")): [value.text for value in field.findall("{jabber:x:data}value")]
        for field in first.iter("{jabber:x:data}field")
    }
    assert shown["online"] == ["nobody"]
    assert shown["online_except"] == ["nurse@localhost"]
    assert shown["last_seen"] == ["contacts"]
    await second.stop()


@pytest.mark.server(plugins={"privacy": {"online": "nobody", "last_seen": "nobody", "exceptions": 1}})
async def test_the_administrators_default_and_bounds(server: Harness) -> None:
    romeo, juliet = await friends(server)
    juliet.send("<presence><show>away</show></presence>")
    assert await heard(romeo) == []
    assert await last(romeo, "juliet@localhost") == "service-unavailable"
    assert condition(await choose(juliet, online="friends")) == "bad-request"
    assert condition(await choose(juliet, online_except=("a@b", "c@d"))) == "resource-constraint"
    assert condition(await choose(juliet, online_except="@@")) == "bad-request"
    await choose(juliet, online="contacts")
    assert await heard(romeo) == ["available juliet@localhost/balcony"]


async def test_nobody_chooses_for_another(server: Harness) -> None:
    romeo, _ = await friends(server)
    answer = await romeo.iq(f"<command xmlns='{COMMANDS}' node='{NODE}'/>", "set", to="juliet@localhost")
    assert condition(answer) == "service-unavailable", "whether she has an account is not told either"
