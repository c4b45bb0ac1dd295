"""The greeter, from a folder of the administrator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness import Harness


@pytest.fixture
async def greeting() -> AsyncIterator[Harness]:
    folder = Path(__file__).parent / "plugins"
    harness = Harness(plugins={"greeter": {"text": "Hello!"}}, more=f"plugin_path: ['{folder}']")
    await harness.start()
    yield harness
    await harness.stop()


async def test_greets_once(greeting: Harness) -> None:
    romeo = await greeting.login("romeo")
    romeo.send("<presence/>")
    messages = [each for each in await romeo.receive_all() if each.tag == "{jabber:client}message"]
    assert [each.findtext("{jabber:client}body") for each in messages] == ["Hello!"]
    again = await greeting.login("romeo")
    again.send("<presence/>")
    assert not [each for each in await again.receive_all() if each.tag == "{jabber:client}message"]
