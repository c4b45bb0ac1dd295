"""A small OpenID Connect issuer: real keys and signatures, and whatever mistakes a test wants it to make."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable
from functools import cache
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, length: int = 0) -> str:
    return b64(value.to_bytes(length or (value.bit_length() + 7) // 8, "big"))


class Key:
    def __init__(self, kid: str, algorithm: str = "RS256", bits: int = 2048) -> None:
        self.kid, self.algorithm = kid, algorithm
        self.private: Any = (
            rsa.generate_private_key(65537, bits) if algorithm == "RS256" else ec.generate_private_key(ec.SECP256R1())
        )

    @property
    def public(self) -> dict[str, Any]:
        numbers = self.private.public_key().public_numbers()
        common = {"kid": self.kid, "use": "sig"}
        if self.algorithm == "RS256":
            return {**common, "kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
        return {**common, "kty": "EC", "crv": "P-256", "x": number(numbers.x, 32), "y": number(numbers.y, 32)}

    def sign(self, data: bytes) -> bytes:
        if self.algorithm == "RS256":
            return bytes(self.private.sign(data, padding.PKCS1v15(), hashes.SHA256()))
        r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


@cache
def first_key() -> Key:
    """To make one takes a moment."""
    return Key("one")


class Issuer:
    """`stall`: it takes questions, and says nothing."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.keys = [first_key()]
        self.url = ""
        self.stall = asyncio.Event()
        self.stall.set()
        self.asked: dict[str, int] = {}
        self.metadata: dict[str, Any] = {}
        self.jwks: Any = None
        self.introspected: Any = {}
        """What it says of each token; a text is sent as it is."""
        self.status = 200

    async def start(self) -> Issuer:
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._metadata)
        app.router.add_get("/keys", self._keys)
        app.router.add_post("/introspect", self._introspect)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def stop(self) -> None:
        self.stall.set()
        await self._runner.cleanup()

    async def _count(self, what: str) -> None:
        self.asked[what] = self.asked.get(what, 0) + 1
        await self.stall.wait()

    async def _metadata(self, request: web.Request) -> web.Response:
        await self._count("metadata")
        found = {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/keys",
            "introspection_endpoint": f"{self.url}/introspect",
            **self.metadata,
        }
        return web.json_response(found, status=self.status)

    async def _keys(self, request: web.Request) -> web.Response:
        await self._count("keys")
        found = self.jwks if self.jwks is not None else {"keys": [key.public for key in self.keys]}
        return web.json_response(found, status=self.status)

    async def _introspect(self, request: web.Request) -> web.Response:
        await self._count("introspect")
        scheme, _, pair = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Basic" or b64decode(pair) != b"xmppd:se%3Acret":
            return web.Response(status=401)
        token = str((await request.post()).get("token"))
        said = self.introspected.get(token, {"active": False})
        text = said if isinstance(said, str) else json.dumps(said)
        return web.Response(text=text, content_type="application/json", status=self.status)

    # ---- tokens

    def claims(self, **more: Any) -> dict[str, Any]:
        now = self.now()
        found = {
            "iss": self.url, "aud": "xmpp", "sub": "4711", "preferred_username": "romeo", "name": "Romeo Montague",
            "iat": now, "exp": now + 300, "scope": "openid xmpp", "groups": ["montagues"],
        }  # fmt: skip
        return {name: value for name, value in {**found, **more}.items() if value is not ...}

    def token(self, key: Key | None = None, header: dict[str, Any] | None = None, **claims: Any) -> str:
        key = key or self.keys[0]
        head = {"alg": key.algorithm, "kid": key.kid, "typ": "JWT", **(header or {})}
        head = {name: value for name, value in head.items() if value is not ...}
        data = ".".join(b64(json.dumps(each).encode()) for each in (head, self.claims(**claims)))
        return f"{data}.{b64(key.sign(data.encode()))}"
