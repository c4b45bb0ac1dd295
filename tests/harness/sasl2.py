"""Signing in by XEP-0388, as a client does it: SCRAM, PLAIN and tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
from uuid import uuid4

from lxml import etree

from . import Harness
from .client import Client, Element

NS = "urn:xmpp:sasl:2"
BIND = "urn:xmpp:bind:0"
SM = "urn:xmpp:sm:3"
CARBONS = "urn:xmpp:carbons:2"
FAST = "urn:xmpp:fast:0"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
AGENT = "d4565fa7-4d72-4749-b3d3-740edbf87770"


def b64(data: str | bytes) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def name(element: Element) -> str:
    return str(etree.QName(element).localname)


def bind(inside: str = "", tag: str = "Phone") -> str:
    return f"<bind xmlns='{BIND}'><tag>{tag}</tag>{inside}</bind>"


def agent(id: str | None = AGENT, device: str = "Romeo's phone") -> str:
    with_id = f" id='{id}'" if id else ""
    return f"<user-agent{with_id}><software>Balcony</software><device>{device}</device></user-agent>"


def authenticate(mechanism: str, initial: str | bytes | None, more: str = "") -> str:
    inside = f"<initial-response>{b64(initial)}</initial-response>" if initial is not None else ""
    return f"<authenticate xmlns='{NS}' mechanism='{mechanism}'>{inside}{more}</authenticate>"


def plain(user: str = "romeo", password: str = "pencil", more: str = "", authzid: str = "") -> str:
    return authenticate("PLAIN", f"{authzid}\0{user}\0{password}", more)


async def opened(server: Harness, user: str = "romeo", sender: str = "", **tls: bytes | str) -> Client:
    """A stream whose features have come. `sender`: of its header. `tls`: what the link says of TLS."""
    await server.register(user)
    client = server.connect()
    for what, value in tls.items():
        setattr(client.link, what, value)
    client.open(sender=sender)
    client.features = await client.receive()
    return client


def mechanisms(client: Client) -> list[str]:
    return [str(each.text) for each in client.features.findall(f"{{{NS}}}authentication/{{{NS}}}mechanism")]


async def answered(client: Client, text: str) -> Element:
    client.send(text)
    return await client.receive()


async def signed_in(
    server: Harness, more: str = "", user: str = "romeo", text: str = "", **tls: bytes | str
) -> tuple[Client, Element]:
    """A client that signs in by PLAIN, or by `text`, and its <success/>."""
    client = await opened(server, user, **tls)
    success = await answered(client, text or plain(user, more=more))
    assert success.tag == f"{{{NS}}}success", etree.tostring(success)
    client.jid = str(success.findtext(f"{{{NS}}}authorization-identifier"))
    client.bare = client.jid.partition("/")[0]
    return client, success


class Scram:
    """The client's side of SCRAM."""

    def __init__(self, hash: str = "SHA-256", gs2: str = "n,,", data: bytes = b"", user: str = "romeo") -> None:
        self.hash = hash.replace("-", "").lower()
        self.header = b64(gs2.encode() + data)
        self.bare = f"n={user},r={uuid4().hex}"
        self.initial = gs2 + self.bare
        self.first = ""
        self.salted = self.auth = b""

    def final(self, challenge: Element, password: str = "pencil") -> str:
        self.first = base64.b64decode(challenge.text or "").decode()
        given = self.attributes()
        salt, rounds = base64.b64decode(given["s"]), int(given["i"])
        self.salted = hashlib.pbkdf2_hmac(self.hash, password.encode(), salt, rounds)
        key = hmac.digest(self.salted, b"Client Key", self.hash)
        without_proof = f"c={self.header},r={given['r']}"
        self.auth = f"{self.bare},{self.first},{without_proof}".encode()
        signature = hmac.digest(hashlib.new(self.hash, key).digest(), self.auth, self.hash)
        proof = b64(bytes(a ^ b for a, b in zip(key, signature, strict=True)))
        return f"<response xmlns='{NS}'>{b64(f'{without_proof},p={proof}')}</response>"

    def attributes(self) -> dict[str, str]:
        """Of the server's first message."""
        return {each[0]: each[2:] for each in self.first.split(",")}

    def proven(self, success: Element) -> bool:
        """Whether the server knows the password, too."""
        data = base64.b64decode(success.findtext(f"{{{NS}}}additional-data") or "")
        key = hmac.digest(self.salted, b"Server Key", self.hash)
        return data == b"v=" + b64(hmac.digest(key, self.auth, self.hash)).encode()


def failure(element: Element) -> str:
    """The condition of a <failure/>."""
    assert element.tag == f"{{{NS}}}failure", etree.tostring(element)
    return next(name(each) for each in element if each.tag.startswith(f"{{{SASL}}}"))


def ht(user: str, token: str, data: bytes = b"") -> bytes:
    """The initial response of HT-SHA-256-*."""
    return user.encode() + b"\0" + hmac.digest(token.encode(), b"Initiator" + data, "sha256")
