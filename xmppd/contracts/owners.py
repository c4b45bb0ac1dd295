"""Owners (accounts, rooms) come to their home and leave it: what plugins do then beside what `Host.owned` does."""

from __future__ import annotations

from collections.abc import Container

from ..hooks import Notify

OWNERS_ARRIVED = Notify[Container[str]]("owners-arrived")
"""Owners (bare JIDs) have their home here from now on: read of them what `start` reads of all, if something must be
known before they do anything (when something of theirs is due). Nothing of them is in memory. Told again where a
handler has raised something."""
OWNERS_LEAVING = Notify[Container[str]]("owners-leaving")
"""Owners (bare JIDs) are about to leave: store what their next home has to know. What waits in a write-behind is stored
behind that, and what is in `Host.owned` is emptied then. Some may stay, because something of them is under way."""
