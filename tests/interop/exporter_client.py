"""Signing in with tls-exporter (RFC 9266), which Python's `ssl` does not have: a blocking client on pyOpenSSL."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import socket
from secrets import token_hex
from typing import Any

from OpenSSL import SSL

SASL = b"xmlns='urn:ietf:params:xml:ns:xmpp-sasl'"
WITHIN = 10.0


class ExporterClient:
    """Call it in a thread. It knows just enough XML for a sign-in."""

    def __init__(self, port: int, version: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), WITHIN)
        self._socket.settimeout(WITHIN)
        self._wire: Any = self._socket
        self._version = version
        self.features = b""

    def connect(self, tls: str, domain: str) -> None:
        """Up to the mechanisms."""
        if tls == "starttls":
            self._open(domain)
            self._say(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", b"<proceed [^>]*/>")
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(self._version)
        self._socket.setblocking(True)
        self._wire = SSL.Connection(context, self._socket)
        self._wire.set_connect_state()
        self._wire.do_handshake()
        self._open(domain)

    def _open(self, domain: str) -> None:
        header = (
            "<?xml version='1.0'?><stream:stream xmlns='jabber:client' "
            f"xmlns:stream='http://etherx.jabber.org/streams' to='{domain}' version='1.0'>"
        )
        self.features = self._say(header.encode(), b"<stream:features>.*</stream:features>")

    def _say(self, data: bytes, answer: bytes) -> bytes:
        """Send it, and wait for what looks like the answer."""
        self._wire.sendall(data)
        heard = b""
        while True:
            found = re.search(answer, heard, re.DOTALL)
            if found:
                return found[0]
            piece = self._wire.recv(1 << 16)
            if not piece:
                raise EOFError(heard)
            heard += piece

    def exported(self) -> bytes:
        exported: bytes = self._wire.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
        return exported

    def first(self, user: str, mechanism: str, header: bytes) -> bytes:
        """The answer to a first message."""
        self._bare = f"n={user},r={token_hex(12)}".encode()
        text = base64.b64encode(header + self._bare)
        auth = b"<auth %b mechanism='%b'>%b</auth>" % (SASL, mechanism.encode(), text)
        return self._say(auth, b"<(challenge|failure) .*</(challenge|failure)>")

    def scram(self, user: str, mechanism: str, binding: bytes | None = None, password: str = "pencil") -> bytes:
        """The server's last word (RFC 5802 section 3)."""
        hash_name = mechanism.removeprefix("SCRAM-").removesuffix("-PLUS").replace("SHA-", "sha")
        header = b"p=tls-exporter,,"
        answer = self.first(user, mechanism, header)
        if answer.startswith(b"<failure"):
            return answer
        challenge = base64.b64decode(answer.partition(b">")[2].partition(b"<")[0])
        fields = dict(part.split("=", 1) for part in challenge.decode().split(","))
        salt, rounds = base64.b64decode(fields["s"]), int(fields["i"])
        salted = hashlib.pbkdf2_hmac(hash_name, password.encode(), salt, rounds)
        bound = base64.b64encode(header + (binding or self.exported())).decode()
        final = f"c={bound},r={fields['r']}".encode()
        client_key = hmac.digest(salted, b"Client Key", hash_name)
        message = b",".join((self._bare, challenge, final))
        signature = hmac.digest(hashlib.new(hash_name, client_key).digest(), message, hash_name)
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature, strict=True)))
        text = base64.b64encode(final + b",p=" + proof)
        return self._say(b"<response %b>%b</response>" % (SASL, text), b"<(success|failure) .*</(success|failure)>")

    def close(self) -> None:
        self._socket.close()
