"""Whatever a file holds, the answer is a configuration or a ConfigError with file and line."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xmppd.config import ConfigError, effective, load_config, parse_config
from xmppd.config.nodes import MAX_BYTES

GOOD = (Path(__file__).parents[2] / "config/examples/company.yaml").read_bytes()
NAMES = st.sampled_from(
    ["hosts", "listeners", "storage", "limits", "log", "var", "control", "plugins", "admins", "localhost"]
) | st.sampled_from(["port", "address", "tls", "type", "key", "level", "queue", "size", "resume_time", "<<", "~"])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12), st.dates(), st.binary(max_size=4)
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=5),
    max_leaves=25,
)
FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def survives(data: str | bytes) -> None:
    """A configuration that can be printed, or problems that can be printed, one line each."""
    try:
        text = effective(parse_config(data, "c.yaml"))
    except ConfigError as error:
        assert error.problems
        text = str(error)
        # Not splitlines(): it also splits at characters that no terminal ends a line at.
        assert len(text.split("\n")) == len(error.problems)
        assert all(problem.file == "c.yaml" for problem in error.problems)
    text.encode()


@FUZZ
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    survives(data)


@FUZZ
@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    survives(text)


@FUZZ
@given(st.text(alphabet="ab:-[]{}&*!|>'\"%@`#,?<~\\ \n\tU0x.", max_size=80))
def test_any_punctuation(text: str) -> None:
    survives(text)


@FUZZ
@given(TREES)
def test_any_tree(tree: object) -> None:
    survives(yaml.safe_dump(tree, allow_unicode=True))


@FUZZ
@given(st.data())
def test_a_good_file_with_a_wound(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(GOOD)))
    cut = data.draw(st.integers(0, 20))
    put = data.draw(st.binary(max_size=6) | st.text(alphabet=":-[]{}&*!|>'\"\n\t #~", max_size=6).map(str.encode))
    survives(GOOD[:at] + put + GOOD[at + cut :])


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"hosts:\n  a: {}\n\xff\n", "c.yaml:3: not UTF-8 text"),
        (b"a: 1\nb: \x00\n", "c.yaml:2: the character '\\x00' is not allowed in YAML"),
        (b"a: 1\nb: [1, 2\n", "c.yaml:3: not YAML: "),
        (b"a: 1\n\tb: 2\n", "c.yaml:2: not YAML: found character '\\t' that cannot start any token (indent with"),
        (b"a: b: c\n", "c.yaml:1: not YAML: mapping values are not allowed here (a ':' too many"),
        (b"a: 1\n---\nb: 1\n", "c.yaml:2: not YAML: but found another document"),
        (b"a: *nothing\n", "c.yaml:1: not YAML: found undefined alias 'nothing'"),
        (b'\na: "\\UFFFFFFFF"\n', "c.yaml:2: not YAML: "),
        (b'storage: "\\uD800"\n', "c.yaml:1: storage: a character that no text can have"),
        (b"%YAML 1." + b"1" * 5000 + b"\n---\na: 1\n", "c.yaml:1: not YAML: "),
        (b"a: !!python/object/apply:os.system ['x']\n", "c.yaml:1: tags such as 'tag:yaml.org,2002:python/object"),
        (b"a: ! x\n", "c.yaml:1: tags such as '!' are not allowed"),
        (b"- a\n- b\n", "c.yaml:1: expected options (name: value), got a list"),
        (b"\njust a text\n", "c.yaml:2: expected options (name: value), got the text 'just a text'"),
        (b"a: &x\n  b: *x\n", "c.yaml:1: a.b: an anchor must not hold itself"),
        (b"&x\n<<: *x\n", "an anchor must not hold itself"),
        (b"? [a]\n: 1\n", "c.yaml:1: a name must be a word, got a list"),
        (b"hosts: {<<: 5}\n", "c.yaml:1: hosts[<<]: '<<' takes options (name: value) or a list of them"),
        (b"[" * 100_000, "c.yaml:1: not YAML: more than 32 levels deep"),
        (b"- " * 100_000, "c.yaml:1: not YAML: more than 32 levels deep"),
        (b"x" * (MAX_BYTES + 1), "c.yaml: larger than 1048576 bytes"),
        (b'\n\nhosts:\n\n  "\\u2028": 1\n', "c.yaml:5: hosts[\\u2028]: expected options"),
    ],
)
def test_known_ways_to_break_a_parser(data: bytes, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(data, "c.yaml")
    assert any(line in str(problem) for problem in caught.value.problems), str(caught.value)
    survives(data)


def test_anchors_that_multiply_are_refused_at_once() -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    begin = time.process_time()
    with pytest.raises(ConfigError, match="more than 100000 values, with all anchors written out"):
        parse_config("\n".join(rows))
    assert time.process_time() - begin < 2


def test_a_long_chain_of_merges_does_not_overflow() -> None:
    rows = ["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{<<: *a{n - 1}}}" for n in range(1, 3000))]
    with pytest.raises(ConfigError):
        parse_config("\n".join(rows))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.yaml", "No such file"),
        ("", "Is a directory"),
        ("a\0b", "null byte"),
        ("x" * 300, "File name too long"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=rf"cannot be read: .*{reason}") as caught:
        load_config(tmp_path / name)
    assert "\0" not in str(caught.value)


def test_an_endless_file_is_not_read_to_its_end() -> None:
    with pytest.raises(ConfigError, match="larger than"):
        load_config(Path("/dev/zero"))


def test_the_file_is_named_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text("hosts:\n  localhost:\nlisteners:\n  - prot: 5222\n")
    with pytest.raises(ConfigError) as caught:
        load_config(Path("c.yaml"))
    assert str(caught.value) == "c.yaml:4: listeners[0].prot: unknown option; did you mean 'port'?"
