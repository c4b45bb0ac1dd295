"""Web push: encryption of the message (RFC 8291 over RFC 8188) and who sends it (RFC 8292). Pure functions."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Malformed
from os import urandom
from typing import Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

CURVE: Final = ec.SECP256R1()
RECORD: Final = 4096
LARGEST: Final = RECORD - 17 - 86
"""Bytes of a message: one record, with its mark, tag and header (RFC 8291 section 4)."""
HALF_A_DAY: Final = 43_200


def decode(text: str) -> bytes:
    """base64url with or without padding. Raises ValueError."""
    try:
        return urlsafe_b64decode(text.strip().rstrip("=") + "=" * (-len(text.strip().rstrip("=")) % 4))
    except (Malformed, ValueError):
        raise ValueError("not base64url") from None


def encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def read_keys(p256dh: str, auth: str) -> tuple[bytes, bytes]:
    """The receiver's public key and secret. Raises ValueError for what is none."""
    public, secret = decode(p256dh), decode(auth)
    ec.EllipticCurvePublicKey.from_encoded_point(CURVE, public)
    if len(secret) != 16:
        raise ValueError("the secret has 16 bytes")
    return public, secret


def _hkdf(salt: bytes, key: bytes, info: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt, info).derive(key)


def encrypt(
    message: bytes, public: bytes, secret: bytes,
    key: ec.EllipticCurvePrivateKey | None = None, salt: bytes | None = None,
) -> bytes:  # fmt: skip
    """The body of the request, content coding aes128gcm. `key` and `salt` are new for each message."""
    if len(message) > LARGEST:
        raise ValueError("too long")
    key = key or ec.generate_private_key(CURVE)
    salt = salt or urandom(16)
    own = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    shared = key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(CURVE, public))
    ikm = _hkdf(secret, shared, b"WebPush: info\0" + public + own, 32)
    content_key = _hkdf(salt, ikm, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _hkdf(salt, ikm, b"Content-Encoding: nonce\0", 12)
    sealed = AESGCM(content_key).encrypt(nonce, message + b"\x02", None)
    return salt + RECORD.to_bytes(4, "big") + bytes([len(own)]) + own + sealed


# ---- who sends it


def new_key() -> str:
    """PEM."""
    key = ec.generate_private_key(CURVE)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_of(pem: str) -> str:
    """What devices name when they subscribe: `applicationServerKey` of the browser's interface."""
    return encode(_private(pem).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


def _private(pem: str) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(pem.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def authorization(pem: str, endpoint: str, contact: str, now: float) -> str:
    """The header of that name (RFC 8292 sections 2 and 3)."""
    parts = urlsplit(endpoint)
    claims = {"aud": f"{parts.scheme}://{parts.netloc}", "exp": int(now) + HALF_A_DAY, "sub": contact}
    head = {"typ": "JWT", "alg": "ES256"}
    signed = ".".join(encode(json.dumps(part, separators=(",", ":")).encode()) for part in (head, claims))
    r, s = decode_dss_signature(_private(pem).sign(signed.encode(), ec.ECDSA(SHA256())))
    signature = encode(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    return f"vapid t={signed}.{signature}, k={public_of(pem)}"
