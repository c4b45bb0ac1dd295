"""XEP-0400: the second factor: set up, asked for at the sign-in, guessed, replayed, lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest

from plugins.totp import NS as TOTP
from tests.harness import Client, Element, Harness
from tests.harness.sasl2 import (
    FAST,
    NS,
    SASL,
    Scram,
    agent,
    answered,
    authenticate,
    b64,
    failure,
    ht,
    opened,
    plain,
    signed_in,
)
from xmppd.contracts.admin import OperationError
from xmppd.jid import JID

X = "{jabber:x:data}"
COMMAND = "{http://jabber.org/protocol/commands}command"
pytestmark = pytest.mark.server(plugins={"totp": {}})


def submit(session: str, **values: str) -> str:
    fields = "".join(f"<field var='{name}'><value>{value}</value></field>" for name, value in values.items())
    return (
        f"<command xmlns='http://jabber.org/protocol/commands' node='{TOTP}' sessionid='{session}' action='complete'>"
        f"<x xmlns='jabber:x:data' type='submit'>{fields}</x></command>"
    )


async def ask(client: Client, text: str) -> Element:
    return await client.iq(text, "set", to=client.bare)


async def begin(client: Client) -> Element:
    answer = await ask(client, f"<command xmlns='http://jabber.org/protocol/commands' node='{TOTP}'/>")
    found = answer.find(COMMAND)
    assert found is not None
    return found


def values(element: Element, var: str) -> list[str]:
    return [str(each.text) for each in element.findall(f".//{X}field[@var='{var}']/{X}value")]


class Phone:
    """What a person has: an application for codes, and the recovery codes."""

    def __init__(self, server: Harness, secret: str) -> None:
        self.server = server
        self.totp = pyotp.TOTP(secret)
        self.recovery: list[str] = []

    def code(self, steps: int = 0) -> str:
        return self.totp.generate_otp(int(self.server.clock.now()) // 30 + steps)


async def enrolled(server: Harness, client: Client | None = None) -> Phone:
    client = client or await server.login("romeo")
    form = await begin(client)
    (uri,) = values(form, "uri")
    assert uri.startswith("otpauth://totp/localhost:romeo%40localhost?")
    (secret,) = parse_qs(urlsplit(uri).query)["secret"]
    assert values(form, "secret") == [secret]
    phone = Phone(server, secret)
    done = await ask(client, submit(str(form.get("sessionid")), code=phone.code()))
    assert done.find(COMMAND).get("status") == "completed"  # type: ignore[union-attr]
    phone.recovery = values(done, "recovery")
    await server.advance(30)
    return phone


def next_(code: str = "", task: str = "TOTP") -> str:
    inside = f"<totp xmlns='{TOTP}'>{code}</totp>" if code else ""
    return f"<next xmlns='{NS}' task='{task}'>{inside}</next>"


def data(code: str) -> str:
    return f"<task-data xmlns='{NS}'><totp xmlns='{TOTP}'>{code}</totp></task-data>"


async def proven(server: Harness) -> Client:
    """A stream whose password was right."""
    client = await opened(server)
    asked = await answered(client, plain())
    assert asked.tag == f"{{{NS}}}continue"
    assert [each.text for each in asked.iter(f"{{{NS}}}task")] == ["TOTP"]
    return client


async def attempt(server: Harness, code: str) -> str:
    found = await answered(await proven(server), next_(code))
    return "" if found.tag == f"{{{NS}}}success" else failure(found)


# ---- set up


async def test_it_is_set_up_and_asked_for(server: Harness) -> None:
    phone = await enrolled(server)
    assert len(phone.recovery) == len(set(phone.recovery)) == 10
    client = await proven(server)
    assert (await answered(client, next_())).tag == f"{{{NS}}}task-data"
    success = await answered(client, data(phone.code()))
    assert success.findtext(f"{{{NS}}}authorization-identifier") == "romeo@localhost"
    await client.receive()
    await client.bind()


async def test_a_person_has_time_to_find_the_code(server: Harness) -> None:
    """And who has proven nothing has not."""
    phone = await enrolled(server)
    stranger, client = await opened(server), await proven(server)
    await server.advance(120)
    assert await stranger.stream_error() == "connection-timeout"
    assert (await answered(client, next_(phone.code()))).tag == f"{{{NS}}}success"
    client = await proven(server)
    await server.advance(620)
    assert await client.stream_error() == "connection-timeout"


async def test_it_is_asked_for_before_anything_changes(server: Harness) -> None:
    """Else who knows the password alone gives the account keys of his choice (XEP-0480)."""
    phone = await enrolled(server)
    accounts = server.host.stored_accounts
    stored = accounts.get("romeo@localhost")[""]
    old = replace(stored, credentials=replace(stored.credentials, scram_sha_512=None))
    await server.host.storage.commit([accounts.put("romeo@localhost", "", old)])
    client, exchange = await opened(server), Scram("SHA-256")
    wanted = "<upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-512</upgrade>"
    challenge = await answered(client, authenticate("SCRAM-SHA-256", exchange.initial, wanted))
    asked = await answered(client, exchange.final(challenge))
    assert [each.text for each in asked.iter(f"{{{NS}}}task")] == ["TOTP"]
    asked = await answered(client, next_(phone.code()))
    assert [each.text for each in asked.iter(f"{{{NS}}}task")] == ["UPGR-SCRAM-SHA-512"]


@pytest.mark.parametrize("form", ["plain", "base64", "initial-response"])
async def test_the_code_comes_with_the_choice(server: Harness, form: str) -> None:
    code = (await enrolled(server)).code()
    text = {
        "plain": next_(code),
        "base64": next_(b64(code)),
        "initial-response": f"<next xmlns='{NS}' task='TOTP'><initial-response>{b64(code)}</initial-response></next>",
    }[form]
    assert (await answered(await proven(server), text)).tag == f"{{{NS}}}success"


async def test_a_wrong_code_sets_nothing_up(server: Harness) -> None:
    client = await server.login("romeo")
    form = await begin(client)
    session = str(form.get("sessionid"))
    for code in ("000000", "", "x" * 1000):
        assert (await ask(client, submit(session, code=code))).get("type") == "error"
    await signed_in(server)
    phone = Phone(server, values(form, "secret")[0])
    assert (await ask(client, submit(session, code=phone.code()))).get("type") == "result"
    await proven(server)


async def test_the_secret_is_not_in_the_store(server: Harness) -> None:
    phone = await enrolled(server)
    stored = repr(await server.host.plugins["totp"].factors.read("romeo@localhost", ""))
    assert phone.totp.secret not in stored
    assert not any(code in stored or code.replace("-", "") in stored for code in phone.recovery)


async def test_only_the_owner_sees_the_command(server: Harness) -> None:
    await server.login("romeo")
    juliet = await server.login("juliet")
    text = f"<command xmlns='http://jabber.org/protocol/commands' node='{TOTP}'/>"
    assert (await juliet.iq(text, "set", to="romeo@localhost")).get("type") == "error"


# ---- refused


async def test_wrong_codes(server: Harness) -> None:
    phone = await enrolled(server)
    for code in (
        "000000",
        phone.code(5),
        phone.code(-5),
        "1",
        "aaaa-bbbb-cccc-dddd",
        "\u0661\u0662\u0663\u0664\u0665\u0666",
    ):
        assert await attempt(server, code) == "not-authorized"
        server.host.plugins["totp"].attempts.forget("romeo@localhost")
        await server.advance(60)


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        (next_("!!!"), "incorrect-encoding"),
        (next_("1" * 1000), "malformed-request"),
        (next_("123456", "OTHER"), "malformed-request"),
        (data("123456"), "malformed-request"),
    ],
)
async def test_what_is_no_code(server: Harness, text: str, condition: str) -> None:
    await enrolled(server)
    assert failure(await answered(await proven(server), text)) == condition


async def test_no_code_at_all(server: Harness) -> None:
    await enrolled(server)
    client = await proven(server)
    assert (await answered(client, next_())).tag == f"{{{NS}}}task-data"
    assert failure(await answered(client, f"<task-data xmlns='{NS}'/>")) == "malformed-request"


async def test_a_code_counts_once(server: Harness) -> None:
    phone = await enrolled(server)
    code = phone.code()
    assert await attempt(server, code) == ""
    assert await attempt(server, code) == "not-authorized"
    assert await attempt(server, phone.code(-1)) == "not-authorized"  # nor one from before it
    await server.advance(30)
    assert await attempt(server, phone.code()) == ""


async def test_the_code_of_the_set_up_is_used(server: Harness) -> None:
    phone = await enrolled(server)
    assert await attempt(server, phone.code(-1)) == "not-authorized"


async def test_two_at_once_with_one_code(server: Harness) -> None:
    phone = await enrolled(server)
    clients = [await proven(server) for _ in range(2)]
    for client in clients:
        client.send(next_(phone.code()))
    found = sorted([(await client.receive()).tag for client in clients])
    assert found == [f"{{{NS}}}failure", f"{{{NS}}}success"]


@pytest.mark.server(plugins={"totp": {"attempts": 3, "first_wait": "1 minute"}})
async def test_guessing_is_slow_wherever_it_comes_from(server: Harness) -> None:
    phone = await enrolled(server)
    for number in range(3):
        client = server.connect()
        client.link.peer = f"192.0.2.{number}"
        client.open()
        await client.receive()
        await answered(client, plain())
        assert failure(await answered(client, next_("000000"))) == "not-authorized"
    client = server.connect()
    client.link.peer = "192.0.2.99"
    client.open()
    await client.receive()
    await answered(client, plain())
    assert failure(await answered(client, next_(phone.code()))) == "temporary-auth-failure"
    await server.advance(61)
    assert await attempt(server, phone.code()) == ""


async def test_in_the_way_of_rfc_6120(server: Harness) -> None:
    """A client that cannot be asked is refused, and told why; its password does not count as a guess."""
    await enrolled(server)
    initial = b64("\0romeo\0pencil")
    for _ in range(8):
        client = await opened(server)
        found = await answered(client, f"<auth xmlns='{SASL}' mechanism='PLAIN'>{initial}</auth>")
        assert found.find(f"{{{SASL}}}mechanism-too-weak") is not None
        assert "second factor" in str(found.findtext(f"{{{SASL}}}text"))
    client = await opened(server)
    wrong = await answered(
        client, f"<auth xmlns='{SASL}' mechanism='PLAIN'>{b64(chr(0) + 'romeo' + chr(0) + 'x')}</auth>"
    )
    assert [each.tag for each in wrong] == [f"{{{SASL}}}not-authorized"]


async def test_others_are_not_asked(server: Harness) -> None:
    await enrolled(server)
    await signed_in(server, user="juliet", text=plain("juliet"))
    await server.login("juliet")


async def test_a_factor_that_cannot_be_read_lets_nobody_in(server: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    phone = await enrolled(server)
    plugin = server.host.plugins["totp"]
    server.server.secret = b"another" * 5
    plugin.reconfigured()
    assert await attempt(server, phone.code()) == "temporary-auth-failure"

    def broken(owner: str) -> Any:
        raise ValueError("the record is damaged")

    monkeypatch.setattr(plugin.factors, "get", broken)
    await proven(server)


async def test_tokens_need_no_code(server: Harness) -> None:
    """XEP-0400 section 5.2, XEP-0484 section 5.2."""
    phone = await enrolled(server)
    client = await opened(server)
    request = f"{agent()}<request-token xmlns='{FAST}' mechanism='HT-SHA-256-NONE'/>"
    assert (await answered(client, plain(more=request))).tag == f"{{{NS}}}continue"
    success = await answered(client, next_(phone.code()))
    token = success.find(f"{{{FAST}}}token")
    assert token is not None
    again = await opened(server)
    initial = ht("romeo", str(token.get("token")))
    found = await answered(again, authenticate("HT-SHA-256-NONE", initial, f"{agent()}<fast xmlns='{FAST}'/>"))
    assert found.tag == f"{{{NS}}}success"


# ---- afterwards


async def test_recovery_codes(server: Harness) -> None:
    phone = await enrolled(server)
    first = phone.recovery[0]
    assert await attempt(server, first) == ""
    assert await attempt(server, first) == "not-authorized"
    assert await attempt(server, b64(phone.recovery[1].replace("-", "").upper())) == ""


async def test_new_recovery_codes_and_off(server: Harness) -> None:
    client = await server.login("romeo")
    phone = await enrolled(server, client)
    form = await begin(client)
    assert not values(form, "secret")
    session = str(form.get("sessionid"))
    for wrong in ({"do": "codes"}, {"do": "codes", "code": "000000"}, {"do": "x", "code": phone.code()}):
        assert (await ask(client, submit(session, **wrong))).get("type") == "error"
    done = await ask(client, submit(session, do="codes", code=phone.code()))
    fresh = values(done, "recovery")
    assert len(fresh) == 10 and not set(fresh) & set(phone.recovery)
    assert await attempt(server, phone.recovery[0]) == "not-authorized"
    form = await begin(client)
    done = await ask(client, submit(str(form.get("sessionid")), do="off", code=fresh[0]))
    assert done.get("type") == "result"
    await signed_in(server)


async def test_an_administrator_takes_it_away(server: Harness) -> None:
    await enrolled(server)
    await server.operation("totp.reset", jid="romeo@localhost")
    await signed_in(server)
    with pytest.raises(OperationError, match="no second factor"):
        await server.operation("totp.reset", jid="romeo@localhost")


async def test_it_goes_with_the_account(server: Harness) -> None:
    await enrolled(server)
    await server.server.accounts.delete(JID.parse("romeo@localhost"))
    await server.quiet()
    await server.server.accounts.release(JID.parse("romeo@localhost"))
    await signed_in(server)
