"""Web push without an app server: RFC 8030, 8291, 8292, with an endpoint that decrypts what it gets."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from os import urandom

import pytest
from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from plugins.push.encryption import authorization, decode, encode, encrypt, new_key, public_of, read_keys
from tests.harness import Client, Harness, condition
from xmppd.net.http_client import Poster

NS = "urn:xmpp:push:0"
OPTIONS = "http://jabber.org/protocol/pubsub#publish-options"


def test_the_example_of_rfc_8291() -> None:
    """Section 5 and appendix A."""
    private = int.from_bytes(decode("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"), "big")
    key = ec.derive_private_key(private, ec.SECP256R1())
    public = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
    body = encrypt(
        b"When I grow up, I want to be a watermelon", *read_keys(public, "BTBZMqHH6r4Tts7J_aSIgg"),
        key, decode("DGv6ra1nlYgDCS1FRnbzlw"),
    )  # fmt: skip
    assert encode(body) == (
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_"
        "yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )


class Phone:
    """A browser's side: keys, and an endpoint on a real socket."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.secret = urandom(16)
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.status = 201
        self.url = ""

    @property
    def public(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    async def take(self, request: web.Request) -> web.Response:
        self.requests.append((dict(request.headers), await request.read()))
        return web.Response(status=self.status)

    def form(self, url: str = "") -> str:
        fields = {
            "FORM_TYPE": OPTIONS,
            "endpoint": url or self.url,
            "p256dh": encode(self.public),
            "auth": encode(self.secret),
        }
        inside = "".join(f"<field var='{name}'><value>{value}</value></field>" for name, value in fields.items())
        return f"<x xmlns='jabber:x:data' type='submit'>{inside}</x>"

    def read(self, body: bytes) -> dict[str, object]:
        salt, sender, sealed = body[:16], body[21:86], body[86:]
        shared = self.key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender))
        ikm = HKDF(SHA256(), 32, self.secret, b"WebPush: info\0" + self.public + sender).derive(shared)
        key = HKDF(SHA256(), 16, salt, b"Content-Encoding: aes128gcm\0").derive(ikm)
        nonce = HKDF(SHA256(), 12, salt, b"Content-Encoding: nonce\0").derive(ikm)
        message = AESGCM(key).decrypt(nonce, sealed, None)
        assert message.endswith(b"\x02")
        found: dict[str, object] = json.loads(message[:-1])
        return found


@pytest.fixture
async def phone() -> AsyncIterator[Phone]:
    made = Phone()
    app = web.Application()
    app.router.add_post("/push/{id}", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/push/1"
    yield made
    await runner.cleanup()


async def away(server: Harness, phone: Phone) -> None:
    romeo = await server.login("romeo", "phone", presence=True)
    answer = await romeo.iq(f"<enable xmlns='{NS}' jid='localhost' node='web'>{phone.form()}</enable>", "set")
    assert answer.get("type") == "result", condition(answer)
    romeo.close()
    await server.quiet()


def say(client: Client, body: str = "a secret thing") -> None:
    client.send(f"<message to='romeo@localhost' type='chat'><body>{body}</body></message>")


async def pushed(server: Harness, phone: Phone, count: int) -> None:
    assert await server.until(lambda: len(phone.requests) >= count)
    await server.quiet()


open_to_tests = pytest.mark.server(plugins={"push": {"private_endpoints": True}})


@open_to_tests
async def test_a_phone_is_woken_and_reads_it(server: Harness, phone: Phone) -> None:
    await away(server, phone)
    juliet = await server.login("juliet")
    say(juliet)
    await pushed(server, phone, 1)
    headers, body = phone.requests[0]
    assert phone.read(body) == {"count": 1, "level": "alert"}, "nothing of what was said, or by whom"
    assert (headers["Content-Encoding"], headers["Urgency"]) == ("aes128gcm", "high")
    assert int(headers["TTL"]) > 0
    shown = await juliet.iq("<query xmlns='http://jabber.org/protocol/disco#info'/>", to="localhost")
    field = "{jabber:x:data}field[@var='applicationServerKey']/{jabber:x:data}value"
    assert headers["Authorization"].endswith(f"k={shown.findtext(f'.//{field}')}"), "the key that devices were told"
    assert await server.host.plugins["push"].outbox.jobs.read_all("romeo@localhost") == {}


@open_to_tests
@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.in_memory
async def test_a_subscription_that_is_over_is_forgotten(server: Harness, phone: Phone, status: int) -> None:
    phone.status = status
    await away(server, phone)
    say(await server.login("juliet"))
    await pushed(server, phone, 1)
    assert await server.until(lambda: not server.host.plugins["push"].devices.get("romeo@localhost"))


@open_to_tests
async def test_what_fails_for_now_is_tried_again(server: Harness, phone: Phone) -> None:
    phone.status = 503
    await away(server, phone)
    say(await server.login("juliet"))
    await pushed(server, phone, 1)
    phone.status = 201
    await server.advance(11)
    await pushed(server, phone, 2)
    assert len(phone.requests) == 2


@pytest.mark.parametrize(
    "url",
    [
        "http://push.example/x",
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://10.0.0.1/x",
        "ftp://push.example/x",
        "x",
    ],
)
async def test_endpoints_of_our_own_network_are_refused(server: Harness, phone: Phone, url: str) -> None:
    romeo = await server.login("romeo")
    answer = await romeo.iq(f"<enable xmlns='{NS}' jid='localhost' node='w'>{phone.form(url)}</enable>", "set")
    assert condition(answer) == "not-acceptable"


async def test_a_name_that_leads_inside_is_not_followed(phone: Phone) -> None:
    """It is looked at when it is resolved, so that a name cannot change its mind in between."""
    poster = Poster()
    inside = phone.url.replace("127.0.0.1", "localhost")
    assert await poster.post(inside, b"", {}) == 0
    assert await poster.post(phone.url, b"", {}) == 0
    assert phone.requests == []
    assert await poster.post(inside, b"", {}, private=True) == 201
    await poster.close()


@open_to_tests
async def test_bad_keys(server: Harness, phone: Phone) -> None:
    romeo = await server.login("romeo")
    phone.secret = b"short"
    answer = await romeo.iq(f"<enable xmlns='{NS}' jid='localhost' node='w'>{phone.form()}</enable>", "set")
    assert condition(answer) == "not-acceptable"
    answer = await romeo.iq(f"<enable xmlns='{NS}' jid='localhost' node='w'/>", "set")
    assert condition(answer) == "bad-request"


def test_who_sends_is_signed() -> None:
    pem = new_key()
    header = authorization(pem, "https://push.example:8443/x/y", "xmpp:localhost", 1_000_000.0)
    token, _, key = header.removeprefix("vapid t=").partition(", k=")
    head, claims, signature = token.split(".")
    assert json.loads(decode(claims)) == {"aud": "https://push.example:8443", "exp": 1_043_200, "sub": "xmpp:localhost"}
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decode(key))
    raw = decode(signature)
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    public.verify(der, f"{head}.{claims}".encode(), ec.ECDSA(SHA256()))
    with pytest.raises(InvalidSignature):
        public.verify(der, f"{head}.x{claims}".encode(), ec.ECDSA(SHA256()))
    assert key == public_of(pem) == urlsafe_b64encode(decode(key)).rstrip(b"=").decode()
