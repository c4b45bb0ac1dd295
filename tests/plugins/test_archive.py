"""XEP-0313 and XEP-0441 through a whole server; who reads the archive gets nothing twice and misses nothing."""

from __future__ import annotations

import pytest

from tests.harness import Client, Element, Harness, condition, xml
from xmppd.contracts.archive import LOG
from xmppd.storage.api import Entry, Flags, Range

MAM = "urn:xmpp:mam:2"
RSM = "{http://jabber.org/protocol/rsm}"
BODY = "{jabber:client}body"
OFFLINE = "http://jabber.org/protocol/offline"


def query(rsm: str = "", form: str = "", id: str = "f27") -> str:
    type_field = f"<field var='FORM_TYPE' type='hidden'><value>{MAM}</value></field>"
    x = f"<x xmlns='jabber:x:data' type='submit'>{type_field}{form}</x>" if form else ""
    page = f"<set xmlns='http://jabber.org/protocol/rsm'>{rsm}</set>" if rsm else ""
    return f"<query xmlns='{MAM}' queryid='{id}'>{x}{page}</query>"


def field(var: str, value: str) -> str:
    return f"<field var='{var}'><value>{value}</value></field>"


async def read(client: Client, rsm: str = "", form: str = "") -> tuple[list[str], Element]:
    """The bodies that a query gives, and its <fin/>."""
    answer = await client.iq(query(rsm, form), "set")
    assert answer.get("type") == "result", xml(answer)
    found = []
    for message in await client.receive_all():
        result = message[0]
        assert message.get("from") == client.bare and result.get("queryid") == "f27", xml(message)
        assert [child.tag for child in result[0]] == ["{urn:xmpp:delay}delay", "{jabber:client}message"]
        found.append(str(result[0][1].findtext(BODY)))
    return found, answer[0]


def say(client: Client, to: str, *texts: str) -> None:
    for text in texts:
        client.send(f"<message to='{to}' type='chat'><body>{text}</body></message>")


def bodies(received: list[Element]) -> list[str]:
    return [str(each.findtext(BODY)) for each in received if each.find(BODY) is not None]


async def online(client: Client) -> list[str]:
    client.send("<presence/>")
    return bodies(await client.receive_all())


# ---- queries


async def test_both_sides_are_kept_and_the_live_copy_has_its_id(server: Harness) -> None:
    romeo = await server.login("romeo", "orchard", True)
    juliet = await server.login("juliet", "balcony", True)
    say(romeo, "juliet@localhost", "one")
    live = (await juliet.receive()).find("{urn:xmpp:sid:0}stanza-id")
    assert live is not None and live.get("by") == "juliet@localhost"
    say(juliet, romeo.jid, "two")
    assert bodies(await romeo.receive_all()) == ["two"]
    for client in (romeo, juliet):
        found, fin = await read(client)
        assert found == ["one", "two"]
        assert fin.get("complete") == "true"
    _, fin = await read(juliet)
    assert fin[0].findtext(RSM + "first") == live.get("id")


async def test_the_results_come_before_the_answer(server: Harness) -> None:
    juliet = await server.login("juliet", "balcony", True)
    say(juliet, "juliet@localhost", "a", "b")
    await juliet.receive_all()
    juliet.send(f"<iq type='set' id='m'>{query()}</iq>")
    kinds = [each.tag.partition("}")[2] for each in await juliet.receive_all()]
    assert kinds == ["message", "message", "iq"]


async def test_a_query_sees_what_was_sent_before_it(server: Harness) -> None:
    """docs/explanation/delivery.md: also what is on its way to the disk."""
    romeo = await server.login("romeo", "orchard", True)
    await server.register("juliet")
    server.backend.hold()
    say(romeo, "juliet@localhost", "one", "two")
    romeo.send(f"<iq type='set' id='m'>{query()}</iq>")
    await romeo.silence()
    server.backend.release()
    assert [each.tag.partition("}")[2] for each in await romeo.receive_all()] == ["message", "message", "iq"]


async def test_one_entry_of_a_message_to_oneself(server: Harness) -> None:
    """Section 4.1.1: `with` the own address gives these, and no others."""
    romeo = await server.login("romeo", "orchard", True)
    await server.register("juliet")
    say(romeo, "juliet@localhost", "to her")
    say(romeo, "romeo@localhost", "note")
    romeo.send("<message type='chat'><body>note without to</body></message>")
    say(romeo, romeo.jid, "note to this device")
    await romeo.receive_all()
    found, _ = await read(romeo)
    assert found == ["to her", "note", "note without to", "note to this device"]
    found, _ = await read(romeo, form=field("with", "romeo@localhost"))
    assert found == ["note", "note without to", "note to this device"]


async def test_with_a_resource(server: Harness) -> None:
    romeo = await server.login("romeo", "orchard", True)
    home = await server.login("romeo", "home", True)
    juliet = await server.login("juliet", "balcony", True)
    say(romeo, "juliet@localhost", "from orchard")
    await server.quiet()
    say(home, "juliet@localhost", "from home")
    await juliet.receive_all()
    assert (await read(juliet, form=field("with", "Romeo@localhost")))[0] == ["from orchard", "from home"]
    assert (await read(juliet, form=field("with", "romeo@localhost/home")))[0] == ["from home"]


async def test_the_form_the_ends_and_the_features(server: Harness) -> None:
    romeo = await server.login("romeo", "orchard", True)
    form = (await romeo.iq(f"<query xmlns='{MAM}'/>"))[0][0]
    assert [each.get("var") for each in form] == [
        "FORM_TYPE",
        "with",
        "start",
        "end",
        "before-id",
        "after-id",
        "ids",
        "{urn:xmpp:fulltext:0}fulltext",
    ]
    assert form.find(".//{jabber:x:data}required") is None
    assert form[6].find("{http://jabber.org/protocol/xdata-validate}validate") is not None
    assert len((await romeo.iq(f"<metadata xmlns='{MAM}'/>"))[0]) == 0
    say(romeo, "romeo@localhost", "first", "last")
    await romeo.receive_all()
    start, end = (await romeo.iq(f"<metadata xmlns='{MAM}'/>"))[0]
    _, fin = await read(romeo)
    assert (start.get("id"), end.get("id")) == (fin[0].findtext(RSM + "first"), fin[0].findtext(RSM + "last"))
    assert str(start.get("timestamp")).endswith("Z")
    answer = await romeo.iq("<query xmlns='http://jabber.org/protocol/disco#info'/>", to="romeo@localhost")
    assert {MAM, f"{MAM}#extended"} <= {str(each.get("var")) for each in answer[0]}


@pytest.mark.parametrize("to", ["juliet@localhost", "nobody@localhost", "localhost"])
async def test_archives_of_others_look_like_none(server: Harness, to: str) -> None:
    """Section 7.1, P01: the same answer as for an account that is not there."""
    await server.register("juliet")
    romeo = await server.login("romeo", "orchard", True)
    requests = (
        ("set", query()),
        ("get", query()),
        ("get", f"<metadata xmlns='{MAM}'/>"),
        ("get", f"<prefs xmlns='{MAM}'/>"),
        ("set", f"<prefs xmlns='{MAM}' default='never'/>"),
    )
    for type, payload in requests:
        assert condition(await romeo.iq(payload, type, to)) == "service-unavailable"


async def test_errors(server: Harness) -> None:
    romeo = await server.login("romeo", "orchard", True)
    for payload, wanted in (
        (query("<after>5</after>"), "item-not-found"),
        (query("<max>x</max>"), "bad-request"),
        (query(form=field("ids", "5")), "item-not-found"),
        (query(form=field("nonsense", "5")), "feature-not-implemented"),
        (query(form=field("start", "yesterday")), "bad-request"),
        (query(form=field("with", "@")), "jid-malformed"),
    ):
        assert condition(await romeo.iq(payload, "set")) == wanted
        await romeo.silence()


async def test_a_hidden_entry_is_never_shown(server: Harness) -> None:
    romeo = await server.login("romeo", "orchard", True)
    juliet = await server.login("juliet", "balcony")
    romeo.send(
        "<message to='juliet@localhost' type='chat'><body>psst</body>"
        "<no-permanent-store xmlns='urn:xmpp:hints'/></message>"
    )
    await server.quiet()
    (entry,) = await server.storage.log(LOG).page("juliet@localhost", Range(), 10)
    assert (await read(juliet))[0] == []
    assert (await read(juliet, "<max>0</max>"))[1].findtext(f"{RSM}set/{RSM}count") == "0"
    for payload in (query(f"<after>{entry.id}</after>"), query(form=field("ids", str(entry.id)))):
        assert condition(await juliet.iq(payload, "set")) == "item-not-found"
    assert len((await juliet.iq(f"<metadata xmlns='{MAM}'/>"))[0]) == 0
    assert await online(juliet) == ["psst"]


# ---- preferences


async def test_preferences(server: Harness) -> None:
    romeo = await server.login("romeo", "orchard", True)
    before = (await romeo.iq(f"<prefs xmlns='{MAM}'/>"))[0]
    assert (before.get("default"), [len(each) for each in before]) == ("always", [0, 0])
    lists = "<always><jid>A@localhost</jid><jid>a@localhost</jid></always><never><jid>b@localhost/x</jid></never>"
    set_ = await romeo.iq(f"<prefs xmlns='{MAM}' default='roster'>{lists}</prefs>", "set")
    for prefs in (set_[0], (await romeo.iq(f"<prefs xmlns='{MAM}'/>"))[0]):
        assert prefs.get("default") == "roster"
        assert [[jid.text for jid in each] for each in prefs] == [["a@localhost"], ["b@localhost/x"]]


@pytest.mark.parametrize(
    ("prefs", "wanted"),
    [
        (f"<prefs xmlns='{MAM}'/>", "bad-request"),
        (f"<prefs xmlns='{MAM}' default='sometimes'/>", "bad-request"),
        (f"<prefs xmlns='{MAM}' default='never'><always><jid>@</jid></always></prefs>", "jid-malformed"),
        (f"<prefs xmlns='{MAM}' default='never'><always><jid/></always></prefs>", "jid-malformed"),
        (
            f"<prefs xmlns='{MAM}' default='never'><never>{''.join(f'<jid>u{n}@x</jid>' for n in range(1001))}"
            "</never></prefs>",
            "not-acceptable",
        ),
    ],
)
async def test_bad_preferences(server: Harness, prefs: str, wanted: str) -> None:
    romeo = await server.login("romeo", "orchard", True)
    assert condition(await romeo.iq(prefs, "set")) == wanted
    assert (await romeo.iq(f"<prefs xmlns='{MAM}'/>"))[0].get("default") == "always"


async def test_only_contacts(server: Harness) -> None:
    romeo = await server.login("romeo", "orchard", True)
    nurse = await server.login("nurse", "house", True)
    juliet = await server.login("juliet", "balcony", True)
    await juliet.iq("<query xmlns='jabber:iq:roster'><item jid='nurse@localhost'/></query>", "set")
    await juliet.iq(f"<prefs xmlns='{MAM}' default='roster'/>", "set")
    for client in (romeo, nurse):
        say(client, "juliet@localhost", f"from {client.bare}")
        await server.quiet()
    say(juliet, "juliet@localhost", "note")
    assert len(bodies(await juliet.receive_all())) == 3
    assert (await read(juliet))[0] == ["from nurse@localhost", "note"]


@pytest.mark.server(plugins={"archive": {"default": "never"}})
async def test_the_administrators_default(server: Harness) -> None:
    romeo = await server.login("romeo", "orchard", True)
    assert (await romeo.iq(f"<prefs xmlns='{MAM}'/>"))[0].get("default") == "never"
    say(romeo, "romeo@localhost", "note")
    assert bodies(await romeo.receive_all()) == ["note"]
    assert (await read(romeo))[0] == []


# ---- devices that read their archive (docs/explanation/delivery.md)


async def offline_story(server: Harness, *texts: str) -> tuple[Client, Client]:
    """Romeo; Juliet is signed in without presence, and these messages wait for her."""
    romeo = await server.login("romeo", "orchard", True)
    await server.register("juliet")
    say(romeo, "juliet@localhost", *texts)
    await server.quiet()
    return romeo, await server.login("juliet", "balcony")


async def test_who_reads_the_archive_is_not_flooded(server: Harness) -> None:
    romeo, juliet = await offline_story(server, "one", "two")
    assert (await read(juliet))[0] == ["one", "two"]
    say(romeo, "juliet@localhost", "between")
    await juliet.silence()
    assert await online(juliet) == ["between"]
    say(romeo, "juliet@localhost", "live")
    assert bodies(await juliet.receive_all()) == ["live"]


async def test_the_next_time_it_is_known(server: Harness) -> None:
    romeo, juliet = await offline_story(server, "one")
    await read(juliet)
    await online(juliet)
    juliet.close()
    await server.quiet()
    say(romeo, "juliet@localhost", "two")
    await server.quiet()
    juliet = await server.login("juliet", "balcony")
    assert await online(juliet) == []
    assert (await read(juliet))[0] == ["one", "two"]
    other = await server.login("juliet", "other")
    assert await online(other) == []


async def test_half_read_forward_the_rest_comes(server: Harness) -> None:
    _, juliet = await offline_story(server, "1", "2", "3", "4")
    assert (await read(juliet, "<max>2</max>"))[0] == ["1", "2"]
    assert await online(juliet) == ["3", "4"]


async def test_read_backward_in_pages(server: Harness) -> None:
    _, juliet = await offline_story(server, "1", "2", "3", "4")
    found, fin = await read(juliet, "<max>2</max><before/>")
    assert found == ["3", "4"]
    first = fin[0].findtext(RSM + "first")
    assert (await read(juliet, f"<max>2</max><before>{first}</before>"))[0] == ["1", "2"]
    assert await online(juliet) == []


@pytest.mark.parametrize(
    ("rsm", "form"),
    [
        ("<max>1</max><before/>", ""),
        ("<max>0</max>", ""),
        ("", field("with", "romeo@localhost")),
        ("", field("end", "2099-01-01T00:00:00Z")),
    ],
)
async def test_a_look_is_not_reading(server: Harness, rsm: str, form: str) -> None:
    """What the device has not been given is sent to it: nothing is lost."""
    _, juliet = await offline_story(server, "1", "2", "3")
    await read(juliet, rsm, form)
    assert await online(juliet) == ["1", "2", "3"]


async def test_scrolling_back_later_makes_no_reader(server: Harness) -> None:
    romeo, juliet = await offline_story(server, "1")
    assert await online(juliet) == ["1"]
    await read(juliet, "<max>20</max><before/>")
    juliet.close()
    await server.quiet()
    say(romeo, "juliet@localhost", "2")
    await server.quiet()
    assert await online(await server.login("juliet", "balcony")) == ["2"]


async def test_an_empty_archive_read_before_the_first_message(server: Harness) -> None:
    romeo, juliet = await offline_story(server)
    assert (await read(juliet))[0] == []
    say(romeo, "juliet@localhost", "first")
    await server.quiet()
    assert await online(juliet) == ["first"]


# ---- retention and size


@pytest.mark.server(plugins={"archive": {"keep_days": 2}})
async def test_old_messages_go(server: Harness) -> None:
    for text, hours, left in (("old", 36, ["old"]), ("new", 24, ["new"]), ("newest", 60, [])):
        romeo = await server.login("romeo", "orchard", True)
        say(romeo, "romeo@localhost", text)
        await romeo.receive_all()
        romeo.close()
        await server.advance(hours * 3600)
        assert (await read(await server.login("romeo", "home")))[0] == left


async def test_both_owners_share_the_same_bytes(server: Harness) -> None:
    """So that a store keeps the body once."""
    romeo, _ = await offline_story(server, "one")
    mine = await server.storage.log(LOG).page("romeo@localhost", Range(), 1)
    hers = await server.storage.log(LOG).page("juliet@localhost", Range(), 1)
    assert mine[0].body is hers[0].body
    assert (mine[0].flags, hers[0].flags) == (0, Flags.INCOMING)
    assert b"stanza-id" not in mine[0].body
    assert romeo.jid.encode() in mine[0].body


async def test_pages_of_a_large_archive(server: Harness) -> None:
    log = server.storage.log(LOG)
    body = b"<message to='juliet@localhost' from='romeo@localhost/o' type='chat'><body>%d</body></message>"
    entries = [Entry(1_600_000_000_000_000 + n, "romeo@localhost", "o", 1, body % n) for n in range(3000)]
    await server.register("juliet")
    await server.storage.commit([log.append("juliet@localhost", entry) for entry in entries])
    server.host.forget("juliet@localhost")
    juliet = await server.login("juliet", "balcony")
    found, fin = await read(juliet, "<max>1000000000</max>")
    assert found == [str(n) for n in range(250)]
    assert fin.get("complete") is None
    found, fin = await read(juliet, "<max>100</max><before/>")
    assert found == [str(n) for n in range(2900, 3000)]
    assert (await read(juliet, "<max>0</max>"))[1].findtext(f"{RSM}set/{RSM}count") == "3000"


@pytest.mark.server(more="limits: {queue: 12, ask_every: 3}")
async def test_a_page_fits_into_the_queue_of_a_session(server: Harness) -> None:
    """A client that acknowledges when it is asked gets page after page, whatever it asks for."""
    _, juliet = await offline_story(server, *map(str, range(20)))
    juliet.send("<enable xmlns='urn:xmpp:sm:3'/>")
    assert (await juliet.receive()).tag.endswith("}enabled")
    found: list[str] = []
    handled, place = 0, ""
    for _ in range(4):
        juliet.send(f"<iq type='set' id='m'>{query(f'<max>250</max>{place}')}</iq>")
        while True:
            received = [each for each in await juliet.receive_all() if each.tag.startswith("{jabber:client}")]
            handled += len(received)
            juliet.send(f"<a xmlns='urn:xmpp:sm:3' h='{handled}'/>")
            found += [str(each[0][0][1].findtext(BODY)) for each in received if each.tag.endswith("}message")]
            if received and received[-1].tag.endswith("}iq"):
                break
        place = f"<after>{received[-1][0][0].findtext(RSM + 'last')}</after>"
    assert found == [str(n) for n in range(20)]
    assert not juliet.closed
