"""slixmpp lists and signs out the clients of an account (XEP-0494)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from slixmpp.exceptions import IqError

from tests.interop.people import WITHIN, Person
from tests.process.server import ServerProcess, configuration


@pytest.fixture
async def serving(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    server = ServerProcess(tmp_path, configuration(listeners=[{"port": 0}]))
    try:
        yield await server.start()
    finally:
        server.kill()
    assert "Traceback" not in server.log, server.log


async def test_clients_of_an_account(serving: ServerProcess) -> None:
    """slixmpp signs in the old way, so both sessions know the password, and say nothing of themselves."""
    await serving.account("romeo")
    phone, desk = (Person("romeo@localhost", serving.certificate) for _ in range(2))
    for client in (phone, desk):
        client.register_plugin("xep_0494")
        await client.sign_in(serving.port())
    found = await phone.plugin["xep_0494"].get_clients(timeout=WITHIN)
    assert [each["connected"] for each in found] == [True, True]
    assert all(each["auth"]["password"] for each in found)
    with pytest.raises(IqError) as refused:
        for each in found:
            await phone.plugin["xep_0494"].revoke(each["id"], timeout=WITHIN)
    assert refused.value.condition == "service-unavailable"
