"""YAML as nodes that know their line: no tags, no key twice, nothing that grows when it is read."""

from __future__ import annotations

import re
from typing import Any, Final

import yaml
from yaml.composer import Composer

from .problem import ConfigError, Problem

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 32
MAX_NODES: Final = 100_000
"""Of the whole file with every anchor written out, so that ten lines of anchors cannot fill the memory."""

Pair = tuple[yaml.ScalarNode, yaml.Node]
_TAG: Final = "tag:yaml.org,2002:"
_MERGE: Final = _TAG + "merge"
_SURROGATE: Final = re.compile("[\ud800-\udfff\0]")


def line_of(node: yaml.Node) -> int:
    """The line of a node, from 1."""
    return int(node.start_mark.line) + 1 if node.start_mark else 0


def kind_of(node: yaml.Node) -> str:
    """What YAML takes a node for: "str", "int", "float", "bool", "null", "timestamp", "map", "seq", …"""
    return str(node.tag).removeprefix(_TAG)


def got(node: yaml.Node, secret: bool = False) -> str:
    """A node in words, for "expected …, got …"."""
    if isinstance(node, yaml.MappingNode):
        return "options (name: value)"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    kind, text = kind_of(node), str(node.value)
    if kind == "null":
        return "nothing"
    text = text if len(text) <= 60 else text[:60] + "…"
    if kind in ("int", "float"):
        return "a number" if secret else f"the number {text}"
    noun = "word" if kind == "bool" else "text"
    return f"a {noun}" if secret else f"the {noun} {text!r}"


def parse(data: bytes, file: str) -> tuple[yaml.MappingNode, list[Problem]]:
    """The top of a YAML document, and what is wrong with its form but does not keep it from being read further.

    Raises ConfigError when it cannot be; no input makes it raise anything else.
    """
    if len(data) > MAX_BYTES:
        raise ConfigError([Problem(file, 0, "", f"larger than {MAX_BYTES} bytes: not a configuration")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(file, line, "", "not UTF-8 text")]) from None
    node, problems = _compose(text, file)
    checker = _Checker(file, problems)
    if node is not None:
        checker.visit(node, "")
    if node is None or kind_of(node) == "null":
        mark = yaml.Mark(file, 0, 0, 0, None, 0)
        node = yaml.MappingNode(_TAG + "map", [], mark, mark)
    if isinstance(node, yaml.MappingNode) and not checker.unsafe:
        return node, problems
    if not checker.unsafe:
        problems.append(Problem(file, line_of(node), "", f"expected options (name: value), got {got(node)}"))
    raise ConfigError(problems)


def pairs(node: yaml.MappingNode) -> list[Pair]:
    """The keys of a mapping with their values; what `<<` brings in gives way to own keys. Skips what is none."""
    found: dict[str, Pair] = {}
    merged: list[yaml.MappingNode] = []
    for key, value in node.value:
        if key.tag == _MERGE:
            merged += filter(_is_mapping, value.value if isinstance(value, yaml.SequenceNode) else [value])
        elif isinstance(key, yaml.ScalarNode):
            found[key.value] = (key, value)
    for other in merged:
        for key, value in pairs(other):
            found.setdefault(key.value, (key, value))
    return list(found.values())


def _is_mapping(node: yaml.Node) -> bool:
    return isinstance(node, yaml.MappingNode)


class _Loader(yaml.SafeLoader):
    """PyYAML's composer, bounded in depth; a tag is noted and ignored."""

    def __init__(self, text: str, file: str, problems: list[Problem]) -> None:
        super().__init__(text)
        self.file = file
        self.problems = problems
        self.depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            line = event.start_mark.line + 1
            self.problems.append(Problem(self.file, line, "", f"tags such as {event.tag!r} are not allowed"))
            event.tag = None
            event.implicit = (True, False) if isinstance(event, yaml.ScalarEvent) else True
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_DEPTH} levels deep", problem_mark=event.start_mark)
        # The stub knows no index of a mapping's key; it is passed through.
        node = Composer.compose_node(self, parent, index)
        self.depth -= 1
        return node


def _compose(text: str, file: str) -> tuple[yaml.Node | None, list[Problem]]:
    """The document, None when empty, and the tags that were refused."""
    problems: list[Problem] = []
    try:
        loader = _Loader(text, file, problems)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        # It is a number here, whatever the exception's name for it says.
        message = f"the character {chr(int(error.character))!r} is not allowed in YAML"
        raise ConfigError([Problem(file, line, "", message)]) from None
    try:
        return loader.get_single_node(), problems
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError([*problems, Problem(file, mark.line + 1 if mark else 0, "", _syntax(error))]) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # PyYAML lets some of these through: "\UFFFFFFFF" in quotes, a version of 5,000 digits.
        line = loader.line + 1
        raise ConfigError([*problems, Problem(file, line, "", f"not YAML: {error}")]) from None
    finally:
        loader.dispose()


def _syntax(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or error.context or "cannot be read"
    if "'\\t'" in problem:
        problem += " (indent with spaces, not with tabs)"
    elif "mapping values are not allowed" in problem:
        problem += " (a ':' too many, or the indentation is wrong)"
    return f"not YAML: {problem}"


class _Checker:
    """Visits nodes once: keys are words, none is there twice; no anchor holds itself; the sum is bounded."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.file = file
        self.problems = problems
        self.sizes: dict[int, int] = {}
        self.open: set[int] = set()
        self.unsafe = False
        """Walking the nodes further would not end, or not soon."""

    def say(self, node: yaml.Node, path: str, message: str) -> None:
        self.problems.append(Problem(self.file, line_of(node), path, message))

    def visit(self, node: yaml.Node, path: str) -> int:
        """How many nodes it is with all anchors written out."""
        known = self.sizes.get(id(node))
        if known is not None:
            return known
        if id(node) in self.open:
            self.unsafe = True
            self.say(node, path, "an anchor must not hold itself")
            return 0
        if isinstance(node, yaml.ScalarNode):
            if _SURROGATE.search(node.value):
                self.say(node, path, "a character that no text can have")
            return 1
        self.open.add(id(node))
        if isinstance(node, yaml.MappingNode):
            size = 1 + self._mapping(node, path)
        else:
            size = 1 + sum(self.visit(item, f"{path}[{at}]") for at, item in enumerate(node.value))
        self.open.discard(id(node))
        if size > MAX_NODES and not self.unsafe:
            self.unsafe = True
            self.say(node, path, f"more than {MAX_NODES} values, with all anchors written out")
        self.sizes[id(node)] = size
        return size

    def _mapping(self, node: yaml.MappingNode, path: str) -> int:
        lines: dict[str, int] = {}
        size = 0
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.say(key, path, f"a name must be a word, got {got(key)}")
                continue
            inside = joined(path, key.value)
            if key.value in lines:
                self.say(key, inside, f"is already set in line {lines[key.value]}")
            lines[key.value] = line_of(key)
            self.visit(key, inside)
            size += self.visit(value, inside)
            if key.tag == _MERGE:
                sources = value.value if isinstance(value, yaml.SequenceNode) else [value]
                if not all(map(_is_mapping, sources)):
                    self.say(key, inside, "'<<' takes options (name: value) or a list of them")
        return size


def joined(path: str, name: str) -> str:
    """A path one step longer: `hosts` and `example.org` make `hosts[example.org]`."""
    if not re.fullmatch(r"[\w-]+", name):
        shown = name if name.isprintable() and len(name) <= 80 else ascii(name[:80])[1:-1]
        return f"{path}[{shown}]"
    return f"{path}.{name}" if path else name
