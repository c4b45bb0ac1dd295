"""XEP-0033: one stanza to many."""

from __future__ import annotations

import pytest

from tests.core.test_delivery import acked, enable, restarted
from tests.harness import Client, Element, Harness, condition, xml
from xmppd.storage.api import Range

NS = "http://jabber.org/protocol/address"
BODY = "{jabber:client}body"


def addresses(**kinds: str | list[str]) -> str:
    given = "".join(
        f"<address type='{kind}' jid='{jid}'/>"
        for kind, jids in kinds.items()
        for jid in ([jids] if isinstance(jids, str) else jids)
    )
    return f"<addresses xmlns='{NS}'>{given}</addresses>"


def shown(message: Element) -> list[tuple[str, str, bool]]:
    return [
        (str(each.get("type")), str(each.get("jid")), each.get("delivered") == "true")
        for each in message.iter(f"{{{NS}}}address")
    ]


async def people(server: Harness, *names: str) -> list[Client]:
    return [await server.login(name, presence=True) for name in names]


async def test_to_cc_and_bcc(server: Harness) -> None:
    romeo, to, cc, bcc = await people(server, "romeo", "juliet", "nurse", "friar")
    given = addresses(to="juliet@localhost", cc="nurse@localhost", bcc="friar@localhost", replyto="romeo@localhost")
    romeo.send(f"<message to='localhost' type='chat' id='m'>{given}<body>hello</body></message>")
    open_ones = [("to", "juliet@localhost", True), ("cc", "nurse@localhost", True)]
    for client, expected in (
        (to, [*open_ones, ("replyto", "romeo@localhost", False)]),
        (cc, [*open_ones, ("replyto", "romeo@localhost", False)]),
        (bcc, [*open_ones, ("replyto", "romeo@localhost", False), ("bcc", "friar@localhost", False)]),
    ):
        message = await client.receive()
        assert (message.get("from"), message.get("to")) == (romeo.jid, client.jid.partition("/")[0])
        assert (message.findtext(BODY), message.get("id")) == ("hello", "m")
        assert shown(message) == expected
        await client.silence()
    await romeo.silence()


async def test_it_is_in_every_archive_and_waits_for_who_is_away(server: Harness) -> None:
    await server.register("juliet")
    romeo, _ = await people(server, "romeo", "nurse")
    await enable(romeo)
    both = addresses(bcc=["juliet@localhost", "nurse@localhost"])
    romeo.send(f"<message to='localhost' type='chat' id='m'>{both}<body>hello</body></message>")
    await server.quiet()
    assert await acked(romeo) == 1, "one stanza was sent"
    await romeo.iq("<query xmlns='urn:xmpp:mam:2'/>", "set")
    found = [each for each in await romeo.receive_all() if each.find("{urn:xmpp:mam:2}result") is not None]
    assert [xml(each).count("to='juliet@localhost'") + xml(each).count('to="juliet@localhost"') for each in found] == [
        1,
        0,
    ]
    juliet = await server.login("juliet")
    juliet.send("<presence/>")
    assert "hello" in [each.findtext(BODY) for each in await juliet.receive_all()]


async def test_one_that_is_refused_stops_no_other(server: Harness) -> None:
    romeo, juliet, nurse = await people(server, "romeo", "juliet", "nurse")
    await romeo.iq("<block xmlns='urn:xmpp:blocking'><item jid='nurse@localhost'/></block>", "set")
    given = addresses(
        to=["nobody@localhost", "nurse@localhost", "x@elsewhere.example", "r@conference.localhost", "juliet@localhost"]
    )
    romeo.send(f"<message to='localhost' type='chat' id='m'>{given}<body>hello</body></message>")
    assert (await juliet.receive()).findtext(BODY) == "hello"
    await nurse.silence()
    errors = {str(each.get("from")): condition(each) for each in await romeo.receive_all()}
    assert errors == {
        "nobody@localhost": "service-unavailable",
        "nurse@localhost": "not-acceptable",
        "x@elsewhere.example": "remote-server-not-found",
        "r@conference.localhost": "feature-not-implemented",
    }
    await romeo.iq("<query xmlns='urn:xmpp:mam:2'/>", "set")
    found = [each for each in await romeo.receive_all() if each.find("{urn:xmpp:mam:2}result") is not None]
    assert len(found) == 1, "what was refused is in no archive"


async def test_after_a_kill_the_count_does_not_cover_what_one_recipient_refused(server: Harness) -> None:
    """The client sends it again; who has it is not told twice."""
    romeo, _ = await people(server, "romeo", "juliet")
    previous = await enable(romeo)
    given = addresses(bcc=["nobody@localhost", "juliet@localhost"])
    message = f"<message to='localhost' type='chat' id='{'m' * 20}'>{given}<body>hello</body></message>"
    romeo.send(message)
    romeo.send("<message to='juliet@localhost' type='chat' id='n'><body>and more</body></message>")
    await server.quiet()
    second = await restarted(server)
    try:
        client = second.connect()
        await client.sign_in("romeo")
        client.send(f"<resume xmlns='urn:xmpp:sm:3' previd='{previous}' h='0'/>")
        answer = await client.receive()
        assert (answer.tag, answer.get("h")) == ("{urn:xmpp:sm:3}failed", "0")
        await client.bind("orchard")
        client.send(message)
        await second.quiet()
        assert await second.storage.log("archive").count("juliet@localhost", Range()) == 2
    finally:
        await second.stop()


async def test_presence_is_taken_back(server: Harness) -> None:
    """Section 6.1: who was shown it by address is told of the end."""
    romeo, juliet = await people(server, "romeo", "juliet")
    romeo.send(f"<presence to='localhost'>{addresses(bcc='juliet@localhost')}</presence>")
    assert (await juliet.receive()).get("type") is None
    romeo.cut()
    await server.advance(4000)
    juliet = await server.login("juliet", presence=True)
    romeo = await server.login("romeo", "again", presence=True)
    romeo.send(f"<presence to='localhost'>{addresses(bcc=juliet.jid)}</presence>")
    assert (await juliet.receive()).get("type") is None
    romeo.close()
    assert (await juliet.receive()).get("type") == "unavailable"


async def test_who_has_it_already_does_not_get_it(server: Harness) -> None:
    romeo, juliet, nurse = await people(server, "romeo", "juliet", "nurse")
    given = (
        f"<addresses xmlns='{NS}'><address type='to' jid='juliet@localhost' delivered='true'/>"
        f"<address type='bcc' jid='juliet@localhost' delivered='true'/>"
        "<address type='cc' jid='nurse@localhost'/><address type='bcc' jid='nurse@localhost'/></addresses>"
    )
    romeo.send(f"<message to='localhost' type='chat'>{given}<body>hello</body></message>")
    message = await nurse.receive()
    assert shown(message) == [("to", "juliet@localhost", True), ("cc", "nurse@localhost", True)]
    await nurse.silence()
    await juliet.silence()


@pytest.mark.server(plugins={"addressing": {"recipients": 2}})
@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        (addresses(to=["a@localhost", "b@localhost", "c@localhost"]), "not-acceptable"),
        (f"<addresses xmlns='{NS}'><address type='to' uri='sip:a@b'/></addresses>", "jid-malformed"),
        (f"<addresses xmlns='{NS}'><address type='to' jid='@'/></addresses>", "jid-malformed"),
        (f"<addresses xmlns='{NS}'><address type='to' uri='x:y' jid='a@b'/></addresses>", "bad-request"),
        (f"<addresses xmlns='{NS}'><address jid='a@b'/></addresses>", "bad-request"),
    ],
)
async def test_what_is_refused(server: Harness, inside: str, expected: str) -> None:
    romeo = await server.login("romeo", presence=True)
    romeo.send(f"<message to='localhost' type='chat'>{inside}<body>hello</body></message>")
    assert condition(await romeo.receive()) == expected


@pytest.mark.server(more="limits: {per_connection: {bytes: 0, stanzas: 10, stanzas_burst: 20}}")
async def test_many_recipients_are_many_stanzas(server: Harness) -> None:
    """For the limits: else everybody could send fifty times of what they may."""
    romeo = await server.login("romeo")
    many = addresses(bcc=[f"nobody{number}@localhost" for number in range(40)])
    romeo.send(f"<message to='localhost' type='chat'>{many}<body>hello</body></message>")
    assert len(await romeo.receive_all()) == 40
    romeo.send("<iq type='get' id='p' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>")
    assert romeo.link.paused, "it is not read for a while"
    await server.advance(10)
    assert (await romeo.receive()).get("id") == "p"


async def test_to_one_person_it_is_a_label(server: Harness) -> None:
    """Section 4: beside the multicast service the addresses are only information."""
    romeo, juliet, nurse = await people(server, "romeo", "juliet", "nurse")
    romeo.send(f"<message to='juliet@localhost' type='chat'>{addresses(cc='nurse@localhost')}<body>x</body></message>")
    assert shown(await juliet.receive()) == [("cc", "nurse@localhost", False)]
    await nurse.silence()
    info = await romeo.iq("<query xmlns='http://jabber.org/protocol/disco#info'/>", to="localhost")
    assert NS in [feature.get("var") for feature in info[0]]
