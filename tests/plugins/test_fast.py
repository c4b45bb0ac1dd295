"""XEP-0484: tokens are issued, used, replaced, revoked, and nothing else signs in."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.harness import Client, Element, FakeClock, Harness, xml
from tests.harness.sasl2 import (
    AGENT,
    FAST,
    NS,
    SM,
    Scram,
    agent,
    answered,
    authenticate,
    b64,
    bind,
    failure,
    ht,
    mechanisms,
    name,
    opened,
    plain,
    signed_in,
)
from tests.plugins.stores import KINDS, store_of
from xmppd.contracts.sign_in import UserAgent
from xmppd.jid import JID
from xmppd.storage.store import Store
from xmppd.xep.elements import parse_time

ROMEO = JID.parse("romeo@localhost")
OTHER = "11111111-2222-4333-8444-555555555555"
NONE = "HT-SHA-256-NONE"
DAY = 86_400.0
TLS: dict[str, bytes | str] = {
    "tls_exporter": b"e" * 32,
    "tls_server_end_point": b"p" * 32,
    "tls_version": "TLSv1.3",
    "secure": True,
}


def request(mechanism: str = NONE) -> str:
    return f"<request-token xmlns='{FAST}' mechanism='{mechanism}'/>"


def by_token(
    token: str, more: str = "", mechanism: str = NONE, user: str = "romeo", data: bytes = b"", id: str | None = AGENT,
    fast: str = "",
) -> str:  # fmt: skip
    inside = f"<fast xmlns='{FAST}' {fast}/>{agent(id)}{more}"
    return authenticate(mechanism, ht(user, token, data), inside)


def token_in(success: Element) -> str:
    """The token that came with a success, "" for none."""
    found = success.find(f"{{{FAST}}}token")
    return str(found.get("token")) if found is not None else ""


async def issued(server: Harness, mechanism: str = NONE, user: str = "romeo", id: str | None = AGENT) -> str:
    """A token for who signs in by password."""
    tls = TLS if mechanism != NONE else {}
    _, success = await signed_in(server, text=plain(user, more=agent(id) + request(mechanism)), user=user, **tls)
    return token_in(success)


async def tried(server: Harness, text: str, **tls: bytes | str) -> str:
    """A condition, or "success"; on a stream of its own."""
    answer = await answered(await opened(server, **tls), text)
    return failure(answer) if name(answer) == "failure" else name(answer)


def offered(client: Client) -> list[str]:
    return [str(each.text) for each in client.features.findall(f".//{{{FAST}}}fast/{{{FAST}}}mechanism")]


# ---- what is announced


@pytest.mark.parametrize(
    ("tls", "names"),
    [
        ({}, ["NONE"]),
        (TLS, ["EXPR", "ENDP", "NONE"]),
        ({"tls_unique": b"u" * 12, "tls_server_end_point": b"p" * 32, "tls_exporter": b"e" * 32, "secure": True},
         ["EXPR", "UNIQ", "ENDP", "NONE"]),
    ],
)  # fmt: skip
async def test_mechanisms_by_what_the_stream_can_bind_to(
    server: Harness, tls: dict[str, bytes | str], names: list[str]
) -> None:
    client = await opened(server, **tls)
    assert offered(client) == [f"HT-SHA-256-{each}" for each in names]
    assert not [each for each in mechanisms(client) if each.startswith("HT-")]
    found = client.features.find(f".//{{{FAST}}}fast")
    assert found is not None
    assert found.get("tls-0rtt") is None


async def test_tokens_are_no_part_of_what_scram_protects(server: Harness) -> None:
    """XEP-0474: one list only, that of the profile."""
    client, scram = await opened(server), Scram()
    challenge = await answered(client, authenticate("SCRAM-SHA-256", scram.initial))
    scram.final(challenge)
    assert scram.attributes()["h"] == b64(hashlib.sha256("\x1e".join(sorted(mechanisms(client))).encode()).digest())


# ---- the way of a token


async def test_a_token_signs_in(server: Harness) -> None:
    token = await issued(server)
    assert len(token) == 44
    client, success = await signed_in(server, text=by_token(token, bind()))
    assert name(success[0]) == "additional-data"
    expected = hmac.digest(token.encode(), b"Responder", "sha256")
    assert success.findtext(f"{{{NS}}}additional-data") == b64(expected)
    assert client.jid.startswith("romeo@localhost/Phone/")
    assert token_in(success) == ""
    # again and again
    for _ in range(3):
        assert await tried(server, by_token(token, bind())) == "success"


async def test_the_expiry_is_told(server: Harness) -> None:
    _, success = await signed_in(server, agent() + request())
    token = success.find(f"{{{FAST}}}token")
    assert token is not None
    assert parse_time(str(token.get("expiry"))) / 1_000_000 == pytest.approx(server.clock.now() + 30 * DAY, abs=1)


@pytest.mark.parametrize("mechanism", ["HT-SHA-256-EXPR", "HT-SHA-256-ENDP"])
async def test_it_is_bound_to_the_channel(server: Harness, mechanism: str) -> None:
    token = await issued(server, mechanism)
    data = b"e" * 32 if mechanism.endswith("EXPR") else b"p" * 32
    assert await tried(server, by_token(token, mechanism=mechanism, data=data), **TLS) == "success"
    assert await tried(server, by_token(token, mechanism=mechanism, data=b"x" * 32), **TLS) == "not-authorized"
    assert await tried(server, by_token(token, mechanism=mechanism), **TLS) == "not-authorized"
    # of another mechanism (section 3.4), whether that binds or not
    assert await tried(server, by_token(token), **TLS) == "not-authorized"
    other = "HT-SHA-256-ENDP" if mechanism.endswith("EXPR") else "HT-SHA-256-EXPR"
    for binding in (b"e" * 32, b"p" * 32):
        assert await tried(server, by_token(token, mechanism=other, data=binding), **TLS) == "not-authorized"
    # where the stream cannot bind
    assert await tried(server, by_token(token, mechanism=mechanism, data=data)) == "invalid-mechanism"


async def test_nobody_gets_one_without_asking_for_what_is_offered(server: Harness) -> None:
    for more in (
        agent(),  # does not ask
        request(),  # does not tell who it is (section 4.1)
        agent(None) + request(),
        agent("no uuid") + request(),
        agent() + request("HT-SHA-256-EXPR"),  # not on this stream
        agent() + request("SCRAM-SHA-256"),
        agent() + f"<request-token xmlns='{FAST}'/>",
    ):
        _, success = await signed_in(server, more)
        assert token_in(success) == ""


async def test_it_comes_with_a_session_that_is_resumed(server: Harness) -> None:
    enable = bind(f"<enable xmlns='{SM}' resume='true'/>")
    client, success = await signed_in(server, text=plain(more=agent() + request() + enable))
    id = success.find(f".//{{{SM}}}enabled")
    assert id is not None
    token = token_in(success)
    client.cut()
    await server.advance(60)
    resume = f"<resume xmlns='{SM}' previd='{id.get('id')}' h='0'/>"
    again, success = await signed_in(server, text=by_token(token, resume + bind()))
    assert [name(each) for each in success] == ["additional-data", "authorization-identifier", "resumed"]
    assert again.jid == client.jid


async def test_the_next_one_comes_at_half_time(server: Harness) -> None:
    """Section 3.5: the old one is good until the new one has been used."""
    first = await issued(server)
    server.clock.step(14 * DAY)
    _, success = await signed_in(server, text=by_token(first))
    assert token_in(success) == ""
    server.clock.step(2 * DAY)
    _, success = await signed_in(server, text=by_token(first))
    lost = token_in(success)
    assert lost not in ("", first)
    # it did not arrive: the old one brings another, and that ends the lost one
    _, success = await signed_in(server, text=by_token(first))
    second = token_in(success)
    assert second not in ("", first, lost)
    assert await tried(server, by_token(lost)) == "credentials-expired"
    assert await tried(server, by_token(second)) == "success"
    assert await tried(server, by_token(first)) == "credentials-expired"


async def test_a_token_that_is_asked_for_again(server: Harness) -> None:
    """By password: what was not used ends, what is in use stays until the new one is."""
    first = await issued(server)
    second = await issued(server)
    assert await tried(server, by_token(first)) == "credentials-expired"
    assert await tried(server, by_token(second)) == "success"
    third = await issued(server)
    assert await tried(server, by_token(second)) == "success"
    assert await tried(server, by_token(third)) == "success"
    assert await tried(server, by_token(second)) == "credentials-expired"
    # by token, for another mechanism
    _, success = await signed_in(server, text=by_token(third, request("HT-SHA-256-ENDP")), **TLS)
    fourth = by_token(token_in(success), mechanism="HT-SHA-256-ENDP", data=b"p" * 32)
    assert await tried(server, fourth, **TLS) == "success"
    assert await tried(server, by_token(third)) == "credentials-expired"


async def test_it_expires(server: Harness) -> None:
    token = await issued(server)
    server.clock.step(30 * DAY - 60)
    assert await tried(server, by_token(token)) == "success"
    server.clock.step(61)
    assert await tried(server, by_token(token)) == "credentials-expired"
    # who has it hears why, for a while; then it is any wrong one
    server.clock.step(61 * DAY)
    await server.advance(21_601)
    assert await tried(server, by_token(token)) == "not-authorized"
    assert await server.host.plugins["fast"]._tokens.read_stored(str(ROMEO), _client()) is None


def _client(owner: str = "romeo@localhost") -> str:
    return UserAgent(AGENT).client(owner)


@pytest.mark.parametrize("value", ["true", "1"])
async def test_a_client_ends_its_token(server: Harness, value: str) -> None:
    """Section 3.6: nothing new, even where it is due, unless the client asks."""
    token, other = await issued(server), await issued(server, id=OTHER)
    server.clock.step(16 * DAY)
    _, success = await signed_in(server, text=by_token(token, fast=f"invalidate='{value}'"))
    assert token_in(success) == ""
    assert await tried(server, by_token(token)) == "credentials-expired"
    assert await tried(server, by_token(other, id=OTHER)) == "success"
    token = await issued(server)
    _, success = await signed_in(server, text=by_token(token, request(), fast="invalidate='true'"))
    assert await tried(server, by_token(token)) == "credentials-expired"
    assert await tried(server, by_token(token_in(success))) == "success"


async def test_only_who_has_it_ends_it(server: Harness) -> None:
    token = await issued(server)
    assert await tried(server, by_token("wrong", fast="invalidate='true'")) == "not-authorized"
    assert await tried(server, by_token(token)) == "success"


# ---- replays


async def test_a_count_is_used_once(server: Harness) -> None:
    token = await issued(server)
    assert await tried(server, by_token(token, fast="count='1'")) == "success"
    assert await tried(server, by_token(token, fast="count='7'")) == "success"
    for count in ("1", "6", "7"):
        assert await tried(server, by_token(token, fast=f"count='{count}'")) == "not-authorized"
    for count in ("", "0", "-1", "x", "1.5", "٣", "9" * 30):
        assert await tried(server, by_token(token, fast=f"count='{count}'")) == "malformed-request"
    assert await tried(server, by_token(token, fast="count='8'")) == "success"
    # another token counts from the beginning
    again = await issued(server)
    assert await tried(server, by_token(again, fast="count='1'")) == "success"


async def test_two_with_one_count_at_once(server: Harness) -> None:
    token = await issued(server)
    clients = [await opened(server) for _ in range(4)]
    for number, client in enumerate(clients):
        client.link.peer = f"192.0.2.{number}"
    server.backend.hold()
    for client in clients:
        client.send(by_token(token, fast="count='3'"))
    await server.quiet()
    server.backend.release()
    answers = [name((await client.receive_all())[0]) for client in clients]
    assert sorted(answers).count("success") == 1, answers
    assert [client.closed for client in clients].count(True) + answers.count("failure") == 3


# ---- whoever else comes


async def test_the_wrong_ones(server: Harness) -> None:
    """One answer for all of them."""
    token = await issued(server)
    hers = await issued(server, user="juliet", id=OTHER)
    for text in (
        by_token("x" * 43),
        by_token(token, id=OTHER),  # of another client
        by_token(token, id=None),
        by_token(hers),  # of another account
        by_token(token, user="juliet"),
        by_token(token, user="nobody"),
        by_token(token, user="no\u202ebody"),
        by_token(hers, user="juliet"),  # its client has another id
    ):
        assert await tried(server, text) == "not-authorized"
    assert await tried(server, by_token(token)) == "success"


@pytest.mark.parametrize(
    "initial",
    [
        b"",
        b"romeo",
        b"romeo\0",
        b"\0" + b"x" * 32,
        b"romeo\0" + b"x" * 31,
        b"romeo\0" + b"x" * 33,
        b"\xff\xfe\0" + b"x" * 32,
        b"r" * 5000 + b"\0" + b"x" * 32,
        b"romeo\0" * 4,
    ],
)
async def test_garbage(server: Harness, initial: bytes) -> None:
    client = await opened(server)
    answer = await answered(client, authenticate(NONE, initial, f"<fast xmlns='{FAST}'/>{agent()}"))
    assert failure(answer) in ("malformed-request", "not-authorized")
    assert name(await answered(client, plain())) == "success"


async def test_the_first_message_behind_the_request(server: Harness) -> None:
    """RFC 4422 section 3: a client may wait to be asked for it."""
    token = await issued(server)
    client = await opened(server)
    assert name(await answered(client, authenticate(NONE, None, f"<fast xmlns='{FAST}'/>{agent()}"))) == "challenge"
    success = await answered(client, f"<response xmlns='{NS}'>{b64(ht('romeo', token))}</response>")
    assert name(success) == "success"


async def test_without_fast_there_is_no_such_mechanism(server: Harness) -> None:
    token = await issued(server)
    text = authenticate(NONE, ht("romeo", token), agent())
    assert await tried(server, text) == "invalid-mechanism"
    assert await tried(server, authenticate("PLAIN", "\0romeo\0pencil", f"<fast xmlns='{FAST}'/>")) == (
        "invalid-mechanism"
    )
    client = await opened(server)
    client.send(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{NONE}'>{b64(ht('romeo', token))}</auth>")
    assert name((await client.receive())[0]) == "invalid-mechanism"


async def test_a_breath_with_garbage_behind_it(server: Harness) -> None:
    """Pipelined (XEP-0509): what stands behind a failure is read as what it is."""
    token = await issued(server)
    client = await opened(server)
    client.send(by_token("wrong") + by_token("wrong") + by_token(token, bind()) + "<message")
    answers = [name(each) for each in await client.receive_all()]
    assert answers == ["failure", "failure", "success", "features"]
    client = await opened(server)
    client.send(by_token("wrong") + by_token(token) + by_token(token))
    answers = [name(each) for each in await client.receive_all()]
    assert answers[:3] == ["failure", "success", "features"]
    assert client.closed  # section 4.10 of XEP-0388: nobody signs in twice


async def test_guesses_end_the_stream(server: Harness) -> None:
    client = await opened(server)
    attempts = server.server.limits.sasl_attempts
    client.send(by_token("wrong") * (attempts + 3))
    assert [name(each) for each in await client.receive_all()].count("failure") == attempts
    assert client.closed


@pytest.mark.server(more="limits: {sign_in: {account_failures: 2, first_wait: 60}}")
async def test_guesses_make_wait(server: Harness) -> None:
    token = await issued(server)
    await tried(server, by_token("wrong"))
    await tried(server, by_token("wrong"))
    assert await tried(server, by_token(token)) == "temporary-auth-failure"
    await server.advance(61)
    assert await tried(server, by_token(token)) == "success"


async def test_wrong_ones_wait_for_a_tick(server: Harness) -> None:
    """ADR 0007: whatever is wrong, the answer goes out at an even time; who is right does not wait."""
    token = await issued(server)
    server.server.limits = replace(server.server.limits, even_answers=0.02)
    for text in (by_token("wrong"), by_token(token, user="nobody"), by_token(token, id=OTHER)):
        client = await opened(server)
        client.send(text)
        await client.silence()
        await server.advance(0.05)
        assert failure(await client.receive()) == "not-authorized"
    client = await opened(server)
    client.send(by_token(token))
    assert name(await client.receive()) == "success"


# ---- their end


async def test_a_new_password_ends_all(server: Harness) -> None:
    token, other = await issued(server), await issued(server, id=OTHER)
    await server.server.accounts.set_password(ROMEO, "crayon")
    assert await tried(server, by_token(token)) == "credentials-expired"
    assert await tried(server, by_token(other, id=OTHER)) == "credentials-expired"
    _, success = await signed_in(server, text=plain(password="crayon", more=agent() + request()))
    assert await tried(server, by_token(token_in(success))) == "success"


async def test_who_changes_the_password_stays(server: Harness) -> None:
    token, other = await issued(server), await issued(server, id=OTHER)
    client, _ = await signed_in(server, text=by_token(token, bind()))
    await client.receive_all()
    client.send(
        "<iq type='set' id='p' to='localhost'><query xmlns='jabber:iq:register'>"
        "<username>romeo</username><password>crayon-box</password></query></iq>"
    )
    answer = await client.receive()
    assert answer.get("type") == "result", xml(answer)
    assert await tried(server, by_token(other, id=OTHER)) == "credentials-expired"
    assert await tried(server, by_token(token)) == "success"


async def test_an_owner_who_wants_the_others_to_stay(server: Harness) -> None:
    token = await issued(server)
    await server.server.accounts.set_password(ROMEO, "crayon", end_others=False)
    assert await tried(server, by_token(token)) == "success"
    assert await tried(server, plain()) == "not-authorized"


async def test_a_disabled_account(server: Harness) -> None:
    token = await issued(server)
    await server.server.accounts.set_disabled(ROMEO, True)
    assert await tried(server, by_token(token)) == "not-authorized"  # as one that is not there
    await server.server.accounts.set_disabled(ROMEO, False)
    assert await tried(server, by_token(token)) == "credentials-expired"


async def test_who_takes_the_name_next(server: Harness) -> None:
    token = await issued(server)
    await server.server.accounts.delete(ROMEO)
    assert await tried_now(server, by_token(token)) == "not-authorized"
    assert await server.server.accounts.deleted(ROMEO, 10)
    await server.server.accounts.release(ROMEO)
    await server.server.accounts.create(ROMEO, "pencil")
    assert await tried(server, by_token(token)) == "not-authorized"


async def tried_now(server: Harness, text: str) -> str:
    """As `tried`, where the account must not be made."""
    client = server.connect()
    client.open()
    await client.receive()
    return failure(await answered(client, text))


async def test_revoked_while_it_signs_in(server: Harness) -> None:
    """What was looked up before holds no more."""
    token = await issued(server)
    await tried(server, by_token(token))
    fast = server.host.plugins["fast"]
    client = await opened(server)
    server.backend.hold()
    revoking = fast.revoke("romeo@localhost", (_client(),))
    task = asyncio.ensure_future(revoking)
    await asyncio.sleep(0)
    client.send(by_token(token, bind()))
    await server.quiet()
    server.backend.release()
    await task
    answers = [name(each) for each in await client.receive_all()]
    assert "success" not in answers
    assert await tried(server, by_token(token)) == "credentials-expired"


async def test_revoked_from_elsewhere(server: Harness) -> None:
    """The account need not be in memory."""
    token = await issued(server)
    server.host.forget("romeo@localhost")
    await server.host.plugins["fast"].revoke("romeo@localhost", (_client(), "nobody's"))
    assert await tried(server, by_token(token)) == "credentials-expired"


@pytest.mark.server(plugins={"fast": {"clients": 3}})
async def test_so_many_clients(server: Harness) -> None:
    """The one that got its token longest ago goes."""
    ids = [f"00000000-0000-4000-8000-{number:012}" for number in range(5)]
    tokens = []
    for id in ids[:4]:
        tokens.append(await issued(server, id=id))
        await server.advance(1)
    assert await tried(server, by_token(tokens[0], id=ids[0])) == "not-authorized"
    # one that cannot be used any more goes first
    await tried(server, by_token(tokens[3], id=ids[3], fast="invalidate='true'"))
    tokens.append(await issued(server, id=ids[4]))
    results = [await tried(server, by_token(token, id=id)) for token, id in zip(tokens, ids, strict=True)]
    assert results == ["not-authorized", "success", "success", "not-authorized", "success"]


async def test_a_store_that_does_not_answer(server: Harness) -> None:
    """Who signs in gets no token then; what has to be stored, or else would hold again, fails."""
    token = await issued(server)
    await tried(server, by_token(token))
    server.clock.step(16 * DAY)
    server.storage.available = False
    client = await opened(server)
    success = await answered(client, by_token(token))
    assert name(success) == "success"
    assert token_in(success) == ""
    for fast in ("count='9'", "invalidate='true'"):
        client = await opened(server)
        client.send(by_token(token, fast=fast))
        assert await client.stream_error() == "resource-constraint"
    server.storage.available = True


# ---- what is stored


async def test_the_store_does_not_sign_in(server: Harness) -> None:
    """Neither the token nor what it is made of is there: the key is a file of the server."""
    token = await issued(server)
    record = await server.host.plugins["fast"]._tokens.read_stored("romeo@localhost", _client())
    assert token not in repr(record)
    number = record.tokens[0].number
    for guess in (number.hex(), b64(number), number.decode("latin-1")):
        assert await tried(server, by_token(guess)) == "not-authorized"


@pytest.fixture(params=KINDS)
async def stored(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Store, FakeClock]]:
    clock = FakeClock()
    yield store_of(request, tmp_path, clock), clock


async def test_on_every_store(stored: tuple[Store, FakeClock]) -> None:
    store, clock = stored
    server = Harness(store=store, clock=clock)
    await server.start()
    try:
        token = await issued(server)
        assert await tried(server, by_token(token, fast="count='5'")) == "success"
        server.host.forget("romeo@localhost")
        assert await tried(server, by_token(token, fast="count='5'")) == "not-authorized"
        assert await tried(server, by_token(token, fast="count='6'")) == "success"
        server.clock.step(16 * DAY)
        _, success = await signed_in(server, text=by_token(token))
        assert await tried(server, by_token(token_in(success))) == "success"
        assert await tried(server, by_token(token)) == "credentials-expired"
    finally:
        await server.stop()


async def test_nothing_is_in_the_log(server: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """And a sign-in by token is no new one (it would fill the log all day)."""
    caplog.set_level("INFO")
    token = await issued(server)
    assert "romeo@localhost signed in" in caplog.text
    caplog.clear()
    await tried(server, by_token(token, bind()))
    await tried(server, by_token("wrong"))
    assert "signed in" not in caplog.text
    assert token not in caplog.text
