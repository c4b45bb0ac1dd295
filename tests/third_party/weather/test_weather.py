"""The weather, on a real server without sockets."""

from __future__ import annotations

import pytest

from tests.harness import Harness, condition

NS = "urn:example:weather"
ASK = f"<weather xmlns='{NS}'/>"

pytestmark = pytest.mark.server(plugins={"weather": {"sky": "rain"}})


async def test_tells_the_weather(server: Harness) -> None:
    romeo = await server.login("romeo")
    answer = await romeo.iq(ASK, to="localhost")
    assert answer[0].items() == [("sky", "rain")]


async def test_remembers_the_place_and_shows_it(server: Harness) -> None:
    romeo = await server.login("romeo")
    answer = await romeo.iq(f"<weather xmlns='{NS}' place='Verona'/>", type="set")
    assert answer.get("type") == "result"
    answer = await romeo.iq(ASK)
    assert answer[0].items() == [("sky", "rain"), ("place", "Verona")]
    romeo.send("<presence/>")
    presence = await romeo.receive()
    assert presence[0].tag == f"{{{NS}}}weather"
    assert presence[0].get("place") == "Verona"


async def test_a_place_has_a_name(server: Harness) -> None:
    romeo = await server.login("romeo")
    answer = await romeo.iq(f"<weather xmlns='{NS}'/>", type="set")
    assert condition(answer) == "bad-request"


async def test_tells_it_over_http(server: Harness) -> None:
    answer = await server.http("GET", "/weather/Verona")
    assert (answer.status, answer.body) == (200, b"Verona: rain\n")
