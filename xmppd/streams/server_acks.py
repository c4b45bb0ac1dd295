"""What another server is told of the stanzas that it has sent on a stream (XEP-0198). What is acknowledged is settled,
so it is on the disk. A stream is not resumed: the sender has what was not acknowledged, and sends it again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .server_terms import SM_NS, Pair, Proof


class Counted(Protocol):
    """The stream, as far as its stanzas are counted. `received`: those that have come; `handled`: of them so many, in
    order, are settled."""

    received: int
    handled: int
    pairs: dict[Pair, Proof]
    opened: bool
    closed: bool
    write: Callable[[bytes], None]

    def answer(self, data: bytes) -> None:
        """Write what was asked for."""
        ...


class Acknowledgements:
    """Of one stream."""

    __slots__ = ("_counted", "_later", "_owed", "_stream")

    def __init__(self, stream: Counted) -> None:
        self._stream = stream
        self._counted = -1
        """Stanzas that had come when XEP-0198 was enabled; -1 before."""
        self._owed = -1
        """An acknowledgement is owed when so many stanzas are settled; -1: none."""
        self._later = -1
        """The same for the last one that was asked for meanwhile."""

    @property
    def on(self) -> bool:
        return self._counted >= 0

    def begin(self) -> None:
        """What comes from now on counts."""
        self._counted = self._stream.received

    def asked(self) -> None:
        """<r/>. It is answered when all that came before is settled: an answer that is too low would make most servers
        ask no sooner than with their next stanza."""
        if self._owed < 0:
            self._owed = self._stream.received
            self.settled()
        else:  # the answer must not wait for what comes behind the question
            self._later = self._stream.received

    def settled(self) -> None:
        """More is settled, perhaps."""
        handled = self._stream.handled
        if 0 <= self._owed <= handled and not self._stream.closed:
            self._owed, self._later = self._later if self._later > handled else -1, -1
            self._stream.answer(self._count())

    def last_words(self) -> None:
        """The stream ends: what needs not be sent again."""
        stream = self._stream
        if stream.pairs and stream.opened and not stream.closed and 0 <= self._counted <= stream.handled:
            stream.write(self._count())

    def _count(self) -> bytes:
        return f"<a xmlns='{SM_NS}' h='{(self._stream.handled - self._counted) & 0xFFFFFFFF}'/>".encode()
