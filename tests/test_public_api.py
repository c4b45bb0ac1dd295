"""What a plugin may import is one list, and the page that is made from it says all of it."""

from __future__ import annotations

import ast
import importlib

import pytest

from docs.generate import DOCS, plugin_api_page
from docs.plugin_api import ROOT, SHAPES, described, keys, members, names, private_imports, refused, tellers, tree
from xmppd.public_api import MODULES


@pytest.mark.parametrize("folder", ["plugins", "tests/third_party"])
def test_plugins_import_nothing_else(folder: str) -> None:
    assert private_imports(ROOT / folder) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from xmppd.plugin import Plugin, JID", []),
        ("from xmppd.contracts import core\nimport xmppd.jid", []),
        ("from xmppd.xep import mam", []),
        ("import xmppd.routing.router", ["xmppd.routing.router"]),
        ("import xmppd", ["xmppd"]),
        ("from xmppd import routing", ["xmppd.routing"]),
        ("from xmppd.config import option, load_config", ["xmppd.config.load_config"]),
        ("from xmppd.contracts.core import JID", ["xmppd.contracts.core.JID"]),
        ("def later():\n    from xmppd.server.server import Server", ["xmppd.server.server.Server"]),
        ("from xmppd.plugin import *", ["xmppd.plugin.*"]),
        ("from .xmppd import routing\nimport asyncio", []),
    ],
)
def test_what_is_refused(source: str, found: list[str]) -> None:
    """Names of public modules and public modules themselves; nothing else, wherever it is imported."""
    assert [name for _, name in refused(source)] == found


@pytest.mark.parametrize("module", MODULES)
def test_what_is_listed_is_there(module: str) -> None:
    found = importlib.import_module(module)
    assert names(module), "nothing public"
    for name in names(module):
        assert hasattr(found, name), f"there is no {module}.{name}"


@pytest.mark.parametrize("module", MODULES)
def test_what_is_public_is_described(module: str) -> None:
    """Classes, functions and hooks have a sentence; a service has that of its protocol, an error is RFC 6120's."""
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    hooks = {each.name for where, each, *_ in keys(SHAPES) if where == module}
    for each in members(module):
        is_error = isinstance(each.node, ast.ClassDef) and "StanzaError" in map(ast.unparse, each.node.bases)
        if each.name in names(module) and ((isinstance(each.node, kinds) and not is_error) or each.name in hooks):
            assert each.doc, f"{module}.{each.name} has no docstring"


INTERNALS = {
    "HostInternals": {"host", "home"},
    "AccountInternals": {"account", "owner", "other"},
    "ServerInternals": {"server"},
    "StreamInternals": {"stream"},
    "ChannelInternals": {"channel"},
    "CursorInternals": {"cursor"},
}
"""The protocols of `contracts.internal`, and what plugins call the objects that have them."""


def used_internals(source: str) -> list[str]:
    """What a plugin takes from a host, account, server or stream that is there for the core only."""
    internal = {each.name: each for each in described(tree("xmppd.contracts.internal").body)}
    found = []
    for protocol, spoken in INTERNALS.items():
        node = internal[protocol].node
        assert isinstance(node, ast.ClassDef)
        private = {each.name for each in described(node.body)} - {"add", "remove"}  # any collection has them
        for each in ast.walk(ast.parse(source)):
            if isinstance(each, ast.Attribute) and each.attr in private and last_word(each.value) in spoken:
                found.append(ast.unparse(each))
    return found


def last_word(node: ast.expr) -> str:
    return ast.unparse(node).rpartition(".")[2]


def test_plugins_use_nothing_that_is_the_cores() -> None:
    assert used_internals("self.host.run(account.host.chain(INBOUND, stanza), event)\nself.server.memory") == [
        "self.host.run",
        "account.host.chain",
        "self.server.memory",
    ]
    for folder in ("plugins", "tests/third_party"):
        for path in (ROOT / folder).rglob("*.py"):
            assert used_internals(path.read_text("utf-8")) == [], path


def test_every_hook_is_told_by_somebody() -> None:
    assert {each.name for _, each, *_ in keys(SHAPES) if each.name not in tellers()} == set()


def test_the_page_has_every_name() -> None:
    page = plugin_api_page()
    for module in MODULES:
        assert f"\n## {module}\n" in page
        for name in names(module):
            assert f" {name}" in page or f"`{name}" in page, f"{module}.{name}"


def test_the_page_of_plugin_authors_leads_there() -> None:
    for each in ("howto/write-a-plugin.md", "tutorial/first-plugin.md"):
        assert "(../reference/plugin-api.md)" in (DOCS / each).read_text("utf-8")
