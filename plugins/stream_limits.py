"""XEP-0478: Stream Limits Advertisement."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from xmppd.contracts.stream_features import FEATURES, FeatureAsk
from xmppd.plugin import E, NoConfig, Plugin, Written, Xep, on
from xmppd.xml import written

NS = "urn:xmpp:stream-limits:0"


class StreamLimits(Plugin[NoConfig]):
    xeps = (Xep(478, "0.2.0"),)

    @on(FEATURES)
    def feature(self, ask: FeatureAsk) -> Iterable[Written]:
        """What holds in this state of the stream (section 4.1). Who is silent for longer is asked whether it is there
        (RFC 6120 section 4.6); a stranger has until then to sign in."""
        limits = self.host.server.limits
        size = (limits.after_sign_in if ask.signed_in else limits.before_sign_in).size
        idle = limits.ping_after if ask.signed_in else limits.sign_in_time
        return (_limits(int(size), int(idle)),)


@lru_cache(16)
def _limits(size: int, idle: int) -> Written:
    """Bytes and seconds; 0: none."""
    values = {"max-bytes": size, "idle-seconds": idle}
    return written(E("limits", NS, None, *(E(name, NS, None, str(value)) for name, value in values.items() if value)))
