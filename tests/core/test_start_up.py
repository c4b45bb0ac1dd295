"""What a start does not load: an idle server pays for what its configuration asks for."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = """
import sys
import xmppd.cli
from xmppd.hosts.loader import discover
from xmppd.server.server import Server
discover(())
print(*(name for name in sys.argv[1:] if name in sys.modules))
"""


@pytest.mark.parametrize(
    ("module", "size"),
    [
        ("aiohttp", "8 MiB, for who listens for HTTP or posts"),
        ("slixmpp", "a client, for the doctor"),
        ("pymongo", "a store"),
    ],
)
def test_what_only_some_need_is_not_loaded(module: str, size: str) -> None:
    """With all plugins found and the server's modules there, as before the first listener opens."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, module], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == [], f"{module}: {size}"
