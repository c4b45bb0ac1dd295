"""The configured limits, as the stanza path wants them."""

from __future__ import annotations

from dataclasses import dataclass

from ..protocol.items import Limits


@dataclass(frozen=True, slots=True)
class RuntimeLimits:
    """The configured limits in the form that the stanza path wants."""

    before_sign_in: Limits
    after_sign_in: Limits
    queue: int
    queue_size: int
    incoming_size: int
    presence_size: int
    ask_every: int
    sessions: int
    sasl_attempts: int
    sign_in_time: float
    registration_time: float
    header_time: float
    ping_after: float
    ping_timeout: float
    resume_time: float
    answer_time: float
    stop_time: float
    even_answers: float
