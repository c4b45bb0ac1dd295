"""The options for other servers: which domains they let in, and what cannot be meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.authority import Authority
from xmppd.config import ConfigError, ServerConfig, parse_config
from xmppd.config.federation import nameserver_address
from xmppd.net.loop import RealClock
from xmppd.server.federation_warnings import federation_warnings
from xmppd.server.reload import certificate_problems, load_trust

LISTENERS = "listeners: [{}, {kind: server, address: 0.0.0.0}]"


def configured(federation: str, listeners: str = LISTENERS) -> ServerConfig:
    return parse_config(f"hosts: {{localhost: {{}}}}\n{listeners}\nfederation: {federation}\n", "c.yaml")


def test_who_is_talked_to() -> None:
    found = configured(
        "{allow: ['*.example.org', ONE.example], block: ['*.bad.example.org', b.example.org]}"
    ).federation
    reached = ["a.example.org", "one.example", "c.b.example.org"]
    others = ["example.org", "b.example.org", "x.bad.example.org", "two.example", "a.one.example"]
    assert [found.reaches(each) for each in reached + others] == [True] * 3 + [False] * 5


@pytest.mark.parametrize(
    ("federation", "said"),
    [
        ("{allow: ['*']}", "federation.allow[0]: all are allowed where `allow` is left out"),
        ("{block: ['*']}", "federation.block[0]: to talk to nobody, leave out the listener"),
        ("{block: [a.example, 'https://b.example']}", "federation.block[1]: expected a domain such as"),
        ("{block: ['romeo@b.example']}", "federation.block[0]: expected a domain such as"),
        ("{block: ['b.*']}", "federation.block[0]: expected a domain such as"),
        ("{allow: [a.example, b.example], block: [b.EXAMPLE]}", "federation.allow[1]: 'b.example' is blocked"),
        ("{allow: ['*.b.example'], block: ['*.example']}", "federation.allow[0]: '*.b.example' is blocked"),
        ("{domains: {'*.example.org': {}}}", "expected a domain such as 'example.org'"),
        ("{nameservers: [192.0.2.53, ns.example.org]}", "federation.nameservers[1]: expected an address such as"),
        ("{nameservers: ['127.0.0.1:99999']}", "federation.nameservers[0]: expected an address such as"),
        ("{private_addresses: [10.0.0.1/8]}", "federation.private_addresses[0]: expected a network such as"),
    ],
)
def test_what_cannot_be_meant(federation: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(federation)
    assert str(caught.value).startswith("c.yaml:3: ") and said in str(caught.value)


def test_patterns_that_only_overlap() -> None:
    found = configured("{allow: ['*.example.org'], block: ['*.a.example.org', example.org]}").federation
    assert found.reaches("b.example.org") and not found.reaches("b.a.example.org")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.53", ("192.0.2.53", 53)),
        ("127.0.0.1:5353", ("127.0.0.1", 5353)),
        ("2001:db8::53", ("2001:db8::53", 53)),
        ("[2001:db8::53]:54", ("2001:db8::53", 54)),
        ("fe80::1%eth0", ("fe80::1%eth0", 53)),
    ],
)
def test_name_servers(text: str, address: tuple[str, int]) -> None:
    assert nameserver_address(text) == address


def test_options_without_a_listener() -> None:
    with pytest.raises(ConfigError, match="there is no listener of kind 'server'"):
        configured("{block: [a.example]}", "listeners: [{}]")
    assert not configured("{}", "listeners: [{}]").talks_to_others


# ---- what is probably not meant


def warned(text: str, folder: Path) -> list[str]:
    path = folder / "xmppd.yaml"
    path.write_text(text)
    return [str(each).removeprefix(f"{path}:") for each in federation_warnings(parse_config(text), path)]


def test_a_server_that_nobody_reaches(tmp_path: Path) -> None:
    public = "hosts:\n  chat.example.org: {self_signed: true}\nlisteners:\n  - {}\n  - {kind: server%s}\n"
    (said,) = warned(public.replace("example.org", "shakespeare.lit") % "", tmp_path)
    assert said.startswith(
        "5: listeners[1].address: other servers cannot connect to 127.0.0.1, so chat.shakespeare.lit"
    )
    for fine in (
        public.replace(".org", ".org.test") % "",
        public % ", address: '::'",
        public.replace("server%s", "http"),
    ):
        assert warned(fine, tmp_path) == []


def test_hosts_that_no_certificate_names(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    both, _ = authority.certificate(dns=["a.test", "*.a.test"]).write(tmp_path, "both")
    text = f"""
hosts:
  a.test: {{certificate: {both}, key: {tmp_path}/both.key}}
  rooms.a.test: {{type: rooms}}
  rooms.b.test: {{type: rooms}}
  rooms.c.test: {{type: rooms, self_signed: true}}
components:
  irc.a.test: {{secret: 0123456789abcdefghij}}
  irc.b.test: {{secret: 0123456789abcdefghij}}
listeners: [{{}}, {{kind: server, address: 0.0.0.0}}, {{kind: component}}]
var: {tmp_path}/var
"""
    said = warned(text, tmp_path)
    assert [each.partition(": some")[0] for each in said] == [
        "5: hosts[rooms.b.test]: no certificate names rooms.b.test",
        "9: components[irc.b.test]: no certificate names irc.b.test",
    ]


def test_policy_that_changes_nothing(tmp_path: Path) -> None:
    text = (
        "hosts: {localhost: {}}\nlisteners: [{}, {kind: server}]\nfederation:\n"
        "  block: [localhost, a.test]\n  domains: {a.test: {tls: false}, b.test: {tls: false}}\n"
    )
    said = warned(text, tmp_path)
    assert [each.partition(": ")[0] for each in said] == ["4", "5"]
    assert "federation.block[0]: localhost is of this server" in said[0]
    assert "federation.domains[a.test]: this server does not talk to it" in said[1]


def test_authorities_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "xmppd.yaml"
    for name, said in (("missing.pem", "no such file"), ("xmppd.yaml", "there is no certificate in PEM in it")):
        text = f"hosts: {{localhost: {{}}}}\n{LISTENERS}\nfederation: {{authorities: {tmp_path / name}}}\n"
        path.write_text(text)
        (problem,) = certificate_problems(parse_config(text), path)
        assert (problem.line, problem.path) == (3, "federation.authorities") and said in problem.message
    Authority(tmp_path)
    path.write_text(text.replace("xmppd.yaml", "authority.pem"))
    config = parse_config(path.read_text())
    assert certificate_problems(config, path) == []
    assert load_trust(config, path, RealClock())


def test_the_certificate_of_rooms_is_looked_at(tmp_path: Path) -> None:
    text = (
        "hosts:\n  localhost: {}\n  rooms.localhost: {type: rooms, certificate: none.crt, key: none.key}\n" + LISTENERS
    )
    (problem,) = certificate_problems(parse_config(text), tmp_path / "xmppd.yaml")
    assert "rooms.localhost" in problem.path and "no such file" in problem.message
