"""The plugins that come with the server, for the pages that are made from them."""

from __future__ import annotations

from xmppd.hosts.loader import Found, discover


def built_in() -> list[Found]:
    """By name; what else this machine has installed is left out."""
    return [found for _, found in sorted(discover().items()) if found.cls.__module__.split(".")[0] == "plugins"]
