"""The stream that another server has opened to this one (RFC 6120): it proves which domains it speaks for, by its
certificate (XEP-0178) or by dialback (XEP-0220), and gives stanzas of them. What it is told goes by a stream of ours,
unless it has asked for both ways (XEP-0288).
"""

from __future__ import annotations

import logging
from base64 import b64decode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ..errors import STANZAS_NS, MalformedJid, StreamError
from ..jid import prepare_domain
from ..protocol import dialback
from ..protocol.dialback import Dialback
from ..protocol.header import LANG
from .negotiation import SASL_NS, TLS_NS
from .server_stream import ServerStream
from .server_terms import BIDI, BIDI_FEATURE_NS, ERROR, SM_NS, Proof, Remotes, condition_of

if TYPE_CHECKING:
    from ..contracts.link import Link
    from ..protocol.items import Nonza
    from .runtime import StreamServer

log = logging.getLogger("xmppd.streams")

SM_FEATURE: Final = f"<sm xmlns='{SM_NS}'/>".encode()
BIDI_FEATURE: Final = f"<bidi xmlns='{BIDI_FEATURE_NS}'/>".encode()
STARTTLS: Final = f"<starttls xmlns='{TLS_NS}'><required/></starttls>".encode()
STARTTLS_OPTIONAL: Final = f"<starttls xmlns='{TLS_NS}'/>".encode()
EXTERNAL: Final = f"<mechanisms xmlns='{SASL_NS}'><mechanism>EXTERNAL</mechanism></mechanisms>".encode()
ATTEMPTS: Final = 3
"""Failed sign-ins before the stream ends (RFC 6120 section 6.4.5)."""


class IncomingServerStream(ServerStream):
    """From another server."""

    __slots__ = ("_failed", "peer_domain", "signed_in")

    def __init__(self, server: StreamServer, remotes: Remotes) -> None:
        super().__init__(server, remotes)
        self.peer_domain = ""
        """The domain that the header says it is, "" for none."""
        self.signed_in = ""
        """The domain of SASL EXTERNAL, "" before."""
        self._failed = 0

    # ---- the link's side

    def connected(self, link: Link) -> None:
        super().connected(link)
        self.remotes.opened(self)

    def peer_closes(self) -> None:
        """What it has not heard to be acknowledged it may send again all the same, but it had the time to wait."""
        self.said_goodbye = True
        for remote, _ in self.pairs:
            self.remotes.resends.closed(remote)

    def ended(self, error: StreamError | None) -> None:
        self.over(str(error) if error is not None else "closed")

    def lost(self) -> None:
        self.over("the connection was lost")

    @property
    def peer_name(self) -> str:
        return f"the server of {self.peer_domain or 'somebody'} at {self.link.peer}"

    @property
    def domain(self) -> str:
        return self.local or str(self.server.default_host.domain)

    @property
    def proved(self) -> bool:
        """It speaks for somebody."""
        return bool(self.pairs)

    # ---- header and features

    def make_id(self) -> str:
        self.id = super().make_id()
        return self.id

    def _write_header(self, attributes: Mapping[str, str]) -> None:
        answer = {"from": self.domain, "id": self.make_id(), LANG: "en", "version": "1.0"}
        if self.peer_domain:
            answer["to"] = self.peer_domain
        self.opened = True
        self.write(self.framing.header(answer))

    def header_received(self, attributes: Mapping[str, str]) -> None:
        try:
            local = prepare_domain(attributes.get("to", ""))
            peer = prepare_domain(attributes["from"]) if attributes.get("from") else ""
        except MalformedJid:
            raise StreamError("improper-addressing") from None
        if not self.remotes.serves(local):
            raise StreamError("host-unknown")
        self.local = local
        if self.signed_in and peer not in ("", self.signed_in):
            raise StreamError("invalid-from")
        if peer and (self.remotes.serves(peer) or not self.remotes.reaches(peer)):
            self.peer_domain = peer
            self.remotes.refused(local, peer, "policy", "it is blocked, or not allowed")
            raise StreamError("policy-violation", f"this server does not talk to {peer}")
        self.peer_domain = self.signed_in or peer

    def features(self) -> bytes:
        if not self.secure:
            required = not self.peer_domain or self.remotes.config.needs_tls(self.peer_domain)
            return STARTTLS if required else STARTTLS_OPTIONAL + self._dialback_feature()
        if self.signed_in:
            return SM_FEATURE + dialback.FEATURE  # for further domains, by the same certificate at least
        external = EXTERNAL if self.is_certified(self.peer_domain) else b""  # XEP-0178 section 3: who tries it and
        return external + self._bidi_feature() + self._dialback_feature()  # fails does not always try dialback

    def send_features(self) -> None:
        super().send_features()
        for remote, local in self.pairs:
            self.carry(remote, local)

    def _dialback_feature(self) -> bytes:
        peer = self.peer_domain
        return dialback.FEATURE if not peer or self.remotes.config.takes_dialback(peer) else b""

    def _bidi_feature(self) -> bytes:
        return BIDI_FEATURE if self.remotes.config.goes_both_ways(self.peer_domain) else b""

    # ---- elements that are no stanzas

    def element_received(self, nonza: Nonza) -> bool:
        tag = nonza.tag
        if tag == f"{TLS_NS}|starttls":
            return self._start_tls()
        if tag == ERROR:
            log.info("%s ends its stream: it says %s", self.peer_name, condition_of(nonza))
            self.close()
            return False
        if not self.secure and self.remotes.config.needs_tls(self.peer_domain) and tag != dialback.VERIFY:
            raise StreamError("policy-violation", "use STARTTLS first")
        if tag == f"{SASL_NS}|auth":
            return self._authenticate(nonza)
        if tag in (dialback.RESULT, dialback.VERIFY):
            self.keys.requested(Dialback.read(nonza))
        elif nonza.ns == SM_NS:
            self._stream_management(nonza)
        elif tag in BIDI and self._may_enable_bidi():
            self.bidi = True
        else:
            raise StreamError("unsupported-stanza-type" if self.proved else "not-authorized")
        return True

    def _may_enable_bidi(self) -> bool:
        """Behind TLS, before it has proved anything (XEP-0288 section 2.2), once."""
        return self.secure and not self.proved and not self.bidi and self._bidi_feature() != b""

    def _start_tls(self) -> bool:
        if self.secure or self.proved:  # it comes first: what was said in clear must not count behind it
            raise StreamError("unsupported-stanza-type")
        self.id = ""
        context = self.remotes.certificates.peer_context(self.local)
        self.write(f"<proceed xmlns='{TLS_NS}'/>".encode())
        self.link.start_tls(context)
        return False

    def _authenticate(self, nonza: Nonza) -> bool:
        """SASL EXTERNAL (RFC 6120 section 6, XEP-0178). The identity is that of the header; an authorisation identity
        may say it again."""
        if self.signed_in:
            raise StreamError("unsupported-stanza-type")
        problem = ""
        if nonza.attributes.get("mechanism") != "EXTERNAL":
            problem = "invalid-mechanism"
        elif not self.secure:
            problem = "encryption-required"
        elif not self._is_named(nonza.text):
            problem = "invalid-authzid"
        elif not self.is_certified(self.peer_domain):
            problem = "not-authorized"
        if problem:
            self._failed += 1
            why = f"it tried to sign in by a certificate that proves nothing: {self.why or problem}"
            self.remotes.refused(self.local, self.peer_domain, "certificate", why)
            self.write(f"<failure xmlns='{SASL_NS}'><{problem}/></failure>".encode())
            if self._failed >= ATTEMPTS:
                raise StreamError("policy-violation", "too many failed sign-ins")
            return True
        self.write(f"<success xmlns='{SASL_NS}'/>".encode())
        self.signed_in = self.peer_domain
        self.prove(self.peer_domain, self.local, Proof.CERTIFICATE)
        self.id = ""
        self.restart()
        return False

    def _is_named(self, response: str) -> bool:
        """Whether the authorisation identity is the domain of the header, or none."""
        text = response.strip()
        if text in ("", "="):
            return True
        try:
            return prepare_domain(b64decode(text, validate=True).decode()) == self.peer_domain
        except ValueError:
            return False

    def is_allowed(self) -> bool:
        """Whether it could prove now, with the options and authorities of now, what it has proved."""
        reached = not self.peer_domain or self.remotes.reaches(self.peer_domain)
        return self.still_proves() and reached

    # ---- XEP-0198

    def _stream_management(self, nonza: Nonza) -> None:
        if not self.signed_in:
            raise StreamError("not-authorized")
        if nonza.name == "enable" and not self.acks.on:
            self.acks.begin()
            self.write(f"<enabled xmlns='{SM_NS}'/>".encode())
            self.managed = self.bidi
        elif nonza.name == "enable":
            self.write(f"<failed xmlns='{SM_NS}'><unexpected-request xmlns='{STANZAS_NS}'/></failed>".encode())
        elif nonza.name == "resume":
            self.write(f"<failed xmlns='{SM_NS}'><item-not-found xmlns='{STANZAS_NS}'/></failed>".encode())
        else:
            self.manage(nonza)
