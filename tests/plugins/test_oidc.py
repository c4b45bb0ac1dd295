"""The plugin `oidc`: tokens of a small issuer, with real keys and signatures, and tokens that nobody may believe."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from plugins.oidc import Config, Oidc
from plugins.oidc.keys import STALE
from tests.harness import Client, Element, FakeClock, Harness
from tests.harness.sasl2 import NS, authenticate, mechanisms
from tests.plugins.issuer import Issuer, Key, b64
from xmppd.contracts.identity import Identity, SourceUnavailable, TokenExpired
from xmppd.jid import JID


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    issuer = await Issuer(FakeClock().now).start()
    yield issuer
    await issuer.stop()


class Place:
    """A host with the plugin."""

    def __init__(self, server: Harness) -> None:
        self.server = server

    @property
    def oidc(self) -> Oidc:
        plugin: Oidc = self.server.host.plugins["oidc"]
        return plugin

    def anew(self) -> None:
        """It knows nothing of its issuer any more."""
        self.oidc.reconfigured()

    async def who(self, token: str) -> str:
        found = await self.oidc.check_token(token)
        return found.username if found is not None else ""


@pytest.fixture
async def place(issuer: Issuer, request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    """`@pytest.mark.server(...)`: more options of the plugin."""
    marker = request.node.get_closest_marker("server")
    options = {"issuer": issuer.url, "audience": ["xmpp"], **(marker.kwargs if marker else {})}
    server = Harness(plugins={"oidc": options})
    issuer.now = server.clock.now
    await server.start()
    place = Place(server)
    if options.get("tokens") != "introspection":
        await place.oidc.issuer.keys.refresh()  # as it does by itself when it starts
    yield place
    await server.stop()


ROMEO = Identity("romeo", "4711", "Romeo Montague", "", ("montagues",))

# ---- by keys


async def test_a_token(place: Place, issuer: Issuer) -> None:
    assert await place.oidc.check_token(issuer.token()) == Identity(
        "romeo", "4711", "Romeo Montague", "", ("montagues",)
    )
    assert await place.who(issuer.token(aud=["other", "xmpp"], preferred_username="Juliet@LOCALHOST")) == "juliet"
    assert issuer.asked == {"metadata": 1, "keys": 1}


async def test_a_signature_on_a_curve(place: Place, issuer: Issuer) -> None:
    issuer.keys = [Key("curve", "ES256")]
    place.anew()
    assert await place.who(issuer.token()) == "romeo"


REFUSED: dict[str, dict[str, Any]] = {
    "issuer": {"iss": "https://evil.example"},
    "no issuer": {"iss": ...},
    "issuer with a slash": {"iss": "SLASH"},
    "audience": {"aud": "mail"},
    "no audience": {"aud": ...},
    "audience, longer": {"aud": "xmpp.evil"},
    "audience, an object": {"aud": {"xmpp": True}},
    "no expiry": {"exp": ...},
    "expiry as a text": {"exp": "9999999999"},
    "expiry as a truth": {"exp": True},
    "expiry without end": {"exp": float("inf")},
    "expiry as nothing": {"exp": float("nan")},
    "expiry as a list": {"exp": [9999999999]},
    "expiry beyond all counting": {"exp": 10**400},
    "not before beyond all counting": {"nbf": -(10**400)},
    "subject that is no text": {"sub": "half \ud83d"},
    "name that is no text": {"preferred_username": "half\ud83d"},
    "not yet": {"nbf": 1_700_010_000},
    "made tomorrow": {"iat": 1_700_100_000},
    "no subject": {"sub": ...},
    "subject as a number": {"sub": 1},
    "subject is empty": {"sub": ""},
    "no name": {"preferred_username": ...},
    "name as a list": {"preferred_username": ["romeo"]},
    "name of another domain": {"preferred_username": "romeo@evil.example"},
    "name with a resource": {"preferred_username": "romeo@localhost/x"},
    "name that is none": {"preferred_username": "ro meo"},
    "name is empty": {"preferred_username": ""},
    "name in two domains": {"preferred_username": "romeo@evil.example@localhost"},
    "id token": {"typ": "ID"},
    "refresh token": {"typ": "Refresh"},
}


async def test_what_is_no_text_is_left_out(place: Place, issuer: Issuer) -> None:
    """People choose their names themselves at many issuers."""
    found = await place.oidc.check_token(issuer.token(name="half \ud83d", email="\udc00", groups=["a", "\ud83d"]))
    assert found is not None
    assert (found.name, found.mail, found.groups) == ("", "", ("a",))


@pytest.mark.parametrize("claims", REFUSED.values(), ids=REFUSED)
async def test_what_a_token_must_not_say(place: Place, issuer: Issuer, claims: dict[str, Any]) -> None:
    if claims.get("iss") == "SLASH":
        claims = {"iss": issuer.url + "/"}
    assert await place.who(issuer.token(**claims)) == ""


async def test_a_token_whose_time_is_over(place: Place, issuer: Issuer) -> None:
    now = issuer.now()
    assert await place.who(issuer.token(exp=now - 20)) == "romeo"  # the clocks differ
    with pytest.raises(TokenExpired):
        await place.who(issuer.token(exp=now - 31))
    assert await place.who(issuer.token(exp=now - 31, aud="mail")) == ""  # no more is told of what was never good
    assert await place.who(issuer.token(Key("one"), exp=now - 31)) == ""


HEADERS: dict[str, dict[str, Any]] = {
    "none": {"alg": "none"}, "None": {"alg": "NONE"}, "no alg": {"alg": ...}, "HS256": {"alg": "HS256"},
    "other alg": {"alg": "RS512"}, "alg of a curve": {"alg": "ES256"}, "alg as a list": {"alg": ["RS256"]},
    "kid unknown": {"kid": "two"}, "kid as a path": {"kid": "../../../dev/null"}, "kid as a number": {"kid": 1},
    "kid as a list": {"kid": ["one"]}, "kid as a question": {"kid": "one' OR '1'='1"}, "kid is empty": {"kid": ""},
    "crit": {"crit": ["exp"]}, "typ": {"typ": "logout+jwt"}, "typ of what is encrypted": {"typ": "JWE"},
    "zip": {"alg": "none", "zip": "DEF"},
}  # fmt: skip


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
async def test_what_a_header_must_not_say(place: Place, issuer: Issuer, header: dict[str, Any]) -> None:
    assert await place.who(issuer.token(header=header)) == ""


@pytest.mark.parametrize("where", ["jwk", "jku", "x5u", "x5c"])
async def test_a_key_that_the_token_brings(place: Place, issuer: Issuer, where: str) -> None:
    own = Key("one")
    brought = {"jwk": own.public, "jku": f"{issuer.url}/evil", "x5u": f"{issuer.url}/evil", "x5c": ["AAAA"]}[where]
    assert await place.who(issuer.token(own, {where: brought})) == ""
    assert set(issuer.asked) == {"metadata", "keys"}


async def test_a_public_key_as_a_shared_one(place: Place, issuer: Issuer) -> None:
    """The old trick: HS256 with what everybody knows."""
    public = json.dumps(issuer.keys[0].public).encode()
    data = f"{b64(json.dumps({'alg': 'HS256', 'kid': 'one'}).encode())}.{b64(json.dumps(issuer.claims()).encode())}"
    assert await place.who(f"{data}.{b64(hmac.digest(public, data.encode(), 'sha256'))}") == ""


async def test_a_shared_key_among_the_keys(place: Place, issuer: Issuer) -> None:
    issuer.jwks = {"keys": [{"kty": "oct", "k": b64(b"k" * 32), "kid": "one"}, issuer.keys[0].public]}
    place.anew()
    data = f"{b64(json.dumps({'alg': 'HS256', 'kid': 'one'}).encode())}.{b64(json.dumps(issuer.claims()).encode())}"
    assert await place.who(f"{data}.{b64(hmac.digest(b'k' * 32, data.encode(), 'sha256'))}") == ""
    assert await place.who(issuer.token()) == "romeo"


async def test_tokens_that_are_none(place: Place, issuer: Issuer) -> None:
    good = issuer.token()
    header, claims, signature = good.split(".")
    changed = b64(json.dumps(issuer.claims(preferred_username="juliet")).encode())
    for token in (
        "", "x", ".", "..", "a.b.c", f"{header}.{claims}", f"{header}.{claims}.", f"{header}.{changed}.{signature}",
        f"{good}.x", f"{good}x", good[:-4], f"{b64(b'[]')}.{claims}.{signature}", f"{b64(b'{')}.{claims}.{signature}",
        f"{b64(b'[' * 5000)}.{claims}.{signature}", good + "A" * 20_000, good.replace(".", "..", 1), "ä.ä.ä",
        issuer.token(Key("one")), f".{claims}.{signature}",
    ):  # fmt: skip
        assert await place.who(token) == "", token[:50]


async def test_without_a_kid(place: Place, issuer: Issuer) -> None:
    assert await place.who(issuer.token(header={"kid": ...})) == "romeo"
    issuer.keys.append(Key("two"))
    await place.server.advance(3700)
    assert await place.who(issuer.token(header={"kid": ...})) == ""
    assert await place.who(issuer.token()) == "romeo"


async def test_weak_keys_do_not_count(place: Place, issuer: Issuer) -> None:
    issuer.keys.append(Key("weak", bits=1024))
    place.anew()
    assert await place.who(issuer.token(issuer.keys[1])) == ""
    assert await place.who(issuer.token()) == "romeo"


@pytest.mark.parametrize("change", [{"use": "enc"}, {"alg": "PS256"}, {"kty": "EC"}, {"n": "x"}, {"e": ["AQAB"]}])
async def test_keys_for_something_else(place: Place, issuer: Issuer, change: dict[str, Any]) -> None:
    issuer.jwks = {"keys": [{**issuer.keys[0].public, **change}, Key("two", "ES256").public, 7, None, {}]}
    place.anew()
    assert await place.who(issuer.token()) == ""


@pytest.mark.server(scope="xmpp mail")
async def test_what_it_must_be_good_for(place: Place, issuer: Issuer) -> None:
    for scope, name in (("xmpp", ""), ("mail xmpp", "romeo"), (["xmpp", "mail"], "romeo"), ("xmppmail", ""), (..., "")):
        assert await place.who(issuer.token(scope=scope)) == name
    assert await place.who(issuer.token(scope=..., scp=["xmpp", "mail"])) == "romeo"


@pytest.mark.server(username="email")
async def test_a_mail_address_as_the_name(place: Place, issuer: Issuer) -> None:
    assert await place.who(issuer.token(email="romeo@localhost")) == ""
    assert await place.who(issuer.token(email="romeo@localhost", email_verified="true")) == ""
    assert await place.who(issuer.token(email="romeo@localhost", email_verified=True)) == "romeo"


# ---- keys that change


async def test_keys_change(place: Place, issuer: Issuer) -> None:
    assert await place.who(issuer.token()) == "romeo"
    old, new = issuer.keys[0], Key("two")
    issuer.keys = [new, old]
    await place.server.advance(31)
    assert await place.who(issuer.token(new)) == "romeo"  # unknown: fetched at once
    assert await place.who(issuer.token(old)) == "romeo"
    assert issuer.asked["keys"] == 2
    issuer.keys = [new]
    await place.server.advance(3700)
    assert await place.who(issuer.token(old)) == ""
    assert await place.who(issuer.token(new)) == "romeo"


async def test_who_makes_tokens_up_fetches_nothing(place: Place, issuer: Issuer) -> None:
    assert await place.who(issuer.token()) == "romeo"
    for number in range(50):
        assert await place.who(issuer.token(header={"kid": str(number)})) == ""
    assert issuer.asked["keys"] == 1
    await place.server.advance(31)
    await asyncio.gather(*(place.who(issuer.token(header={"kid": str(number)})) for number in range(50)))
    assert issuer.asked["keys"] == 2


async def test_keys_that_cannot_be_had_again(place: Place, issuer: Issuer) -> None:
    assert await place.who(issuer.token()) == "romeo"
    issuer.status = 503
    await place.server.advance(4000)
    assert await place.who(issuer.token()) == "romeo"
    await place.server.advance(STALE)
    with pytest.raises(SourceUnavailable, match="503"):
        await place.who(issuer.token())
    issuer.status = 200
    await place.server.advance(5)
    assert await place.who(issuer.token()) == "romeo"


@pytest.mark.parametrize("jwks", [{}, [], {"keys": {}}, {"keys": []}, {"keys": [1]}, "x", "x" * 2_000_000])
async def test_what_is_no_set_of_keys(place: Place, issuer: Issuer, jwks: Any) -> None:
    issuer.jwks = jwks
    place.anew()
    with pytest.raises(SourceUnavailable):
        await place.who(issuer.token())


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example"}, {"issuer": None}, {"jwks_uri": None}, {"jwks_uri": "http://keys.example/x"},
        {"jwks_uri": "file:///etc/passwd"}, {"jwks_uri": ["x"]},
    ],
)  # fmt: skip
async def test_an_issuer_that_is_another(place: Place, issuer: Issuer, metadata: dict[str, Any]) -> None:
    issuer.metadata, issuer.asked = metadata, {}
    place.anew()
    with pytest.raises(SourceUnavailable):
        await place.who(issuer.token())
    assert "keys" not in issuer.asked


@pytest.mark.server(timeout="1 second")
async def test_an_issuer_that_stalls(place: Place, issuer: Issuer) -> None:
    issuer.stall.clear()
    place.anew()
    began = time.monotonic()
    found = await asyncio.gather(*(place.who(issuer.token()) for _ in range(20)), return_exceptions=True)
    assert {type(each) for each in found} == {SourceUnavailable}
    assert time.monotonic() - began < 6
    issuer.stall.set()
    await place.server.advance(5)
    assert await place.who(issuer.token()) == "romeo"


# ---- by the issuer

ASKED = pytest.mark.server(tokens="introspection", client_id="xmppd", client_secret="se:cret")


@ASKED
async def test_the_issuer_is_asked(place: Place, issuer: Issuer) -> None:
    issuer.introspected["opaque"] = {"active": True, **issuer.claims()}
    assert await place.oidc.check_token("opaque") == ROMEO
    assert await place.who("other") == ""
    issuer.introspected["opaque"] = {"active": True, **issuer.claims(iss=..., exp=..., iat=...)}
    assert await place.who("opaque") == "romeo"
    assert issuer.asked["introspect"] == 3


LIES: dict[str, dict[str, Any]] = {
    "inactive": {"active": False}, "active as a text": {"active": "true"}, "as a number": {"active": 1},
    "not said": {"active": ...}, "another issuer": {"iss": "https://evil.example"}, "no issuer is one": {"iss": None},
    "for another": {"aud": "mail"}, "for nobody": {"aud": ...}, "nobody": {"preferred_username": ...},
    "no subject": {"sub": ...}, "expiry as a text": {"exp": "never"}, "another domain": {"preferred_username": "a@b.c"},
}  # fmt: skip


@ASKED
@pytest.mark.parametrize("more", LIES.values(), ids=LIES)
async def test_what_the_issuer_must_not_say(place: Place, issuer: Issuer, more: dict[str, Any]) -> None:
    issuer.introspected["opaque"] = issuer.claims(**{"active": True, **more})
    assert await place.who("opaque") == ""


@ASKED
async def test_the_issuer_says_active_of_what_is_over(place: Place, issuer: Issuer) -> None:
    issuer.introspected["opaque"] = {"active": True, **issuer.claims(exp=issuer.now() - 60)}
    with pytest.raises(TokenExpired):
        await place.who("opaque")


@ASKED
@pytest.mark.parametrize("text", ["", "true", "[]", "{", "[" * 100_000, '{"active": true', "<html>", "x" * 2_000_000])
async def test_what_is_no_answer(place: Place, issuer: Issuer, text: str) -> None:
    issuer.introspected["opaque"] = text
    with pytest.raises(SourceUnavailable):
        await place.who("opaque")


@pytest.mark.server(tokens="introspection", client_id="xmppd", client_secret="wrong")
async def test_an_issuer_that_does_not_know_this_server(place: Place, issuer: Issuer) -> None:
    for _ in range(3):
        with pytest.raises(SourceUnavailable, match="401"):
            await place.who("opaque")
    assert issuer.asked["introspect"] == 1  # it rests


# ---- a host


async def answer(client: Client, text: str) -> Element:
    """The issuer is behind real sockets, for which the harness does not wait."""
    client.send(text)
    for _ in range(500):
        await client.harness.quiet()
        if client.inbox:
            return await client.receive()
        await asyncio.sleep(0.01)
    raise AssertionError("no answer")


async def test_a_host_whose_people_have_tokens(place: Place, issuer: Issuer) -> None:
    server = place.server
    client = server.connect()
    client.open()
    client.features = await client.receive()
    assert mechanisms(client) == ["OAUTHBEARER"]
    empty = await answer(client, authenticate("OAUTHBEARER", "n,,\1auth=\1\1"))
    said = json.loads(base64.b64decode(empty.text or ""))
    assert said["openid-configuration"] == f"{issuer.url}/.well-known/openid-configuration"
    assert (await answer(client, f"<response xmlns='{NS}'>AQ==</response>")).tag == f"{{{NS}}}failure"
    bad = await answer(client, authenticate("OAUTHBEARER", f"n,,\1auth=Bearer {issuer.token(aud='x')}\1\1"))
    assert json.loads(base64.b64decode(bad.text or ""))["status"] == "invalid_token"
    await answer(client, f"<response xmlns='{NS}'>AQ==</response>")
    good = await answer(client, authenticate("OAUTHBEARER", f"n,,\1auth=Bearer {issuer.token()}\1\1"))
    assert good.findtext(f"{{{NS}}}authorization-identifier") == "romeo@localhost"
    assert await server.server.accounts.exists(JID.parse("romeo@localhost"))
    assert "subject: 4711" in await server.operation("identity.show", jid="romeo@localhost")


# ---- options


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({}, "issuer"),
        ({"audience": ("x",), "issuer": "http://login.example.org"}, "issuer"),
        ({"audience": ("x",), "issuer": "login.example.org"}, "issuer"),
        ({"audience": ("x",), "issuer": "https://user@login.example.org"}, "issuer"),
        ({"audience": ("x",), "keys": "ftp://login.example.org"}, "keys"),
        ({"tokens": "introspection"}, "tokens"),
        ({"tokens": "introspection", "client_id": "x"}, "tokens"),
        ({"tokens": "introspection", "client_id": "x", "client_secret_file": Path("/nowhere")}, "client_secret_file"),
    ],
)
def test_mistakes_have_a_place(given: dict[str, Any], place: str) -> None:
    assert place in [where for where, _ in Config(**{"issuer": "https://login.example.org", **given}).check()]


def test_the_secret_is_in_a_file_or_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("north\n")
    made = {"issuer": "https://login.example.org", "tokens": "introspection", "client_id": "xmppd"}
    config = Config(**made, client_secret_file=tmp_path / "secret")  # type: ignore[arg-type]
    assert config.secret == "north"
    assert not list(config.check())
    monkeypatch.setenv("XMPPD_OIDC_SECRET", "west")
    assert Config(**made).secret == "west"  # type: ignore[arg-type]


def test_no_shared_keys() -> None:
    assert not [each for each in Config(issuer="https://x").algorithms if each.startswith("HS") or each == "none"]
