"""The rows, a file per category. Their order here is the order of the run."""

from __future__ import annotations

from ..registry import CHECKS
from . import archive, calls, chat, core, dns, future, mobile, pubsub, rooms, tls, uploads, web  # noqa: F401

__all__ = ["CHECKS"]
