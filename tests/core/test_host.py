"""A host: its plugins and their services."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.core.parts import Core
from xmppd.errors import LocalError
from xmppd.jid import JID
from xmppd.plugin import NoConfig, Plugin
from xmppd.service import Service
from xmppd.stanza import message

GREETER = Service["Greeter"]("greeter")


class Greeter(Plugin[NoConfig]):
    provides = (GREETER,)


@pytest.fixture
async def core() -> AsyncIterator[Core]:
    core = await Core().open()
    yield core
    await core.close()


def test_names(core: Core) -> None:
    host = core.host
    assert str(host.jid) == host.domain == "localhost" and host.has_accounts
    assert host.router is core.router and host.locks is core.router.locks  # type: ignore[comparison-overlap]
    rooms = core.add_host("conference.localhost", "rooms")
    assert not rooms.has_accounts


def test_a_service_has_one_provider(core: Core) -> None:
    host = core.host
    assert host.find(GREETER) is None
    with pytest.raises(LookupError):
        host.service(GREETER)
    plugin = Greeter(host, NoConfig())  # type: ignore[arg-type]
    host.add("greeter", plugin)
    assert host.service(GREETER) is host.find(GREETER) is host.plugins["greeter"] is plugin
    assert plugin.name == "greeter"
    with pytest.raises(LocalError, match="other and greeter both provide greeter"):
        host.add("other", Greeter(host, NoConfig()))  # type: ignore[arg-type]


def test_deliver_routes_a_stanza_of_its_own(core: Core) -> None:
    stanza = message("chat", to=JID.parse("juliet@localhost"))
    core.host.deliver(stanza)
    assert core.router.delivered == [stanza]
