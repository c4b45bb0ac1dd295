"""The configured limits in the form in which the stream of stanzas asks for them."""

from __future__ import annotations

from ..config import LimitsConfig, StreamLimits
from ..contracts.runtime import RuntimeLimits
from ..protocol.items import Limits


def runtime_limits(config: LimitsConfig) -> RuntimeLimits:
    """The limits of the configuration in the form of the stanza path."""
    return RuntimeLimits(
        _stream_limits(config.before_sign_in, 1, config.name_size, config.before_sign_in.size),
        _stream_limits(config.after_sign_in, TOLERANCE, config.name_size, 0),
        config.queue,
        config.queue_size,
        config.incoming_size,
        config.presence_size,
        config.ask_every,
        config.sessions_per_account,
        config.sasl_attempts,
        float(config.sign_in_time),
        float(config.registration_time),
        float(config.header_time),
        float(config.idle_ping),
        float(config.ping_timeout),
        float(config.resume_time),
        float(config.answer_time),
        float(config.stop_time),
        float(config.even_answers),
    )


TOLERANCE = 4
"""Up to so many times the size, a stanza is answered with an error; a larger one ends the stream."""


def _stream_limits(config: StreamLimits, tolerance: int, name: int, space: int) -> Limits:
    """`space`: that of strangers; 0: for who has signed in."""
    return Limits(config.size, config.elements, config.depth, config.attributes, tolerance, name, space, space > 0)
