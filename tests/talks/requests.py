"""The client of talks over BOSH."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from lxml import etree

from tests.harness.bosh import Sent

if TYPE_CHECKING:
    from tests.harness import Element, Harness


class BoshRequests:
    """`send` makes a request of a text, `receive` is the answer to the oldest one whose answer was not received."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self._open: deque[Sent] = deque()

    def send(self, text: str) -> None:
        self._open.append(Sent(self.harness, text.encode(), secure=True, peer="127.0.0.1", headers={}))

    async def receive(self) -> Element:
        assert self._open, "there is no request that could be answered"
        body = await self._open[0].body()
        self._open.popleft()
        return body

    async def receive_all(self) -> list[Element]:
        found = []
        await self.harness.quiet()
        while self._open and self._open[0].answered:
            found.append(await self.receive())
        return found

    async def silence(self) -> None:
        rest = await self.receive_all()
        assert not rest, f"there were answers: {[etree.tostring(each).decode() for each in rest]}"

    def cut(self) -> None:
        """The connections of all requests break; their answers are not received."""
        while self._open:
            self._open.popleft().cut()
