"""The stream that this server opens to another one (RFC 6120): encrypted, then authenticated by our certificate
(XEP-0178) or by dialback (XEP-0220). Other domains of ours may use it, too, and so may the other server, if it offers
both ways (XEP-0288)."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Final

from ..errors import StreamError
from ..protocol import dialback
from ..protocol.dialback import Dialback, Exchange
from ..protocol.header import LANG, STREAM_NS
from ..protocol.items import StreamOpen
from .negotiation import SASL_NS, TLS_NS
from .server_stream import ServerStream
from .server_terms import BIDI, BIDI_NS, ERROR, PAIRS, SM_NS, Proof, Remotes, condition_of

if TYPE_CHECKING:
    from ..contracts.link import Link
    from ..protocol.items import Nonza
    from .runtime import StreamServer

FEATURES: Final = f"{STREAM_NS}|features"
ASKED: Final = 20
"""Keys that are asked about at once on one stream."""


class Refused(Exception):
    """The other server is there and does not take the stream; the text is for the log."""


class OutgoingServerStream(ServerStream):
    """From a domain of ours to another. `ready`: set when it may carry stanzas, or with what stood against it.
    `granted`: the domains of ours that may send on it.

    `only_to_verify`: it asks about keys (XEP-0220 section 2.1.2), for which nobody has to prove anything.
    """

    __slots__ = ("_answers", "_asked_for", "_signed_in", "_takes_more", "_tried", "_wanted", "_why", "granted",
                 "only_to_verify", "ready", "remote")  # fmt: skip

    outgoing: ClassVar[bool] = True
    takes_keys: ClassVar[bool] = False
    """The id of the stream is the choice of the one who shows the key: it may be one that it has heard elsewhere."""

    def __init__(
        self, server: StreamServer, remotes: Remotes, local: str, remote: str, only_to_verify: bool = False
    ) -> None:
        super().__init__(server, remotes, server.limits.after_sign_in)  # features may hold much
        self.local = local
        self.remote = remote
        self.only_to_verify = only_to_verify
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ready.add_done_callback(_heard)
        self.granted: set[str] = set()
        self._asked_for = self._takes_more = False
        """The features of this header were answered; dialback is among them."""
        self._why = ""
        """What they have said at the end."""
        self._signed_in = False
        self._tried: set[str] = set()
        self._wanted: dict[str, asyncio.Future[bool]] = {}
        """Further domains of ours, of which we have shown a key."""
        self._answers: dict[Exchange, asyncio.Future[Dialback]] = {}

    # ---- the link's side

    def connected(self, link: Link) -> None:
        super().connected(link)
        self.remotes.opened(self)
        self._send_header()

    def secured(self) -> None:
        super().secured()
        self._send_header()

    def lost(self) -> None:
        self._end_with("the connection was lost")

    def ended(self, error: StreamError | None) -> None:
        self._end_with(str(error) if error is not None else self._why or "closed")

    def peer_closes(self) -> None:
        self.said_goodbye = True
        self._why = "the other server has closed the stream"
        self._refuse(self._why)

    def _end_with(self, why: str) -> None:
        self._refuse(why)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(Refused(why))
        for wanted in self._wanted.values():
            if not wanted.done():
                wanted.set_result(False)
        self._answers.clear()
        self._wanted.clear()
        self.over(why)

    def give_up(self, why: str) -> None:
        """It takes too long."""
        self._refuse(why)

    def _refuse(self, why: str) -> None:
        if not self.ready.done():
            self.ready.set_exception(Refused(why))

    @property
    def domain(self) -> str:
        return self.local

    @property
    def peer_domain(self) -> str:
        return self.remote

    @property
    def peer_name(self) -> str:
        return f"the server of {self.remote}"

    @property
    def usable(self) -> bool:
        """It may carry stanzas, now."""
        if self.only_to_verify or self.closed or self.leaving:
            return False
        return self.ready.done() and not self.ready.cancelled() and self.ready.exception() is None

    @property
    def proof(self) -> Proof:
        """How this server has proved its domain, once the stream is ready."""
        return Proof.CERTIFICATE if self._signed_in else Proof.DIALBACK

    def is_allowed(self) -> bool:
        """Whether it would be opened now, with the options and authorities of now, as it is."""
        config = self.remotes.config
        if not self.remotes.reaches(self.remote):
            return False
        if not self.ready.done():
            return True  # what it is, is looked at on the way
        if not self.still_proves():
            return False
        if not self.secure:
            return not config.needs_tls(self.remote)
        return config.takes_dialback(self.remote) or self.is_certified(self.remote)

    # ---- headers: ours is the first

    def _send_header(self) -> None:
        attributes = {"from": self.local, LANG: "en", "version": "1.0", "to": self.remote}
        self.write(self.framing.header(attributes))

    def _write_header(self, attributes: Mapping[str, str]) -> None:
        """It was sent."""

    def _open(self, opening: StreamOpen) -> None:
        if self.opened:
            raise StreamError("bad-format")
        if opening.namespace != self.framing.namespace:
            raise StreamError("invalid-namespace")
        self.header_received(opening.attributes)
        self.opened = True

    def header_received(self, attributes: Mapping[str, str]) -> None:
        self.id = attributes.get("id", "")
        self._asked_for = False
        if not attributes.get("version"):  # there will be no features (RFC 6120 section 4.7.5)
            self._negotiate(frozenset(), frozenset())

    def features(self) -> bytes:
        return b""  # they are the other server's

    # ---- negotiation

    def element_received(self, nonza: Nonza) -> bool:
        tag = nonza.tag
        if tag == FEATURES:
            self._features_received(nonza)
        elif tag == ERROR:
            raise _PeerError(condition_of(nonza))
        elif tag == f"{TLS_NS}|proceed" and "starttls" in self._tried and not self.secure:
            self.link.start_tls(self.remotes.certificates.client_context(self.local), self.remote)
            return False
        elif tag == f"{SASL_NS}|success" and "external" in self._tried and not self._signed_in:
            self._signed_in = True
            self.restart()
            self._send_header()
            return False
        elif tag == f"{SASL_NS}|failure" and "external" in self._tried and not self._signed_in:
            self._tried.discard("external")
            self._call_back()
        elif tag in (dialback.RESULT, dialback.VERIFY):
            answer = Dialback.read(nonza)
            if answer.type or not self.pairs:
                self._dialback_received(answer)
            else:
                self.keys.requested(answer)
        elif nonza.ns == SM_NS:
            self._stream_management(nonza)
        else:
            self._refuse(f"it answers {nonza.name}")
            raise StreamError("unsupported-stanza-type")
        return True

    def fail(self, error: StreamError) -> None:
        if isinstance(error, _PeerError):  # they have said all there is to say
            self._why = error.text
            self._refuse(error.text)
            self.close()
            return
        super().fail(error)

    def _features_received(self, nonza: Nonza) -> None:
        tags = frozenset(nonza.tags)
        mechanisms: frozenset[str] = frozenset()
        offered = nonza.child(SASL_NS, "mechanisms")
        if offered is not None:
            mechanisms = frozenset(each.text.strip() for each in offered.children())
        self._negotiate(tags, mechanisms)

    def _negotiate(self, tags: frozenset[str], mechanisms: frozenset[str]) -> None:
        """The next step, by what is offered. Raises StreamError."""
        if self.ready.done() or self._asked_for:
            return  # features come once for each header
        self._asked_for = True
        self._takes_more = f"{dialback.FEATURE_NS}|dialback" in tags
        if not self.secure:
            if f"{TLS_NS}|starttls" in tags:
                self._tried.add("starttls")
                self.write(f"<starttls xmlns='{TLS_NS}'/>".encode())
                return
            if self.remotes.config.needs_tls(self.remote):
                self._refuse("it does not offer encryption")
                raise StreamError("policy-violation", "encryption is required")
        else:
            self._check_certificate()
        if self.only_to_verify:
            self._become_ready()
            return
        if self._signed_in:
            self._take()
            if f"{SM_NS}|sm" in tags:
                self._tried.add("sm")
                self.write(f"<enable xmlns='{SM_NS}'/>".encode())
            else:
                self._become_ready()
            return
        self._enable_bidi(tags)
        if "EXTERNAL" in mechanisms and self.secure:
            self._tried.add("external")
            identity = b64encode(self.local.encode()).decode()
            self.write(f"<auth xmlns='{SASL_NS}' mechanism='EXTERNAL'>{identity}</auth>".encode())
        else:
            self._call_back()

    def _check_certificate(self) -> None:
        """Whether it proves that this is the server we look for. Where dialback is taken it need not: DNS led here,
        which is what dialback rests on. Raises StreamError."""
        if self.remotes.config.takes_dialback(self.remote):
            return
        if not self.is_certified(self.remote):
            self._refuse(f"its certificate proves nothing: {self.why}")
            raise StreamError("policy-violation", "a certificate is required")

    def _enable_bidi(self, tags: frozenset[str]) -> None:
        """XEP-0288 section 2.2: behind TLS, before SASL or dialback."""
        if self.secure and not self.bidi and tags & BIDI and self.remotes.config.goes_both_ways(self.remote):
            self.bidi = True
            self.write(f"<bidi xmlns='{BIDI_NS}'/>".encode())

    def _take(self) -> None:
        """They may send, too, from now on: for the domain that their certificate names, or else that DNS has led us to,
        which is all that dialback would show. Raises StreamError."""
        if self.bidi and not self.pairs:
            self._check_certificate()
            by = Proof.CERTIFICATE if self.is_certified(self.remote) else Proof.DIALBACK
            self.prove(self.remote, self.local, by)

    def _call_back(self) -> None:
        """Dialback: it asks us on a stream of its own whether the key is ours."""
        if "dialback" in self._tried:
            self._refuse("it takes neither our certificate nor dialback")
            raise StreamError("policy-violation")
        self._tried.add("dialback")
        if not self.id:
            self._refuse("its stream has no id")
            raise StreamError("bad-format")
        self._show_key(self.local)

    def _show_key(self, local: str) -> None:
        key = self.remotes.keys.key(self.remote, local, self.id)
        self.write(Dialback("result", local, self.remote, key).written())

    async def speak_for(self, local: str) -> bool:
        """Whether the other server takes what a further domain of ours sends on this stream, too (sender multiplexing,
        XEP-0220 section 2.5.1). Not asked of who does not offer dialback on it now: ejabberd would never answer."""
        if local in self.granted:
            return True
        if not (self.usable and self._takes_more and self.id) or len(self.granted) + len(self._wanted) >= PAIRS:
            return False
        wanted = self._wanted.get(local)
        if wanted is None:
            wanted = self._wanted[local] = asyncio.get_running_loop().create_future()
            self._show_key(local)
        return await asyncio.shield(wanted)

    def _dialback_received(self, answer: Dialback) -> None:
        """An answer counts once, on the stream of its question (section 3.1). Raises StreamError."""
        if not answer.type or answer.sender != self.remote:
            raise StreamError("invalid-from")
        if answer.name == "result" and answer.to in self._wanted:
            wanted = self._wanted.pop(answer.to)
            if answer.type == "valid":
                self.granted.add(answer.to)
            else:
                self.remotes.say("%s does not let %s use the stream of %s: %s", self.remote, answer.to, self.local,
                                 answer.condition or answer.type)  # fmt: skip
            wanted.set_result(answer.type == "valid")
            return
        if answer.to != self.local:
            raise StreamError("invalid-from")
        if answer.name == "verify":
            waiting = self._answers.pop(answer.exchange, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)
        elif "dialback" in self._tried and not self.ready.done():
            if answer.type == "valid":
                self._take()
                self._become_ready()
            else:
                self._refuse(f"it does not take our dialback key: {answer.condition or answer.type}")
                raise StreamError("not-authorized")

    def _become_ready(self) -> None:
        if not self.ready.done():
            self.granted.add(self.local)
            self.ready.set_result(None)

    async def ask(self, stream_id: str, key: str) -> Dialback:
        """Whether a key for a stream of ours is theirs. Raises Refused."""
        if self.closed:
            raise Refused("the connection was lost")
        if len(self._answers) >= ASKED:
            raise Refused("too many keys are asked about")
        request = Dialback("verify", self.local, self.remote, key, id=stream_id)
        answer: asyncio.Future[Dialback] = asyncio.get_running_loop().create_future()
        self._answers[request.exchange] = answer
        self.write(request.written())
        return await answer

    # ---- XEP-0198

    def _stream_management(self, nonza: Nonza) -> None:
        if nonza.name == "enabled" and "sm" in self._tried and not self.ready.done():
            self.managed = True
            self.acks.begin()
            self._become_ready()
        elif nonza.name == "failed" and "sm" in self._tried and not self.ready.done():
            self._become_ready()
        else:
            self.manage(nonza)


def _heard(ready: asyncio.Future[None]) -> None:
    """That it failed is no news where nobody waits any more."""
    if not ready.cancelled():
        ready.exception()


class _PeerError(StreamError):
    """A stream error that the other server has sent."""

    def __init__(self, text: str) -> None:
        super().__init__("undefined-condition", f"it says {text}")
