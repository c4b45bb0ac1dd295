"""Listeners in the configuration: each kind has options of its own."""

from __future__ import annotations

import pytest

from xmppd.config import ClientListenerConfig, ConfigError, HttpListenerConfig, ServerConfig, effective, parse_config
from xmppd.config.doc import server_markdown


def configured(listeners: str, more: str = "") -> ServerConfig:
    return parse_config(f"hosts: {{example.org: {{}}, localhost: {{}}}}\nlisteners: {listeners}\n{more}", "c.yaml")


def test_the_kind_chooses_the_options() -> None:
    config = configured("[{}, {kind: client, port: 1}, {kind: http, hosts: [EXAMPLE.org], paths: [/a]}]")
    assert [type(each) for each in config.listeners] == [ClientListenerConfig, ClientListenerConfig, HttpListenerConfig]
    assert [(each.kind, each.port) for each in config.listeners] == [("client", 5222), ("client", 1), ("http", 5281)]
    assert parse_config(effective(config)).listeners == config.listeners
    assert "`listeners[]`, kind `http`" in server_markdown()


@pytest.mark.parametrize(
    "listener", ["{port: 9090}", "{kind: http, tls: none, port: 9090}", "{address: 0.0.0.0, port: 9090}"]
)
def test_the_port_of_the_metrics_is_a_port_like_others(listener: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(f"[{listener}]", "metrics: {port: 9090}\n")
    assert str(caught.value) == "c.yaml:3: metrics.port: 127.0.0.1 port 9090 is taken by listeners[0]"


@pytest.mark.parametrize(
    ("listener", "said"),
    [
        ("{kind: htp}", "c.yaml:2: listeners[0].kind: unknown kind; did you mean 'http'?"),
        ("{kind: [http]}", "c.yaml:2: listeners[0].kind: expected a word, got a list"),
        ("{kind: http, tls: starttls}", "c.yaml:2: listeners[0].tls: expected 'direct' or 'proxy' or 'none', got"),
        ("{kind: http, channel_binding: any}", "c.yaml:2: listeners[0].channel_binding: unknown option; known here: "),
        ("{paths: [/a]}", "c.yaml:2: listeners[0].paths: unknown option; known here: "),
        ("{kind: http, tls: none, address: '::'}", "c.yaml:2: listeners[0].tls: 'none' is for loopback addresses"),
        ("{kind: http, address: nowhere}", "c.yaml:2: listeners[0].address: expected an IP address"),
        ("{kind: http, paths: [metrics]}", "c.yaml:2: listeners[0].paths[0]: expected a path such as '/metrics'"),
        ("{kind: http, hosts: [exampel.org]}", "c.yaml:2: listeners[0].hosts[0]: unknown host; did you mean"),
        ("{port: 5281}, {kind: http}", "c.yaml:2: listeners[1]: 127.0.0.1 port 5281 is taken by listeners[0]"),
    ],
)
def test_mistakes_are_named_with_their_place(listener: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(f"[{listener}]")
    assert str(caught.value).startswith(said)


def test_plain_http_elsewhere_is_said_in_words() -> None:
    (listener,) = configured("[{kind: http, tls: none, address: '::', plain_anywhere: true}]").listeners
    assert isinstance(listener, HttpListenerConfig)


def test_the_option_metrics_is_such_a_listener() -> None:
    config = configured("[{}]", "metrics: {address: 192.0.2.1, port: 9090}")
    _, listener = config.every_listener
    assert isinstance(listener, HttpListenerConfig)
    assert (listener.address, listener.port, listener.tls) == ("192.0.2.1", 9090, "none")
    assert listener.paths == ("/metrics",)
    assert (config.listener_place(0), config.listener_place(1)) == (("listeners", 0), ("metrics", "port"))
    assert configured("[{}]").every_listener == configured("[{}]").listeners


def test_the_address_of_a_listener_is_its_own_or_that_of_the_proxy_in_front() -> None:
    for options, port, wanted in (
        ({}, 5281, "https://a.example:5281"),
        ({}, 443, "https://a.example"),
        ({"tls": "none"}, 5280, "http://a.example:5280"),
        ({"tls": "none"}, 80, "http://a.example"),
        ({"public_url": "https://chat.{host}/xmpp"}, 5280, "https://chat.a.example/xmpp"),
    ):
        assert HttpListenerConfig(**options).base("a.example", port) == wanted  # type: ignore[arg-type]
    for wrong in ("chat.example.org", "https://a/", "ftp://a", "https://a b", "https://{domain}"):
        assert [where for where, _ in HttpListenerConfig(public_url=wrong).check()] == ["public_url"], wrong
