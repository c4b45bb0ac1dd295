"""A telephone number as a step of registration, and as a property of an account."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from lxml import etree

from plugins.phone.step import CODE, DISCOVERABLE, NS
from tests.harness import Client, Element, Harness, condition, xml
from tests.plugins.test_register import GET, exists, query, stranger
from tests.plugins.test_register_strangers import answered, asked, filled

KEY = "k" * 32
ROMEO, JULIET = "+4915112345678", "+491701234567"
OPEN = {"mode": "open", "captcha": False}
ON: dict[str, Any] = {"register": OPEN, "phone": {"key": KEY}}
on = pytest.mark.server(plugins=ON)
COMMANDS = "http://jabber.org/protocol/commands"


def codes(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """(number, code) of all that the console was told."""
    found = (re.match(r"to (\+\d+): (\d+) is your code", each.getMessage()) for each in caplog.records)
    return [(each[1], each[2]) for each in found if each is not None]


def given(name: str = "romeo", phone: str = ROMEO, **more: str) -> str:
    return filled(username=name, password="wherefore", phone=phone, **more)


async def apply(client: Client, name: str = "romeo", phone: str = ROMEO, **more: str) -> Element:
    return await client.iq(given(name, phone, **more), "set")


async def prove(client: Client, code: str, **more: str) -> Element:
    return await client.iq(filled(**{CODE: code}, **more), "set")


async def registered(
    server: Harness, caplog: pytest.LogCaptureFixture, name: str, phone: str, discoverable: bool = False
) -> None:
    client, _ = await stranger(server, f"192.0.2.{len(codes(caplog))}")
    answer = await apply(client, name, phone, **({DISCOVERABLE: "1"} if discoverable else {}))
    assert "code was sent" in xml(answer)
    assert condition(await prove(client, codes(caplog)[-1][1])) == ""


async def whose(server: Harness, number: str) -> str:
    """The local part, "" for nobody's."""
    plugin = server.host.plugins["phone"]
    found = await plugin.book.of_number(plugin.hasher.number(number))
    return found.account.partition("@")[0] if found is not None else ""


async def command(
    client: Client, to: str = "", node: str = NS, session: str = "", **fields: str | tuple[str, ...]
) -> Element:
    """One step of a command of the own account."""
    inside = ""
    for name, value in fields.items():
        texts = (value,) if isinstance(value, str) else value
        inside += f"<field var='{name}'>{''.join(f'<value>{text}</value>' for text in texts)}</field>"
    form = f"<x xmlns='jabber:x:data' type='submit'>{inside}</x>" if fields else ""
    more = f" sessionid='{session}'" if session else ""
    to = to or client.jid.partition("/")[0]
    return await client.iq(f"<command xmlns='{COMMANDS}' node='{node}'{more}>{form}</command>", "set", to=to)


async def choose(client: Client, **fields: str) -> Element:
    first = await command(client)
    return await command(client, session=str(first[0].get("sessionid")), **fields)


async def attach(client: Client, caplog: pytest.LogCaptureFixture, phone: str, **fields: str) -> Element:
    sent = await choose(client, phone=phone, **fields)
    assert condition(sent) == "", xml(sent)
    return await command(client, session=str(sent[0].get("sessionid")), **{CODE: codes(caplog)[-1][1]})


# ---- registration


@on
async def test_a_number_and_an_account(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    client, _ = await stranger(server)
    fields = asked(await client.iq(GET))
    assert list(fields) == ["FORM_TYPE", "username", "password", "phone", DISCOVERABLE, CODE]
    answer = await apply(client, "romeo", "+49 (151) 1234-5678")
    assert condition(answer) == "not-acceptable" and not await exists(server, "romeo")
    second = asked(answer)
    assert list(second) == ["FORM_TYPE", CODE]
    ((number, code),) = codes(caplog)
    assert number == ROMEO and len(code) == 6
    assert condition(await prove(client, f"{code[:3]} {code[3:]}")) == ""
    await server.connect().sign_in("romeo", "wherefore")
    assert await whose(server, ROMEO) == "romeo"


@on
async def test_another_stream_brings_the_code(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """A client that takes the first answer for a failure, and begins again with the same form."""
    client, _ = await stranger(server)
    await apply(client)
    client.send("</stream:stream>")
    again, _ = await stranger(server)
    await again.iq(GET)
    assert condition(await apply(again, **{CODE: codes(caplog)[-1][1]})) == ""
    assert await exists(server, "romeo") and await whose(server, ROMEO) == "romeo"


@on
async def test_a_person_has_time_for_it(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    client, _ = await stranger(server)
    await client.iq(GET)
    await server.advance(240)
    await apply(client)
    await server.advance(240)
    assert condition(await prove(client, codes(caplog)[-1][1])) == ""


@on
async def test_nobody_registers_without(server: Harness) -> None:
    for form in (query("romeo", "wherefore"), given(phone=""), given(phone=" ")):
        client, _ = await stranger(server)
        assert condition(await client.iq(form, "set")) == "not-acceptable"
    assert not await exists(server, "romeo")


@on
async def test_the_plain_fields_begin_it_too(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    client, _ = await stranger(server)
    plain = query("romeo", "wherefore").replace("</query>", f"<phone>{ROMEO}</phone></query>")
    assert condition(await client.iq(plain, "set")) == "not-acceptable"
    assert condition(await prove(client, codes(caplog)[-1][1])) == ""


@pytest.mark.server(plugins={"register": OPEN, "phone": {"key": KEY, "registration": "optional"}})
async def test_who_wants_to(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    client, _ = await stranger(server)
    assert asked(await client.iq(GET))["phone"].find("{jabber:x:data}required") is None
    assert condition(await apply(client, "juliet", "")) == ""
    other, _ = await stranger(server)
    assert condition(await apply(other)) == "not-acceptable"
    assert condition(await prove(other, codes(caplog)[-1][1])) == ""
    assert await whose(server, ROMEO) == "romeo"


@pytest.mark.server(plugins={"register": OPEN, "phone": {"key": KEY, "registration": "off"}})
async def test_registration_may_do_without(server: Harness) -> None:
    client, _ = await stranger(server)
    assert "phone" not in asked(await client.iq(GET))
    assert condition(await apply(client)) == ""


@pytest.mark.server(plugins={"register": {"mode": "open"}, "phone": {"key": KEY}})
async def test_a_picture_comes_before_a_code(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    client, _ = await stranger(server)
    await client.iq(GET)
    assert condition(await apply(client)) == "not-acceptable" and not codes(caplog)
    await client.iq(GET)
    await apply(client, **answered(client))
    assert len(codes(caplog)) == 1
    assert condition(await prove(client, codes(caplog)[-1][1])) == "", "and is asked once"


@pytest.mark.server(plugins={"register": {**OPEN, "approval": True}, "phone": {"key": KEY}})
async def test_an_administrator_decides_after_it(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    client, _ = await stranger(server)
    await apply(client, reason="I know Juliet")
    assert condition(await prove(client, codes(caplog)[-1][1])) == ""
    assert "I know Juliet" in await server.operation("registration.list")
    await server.operation("registration.reject", jids=["romeo@localhost"])
    await server.quiet()
    assert await whose(server, ROMEO) == ""


@on
async def test_an_invitation_needs_no_number(server: Harness) -> None:
    from tests.plugins.test_invitations import invited, shown

    client = await shown(server, await invited(server))
    assert condition(await client.iq(query("romeo", "wherefore"), "set")) == ""


@pytest.mark.server(plugins={"phone": {"key": KEY}})
async def test_invitations_stay_what_registration_asks_for(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    client, _ = await stranger(server)
    assert condition(await apply(client)) == "forbidden" and not codes(caplog)


# ---- codes


@on
async def test_guesses_end_the_code(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    client, _ = await stranger(server)
    await apply(client)
    code = codes(caplog)[-1][1]
    wrong = f"{(int(code) + 1) % 1_000_000:06}"
    answers = {etree.tostring(await client.iq(filled(**{CODE: wrong}), "set", id="1")) for _ in range(3)}
    assert len(answers) == 1
    answers.add(etree.tostring(await client.iq(filled(**{CODE: code}), "set", id="1")))
    other, _ = await stranger(server)
    answers.add(etree.tostring(await other.iq(given("romeo", JULIET, **{CODE: code}), "set", id="1")))
    assert len(answers) == 1, "wrong, used up and never sent are one"
    assert not await exists(server, "romeo")


@on
async def test_a_code_has_an_end(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    client, _ = await stranger(server)
    await apply(client)
    await server.advance(600)
    client, _ = await stranger(server)
    assert condition(await apply(client, **{CODE: codes(caplog)[-1][1]})) == "not-acceptable"
    await server.advance(3601)
    plugin = server.host.plugins["phone"]
    assert await plugin.codes._codes.read_all("localhost") == {}


@on
async def test_a_code_is_used_once(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """Two registrations with one code at the same moment, and one later."""
    first, _ = await stranger(server)
    await apply(first)
    code = codes(caplog)[-1][1]
    clients = [(await stranger(server, f"192.0.2.{number}"))[0] for number in range(5)]
    answers = await asyncio.gather(
        *(apply(each, f"romeo{number}", **{CODE: code}) for number, each in enumerate(clients))
    )
    assert sorted(map(condition, answers)) == ["", *["not-acceptable"] * 4]
    assert condition(await apply(first, "mercutio", **{CODE: code})) == "not-acceptable"
    made = [number for number in range(5) if await exists(server, f"romeo{number}")]
    assert len(made) == 1 and await whose(server, ROMEO) == f"romeo{made[0]}"


@on
async def test_a_right_code_outlives_a_name_that_is_taken(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    client, _ = await stranger(server)
    await apply(client)
    await server.register("romeo")
    code = codes(caplog)[-1][1]
    assert condition(await prove(client, code)) == "conflict"
    assert condition(await prove(client, code, username="mercutio")) == ""


@on
async def test_a_wrong_code_tells_nothing_of_names(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    await server.register("juliet")
    answers = set()
    for name in ("juliet", "romeo"):
        client, _ = await stranger(server)
        answers.add(etree.tostring(await client.iq(given(name, **{CODE: "000000"}), "set", id="1")))
    assert len(answers) == 1


@on
async def test_a_number_with_an_account_gets_the_same_answer(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    await registered(server, caplog, "juliet", JULIET)
    await server.advance(61)
    answers = []
    for phone in (ROMEO, JULIET):
        client, _ = await stranger(server, "192.0.2.77")
        answers.append(etree.tostring(await client.iq(given("mercutio", phone), "set", id="1")))
    assert answers[0] == answers[1] and len(codes(caplog)) == 3


@on
async def test_codes_to_one_number(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    results = []
    for number in range(5):
        client, _ = await stranger(server, f"192.0.2.{number}")
        results.append(condition(await apply(client)))
        again, _ = await stranger(server, f"192.0.2.{number}")
        results.append(condition(await apply(again)))
        await server.advance(61)
    sent, no = "not-acceptable", "resource-constraint"
    assert results == [sent, no, sent, no, sent, no, no, no, no, no]
    await server.advance(86_400)
    client, _ = await stranger(server)
    assert condition(await apply(client)) == sent and len(codes(caplog)) == 4
    assert len({code for _, code in codes(caplog)}) > 1


@on
async def test_codes_for_one_address(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(7):
        client, _ = await stranger(server)
        await apply(client, phone=f"+49151123{number}5678")
    assert len(codes(caplog)) == 5


@on
async def test_codes_to_a_block_of_numbers(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """Who earns by messages has whole blocks of numbers."""
    for number in range(8):
        client, _ = await stranger(server, f"192.0.2.{number}")
        await apply(client, phone=f"+4915112345{number}78")
    assert len(codes(caplog)) == 5


@pytest.mark.server(plugins={"register": OPEN, "phone": {"key": KEY, "per_hour": 3}})
async def test_codes_in_all(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(6):
        client, _ = await stranger(server, f"192.0.2.{number}")
        await apply(client, phone=f"+49151123{number}5678")
    assert len(codes(caplog)) == 3
    assert "codes: 3" in await server.operation("phone.status")
    await server.advance(3600)
    client, _ = await stranger(server, "192.0.2.9")
    await apply(client)
    assert len(codes(caplog)) == 4


# ---- the number of an account


@on
async def test_a_number_for_an_account(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    romeo = await server.login("romeo")
    assert "has no phone number" in xml(await command(romeo))
    assert "The number is yours" in xml(await attach(romeo, caplog, ROMEO))
    assert await whose(server, ROMEO) == "romeo" and "until" in xml(await command(romeo))
    await server.advance(61)
    assert "The number is yours" in xml(await attach(romeo, caplog, JULIET)), "change of number"
    assert (await whose(server, ROMEO), await whose(server, JULIET)) == ("", "romeo")
    assert "belongs to romeo@localhost" in await server.operation("phone.find", number="+49 170 1234567")
    assert "is forgotten" in xml(await choose(romeo, remove="1"))
    assert await whose(server, JULIET) == ""
    assert condition(await choose(romeo, remove="1")) == "item-not-found"


@on
async def test_a_number_that_moves(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever proves it has it; who had it is told, and loses nothing else."""
    await registered(server, caplog, "romeo", ROMEO)
    romeo = server.connect()
    await romeo.sign_in("romeo", "wherefore")
    await romeo.bind()
    romeo.send("<presence/>")
    await romeo.receive_all()
    await server.advance(61)
    await registered(server, caplog, "mercutio", ROMEO)
    assert await whose(server, ROMEO) == "mercutio"
    told = "".join(xml(each) for each in await romeo.receive_all())
    assert "another account" in told and "mercutio" not in told
    assert "has no phone number" in xml(await command(romeo))


@on
async def test_the_code_is_for_one_account(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    romeo, tybalt = await server.login("romeo"), await server.login("tybalt")
    mine = await choose(romeo, phone=ROMEO)
    await server.advance(61)
    his = await choose(tybalt, phone=ROMEO)
    (_, first), (_, second) = codes(caplog)
    wrong = await command(tybalt, session=str(his[0].get("sessionid")), **{CODE: first})
    assert condition(wrong) == "bad-request" or first == second
    client, _ = await stranger(server)
    assert condition(await apply(client, "mercutio", **{CODE: first})) == "not-acceptable"
    done = await command(romeo, session=str(mine[0].get("sessionid")), **{CODE: first})
    assert "The number is yours" in xml(done), "what others ask for does not end it"


@on
async def test_the_account_goes_and_its_number_too(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    await registered(server, caplog, "romeo", ROMEO, discoverable=True)
    romeo = server.connect()
    await romeo.sign_in("romeo", "wherefore")
    await romeo.bind()
    await romeo.iq("<query xmlns='jabber:iq:register'><remove/></query>", "set")
    await server.quiet()
    plugin = server.host.plugins["phone"]
    assert await plugin.book.numbers.read_all("localhost") == {}


@on
async def test_an_administrator_ends_it(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    await registered(server, caplog, "romeo", ROMEO)
    assert "no phone number" in await server.operation("phone.detach", jid="romeo@localhost")
    assert await whose(server, ROMEO) == ""


@on
async def test_the_store_holds_no_number_and_no_code(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    await registered(server, caplog, "juliet", JULIET, discoverable=True)
    client, _ = await stranger(server)
    await apply(client)
    code = codes(caplog)[-1][1]
    held = repr(vars(server.backend)).encode()
    assert b"juliet@localhost" in held
    for secret in (ROMEO, JULIET, ROMEO[1:], JULIET[1:], f"'{code}'", KEY):
        assert secret.encode() not in held
    told = [each.getMessage() for each in caplog.records if not each.getMessage().startswith("to +")]
    assert not [each for each in told if code in each or ROMEO[1:] in each or JULIET[1:] in each]


# ---- what somebody might try


@on
async def test_many_guesses_at_once(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    client, _ = await stranger(server)
    await apply(client)
    code = codes(caplog)[-1][1]
    wrong = [f"{(int(code) + 1 + number) % 1_000_000:06}" for number in range(9)]
    clients = [(await stranger(server, f"192.0.2.{number}"))[0] for number in range(9)]
    pairs = zip(clients, wrong, strict=True)
    answers = await asyncio.gather(*(apply(each, **{CODE: guess}) for each, guess in pairs))
    assert set(map(condition, answers)) == {"not-acceptable"}
    assert condition(await prove(client, code)) == "not-acceptable", "three of them have ended it"


@on
async def test_two_ways_to_write_one_number_are_one(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    results = []
    for number, text in enumerate((ROMEO, "+49 (0) 151 1234 5678", "+49-151-12345678")):
        client, _ = await stranger(server, f"192.0.2.{number}")
        results.append(condition(await apply(client, phone=text)))
    assert results == ["not-acceptable", "resource-constraint", "resource-constraint"] and len(codes(caplog)) == 1


@on
async def test_who_is_refused_does_not_shut_out_neighbours(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(8):
        client, _ = await stranger(server, f"192.0.2.{number}")
        await apply(client)
    client, _ = await stranger(server, "192.0.2.99")
    assert "code was sent" in xml(await apply(client, phone="+4915112349999"))


@on
async def test_codes_that_are_no_codes(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    client, _ = await stranger(server)
    await apply(client)
    code = codes(caplog)[-1][1]
    fullwidth = "".join(chr(ord(digit) + 0xFEE0) for digit in code)
    for bad in (fullwidth, code + "0"):
        assert condition(await prove(client, bad)) == "not-acceptable"
    assert condition(await prove(client, f" {code[:3]}-{code[3:]}")) == ""


@on
async def test_another_number_in_the_second_form(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """Proves none but the one that the code was sent to."""
    client, _ = await stranger(server)
    await apply(client)
    code = codes(caplog)[-1][1]
    assert condition(await prove(client, code, phone=JULIET)) == "not-acceptable"
    assert await whose(server, JULIET) == "" and not await exists(server, "romeo")


@on
async def test_a_change_of_number_keeps_the_choice(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    romeo = await server.login("romeo")
    await attach(romeo, caplog, ROMEO, discoverable="1")
    await server.advance(61)
    await attach(romeo, caplog, JULIET)
    found = await server.host.plugins["phone"].book.of_account("romeo@localhost")
    assert found is not None and found[1].discoverable
