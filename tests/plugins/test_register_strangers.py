"""Questions for people (XEP-0158), and accounts that wait for an administrator."""

from __future__ import annotations

import hashlib
from base64 import b64decode
from typing import Any

import pytest
from lxml import etree

from plugins.register import captcha
from plugins.register.strangers import DRAWN_AT_ONCE
from tests.harness import Client, Element, Harness, condition
from tests.plugins.test_register import GET, exists, query, stranger
from xmppd.contracts.admin import OperationError
from xmppd.errors import LocalError
from xmppd.jid import JID

X = "{jabber:x:data}"
asking = pytest.mark.server(plugins={"register": {"mode": "open"}})
QUESTIONS = {"captcha": False, "captcha_questions": ["Which colour is  snow? = White", "2 + 2 = ? = 4"]}
waiting = pytest.mark.server(plugins={"register": {"mode": "open", "captcha": False, "approval": True}})


def filled(**fields: str) -> str:
    values = {"FORM_TYPE": "jabber:iq:register", **fields}
    inside = "".join(f"<field var='{var}'><value>{value}</value></field>" for var, value in values.items())
    return f"<query xmlns='jabber:iq:register'><x xmlns='jabber:x:data' type='submit'>{inside}</x></query>"


def asked(answer: Element) -> dict[str, Element]:
    return {str(each.get("var")): each for each in answer.iter(f"{X}field")}


def answered(client: Client) -> dict[str, str]:
    """What a person reads in the picture: the server knows it, too."""
    visit: Any = client.stream.registration  # type: ignore[attr-defined]
    return {"challenge": visit.challenge.id, "ocr": visit.challenge.answers["ocr"]}


# ---- XEP-0158


@asking
async def test_letters_in_a_picture(server: Harness) -> None:
    client, _ = await stranger(server)
    answer = await client.iq(GET)
    fields = asked(answer)
    assert list(fields) == ["FORM_TYPE", "challenge", "sid", "ocr", "username", "password"]
    assert fields["FORM_TYPE"].findtext(f"{X}value") == "jabber:iq:register"
    assert fields["sid"].findtext(f"{X}value") == answer.get("id")
    uri = fields["ocr"].findtext("{urn:xmpp:media-element}media/{urn:xmpp:media-element}uri")
    data = answer.find(".//{urn:xmpp:bob}data")
    assert data is not None and uri == f"cid:{data.get('cid')}"
    picture = b64decode(data.text or "")
    assert picture.startswith(b"\x89PNG") and hashlib.sha1(picture).hexdigest() in uri
    given = {**answered(client), "username": "romeo", "password": "wherefore"}
    given["ocr"] = f" {given['ocr'].upper()} "
    assert condition(await client.iq(filled(**given), "set")) == ""
    assert await exists(server, "romeo")


@asking
async def test_wrong_answers_are_all_the_same(server: Harness) -> None:
    """Wrong, none, of another challenge, too late, used: and each costs the question."""
    found = set()
    for number, spoiled in enumerate(
        ({"ocr": "x"}, {"challenge": "x"}, {"ocr": ""}, {"ocr": "é"}, {"qa": "x", "ocr": ""}, {"wait": "700"})
    ):
        client, _ = await stranger(server, f"192.0.2.{number}")
        await client.iq(GET)
        given = {**answered(client), "username": "romeo", "password": "wherefore"}
        if "wait" in spoiled:
            client.stream.registration.challenge = captcha.Challenge(given["challenge"], 0.0, {"ocr": given["ocr"]})  # type: ignore[attr-defined]
        wrong = await client.iq(filled(**{**given, **spoiled}), "set", id="1")
        again = await client.iq(filled(**given), "set", id="1")
        found |= {etree.tostring(wrong), etree.tostring(again)}
        assert condition(wrong) == condition(again) == "not-acceptable"
    assert len(found) == 1 and not await exists(server, "romeo")


@asking
async def test_no_way_around_the_question(server: Harness) -> None:
    client, _ = await stranger(server)
    assert condition(await client.iq(query("romeo", "wherefore"), "set")) == "not-acceptable"
    await client.iq(GET)
    assert condition(await client.iq(query("romeo", "wherefore"), "set")) == "not-acceptable"
    other, _ = await stranger(server)
    await other.iq(GET)
    given = {**answered(other), "username": "romeo", "password": "wherefore"}
    assert condition(await client.iq(filled(**given), "set")) == "not-acceptable", "another stream's"
    assert not await exists(server, "romeo")


@asking
async def test_guessing_and_drawing_are_limited(server: Harness) -> None:
    results = []
    for _ in range(21):
        client, _ = await stranger(server)
        results.append(condition(await client.iq(GET)))
    assert results == [""] * 20 + ["resource-constraint"]
    client, _ = await stranger(server, "192.0.2.9")
    results = [condition(await client.iq(filled(ocr="x", challenge="x"), "set")) for _ in range(21)]
    assert results == ["not-acceptable"] * 20 + ["resource-constraint"]


@pytest.mark.server(plugins={"register": {"mode": "open"}})
async def test_only_so_many_pictures_are_drawn_at_once(server: Harness) -> None:
    """Each takes a processor for some ten milliseconds, and addresses are many."""
    clients = []
    for number in range(DRAWN_AT_ONCE + 10):
        client = server.connect()
        client.link.peer = f"2001:db8:{number}::1"
        client.open()
        await client.receive()
        clients.append(client)
    for client in clients:
        client.send(f"<iq type='get' id='1'>{GET}</iq>")
    found = [condition(await client.receive()) for client in clients]
    assert sorted(found) == [""] * DRAWN_AT_ONCE + ["resource-constraint"] * 10
    client, _ = await stranger(server, "192.0.2.9")
    assert condition(await client.iq(GET)) == ""


@pytest.mark.server(plugins={"register": {"mode": "open", **QUESTIONS}})
async def test_a_question_in_words(server: Harness) -> None:
    client, _ = await stranger(server)
    fields = asked(await client.iq(GET))
    assert "ocr" not in fields and fields["qa"].find(f"{X}required") is not None
    answers = {"Which colour is  snow?": " WHITE ", "2 + 2 = ?": "4"}
    challenge = fields["challenge"].findtext(f"{X}value") or ""
    given = {"challenge": challenge, "qa": answers[str(fields["qa"].get("label"))]}
    assert condition(await client.iq(filled(username="romeo", password="wherefore", **given), "set")) == ""


@pytest.mark.server(plugins={"register": {"mode": "open", **QUESTIONS, "captcha": True}})
async def test_one_of_both_is_enough(server: Harness) -> None:
    client, _ = await stranger(server)
    fields = asked(await client.iq(GET))
    assert {"ocr", "qa"} <= set(fields) and fields["ocr"].find(f"{X}required") is None
    given = answered(client)
    assert condition(await client.iq(filled(username="romeo", password="wherefore", **given), "set")) == ""


def test_what_is_no_question() -> None:
    for text in ("snow", "= white", "snow =", ""):
        with pytest.raises(LocalError, match="is not like"):
            captcha.read_question(text)


@asking
async def test_forms_with_too_much(server: Harness) -> None:
    client, _ = await stranger(server)
    many = "".join(f"<field var='{number}'><value>x</value></field>" for number in range(300))
    form = f"<query xmlns='jabber:iq:register'><x xmlns='jabber:x:data' type='submit'>{many}</x></query>"
    client.send(f"<iq type='set' id='1'>{form}</iq>")
    assert await client.stream_error() == "policy-violation", "more than a stranger may send"
    client, _ = await stranger(server)
    for kind in ("form", "cancel", ""):
        form = f"<query xmlns='jabber:iq:register'><x xmlns='jabber:x:data' type='{kind}'/></query>"
        assert condition(await client.iq(form, "set")) == "bad-request"
    twice = "<field var='username'/><field var='username'/>"
    form = f"<query xmlns='jabber:iq:register'><x xmlns='jabber:x:data' type='submit'>{twice}</x></query>"
    assert condition(await client.iq(form, "set")) == "bad-request"


@asking
async def test_an_invitation_asks_nothing(server: Harness) -> None:
    from tests.plugins.test_invitations import invited, shown

    client = await shown(server, await invited(server))
    assert [each.tag.rpartition("}")[2] for each in (await client.iq(GET))[0]] == [
        "instructions",
        "username",
        "password",
        "x",
    ]
    assert condition(await client.iq(filled(username="romeo", password="wherefore"), "set")) == ""


# ---- approval


@waiting
async def test_an_administrator_lets_somebody_in(server: Harness) -> None:
    admin = await server.login("admin", presence=True)
    client, _ = await stranger(server)
    assert "reason" in asked(await client.iq(GET))
    given = {"username": "romeo", "password": "wherefore", "reason": "I know Juliet"}
    assert condition(await client.iq(filled(**given), "set")) == ""
    told = [each.findtext("{jabber:client}body") or "" for each in await admin.receive_all()]
    assert any("romeo@localhost" in each for each in told)
    with pytest.raises(AssertionError, match="failure"):
        await server.connect().sign_in("romeo", "wherefore")
    assert "I know Juliet" in await server.operation("registration.list")
    await server.operation("registration.approve", jids=["romeo@localhost"])
    await server.connect().sign_in("romeo", "wherefore")
    assert await server.operation("registration.list") == "Nobody waits."
    with pytest.raises(OperationError, match="does not wait"):
        await server.operation("registration.reject", jids=["romeo@localhost"])
    assert await exists(server, "romeo")


@waiting
async def test_an_administrator_does_not(server: Harness) -> None:
    await server.register("tybalt")
    client, _ = await stranger(server)
    await client.iq(filled(username="romeo", password="wherefore"), "set")
    await server.operation("registration.reject", jids=["romeo@localhost"])
    await server.quiet()
    assert not await exists(server, "romeo")
    for verb in ("approve", "reject"):
        with pytest.raises(OperationError, match="does not wait"):
            await server.operation(f"registration.{verb}", jids=["tybalt@localhost"])
    assert await exists(server, "tybalt")


@pytest.mark.server(plugins={"register": {"mode": "open", "captcha": False, "approval": True, "waiting": 2}})
async def test_the_queue_has_a_bound_and_an_end(server: Harness) -> None:
    admin = await server.login("admin", presence=True)
    results = []
    for number in range(3):
        client, _ = await stranger(server, f"192.0.2.{number}")
        form = filled(username=f"user-{number}x", password="wherefore", reason="x" * 5000)
        results.append(condition(await client.iq(form, "set")))
    assert results == ["", "", "resource-constraint"]
    assert len(await admin.receive_all()) == 1, "not a message for each"
    assert all(
        len(each.reason) == 1000 for each in (await server.host.plugins["register"].strangers.queue.all()).values()
    )
    server.clock.step(31 * 86_400)
    await server.advance(22_000)
    assert await server.server.accounts.list("localhost") == ["admin@localhost"]
    assert await server.operation("registration.list") == "Nobody waits."


@waiting
async def test_a_deleted_account_does_not_wait(server: Harness) -> None:
    client, _ = await stranger(server)
    await client.iq(filled(username="romeo", password="wherefore"), "set")
    await server.operation("user.del", jids=["romeo@localhost"])
    await server.quiet()
    assert await server.operation("registration.list") == "Nobody waits."


@waiting
async def test_who_is_invited_does_not_wait(server: Harness) -> None:
    from tests.plugins.test_invitations import invited, shown

    client = await shown(server, await invited(server))
    assert condition(await client.iq(query("romeo", "wherefore"), "set")) == ""
    await server.connect().sign_in("romeo", "wherefore")


@pytest.mark.server(plugins={"register": {"mode": "open", "captcha": False, "approval": True}})
async def test_an_account_in_use_is_not_removed_for_having_waited(server: Harness) -> None:
    """An administrator has enabled it in another way than by approval."""
    client, _ = await stranger(server)
    assert condition(await client.iq(query("romeo", "wherefore"), "set")) == ""
    await server.operation("user.enable", jids=["romeo@localhost"])
    await server.connect().sign_in("romeo", "wherefore")
    assert "romeo" not in await server.operation("registration.list")
    with pytest.raises(OperationError, match="does not wait"):
        await server.operation("registration.reject", jids=["romeo@localhost"])
    server.clock.step(31 * 86_400)
    await server.advance(7 * 3600)
    await server.connect().sign_in("romeo", "wherefore")


@pytest.mark.server(plugins={"register": {"mode": "open", "captcha": False, "approval": True}})
async def test_approval_does_not_let_in_whom_an_administrator_has_banned(server: Harness) -> None:
    client, _ = await stranger(server)
    assert condition(await client.iq(query("romeo", "wherefore"), "set")) == ""
    await server.operation("user.disable", jids=["romeo@localhost"])
    await server.operation("registration.approve", jids=["romeo@localhost"])
    assert await server.server.accounts.is_disabled(JID.parse("romeo@localhost"))
    await server.operation("user.enable", jids=["romeo@localhost"])
    await server.connect().sign_in("romeo", "wherefore")


@pytest.mark.server(plugins={"register": {"mode": "open", "captcha": False}})
async def test_the_limit_of_an_address_holds_for_those_who_come_at_once(server: Harness) -> None:
    """And who is told that there is none has none."""
    assert sorted(await at_once(server, 6, "192.0.2.1")) == ["", "", "", *["resource-constraint"] * 3]
    assert len(await server.server.accounts.list("localhost")) == 3


@pytest.mark.server(plugins={"register": {"mode": "open", "captcha": False, "per_address": 1}})
async def test_what_comes_to_nothing_is_no_account_of_the_address(server: Harness) -> None:
    await server.register("romeo")
    client, _ = await stranger(server)
    assert condition(await client.iq(query("romeo", "wherefore"), "set")) == "conflict"
    assert condition(await client.iq(query("juliet", "wherefore"), "set")) == ""
    assert condition(await client.iq(query("tybalt", "wherefore"), "set")) == "resource-constraint"


@pytest.mark.server(plugins={"register": {"mode": "open", "captcha": False, "approval": True, "waiting": 2}})
async def test_the_bound_of_the_queue_holds_for_those_who_come_at_once(server: Harness) -> None:
    assert sorted(await at_once(server, 5)) == ["", "", *["resource-constraint"] * 3]
    assert len(await server.server.accounts.list("localhost")) == 2


async def at_once(server: Harness, number: int, peer: str = "") -> list[str]:
    """The answers to so many strangers, each from an address of its own if not from `peer`."""
    clients = [(await stranger(server, peer or f"192.0.2.{each}"))[0] for each in range(number)]
    for each, client in enumerate(clients):
        client.send(f"<iq type='set' id='1'>{query(f'user-{each}x', 'wherefore')}</iq>")
    return [condition(await client.receive()) for client in clients]
