"""IQs that a host itself sends, and their answers."""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_hex
from typing import Final

from ..clock import Clock, Timer
from ..jid import JID
from ..stanza import Stanza, iq
from ..xml import Element

ANSWER_TIME: Final = 30.0
"""Seconds within which an answer is awaited."""
Answered = Callable[[Stanza | None], None]
"""Gets the result or error, or None after a time-out."""


class HostRequests:
    """The requests of one host that have no answer yet. `deliver` routes a stanza of the host's own."""

    def __init__(self, host: JID, clock: Clock, deliver: Callable[[Stanza], None]) -> None:
        self._host = host
        self._clock = clock
        self._deliver = deliver
        self._open: dict[str, tuple[str, Answered, Timer]] = {}
        """By id: the full JID that is asked."""
        self._count = 0
        self._prefix = token_hex(4) + "-"

    def ask(self, to: JID, payload: Element, answered: Answered, type: str = "get") -> None:
        """Send an IQ of the host's own.

        Only an answer from exactly `to` counts (an IQ result may come from anybody).
        """
        id = self.expect(to, answered, ANSWER_TIME)
        self._deliver(iq(type, id, payload, to=to, sender=self._host))

    def expect(self, to: JID, answered: Answered, within: float) -> str:
        """The id for an IQ of the host's own that the caller sends to `to`, to be answered `within` seconds."""
        self._count += 1
        id = f"{self._prefix}{self._count}"

        def expired() -> None:
            if self._open.pop(id, None) is not None:
                answered(None)

        self._open[id] = (to.full, answered, self._clock.call_later(within, expired))
        return id

    def answered(self, stanza: Stanza) -> None:
        """A result or error has come to the host."""
        found = self._open.get(stanza.id)
        if found is not None and stanza.sender is not None and stanza.sender.full == found[0]:
            del self._open[stanza.id]
            found[2].cancel()
            found[1](stanza)
