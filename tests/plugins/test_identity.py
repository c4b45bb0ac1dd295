"""Sign-in by a source of identity outside: what is announced, accounts at first sign-in, and people who are gone."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterable
from dataclasses import replace

import pytest

from tests.harness import Client, Harness
from tests.harness.sasl2 import FAST, NS, SASL, agent, answered, authenticate, b64, failure, ht, mechanisms, plain
from xmppd.contracts.admin import OperationError
from xmppd.contracts.identity import AUTHENTICATORS, Authenticator, Identity, SourceUnavailable, TokenExpired
from xmppd.jid import JID
from xmppd.plugin import NO_CONFIG, NoConfig, Plugin, on

DISCOVERY = "https://login.example.org/.well-known/openid-configuration"


class School(Plugin[NoConfig]):
    """A source that the test holds in its hand."""

    source = "school"
    checks_passwords = checks_tokens = exclusive = creates_accounts = True
    good_for = 0.0
    discovery = DISCOVERY
    scope = "xmpp"

    def setup(self) -> None:
        self.people = {"romeo": Identity("romeo", "1", "Romeo Montague", "romeo@example.org", ("montagues",))}
        self.asked: list[str] = []
        self.away = False
        self.can_tell = True
        self.answers = asyncio.Event()
        self.answers.set()

    @on(AUTHENTICATORS)
    def authenticators(self, host: JID) -> Iterable[Authenticator]:
        return (self,)

    async def check_password(self, username: str, password: str) -> Identity | None:
        return await self._find(username) if password == "pencil" else None

    async def check_token(self, token: str) -> Identity | None:
        if token == "old":
            raise TokenExpired
        return await self._find(token)

    async def _find(self, name: str) -> Identity | None:
        self.asked.append(name)
        await self.answers.wait()
        if self.away:
            raise SourceUnavailable("it is night")
        return self.people.get(name)

    async def knows(self, username: str, subject: str) -> bool | None:
        return await self._find(username) is not None if self.can_tell else None


@pytest.fixture
def school(server: Harness) -> School:
    school = School(server.host, NO_CONFIG)
    server.host.add("school", school)
    return school


async def opened(server: Harness) -> Client:
    client = server.connect()
    client.open()
    client.features = await client.receive()
    return client


async def attempt(server: Harness, text: str) -> str:
    """The condition of a sign-in, "" if it has worked."""
    found = await answered(await opened(server), text)
    return "" if found.tag == f"{{{NS}}}success" else failure(found)


def bearer(token: str, who: str = "") -> str:
    return authenticate("OAUTHBEARER", f"n,{who and f'a={who}'},\1auth=Bearer {token}\1\1")


async def exists(server: Harness, name: str) -> bool:
    return await server.server.accounts.exists(JID.of(name, "localhost"))


async def disabled(server: Harness, name: str) -> bool:
    return await server.server.accounts.is_disabled(JID.of(name, "localhost"))


# ---- what is announced


async def test_the_mechanisms_are_those_of_the_source(server: Harness, school: School) -> None:
    client = await opened(server)
    assert mechanisms(client) == ["OAUTHBEARER", "PLAIN"]
    assert [each.text for each in client.features.iter(f"{{{SASL}}}mechanism")] == ["OAUTHBEARER", "PLAIN"]


async def test_not_before_tls(server: Harness, school: School) -> None:
    client = server.connect("starttls")
    client.open()
    assert (await client.receive()).find(f"{{{SASL}}}mechanisms") is None


async def test_passwords_of_the_host_beside_tokens(server: Harness, school: School) -> None:
    school.exclusive = school.checks_passwords = False
    client = await opened(server)
    assert {"OAUTHBEARER", "PLAIN", "SCRAM-SHA-256"} <= set(mechanisms(client))
    await server.register("juliet")
    assert await attempt(server, plain("juliet")) == ""
    assert school.asked == []


async def test_a_password_that_is_stored_here_counts_for_nothing(server: Harness, school: School) -> None:
    await server.register("juliet")
    assert await attempt(server, plain("juliet")) == "not-authorized"
    assert school.asked == ["juliet"]


@pytest.mark.server(plugins={"register": {"mode": "open", "captcha": False}})
async def test_nobody_registers_beside_it(server: Harness, school: School) -> None:
    client = await opened(server)
    assert client.features.find("{http://jabber.org/features/iq-register}register") is None
    client.send(
        "<iq type='set' id='1'><query xmlns='jabber:iq:register'><username>romeo</username>"
        "<password>x</password></query></iq>"
    )
    assert await client.stream_error() == "not-authorized"
    assert not await exists(server, "romeo")


@pytest.mark.server(plugins={"register": {"mode": "open", "captcha": False}})
async def test_no_password_is_set_here(server: Harness, school: School) -> None:
    client = await opened(server)
    assert (await answered(client, plain())).tag == f"{{{NS}}}success"
    await client.receive()
    await client.bind()
    asked = "<query xmlns='jabber:iq:register'><username>romeo</username><password>other</password></query>"
    assert (await client.iq(asked, "set")).find(".//{*}not-allowed") is not None
    items = await client.iq(
        "<query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/commands'/>",
        to="romeo@localhost",
    )
    assert [each.get("name") for each in items[0] if "password" in str(each.get("name"))] == []


# ---- passwords


async def test_the_first_sign_in_makes_the_account(server: Harness, school: School) -> None:
    assert not await exists(server, "romeo")
    client = await opened(server)
    success = await answered(client, plain())
    assert success.findtext(f"{{{NS}}}authorization-identifier") == "romeo@localhost"
    assert await exists(server, "romeo")
    said = await server.operation("identity.show", jid="romeo@localhost")
    assert "name: Romeo Montague" in said
    assert "groups: montagues" in said


async def test_in_the_way_of_rfc_6120(server: Harness, school: School) -> None:
    client = await opened(server)
    found = await answered(
        client, f"<auth xmlns='{SASL}' mechanism='PLAIN'>{b64(chr(0) + 'romeo' + chr(0) + 'pencil')}</auth>"
    )
    assert found.tag == f"{{{SASL}}}success"


async def test_no_account_is_made_where_that_is_off(server: Harness, school: School) -> None:
    school.creates_accounts = False
    assert await attempt(server, plain()) == "not-authorized"
    assert not await exists(server, "romeo")
    await server.register("romeo")
    assert await attempt(server, plain()) == ""


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        (plain(password="wrong"), "not-authorized"),
        (plain("nobody"), "not-authorized"),
        (plain("a b"), "not-authorized"),
        (authenticate("PLAIN", "\0romeo\0"), "malformed-request"),
        (authenticate("PLAIN", "\0\0pencil"), "malformed-request"),
        (plain(authzid="juliet@localhost"), "invalid-authzid"),
        (authenticate("SCRAM-SHA-256", "n,,n=romeo,r=abc"), "invalid-mechanism"),
    ],
)
async def test_refused(server: Harness, school: School, text: str, condition: str) -> None:
    assert await attempt(server, text) == condition
    assert not await exists(server, "romeo")


async def test_a_source_that_names_somebody_else(server: Harness, school: School) -> None:
    school.people["juliet"] = school.people["romeo"]
    assert await attempt(server, plain("juliet")) == "not-authorized"


async def test_the_source_is_away(server: Harness, school: School) -> None:
    school.away = True
    for _ in range(20):  # no guesses
        assert await attempt(server, plain()) == "temporary-auth-failure"
    school.away = False
    assert await attempt(server, plain()) == ""


@pytest.mark.server(more="limits: {sign_in: {account_failures: 3, first_wait: 10 seconds}}")
async def test_guesses_count(server: Harness, school: School) -> None:
    for _ in range(3):
        assert await attempt(server, plain(password="wrong")) == "not-authorized"
    assert await attempt(server, plain()) == "temporary-auth-failure"
    school.asked.clear()
    assert await attempt(server, plain()) == "temporary-auth-failure"
    assert school.asked == []
    await server.advance(20)
    assert await attempt(server, plain()) == ""


@pytest.mark.server(plugins={"identity": {"waiting": 1}})
async def test_only_so_many_wait(server: Harness, school: School) -> None:
    server.host.plugins["identity"].waiting = 1
    assert await attempt(server, plain()) == "temporary-auth-failure"
    assert school.asked == []
    server.host.plugins["identity"].waiting = 0
    assert await attempt(server, plain()) == ""


@pytest.mark.server(plugins={"identity": {"waiting": 8}})
async def test_one_address_does_not_shut_out_the_others(server: Harness, school: School) -> None:
    """While the source is slow."""
    school.answers.clear()

    async def come(peer: str, number: int) -> list[str]:
        refused = []
        for each in range(number):
            client = await opened(server)
            client.link.peer = peer
            client.send(plain(f"{each}"))
            await server.quiet()
            refused += [failure(found) for found in await client.receive_all()]
        return refused

    assert await come("192.0.2.1", 10) == ["temporary-auth-failure"] * 6
    assert await come("192.0.2.2", 3) == ["temporary-auth-failure"]
    assert await come("2001:db8::1", 2) == []
    assert await come("192.0.2.3", 1) == ["temporary-auth-failure"], "all the room is taken"
    school.answers.set()
    await server.quiet()
    assert await attempt(server, plain()) == ""
    assert server.host.plugins["identity"].waiting == 0 == len(server.host.plugins["identity"].places)


async def test_a_no_comes_at_the_same_time(server: Harness, school: School) -> None:
    """A wrong password and a person who is not there."""
    server.server.limits = replace(server.server.limits, even_answers=0.02)
    for text in (plain(password="wrong"), plain("nobody"), plain("a b"), bearer("bad")):
        client = await opened(server)
        client.send(text)
        await server.quiet()
        await server.advance(0.12)
        await client.silence()
        await server.advance(0.26)
        assert (await client.receive()).tag in (f"{{{NS}}}failure", f"{{{NS}}}challenge")


# ---- tokens


@pytest.mark.parametrize("who", ["", "romeo@localhost"])
async def test_a_token(server: Harness, school: School, who: str) -> None:
    assert await attempt(server, bearer("romeo", who)) == ""
    assert school.asked == ["romeo"]


async def test_where_tokens_are_to_be_had(server: Harness, school: School) -> None:
    """XEP-0493: an empty token."""
    for text in ("n,,\1auth=\1\1", "n,,\1auth=Bearer\1\1", "n,,\1auth=Bearer \1\1", "n,a=romeo@localhost,\1\1", "\1"):
        client = await opened(server)
        challenge = await answered(client, authenticate("OAUTHBEARER", text))
        said = json.loads(base64.b64decode(challenge.text or ""))
        assert said == {"status": "invalid_request", "scope": "xmpp", "openid-configuration": DISCOVERY}
        assert failure(await answered(client, f"<response xmlns='{NS}'>AQ==</response>")) == "not-authorized"
        assert (await answered(client, bearer("romeo"))).tag == f"{{{NS}}}success"  # the same stream goes on


@pytest.mark.parametrize(("token", "who"), [("bad", ""), ("old", ""), ("romeo", "juliet@localhost")])
async def test_a_token_is_refused(server: Harness, school: School, token: str, who: str) -> None:
    client = await opened(server)
    challenge = await answered(client, bearer(token, who))
    assert json.loads(base64.b64decode(challenge.text or ""))["status"] == "invalid_token"
    assert failure(await answered(client, f"<response xmlns='{NS}'>AQ==</response>")) == "not-authorized"


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "n,,", "n,,\1", "n,,\1auth=Bearer a", "n,,\1auth=Bearer a\1", "n,,\1auth=Basic a\1\1",
        "n,,\1auth=Bearer a b\1\1", "n,,\1auth=Bearer a\1auth=Bearer b\1\1", "p=tls-exporter,,\1auth=Bearer a\1\1",
        "n,,\1auth=Bearer a\1\1x", "n,,\1auth=Bearer ä\1\1", "n,a=,\1auth=Bearer a\1\1",
    ],
)  # fmt: skip
async def test_what_is_no_message(server: Harness, school: School, text: str) -> None:
    assert await attempt(server, authenticate("OAUTHBEARER", text)) == "malformed-request"
    assert school.asked == []


async def test_for_somebody_of_another_domain(server: Harness, school: School) -> None:
    assert await attempt(server, bearer("romeo", "romeo@elsewhere.example")) == "invalid-authzid"


@pytest.mark.server(more="limits: {sign_in: {account_failures: 3, address_failures: 3, first_wait: 10 seconds}}")
async def test_refused_tokens_count_though_the_exchange_goes_on(server: Harness, school: School) -> None:
    for number in range(3):
        client = await opened(server)
        assert (await answered(client, bearer(f"bad{number}"))).tag == f"{{{NS}}}challenge"
        assert failure(await answered(client, f"<abort xmlns='{NS}'/>")) == "aborted"
    assert await attempt(server, bearer("romeo")) == "temporary-auth-failure"


@pytest.mark.server(more="limits: {sign_in: {account_failures: 3, address_failures: 3, first_wait: 10 seconds}}")
async def test_tokens_whose_time_is_over_are_no_guesses(server: Harness, school: School) -> None:
    for _ in range(6):
        client = await opened(server)
        assert (await answered(client, bearer("old", "romeo@localhost"))).tag == f"{{{NS}}}challenge"
        assert failure(await answered(client, f"<response xmlns='{NS}'>AQ==</response>")) == "not-authorized"
    assert await attempt(server, bearer("romeo")) == ""


# ---- who it is


async def test_another_person_of_the_same_name(server: Harness, school: School) -> None:
    assert await attempt(server, plain()) == ""
    school.people["romeo"] = Identity("romeo", "2", "Another Romeo")
    assert await attempt(server, plain()) == "not-authorized"
    await server.operation("identity.forget", jid="romeo@localhost")
    assert await attempt(server, plain()) == ""
    with pytest.raises(OperationError, match="no such account"):
        await server.operation("identity.forget", jid="juliet@localhost")


async def test_a_person_of_the_same_name_of_whom_nothing_else_is_known(server: Harness, school: School) -> None:
    """Who comes without what the source gives to nobody else is not taken for who had it."""
    assert await attempt(server, plain()) == ""
    school.people["romeo"] = Identity("romeo", "")
    assert await attempt(server, plain()) == "not-authorized"
    school.people["romeo"] = Identity("romeo", "1")
    assert await attempt(server, plain()) == ""


async def test_a_name_that_somebody_has_registered_before(server: Harness, school: School) -> None:
    """Who has made the account knows its password, and would share it with its owner."""
    school.exclusive = school.checks_passwords = False
    await server.register("romeo")
    client = await opened(server)
    assert (await answered(client, bearer("romeo"))).tag == f"{{{NS}}}challenge"
    await server.operation("identity.forget", jid="romeo@localhost")  # it is his
    assert await attempt(server, bearer("romeo")) == ""
    school.people["romeo"] = Identity("romeo", "2")
    client = await opened(server)
    assert (await answered(client, bearer("romeo"))).tag == f"{{{NS}}}challenge"


async def test_who_was_disabled_by_an_administrator(server: Harness, school: School) -> None:
    assert await attempt(server, plain()) == ""
    await server.server.accounts.set_disabled(JID.parse("romeo@localhost"), True)
    assert await attempt(server, plain()) == "not-authorized"
    await server.operation("identity.check")
    assert await disabled(server, "romeo")


async def test_a_ban_outlives_what_the_source_says(server: Harness, school: School) -> None:
    """Whether it comes before the source forgets the person or behind."""
    for first in (True, False):
        school.people.setdefault("romeo", Identity("romeo", "1"))
        assert await attempt(server, plain()) == ""
        await server.advance(10)
        person = school.people.pop("romeo")
        for step in ("user.disable", "identity.check") if first else ("identity.check", "user.disable"):
            await server.operation(step, **({"jids": ["romeo@localhost"]} if step == "user.disable" else {}))
        school.people["romeo"] = person
        await server.operation("identity.check")
        assert await attempt(server, plain()) == "not-authorized"
        assert await disabled(server, "romeo")
        await server.operation("user.enable", jids=["romeo@localhost"])


async def test_a_name_that_is_kept_free(server: Harness, school: School) -> None:
    assert await attempt(server, plain()) == ""
    await server.server.accounts.delete(JID.parse("romeo@localhost"))
    await server.quiet()
    assert await attempt(server, plain()) == "not-authorized"
    await server.server.accounts.release(JID.parse("romeo@localhost"))
    assert await attempt(server, plain()) == ""


@pytest.mark.parametrize("name", ["a@b", "", "x" * 2000, "ro meo"])
async def test_a_name_that_is_none(server: Harness, school: School, name: str) -> None:
    school.people["token"] = Identity(name, "1")
    client = await opened(server)
    assert (await answered(client, bearer("token"))).tag == f"{{{NS}}}challenge"


# ---- people who are gone


async def session(server: Harness, name: str = "romeo") -> Client:
    client = await opened(server)
    assert (await answered(client, plain(name))).tag == f"{{{NS}}}success"
    await client.receive()
    await client.bind()
    return client


async def test_who_is_gone_is_disabled_and_comes_back(server: Harness, school: School) -> None:
    client = await session(server)
    person = school.people.pop("romeo")
    await server.advance(10)
    await server.operation("identity.check")
    assert await client.stream_error() == "not-authorized"
    assert await disabled(server, "romeo")
    assert "knows it no more" in await server.operation("identity.show", jid="romeo@localhost")
    school.people["romeo"] = person
    await server.operation("identity.check")
    assert not await disabled(server, "romeo")
    school.people.clear()
    await server.operation("identity.check")
    assert await disabled(server, "romeo")
    school.people["romeo"] = person
    assert await attempt(server, plain()) == ""  # the sign-in itself enables it


async def test_tokens_of_the_server_end_with_the_person(server: Harness, school: School) -> None:
    """FAST goes on while the source is away, and not when the person is gone."""
    wanted = f"{agent()}<request-token xmlns='{FAST}' mechanism='HT-SHA-256-NONE'/>"
    success = await answered(await opened(server), plain(more=wanted))
    token = success.find(f"{{{FAST}}}token")
    assert token is not None
    initial = ht("romeo", str(token.get("token")))
    by_token = authenticate("HT-SHA-256-NONE", initial, f"{agent()}<fast xmlns='{FAST}'/>")
    school.away = True
    assert await attempt(server, by_token) == ""
    school.away = False
    person = school.people.pop("romeo")
    await server.advance(10)
    await server.operation("identity.check")
    assert await attempt(server, by_token) != ""
    school.people["romeo"] = person
    await server.operation("identity.check")
    assert await attempt(server, by_token) != ""  # not even then: only by the source
    assert await attempt(server, plain()) == ""


async def test_a_source_that_is_away_disables_nobody(server: Harness, school: School) -> None:
    await session(server)
    school.away = True
    await server.advance(10)
    await server.operation("identity.check")
    assert not await disabled(server, "romeo")


async def test_a_source_that_has_lost_everybody_is_not_believed(server: Harness, school: School) -> None:
    names = [f"person{number}" for number in range(10)]
    for name in names:
        school.people[name] = Identity(name, name)
        assert await attempt(server, plain(name)) == ""
    school.people.clear()
    await server.advance(10)
    await server.operation("identity.check")
    assert not any([await disabled(server, name) for name in names])
    school.people.update({name: Identity(name, name) for name in names[:7]})
    await server.operation("identity.check")
    assert [await disabled(server, name) for name in names] == [False] * 7 + [True] * 3


async def test_only_a_new_sign_in_can_tell(server: Harness, school: School) -> None:
    school.can_tell = False
    client = await session(server)
    await server.advance(100)
    await server.operation("identity.check")
    await client.silence()
    school.good_for = 90.0
    await server.operation("identity.check")
    assert await client.stream_error() == "not-authorized"
    assert await disabled(server, "romeo")
    assert await attempt(server, plain()) == ""
    await server.operation("identity.check")
    assert not await disabled(server, "romeo")


@pytest.mark.server(plugins={"identity": {"recheck": "1 minute"}})
async def test_it_is_asked_by_itself(server: Harness, school: School) -> None:
    identity = server.host.plugins["identity"]
    await identity.start()  # the source came behind the start of the server
    client = await session(server)
    school.people.clear()
    await server.advance(130)
    assert await client.stream_error() == "not-authorized"


async def test_the_log_is_not_flooded(server: Harness, school: School, caplog: pytest.LogCaptureFixture) -> None:
    school.away = True
    for _ in range(5):
        assert await attempt(server, plain()) == "temporary-auth-failure"
    said = [each for each in caplog.records if "it is night" in each.getMessage() and each.levelname == "WARNING"]
    assert len(said) == 1


async def test_two_first_sign_ins_at_once(server: Harness, school: School) -> None:
    clients = [await opened(server) for _ in range(3)]
    for number, client in enumerate(clients):
        client.link.peer = f"192.0.2.{number}"  # else the second one waits for the first
        client.send(plain())
    assert {(await client.receive()).tag for client in clients} == {f"{{{NS}}}success"}
    assert await exists(server, "romeo")
