"""The thanks that people get are counted, all of them and once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import Harness

FOLDER = Path(__file__).parent / "plugins"

pytestmark = pytest.mark.server(plugins={"thanks": {"words": ["thanks", "merci"]}}, more=f"plugin_path: ['{FOLDER}']")


def said(text: str, to: str = "juliet@localhost") -> str:
    return f"<message to='{to}' type='chat'><body>{text}</body></message>"


async def test_what_is_counted(server: Harness) -> None:
    romeo = await server.login("romeo")
    juliet = await server.login("juliet")
    for text in ("Thanks!", "But, soft! what light", "Merci, Juliet"):
        romeo.send(said(text))
    await server.quiet()
    assert await server.operation("thanks.show", jid=juliet.bare) == "juliet@localhost was thanked 2 times."
    assert await server.operation("thanks.show", jid=romeo.bare) == "romeo@localhost was thanked 0 times."


async def test_three_at_once_are_three(server: Harness) -> None:
    romeo = await server.login("romeo")
    juliet = await server.login("juliet")
    romeo.send(said("thanks") + said("thanks") + said("thanks"))
    await server.quiet()
    assert await server.operation("thanks.show", jid=juliet.bare) == "juliet@localhost was thanked 3 times."


async def test_who_is_away_is_thanked_too(server: Harness) -> None:
    await server.register("nurse")
    romeo = await server.login("romeo")
    romeo.send(said("thanks", to="nurse@localhost"))
    await server.quiet()
    assert await server.operation("thanks.show", jid="nurse@localhost") == "nurse@localhost was thanked 1 times."
