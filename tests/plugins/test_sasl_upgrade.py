"""XEP-0480, and when SCRAM-SHA-512 is offered."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from plugins.sasl_upgrade import lacks
from tests.harness import Client, Element, FakeClock, Harness, credentials
from tests.harness.sasl2 import (
    NS,
    Scram,
    agent,
    answered,
    authenticate,
    b64,
    failure,
    mechanisms,
    name,
    opened,
    plain,
)
from tests.plugins.test_fast import by_token, request, token_in, tried
from xmppd.contracts.accounts import ACCOUNT_MAP, StoredAccount
from xmppd.jid import JID
from xmppd.storage.memory import MemoryBackend
from xmppd.storage.store import Store

UPGRADE = "urn:xmpp:sasl:upgrade:0"
SCRAM = "urn:xmpp:scram-upgrade:0"
WANTED = f"<upgrade xmlns='{UPGRADE}'>UPGR-SCRAM-SHA-512</upgrade>"
NEXT = f"<next xmlns='{NS}' task='UPGR-SCRAM-SHA-512'/>"
TLS: dict[str, bytes | str] = {"tls_exporter": b"e" * 32, "tls_version": "TLSv1.3", "secure": True}


@pytest.fixture
async def old() -> AsyncIterator[Harness]:
    """A server with an account (romeo) from before there was SHA-512."""
    clock = FakeClock()
    store = Store(MemoryBackend(clock), clock)
    await store.open()
    stored = StoredAccount(replace(credentials(), scram_sha_512=None), clock.now())
    account = store.map(ACCOUNT_MAP, StoredAccount, cached=True)
    await store.commit([account.put("romeo@localhost", "", stored)])
    server = Harness(store=store, clock=clock)
    store.open = _opened  # type: ignore[method-assign]
    await server.start()
    yield server
    await server.stop()


async def _opened() -> None:
    """It is."""


def upgrades(client: Client) -> list[str]:
    return [str(each.text) for each in client.features.findall(f".//{{{UPGRADE}}}upgrade")]


async def scram(client: Client, hash: str, password: str = "pencil", more: str = "", user: str = "romeo") -> Element:
    exchange = Scram(hash, user=user)
    challenge = await answered(client, authenticate(f"SCRAM-{hash}", exchange.initial, more))
    assert name(challenge) == "challenge", failure(challenge)
    return await answered(client, exchange.final(challenge, password))


def salted(data: Element, password: str = "pencil") -> str:
    salt = data.find(f"{{{SCRAM}}}salt")
    assert salt is not None
    rounds = int(str(salt.get("iterations")))
    return b64(hashlib.pbkdf2_hmac("sha512", password.encode(), base64.b64decode(str(salt.text)), rounds))


def task_data(hash: str) -> str:
    return f"<task-data xmlns='{NS}'><hash xmlns='{SCRAM}'>{hash}</hash></task-data>"


async def has_keys(server: Harness) -> bool:
    stored = await server.host.stored_accounts.read_stored("romeo@localhost", "")
    return stored.credentials.scram_sha_512 is not None


async def test_a_new_server_offers_it(server: Harness) -> None:
    client = await opened(server)
    assert mechanisms(client) == ["SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"]
    assert upgrades(client) == []
    assert name(await scram(client, "SHA-512")) == "success"
    client = await opened(server, **TLS)
    assert mechanisms(client)[:3] == ["SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"]
    exchange = Scram("SHA-512", "p=tls-exporter,,", b"e" * 32)
    challenge = await answered(client, authenticate("SCRAM-SHA-512-PLUS", exchange.initial))
    success = await answered(client, exchange.final(challenge))
    assert exchange.proven(success)
    assert exchange.attributes()["h"]


async def test_wrong_and_unknown(server: Harness) -> None:
    """Nobody is told from somebody."""
    await server.register("romeo")
    salts = []
    for user in ("romeo", "nobody", "nobody"):
        client = await opened(server)
        exchange = Scram("SHA-512", user=user)
        challenge = await answered(client, authenticate("SCRAM-SHA-512", exchange.initial))
        assert failure(await answered(client, exchange.final(challenge, "wrong"))) == "not-authorized"
        salts.append((len(exchange.attributes()["s"]), exchange.attributes()["i"], exchange.attributes()["s"]))
    assert salts[0][:2] == salts[1][:2]
    assert salts[1] == salts[2]


async def test_one_account_without_keys_keeps_it_back(old: Harness) -> None:
    """For everybody, whoever asks: the list tells nothing of an account."""
    for user in ("romeo", "juliet"):
        client = await opened(old, user, sender=f"{user}@localhost")
        assert "SCRAM-SHA-512" not in mechanisms(client)
        assert upgrades(client) == ["UPGR-SCRAM-SHA-512"]
        assert name(await scram(client, "SHA-256", user=user)) == "success"
    assert "1 accounts" in await old.operation("sign-in.upgrades")


async def test_a_password_that_is_seen_makes_keys(old: Harness) -> None:
    assert await tried(old, plain(password="wrong")) == "not-authorized"
    await old.quiet()
    assert not await has_keys(old)
    assert await tried(old, plain()) == "success"
    await old.quiet()
    assert await has_keys(old)
    await old.advance(3601)
    client = await opened(old)
    assert name(await scram(client, "SHA-512")) == "success"
    assert "is offered" in await old.operation("sign-in.upgrades")
    # what the account had is there as before
    for hash in ("SHA-1", "SHA-256"):
        assert name(await scram(await opened(old), hash)) == "success"


@pytest.mark.parametrize("hash", ["SHA-1", "SHA-256"])
async def test_a_client_upgrades(old: Harness, hash: str) -> None:
    """Section 3; the rest of the sign-in comes behind it."""
    client = await opened(old)
    went_on = await scram(client, hash, more=WANTED + agent() + request())
    assert name(went_on) == "continue"
    assert [str(each.text) for each in went_on.iter(f"{{{NS}}}task")] == ["UPGR-SCRAM-SHA-512"]
    data = await answered(client, NEXT)
    assert name(data) == "task-data"
    success = await answered(client, task_data(salted(data)))
    assert name(success) == "success"
    token = token_in(success)
    assert token
    await old.advance(3601)
    assert name(await scram(await opened(old), "SHA-512")) == "success"
    assert failure(await scram(await opened(old), "SHA-512", "wrong")) == "not-authorized"
    # a token asks for no task, and neither does an account that has the keys
    assert await tried(old, by_token(token, WANTED)) == "success"
    assert name(await scram(await opened(old), hash, more=WANTED)) == "success"


@pytest.mark.parametrize(
    ("hash", "condition"),
    [
        ("", "malformed-request"),
        ("AAAA", "malformed-request"),
        (b64(b"x" * 65), "malformed-request"),
        ("!!!", "incorrect-encoding"),
        ("ü", "incorrect-encoding"),
    ],
)
async def test_what_is_no_key(old: Harness, hash: str, condition: str) -> None:
    """The sign-in fails, the keys stay as they were, and the client may begin again."""
    client = await opened(old)
    await scram(client, "SHA-256", more=WANTED)
    await answered(client, NEXT)
    assert failure(await answered(client, task_data(hash))) == condition
    assert not await has_keys(old)
    assert name(await scram(client, "SHA-256")) == "success"


async def test_a_password_that_changes_meanwhile(old: Harness) -> None:
    client = await opened(old)
    await scram(client, "SHA-256", more=WANTED)
    data = await answered(client, NEXT)
    await old.server.accounts.set_password(JID.parse("romeo@localhost"), "crayon")
    client.send(task_data(salted(data)))
    answers = [name(each) for each in await client.receive_all()]
    assert "success" not in answers
    await old.advance(3601)
    assert name(await scram(await opened(old), "SHA-512", "crayon")) == "success"


async def test_what_nobody_asked_for(old: Harness) -> None:
    client = await opened(old)
    other = f"<upgrade xmlns='{UPGRADE}'>UPGR-BLOOP</upgrade>"
    assert name(await scram(client, "SHA-256", more=other)) == "success"


async def test_whom_a_source_knows(old: Harness) -> None:
    """An account without a password gets none by this, and holds nobody up."""
    await old.server.accounts.create(JID.parse("juliet@localhost"), None)
    assert "1 accounts" in await old.operation("sign-in.upgrades")
    stored = await old.host.stored_accounts.read("juliet@localhost", "")
    assert stored.credentials.scram_sha_512 is None
    assert not lacks(stored.credentials)
