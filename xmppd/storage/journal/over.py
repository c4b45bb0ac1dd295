"""The end of a store that another process has taken over."""

from __future__ import annotations


class Over(Exception):
    """Another process decides about these data: nothing is released, answered or refused any more. Not an outage, which
    is tried until it ends, and no refusal, which a client would be told: the next home may accept what this one cannot
    know about."""


TAKEN = "another server has taken the database"
