"""The stream that another server has opened to this one (RFC 6120): it proves which domains it speaks for, by its
certificate (XEP-0178) or by dialback (XEP-0220), and gives stanzas of them. What it is told goes by a stream of ours.
"""

from __future__ import annotations

import logging
from base64 import b64decode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ..contracts.archive import STORED_TYPES
from ..errors import STANZAS_NS, MalformedJid, StanzaError, StreamError
from ..jid import JID, prepare_domain
from ..net.peer_certificate import Verified, verify
from ..protocol import dialback
from ..protocol.dialback import Dialback
from ..protocol.framing import SERVER_STREAM
from ..protocol.header import LANG
from ..stanza import Kind, Stanza
from .negotiation import SASL_NS, TLS_NS
from .origin import OriginStream
from .server_terms import ERROR, SM_NS, Proof, Remotes, condition_of

if TYPE_CHECKING:
    from ..contracts.link import Link
    from ..memory.budget import Pool
    from ..protocol.items import Nonza
    from ..protocol.token_bucket import Rate
    from .runtime import StreamServer

log = logging.getLogger("xmppd.streams")

SM_FEATURE: Final = f"<sm xmlns='{SM_NS}'/>".encode()
STARTTLS: Final = f"<starttls xmlns='{TLS_NS}'><required/></starttls>".encode()
STARTTLS_OPTIONAL: Final = f"<starttls xmlns='{TLS_NS}'/>".encode()
EXTERNAL: Final = f"<mechanisms xmlns='{SASL_NS}'><mechanism>EXTERNAL</mechanism></mechanisms>".encode()
PAIRS: Final = 100
"""So many pairs of domains one stream may speak for."""
VERIFYING: Final = 10
"""So many keys of one stream are asked about at once."""
ATTEMPTS: Final = 3
"""Failed sign-ins before the stream ends (RFC 6120 section 6.4.5)."""

Pair = tuple[str, str]
"""Their domain and ours."""


class IncomingServerStream(OriginStream):
    """`pairs`: what it has proved."""

    __slots__ = ("_acknowledge", "_counted", "_failed", "_later", "_reason", "_repeated", "_said", "_said_goodbye",
                 "certified", "id", "local", "pairs", "peer_domain", "remotes", "signed_in", "verifying")  # fmt: skip

    def __init__(self, server: StreamServer, remotes: Remotes) -> None:
        super().__init__(server, SERVER_STREAM)
        self.remotes = remotes
        self.id = ""
        self.local = ""
        """The domain of ours that the header names."""
        self.peer_domain = ""
        """The domain that the header says it is, "" for none."""
        self.certified: dict[str, bool] = {}
        """Whether its certificate names a domain, as far as that was asked."""
        self.signed_in = ""
        """The domain of SASL EXTERNAL, "" before."""
        self.pairs: dict[Pair, Proof] = {}
        self.verifying = 0
        self._failed = 0
        self._said_goodbye = False
        self._reason = ""
        """What is wrong with its certificate."""
        self._said = False
        """The log has that."""
        self._counted = -1
        """Stanzas that had come when XEP-0198 was enabled; -1 before."""
        self._acknowledge = -1
        """An acknowledgement is owed when so many stanzas are settled; -1: none."""
        self._later = -1
        """The same for the last one that was asked for meanwhile."""
        self._repeated: list[int] = []
        """Which of the stanzas that came were known, and are settled when those before them are."""

    # ---- the link's side

    def connected(self, link: Link) -> None:
        super().connected(link)
        self.remotes.opened(self)

    def secured(self) -> None:
        super().secured()
        self.certified.clear()

    def peer_closes(self) -> None:
        """What it has not heard to be acknowledged it may send again all the same, but it had the time to wait."""
        self._said_goodbye = True
        for remote, _ in self.pairs:
            self.remotes.resends.closed(remote)

    def ended(self, error: StreamError | None) -> None:
        self._leave()

    def lost(self) -> None:
        self._leave()

    def _leave(self) -> None:
        if not self._said_goodbye:
            for remote, _ in self.pairs:
                self.remotes.resends.broke(remote)
        self.uncharge()
        self.remotes.gone(self)

    @property
    def peer_name(self) -> str:
        return f"the server of {self.peer_domain or 'somebody'} at {self.link.peer}"

    @property
    def domain(self) -> str:
        return self.local or str(self.server.default_host.domain)

    @property
    def pool(self) -> Pool | None:
        return self._pool if self.pairs else None

    @property
    def rate(self) -> Rate | None:
        return self.remotes.rate if self.pairs else None

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
            return SM_FEATURE + self._dialback_feature()
        return (EXTERNAL if self._is_certified(self.peer_domain) else b"") + self._dialback_feature()

    def _dialback_feature(self) -> bytes:
        peer = self.peer_domain
        return dialback.FEATURE if not peer or self.remotes.config.takes_dialback(peer) else b""

    def _is_certified(self, domain: str) -> bool:
        """Whether the certificate that it has shown is one of that domain. EXTERNAL is offered only then: who tries it
        and fails does not always try dialback (XEP-0178 section 3)."""
        if not self.secure or not domain:
            return False
        known = self.certified.get(domain)
        if known is None:
            found = verify(self.link.peer_certificates, domain, self.remotes.trust)
            known = isinstance(found, Verified)
            if not isinstance(found, Verified):
                self._reason = found.reason
            if not isinstance(found, Verified) and not self._said:
                self._said = True
                self.remotes.say("%s does not sign in by its certificate: %s", self.peer_name, found.reason)
            if len(self.certified) < PAIRS:
                self.certified[domain] = known
        return known

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
        if tag == dialback.RESULT:
            self._result_received(Dialback.read(nonza))
        elif tag == dialback.VERIFY:
            self._verify_received(Dialback.read(nonza))
        elif nonza.ns == SM_NS:
            self._stream_management(nonza)
        else:
            raise StreamError("unsupported-stanza-type" if self.proved else "not-authorized")
        return True

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
        elif not self._is_certified(self.peer_domain):
            problem = "not-authorized"
        if problem:
            self._failed += 1
            why = f"it tried to sign in by a certificate that proves nothing: {self._reason or problem}"
            self.remotes.refused(self.local, self.peer_domain, "certificate", why)
            self.write(f"<failure xmlns='{SASL_NS}'><{problem}/></failure>".encode())
            if self._failed >= ATTEMPTS:
                raise StreamError("policy-violation", "too many failed sign-ins")
            return True
        self.write(f"<success xmlns='{SASL_NS}'/>".encode())
        self.signed_in = self.peer_domain
        self._prove(self.peer_domain, self.local, Proof.CERTIFICATE)
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

    def _prove(self, remote: str, local: str, by: Proof) -> None:
        if not self.pairs:
            self.parser.limits = self.server.limits.after_sign_in
            self.link.take_first()
        if not any(known == remote for known, _ in self.pairs):
            self.remotes.resends.opened(remote)
        if (remote, local) not in self.pairs:
            log.info("%s speaks for %s to %s, by %s", self.peer_name, remote, local, by)
        self.pairs[remote, local] = by

    def is_allowed(self) -> bool:
        """Whether it could prove now, with the options and authorities of now, what it has proved."""
        self.certified.clear()
        if self.peer_domain and not self.remotes.reaches(self.peer_domain):
            return False
        for (remote, _), proof in self.pairs.items():
            if not self.remotes.reaches(remote) or (not self.secure and self.remotes.config.needs_tls(remote)):
                return False
            if proof is Proof.DIALBACK and self.remotes.config.takes_dialback(remote):
                continue
            if not self._is_certified(remote):
                return False
        return True

    # ---- dialback (XEP-0220)

    def _result_received(self, request: Dialback) -> None:
        """Section 2.1.1: it wants to speak for a domain, and gives its key."""
        if request.type:
            raise StreamError("unsupported-stanza-type", "nothing was asked on this stream")
        remote, local = request.sender, request.to
        condition = self._refusal(remote, local)
        if condition:
            reason = "certificate" if condition == "not-authorized" else "policy"
            self.remotes.refused(local, remote, reason, self._told(condition, remote))
            self._answer(request.answer("error", condition))
        elif self._is_certified(remote):
            self._prove(remote, local, Proof.CERTIFICATE)  # the same as its domain's word (XEP-0344 section 2)
            self._answer(request.answer("valid"))
        else:
            self.verifying += 1
            self.remotes.background.spawn(self._ask_back(request, self.id), f"dialback of {remote}")

    def _told(self, condition: str, remote: str) -> str:
        """For the administrator."""
        if condition == "not-authorized":
            return f"its certificate proves nothing, and dialback is not taken: {self._reason or 'none was shown'}"
        if condition == "policy-violation" and self.remotes.reaches(remote):
            return "it does not encrypt"
        return f"it was refused: {condition}"

    def _refusal(self, remote: str, local: str) -> str:
        """Why it cannot speak for that domain (section 2.4), "" if it may try."""
        remotes = self.remotes
        if not remotes.serves(local):
            return "item-not-found"
        if remotes.serves(remote) or not remotes.reaches(remote):
            return "policy-violation"
        if not self.secure and remotes.config.needs_tls(remote):
            return "policy-violation"
        if not remotes.config.takes_dialback(remote) and not self._is_certified(remote):
            return "not-authorized"
        if self.verifying >= VERIFYING or (len(self.pairs) >= PAIRS and (remote, local) not in self.pairs):
            return "resource-constraint"
        return ""

    async def _ask_back(self, request: Dialback, id: str) -> None:
        """Ask the domain itself, on a connection of ours to where DNS says that it is. `id`: of this stream."""
        remote, local = request.sender, request.to
        try:
            valid = await self.remotes.verify(local, remote, id, request.key, self.peer)
        except StanzaError as error:
            self.remotes.say("%s cannot prove that it is %s: %s", self.peer_name, remote, error.text or error.condition)
            why = f"dialback: it cannot be asked whether the key is its own: {error.text or error.condition}"
            self.remotes.refused(local, remote, "not_reached", why)
            answer = request.answer("error", error.condition)
        except Exception:
            log.exception("to ask %s about a key failed", remote)
            answer = request.answer("error", "remote-server-timeout")
        else:
            answer = request.answer("valid") if valid else self._invalid(request)
        finally:
            self.verifying -= 1
        if self.closed or self.id != id:  # what was asked before TLS or a sign-in counts no more
            return
        if answer.type == "valid" and self._refusal(remote, local):  # the configuration is another one now
            answer = request.answer("error", "policy-violation")
        self._answer(answer)
        if answer.type == "valid":
            self._prove(remote, local, Proof.DIALBACK)
        elif answer.type == "invalid":
            self.fail(StreamError("not-authorized", "the dialback key is not valid"))

    def _invalid(self, request: Dialback) -> Dialback:
        """The domain does not know the key (section 2.2.1): that ends the stream, unless it speaks for others."""
        self.remotes.say("%s has shown a key that %s does not know", self.peer_name, request.sender)
        text = "dialback: somebody has shown a key that it does not know"
        self.remotes.refused(request.to, request.sender, "key", text)
        return request.answer("error", "forbidden") if self.pairs else request.answer("invalid")

    def _verify_received(self, request: Dialback) -> None:
        """Section 2.1.2: somebody asks whether a key is ours. No state is needed for that."""
        if request.type:
            raise StreamError("unsupported-stanza-type", "nothing was asked on this stream")
        if not self.remotes.serves(request.to):
            self._answer(request.answer("error", "item-not-found"))
            return
        valid = self.remotes.keys.is_valid(request.key, request.sender, request.to, request.id)
        self._answer(request.answer("valid" if valid else "invalid"))

    def _answer(self, answer: Dialback) -> None:
        self.write(answer.written())
        if self.reads_too_slowly:
            self.count_unread(200)

    # ---- XEP-0198

    def _stream_management(self, nonza: Nonza) -> None:
        """What is acknowledged is settled, so it is on the disk. A stream is not resumed: the sender has what was not
        acknowledged, and sends it again."""
        if not self.signed_in:
            raise StreamError("not-authorized")
        if nonza.name == "enable" and self._counted < 0:
            self._counted = self.received
            self.write(f"<enabled xmlns='{SM_NS}'/>".encode())
        elif nonza.name == "enable":
            self.write(f"<failed xmlns='{SM_NS}'><unexpected-request xmlns='{STANZAS_NS}'/></failed>".encode())
        elif nonza.name == "resume":
            self.write(f"<failed xmlns='{SM_NS}'><item-not-found xmlns='{STANZAS_NS}'/></failed>".encode())
        elif nonza.name == "r" and self._counted >= 0:
            if self._acknowledge < 0:
                self._acknowledge = self.received
                self._acknowledge_settled()
            else:  # the answer must not wait for what comes behind the question
                self._later = self.received
        elif nonza.name != "a":
            raise StreamError("unsupported-stanza-type")

    def _acknowledge_settled(self) -> None:
        """Who has asked is answered when all that came before is settled: an answer that is too low would make most
        servers ask no sooner than with their next stanza."""
        if 0 <= self._acknowledge <= self.handled and not self.closed:
            self._acknowledge, self._later = self._later if self._later > self.handled else -1, -1
            self._say_handled()

    def _say_handled(self) -> None:
        self.write(f"<a xmlns='{SM_NS}' h='{(self.handled - self._counted) & 0xFFFFFFFF}'/>".encode())

    def _last_words(self) -> None:
        """What needs not be sent again."""
        if self.opened and not self.closed and 0 <= self._counted <= self.handled:
            self._say_handled()

    def fail(self, error: StreamError) -> None:
        self._last_words()
        super().fail(error)

    def close(self) -> None:
        self._last_words()
        super().close()

    def settled(self) -> None:
        super().settled()
        self._settle_repeated()

    def _settle_repeated(self) -> None:
        """In its place: what came before it must not count as stored because of it."""
        while self._repeated and self._repeated[0] == self.handled + 1:
            self._repeated.pop(0)
            super().settled()
        if self._acknowledge >= 0:
            self._acknowledge_settled()

    # ---- stanzas

    def stanza_received(self, stanza: Stanza) -> None:
        """Sections 8.1.1.2 and 8.1.2.2 of RFC 6120. Raises StreamError."""
        if not self.pairs:
            raise StreamError("not-authorized")
        try:
            sender = JID.parse(stanza.claimed)
        except MalformedJid:
            raise StreamError("improper-addressing", "each stanza needs a from") from None
        to = stanza.to
        if to is None and not stanza.fault:
            raise StreamError("improper-addressing", "each stanza needs a to")
        if not self.may_send_as(sender):
            raise StreamError("invalid-from", f"this stream does not speak for {sender.domain}")
        if to is not None and not self.remotes.serves(to.domain):
            raise StreamError("host-unknown")
        stanza.sender = sender
        if stanza.kind is Kind.PRESENCE and len(stanza.inside) > self.server.limits.presence_size:
            stanza.fault = "too-big"
        kept, resends = stanza.kind is Kind.MESSAGE and stanza.type in STORED_TYPES, self.remotes.resends
        if kept and resends.expects(sender.domain) and not resends.is_new(stanza):
            self.wait(self._route_if_new(stanza))
        else:
            self.route(stanza)

    async def _route_if_new(self, stanza: Stanza) -> None:
        """The other server may not know that we have it, and send it again."""
        if await self.remotes.resends.is_known(stanza):
            self.received += 1
            self._repeated.append(self.received)
            self._settle_repeated()
            return
        wait = self.receive(stanza)
        if wait is not None:
            await wait

    def may_send_as(self, sender: JID) -> bool:
        """A stream that has proved a domain to one of ours may speak for it to all: they are one server, and dialback
        would only ask the same question again."""
        return any(remote == sender.domain for remote, _ in self.pairs)
