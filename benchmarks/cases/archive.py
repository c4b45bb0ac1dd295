"""Reading the archive (XEP-0313, XEP-0059): pages of 100 from 20,000 messages."""

from __future__ import annotations

import re

from ..bench import Bench
from ..client import Client, LoadError
from ..load import Pairs

ACCOUNTS = 2
MESSAGES = 20_000
PAGE = 100
PAGES = 20
"""Of one round, at most."""
_FIRST = re.compile(rb"<first[^>]*>([^<]+)</first>")


async def run(bench: Bench) -> None:
    """A device that opens the last page, and one that scrolls back from the middle."""
    clients = await bench.clients(2)
    filling = Pairs(clients, window=100)
    count, step = bench.scale.of(MESSAGES), 1000
    for filled in range(0, count, step):
        bench.say(f"filling the archive: {filled} of {count}")
        await filling.run(min(step, count - filled))
    reader = clients[1]
    for client in clients:
        client.sink = None
        await client.settled()
        await client.iq("get", "<inbox xmlns='urn:xmpp:inbox:1'/>", end="</iq>")  # counted now, not meanwhile
    half = count // PAGE // 2
    pages = max(1, min(PAGES, half))
    await bench.rounds("the last page", "ms/page", pages, lambda: _last_pages(reader, pages), 3.0, per=1e3)
    middle = await _walk(reader, "", half)
    await bench.rounds("pages in the middle", "ms/page", pages, lambda: _walk(reader, middle, pages), 3.0, per=1e3)
    await bench.close(clients)


async def _last_pages(reader: Client, pages: int) -> None:
    for _ in range(pages):
        await _page(reader, "")


async def _walk(reader: Client, before: str, pages: int) -> str:
    """So many pages backwards; the id to go on from, at the begin of the archive `before` itself."""
    at = before
    for _ in range(pages):
        at = await _page(reader, at)
        if not at:
            raise LoadError("the archive is shorter than what was sent")
    return at


async def _page(reader: Client, before: str) -> str:
    """The page before an id. Raises LoadError when it is not full."""
    rsm = f"<set xmlns='http://jabber.org/protocol/rsm'><max>{PAGE}</max><before>{before}</before></set>"
    answer = await reader.iq("set", f"<query xmlns='urn:xmpp:mam:2'>{rsm}</query>", end="</iq>")
    found = answer.count(b"</result>")
    first = _FIRST.search(answer)
    if found != PAGE or first is None:
        raise LoadError(f"{found} messages on a page: {answer[-300:]!r}")
    return first[1].decode()
