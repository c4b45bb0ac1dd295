"""What other plugins bring to the page of the web client."""

from __future__ import annotations

from dataclasses import dataclass

from ..hooks import Collect
from ..jid import JID


@dataclass(frozen=True, slots=True)
class PageScript:
    """A script that adds a plugin to Converse.js. `path`: where this server has it; `plugin`: the name by which it
    calls `converse.plugins.add`."""

    path: str
    plugin: str


PAGE_SCRIPTS = Collect[JID, PageScript]("page-scripts", plain=True)
"""Asked with the address of the host whose page is wanted; run before Converse.js starts."""
