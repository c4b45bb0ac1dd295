"""What <stream:features/> offers (RFC 6120 section 4.3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..hooks import Collect
from ..xml import Element, Written
from .core import Session


class Offer(Protocol):
    """What a stream announces for the sign-in."""

    @property
    def channel_bindings(self) -> tuple[str, ...]:
        """The types, the best first (XEP-0440)."""
        ...

    def mechanisms(self, listed_in: str = "sasl") -> tuple[str, ...]:
        """The SASL mechanisms of a list, the strongest first."""
        ...


@dataclass(frozen=True, slots=True)
class FeatureAsk:
    """Who gets the features."""

    secure: bool
    signed_in: bool
    session: Session | None = None
    """None before a resource is bound. Only where the features are told again behind that (XEP-0386) there is one."""
    offer: Offer | None = None
    """None behind the sign-in."""


FEATURES = Collect[FeatureAsk, Element | Written]("stream-features", plain=True)
"""Elements for <stream:features/>. What is always the same is written once (`xml.written`). For strangers it is asked
once a second, not for each of them."""
