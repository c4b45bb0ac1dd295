"""The pages of invitations."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from urllib.parse import urlencode

import pytest
from lxml import html

from tests.harness import Harness, HttpAnswer, condition
from tests.plugins.test_invitations import contacts, exists, invite_by, invited, preauth, stranger
from xmppd.config import HttpListenerConfig
from xmppd.net.listen import Listener

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def post(server: Harness, token: str, **fields: str) -> HttpAnswer:
    given = {"again": fields.get("password", ""), **fields}
    return await server.http("POST", f"/invite/{token}", urlencode(given).encode(), FORM)


def text(answer: HttpAnswer) -> str:
    return str(html.document_fromstring(answer.body.decode()).find(".//main").text_content())


async def test_the_page(server: Harness) -> None:
    token = await invited(server)
    answer = await server.http("GET", f"/invite/{token}")
    assert answer.status == 200 and answer.headers["content-type"] == "text/html; charset=utf-8"
    page = html.document_fromstring(answer.body.decode())
    assert page.get("lang") == "en" and page.findtext(".//title") == "You are invited to localhost"
    assert f"xmpp:localhost?register;preauth={token}" in page.xpath("//a/@href")
    for name in ("username", "password", "again"):
        assert len(page.xpath(f"//label[@for='{name}']")) == 1 and len(page.xpath(f"//input[@id='{name}']")) == 1
    assert {"Android", "iPhone and iPad", "Windows", "macOS", "Linux"} == set(page.xpath("//summary/text()"))
    assert (await server.http("GET", f"/invite/{token}")).status == 200, "a look uses nothing up"


async def test_the_policy_of_the_page(server: Harness) -> None:
    """Nothing runs, nothing is loaded; the style is the one that is meant."""
    answer = await server.http("GET", f"/invite/{await invited(server)}")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-") and "unsafe" not in policy
    assert answer.headers["referrer-policy"] == "no-referrer" and answer.headers["cache-control"] == "no-store"
    body = answer.body.decode()
    style = re.search("<style>(.*)</style>", body, re.DOTALL)
    assert style is not None
    assert base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode() in policy
    page = html.document_fromstring(body)
    assert not page.xpath("//script | //img | //link | //iframe | //@style | //@onclick")


async def test_clients_of_the_own_platform_first(server: Harness) -> None:
    token = await invited(server)
    agent = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X)"
    answer = await server.http("GET", f"/invite/{token}", headers={"User-Agent": agent})
    page = html.document_fromstring(answer.body.decode())
    assert page.xpath("//details[@open]/summary/text()") == ["iPhone and iPad"]
    play = next(each for each in page.xpath("//a/@href") if "play.google.com" in each)
    assert play.endswith(f"&referrer=xmpp%3Alocalhost%3Fregister%3Bpreauth%3D{token}")


@pytest.mark.server(plugins={"invitations": {"users": "accounts"}})
async def test_registration_in_the_browser(server: Harness) -> None:
    romeo = await server.login("romeo", presence=True)
    token = (await invite_by(romeo))["uri"].partition("preauth=")[2].partition(";")[0]
    answer = await server.http("GET", f"/invite/{token}")
    assert "romeo@localhost invites you to chat" in text(answer)
    made = await post(server, token, username=" Juliet ", password="wherefore art")
    assert made.status == 200 and "juliet@localhost" in text(made)
    assert "and sign in" in text(made) and "nvitation" not in text(made) and b"referrer=" not in made.body
    await server.quiet()
    assert await contacts(romeo) == {"juliet@localhost": "both"}
    await server.connect().sign_in("juliet", "wherefore art")
    assert (await post(server, token, username="rosaline", password="wherefore")).status == 404
    assert (await server.http("GET", f"/invite/{token}")).status == 404


async def test_a_newcomer_goes_on_to_the_web_client(tmp_path: Path) -> None:
    """Where there is one that people can open: without its files the page does not speak of it."""
    folder = tmp_path / "web"
    folder.mkdir()
    for there in (False, True):
        if there:
            (folder / "converse.min.js").write_text("//")
            (folder / ".installed").touch()
        server = await Harness({"web_client": {"folder": str(folder)}}).start()
        site = HttpListenerConfig(tls="proxy", trusted_proxies=("127.0.0.1",), public_url="https://chat.example")
        server.server.listeners.configured.append((site, Listener(server.server.clock, tls="none")))
        try:
            token = await invited(server)
            offered = text(await server.http("GET", f"/invite/{token}"))
            made = await post(server, token, username="juliet", password="wherefore art")
            links = html.document_fromstring(made.body.decode()).xpath("//a[text()='Chat in the browser']/@href")
            assert ("chat in the browser" in offered) == there
            assert links == ["https://chat.example/"] * there
        finally:
            await server.stop()


async def test_what_is_wrong_is_said_in_the_form(server: Harness) -> None:
    token = await invited(server)
    await server.register("taken")
    for fields, status, said in (
        ({"username": "juliet", "password": "short"}, 400, "at least 8 characters"),
        ({"username": "juliet", "password": "wherefore", "again": "other"}, 400, "not the same"),
        ({"username": "", "password": "wherefore"}, 400, "required"),
        ({"username": "ju liet", "password": "wherefore"}, 400, "Not a name"),
        ({"username": "taken", "password": "wherefore"}, 409, "taken"),
        ({"username": "admin", "password": "wherefore"}, 400, "cannot be taken"),
    ):
        answer = await post(server, token, **fields)
        assert answer.status == status and said in text(answer), (fields, text(answer))
        page = html.document_fromstring(answer.body.decode())
        assert page.xpath("//input[@id='username']/@value") == [fields["username"]]
        assert page.xpath("//section[1]//form"), "who sends it again must not look for it"
        assert page.xpath("//*[@role='alert']/@id") == page.xpath("//input[@id='username']/@aria-describedby")
        assert "wherefore" not in answer.body.decode()
    assert (await post(server, token, username="juliet", password="wherefore")).status == 200


async def test_what_is_typed_is_text(server: Harness) -> None:
    token = await invited(server)
    answer = await post(server, token, username="'\"><script>alert(1)</script>", password="wherefore")
    page = html.document_fromstring(answer.body.decode())
    assert answer.status == 400 and not page.xpath("//script")
    assert page.xpath("//input[@id='username']/@value") == ["'\"><script>alert(1)</script>"]


async def test_an_inviter_with_a_name_of_signs(server: Harness) -> None:
    await server.register("rom%eo+ö")
    token = await invited(server, contact="rom%eo+ö@localhost")
    answer = await server.http("GET", f"/invite/{token}")
    page = html.document_fromstring(answer.body.decode())
    assert page.findtext(".//h1") == "rom%eo+ö@localhost invites you to chat"
    assert f"xmpp:rom%25eo+%C3%B6@localhost?roster;preauth={token};ibr=y" in page.xpath("//a/@href")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"username=juliet&password=wherefore&again=wherefore", {"Content-Type": "text/plain"}),
        (b"username=juliet&username=x&password=wherefore&again=wherefore", FORM),
        (b"\xff\xfe", FORM),
        (b"&".join(b"f%d=1" % number for number in range(50)), FORM),
        (b"", {}),
    ],
)
async def test_what_is_no_form(server: Harness, body: bytes, headers: dict[str, str]) -> None:
    token = await invited(server)
    assert (await server.http("POST", f"/invite/{token}", body, headers)).status == 400
    assert not await exists(server, "juliet")


async def test_too_much(server: Harness) -> None:
    answer = await server.http("POST", f"/invite/{await invited(server)}", b"username=" + b"a" * 10_000, FORM)
    assert answer.status == 413


async def test_failures_are_all_the_same(server: Harness) -> None:
    expired, used, revoked = await invited(server, days=1), await invited(server), await invited(server)
    assert (await post(server, used, username="romeo", password="wherefore")).status == 200
    await server.operation("invite.revoke", id=revoked)
    await server.advance(86_401)
    bodies = set()
    for token in (expired, used, revoked, "x", "a" * 32, "%C3%A9", "a" * 3000, "%3Cscript%3E"):
        answer = await server.http("GET", f"/invite/{token}")
        assert answer.status == 404
        bodies.add(answer.body)
    assert len(bodies) == 1


async def test_guessing_is_limited(server: Harness) -> None:
    """Together with that in streams."""
    statuses = [(await server.http("GET", f"/invite/{'a' * 32}")).status for _ in range(21)]
    assert statuses == [404] * 20 + [429]
    client, _ = await stranger(server)
    assert condition(await client.iq(preauth("a" * 32), "set")) == "resource-constraint"


async def test_an_invitation_for_contacts_only(server: Harness) -> None:
    juliet = await server.login("juliet")
    token = (await invite_by(juliet))["uri"].partition("preauth=")[2]
    answer = await server.http("GET", f"/invite/{token}")
    assert answer.status == 200 and b"<form" not in answer.body
    assert (await post(server, token, username="romeo", password="wherefore")).status == 403


async def test_a_name_that_is_given(server: Harness) -> None:
    token = await invited(server, name="juliet")
    page = html.document_fromstring((await server.http("GET", f"/invite/{token}")).body.decode())
    assert page.xpath("//input[@id='username' and @readonly]/@value") == ["juliet"]
    assert (await post(server, token, username="romeo", password="wherefore")).status == 400
    assert (await post(server, token, username="juliet", password="wherefore")).status == 200


async def test_nobody_types_a_password_that_others_can_read(server: Harness) -> None:
    token = await invited(server)
    said, body = {**FORM, "X-Forwarded-For": "198.51.100.7"}, b"username=juliet&password=wherefore&again=wherefore"
    for proto, offered, status in (("http", False, 403), ("https", True, 200)):
        headers = {**said, "X-Forwarded-Proto": proto}
        page = await server.http("GET", f"/invite/{token}", headers=headers, trusted_proxies=("127.0.0.1",))
        assert (b"<form" in page.body) is offered
        answer = await server.http("POST", f"/invite/{token}", body, headers, trusted_proxies=("127.0.0.1",))
        assert answer.status == status


async def test_while_the_store_is_away(server: Harness) -> None:
    token = await invited(server)
    server.backend.unreachable = True
    assert (await server.http("GET", f"/invite/{token}")).status == 503
    assert (await post(server, token, username="romeo", password="wherefore")).status == 503
    server.backend.unreachable = False
    assert (await post(server, token, username="romeo", password="wherefore")).status == 200
