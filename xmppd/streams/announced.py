"""What strangers are told of signing in: lists of mechanisms, and the features of the stream.

It is the same for all streams of a kind, so it is put together once a second and not once a stream: that was a tenth
of what a sign-in by a token costs beside its TLS handshake.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from ..contracts.authentication import MECHANISMS, WITHHELD
from ..contracts.identity import AUTHENTICATORS
from ..contracts.stream_features import FeatureAsk
from ..protocol.sasl import BUILT_IN, Mechanism, offered

if TYPE_CHECKING:
    from ..contracts.core import Host

FRESH: Final = 1.0
"""Seconds for which what plugins have said holds; `xmppd reload` ends it at once."""


class Announced(NamedTuple):
    """A list of mechanisms that a client has seen, or could have. `plus`: some of them bind to the channel."""

    names: tuple[str, ...]
    mechanisms: Mapping[str, Mechanism]
    plus: bool

    @classmethod
    def of(cls, mechanisms: tuple[Mechanism, ...]) -> Announced:
        """Strongest first."""
        by_name = {each.name: each for each in mechanisms}
        return cls(tuple(by_name), by_name, any(each.binds for each in mechanisms))


class Announcement:
    """For streams that are `safe` or not, with these types of channel bindings. A stream keeps the one that it has
    announced: what is not in it nobody can use there."""

    __slots__ = ("_bindings", "_known", "_lists", "_made_at", "_safe", "features")

    def __init__(self, host: Host, safe: bool, bindings: tuple[str, ...], now: float) -> None:
        """`now`: monotonic seconds."""
        sources = host.gather(AUTHENTICATORS, host.jid)
        own = () if any(each.exclusive for each in sources) else BUILT_IN
        ask = FeatureAsk(safe, signed_in=False)
        withheld = host.gather(WITHHELD, ask)
        self._known = tuple(each for each in (*own, *host.gather(MECHANISMS, ask)) if each.name not in withheld)
        self._lists: dict[str, Announced] = {}
        """By name; there are as many as plugins name."""
        self._safe = safe
        self._bindings = bindings
        self._made_at = now
        self.features = b""
        """The elements inside <stream:features/>, b"" as long as no stream has asked."""

    @classmethod
    def of(cls, host: Host, safe: bool, bindings: tuple[str, ...], now: float) -> Announcement:
        """The one that holds now."""
        key = safe, bindings  # a handful of kinds
        found: Announcement | None = host.announced.get(key)
        if found is None or not 0.0 <= now - found._made_at < FRESH:
            found = host.announced[key] = cls(host, safe, bindings, now)
        return found

    def list(self, name: str) -> Announced:
        """The mechanisms of a list."""
        found = self._lists.get(name)
        if found is None:
            found = self._lists[name] = Announced.of(offered(self._known, self._safe, self._bindings, name))
        return found
