"""What can go wrong in TLS."""

from __future__ import annotations


class TlsError(OSError):
    """TLS has failed, in the handshake or later; the text is OpenSSL's."""


class NoCommonProtocol(TlsError):
    """The client wants another protocol than ours (ALPN)."""


class CertificateError(Exception):
    """A certificate or key that cannot be used; the text is for the administrator. `option`: which of the two."""

    def __init__(self, text: str, option: str = "certificate") -> None:
        super().__init__(text)
        self.option = option
