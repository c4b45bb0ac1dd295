"""The stream that this server opens to another one (RFC 6120): encrypted, then authenticated by our certificate
(XEP-0178) or by dialback (XEP-0220). Stanzas go this way only."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from ..errors import StreamError
from ..net.peer_certificate import Unverified, verify
from ..protocol import dialback
from ..protocol.dialback import Dialback, Exchange
from ..protocol.framing import SERVER_STREAM
from ..protocol.header import LANG, STREAM_NS
from ..protocol.items import StreamOpen
from .base import XmlStream
from .negotiation import SASL_NS, TLS_NS
from .server_terms import ERROR, SM_NS, Proof, Remotes, condition_of

if TYPE_CHECKING:
    from ..background import Background
    from ..contracts.link import Link
    from ..protocol.items import Nonza
    from ..stanza import Stanza
    from .runtime import StreamServer

FEATURES: Final = f"{STREAM_NS}|features"
ASKED: Final = 20
"""Keys that are asked about at once on one stream."""


class Refused(Exception):
    """The other server is there and does not take the stream; the text is for the log."""


class OutgoingServerStream(XmlStream):
    """From a domain of ours to another. `ready`: set when it may carry stanzas, or with what stood against it.

    `only_to_verify`: it asks about keys (XEP-0220 section 2.1.2), for which nobody has to prove anything.
    """

    __slots__ = ("_answers", "_asked_for", "_signed_in", "_tried", "_why", "id", "local", "managed",
                 "on_acknowledged", "on_end", "on_room", "only_to_verify", "ready", "remote", "remotes", "server",
                 "slow")  # fmt: skip

    def __init__(
        self, server: StreamServer, remotes: Remotes, local: str, remote: str, only_to_verify: bool = False
    ) -> None:
        super().__init__(server, SERVER_STREAM, server.limits.after_sign_in)  # features may hold much
        self.server = server
        self.remotes = remotes
        self.local = local
        self.remote = remote
        self.only_to_verify = only_to_verify
        self.id = ""
        """Given by the other server."""
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ready.add_done_callback(_heard)
        self.managed = False
        """XEP-0198 is on: `on_acknowledged` is told how many stanzas they have."""
        self.slow = False
        """The link was given as much as it takes now; `on_room` is called when there is room."""
        self.on_acknowledged: Callable[[int], None] = lambda count: None
        self.on_room: Callable[[], None] = lambda: None
        self.on_end: Callable[[str], None] = lambda why: None
        self._asked_for = False
        """The features of this header were answered."""
        self._why = ""
        """What they have said at the end."""
        self._signed_in = False
        self._tried: set[str] = set()
        self._answers: dict[Exchange, asyncio.Future[Dialback]] = {}

    # ---- the link's side

    def connected(self, link: Link) -> None:
        super().connected(link)
        self.remotes.opened(self)
        self._send_header()

    def secured(self) -> None:
        super().secured()
        self._send_header()

    def pause_writing(self) -> None:
        self.slow = True

    def resume_writing(self) -> None:
        self.slow = False
        self.on_room()

    def lost(self) -> None:
        self._end_with("the connection was lost")

    def ended(self, error: StreamError | None) -> None:
        self._end_with(str(error) if error is not None else self._why or "closed")

    def peer_closes(self) -> None:
        self._why = "the other server has closed the stream"
        self._refuse(self._why)

    def _end_with(self, why: str) -> None:
        self.remotes.gone(self)
        self._refuse(why)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(Refused(why))
        self._answers.clear()
        on_end, self.on_end = self.on_end, lambda why: None
        on_end(why)

    def give_up(self, why: str) -> None:
        """It takes too long."""
        self._refuse(why)

    def _refuse(self, why: str) -> None:
        if not self.ready.done():
            self.ready.set_exception(Refused(why))

    @property
    def background(self) -> Background:
        found: Background = self.server.default_host.background
        return found

    @property
    def domain(self) -> str:
        return self.local

    @property
    def peer_name(self) -> str:
        return f"the server of {self.remote}"

    @property
    def throttled(self) -> bool:
        return False

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
        if not self.secure:
            return not config.needs_tls(self.remote)
        if config.takes_dialback(self.remote):
            return True
        return not isinstance(verify(self.link.peer_certificates, self.remote, self.remotes.trust), Unverified)

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
            self._dialback_received(Dialback.read(nonza))
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
        elif self._signed_in:
            if f"{SM_NS}|sm" in tags:
                self._tried.add("sm")
                self.write(f"<enable xmlns='{SM_NS}'/>".encode())
            else:
                self._become_ready()
        elif "EXTERNAL" in mechanisms and self.secure:
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
        found = verify(self.link.peer_certificates, self.remote, self.remotes.trust)
        if isinstance(found, Unverified):
            self._refuse(f"its certificate proves nothing: {found.reason}")
            raise StreamError("policy-violation", "a certificate is required")

    def _call_back(self) -> None:
        """Dialback: it asks us on a stream of its own whether the key is ours."""
        if "dialback" in self._tried:
            self._refuse("it takes neither our certificate nor dialback")
            raise StreamError("policy-violation")
        self._tried.add("dialback")
        if not self.id:
            self._refuse("its stream has no id")
            raise StreamError("bad-format")
        key = self.remotes.keys.key(self.remote, self.local, self.id)
        self.write(Dialback("result", self.local, self.remote, key).written())

    def _dialback_received(self, answer: Dialback) -> None:
        if not answer.type or (answer.sender, answer.to) != (self.remote, self.local):
            raise StreamError("invalid-from")
        if answer.name == "verify":
            waiting = self._answers.pop(answer.exchange, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)
        elif "dialback" in self._tried and not self.ready.done():
            if answer.type == "valid":
                self._become_ready()
            else:
                self._refuse(f"it does not take our dialback key: {answer.condition or answer.type}")
                raise StreamError("not-authorized")

    def _become_ready(self) -> None:
        if not self.ready.done():
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
            self._become_ready()
        elif nonza.name == "failed" and "sm" in self._tried and not self.ready.done():
            self._become_ready()
        elif nonza.name == "a" and self.managed:
            count = nonza.attributes.get("h", "")
            if not (count.isascii() and count.isdigit() and len(count) < 11):
                raise StreamError("bad-format")
            self.on_acknowledged(int(count))
        elif nonza.name == "r" and self.managed:
            if not self.slow:  # who does not read gets no answers
                self.write(f"<a xmlns='{SM_NS}' h='0'/>".encode())  # nothing comes this way
        else:
            raise StreamError("unsupported-stanza-type")

    def request(self) -> None:
        """Ask how many stanzas they have."""
        self.write(f"<r xmlns='{SM_NS}'/>".encode())

    def too_high(self, count: int, sent: int) -> None:
        """They have more than was sent (section 4)."""
        extra = (SM_NS, "handled-count-too-high", {"h": str(count), "send-count": str(sent)})
        self.fail(StreamError("undefined-condition", "more is acknowledged than was sent", extra))

    def stanza_received(self, stanza: Stanza) -> None:
        raise StreamError("not-authorized", "stanzas come on a stream of yours")


def _heard(ready: asyncio.Future[None]) -> None:
    """That it failed is no news where nobody waits any more."""
    if not ready.cancelled():
        ready.exception()


class _PeerError(StreamError):
    """A stream error that the other server has sent."""

    def __init__(self, text: str) -> None:
        super().__init__("undefined-condition", f"it says {text}")
