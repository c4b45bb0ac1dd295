"""The options of the file transfer proxy."""

from __future__ import annotations

from dataclasses import dataclass

from xmppd.config import Duration, Size, option


@dataclass(frozen=True)
class Config:
    address: str = option("127.0.0.1", "The address to listen on; `0.0.0.0` for all of the machine.")
    port: int = option(7777, "The port to listen on.", low=0, high=65535)
    host: str = option("", "The name or address that clients connect to; empty: the domain of this host.", high=255)
    announced_port: int = option(0, "The port that clients connect to; 0: the one listened on.", low=0, high=65535)
    name: str = option("File transfer", "The name of this service, as clients show it.", high=200)
    streams: int = option(10, "Bytestreams of one user at a time.", low=1, high=10_000)
    rate: Size = option(Size(0), "Bytes per second of one stream and direction; 0: no limit.")
    waiting: Duration = option(
        Duration("2 minutes"), "How long a connection waits until its stream is activated.", low=5, high=3600
    )
    silence: Duration = option(
        Duration("10 minutes"), "A stream on which nothing was sent for so long ends.", low=10, high=86_400
    )
