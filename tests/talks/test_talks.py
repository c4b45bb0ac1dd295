"""Every talk in this folder is true."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import Harness

from .runner import Player, read

TALKS = sorted(Path(__file__).parent.glob("*.talk"))


@pytest.mark.parametrize("path", TALKS, ids=lambda path: path.stem)
async def test_talk(path: Path) -> None:
    talk = read(path)
    harness = await Harness(talk.plugins, components=talk.components).start()
    try:
        await Player(talk, harness, path.name).play()
    finally:
        await harness.stop()


def test_there_are_talks() -> None:
    assert TALKS
