"""The pump of an XML stream (RFC 6120 section 4), whoever is at its other end.

Bytes of a connection become items, one is handled after the other, and the peer is not read while too much waits. What
the elements mean is for the negotiation, which is a subclass: `client` for clients.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from os import urandom
from typing import TYPE_CHECKING, ClassVar

from ..errors import StorageUnavailable, StreamError
from ..protocol.header import LANG, language, speaks_version_1
from ..protocol.items import Item, Limits, Nonza, StreamOpen
from ..protocol.token_bucket import TokenBucket
from ..stanza import Stanza

if TYPE_CHECKING:
    from ..background import Background
    from ..contracts.link import Link
    from ..memory.budget import Pool
    from ..protocol.framing import Framing
    from .runtime import StreamRuntime

log = logging.getLogger("xmppd.streams")

INBOX = 100
"""So many items may wait behind a slow one; then the connection is not read."""
SMALL_PART = 4 << 10
"""So few bytes of an element whose end has not come count nowhere: most come in one read."""
UNREAD = 64 << 10
"""So many bytes of answers may wait for a peer that does not read; then it is not read either."""


class XmlStream(ABC):
    """One connection. A `Receiver` for its link."""

    __slots__ = (
        "_reading_paused",
        "born",
        "bucket",
        "closed",
        "framing",
        "inbox",
        "inbox_charged",
        "inbox_size",
        "lang",
        "link",
        "opened",
        "over_rate",
        "parser",
        "pinged",
        "reads_too_slowly",
        "runtime",
        "unfinished",
        "unread_answers",
        "waiting",
        "write",
    )

    version: ClassVar[str] = "1.0"
    """Of XMPP. "": the streams of before there were versions, and so no features (XEP-0114)."""

    def __init__(self, runtime: StreamRuntime, framing: Framing, limits: Limits) -> None:
        self.runtime = runtime
        self.framing = framing
        self.link: Link
        self.write: Callable[[bytes], None]
        """The link's own, without a step between."""
        self.parser = framing.parser(limits)
        self.opened = False
        """Both headers were said."""
        self.closed = False
        self.lang = ""
        """The language of the peer's header (section 4.7.4): that of stanzas which name none."""
        self.inbox: deque[Item | StreamError] | None = None
        self.inbox_size = 0
        """Bytes read since the inbox was last empty."""
        self.inbox_charged = 0
        """So many of them count for the process."""
        self.unfinished = False
        """The beginning of an element counts for the account and the process (`memory.budget.Parts`)."""
        self.unread_answers = 0
        """Bytes of answers that were written while the peer did not read."""
        self.reads_too_slowly = False
        """It does not read what it has asked for, so it is not read."""
        self.waiting = False
        """Something takes its time; what follows it is in the inbox."""
        self.born = runtime.clock.monotonic()
        """When the connection came, or TLS was ready."""
        self.pinged = False
        """It has been silent and was asked whether it is there."""
        self.bucket = TokenBucket()
        self.over_rate = False
        """It has sent more than it may in that time, so it is not read."""
        self._reading_paused = False

    # ---- what the negotiation decides

    @property
    @abstractmethod
    def domain(self) -> str:
        """The domain of ours that the peer has named in its header, or would get without one."""

    @property
    @abstractmethod
    def background(self) -> Background:
        """Runs what the stream waits for."""

    @abstractmethod
    def header_received(self, attributes: Mapping[str, str]) -> None:
        """The peer opens the stream. Raises StreamError."""

    @abstractmethod
    def features(self) -> bytes:
        """What can be negotiated now (section 4.3.2), the elements inside <stream:features/>."""

    @abstractmethod
    def element_received(self, nonza: Nonza) -> bool:
        """An element that is no stanza. False: what came behind it in the same read does not count. Raises
        StreamError."""

    @abstractmethod
    def stanza_received(self, stanza: Stanza) -> None:
        """A message, presence or iq. Raises StreamError."""

    @abstractmethod
    def ended(self, error: StreamError | None) -> None:
        """The stream is closed, by `error` or in an orderly way."""

    @abstractmethod
    def lost(self) -> None:
        """The connection is gone; perhaps the stream was closed before."""

    def peer_closes(self) -> None:  # noqa: B027 - not every negotiation has to do with it
        """The peer says goodbye; the stream closes now."""

    def blanks_received(self) -> None:  # noqa: B027 - the same
        """White space came by itself, between two elements."""

    def was_read(self, size: int) -> None:  # noqa: B027 - the same
        """So many bytes came and are handled, or wait."""

    def work_done(self) -> None:  # noqa: B027 - the same
        """What the stream waited for is done, and what was in the inbox is handled or waits for something else."""

    @property
    def throttled(self) -> bool:
        """It is not read because of what its stanzas wait for."""
        return False

    def charge_inbox(self, size: int) -> bool:
        """So many bytes more wait in the inbox. True: there are too many in the process."""
        memory = self.runtime.memory
        self.inbox_charged += size
        memory.incoming += size
        return memory.incoming_full(None)

    @property
    def peer_name(self) -> str:
        """For the log."""
        return self.link.peer

    # ---- the link's side (contracts.link.Receiver)

    def connected(self, link: Link) -> None:
        self.link, self.write = link, link.write

    def secured(self) -> None:
        """TLS is there: nothing of before counts (section 5.4.3.3), time neither: the handshake has its own limit."""
        self.parser.reset()
        self.opened = False
        self.born = self.runtime.clock.monotonic()

    def data_received(self, data: bytes) -> None:
        if not self.closed:
            self.items_received(self.parser.feed(data), len(data))
            if self.unfinished or self.parser.pending > SMALL_PART:
                self.count_unfinished()

    def count_unfinished(self) -> None:
        """Count what has come of an element whose end has not."""
        held = self.parser.held if not self.closed and self.parser.pending > SMALL_PART else 0
        self.unfinished = held > 0
        self.runtime.memory.parts.count(self, self.pool, held)

    def break_off(self) -> None:
        """Too much is unfinished, and here most of it."""
        log.info("the stream of %s ends: a large element does not come to its end", self.peer_name)
        self.fail(StreamError("resource-constraint", "a large element does not come to its end"))

    @property
    def pool(self) -> Pool | None:
        """Whose bytes these are; None: nobody's who is known."""
        return None

    def items_received(self, items: list[Item], size: int) -> None:
        """What the parser has made of `size` bytes that came together."""
        self.pinged = False
        for item in items:
            if self.waiting:
                self._queue(item)
            elif not self._handle(item):
                return
        fault = self.parser.fault
        if fault is not None and not self.closed:
            if self.waiting:
                self._queue(fault)
            else:
                self.fail(fault)
            return
        if not items and not self.parser.pending:
            self.blanks_received()
        self.charge(size, len(items))
        if self.inbox:
            self.inbox_size += size
            if self.charge_inbox(size) or self.inbox_size > self.runtime.limits.incoming_size:
                self.pause_reading()
        self.was_read(size)
        if self.runtime.storage.congested:
            self.pause_reading()
            self.runtime.storage.on_uncongested(self.read_on)

    def pause_writing(self) -> None:
        self.reads_too_slowly = True
        self.pause_reading()

    def resume_writing(self) -> None:
        self.unread_answers, self.reads_too_slowly = 0, False
        self.read_on()

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self._forget_unfinished()
        self.lost()

    # ---- when it is read

    @property
    def secure(self) -> bool:
        return self.link.secure

    @property
    def peer(self) -> str:
        return self.link.peer

    @property
    def last_read(self) -> float:
        return self.link.last_read

    def on_drained(self, callback: Callable[[], None]) -> None:
        self.link.on_drained(callback)

    def count_unread(self, size: int) -> None:
        """So many bytes were written because the peer has asked, and it does not read."""
        self.unread_answers += size
        if self.unread_answers > UNREAD:
            self.reads_too_slowly = True
            self.pause_reading()

    def charge(self, size: int, stanzas: int) -> None:
        """Bytes and stanzas count against what the peer may send in time."""
        limiter = self.runtime.rate_limiter
        if limiter.on:
            limiter.use(self, size, stanzas)

    def limit_rate(self, wait: bool) -> None:
        """It sends more than it may, or may go on."""
        self.over_rate = wait
        if wait:
            self.pause_reading()
        else:
            self.read_on()

    def pause_reading(self) -> None:
        """Read no more until `read_on` finds no reason against it."""
        if not self._reading_paused:
            self._reading_paused = True
            self.link.pause_reading()

    def read_on(self) -> None:
        """Read again, unless there is a reason left not to."""
        runtime = self.runtime
        busy = runtime.stopping or self.over_rate or self.reads_too_slowly or self.throttled
        busy = busy or self.inbox_size > runtime.limits.incoming_size or len(self.inbox or ()) > INBOX // 2
        busy = busy or (self.inbox_charged > 0 and runtime.memory.incoming_full(None))
        if self._reading_paused and not busy and not runtime.storage.congested:
            self.read_regardless()

    def read_regardless(self) -> None:
        """Read again, whatever there is against it: the server stops and wants an answer first."""
        if self._reading_paused and not self.closed:
            self._reading_paused = False
            self.link.resume_reading()

    # ---- one thing after the other

    def _queue(self, item: Item | StreamError) -> None:
        if self.inbox is None:
            self.inbox = deque()
        self.inbox.append(item)
        if len(self.inbox) > INBOX:
            self.pause_reading()

    def wait(self, work: Awaitable[None]) -> None:
        """What follows on this stream waits for `work`."""
        self.waiting = True
        self.background.spawn(self._work(work), "stream")

    async def _work(self, work: Awaitable[None]) -> None:
        try:
            await work
        except StreamError as error:
            self.fail(error)
        except StorageUnavailable as error:
            # What can be answered with an error of its own is, where it is asked; this is for the rest (<resume/>).
            log.warning("the stream of %s ends: %s", self.peer_name, error)
            self.fail(StreamError("resource-constraint", "the store does not answer now"))
        except Exception:
            log.exception("the stream of %s failed", self.peer_name)
            self.fail(StreamError("internal-server-error"))
        finally:
            self.waiting = False
        self._empty_inbox()
        self.read_on()

    def _empty_inbox(self) -> None:
        inbox = self.inbox
        while inbox and not self.waiting:
            item = inbox.popleft()
            if isinstance(item, StreamError):
                self.fail(item)
            elif self.closed or not self._handle(item):
                inbox.clear()
        if not inbox:
            self.inbox = None
            self.inbox_size = 0
            self.uncharge_inbox()
        self.work_done()

    def uncharge_inbox(self) -> None:
        """What waits in the inbox counts for the process no more."""
        charged, self.inbox_charged = self.inbox_charged, 0
        self.runtime.memory.incoming -= charged

    def _handle(self, item: Item) -> bool:
        """False: what came behind it in the same read does not count."""
        try:
            if type(item) is Stanza:
                self.stanza_received(item)
                return not self.closed
            if type(item) is Nonza:
                return self.element_received(item)
            if type(item) is StreamOpen:
                self._open(item)
                return not self.closed
            self.peer_closes()
            self.close()
        except StreamError as error:
            self.fail(error)
        return False

    # ---- header, features, end

    def _open(self, opening: StreamOpen) -> None:
        if self.opened:
            raise StreamError("bad-format")
        if opening.namespace != self.framing.namespace:
            raise StreamError("invalid-namespace")
        attributes = opening.attributes
        self.header_received(attributes)
        self.lang = language(attributes)
        self._write_header(attributes)
        if self.version:
            if not speaks_version_1(attributes):
                raise StreamError("unsupported-version")
            self.send_features()

    def _write_header(self, attributes: Mapping[str, str]) -> None:
        """Answer a header with these attributes."""
        answer = {"from": self.domain, "id": self.make_id(), LANG: "en"}
        if self.version:
            answer["version"] = self.version
        if attributes.get("from"):
            answer["to"] = attributes["from"]
        self.opened = True
        self.write(self.framing.header(answer))

    def make_id(self) -> str:
        """The id of a new stream (section 4.7.3)."""
        return urandom(16).hex()

    def send_features(self) -> None:
        """Tell what can be negotiated now."""
        self.write(self.framing.features(self.features()))

    def restart(self) -> None:
        """Expect a new header (section 4.3.3), as after SASL (section 6.4.6)."""
        self.opened = False
        self.parser.reset()

    def end(self, condition: str, text: str = "") -> None:
        """Send a stream error and close."""
        self.fail(StreamError(condition, text))

    def close(self) -> None:
        """Say goodbye and close (section 4.4)."""
        if self.closed:
            return
        if self.opened:
            self.write(self.framing.closing)
        self._end(None)

    def fail(self, error: StreamError) -> None:
        """Stream error and close (section 4.9)."""
        if self.closed:
            return
        if not self.opened:
            self._write_header({})
        self.write(self.framing.error(error))
        self.write(self.framing.closing)
        self._end(error)

    def _end(self, error: StreamError | None) -> None:
        self.closed = True
        self._forget_unfinished()
        self.link.close()
        self.ended(error)

    def _forget_unfinished(self) -> None:
        """Until the connection is gone nothing is kept for it."""
        self.parser.forget()
        if self.unfinished:
            self.count_unfinished()
