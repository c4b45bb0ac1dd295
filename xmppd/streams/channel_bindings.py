"""The channel bindings of a connection (RFC 5929, RFC 9266)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..contracts.link import Link

EXPORTER: Final = "tls-exporter"


class ChannelBindings(Mapping[str, bytes]):
    """The data by type, the best one first (XEP-0440). Those of the exporter, which few clients ask for, are derived
    when they are.

    A client that finds -PLUS takes the best type it knows and looks at no other, and may not go on without -PLUS then
    (RFC 5802 section 6): where the best one, which is the only one of many clients, is not to be had, -PLUS locks them
    out. So `wanted` "exporter" offers none there.
    """

    __slots__ = ("_link", "names")

    def __init__(self, link: Link, wanted: str) -> None:
        self._link = link
        exports = link.exports
        names: tuple[str, ...] = ()
        if wanted != "none" and (exports or wanted != "exporter"):
            names = (EXPORTER,) if exports else ()
            if link.tls_unique:
                names += ("tls-unique",)
            if link.tls_server_end_point:
                names += ("tls-server-end-point",)
        self.names = names
        """What was announced on this stream, and nothing else, is what a client may use."""

    def __getitem__(self, name: str) -> bytes:
        data = getattr(self._link, name.replace("-", "_")) if name in self.names else None
        if not data:
            raise KeyError(name)
        return bytes(data)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)
