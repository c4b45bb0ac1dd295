"""The page of the public API, made from the sources of the modules that `xmppd.public_api` lists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from xmppd.public_api import MODULES

ROOT: Final = Path(__file__).parent.parent
SHAPES: Final = ("Chain", "Notify", "Collect")
TELLING: Final = frozenset(
    ("chain", "collect", "gather", "handlers", "tell", "tell_and_collect_errors", "tell_and_wait")
)
"""The calls of a host that run the handlers of the hook which is their first argument."""
SENTENCE: Final = re.compile(r"(.+?[.!?])(?:\s|$)", re.DOTALL)
QUOTED: Final = re.compile(r"((?::|->|\[|\|) ?)'([A-Z][\w. |\[\]]*)'|^'([A-Z][\w. |\[\]]*)'$")
MARKUP: Final = re.compile(r"<(?=[^`]*(?:`[^`]*`[^`]*)*$)")
"""What a reader of Markdown would take for HTML: outside of code."""
LONG: Final = 60
"""Characters that the value of a constant may have to be shown."""
FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
Function = ast.FunctionDef | ast.AsyncFunctionDef

HEAD: Final = """\
# The public API

This page is generated from the code. A plugin imports these modules and nothing else of `xmppd`: what is not here may
change from one release to the next. `make lint` holds the plugins that come with the server to it.

[Your first plugin](../tutorial/first-plugin.md) is the way in, [Write a plugin](../howto/write-a-plugin.md) says what
is right where, and the [glossary](../explanation/glossary.md) what the words mean.
"""
HOOKS: Final = """\
## Hooks

A method of a plugin becomes a handler by `@on(HOOK)`. The handlers of a `Chain` decide about a stanza, those of a
`Notify` are told, those of a `Collect` give something. In brackets stands what a handler gets (and gives). Handlers
of a *plain* hook are `def`; others may be `async def`.
"""
SERVICES: Final = """\
## Services

`self.host.service(KEY)` is the provider, if the plugin declares `uses = (KEY,)`; `self.host.find(KEY)` is the provider
or None. The protocols stand below, each in its module.
"""


@dataclass(frozen=True, slots=True)
class Member:
    """A public name of a module: its definition, and what its documentation says first."""

    name: str
    node: ast.stmt
    doc: str


@cache
def tree(module: str) -> ast.Module:
    """The source of a module. Raises FileNotFoundError."""
    path = ROOT / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(path.read_text("utf-8"), str(path))


@cache
def names(module: str) -> frozenset[str]:
    """The names of a public module that a plugin may import: the listed ones, else those of `__all__`, else those that
    the module defines without an underscore in front."""
    if MODULES[module]:
        return frozenset(MODULES[module])
    listed = [node for name, node in _assigned(tree(module).body) if name == "__all__"]
    if listed:
        return frozenset(ast.literal_eval(listed[0].value))  # type: ignore[attr-defined]
    return frozenset(each.name for each in members(module))


def refused(source: str) -> Iterator[tuple[int, str]]:
    """The imports of `xmppd` in the source of a plugin that are not public: the line and the name."""
    for node in ast.walk(ast.parse(source)):
        found: list[str] = []
        if isinstance(node, ast.Import):
            found = [
                each.name for each in node.names if each.name.split(".")[0] == "xmppd" and each.name not in MODULES
            ]
        elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "xmppd":
            module = str(node.module)
            allowed = names(module) if module in MODULES else ()
            found = [
                f"{module}.{each.name}"
                for each in node.names
                if each.name not in allowed and f"{module}.{each.name}" not in MODULES
            ]
        for name in found:
            yield node.lineno, name


def private_imports(folder: Path) -> list[str]:
    """A line for each import in a folder of plugins that is not public."""
    return [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in sorted(folder.rglob("*.py"))
        for line, name in refused(path.read_text("utf-8"))
    ]


def _assigned(body: Sequence[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node


def described(body: Sequence[ast.stmt]) -> Iterator[Member]:
    """What a module or a class defines, in its order, without what is private, overloads and type variables."""
    for at, node in enumerate(body):
        if isinstance(node, (ast.ClassDef, *FUNCTIONS)):
            if "overload" not in [ast.unparse(each) for each in node.decorator_list]:
                yield Member(node.name, node, first(ast.get_docstring(node) or ""))
            continue
        for name, assigned in _assigned([node]):
            if re.match(r"(typing\.)?TypeVar\(|logging\.", ast.unparse(assigned).partition(" = ")[2]):
                continue
            behind = body[at + 1] if at + 1 < len(body) else None
            text = behind.value.value if isinstance(behind, ast.Expr) and isinstance(behind.value, ast.Constant) else ""
            yield Member(name, assigned, first(text if isinstance(text, str) else ""))


@cache
def members(module: str) -> tuple[Member, ...]:
    found = described(tree(module).body)
    chosen = MODULES[module]
    return tuple(each for each in found if (each.name in chosen if chosen else not each.name.startswith("_")))


def first(text: str) -> str:
    """The first sentence."""
    text = " ".join(text.split())
    found = SENTENCE.match(text)
    return MARKUP.sub(r"\\<", found[1] if found else text)


# ---- one definition as it is shown


def shown(member: Member) -> list[str]:
    """The lines of a list that describe it."""
    node = member.node
    if isinstance(node, ast.ClassDef):
        inside = [each for each in described(node.body) if not each.name.startswith("_")]
        fields = _fields(node) if _is_record(node) else ""
        return [_line(f"class {node.name}{_bases(node)}{fields}", member.doc), *_inside(inside, bool(fields))]
    if isinstance(node, Function):
        return [_line(_signature(node), member.doc)]
    return [_line(_constant(member), member.doc)]


def _inside(found: Iterable[Member], is_record: bool) -> Iterator[str]:
    for each in found:
        node = each.node
        if isinstance(node, Function):
            is_property = any(ast.unparse(mark) == "property" for mark in node.decorator_list)
            returned = f": {_plain(node.returns)}" if node.returns is not None else ""
            yield "  " + _line(f"{each.name}{returned}" if is_property else _signature(node), each.doc)
        elif isinstance(node, ast.AnnAssign) and not is_record:
            yield "  " + _line(f"{each.name}: {_plain(node.annotation)}", each.doc)
        elif each.doc or not is_record:
            yield "  " + _line(each.name, each.doc)


def _line(code: str, doc: str) -> str:
    return f"- `{code}`: {doc}" if doc else f"- `{code}`"


def _plain(node: ast.AST | None) -> str:
    """A type, or arguments, as they are read: a type that is defined later without its quotes."""
    return QUOTED.sub(r"\1\2\3", ast.unparse(node)) if node is not None else ""


def _signature(node: Function) -> str:
    text = re.sub(r"^(self|cls)(, |$)", "", _plain(node.args))
    start = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    returned = f" -> {_plain(node.returns)}" if node.returns is not None and _plain(node.returns) != "None" else ""
    return f"{start}{node.name}({text}){returned}"


def _bases(node: ast.ClassDef) -> str:
    bases = [_plain(each) for each in node.bases]
    return f"({', '.join(bases)})" if bases else ""


def _is_record(node: ast.ClassDef) -> bool:
    marks = [ast.unparse(each) for each in node.decorator_list]
    return any(mark.startswith("dataclass") for mark in marks) or _bases(node) in ("(NamedTuple)", "(Struct)")


def _fields(node: ast.ClassDef) -> str:
    found = []
    for each in node.body:
        if isinstance(each, ast.AnnAssign) and not _plain(each.annotation).startswith("ClassVar"):
            default = f" = {ast.unparse(each.value)}" if each.value is not None else ""
            found.append(f"{ast.unparse(each.target)}: {_plain(each.annotation)}{default}")
    return f": {', '.join(found)}" if found else ""


def _constant(member: Member) -> str:
    value = getattr(member.node, "value", None)
    text = ast.unparse(value) if value is not None else ""
    return f"{member.name} = {text}" if 0 < len(text) <= LONG else member.name


# ---- hooks and services


def keys(kinds: Sequence[str]) -> Iterator[tuple[str, Member, ast.Call, str]]:
    """The constants that are made by one of these classes: module, constant, the call and its type argument."""
    for module in MODULES:
        for each in members(module):
            call = getattr(each.node, "value", None)
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Subscript):
                continue
            if ast.unparse(call.func.value) in kinds:
                yield module, each, call, f"{ast.unparse(call.func.value)}[{_plain(call.func.slice).strip('()')}]"


@cache
def tellers() -> Mapping[str, tuple[str, ...]]:
    """By hook, who runs its handlers: "core", or the name of a plugin."""
    found: dict[str, set[str]] = {}
    for path in (*ROOT.glob("xmppd/**/*.py"), *ROOT.glob("plugins/**/*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        who = "core" if parts[0] == "xmppd" else parts[1]
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in TELLING:
                for each in node.args[:1]:
                    if isinstance(each, ast.Name) and each.id.isupper():
                        found.setdefault(each.id, set()).add(who)
    return {name: tuple(sorted(who)) for name, who in found.items()}


def hooks() -> Iterator[str]:
    yield "| hook | module | shape | told by | when |"
    yield "|---|---|---|---|---|"
    for module, each, call, shape in keys(SHAPES):
        plain = ", plain" if any(word.arg == "plain" for word in call.keywords) else ""
        by = ", ".join(f"`{who}`" if who != "core" else who for who in tellers().get(each.name, ()))
        yield f"| `{each.name}` | {_link(module)} | `{_cell(shape)}`{plain} | {by} | {_cell(each.doc)} |"


def services(providers: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """`providers`: names of plugins by the name of a service."""
    yield "| key | module | protocol | provided by | what it is |"
    yield "|---|---|---|---|---|"
    for module, each, call, shape in keys(("Service",)):
        protocol = shape.removeprefix("Service[").removesuffix("]")
        name = ast.literal_eval(call.args[0])
        by = ", ".join(f"[`{who}`](config.md#{who})" for who in providers.get(name, ()))
        doc = each.doc or next((other.doc for other in members(module) if other.name == protocol), "")
        yield f"| `{each.name}` | {_link(module)} | `{protocol}` | {by} | {_cell(doc)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _link(module: str) -> str:
    """To the heading of a public module."""
    return f"[`{module.removeprefix('xmppd.')}`](#{module.replace('.', '')})"


# ---- the page


def page(providers: Mapping[str, Sequence[str]]) -> str:
    """`providers`: names of plugins by the name of a service."""
    lines = [HEAD, HOOKS, *hooks(), "", SERVICES, *services(providers), ""]
    for module in MODULES:
        about = (ast.get_docstring(tree(module)) or "").split("\n\n")[0]
        lines += [f"## {module}", "", " ".join(about.split()), "", *listed(module), ""]
    return "\n".join(lines).rstrip() + "\n"


def listed(module: str) -> Iterator[str]:
    """What is public in a module: what it defines, what it takes from where a plugin may not, and what it also has."""
    public = names(module)
    shown_above = {each.name for _, each, *_ in keys((*SHAPES, "Service"))}
    defined = [each for each in members(module) if each.name in public and each.name not in shown_above]
    for each in defined:
        yield from shown(each)
    also: list[str] = []
    for source, name in _imported(module):
        if name not in public:
            continue
        if source in MODULES:
            also.append(f"`{name}` ({_link(source)})")
        else:
            yield from shown(_definition(source, name))
    if also:
        yield ""
        yield f"Also here: {', '.join(also)}."


def _definition(module: str, name: str) -> Member:
    """Of a name, in the module itself or where that takes it from. Raises LookupError."""
    for each in described(tree(module).body):
        if each.name == name:
            return each
    for source, taken in _imported(module):
        if taken == name:
            return _definition(source, name)
    raise LookupError(f"{module}.{name}")


def _imported(module: str) -> Iterator[tuple[str, str]]:
    """The names that a module takes from other modules of the server: where from, and the name."""
    package = module.split(".") if (ROOT / module.replace(".", "/")).is_dir() else module.split(".")[:-1]
    for node in tree(module).body:
        if isinstance(node, ast.ImportFrom) and (node.level or str(node.module).startswith("xmppd.")):
            base = package[: len(package) - node.level + 1] if node.level else []
            for each in node.names:
                yield ".".join((*base, *filter(None, [node.module]))), each.name
