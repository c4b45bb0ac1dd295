"""XEP-0388 and XEP-0509: what is announced, what is refused, and what a sign-in may ask for."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import pytest

from tests.harness import STREAM, Client, Harness
from tests.harness.sasl2 import (
    NS,
    SASL,
    SM,
    Scram,
    agent,
    answered,
    authenticate,
    b64,
    bind,
    failure,
    mechanisms,
    name,
    opened,
    plain,
    signed_in,
)
from xmppd.jid import JID

IAP = "urn:xmpp:iap:0"
INLINE = f"{{{NS}}}authentication/{{{NS}}}inline"


async def test_it_is_announced_with_and_without_a_sender(server: Harness) -> None:
    offers = []
    for sender in ("", "romeo@localhost", "romeo@localhost/phone", "nobody@localhost", "localhost", "@@"):
        client = await opened(server, sender=sender)
        assert mechanisms(client)[-1] == "PLAIN"
        offers.append(client.features.find(f"{{{NS}}}authentication").findall("*"))
        assert client.features.find(f"{{{SASL}}}mechanisms") is not None
    assert len({tuple((each.tag, each.text) for each in offer) for offer in offers}) == 1
    assert [each.tag for each in offers[0][-1]].count(f"{{{SM}}}sm") == 1


async def test_a_sender_of_another_domain(server: Harness) -> None:
    client = server.connect()
    client.open(sender="romeo@elsewhere.example")
    assert await client.stream_error() == "invalid-from"


async def test_not_before_tls(server: Harness) -> None:
    client = server.connect("starttls")
    client.open()
    assert (await client.receive()).find(f"{{{NS}}}authentication") is None
    client.send(plain())
    assert await client.stream_error() == "policy-violation"


@pytest.mark.parametrize("hash", ["SHA-1", "SHA-256", "SHA-512"])
async def test_scram(server: Harness, hash: str) -> None:
    client, scram = await opened(server), Scram(hash)
    challenge = await answered(client, authenticate(f"SCRAM-{hash}", scram.initial))
    assert challenge.tag == f"{{{NS}}}challenge"
    success = await answered(client, scram.final(challenge))
    assert success.findtext(f"{{{NS}}}authorization-identifier") == "romeo@localhost"
    assert scram.proven(success)
    features = await client.receive()
    assert features.tag == STREAM + "features"
    assert features.find("{urn:ietf:params:xml:ns:xmpp-bind}bind") is not None
    assert features.find(f"{{{NS}}}authentication") is None
    await client.bind("desk")
    assert client.jid == "romeo@localhost/desk"


async def test_scram_without_an_initial_response(server: Harness) -> None:
    client, scram = await opened(server), Scram()
    assert (await answered(client, authenticate("SCRAM-SHA-256", None))).text is None
    challenge = await answered(client, f"<response xmlns='{NS}'>{b64(scram.initial)}</response>")
    assert (await answered(client, scram.final(challenge))).tag == f"{{{NS}}}success"


async def test_the_lists_are_hashed_as_they_were_sent(server: Harness) -> None:
    """XEP-0474 and XEP-0515, in either profile."""
    tls: dict[str, bytes | str] = {
        "tls_exporter": b"e" * 32,
        "tls_server_end_point": b"p" * 32,
        "tls_version": "TLSv1.3",
        "secure": True,
    }
    for hash in ("SHA-1", "SHA-256", "SHA-512"):
        client = await opened(server, **tls)
        scram = Scram(hash, "p=tls-exporter,,", b"e" * 32)
        challenge = await answered(client, authenticate(f"SCRAM-{hash}-PLUS", scram.initial))
        success = await answered(client, scram.final(challenge))
        assert scram.proven(success)
        types = [each.get("type") for each in client.features.iter("{urn:xmpp:sasl-cb:0}channel-binding")]
        assert set(types) == {"tls-exporter", "tls-server-end-point"}
        text = "\x1e".join(sorted(mechanisms(client))) + "\x1f" + "\x1e".join(sorted(map(str, types)))
        digest = hashlib.new(scram.hash, text.encode()).digest()
        assert scram.attributes()["h"] == b64(digest)
        assert scram.attributes()["t"] == "0304"


async def test_the_hash_of_the_other_profile(server: Harness) -> None:
    client, scram = await opened(server), Scram()
    challenge = await answered(client, f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-256'>{b64(scram.initial)}</auth>")
    scram.final(challenge)
    names = [str(each.text) for each in client.features.iter(f"{{{SASL}}}mechanism")]
    assert scram.attributes()["h"] == b64(hashlib.sha256("\x1e".join(sorted(names)).encode()).digest())
    assert "t" not in scram.attributes()


@pytest.mark.parametrize(
    ("request_", "condition"),
    [
        (plain(password="wrong"), "not-authorized"),
        (plain("nobody"), "not-authorized"),
        (plain(authzid="juliet@localhost"), "invalid-authzid"),
        (authenticate("X-NONE", "x"), "invalid-mechanism"),
        (authenticate("SCRAM-SHA-256-PLUS", "p=tls-exporter,,n=romeo,r=a"), "invalid-mechanism"),
        (authenticate("SCRAM-SHA-256", "garbage"), "malformed-request"),
        (authenticate("HT-SHA-256-NONE", "romeo\0x"), "invalid-mechanism"),
        (f"<authenticate xmlns='{NS}' mechanism='PLAIN'><initial-response>a b</initial-response></authenticate>",
         "incorrect-encoding"),
        (f"<authenticate xmlns='{NS}' mechanism='PLAIN'><initial-response>=</initial-response></authenticate>",
         "incorrect-encoding"),
        (f"<authenticate xmlns='{NS}'/>", "invalid-mechanism"),
    ],
)  # fmt: skip
async def test_failures_leave_the_stream_as_it_was(server: Harness, request_: str, condition: str) -> None:
    client = await opened(server)
    assert failure(await answered(client, request_)) == condition
    assert (await answered(client, plain())).tag == f"{{{NS}}}success"


async def test_an_authorization_identity_beside_the_sender(server: Harness) -> None:
    """Section 2.3: it has to be the one of the header."""
    client = await opened(server, sender="juliet@localhost")
    assert failure(await answered(client, plain(authzid="romeo@localhost"))) == "invalid-authzid"
    assert (await answered(client, plain())).tag == f"{{{NS}}}success"
    client = await opened(server, sender="romeo@localhost")
    assert (await answered(client, plain(authzid="romeo@localhost"))).tag == f"{{{NS}}}success"


async def test_nothing_that_was_asked_for_happens_at_a_failure(server: Harness) -> None:
    client = await opened(server)
    assert failure(await answered(client, plain(password="wrong", more=bind() + agent()))) == "not-authorized"
    assert not server.host.accounts.get("romeo@localhost") or not server.host.account("romeo@localhost").sessions
    await client.silence()


async def test_an_abort(server: Harness) -> None:
    client, scram = await opened(server), Scram()
    await answered(client, authenticate("SCRAM-SHA-256", scram.initial))
    assert failure(await answered(client, f"<abort xmlns='{NS}'><text>no</text></abort>")) == "aborted"
    assert (await answered(client, plain())).tag == f"{{{NS}}}success"


@pytest.mark.parametrize(
    "text",
    [
        "<iq type='get' id='1'><query xmlns='jabber:iq:register'/></iq>",
        f"<enable xmlns='{SM}'/>",
        f"<auth xmlns='{SASL}' mechanism='PLAIN'>eA==</auth>",
        f"<response xmlns='{SASL}'>eA==</response>",
    ],
)
async def test_nothing_else_in_the_middle(server: Harness, text: str) -> None:
    """Section 2.4."""
    client, scram = await opened(server), Scram()
    await answered(client, authenticate("SCRAM-SHA-256", scram.initial))
    client.send(text)
    assert await client.stream_error() == "policy-violation"


@pytest.mark.parametrize("blank", [" ", "\n", "\r\n\t"])
async def test_white_space_in_the_middle(server: Harness, blank: str) -> None:
    """Section 2.4. In the way of RFC 6120, and before anything has begun, it is passed over."""
    client, scram = await opened(server), Scram()
    client.send(blank)
    challenge = await answered(client, authenticate("SCRAM-SHA-256", scram.initial))
    client.send(blank)
    assert await client.stream_error() == "policy-violation"
    client, scram = await opened(server), Scram()
    client.send(f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-256'>{b64(scram.initial)}</auth>")
    challenge = await client.receive()
    client.send(blank)
    response = scram.final(challenge).replace(NS, SASL)
    assert (await answered(client, response)).tag == f"{{{SASL}}}success"


@pytest.mark.parametrize("word", ["response", "next", "task-data", "abort"])
async def test_nothing_has_begun(server: Harness, word: str) -> None:
    client = await opened(server)
    client.send(f"<{word} xmlns='{NS}'/>")
    assert await client.stream_error() == "policy-violation"


async def test_no_second_time(server: Harness) -> None:
    client, _ = await signed_in(server)
    client.send(plain())
    assert await client.stream_error() == "not-authorized"
    client, _ = await signed_in(server, bind())
    client.send(plain())
    assert await client.stream_error() == "unsupported-stanza-type"


async def test_the_profiles_are_not_mixed(server: Harness) -> None:
    client = await opened(server)
    client.send(f"<auth xmlns='{SASL}' mechanism='PLAIN'>{b64(chr(0) + 'romeo' + chr(0) + 'wrong')}</auth>")
    assert name(await client.receive()) == "failure"
    client.send(plain())
    assert await client.stream_error() == "policy-violation"
    client, _ = await signed_in(server)
    client.send(f"<auth xmlns='{SASL}' mechanism='PLAIN'>{b64(chr(0) + 'romeo' + chr(0) + 'pencil')}</auth>")
    assert await client.stream_error() == "not-authorized"


async def test_a_session_is_resumed_inline(server: Harness) -> None:
    """Success first, no features, then what was missed."""
    client, success = await signed_in(server, bind(f"<enable xmlns='{SM}' resume='true'/>") + agent())
    id = next(each.get("id") for each in success.iter(f"{{{SM}}}enabled"))
    client.send("<presence/>")
    await client.receive_all()
    client.cut()
    juliet = await server.login("juliet")
    juliet.send("<message to='romeo@localhost' type='chat' id='m'><body>missed</body></message>")
    await server.quiet()
    resume = f"<resume xmlns='{SM}' previd='{id}' h='0'/>"
    again, success = await signed_in(server, resume + bind() + agent())
    assert [name(each) for each in success] == ["authorization-identifier", "resumed"]
    assert again.jid == client.jid
    rest = await again.receive_all()
    assert STREAM + "features" not in [each.tag for each in rest]
    assert "missed" in [each.findtext("{jabber:client}body") for each in rest]


async def test_a_resumption_that_fails(server: Harness) -> None:
    resume = f"<resume xmlns='{SM}' previd='nothing' h='0'/>"
    client, success = await signed_in(server, resume + bind() + agent())
    assert [name(each) for each in success] == ["authorization-identifier", "failed", "bound"]
    assert (await client.receive()).tag == STREAM + "features"
    await client.silence()


async def test_another_ones_session_is_not_resumed(server: Harness) -> None:
    """T30."""
    _, success = await signed_in(server, bind(f"<enable xmlns='{SM}' resume='true'/>") + agent())
    id = next(each.get("id") for each in success.iter(f"{{{SM}}}enabled"))
    resume = f"<resume xmlns='{SM}' previd='{id}' h='0'/>"
    _, success = await signed_in(server, user="juliet", text=plain("juliet", more=resume))
    failed = success.find(f"{{{SM}}}failed")
    assert failed is not None
    assert failed.get("h") is None
    assert server.host.session_of(JID.parse(success.findtext(f"{{{NS}}}authorization-identifier"))) is None


# ---- pipelining (XEP-0509)


def version(client: Client) -> str:
    found = client.features.find(f"{{{IAP}}}config-version")
    assert found is not None
    return str(found.get("value"))


def told(value: str) -> str:
    return f"<config-version xmlns='{IAP}' scheme='opaque' value='{value}'/>"


async def test_header_and_sign_in_in_one_go(server: Harness) -> None:
    known = version(await opened(server))
    client = server.connect()
    client.open()
    client.send(plain(more=told(known) + bind()))
    assert (await client.receive()).tag == STREAM + "features"
    assert (await client.receive()).tag == f"{{{NS}}}success"
    assert (await client.receive()).tag == STREAM + "features"


async def test_what_the_client_knows_is_old(server: Harness) -> None:
    """Nobody has to wait for that, however often."""
    client = await opened(server)
    answer = await answered(client, plain(password="wrong", more=told("b2xk") + bind()))
    assert failure(answer) == "aborted"
    assert [each.tag for each in answer][1] == f"{{{IAP}}}config-version-mismatch"
    assert not server.server.guard.wait("127.0.0.1", "romeo@localhost")
    assert (await answered(client, plain(more=told(version(client))))).tag == f"{{{NS}}}success"


async def test_the_version_follows_what_is_announced(server: Harness) -> None:
    assert version(await opened(server)) == version(await opened(server, sender="romeo@localhost"))
    bound = await opened(server, tls_exporter=b"e" * 32, secure=True)
    assert version(bound) != version(await opened(server))


@pytest.mark.parametrize("value", ["", "'", "&lt;", "x' y='"])
async def test_versions_that_nobody_made(server: Harness, value: str) -> None:
    client = await opened(server)
    value = value.replace("'", "&apos;")
    assert failure(await answered(client, plain(more=told(value)))) == "aborted"


async def test_too_many_failures_end_the_stream(server: Harness) -> None:
    client = await opened(server)
    for _ in range(server.server.limits.sasl_attempts):
        client.send(plain(password="wrong"))
    answers = await client.receive_all()
    assert [name(each) for each in answers][:-1] == ["failure"] * server.server.limits.sasl_attempts
    assert client.closed


@pytest.mark.parametrize("id", ["", "romeo", "x" * 4000, "d4565fa7-4d72-4749-b3d3-740edbf8777G"])
async def test_an_id_that_is_no_uuid_is_none(server: Harness, id: str) -> None:
    client, _ = await signed_in(server, bind() + agent(id))
    again, _ = await signed_in(server, bind() + agent(id))
    assert client.jid != again.jid


async def test_base64_is_strict(server: Harness) -> None:
    """T15: bits behind the last byte."""
    client = await opened(server)
    text = base64.b64encode(b"\0romeo\0pencil").decode()
    assert text.endswith("A==") or text.endswith("=")
    for bad in (text.rstrip("="), text + "=", f" {text}", text[:-1]):
        answer = await answered(
            client,
            f"<authenticate xmlns='{NS}' mechanism='PLAIN'><initial-response>{bad}</initial-response></authenticate>",
        )
        if failure(answer) != "incorrect-encoding":
            raise AssertionError(bad)
        client = await opened(server)


@pytest.mark.parametrize(
    "spelled",
    [
        lambda text: text,
        lambda text: text.replace("<tag>Phone<", "<tag><![CDATA[Pho]]>ne<"),
        lambda text: text.replace("<tag>Phone<", "<tag>&#80;hone<"),
        lambda text: text.replace("<bind ", "<deep xmlns='urn:x'><a><b c='1'/></a></deep><bind "),
        lambda text: (
            text.replace("<bind xmlns=", "<b:bind xmlns:b=").replace("tag>", "b:tag>").replace("</bind", "</b:bind")
        ),
        lambda text: text.replace("<bind xmlns=", '<bind\n  more = "&gt;/>" xmlns='),
    ],
    ids=["usual", "cdata", "reference", "deep", "prefix", "spaces"],
)
async def test_a_request_may_be_spelled_in_any_way(server: Harness, spelled: Callable[[str], str]) -> None:
    usual = plain(more=bind("<enable xmlns='urn:xmpp:carbons:2'/><enable xmlns='urn:xmpp:sm:3'/>") + agent())
    first, _ = await signed_in(server, text=usual)
    again, success = await signed_in(server, text=spelled(usual))
    assert again.jid == first.jid and "/Phone/" in again.jid, "the same client, by its id and its tag"
    assert success.find(f"{{urn:xmpp:bind:0}}bound/{{{SM}}}enabled") is not None
