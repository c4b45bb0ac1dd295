"""XEP-0092: Software Version."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from xmppd.config import option
from xmppd.plugin import ANY_HOST, E, Element, Plugin, Request, To, Xep, iq

NS = "jabber:iq:version"


@dataclass(frozen=True)
class Config:
    os: bool = option(False, "Tell the operating system to anyone who asks.")


class Version(Plugin[Config]):
    xeps = (Xep(92, "1.1"),)
    features = (NS,)
    serves = ANY_HOST

    def setup(self) -> None:
        try:
            self.version = version("xmppd")
        except PackageNotFoundError:  # run from an unpacked archive
            self.version = "unknown"

    @iq("get", NS, "query", To.HOST)
    async def answer(self, request: Request) -> Element:
        query = E("query", NS, {}, E("name", NS, {}, "xmppd"), E("version", NS, {}, self.version))
        if self.config.os:
            query.append(E("os", NS, {}, platform.system()))
        return query
