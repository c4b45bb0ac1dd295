"""A stream between this server and another one, whoever has opened it (RFC 6120): what the other server proves on it,
the stanzas that it sends then, and the way for those that it is sent."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Final

from ..contracts.archive import STORED_TYPES
from ..errors import MalformedJid, StreamError
from ..jid import JID
from ..net.peer_certificate import Verified, verify
from ..protocol.framing import SERVER_STREAM
from ..stanza import Kind, Stanza
from .origin import OriginStream
from .server_acks import Acknowledgements
from .server_keys import KeyChecks
from .server_terms import PAIRS, SM_NS, Pair, Proof, Remotes

if TYPE_CHECKING:
    from ..memory.budget import Pool
    from ..protocol.items import Limits, Nonza
    from ..protocol.token_bucket import Rate
    from .runtime import StreamServer

log = logging.getLogger("xmppd.streams")

GOODBYE: Final = 5.0
"""Seconds for the other server to say goodbye, too."""


class ServerStream(OriginStream):
    """Implements `remote_carrier.Carrier`. `pairs`: what the other server has proved, and may send for. `bidi`: stanzas
    go both ways (XEP-0288)."""

    __slots__ = ("_repeated", "_said", "_seen", "acks", "bidi", "certified", "id", "keys", "leaving", "local",
                 "managed", "on_acknowledged", "on_end", "on_room", "pairs", "remotes", "said_goodbye", "slow", "used",
                 "why")  # fmt: skip

    outgoing: ClassVar[bool] = False
    takes_keys: ClassVar[bool] = True
    """A key that was made for this stream proves a domain on it, since the id of the stream is ours."""

    def __init__(self, server: StreamServer, remotes: Remotes, limits: Limits | None = None) -> None:
        super().__init__(server, SERVER_STREAM, limits)
        self.remotes = remotes
        self.id = ""
        """Given by who was called."""
        self.local = ""
        """The domain of ours that the header names."""
        self.bidi = False
        self.pairs: dict[Pair, Proof] = {}
        self.certified: dict[str, bool] = {}
        """Whether its certificate names a domain, as far as that was asked."""
        self.why = ""
        """What is wrong with its certificate."""
        self._said = False
        """The log has that."""
        self.acks = Acknowledgements(self)
        self.keys = KeyChecks(self)
        self._repeated: list[int] = []
        """Which of the stanzas that came were known, and are settled when those before them are."""
        self.said_goodbye = False
        """The other server has closed it in order."""
        self.leaving = False
        """This one has."""
        self.managed = self.slow = False
        self.used = self.born
        self._seen = 0
        self.on_acknowledged: Callable[[int], None] = lambda count: None
        self.on_room: Callable[[], None] = lambda: None
        self.on_end: Callable[[str], None] = lambda why: None

    @property
    def pool(self) -> Pool | None:
        return self._pool if self.pairs else None

    @property
    def rate(self) -> Rate | None:
        return self.remotes.rate if self.pairs else None

    @property
    def verifying(self) -> int:
        return self.keys.verifying

    # ---- the link's side

    def secured(self) -> None:
        super().secured()
        self.certified.clear()

    def pause_writing(self) -> None:
        self.slow = True
        if not (self.bidi or self.outgoing):  # who is sent stanzas is read on: two that wait for each other stand still
            super().pause_writing()

    def resume_writing(self) -> None:
        self.slow = False
        super().resume_writing()
        self.on_room()

    def note_use(self, now: float) -> None:
        """Called now and then: stanzas that have come count as use of the stream."""
        if self.received != self._seen:
            self._seen, self.used = self.received, now

    def answer(self, data: bytes) -> None:
        """Write what they have asked for: who asks and does not read is not read."""
        self.write(data)
        if self.slow:
            self.count_unread(max(200, len(data)))

    # ---- its end

    def leave(self) -> None:
        """RFC 6120 section 4.4: behind our goodbye nothing is sent, and what comes before theirs still counts."""
        if self.closed or self.leaving:
            return
        if not self.bidi or not self.opened:
            self.close()
            return
        self.acks.last_words()
        self.write(self.framing.closing)
        self.leaving = True
        self.write = _nothing
        self.server.clock.call_later(GOODBYE, self.close)

    def abort(self) -> None:
        self.link.abort()

    def fail(self, error: StreamError) -> None:
        self.acks.last_words()
        super().fail(error)

    def close(self) -> None:
        self.acks.last_words()
        super().close()

    def over(self, why: str) -> None:
        """The stream has ended; may be told twice."""
        if not self.said_goodbye:
            for remote, _ in self.pairs:
                self.remotes.resends.broke(remote)
        self.uncharge()
        self.remotes.gone(self)
        on_end, self.on_end = self.on_end, lambda why: None
        on_end(why)

    # ---- what it proves

    def is_certified(self, domain: str) -> bool:
        """Whether the certificate that it has shown is one of that domain."""
        if not self.secure or not domain:
            return False
        known = self.certified.get(domain)
        if known is None:
            found = verify(self.link.peer_certificates, domain, self.remotes.trust)
            known = isinstance(found, Verified)
            if not isinstance(found, Verified):
                self.why = found.reason
                self._tell(found.reason)
            if len(self.certified) < PAIRS:
                self.certified[domain] = known
        return known

    def _tell(self, reason: str) -> None:
        if not self._said and not self.outgoing:
            self._said = True
            self.remotes.say("%s does not sign in by its certificate: %s", self.peer_name, reason)

    def prove(self, remote: str, local: str, by: Proof) -> None:
        """It speaks for a domain from now on."""
        if not self.pairs:
            self.parser.limits = self.server.limits.after_sign_in
            self.link.take_first()
        if not any(known == remote for known, _ in self.pairs):
            self.remotes.resends.opened(remote)
        if (remote, local) not in self.pairs:
            log.info("%s speaks for %s to %s, by %s", self.peer_name, remote, local, by)
        self.pairs[remote, local] = by

    def carry(self, remote: str, local: str) -> None:
        """What goes the other way between two domains of which it has proved the one to the other may go over it, too
        (XEP-0288 section 2.2)."""
        if self.bidi and not self.outgoing and not self.leaving and not self.closed:
            self.remotes.carries(self, local, remote)

    def still_proves(self) -> bool:
        """Whether it could prove now, with the options and authorities of now, what it has proved."""
        self.certified.clear()
        for (remote, _), proof in self.pairs.items():
            if not self.remotes.reaches(remote) or (not self.secure and self.remotes.config.needs_tls(remote)):
                return False
            if proof is Proof.DIALBACK and self.remotes.config.takes_dialback(remote):
                continue
            if not self.is_certified(remote):
                return False
        return True

    def may_send_as(self, sender: JID) -> bool:
        """A stream that has proved a domain to one of ours may speak for it to all: they are one server, and dialback
        would only ask the same question again."""
        return any(remote == sender.domain for remote, _ in self.pairs)

    # ---- XEP-0198, both ways

    def manage(self, nonza: Nonza) -> None:
        """What is not about enabling it. Raises StreamError."""
        if nonza.name == "r" and self.acks.on:
            self.acks.asked()
        elif nonza.name == "a" and self.managed:
            count = nonza.attributes.get("h", "")
            if not (count.isascii() and count.isdigit() and len(count) < 11):
                raise StreamError("bad-format")
            self.on_acknowledged(int(count))
        elif nonza.name != "a" or self.outgoing:
            raise StreamError("unsupported-stanza-type")

    def request(self) -> None:
        self.write(f"<r xmlns='{SM_NS}'/>".encode())

    def too_high(self, count: int, sent: int) -> None:
        """Section 4."""
        extra = (SM_NS, "handled-count-too-high", {"h": str(count), "send-count": str(sent)})
        self.fail(StreamError("undefined-condition", "more is acknowledged than was sent", extra))

    # ---- stanzas that it sends

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
        if self.bidi and self.server.stopping and (self.acks.on or stanza.kind is not Kind.IQ or not stanza.answers):
            return  # it is read for what it says of our stanzas only: acknowledgements, or else answers to pings
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

    def settled(self) -> None:
        super().settled()
        self._settle_repeated()

    def _settle_repeated(self) -> None:
        """In its place: what came before it must not count as stored because of it."""
        while self._repeated and self._repeated[0] == self.handled + 1:
            self._repeated.pop(0)
            super().settled()
        self.acks.settled()


def _nothing(data: bytes) -> None:
    """Behind a goodbye."""
