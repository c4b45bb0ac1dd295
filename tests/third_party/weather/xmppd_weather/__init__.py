"""The weather, for those who ask and in the presence of those who have said where they are."""

from __future__ import annotations

from dataclasses import dataclass

from xmppd.config import option
from xmppd.contracts.routing import OUTBOUND
from xmppd.errors import BadRequest
from xmppd.plugin import E, Element, HttpRequest, HttpResponse, Kind, Outbound, Plugin, Request, Stage, To, http, iq, on

NS = "urn:example:weather"


@dataclass(frozen=True)
class Config:
    sky: str = option("clear", "What the sky looks like.", choices=("clear", "cloudy", "rain"))
    place_length: int = option(100, "Characters that the name of a place may have.", low=1, high=1000)


@dataclass(frozen=True, slots=True)
class Place:
    name: str


class Weather(Plugin[Config]):
    features = (NS,)
    standard = False

    def setup(self) -> None:
        self.places = self.host.storage.map("weather-place", Place, cached=True)

    @iq("get", NS, "weather", To.HOST, To.SELF)
    async def tell(self, request: Request) -> Element:
        return self.weather(request.owner.bare if request.owner is not None else "")

    @iq("set", NS, "weather", To.SELF)
    async def choose(self, request: Request) -> None:
        name = request.payload.get("place", "").strip()
        if not 0 < len(name) <= self.config.place_length:
            raise BadRequest("a place has a name, and not a long one")
        owner = request.account.bare
        await self.host.storage.commit([self.places.put(owner, "", Place(name))])

    @on(OUTBOUND, Stage.STAMP, kinds=(Kind.PRESENCE,), types=("",))
    def show(self, event: Outbound) -> None:
        stanza = event.stanza
        if stanza.to is None and self.places.get(event.owner.bare):
            event.stanza = stanza.without(NS, "weather").with_element(self.weather(event.owner.bare))

    @http("GET", "/weather/{place}")
    async def page(self, request: HttpRequest) -> HttpResponse:
        text = f"{request.parameters['place']}: {self.config.sky}\n"
        return HttpResponse(200, text.encode(), "text/plain; charset=utf-8")

    def weather(self, owner: str) -> Element:
        """What is known, for an account (a bare JID that is in memory) or for the domain ("")."""
        place = self.places.get(owner).get("") if owner else None
        attributes = {"sky": self.config.sky}
        if place is not None:
            attributes["place"] = place.name
        return E("weather", NS, attributes)
