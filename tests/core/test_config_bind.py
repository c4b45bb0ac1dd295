"""Options of every type: defaults, good, refused; the message and the line of each refusal."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from xmppd.config import (
    ConfigError,
    Duration,
    RawOptions,
    Size,
    bind,
    bind_options,
    nearest,
    option,
    unknown,
)
from xmppd.config.load import parse_text
from xmppd.config.option import options_of


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


@dataclass(frozen=True)
class Inner:
    a: int = option(1, "One.", low=0, high=9)
    b: str = option("two", "Two.")


@dataclass(frozen=True)
class Everything:
    flag: bool = option(False, "A flag.")
    count: int = option(3, "A count.", low=1, high=10)
    ratio: float = option(0.5, "A ratio.", low=0, high=1)
    text: str = option("x", "A text.", low=1, high=5)
    wait: Duration = option(Duration("1 minute"), "A time.", low=1, high=3600)
    room: Size = option(Size("1 KiB"), "A size.", high=1 << 20)
    file: Path = option(Path("a/b"), "A path.")
    mode: Literal["on", "off", "none"] = option("on", "A mode.")
    color: Color = option(Color.RED, "A color.")
    level: int = option(1, "A level.", choices=(1, 2, 4))
    maybe: int | None = option(None, "Perhaps.", low=1)
    names: tuple[str, ...] = option((), "Names.", high=2)
    tags: frozenset[int] = option(frozenset(), "Tags.")
    table: dict[str, Duration] = option(default_factory=dict, doc="A table.")
    inner: Inner = option(Inner(a=7), "Nested.")
    inners: tuple[Inner, ...] = option((), "Several.")
    from_: str = option("here", "Where from.", name="from")
    password: str = option("", "A secret.", secret=True, high=5)


@dataclass(frozen=True)
class Demanding:
    secret: str = option(doc="Must be there.")
    size: int = option(1, "A size.")


@dataclass(frozen=True)
class Span:
    low: int = option(1, "Low.")
    high: int = option(5, "High.")
    steps: tuple[Inner, ...] = option((), "Steps.")

    def check(self) -> Iterable[tuple[Any, str]]:
        if self.low > self.high:
            yield "low", f"above high ({self.high})"
        for at, step in enumerate(self.steps):
            if step.a > self.high:
                yield ("steps", at, "a"), "above high"


def read(text: str, cls: type[Any] = Everything) -> Any:
    return parse_text(text.encode(), cls, "f.yaml")


def refusals(text: str, cls: type[Any] = Everything) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, cls)
    lines = [str(problem) for problem in caught.value.problems]
    assert str(caught.value) == "\n".join(lines)
    return lines


@pytest.mark.parametrize("text", ["", "{}", "# nothing\n", "---\n...\n", "null", "\ufeff"])
def test_defaults(text: str) -> None:
    assert read(text) == Everything()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("flag: yes", True),
        ("flag: true", True),
        ("flag: Off", False),
        ("count: 10", 10),
        ("count: +7", 7),
        ("ratio: 1", 1.0),
        ("ratio: 5e-1", 0.5),
        ("text: 'yes'", "yes"),
        ("text: '5'", "5"),
        ("text: é", "é"),
        ("wait: 5 minutes", Duration(300)),
        ("wait: 90", Duration(90)),
        ("wait: 1.5", Duration(1.5)),
        ("wait: '90'", Duration(90)),
        ("room: 1_024", Size(1024)),
        ("room: 64 kB", Size(64_000)),
        ("file: /x/y", Path("/x/y")),
        ("mode: off", "off"),
        ("mode: none", "none"),
        ("color: green", Color.GREEN),
        ("level: 4", 4),
        ("maybe: 4", 4),
        ("maybe: null", None),
        ("maybe:", None),
        ("names: [a, b]", ("a", "b")),
        ("names:", ()),
        ("tags: [1, 2, 1]", frozenset({1, 2})),
        ("table: {a: 1s, 2: 1 hour}", {"a": Duration(1), "2": Duration(3600)}),
        ("inner: {b: c}", Inner(7, "c")),
        ("inner:", Inner(7)),
        ("inners: [{a: 2}, null, {}]", (Inner(2), Inner(1), Inner(1))),
        ("from: there", "there"),
        ("password: abc", "abc"),
    ],
)
def test_good(text: str, value: Any) -> None:
    name = text.split(":", 1)[0]
    found = getattr(read(text), "from_" if name == "from" else name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flag: 1", "flag: expected true or false, got the number 1"),
        ("flag: 'yes'", "flag: expected true or false, got the text 'yes'"),
        ("flag:", "flag: expected true or false, got nothing"),
        ("count: 11", "count: expected a whole number from 1 to 10, got the number 11"),
        ("count: '5'", "count: expected a whole number from 1 to 10, got the text '5'; leave out the quotes"),
        ("count: 0x5", "count: expected a whole number from 1 to 10, got the number 0x5"),
        ("count: 1:30", "count: expected a whole number from 1 to 10, got the number 1:30"),
        ("count: 1.5", "count: expected a whole number from 1 to 10, got the number 1.5"),
        ("count: [1]", "count: expected a whole number from 1 to 10, got a list"),
        ("ratio: .inf", "ratio: expected a number from 0 to 1, got the number .inf"),
        ("ratio: 2", "ratio: expected a number from 0 to 1, got the number 2"),
        ("text: 5", "text: expected text of 1 to 5 characters, got the number 5; put it in quotes"),
        ("text: no", "text: expected text of 1 to 5 characters, got the word 'no'; put it in quotes"),
        (
            "text: 2024-01-01",
            "text: expected text of 1 to 5 characters, got the text '2024-01-01'; put it in quotes",
        ),
        ("text: ''", "text: expected text of 1 to 5 characters, got the text ''"),
        ("text: abcdef", "text: expected text of 1 to 5 characters, got the text 'abcdef'"),
        (
            "wait: soon",
            "wait: expected a duration such as \"5 minutes\" from 1 second to 1 hour, got the text 'soon'",
        ),
        ("wait: 0", 'wait: expected a duration such as "5 minutes" from 1 second to 1 hour, got the number 0'),
        ("room: 2 MiB", "room: expected a size such as \"10 MiB\", at most 1 MiB, got the text '2 MiB'"),
        ("room: yes", "room: expected a size such as \"10 MiB\", at most 1 MiB, got the word 'yes'"),
        ("file: {a: b}", "file: expected a path, got options (name: value)"),
        ("file: ''", "file: expected a path, got the text ''"),
        ("mode: never", "mode: expected 'on' or 'off' or 'none', got the text 'never'"),
        ("color: blue", "color: expected 'red' or 'green', got the text 'blue'"),
        ("level: 3", "level: expected '1' or '2' or '4', got the number 3"),
        ("maybe: 0", "maybe: expected a whole number, at least 1, got the number 0"),
        ("names: a", "names: expected a list of at most 2 entries (text each), got the text 'a'"),
        ("names: [a, b, c]", "names: at most 2 allowed, got 3"),
        ("names: [a, [b]]", "names[1]: expected text, got a list"),
        ("tags: [1, x]", "tags[1]: expected a whole number, got the text 'x'"),
        (
            "table: [a]",
            'table: expected a mapping (a name and a duration such as "5 minutes" each), got a list',
        ),
        ("table: {a.b: x}", "table[a.b]: expected a duration such as \"5 minutes\", got the text 'x'"),
        ("inner: {a: 10}", "inner.a: expected a whole number from 0 to 9, got the number 10"),
        ("inner: 5", "inner: expected options, got the number 5"),
        ("inners: [{}, {A: 1}]", "inners[1].A: unknown option; did you mean 'a'?"),
        ("cuont: 5", "cuont: unknown option; did you mean 'count'?"),
        ("password: 12345", "password: expected text of at most 5 characters, got a number; put it in quotes"),
        ("password: abcdef", "password: expected text of at most 5 characters, got a text"),
    ],
)
def test_refused(text: str, message: str) -> None:
    assert refusals("# a comment\n" + text) == [f"f.yaml:2: {message}"]


def test_an_unknown_option_far_from_any_lists_all() -> None:
    (line,) = refusals("zzz: 1", Inner)
    assert line == "f.yaml:1: zzz: unknown option; known here: a, b"


def test_all_problems_come_together_in_the_order_of_lines() -> None:
    text = "inner:\n  a: 99\n  c: 1\ncount: x\ncount: y\nflag: !!bool yes\nnames:\n  - ok\n  - 5\n"
    lines = refusals(text)
    assert [line.split(": ")[0] for line in lines] == [f"f.yaml:{n}" for n in (2, 3, 5, 5, 6, 9)]
    assert "f.yaml:5: count: is already set in line 4" in lines
    assert "f.yaml:6: tags such as 'tag:yaml.org,2002:bool' are not allowed" in lines


def test_a_required_option_is_missed_where_its_section_begins() -> None:
    assert refusals("\n\nsize: 5\n", Demanding) == ["f.yaml:3: secret: is required: text"]
    assert read("secret: s", Demanding) == Demanding(secret="s")


def test_check_speaks_of_the_lines_it_leads_to() -> None:
    text = "high: 3\nsteps:\n  - a: 1\n  - b: x\n    a: 4\nlow: 8\n"
    assert refusals(text, Span) == [
        "f.yaml:5: steps[1].a: above high",
        "f.yaml:6: low: above high (3)",
    ]
    # An option that the file does not have: the line of its section, or of the deepest step there is.
    assert refusals("high: 0\n", Span) == ["f.yaml:1: low: above high (0)"]
    assert refusals("low: 0\nhigh: 0\nsteps:\n - b: x\n", Span) == ["f.yaml:4: steps[0].a: above high"]


def test_check_says_nothing_of_a_section_with_a_misspelled_option() -> None:
    assert refusals("low: 8\nhihg: 9\n", Span) == ["f.yaml:2: hihg: unknown option; did you mean 'high'?"]


def test_anchors_and_merges() -> None:
    text = "inner: &one {a: 2, b: x}\ninners:\n  - *one\n  - {<<: *one, a: 3}\n  - {<<: [{b: q}, *one]}\n"
    assert read(text).inners == (Inner(2, "x"), Inner(3, "x"), Inner(2, "q"))


def test_a_raw_plugin_is_bound_later_with_its_lines() -> None:
    @dataclass(frozen=True)
    class Holder:
        plugins: dict[str, RawOptions] = option(default_factory=dict, doc="Plugins.")

    plugins = read("plugins:\n  a:\n    cuont: 1\n    flag: 5\n  b: false\n  c: yes\n  d:\n", Holder).plugins
    assert {name: raw.enabled for name, raw in plugins.items()} == {"a": True, "b": False, "c": True, "d": True}
    assert {name: raw.line for name, raw in plugins.items()} == {"a": 2, "b": 5, "c": 6, "d": 7}
    with pytest.raises(ConfigError) as caught:
        bind_options(plugins["a"], Everything, "hosts[x.y].plugins.a")
    assert str(caught.value) == (
        "f.yaml:3: hosts[x.y].plugins.a.cuont: unknown option; did you mean 'count'?\n"
        "f.yaml:4: hosts[x.y].plugins.a.flag: expected true or false, got the number 5"
    )
    assert bind_options(plugins["d"], Everything, "p") == Everything()
    assert bind_options(RawOptions(), Inner, "p") == Inner()
    with pytest.raises(ConfigError, match=r"^f.yaml:7: p.secret: is required"):
        bind_options(plugins["d"], Demanding, "p")
    assert refusals("plugins: {e: 5}", Holder) == [
        "f.yaml:1: plugins.e: expected options, true or false, got the number 5"
    ]


def test_bind_takes_any_node() -> None:
    node = yaml.compose("[1, 2]", Loader=yaml.SafeLoader)
    assert node is not None
    assert bind(node, tuple[int, ...], "x") == (1, 2)
    with pytest.raises(ConfigError, match=r"^g:1: x\[0\]: expected true or false"):
        bind(node, tuple[bool, ...], "x", file="g")


@dataclass(frozen=True)
class NotAnOption:
    a: int = 5


@dataclass(frozen=True)
class BadType:
    a: complex = option(1j, "Odd.")


@dataclass
class NotFrozen:
    a: int = option(1, "Fine.")


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (NotAnOption, "NotAnOption.a is not made with option"),
        (BadType, "complex.* not supported"),
        (NotFrozen, "must be a frozen dataclass"),
        (int, "not a dataclass"),
    ],
)
def test_mistakes_of_an_author(cls: type, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        options_of(cls)


def test_an_option_needs_a_sentence() -> None:
    with pytest.raises(TypeError, match="sentence"):
        option(5, "")


def test_nearest() -> None:
    assert nearest("prot", ["port", "address", "tls"]) == "port"
    assert nearest("Message-Archive", ["message_archive", "roster"]) == "message_archive"
    assert nearest("q", ["port", "address"]) is None
    assert nearest("x" * 100_000, ["port"]) is None
    assert unknown("plugin", "archvie", ["archive"]) == "unknown plugin; did you mean 'archive'?"
    assert unknown("plugin", "x", []) == "unknown plugin; there are none here"
