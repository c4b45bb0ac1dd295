"""The setting with two homes: each owner has one of them, and what is decided together concerns owners of one."""

from __future__ import annotations

import os
from collections.abc import Sequence

from xmppd.routing.homes import Homes
from xmppd.storage.api import Batch, Release, Write
from xmppd.storage.store import Store

HOMES = int(os.environ.get("XMPPD_TEST_HOMES", "1"))
"""Among so many the owners are shared out (`make homes`)."""


def watch(store: Store) -> None:
    """Refuse what writes for owners of two homes at once. A domain's own records are written by whoever has to."""
    homes, join = Homes(HOMES), store.join

    def checked(writes: Sequence[Write], release: Release) -> Batch:
        owners = {write.owner for write in writes if "@" in write.owner}
        assert len({homes.of(each) for each in owners}) <= 1, f"one decision for owners of two homes: {sorted(owners)}"
        return join(writes, release)

    if HOMES > 1:
        store.join = checked  # type: ignore[method-assign]
