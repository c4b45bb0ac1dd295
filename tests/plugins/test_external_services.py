"""XEP-0215: who gets which credentials."""

from __future__ import annotations

import pytest

from tests.harness import Harness, condition

NS = "urn:xmpp:extdisco:2"
SERVICES = [
    {"host": "turn.example", "secret": "s3", "lifetime": "1 hour"},
    {"host": "stun.example", "type": "stun"},
    {"host": "old.example", "username": "u", "password": "p", "transport": "tcp", "port": 80},
]

pytestmark = pytest.mark.server(plugins={"external_services": {"services": SERVICES}})


async def test_all_and_some(server: Harness) -> None:
    romeo = await server.login("romeo")
    answer = await romeo.iq(f"<services xmlns='{NS}'/>", to="localhost")
    turn, stun, old = answer[0]
    assert (
        dict(turn.attrib).items()
        >= {"host": "turn.example", "type": "turn", "port": "3478", "transport": "udp"}.items()
    )
    until = int(str(turn.get("username")).partition(":")[0])
    assert until == int(server.clock.wall + 3600)
    assert dict(stun.attrib) == {"host": "stun.example", "type": "stun", "port": "3478", "transport": "udp"}
    assert (old.get("username"), old.get("password"), old.get("expires")) == ("u", "p", None)
    answer = await romeo.iq(f"<services xmlns='{NS}' type='stun'/>", to="localhost")
    assert [each.get("host") for each in answer[0]] == ["stun.example"]
    assert answer[0].get("type") == "stun"


async def test_each_answer_has_credentials_of_its_own(server: Harness) -> None:
    romeo = await server.login("romeo")
    asked = f"<credentials xmlns='{NS}'><service host='turn.example' type='turn'/></credentials>"
    found = {(await romeo.iq(asked, to="localhost"))[0][0].get("username") for _ in range(3)}
    assert len(found) == 3


@pytest.mark.parametrize(
    ("inside", "error"),
    [
        ("", "bad-request"),
        ("<service host='turn.example'/>", "bad-request"),
        ("<service host='none.example' type='turn'/>", "item-not-found"),
        ("<service host='turn.example' type='turn' port='1'/>", "item-not-found"),
    ],
)
async def test_errors(server: Harness, inside: str, error: str) -> None:
    romeo = await server.login("romeo")
    answer = await romeo.iq(f"<credentials xmlns='{NS}'>{inside}</credentials>", to="localhost")
    assert condition(answer) == error
