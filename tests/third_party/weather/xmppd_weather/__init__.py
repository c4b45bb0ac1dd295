"""Answers `<weather xmlns='urn:example:weather'/>` with what the administrator says it is."""

from __future__ import annotations

from dataclasses import dataclass

from xmppd.config import option
from xmppd.plugin import E, Element, Plugin, Request, iq

NS = "urn:example:weather"


@dataclass(frozen=True)
class Config:
    sky: str = option("clear", "What the sky looks like.", choices=("clear", "cloudy", "rain"))


class Weather(Plugin[Config]):
    features = (NS,)
    standard = False

    @iq("get", NS, "weather")
    async def answer(self, request: Request) -> Element:
        return E("weather", NS, {"sky": self.config.sky})
