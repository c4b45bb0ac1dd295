"""Declarations of handlers: what a decorator notes, and for which stanzas a handler runs."""

from __future__ import annotations

from typing import Any

import pytest

from xmppd.hooks import ALL_KINDS, Chain, Notify, Registration, Stage, on
from xmppd.stanza import Kind, parse_stanza

HOOK = Chain[Any]("hook", plain=True)
TOLD = Notify[Any]("told")
BODY = "jabber:client|body"


def registrations(handler: Any) -> list[Registration]:
    found: list[Registration] = handler.__xmppd_on__
    return found


def test_a_handler_of_several_hooks() -> None:
    @on(HOOK, Stage.ARCHIVE, (Kind.MESSAGE,), types={"chat"}, tags=[BODY], if_stored_in="blocks")
    @on(TOLD)
    def handler(self: Any, event: Any) -> None:
        """Does nothing."""

    told, hook = registrations(handler)
    assert told == Registration(TOLD, Stage.GUARD, ALL_KINDS)
    assert (hook.stage, hook.kinds, hook.types, hook.tags, hook.if_stored_in) == (
        Stage.ARCHIVE, (Kind.MESSAGE,), {"chat"}, {BODY}, "blocks",
    )  # fmt: skip
    assert handler(None, None) is None, "it can be called as ever"


def test_stages_come_in_order() -> None:
    assert sorted(Stage) == [Stage.GUARD, Stage.BLOCK, Stage.STAMP, Stage.ARCHIVE]


def test_a_hook_says_its_name() -> None:
    assert "hook" in repr(HOOK) and HOOK.plain and not TOLD.plain


@pytest.mark.parametrize(
    ("narrowed", "concerned"),
    [
        ({}, True),
        ({"kinds": (Kind.PRESENCE, Kind.MESSAGE)}, True),
        ({"kinds": (Kind.IQ,)}, False),
        ({"types": {"chat", "normal"}}, True),
        ({"types": {"groupchat"}}, False),
        ({"tags": {BODY, "urn:x|y"}}, True),
        ({"tags": {"urn:x|y"}}, False),
        ({"types": {"chat"}, "tags": {"urn:x|y"}}, False),
    ],
)
def test_for_which_stanzas_it_runs(narrowed: dict[str, Any], concerned: bool) -> None:
    @on(HOOK, **narrowed)
    def handler(self: Any, event: Any) -> None:
        """Does nothing."""

    stanza = parse_stanza(b"<message type='chat'><body>hi</body><z xmlns='urn:z'/></message>")
    assert registrations(handler)[0].concerns(stanza.shape) is concerned


def test_an_empty_type_is_a_type() -> None:
    @on(HOOK, types={""})
    def handler(self: Any, event: Any) -> None:
        """Does nothing."""

    assert registrations(handler)[0].concerns(parse_stanza(b"<presence/>").shape)
    assert not registrations(handler)[0].concerns(parse_stanza(b"<presence type='unavailable'/>").shape)
