"""Base64 as SASL in XMPP wants it: strict (RFC 6120 sections 6.5.5 and 13.9.1)."""

from __future__ import annotations

from base64 import b64decode, b64encode

from xmppd.protocol.sasl.steps import SaslFailure


def decode_strict(text: str) -> bytes:
    """Bytes of canonical base64 (RFC 4648 section 4). Raises ValueError: foreign characters, whitespace, missing
    or inner padding, and bits set behind the last byte, so that no two texts spell the same bytes."""
    data = b64decode(text.encode("ascii"), validate=True)
    if b64encode(data).decode() != text:
        raise ValueError("not canonical base64")
    return data


def decode(text: str) -> bytes:
    """What an element of the client carries. "=" is present but empty (RFC 6120 section 6.4.2), as is "".

    Raises SaslFailure("incorrect-encoding").
    """
    if text in ("", "="):
        return b""
    try:
        return decode_strict(text)
    except ValueError:
        raise SaslFailure("incorrect-encoding", "not base64") from None


def encode(data: bytes) -> str:
    """Base64 for <challenge/> and <success/>; "" for nothing."""
    return b64encode(data).decode()
