"""Streams that other servers open to this one: what a hostile one can try, and what an honest one may rely on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness import Client, Element, Harness, xml
from tests.harness.authority import Authority
from tests.harness.peer_stream import (
    DIALBACK,
    SASL,
    SM,
    STARTTLS,
    TLS,
    Federation,
    PeerStream,
    error_of,
    federate,
    no_such_domain,
)
from xmppd.config import RemoteDomainConfig
from xmppd.stanza import Stanza
from xmppd.streams import remote_domains, server_keys
from xmppd.streams.base import INBOX
from xmppd.streams.origin import UNSETTLED

OTHER, EVIL = "other.example", "evil.example"
pytestmark = pytest.mark.server(hosts={"second.localhost": {}})


def chat(id: int | str = 1, sender: str = f"bob@{OTHER}", to: str = "romeo@localhost") -> str:
    return f"<message from='{sender}' to='{to}' type='chat' id='{id}'><body>{id}</body></message>"


def ids(found: list[Element]) -> list[str]:
    return [str(each.get("id")) for each in found if each.tag == "{jabber:client}message"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def certificate(authority: Authority) -> tuple[bytes, ...]:
    return authority.certificate(dns=[OTHER]).ders


@pytest.fixture
def fed(server: Harness, authority: Authority) -> Federation:
    return federate(server, authority)


@pytest.fixture
async def romeo(server: Harness) -> Client:
    return await server.login("romeo", "x", presence=True)


@pytest.fixture
async def peer(fed: Federation, certificate: tuple[bytes, ...]) -> PeerStream:
    """Signed in by its certificate."""
    return await PeerStream(fed, OTHER, certificate).sign_in_external()


def knows(fed: Federation, answer: str = "valid", **changes: str) -> None:
    """Other servers answer every <db:verify/> on streams that we open to them so."""

    def talk(called: Any) -> None:
        async def go() -> None:
            await called.encrypt()
            asked = await called.receive()
            given = {"from": called.name, "to": "localhost", "id": asked.get("id"), "type": answer} | {
                key.rstrip("_"): value for key, value in changes.items()
            }
            called.send("<db:verify " + " ".join(f"{key}='{value}'" for key, value in given.items()) + "/>")

        fed.remotes.background.spawn(go(), "their side")

    fed.talks = talk


async def verified(fed: Federation, name: str = OTHER) -> PeerStream:
    """It has proved itself by dialback."""
    knows(fed)
    peer = PeerStream(fed, name)
    await peer.starttls()
    peer.result()
    answer = await peer.receive()
    assert (answer.tag, answer.get("type")) == (f"{{{DIALBACK}}}result", "valid"), xml(answer)
    return peer


# ---- who it says it is


async def test_it_signs_in_by_its_certificate(romeo: Client, peer: PeerStream) -> None:
    assert (peer.headers[-1].get("from"), peer.headers[-1].get("to")) == ("localhost", OTHER)
    assert len({each.get("id") for each in peer.headers}) == 3
    peer.send(chat(1) + chat(2, sender=OTHER))
    assert ids(await romeo.receive_all()) == ["1", "2"]


@pytest.mark.parametrize(
    ("given", "condition"),
    [
        ({"to": None}, "improper-addressing"),
        ({"to": "a@b@c"}, "improper-addressing"),
        ({"to": "nobody.example"}, "host-unknown"),
        ({"sender": "localhost"}, "policy-violation"),
        ({"sender": "second.localhost"}, "policy-violation"),
        ({"sender": "blocked.example"}, "policy-violation"),
        ({"sender": "not a domain/x"}, "improper-addressing"),
        ({"version": None}, "unsupported-version"),
    ],
)
async def test_headers(server: Harness, given: dict[str, Any], condition: str) -> None:
    peer = PeerStream(federate(server, block=("blocked.example",)))
    peer.header(**given)
    assert await peer.stream_error() == condition


async def test_http(fed: Federation) -> None:
    peer = PeerStream(fed)
    peer.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert await peer.stream_error() and b"Host" not in peer.link.written
    assert not fed.remotes.incoming


@pytest.mark.parametrize(
    ("said", "condition"),
    [
        (chat(), "not-authorized"),
        (f"<enable xmlns='{SM}'/>", "not-authorized"),
        (f"<r xmlns='{SM}'/>", "not-authorized"),
        (f"<proceed xmlns='{TLS}'/>", "not-authorized"),
        (f"<success xmlns='{SASL}'/>", "not-authorized"),
        (f"<response xmlns='{SASL}'/>", "not-authorized"),
        (f"<db:result from='{OTHER}' to='localhost' type='valid'/>", "unsupported-stanza-type"),
        (f"<db:verify from='{OTHER}' to='localhost' id='1' type='valid'/>", "unsupported-stanza-type"),
        ("<db:result to='localhost'>key</db:result>", "improper-addressing"),
        (f"<db:result from='{OTHER}'>key</db:result>", "improper-addressing"),
        (f"<db:result from='{OTHER}' to='localhost'/>", "bad-format"),
        (f"<db:result from='{OTHER}' to='localhost'>{'k' * 600}</db:result>", "policy-violation"),
        (f"<x>{'<y>' * 20}", "policy-violation"),
        ("<x>" + "y" * 9000, "policy-violation"),
        ("<stream:stream/>", "not-authorized"),
        ("<a></b>", "not-well-formed"),
        (STARTTLS, "unsupported-stanza-type"),
        ("<stream:features/>", "not-authorized"),
    ],
)
async def test_before_it_has_signed_in(
    fed: Federation, romeo: Client, certificate: tuple[bytes, ...], said: str, condition: str
) -> None:
    peer = PeerStream(fed, OTHER, certificate)
    await peer.starttls()
    peer.send(said)
    assert await peer.stream_error() == condition
    assert await romeo.receive_all() == [] and not fed.remotes.incoming and not fed.called


@pytest.mark.parametrize("said", [chat(), "<db:result from='other.example' to='localhost'>key</db:result>", "<a/>"])
async def test_encryption_comes_first(fed: Federation, romeo: Client, said: str) -> None:
    peer = PeerStream(fed)
    peer.header()
    features = await peer.receive()
    assert [each.tag for each in features] == [f"{{{TLS}}}starttls"] and "required" in xml(features)
    peer.send(said)
    assert await peer.stream_error() in ("policy-violation", "not-authorized")
    assert await romeo.receive_all() == [] and not fed.called


async def test_the_header_of_one_does_not_free_another_from_tls(server: Harness, romeo: Client) -> None:
    fed = federate(server, tls=False, domains={OTHER: RemoteDomainConfig(tls=True)})
    peer = PeerStream(fed, EVIL)
    peer.header()
    await peer.receive()
    peer.result(sender=OTHER)
    assert "policy-violation" in xml(await peer.receive()) and not fed.called
    peer.auth(OTHER)
    assert "encryption-required" in xml(await peer.receive())


async def test_plaintext_behind_starttls(fed: Federation, romeo: Client) -> None:
    peer = PeerStream(fed)
    peer.header()
    await peer.receive()
    peer.send(STARTTLS + "<db:result from='other.example' to='localhost'>key</db:result>" + chat())
    assert (await peer.receive()).tag == f"{{{TLS}}}proceed"
    await peer.silence()
    assert not fed.called and await romeo.receive_all() == []


async def test_what_was_proved_in_clear_does_not_count_behind_tls(server: Harness, romeo: Client) -> None:
    fed = federate(server, tls=False)
    fed.talks = lambda called: None
    peer = PeerStream(fed)
    peer.header()
    await peer.receive()
    peer.result()
    called = await fed.next_call()
    peer.send(STARTTLS)
    await peer.receive()
    await server.until(lambda: peer.secured)
    called.answer()
    asked = await called.receive()
    called.send(f"<db:verify from='{OTHER}' to='localhost' id='{asked.get('id')}' type='valid'/>")
    await peer.silence()
    peer.header()
    await peer.receive()
    peer.send(chat())
    assert await peer.stream_error() == "not-authorized"
    assert await romeo.receive_all() == []


async def test_no_starttls_behind_a_proof(server: Harness) -> None:
    fed = federate(server, tls=False)
    peer = PeerStream(fed)
    peer.header()
    await peer.receive()
    peer.result()
    called = await fed.next_call()
    called.answer()
    asked = await called.receive()
    called.send(f"<db:verify from='{OTHER}' to='localhost' id='{asked.get('id')}' type='valid'/>")
    assert (await peer.receive()).get("type") == "valid"
    peer.send(STARTTLS)
    assert await peer.stream_error() == "unsupported-stanza-type"


# ---- certificates


@pytest.mark.parametrize(
    "shown",
    [
        {"dns": [EVIL]},
        {"dns": [f"x.{OTHER}"]},
        {"dns": [OTHER], "days": (-20, -10)},
        {"dns": [OTHER], "self_signed": True},
        {"common": OTHER},
        {"dns": [OTHER], "usage": ["mail"]},
        None,
    ],
    ids=["another", "below", "expired", "self-signed", "common-name", "mail", "none"],
)
async def test_certificates_that_prove_nothing(
    server: Harness, fed: Federation, authority: Authority, romeo: Client, shown: dict[str, Any] | None
) -> None:
    ders = authority.certificate(**shown).ders if shown is not None else ()
    peer = PeerStream(fed, OTHER, ders)
    features = await peer.starttls()
    assert "EXTERNAL" not in xml(features) and "dialback" in xml(features)
    for _ in range(2):
        peer.auth()
        assert "not-authorized" in xml(await peer.receive())
    peer.send(chat())
    assert await peer.stream_error() == "not-authorized"
    assert await romeo.receive_all() == []


async def test_without_dialback_only_certificates(server: Harness, authority: Authority) -> None:
    fed = federate(server, authority, dialback=False)
    peer = PeerStream(fed)
    assert "features:dialback" not in xml(await peer.starttls())
    peer.result()
    assert "not-authorized" in xml(await peer.receive()) and not fed.called


@pytest.mark.parametrize("identity", [EVIL, f"x.{OTHER}", "localhost", f"bob@{OTHER}", "\x00"])
async def test_another_authorisation_identity(fed: Federation, certificate: tuple[bytes, ...], identity: str) -> None:
    peer = PeerStream(fed, OTHER, certificate)
    await peer.starttls()
    peer.auth(identity)
    assert "invalid-authzid" in xml(await peer.receive())
    peer.send(f"<auth xmlns='{SASL}' mechanism='EXTERNAL'>%%%</auth>")
    assert "failure" in xml(await peer.receive())
    peer.send(f"<auth xmlns='{SASL}' mechanism='PLAIN'>=</auth>")
    found = await peer.receive_all()
    assert "invalid-mechanism" in xml(found[0]) and error_of(found[1]) == "policy-violation", "the third one ends it"


@pytest.mark.parametrize("identity", ["", OTHER, OTHER.upper()])
async def test_an_authorisation_identity(fed: Federation, certificate: tuple[bytes, ...], identity: str) -> None:
    peer = PeerStream(fed, OTHER, certificate)
    await peer.starttls()
    peer.auth(identity)
    assert (await peer.receive()).tag == f"{{{SASL}}}success"


async def test_external_without_a_from(fed: Federation, romeo: Client, certificate: tuple[bytes, ...]) -> None:
    peer = PeerStream(fed, OTHER, certificate)
    assert "EXTERNAL" not in xml(await peer.starttls(sender=None))
    peer.auth("")
    assert "not-authorized" in xml(await peer.receive())
    peer.send(chat())
    assert await peer.stream_error() == "not-authorized"


async def test_another_from_after_external(fed: Federation, authority: Authority) -> None:
    peer = PeerStream(fed, OTHER, authority.certificate(dns=[OTHER, EVIL]).ders)
    await peer.starttls()
    peer.auth()
    await peer.receive()
    peer.header(sender=EVIL)
    assert await peer.stream_error() == "invalid-from"


async def test_another_to_after_external(fed: Federation, romeo: Client, certificate: tuple[bytes, ...]) -> None:
    peer = PeerStream(fed, OTHER, certificate)
    await peer.starttls()
    peer.auth()
    await peer.receive()
    peer.header(to="second.localhost", sender=None)
    assert peer.headers[-1].get("from") == "second.localhost" and peer.headers[-1].get("to") == OTHER
    await peer.receive()
    peer.send(chat())
    assert ids(await romeo.receive_all()) == ["1"]


async def test_what_stands_behind_auth_does_not_count(
    fed: Federation, romeo: Client, certificate: tuple[bytes, ...]
) -> None:
    peer = PeerStream(fed, OTHER, certificate)
    await peer.starttls()
    peer.send(f"<auth xmlns='{SASL}' mechanism='EXTERNAL'>=</auth>" + chat())
    assert (await peer.receive()).tag == f"{{{SASL}}}success"
    await peer.silence()
    assert await romeo.receive_all() == []


async def test_signing_in_twice_and_a_second_header(
    fed: Federation, certificate: tuple[bytes, ...], peer: PeerStream
) -> None:
    other = await PeerStream(fed, OTHER, certificate).sign_in_external()
    peer.auth()
    assert await peer.stream_error() == "unsupported-stanza-type"
    other.header()
    assert await other.stream_error() == "restricted-xml", "the XML declaration in it"


# ---- dialback


async def test_dialback(fed: Federation, romeo: Client) -> None:
    peer = await verified(fed)
    (called,) = fed.called
    assert called.name == OTHER and called.closed, "a connection of its own, which ends with the answer"
    assert called.headers[-1].get("to") == OTHER
    peer.send(chat())
    assert ids(await romeo.receive_all()) == ["1"]


async def test_the_key_goes_with_the_id_of_its_stream(fed: Federation) -> None:
    peer = PeerStream(fed)
    await peer.starttls()
    peer.result("a-key")
    called = await fed.next_call()
    await called.encrypt()
    asked = await called.receive()
    given = (asked.get("from"), asked.get("to"), asked.get("id"), asked.text)
    assert given == ("localhost", OTHER, peer.id, "a-key")


@pytest.mark.parametrize(
    ("answer", "changes"),
    [
        ("valid", {"from_": EVIL}),
        ("valid", {"to": "second.localhost"}),
        ("valid", {"id": "another"}),
        ("invalid", {}),
        ("error", {}),
    ],
)
async def test_answers_that_do_not_count(
    server: Harness, fed: Federation, romeo: Client, answer: str, changes: dict[str, str]
) -> None:
    knows(fed, answer, **changes)
    peer = PeerStream(fed)
    await peer.starttls()
    peer.result()
    await server.quiet()
    peer.send(chat())
    assert await peer.stream_error() == "not-authorized"
    assert await romeo.receive_all() == []


async def test_a_verification_on_the_same_stream(fed: Federation, server: Harness, romeo: Client) -> None:
    peer = PeerStream(fed)
    await peer.starttls()
    peer.result()
    await server.quiet()
    peer.send(f"<db:verify from='{OTHER}' to='localhost' id='{peer.id}' type='valid'/>")
    assert await peer.stream_error() == "unsupported-stanza-type"
    assert await romeo.receive_all() == []


@pytest.mark.parametrize(
    ("sender", "to", "condition"),
    [
        ("localhost", "localhost", "policy-violation"),
        ("second.localhost", "localhost", "policy-violation"),
        ("blocked.example", "localhost", "policy-violation"),
        (OTHER, "nobody.example", "item-not-found"),
    ],
)
async def test_who_may_not_ask(server: Harness, sender: str, to: str, condition: str) -> None:
    fed = federate(server, block=("blocked.example",))
    peer = PeerStream(fed)
    await peer.starttls()
    peer.result(sender=sender, to=to)
    answer = await peer.receive()
    assert (answer.get("type"), answer.get("from"), answer.get("to")) == ("error", to, sender)
    assert condition in xml(answer) and not peer.closed and not fed.called


async def test_a_second_key_that_is_wrong_leaves_the_first_pair(fed: Federation, romeo: Client) -> None:
    peer = await verified(fed)
    knows(fed, "invalid")
    peer.result(sender=EVIL)
    answer = await peer.receive()
    assert answer.get("type") == "error" and "forbidden" in xml(answer)
    peer.send(chat(1))
    assert ids(await romeo.receive_all()) == ["1"]
    peer.send(chat(2, sender=f"x@{EVIL}"))
    assert await peer.stream_error() == "invalid-from"


async def test_many_pairs(server: Harness, fed: Federation) -> None:
    """So many keys at once, and no more."""
    peer = PeerStream(fed)
    await peer.starttls()
    for number in range(30):
        peer.result(sender=f"d{number}.example")
    answers = await peer.receive_all()
    assert len(answers) == 20 and all("resource-constraint" in xml(each) for each in answers)
    assert len(fed.called) == server_keys.VERIFYING


async def test_one_place_does_not_take_all_verifications(server: Harness, fed: Federation) -> None:
    for _ in range(8):
        peer = PeerStream(fed, EVIL)
        await peer.starttls()
        for number in range(10):
            peer.result(sender=f"d{id(peer)}-{number}.example")
        await server.quiet()
    assert len(fed.called) == remote_domains.VERIFICATIONS_EACH
    peer = PeerStream(fed)
    peer.link.peer = "192.0.2.7"
    await peer.starttls()
    peer.result()
    await server.quiet()
    assert len(fed.called) == remote_domains.VERIFICATIONS_EACH + 1


async def test_one_domain_is_not_called_without_end(server: Harness, fed: Federation) -> None:
    for number in range(60):
        peer = PeerStream(fed)
        peer.link.peer = f"192.0.2.{number}"
        await peer.starttls()
        peer.result(sender="victim.example")
        await server.quiet()
    assert len(fed.called) == remote_domains.VERIFICATIONS_EACH


async def test_pairs_are_bounded(
    fed: Federation, authority: Authority, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_keys, "PAIRS", 5)
    names = [f"d{number}.example" for number in range(8)]
    peer = PeerStream(fed, names[0], authority.certificate(dns=names).ders)
    await peer.starttls()
    for name in names:
        peer.result(sender=name)
    answers = [each.get("type") for each in await peer.receive_all()]
    assert answers == ["valid"] * 5 + ["error"] * 3 and len(peer.stream.pairs) == 5 and not fed.called


async def test_nobody_fills_the_log(
    fed: Federation, server: Harness, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "xmppd.streams")
    for _ in range(200):
        peer = PeerStream(fed, EVIL, authority.certificate(dns=["x.example"], self_signed=True).ders)
        await peer.starttls()
        peer.cut()
    assert len(caplog.records) <= remote_domains.LOG_LINES
    await server.advance(remote_domains.MINUTE + 1)
    peer = PeerStream(fed, EVIL, authority.certificate(dns=["x.example"], self_signed=True).ders)
    await peer.starttls()
    assert "140 more lines" in caplog.text


async def test_there_is_no_such_domain(fed: Federation) -> None:
    fed.no_name[OTHER] = no_such_domain(OTHER)
    peer = PeerStream(fed)
    await peer.starttls()
    peer.result()
    assert "remote-server-not-found" in xml(await peer.receive()) and not peer.closed


async def test_a_fault_of_ours_is_answered(fed: Federation) -> None:
    fed.refuses[OTHER] = RuntimeError("a bug")
    peer = PeerStream(fed)
    await peer.starttls()
    peer.result()
    assert "remote-server-timeout" in xml(await peer.receive())
    assert peer.stream.verifying == 0 and not fed.remotes._verifying


async def test_the_other_server_asks_whether_a_key_is_ours(fed: Federation) -> None:
    key = fed.remotes.keys.key(OTHER, "localhost", "their-id")
    peer = PeerStream(fed)
    await peer.starttls(sender=None)

    async def ask(key: str, sender: str = OTHER, to: str = "localhost", id: str = "their-id") -> str:
        peer.send(f"<db:verify from='{sender}' to='{to}' id='{id}'>{key}</db:verify>")
        return str((await peer.receive()).get("type"))

    assert await ask(key) == "valid"
    assert [await ask("forged"), await ask(key, id="other"), await ask(key, sender=EVIL)] == ["invalid"] * 3
    assert await ask(key, to="second.localhost") == "invalid"
    assert await ask(key, to="nobody.example") == "error"
    assert not peer.stream.pairs


# ---- stanzas


@pytest.mark.parametrize(
    ("said", "condition"),
    [
        ("<message to='romeo@localhost'/>", "improper-addressing"),
        (f"<message from='{OTHER}'/>", "improper-addressing"),
        ("<message from='@' to='romeo@localhost'/>", "improper-addressing"),
        (chat(sender=f"x@{EVIL}"), "invalid-from"),
        (chat(sender="romeo@localhost"), "invalid-from"),
        (chat(sender=f"x@sub.{OTHER}"), "invalid-from"),
        (chat(sender="x@example"), "invalid-from"),
        (chat(to="a@third.example"), "host-unknown"),
        (STARTTLS, "unsupported-stanza-type"),
        ("<other xmlns='urn:x'/>", "unsupported-stanza-type"),
        ("<message xmlns='jabber:client' from='a@other.example' to='romeo@localhost'/>", "unsupported-stanza-type"),
    ],
)
async def test_stanzas_that_end_the_stream(romeo: Client, peer: PeerStream, said: str, condition: str) -> None:
    peer.send(said + chat(9))
    assert await peer.stream_error() == condition
    assert await romeo.receive_all() == []


async def test_an_error_of_theirs_ends_it(fed: Federation, romeo: Client, peer: PeerStream) -> None:
    peer.send("<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>" + chat())
    await peer.silence()
    assert peer.closed and await romeo.receive_all() == []


async def test_a_bad_address_of_ours_is_answered(fed: Federation, peer: PeerStream, romeo: Client) -> None:
    """Not with the end of the stream; by a stream of ours."""
    peer.send(chat(1, to="@localhost") + chat(2))
    assert ids(await romeo.receive_all()) == ["2"]
    assert not peer.closed and [each.name for each in fed.called] == [OTHER]


async def test_errors_are_not_answered_with_errors(fed: Federation, server: Harness, peer: PeerStream) -> None:
    peer.send(f"<message type='error' from='bob@{OTHER}' to='nobody@localhost' id='1'/>")
    peer.send(f"<iq type='error' from='bob@{OTHER}' to='nobody@localhost' id='2'/>")
    peer.send(f"<iq type='result' from='bob@{OTHER}' to='nobody@localhost/x' id='3'/>")
    await server.quiet()
    assert not fed.called and not peer.closed


async def test_a_large_stanza(server: Harness, peer: PeerStream) -> None:
    peer.send(f"<message from='bob@{OTHER}' to='romeo@localhost'><body>")
    for _ in range(40):
        peer.send("x" * 60_000)
    assert await peer.stream_error() == "policy-violation"


async def test_depth(peer: PeerStream) -> None:
    peer.send(f"<message from='bob@{OTHER}' to='romeo@localhost'>" + "<x xmlns='a'>" * 5000)
    assert await peer.stream_error() == "policy-violation"


# ---- XEP-0198


def handled(element: Element) -> str:
    assert element.tag == f"{{{SM}}}a", xml(element)
    return str(element.get("h"))


async def test_acknowledgements(server: Harness, romeo: Client, peer: PeerStream) -> None:
    peer.send(chat(0) + f"<enable xmlns='{SM}'/>")
    assert (await peer.receive()).tag == f"{{{SM}}}enabled"
    peer.send(f"<r xmlns='{SM}'/>")
    assert handled(await peer.receive()) == "0"
    server.backend.hold()
    peer.send(chat(1) + f"<r xmlns='{SM}'/>")
    await peer.silence()
    server.backend.release()
    assert handled(await peer.receive()) == "1"
    peer.send(f"<enable xmlns='{SM}'/><resume xmlns='{SM}' previd='x' h='0'/><a xmlns='{SM}' h='99'/>")
    assert [each.tag for each in await peer.receive_all()] == [f"{{{SM}}}failed"] * 2


async def test_a_question_behind_another_does_not_put_the_answer_off(
    server: Harness, romeo: Client, peer: PeerStream
) -> None:
    peer.send(f"<enable xmlns='{SM}'/>")
    await peer.receive()
    server.backend.hold()
    peer.send(chat(1) + f"<r xmlns='{SM}'/>")
    await server.quiet()
    stream = peer.stream
    peer.send(chat(2) + f"<r xmlns='{SM}'/>" + chat(3) + f"<r xmlns='{SM}'/>")
    await peer.silence()
    assert (stream.acks._owed, stream.acks._later) == (1, 3)
    server.backend.release()
    found = [handled(each) for each in await peer.receive_all()]
    assert found[-1] == "3" and stream.acks._owed == stream.acks._later == -1


async def test_a_repeated_message_does_not_acknowledge_the_one_before_it(
    server: Harness, fed: Federation, romeo: Client, peer: PeerStream, certificate: tuple[bytes, ...]
) -> None:
    peer.send(chat("known"))
    assert ids(await romeo.receive_all()) == ["known"]
    peer.cut()
    again = await PeerStream(fed, OTHER, certificate).sign_in_external()
    again.send(f"<enable xmlns='{SM}'/>")
    await again.receive()
    again.send(f"<r xmlns='{SM}'/>")
    assert handled(await again.receive()) == "0"
    server.backend.hold()
    again.send(chat("new") + f"<r xmlns='{SM}'/>" + chat("known"))
    await again.silence()
    server.backend.release()
    assert ids(await romeo.receive_all()) == ["new"]
    again.send(f"<r xmlns='{SM}'/>")
    assert [handled(each) for each in await again.receive_all()][-1] == "2"


async def test_last_words(server: Harness, romeo: Client, peer: PeerStream) -> None:
    peer.send(f"<enable xmlns='{SM}'/>")
    await peer.receive()
    peer.send(chat(1))
    await server.quiet()
    peer.stream.close()
    assert handled(await peer.receive()) == "1" and peer.closed


async def test_a_question_before_it_is_enabled(peer: PeerStream) -> None:
    peer.send(f"<r xmlns='{SM}'/>")
    assert await peer.stream_error() == "unsupported-stanza-type"


# ---- time and room


async def test_who_says_nothing(server: Harness, fed: Federation) -> None:
    silent, slow, named = PeerStream(fed), PeerStream(fed), PeerStream(fed)
    slow.send("<?xml version='1.0'?><stream:str")
    named.header()
    for byte in "eam:streammmmmm":
        await server.advance(1)
        slow.send(byte)
    assert silent.closed and slow.closed and not named.closed
    for _ in range(40):
        await server.advance(1)
        named.send(" ")
    assert named.closed and not fed.remotes.incoming


async def test_a_key_that_nobody_answers_holds_no_stream_open(server: Harness, fed: Federation) -> None:
    peer = PeerStream(fed)
    await peer.starttls()
    for _ in range(100):
        peer.result()
        await server.advance(1)
    assert peer.closed and not fed.remotes.incoming


async def test_an_idle_stream_ends(server: Harness, fed: Federation, peer: PeerStream) -> None:
    await server.advance(2 * 600 + 20)
    assert peer.closed and not fed.remotes.incoming


async def test_who_does_not_read_is_not_read(fed: Federation) -> None:
    peer = PeerStream(fed)
    await peer.starttls()
    peer.link.stalled = True
    for _ in range(10_000):
        peer.send(f"<db:verify from='{OTHER}' to='localhost' id='x'>key</db:verify>")
    assert peer.link.paused and peer.link.write_buffer_size < 200_000


async def test_a_flood_is_read_slowly_while_another_one_talks(
    server: Harness, fed: Federation, authority: Authority, romeo: Client, peer: PeerStream
) -> None:
    flood = await PeerStream(fed, EVIL, authority.certificate(dns=[EVIL]).ders).sign_in_external()
    server.backend.hold()
    for number in range(2000):
        flood.send(chat(f"f{number}", sender=f"x@{EVIL}"))
    await server.quiet()
    assert flood.link.paused and flood.stream.received - flood.stream.handled <= UNSETTLED + INBOX + 2
    peer.send(chat(1))
    assert not peer.link.paused
    server.backend.release()
    assert "1" in ids(await romeo.receive_all())


# ---- the configuration changes


async def test_a_domain_is_blocked_while_it_talks(server: Harness, fed: Federation, peer: PeerStream) -> None:
    fed.configure(block=("third.example",))
    assert not peer.closed
    fed.configure(block=(OTHER,))
    assert await peer.stream_error() == "policy-violation"


async def test_a_domain_is_blocked_while_its_key_is_asked_about(server: Harness, fed: Federation) -> None:
    peer = PeerStream(fed)
    await peer.starttls()
    peer.result()
    called = await fed.next_call()
    await called.encrypt()
    asked = await called.receive()
    fed.configure(block=(OTHER,))
    called.send(f"<db:verify from='{OTHER}' to='localhost' id='{asked.get('id')}' type='valid'/>")
    assert await peer.stream_error() == "policy-violation"
    assert not peer.stream.pairs and called.closed and peer.stream.verifying == 0


async def test_a_stop(server: Harness, fed: Federation, romeo: Client, peer: PeerStream) -> None:
    peer.send(f"<enable xmlns='{SM}'/>")
    await peer.receive()
    peer.send(chat(1))
    other = PeerStream(fed)
    await other.starttls()
    other.result()
    await server.stop()
    found = [each.tag for each in peer.inbox]
    assert found[-2:] == [f"{{{SM}}}a", "{http://etherx.jabber.org/streams}error"] and peer.inbox[-2].get("h") == "1"
    assert other.closed and not fed.remotes.incoming and not fed.remotes.outgoing


@pytest.fixture
def looked(fed: Federation, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the messages for which the store was asked whether they came before."""
    found: list[str] = []
    is_known = fed.remotes.resends.is_known

    async def known(stanza: Stanza) -> bool:
        found.append(stanza.id)
        return await is_known(stanza)

    monkeypatch.setattr(fed.remotes.resends, "is_known", known)
    return found


async def test_who_is_in_a_room_elsewhere_does_not_wait_for_the_store(
    romeo: Client, peer: PeerStream, looked: list[str]
) -> None:
    """Nothing that a room says is stored for its occupants, so it is not looked for among what came before."""
    peer.send(chat(1) + chat(2, to=romeo.jid).replace("type='chat'", "type='groupchat'"))
    assert ids(await romeo.receive_all()) == ["1", "2"] and looked == ["1"]


async def test_what_is_new_for_certain_does_not_wait(
    fed: Federation, certificate: tuple[bytes, ...], romeo: Client, peer: PeerStream, looked: list[str]
) -> None:
    """Behind a stream that broke, the store is asked once for each sender and recipient, and for what it has."""
    ones = [f"{number}-as-long-and-random-as-ids-are-today" for number in range(5)]
    peer.send("".join(map(chat, ones[:2])))
    assert ids(await romeo.receive_all()) == ones[:2]
    peer.cut()
    again = await PeerStream(fed, OTHER, certificate).sign_in_external()
    looked.clear()
    again.send("".join(map(chat, [ones[2], ones[3], ones[1], ones[4]])))
    assert ids(await romeo.receive_all()) == ones[2:] and looked == [ones[2], ones[1]]
