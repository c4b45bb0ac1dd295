"""Shapes: what rules go by is shared by stanzas that are alike, and bounded."""

from __future__ import annotations

import pytest

from tests.harness import Harness
from xmppd import stanza as stanzas
from xmppd.contracts.routing import INBOUND
from xmppd.hosts import handlers as handlers_module
from xmppd.stanza import Kind, Stanza


def message(*tags: str, type: str = "chat") -> Stanza:
    return Stanza(Kind.MESSAGE, type, tags=tags)


def test_stanzas_that_are_alike_share_their_shape() -> None:
    first = message("a|b", "a|c")
    assert message("a|b", "a|c").shape is first.shape
    assert first.stamped(id="x").shape is first.shape
    others = [
        message("a|c", "a|b"),
        message("a|b", "a|c", type="normal"),
        first.stamped(type="headline"),
        first.with_child(b"<d xmlns='a'/>", "a|d"),
        Stanza(Kind.PRESENCE, "chat", tags=("a|b", "a|c")),
    ]
    assert len({first.shape, *(each.shape for each in others)}) == 6
    assert [each.shape.type for each in others] == ["chat", "normal", "headline", "chat", "chat"]
    assert others[3].shape.tags == ("a|b", "a|c", "a|d")


def test_ever_new_names_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stanzas, "SHAPES", 10)
    for number in range(25):
        assert message(f"a|{number}").shape.tags == (f"a|{number}",)
    assert len(stanzas._shapes) <= 10
    long = message("a|" + "x" * stanzas.SHAPE_SIZE)
    assert not long.shape.known
    assert all(shape is not long.shape for shape in stanzas._shapes.values())


async def test_chains_are_bounded_too(server: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers_module, "CHAINS", 10)
    expected = [name for name, _ in server.host.chain(INBOUND, message("a|b"))]
    assert "archive.incoming" in expected
    for number in range(25):
        assert [name for name, _ in server.host.chain(INBOUND, message(f"a|{number}"))] == expected
    assert len(server.host.chain.__self__._chains) <= 10
