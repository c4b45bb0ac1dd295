"""What the libraries of this machine lack, said at start and by `xmppd check`."""

from __future__ import annotations

from lxml.etree import LXML_VERSION

from ..protocol import tokens
from ..xml import forgets


def advice() -> list[str]:
    """What an administrator should know and do, one text each."""
    found = [tokens.advice()]
    if not forgets():
        version = ".".join(map(str, LXML_VERSION[:3]))
        found.append(
            f"lxml {version} keeps all names that it reads, so clients can fill the memory: use a version of lxml that "
            "this server is tested with (5 or 6), and tell its authors"
        )
    return [text for text in found if text]
