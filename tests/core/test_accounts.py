"""Accounts without a running server (the command line), and with one."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode

import pytest

from tests.core.test_sasl_scram import ScramClient
from tests.harness import FakeClock, Harness
from xmppd.admin.accounts import AccountExists, Accounts, BadPassword, NoSuchAccount
from xmppd.contracts.accounts import ADMINISTRATOR, StoredAccount
from xmppd.errors import BadRequest
from xmppd.jid import JID
from xmppd.protocol.sasl import Credentials
from xmppd.storage.memory import MemoryBackend
from xmppd.storage.store import Store

SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
ROMEO = JID.parse("romeo@localhost")


@pytest.fixture
async def accounts() -> Accounts:
    clock = FakeClock()
    store = Store(MemoryBackend(clock), clock)
    await store.open()
    return Accounts(store, clock)


async def test_a_life(accounts: Accounts) -> None:
    assert not await accounts.exists(ROMEO)
    await accounts.create(ROMEO, "wherefore")
    await accounts.create(JID.parse("juliet@localhost"), "wherefore")
    await accounts.create(JID.parse("juliet@elsewhere"), "wherefore")
    assert await accounts.list("localhost") == ["juliet@localhost", "romeo@localhost"]
    assert await accounts.list("localhost", "juliet@localhost") == ["romeo@localhost"]
    with pytest.raises(AccountExists):
        await accounts.create(ROMEO, "other")
    await accounts.set_password(ROMEO, "other")
    await accounts.delete(ROMEO)
    assert await accounts.list("localhost") == ["juliet@localhost"]
    for work in (accounts.delete(ROMEO), accounts.set_password(ROMEO, "x")):
        with pytest.raises(NoSuchAccount):
            await work


async def test_only_one_of_two_makes_it(accounts: Accounts) -> None:
    results = await asyncio.gather(*(accounts.create(ROMEO, "wherefore") for _ in range(5)), return_exceptions=True)
    assert sorted(type(each).__name__ for each in results) == ["AccountExists"] * 4 + ["NoneType"]


@pytest.mark.parametrize("password", ["", "a\0b", "x" * 2000])
async def test_bad_passwords(accounts: Accounts, password: str) -> None:
    with pytest.raises(BadPassword):
        await accounts.create(ROMEO, password)
    assert not await accounts.exists(ROMEO)


@pytest.mark.parametrize("address", ["localhost", "romeo@localhost/orchard"])
async def test_what_is_no_account(accounts: Accounts, address: str) -> None:
    with pytest.raises(BadRequest):
        await accounts.create(JID.parse(address), "wherefore")


async def test_an_account_made_while_somebody_asks_for_it(server: Harness) -> None:
    """That there was none is remembered no longer."""
    juliet = await server.login("juliet")
    await juliet.iq("<ping xmlns='urn:xmpp:ping'/>", to="romeo@localhost")
    await server.server.accounts.create(ROMEO, "wherefore")
    await server.connect().sign_in("romeo", "wherefore")


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("what", ["password", "disabled", "deleted"])
async def test_who_signs_in_with_what_has_changed_meanwhile(server: Harness, what: str, in_memory: bool) -> None:
    """An exchange that has begun with the old password ends as one with a wrong password does."""
    await server.register("romeo")
    if in_memory:
        await server.login("romeo")
    client, scram = server.connect(), ScramClient("romeo", "pencil", "SHA-256")
    client.open()
    await client.receive()
    first = b64encode(scram.first()).decode()
    client.send(f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-256'>{first}</auth>")
    challenge = b64decode((await client.receive()).text or "")
    accounts = server.server.accounts
    if what == "password":
        await accounts.set_password(ROMEO, "another")
    elif what == "disabled":
        await accounts.set_disabled(ROMEO, True)
    else:
        await accounts.delete(ROMEO)
    client.send(f"<response xmlns='{SASL}'>{b64encode(scram.final(challenge)).decode()}</response>")
    answer = await client.receive()
    assert (answer.tag, answer[0].tag) == (f"{{{SASL}}}failure", f"{{{SASL}}}not-authorized")
    if what == "password":  # the same stream, with the new one
        await client.authenticate("romeo", "another")


@pytest.mark.one_home("the refusal is a decision of the other home, and waits for the disk, too")
async def test_what_comes_while_an_account_is_deleted_is_refused(server: Harness) -> None:
    juliet = await server.login("juliet")
    await server.register("romeo")
    server.backend.hold()
    deleting = asyncio.ensure_future(server.server.accounts.delete(ROMEO))
    await server.quiet()
    juliet.send("<message to='romeo@localhost' type='chat'><body>hi</body></message>")
    answer = await juliet.receive()
    assert answer.get("type") == "error"
    server.backend.release()
    await deleting
    assert await server.storage.log("archive").last_id("romeo@localhost") == 0


def test_reasons_for_which_nobody_signs_in() -> None:
    """Each ends with its own cause, an administrator has the last word, and records from before tell none."""
    enabled = StoredAccount(Credentials(None, None))
    both = enabled.changed(True, "leaves").changed(True, ADMINISTRATOR)
    assert both.disabled_for("leaves") and both.disabled_for(ADMINISTRATOR) and not both.disabled_for("gone")
    banned = both.changed(False, "leaves")
    assert banned.credentials.disabled and not banned.disabled_for("leaves")
    assert not banned.changed(False, "gone").changed(False, ADMINISTRATOR).credentials.disabled
    assert not both.changed(False, ADMINISTRATOR).credentials.disabled
    assert both.credentials.generation == 2 == banned.credentials.generation, "what was issued before is void"
    old = StoredAccount(Credentials(None, None, disabled=True))
    assert old.disabled_for("leaves") and not old.changed(False, "leaves").credentials.disabled
    assert old.changed(True, "leaves").changed(False, "leaves").credentials.disabled, "it may have been a ban"
