"""Options of the plugin `ldap`, and how names go into its questions (a real directory: tests/interop/test_ldap.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from plugins.ldap import Config, Ldap
from plugins.ldap.names import dn_value, filled, filter_value, is_filter


def test_names_are_values() -> None:
    assert filled("(&(uid={name})(mail={name}))", "a*)(b", filter_value) == (r"(&(uid=a\2a\29\28b)(mail=a\2a\29\28b))")
    assert filled("uid={name},ou=x", "a,ou=y+c=é\0", dn_value) == r"uid=a\2cou\3dy\2bc\3d\c3\a9\00,ou=x"
    assert filled("(a={name})", "{name}", filter_value) == r"(a=\7bname\7d)"


@pytest.mark.parametrize(
    ("text", "good"),
    [("(a=b)", True), ("(&(a=b)(c=d))", True), ("a=b", False), ("(a=b", False), ("(a=b)(c=d)", False), ("", False)],
)
def test_what_is_a_filter(text: str, good: bool) -> None:
    assert is_filter(text) is good


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({}, "servers"),
        ({"base": "dc=x", "dn": "uid={name},dc=x"}, "dn"),
        ({"dn": "uid=x,dc=x"}, "dn"),
        ({"base": "dc=x", "filter": "(uid=x)"}, "filter"),
        ({"base": "dc=x", "filter": "uid={name}"}, "filter"),
        ({"base": "dc=x", "filter": "(uid={name})(a=b)"}, "filter"),
        ({"base": "dc=x", "bind_dn": "cn=x"}, "bind_dn"),
        ({"base": "dc=x", "password": "x"}, "password"),
        ({"base": "dc=x", "password_file": Path("/nowhere/at/all"), "bind_dn": "cn=x"}, "password_file"),
        ({"base": "dc=x", "ca": Path("/nowhere/at/all")}, "ca"),
        ({"base": "dc=x", "groups_base": "dc=x", "groups_filter": "(a=b)"}, "groups_filter"),
        ({"base": "dc=x", "sign_in_again": 60.0}, "sign_in_again"),
        ({"base": "dc=x", "servers": ("http://x",)}, ("servers", 0)),
        ({"base": "dc=x", "servers": ("ldap://[",)}, ("servers", 0)),
        ({"base": "dc=x", "servers": ("ldap://x:99999",)}, ("servers", 0)),
        ({"base": "dc=x", "servers": ("ldap://ldap.example.org",), "start_tls": False}, ("servers", 0)),
    ],
)
def test_mistakes_have_a_place(given: dict[str, Any], place: Any) -> None:
    assert place in [where for where, _ in Config(**{"servers": ("ldaps://x",), **given}).check()]


def test_it_is_off_by_default() -> None:
    assert not Ldap.standard
    assert not list(Config(servers=("ldap://127.0.0.1",), start_tls=False, base="dc=x").check())
