"""The page on which people chat in the browser: where it is, and what other plugins bring to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..hooks import Collect
from ..jid import JID
from ..service import Service


@dataclass(frozen=True, slots=True)
class PageScript:
    """A script that adds a plugin to Converse.js. `path`: where this server has it; `plugin`: the name by which it
    calls `converse.plugins.add`."""

    path: str
    plugin: str


PAGE_SCRIPTS = Collect[JID, PageScript]("page-scripts", plain=True)
"""Asked with the address of the host whose page is wanted; run before Converse.js starts."""


class WebClientPage(Protocol):
    """The page of one host."""

    @property
    def address(self) -> str:
        """Where people find it; "" where no listener serves it, or the files of the client are not there."""
        ...


WEB_CLIENT = Service[WebClientPage]("web-client")
