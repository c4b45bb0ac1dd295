"""A page shows a code, a phone says yes, and the page, and nobody else, has a token."""

from __future__ import annotations

import asyncio
import json
import logging
import statistics
import time
from typing import Any

import pytest

from plugins.qr_sign_in.browsers import Browser
from plugins.qr_sign_in.waiting import PER_ADDRESS, WaitingPages
from tests.harness import Client, Element, FakeClock, Harness, condition, xml
from tests.harness.http import HttpAnswer
from tests.harness.sasl2 import authenticate, bind, ht, signed_in
from tests.plugins.test_fast import by_token, tried
from xmppd.errors import ResourceConstraint
from xmppd.jid import JID

NODE = "urn:xmppd:qr-sign-in"
COMMANDS = "http://jabber.org/protocol/commands"
FORMS = "jabber:x:data"
PAGE = "99999999-2222-4333-8444-555555555555"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
SAME: dict[str, str] = {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/json", "User-Agent": FIREFOX}
pytestmark = pytest.mark.server(plugins={"qr_sign_in": {}})


async def post(server: Harness, name: str, body: Any, headers: dict[str, str] | None = None) -> HttpAnswer:
    return await server.http(
        "POST", f"/qr-sign-in/{name}", json.dumps(body).encode(), SAME if headers is None else headers
    )


async def shown(server: Harness) -> dict[str, Any]:
    """What a page gets that asks for a code."""
    answer = await post(server, "code", {})
    assert answer.status == 200, answer
    assert answer.headers["cache-control"] == "no-store"
    found: dict[str, Any] = json.loads(answer.body)
    return found


async def fetched(server: Harness, secret: str, id: str = PAGE) -> dict[str, Any]:
    """What a page hears that asks what has become of its code."""
    answer = await post(server, "answer", {"secret": secret, "id": id})
    assert answer.status == 200, answer
    found: dict[str, Any] = json.loads(answer.body)
    return found


async def command(phone: Client, node: str, session: str = "", to: str = "localhost", **fields: str) -> Element:
    named = f" sessionid='{session}'" if session else ""
    filled = "".join(f"<field var='{var}'><value>{value}</value></field>" for var, value in fields.items())
    form = f"<x xmlns='{FORMS}' type='submit'>{filled}</x>" if fields else ""
    return await phone.iq(f"<command xmlns='{COMMANDS}' node='{node}'{named}>{form}</command>", "set", to)


async def asked(phone: Client, code: str) -> str:
    """The session of a command that shows what is to be approved."""
    answer = await command(phone, f"{NODE}#{code}")
    assert answer.get("type") == "result", xml(answer)
    return str(answer[0].get("sessionid"))


async def decided(phone: Client, code: str, yes: str = "1") -> Element:
    return await command(phone, f"{NODE}#{code}", await asked(phone, code), approve=yes)


async def approved(server: Harness, phone: Client) -> dict[str, Any]:
    """A page that was signed in."""
    page = await shown(server)
    assert (await decided(phone, page["code"])).get("type") == "result"
    return await fetched(server, page["secret"])


def values(answer: Element) -> dict[str, str]:
    fields = answer.iter(f"{{{FORMS}}}field")
    return {str(each.get("var")): each.findtext(f"{{{FORMS}}}value") or "" for each in fields}


async def test_a_page_is_signed_in(server: Harness) -> None:
    phone = await server.login("romeo", "phone")
    page = await shown(server)
    assert page["uri"] == f"xmpp:localhost?command;node=urn%3Axmppd%3Aqr-sign-in%23{page['code']};action=execute"
    assert page["image"].startswith("<svg")
    assert page["secret"] not in page["uri"] + page["image"]
    form = await command(phone, f"{NODE}#{page['code']}")
    assert values(form)["browser"] == "Firefox on Linux"
    assert values(form)["address"] == "127.0.0.1"
    assert values(form)["account"] == "romeo@localhost"
    assert values(form)["approve"] == "0", "whoever only presses the button has not said yes"
    assert "Say yes only if you have that page in front of you" in xml(form)
    done = await command(phone, f"{NODE}#{page['code']}", str(form[0].get("sessionid")), approve="1")
    assert done[0].get("status") == "completed"
    found = await fetched(server, page["secret"])
    assert (found["state"], found["jid"], found["mechanism"]) == ("approved", "romeo@localhost", "HT-SHA-256-NONE")
    assert (found["software"], found["device"]) == ("Converse in Firefox", "Linux")
    assert await tried(server, by_token(found["token"], id=PAGE)) == "success"


@pytest.mark.parametrize(
    ("page", "phone", "said"),
    [
        ("192.0.2.7", "192.0.2.7", "192.0.2.7 (the same as this device)"),
        ("192.0.2.7", "192.0.2.8", "192.0.2.7 (not the address of this device)"),
        ("2001:db8::1", "2001:db8::2", "2001:db8::1 (the same as this device)"),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("::1", "192.0.2.8", "::1"),
    ],
)
async def test_where_the_page_is(server: Harness, page: str, phone: str, said: str) -> None:
    """An address of this machine says nothing: it is that of a proxy, whoever asks."""
    answer = await server.http(
        "POST", "/qr-sign-in/code", b"{}", {**SAME, "X-Forwarded-Proto": "https", "X-Forwarded-For": page},
        trusted_proxies=("127.0.0.1",),
    )  # fmt: skip
    client = await server.login("romeo", "phone")
    client.link.peer = phone
    form = await command(client, f"{NODE}#{json.loads(answer.body)['code']}")
    assert values(form)["address"] == said


def test_a_page_costs_the_same_however_many_wait() -> None:
    """Strangers bring them, from many addresses, and everybody else would wait."""
    pages, cost = WaitingPages(FakeClock(), 20_000, 60.0), []
    for number in range(20_000):
        began = time.thread_time()
        pages.add(Browser.of(""), f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        cost.append(time.thread_time() - began)
    few, many = statistics.median(cost[:500]), statistics.median(cost[-5000:])  # a rest of the machine is no cost
    assert many < 20 * few, (few, many)
    assert len(pages) == 20_000
    pages.clear()
    assert not len(pages) and not pages._by_place


async def test_the_page_hears_at_once(server: Harness) -> None:
    phone = await server.login("romeo", "phone")
    page = await shown(server)
    waiting = asyncio.create_task(fetched(server, page["secret"]))
    await server.quiet()
    assert not waiting.done()
    await decided(phone, page["code"])
    assert (await waiting)["state"] == "approved"


async def test_a_wait_ends(server: Harness) -> None:
    page = await shown(server)
    waiting = asyncio.create_task(fetched(server, page["secret"]))
    await server.quiet()
    await server.advance(26)
    assert (await waiting)["state"] == "waiting"
    first = asyncio.create_task(fetched(server, page["secret"]))
    await server.quiet()
    second = asyncio.create_task(fetched(server, page["secret"]))
    assert (await first)["state"] == "waiting", "one request of a page waits"
    await server.advance(26)
    assert (await second)["state"] == "waiting"
    third = asyncio.create_task(fetched(server, page["secret"]))
    await server.quiet()
    await server.advance(9)
    assert (await third)["state"] == "gone"


async def test_it_is_a_linked_device(server: Harness) -> None:
    """Its owner sees it, signs it out, and its token is worth nothing."""
    phone = await server.login("romeo", "phone")
    found = await approved(server, phone)
    told = f"<software>{found['software']}</software><device>{found['device']}</device>"
    more = f"<fast xmlns='urn:xmpp:fast:0'/><user-agent id='{PAGE}'>{told}</user-agent>{bind()}"
    text = authenticate(found["mechanism"], ht("romeo", found["token"]), more)
    browser, _ = await signed_in(server, text=text)
    await browser.receive_all()
    form = await command(phone, "urn:xmppd:devices", to="romeo@localhost")
    option = next(each for each in form.iter(f"{{{FORMS}}}option") if "Converse in" in str(each.get("label")))
    label = str(option.get("label"))
    assert label.startswith("Converse in Firefox on Linux: ") and label.endswith("signs in by token")
    device = option.findtext(f"{{{FORMS}}}value") or ""
    await command(phone, "urn:xmppd:devices", str(form[0].get("sessionid")), "romeo@localhost", devices=device)
    assert await browser.stream_error() == "not-authorized"
    assert await tried(server, by_token(found["token"], id=PAGE)) == "credentials-expired"


async def test_signing_out_ends_the_token(server: Harness) -> None:
    phone = await server.login("romeo", "phone")
    found = await approved(server, phone)
    browser, _ = await signed_in(server, text=by_token(found["token"], bind(), id=PAGE))
    await browser.receive_all()
    assert (await browser.iq(f"<sign-out xmlns='{NODE}'/>", "set")).get("type") == "result"
    assert await tried(server, by_token(found["token"], id=PAGE)) == "credentials-expired"
    assert (await phone.iq(f"<sign-out xmlns='{NODE}'/>", "set")).get("type") == "result", "it has no token"


async def test_no(server: Harness) -> None:
    phone = await server.login("romeo", "phone")
    page = await shown(server)
    assert "not signed in" in xml(await decided(phone, page["code"], "0"))
    assert (await fetched(server, page["secret"])) == {"state": "refused"}
    assert (await fetched(server, page["secret"])) == {"state": "gone"}
    assert condition(await command(phone, f"{NODE}#{page['code']}")) == "item-not-found"


async def test_the_code_typed_in(server: Harness) -> None:
    phone = await server.login("romeo", "phone")
    page = await shown(server)
    first = await command(phone, NODE)
    session = str(first[0].get("sessionid"))
    assert condition(await command(phone, NODE, session, code="nothing")) == "item-not-found"
    second = await command(phone, NODE, session, code=f" {page['code']} ")
    assert values(second)["browser"] == "Firefox on Linux"
    await command(phone, NODE, session, approve="1")
    assert (await fetched(server, page["secret"]))["state"] == "approved"


# ---- attacks


async def test_a_token_is_given_once(server: Harness) -> None:
    phone = await server.login("romeo", "phone")
    page = await shown(server)
    await decided(phone, page["code"])
    answers = await asyncio.gather(*(fetched(server, page["secret"]) for _ in range(5)))
    assert sorted(each["state"] for each in answers) == ["approved", "gone", "gone", "gone", "gone"]
    assert condition(await command(phone, f"{NODE}#{page['code']}")) == "item-not-found"


async def test_two_phones(server: Harness) -> None:
    """Both see it; the first one that says yes has it, and the other hears that the code is of no use any more."""
    romeo, juliet = await server.login("romeo", "phone"), await server.login("juliet", "phone")
    page = await shown(server)
    sessions = [await asked(phone, page["code"]) for phone in (romeo, juliet)]
    node = f"{NODE}#{page['code']}"
    answers = [
        await command(phone, node, session, approve="1")
        for phone, session in zip((juliet, romeo), reversed(sessions), strict=True)
    ]
    assert answers[0].get("type") == "result"
    assert condition(answers[1]) == "item-not-found"
    assert (await fetched(server, page["secret"]))["jid"] == "juliet@localhost"


async def test_the_code_alone_fetches_nothing(server: Harness) -> None:
    """Who has seen the picture has no more than the phone has."""
    phone = await server.login("romeo", "phone")
    page = await shown(server)
    await decided(phone, page["code"])
    for secret in (page["code"], "", "x" * 500, page["secret"][:-1]):
        assert await fetched(server, secret) == {"state": "gone"}
    assert condition(await command(phone, f"{NODE}#{page['secret']}")) == "item-not-found"
    assert (await fetched(server, page["secret"]))["state"] == "approved"


async def test_the_token_is_of_that_page(server: Harness) -> None:
    found = await approved(server, await server.login("romeo", "phone"))
    assert await tried(server, by_token(found["token"], id=PAGE.replace("9", "8"))) == "not-authorized"
    assert await tried(server, by_token(found["token"], user="juliet", id=PAGE)) == "not-authorized"


async def test_expired(server: Harness) -> None:
    phone = await server.login("romeo", "phone")
    page = await shown(server)
    session = await asked(phone, page["code"])
    await server.advance(61)
    late = await command(phone, f"{NODE}#{page['code']}", session, approve="1")
    assert condition(late) == "item-not-found"
    assert await fetched(server, page["secret"]) == {"state": "gone"}
    page = await shown(server)
    await decided(phone, page["code"])
    await server.advance(61)
    assert await fetched(server, page["secret"]) == {"state": "gone"}, "approved, and not fetched in time"


async def test_the_account_is_disabled_in_between(server: Harness) -> None:
    phone = await server.login("romeo", "phone")
    page = await shown(server)
    await decided(phone, page["code"])
    await server.server.accounts.set_disabled(JID.parse("romeo@localhost"), True)
    assert await fetched(server, page["secret"]) == {"state": "gone"}


async def test_the_password_is_changed_in_between(server: Harness) -> None:
    phone = await server.login("romeo", "phone")
    page = await shown(server)
    await decided(phone, page["code"])
    await server.server.accounts.set_password(JID.parse("romeo@localhost"), "crayon")
    assert await fetched(server, page["secret"]) == {"state": "gone"}


async def test_a_new_password_ends_the_token(server: Harness) -> None:
    found = await approved(server, await server.login("romeo", "phone"))
    await server.server.accounts.set_password(JID.parse("romeo@localhost"), "crayon")
    assert await tried(server, by_token(found["token"], id=PAGE)) == "credentials-expired"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({**SAME, "Sec-Fetch-Site": "cross-site"}, 403),
        ({**SAME, "Sec-Fetch-Site": "same-site"}, 403),
        ({**SAME, "Sec-Fetch-Site": "none"}, 403),
        ({"Content-Type": "application/json", "Origin": "https://evil.example"}, 403),
        ({"Content-Type": "application/json", "Origin": "null"}, 403),
        ({"Content-Type": "application/json", "Origin": "http://localhost"}, 200),
        ({"Content-Type": "application/json"}, 200),
        ({**SAME, "Content-Type": "text/plain"}, 415),
        ({**SAME, "Content-Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
async def test_other_pages_may_not_ask(server: Harness, headers: dict[str, str], status: int) -> None:
    """Neither for a code in a visitor's name, from whose address it would seem to come, nor for answers."""
    answer = await post(server, "code", {}, headers)
    assert answer.status == status
    assert "access-control-allow-origin" not in answer.headers
    assert (await post(server, "answer", {"secret": "x", "id": PAGE}, headers)).status == status


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 1000, b'"x"', b"1" * 1023])
async def test_what_is_no_request(server: Harness, body: bytes) -> None:
    for name in ("code", "answer"):
        assert (await server.http("POST", f"/qr-sign-in/{name}", body, SAME)).status == 400
    for odd in ({"secret": ["x"], "id": {}}, {"secret": "\ud800", "id": PAGE}):
        answer = await post(server, "answer", odd)
        assert (answer.status, json.loads(answer.body)) == (200, {"state": "gone"})
    assert (await server.http("POST", "/qr-sign-in/code", b"1" * 1025, SAME)).status == 413
    assert (await server.http("GET", "/qr-sign-in/code", b"", SAME)).status == 405


async def test_what_is_no_installation_gets_no_token(server: Harness) -> None:
    phone = await server.login("romeo", "phone")
    page = await shown(server)
    await decided(phone, page["code"])
    for id in ("", "x", PAGE.replace("-", "")):
        assert await fetched(server, page["secret"], id) == {"state": "gone"}


async def test_who_may_approve(server: Harness) -> None:
    """Codes stand in no list, and nobody but the people of this host is asked anything."""
    phone = await server.login("romeo", "phone")
    page = await shown(server)
    items = await phone.iq(f"<query xmlns='http://jabber.org/protocol/disco#items' node='{COMMANDS}'/>", to="localhost")
    assert NODE in xml(items) and page["code"] not in xml(items) and f"{NODE}#" not in xml(items)
    answer = await command(phone, f"{NODE}#{page['code']}", to="romeo@localhost")
    assert condition(answer) == "item-not-found"


async def test_no_answer_is_no_yes(server: Harness) -> None:
    phone = await server.login("romeo", "phone")
    page = await shown(server)
    node, session = f"{NODE}#{page['code']}", await asked(phone, page["code"])
    for fields in ({}, {"approve": ""}, {"approve": "perhaps"}, {"other": "1"}):
        assert condition(await command(phone, node, session, **fields)) in ("bad-request", "not-acceptable")
    assert server.host.plugins["qr_sign_in"].pages.of_code(page["code"]) is not None


@pytest.mark.server(plugins={"qr_sign_in": {"per_address": 3}})
async def test_too_many_of_one_address(server: Harness) -> None:
    for _ in range(3):
        await shown(server)
    assert (await post(server, "code", {})).status == 429
    await server.advance(61)
    await shown(server)


async def test_what_waits_is_bounded(server: Harness) -> None:
    pages = WaitingPages(FakeClock(), 30, 60.0)
    first, secret = pages.add(Browser.of(""), "192.0.2.1")
    for _ in range(PER_ADDRESS):
        pages.add(Browser.of(""), "192.0.2.1")
    assert pages.of_code(first) is None and pages.of_secret(secret) is None, "of one address, the oldest goes"
    assert len(pages) == PER_ADDRESS
    for number in range(10):
        pages.add(Browser.of(""), f"192.0.2.{number + 2}")
    with pytest.raises(ResourceConstraint):
        pages.add(Browser.of(""), "198.51.100.1")
    assert len(pages) == 30


async def test_nothing_secret_is_logged(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    phone = await server.login("romeo", "phone")
    page = await shown(server)
    await decided(phone, page["code"])
    found = await fetched(server, page["secret"])
    said = "\n".join(each.getMessage() for each in caplog.records if each.name.startswith("xmppd"))
    assert "romeo@localhost lets Firefox on Linux at 127.0.0.1 sign in" in said
    for text in (page["code"], page["secret"], found["token"], PAGE):
        assert text not in said


@pytest.mark.server(plugins={"qr_sign_in": {}, "fast": False})
async def test_without_tokens_there_are_no_codes(server: Harness) -> None:
    assert (await post(server, "code", {})).status == 503


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        (FIREFOX, "Firefox on Linux"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/142.0 Safari/537.36 Edg/142.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/26.0 Safari/605.1.15",
            "Safari on macOS",
        ),
        (
            "Mozilla/5.0 (Linux; Android 15; Pixel) AppleWebKit/537.36 Chrome/142.0 Mobile Safari/537.36",
            "Chrome on Android",
        ),
        ("<b>\x00curl", "An unknown browser"),
        ("", "An unknown browser"),
    ],
)
def test_browsers(agent: str, said: str) -> None:
    """Words of ours only: what a browser says of itself is shown to nobody."""
    assert str(Browser.of(agent)) == said


@pytest.mark.parametrize("name", ["code", "answer"])
async def test_not_over_a_network_where_others_read_along(server: Harness, name: str) -> None:
    """A proxy says that what it passes on came to it in clear."""
    answer = await server.http(
        "POST", f"/qr-sign-in/{name}", b"{}", {**SAME, "X-Forwarded-Proto": "http", "X-Forwarded-For": "192.0.2.7"},
        trusted_proxies=("127.0.0.1",),
    )  # fmt: skip
    assert answer.status == 403
