"""A plugin brings a type of host, and answers for all of its addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import Harness, condition
from xmppd.config import ConfigError, parse_config
from xmppd.hosts.loader import PluginError, choose, discover, host_types, known_types, with_accounts
from xmppd.jid import JID

ECHO = """
from xmppd.contracts.routing import ENTITIES
from xmppd.plugin import HostType, NoConfig, Plugin


class Echo(Plugin[NoConfig]):
    serves = ("echo",)
    host_types = (HostType("echo", "says what it is told"),)
    provides = (ENTITIES,)

    def receive(self, arrival):
        told = arrival.stanza
        arrival.then(lambda: self.host.router.deliver(told.stamped(to=told.sender, sender=told.to)))
        return None
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "echo.py").write_text(ECHO)
    return tmp_path


async def test_a_domain_of_another_type(folder: Path) -> None:
    harness = Harness(
        hosts={"echo.localhost": {"type": "echo", "plugins": {"echo": True}}}, more=f"plugin_path: ['{folder}']"
    )
    await harness.start()
    romeo = await harness.login("romeo", "r", presence=True)
    romeo.send("<message to='anybody@echo.localhost' id='1'><body>hello</body></message>")
    (answer,) = await romeo.receive_all()
    assert (answer.get("from"), answer.findtext("{jabber:client}body")) == ("anybody@echo.localhost", "hello")
    # What serves every type of host is there as well.
    romeo.send("<iq type='get' id='2' to='echo.localhost'><ping xmlns='urn:xmpp:ping'/></iq>")
    (pong,) = await romeo.receive_all()
    assert (pong.get("type"), pong.get("from"), condition(pong)) == ("result", "echo.localhost", "")
    await harness.stop()


GUESTS = """
from xmppd.plugin import HostType, NoConfig, Plugin


class Guests(Plugin[NoConfig]):
    serves = ("guests",)
    host_types = (HostType("guests", "people without a roster", has_accounts=True),)
"""


async def test_a_type_with_accounts(tmp_path: Path) -> None:
    """People sign in there, as on a host of the core's type; nobody looks at the word."""
    (tmp_path / "guests.py").write_text(GUESTS)
    harness = Harness(
        hosts={"guests.localhost": {"type": "guests", "plugins": {"guests": True}}}, more=f"plugin_path: ['{tmp_path}']"
    )
    await harness.start()
    try:
        server = harness.server
        guests = server.hosts["guests.localhost"]
        assert server.host_for("guests.localhost") is guests
        assert server.host_for("conference.localhost") is None
        assert server.operations.domains == {"localhost", "guests.localhost"}
        assert with_accounts(harness.config.hosts, server.host_types) == ["localhost", "guests.localhost"]
        assert with_accounts(harness.config.hosts, known_types(harness.config)) == ["localhost", "guests.localhost"]
        await server.accounts.create(JID.parse("tybalt@guests.localhost"), "pencil")
        assert await guests.open_account(JID.parse("tybalt@guests.localhost")) is not None
    finally:
        await harness.stop()


def refusal(type: str) -> str:
    text = f"hosts:\n  a:\n    type: {type}\nlisteners: [{{}}]\n"
    config = parse_config(text, "c.yaml")
    with pytest.raises(ConfigError) as caught:
        choose(config.hosts["a"], "a", discover())
    return str(caught.value)


def test_an_unknown_type_is_named_with_its_line() -> None:
    assert refusal("room") == "c.yaml:3: hosts.a.type: unknown type of host; did you mean 'rooms'?"
    assert refusal("echo").startswith("c.yaml:3: hosts.a.type: unknown type of host; known here: accounts, ")


def test_a_type_is_brought_once(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(ECHO.replace("provides = (ENTITIES,)", ""))
    with pytest.raises(PluginError, match="hosts of type 'echo' are there already"):
        host_types(discover([tmp_path]))
