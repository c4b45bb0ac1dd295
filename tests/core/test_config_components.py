"""Components in the configuration: what is wrong with them is named with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from xmppd.config import ConfigError, ServerConfig, effective, parse_config

SECRET = "correct horse battery"
LISTENERS = "[{}, {kind: component}]"


def configured(components: str, listeners: str = LISTENERS) -> ServerConfig:
    return parse_config(
        f"hosts: {{example.org: {{}}, rooms.example.org: {{type: rooms}}}}\nlisteners: {listeners}\n"
        f"components: {components}\n",
        "c.yaml",
    )


def test_a_component() -> None:
    text = (
        f"{{IRC.example.org: {{secret: '{SECRET}', privileges: {{Example.org: {{roster: both, message: outgoing, "
        "iq: {urn:a: set}}}, delegates: {example.org: {urn:b: [node], urn:c: []}}}}"
    )
    config = configured(text)
    irc = config.components["irc.example.org"]
    granted = irc.privileges["example.org"]
    assert (granted.reads_roster, granted.writes_roster, granted.pushes, granted.presence) == (True, True, True, "none")
    assert granted.iq == {"urn:a": "set"} and irc.delegates == {"example.org": {"urn:b": ("node",), "urn:c": ()}}
    assert irc.read_secret() == SECRET and SECRET not in effective(config)


def test_the_secret_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")
    config = configured(f"{{a.example.org: {{secret_file: {tmp_path}/secret}}}}")
    assert config.components["a.example.org"].read_secret() == SECRET


@pytest.mark.parametrize(
    ("component", "said"),
    [
        ("{}", "components[a.example.org].secret: needs a secret of at least 16 characters"),
        ("{secret: short}", "components[a.example.org].secret: is easily guessed"),
        ("{secret: aaaaaaaaaaaaaaaaaaaaaaaa}", "components[a.example.org].secret: is easily guessed"),
        ("{secret_file: /nowhere/at/all}", "components[a.example.org].secret_file: cannot be read"),
        (f"{{secret: '{SECRET}', secret_file: /etc/hostname}}", "components[a.example.org].secret_file: one of"),
        (f"{{secret: '{SECRET}', connections: 0}}", "components[a.example.org].connections: "),
        (
            f"{{secret: '{SECRET}', privileges: {{exampel.org: {{roster: get}}}}}}",
            "components[a.example.org].privileges[exampel.org]: exampel.org is no host of this server",
        ),
        (
            f"{{secret: '{SECRET}', delegates: {{exampel.org: {{urn:a: []}}}}}}",
            "components[a.example.org].delegates[exampel.org]: exampel.org is no host of this server",
        ),
        (
            f"{{secret: '{SECRET}', privileges: {{example.org: {{roster: set, push: true}}}}}}",
            "components[a.example.org].privileges[example.org].push: needs",
        ),
        (
            f"{{secret: '{SECRET}', privileges: {{example.org: {{presence: roster}}}}}}",
            "components[a.example.org].privileges[example.org].presence: 'roster' needs",
        ),
    ],
)
def test_mistakes(component: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(f"{{a.example.org: {component}}}")
    message = str(caught.value)
    assert message.startswith(f"c.yaml:3: {said}") and "correct horse" not in message


@pytest.mark.parametrize(
    ("components", "said"),
    [
        (f"{{example.org: {{secret: '{SECRET}'}}}}", "c.yaml:3: components[example.org]: is a host of this server"),
        (f"{{'a b': {{secret: '{SECRET}'}}}}", "c.yaml:3: components[a b]: expected a domain"),
        (
            f"{{a.b: {{secret: '{SECRET}'}}, A.b: {{secret: '{SECRET}'}}}}",
            "c.yaml:3: components[A.b]: is the same as 'a.b'",
        ),
        (
            f"{{a.b: {{secret: '{SECRET}', delegates: {{example.org: {{urn:a: []}}}}}}, "
            f"c.d: {{secret: '{SECRET}', delegates: {{example.org: {{urn:a: [x]}}}}}}}}",
            "c.yaml:3: components[c.d].delegates[example.org][urn:a]: is delegated to a.b already",
        ),
    ],
)
def test_mistakes_about_several(components: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(components)
    assert str(caught.value).startswith(said)


def test_nobody_listens() -> None:
    with pytest.raises(ConfigError, match="no component can connect: there is no listener of kind 'component'"):
        configured(f"{{a.b: {{secret: '{SECRET}'}}}}", "[{}]")


def test_in_the_clear_on_loopback_only() -> None:
    with pytest.raises(ConfigError, match=r"listeners\[0\].address: components are not encrypted"):
        configured("{}", "[{kind: component, address: 0.0.0.0}]")
    configured("{}", "[{kind: component, address: 0.0.0.0, plain_anywhere: true}]")
