"""Pages that wait to be signed in. In memory, bounded, and for a short time: after a restart a page shows a new code.

A page has two random texts: the code, which is in the picture, and a secret, which only the page has. With the code a
phone approves; with the secret the page fetches what was approved. Neither is of use without the other, and here are
only hashes of both.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from secrets import token_urlsafe
from typing import Final

from xmppd.background import Signal
from xmppd.clock import Clock
from xmppd.errors import ResourceConstraint
from xmppd.window_limit import network

from .browsers import Browser

BYTES: Final = 16
"""128 bits: nobody guesses one within a minute."""
PER_ADDRESS: Final = 20
"""Pages of one address that wait at once; at one more, the one that waits longest is forgotten. (A school, an office
and the like come from one.)"""


class State(enum.Enum):
    WAITING = "waiting"
    APPROVED = "approved"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Approval:
    """Who has said yes, and which account that was then (`StoredAccount`)."""

    owner: str
    incarnation: str
    generation: int


@dataclass(eq=False, slots=True)
class WaitingPage:
    """`address`: from which the page was asked for; `place`: what counts as one with it. `until`: monotonic. `waiter`:
    set when there is something to tell to the request that waits."""

    code: bytes
    secret: bytes
    browser: Browser
    address: str
    place: str
    until: float
    state: State = State.WAITING
    approval: Approval | None = None
    waiter: Signal | None = None

    async def wait(self, clock: Clock, within: float) -> None:
        """Until there is something to tell, at most so many seconds. A request that has waited before waits no
        longer."""
        self.tell()
        self.waiter = Signal(clock)
        await self.waiter.wait(within)

    def tell(self) -> None:
        if self.waiter is not None:
            self.waiter.set()

    def settle(self, approval: Approval | None) -> None:
        """The phone has said yes, or None for no. The page hears of it."""
        self.state = State.APPROVED if approval is not None else State.REFUSED
        self.approval = approval
        self.tell()


class WaitingPages:
    """`most`: pages that wait at once."""

    def __init__(self, clock: Clock, most: int, lifetime: float) -> None:
        self.clock = clock
        self.most = most
        self.lifetime = lifetime
        self._by_code: dict[bytes, WaitingPage] = {}
        self._by_secret: dict[bytes, WaitingPage] = {}
        """The oldest first."""
        self._by_place: dict[str, dict[bytes, WaitingPage]] = {}
        """The same pages by what counts as one address: who asks for one must not cost a look at all."""

    def __len__(self) -> int:
        return len(self._by_secret)

    def add(self, browser: Browser, address: str) -> tuple[str, str]:
        """A page that waits from now on: its code and its secret. Raises ResourceConstraint: too many wait."""
        self.expire()
        place = network(address)
        own = self._by_place.get(place, {})
        if len(own) >= PER_ADDRESS:
            self.remove(next(iter(own.values())))
        if len(self) >= self.most:
            raise ResourceConstraint("too many wait to be signed in")
        code, secret = token_urlsafe(BYTES), token_urlsafe(BYTES)
        until = self.clock.monotonic() + self.lifetime
        page = WaitingPage(_hash(code), _hash(secret), browser, address, place, until)
        self._by_code[page.code] = self._by_secret[page.secret] = page
        self._by_place.setdefault(place, {})[page.secret] = page
        return code, secret

    def of_code(self, code: str) -> WaitingPage | None:
        """The page that shows it, if nobody has answered there yet."""
        self.expire()
        page = self._by_code.get(_hash(code))
        return page if page is not None and page.state is State.WAITING else None

    def of_secret(self, secret: str) -> WaitingPage | None:
        self.expire()
        return self._by_secret.get(_hash(secret))

    def remove(self, page: WaitingPage) -> None:
        """Whoever waits for it hears that it is gone."""
        self._by_code.pop(page.code, None)
        self._by_secret.pop(page.secret, None)
        own = self._by_place.get(page.place, {})
        own.pop(page.secret, None)
        if not own:
            self._by_place.pop(page.place, None)
        page.tell()

    def expire(self) -> None:
        now = self.clock.monotonic()
        for page in list(_until(self._by_secret, now)):
            self.remove(page)

    def clear(self) -> None:
        for page in list(self._by_secret.values()):
            self.remove(page)


def _until(pages: dict[bytes, WaitingPage], now: float) -> Iterator[WaitingPage]:
    for page in pages.values():
        if page.until > now:
            return
        yield page


def _hash(text: str) -> bytes:
    """What a table is searched by says nothing of what is looked for, not even by the time that takes."""
    return sha256(text.encode("utf-8", "surrogatepass")).digest()
