"""A plugin brings a type of host, and answers for all of its addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import Harness, condition
from xmppd.config import ConfigError, parse_config
from xmppd.hosts.loader import PluginError, choose, discover, host_types

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
