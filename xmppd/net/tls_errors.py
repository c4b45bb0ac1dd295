"""What can go wrong in TLS."""

from __future__ import annotations


class TlsError(OSError):
    """TLS has failed, in the handshake or later; the text is OpenSSL's."""


class NoCommonProtocol(TlsError):
    """The client wants another protocol than ours (ALPN)."""
