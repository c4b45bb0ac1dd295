"""What <stream:features/> offers (RFC 6120 section 4.3.2)."""

from __future__ import annotations

from dataclasses import dataclass

from ..hooks import Collect
from ..xml import Element, Written
from .core import Session


@dataclass(frozen=True, slots=True)
class FeatureAsk:
    """Who gets the features."""

    secure: bool
    signed_in: bool
    session: Session | None = None
    """None before a resource is bound. Only where the features are told again behind that (XEP-0386) there is one."""


FEATURES = Collect[FeatureAsk, Element | Written]("stream-features", plain=True)
"""Elements for <stream:features/>. What is always the same is written once (`xml.written`)."""
