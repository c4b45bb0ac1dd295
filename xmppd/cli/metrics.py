"""xmppd metrics: the numbers of the running server."""

from __future__ import annotations

import sys

from .common import ConfigOption, ask_server, configuration


def metrics(config: ConfigOption = None) -> None:
    """Print what the running server counts, as OpenMetrics text."""
    sys.stdout.write(ask_server(configuration(config), "metrics"))
