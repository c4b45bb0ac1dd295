"""Options of what web clients use."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .option import option
from .problem import Where

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|\*")


@dataclass(frozen=True)
class WebConfig:
    """Web clients, on all listeners of kind `http`."""

    websocket: bool = option(True, "Clients may connect to `/xmpp-websocket` (RFC 7395).")
    bosh: bool = option(True, "Clients may send their requests to `/http-bind` (XEP-0206).")
    origins: tuple[str, ...] = option(
        (),
        "Web pages whose scripts may connect, by their origin: `https://chat.example.org`; `*` is every page. Those of "
        "the server itself and of the domains that it serves may always, and so may programs that are no browsers.",
    )

    def check(self) -> Iterable[tuple[Where, str]]:
        for at, origin in enumerate(self.origins):
            if _ORIGIN.fullmatch(origin) is None:
                yield ("origins", at), f"expected an origin such as 'https://chat.example.org' or '*', got {origin!r}"
