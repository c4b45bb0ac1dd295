"""XEP-0092."""

from __future__ import annotations

import platform

import pytest

from tests.harness import Harness, condition

NS = "{jabber:iq:version}"


async def test_tells_name_and_version(server: Harness) -> None:
    romeo = await server.login("romeo")
    for domain in ("localhost", "conference.localhost"):
        query = (await romeo.iq("<query xmlns='jabber:iq:version'/>", to=domain))[0]
        assert query.findtext(NS + "name") == "xmppd"
        assert query.findtext(NS + "version")
        assert query.find(NS + "os") is None


@pytest.mark.server(plugins={"version": {"os": True}})
async def test_tells_the_system_when_told_to(server: Harness) -> None:
    romeo = await server.login("romeo")
    query = (await romeo.iq("<query xmlns='jabber:iq:version'/>", to="localhost"))[0]
    assert query.findtext(NS + "os") == platform.system()


async def test_accounts_have_no_version(server: Harness) -> None:
    romeo = await server.login("romeo")
    answer = await romeo.iq("<query xmlns='jabber:iq:version'/>", to="romeo@localhost")
    assert condition(answer) == "service-unavailable"
