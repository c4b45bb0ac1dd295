"""docs/reference/operations.md: what administrators can ask a server to do, as its classes declare it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from types import UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints

from docs.plugins import built_in
from plugins.administration import ERRORS
from xmppd.admin.registry import About
from xmppd.admin.signature import operations_of
from xmppd.cli.common import Exit
from xmppd.cli.operations import CORE, METAVARS
from xmppd.cli.runner import STATUS
from xmppd.contracts.admin import OPERATIONS_NS, Code, Kind, Needs, Operation, Parameter, Result, Scope

INTRO: Final = """\
# Operations

This page is generated from the code. An operation is what an administrator can ask a server to do. It is there once,
and can be run in three ways:

- **from a shell**, by who runs the server: `xmppd user add`, `xmppd reload` and so on, and `xmppd op NAME` for every
  operation of the running server, those of its plugins included (`xmppd op list`). With `--json` the result is one JSON
  object, and an error is `{"error": {"code": …, "text": …}}` on standard error. What cannot be undone asks first, at a
  terminal (`--yes`: it does not);
- **from a client**, by the `admins` of a host: ad-hoc commands (XEP-0050), as XEP-0133 has them, or of our own;
- **from a program** on the same machine: the control socket (`xmppd.sock` in `var`, or the option `control`) takes a
  line `{"operation": "user.add", "arguments": {…}, "host": "…"}` and answers with a line `{"result": {…}, "text": "…"}`
  or that of an error. `host` is needed where there are several and no argument tells.

A plugin of yours can bring operations, too: [write a plugin](../howto/write-a-plugin.md#operations).
"""
CODES: Final = {
    Code.INVALID: "the arguments are wrong",
    Code.UNKNOWN: "there is no such operation",
    Code.FORBIDDEN: "it is not for who asks",
    Code.NOT_FOUND: "there is no such account, room …",
    Code.CONFLICT: "what is there already is in the way",
    Code.NOT_RUNNING: "it needs a running server",
    Code.UNAVAILABLE: "the store does not answer",
    Code.FAILED: "anything else; the text says what",
}
WHOSE: Final = {
    Scope.HOST: "administrators of the host, and who runs the server",
    Scope.SERVER: "who runs the server",
}
WITHOUT: Final = {
    Needs.SERVER: "the server runs",
    Needs.STORE: "on the store, too, while the server does not run",
    Needs.NOTHING: "on the store, too, while the server does not run; one that is not there yet is made",
}
TYPES: Final[dict[Any, str]] = {bool: "true or false", int: "number", float: "number"}


def operations_page() -> str:
    """Those of the core, then those of the plugins that come with the server."""
    lines = [INTRO, "## Errors", "", "| code | meaning | exit status | stanza error |", "|---|---|---|---|"]
    for code, meaning in CODES.items():
        stanza = f"`{ERRORS[code].condition}`" if code in ERRORS else ""
        lines.append(f"| `{code}` | {meaning} | {STATUS.get(code, Exit.NOT_DONE).value} | {stanza} |")
    core = [each for cls in (*CORE, About) for each in operations_of(cls)]
    commands = {each.name for cls in CORE for each in operations_of(cls)}
    lines += ["", "## Of the core", ""]
    for each in core:
        lines += _operation(each, f"xmppd {each.name.replace('.', ' ')}" if each.name in commands else "")
    for found in built_in():
        if own := operations_of(found.cls):
            lines += [f"## Of the plugin {found.name}", ""]
            for each in own:
                lines += _operation(each)
    return "\n".join(lines).rstrip() + "\n"


def _operation(operation: Operation, command: str = "") -> Iterable[str]:
    described = operation.description
    yield f"### {described.name}"
    yield ""
    yield described.summary + (" This cannot be undone." if described.dangerous else "")
    yield ""
    yield "```"
    yield shlex.join((command or f"xmppd op {described.name}").split()) + "".join(map(_usage, described.parameters))
    yield "```"
    yield ""
    if described.parameters:
        yield "| argument | type | default | meaning |"
        yield "|---|---|---|---|"
        for each in described.parameters:
            default = "" if each.required else f"`{each.default}`" if each.default else "none"
            yield f"| `{each.name}` | {_type(each)} | {default} | {each.doc} |"
        yield ""
    yield f"- Result: {_result(operation.result)}"
    yield f"- For: {WHOSE[described.scope]}; {WITHOUT[described.needs]}."
    if described.scope is Scope.HOST:
        nodes = [form.node for form in operation.forms] or [f"{OPERATIONS_NS}#{described.name}"]
        yield f"- In a client: {', '.join(f'`{node}`' for node in nodes)}"
    yield ""


def _usage(parameter: Parameter) -> str:
    if not parameter.required:
        return ""
    if parameter.kind is Kind.SECRET:
        return f" [--{parameter.name} …]"
    return f" {METAVARS.get(parameter.kind, parameter.name.upper())}{' …' if parameter.many else ''}"


def _type(parameter: Parameter) -> str:
    one = " or ".join(f"`{each}`" for each in parameter.choices) or parameter.kind.value
    return f"list of {one}" if parameter.many else one


def _result(result: type[Result]) -> str:
    fields = [f"`{name}` ({_shown(hint)})" for name, hint in get_type_hints(result).items() if name[:1] != "_"]
    doc = " ".join((result.__dict__.get("__doc__") or "").split())
    return f"{', '.join(fields)}. {doc}".strip()


def _shown(hint: Any) -> str:
    if get_origin(hint) is tuple:
        return f"list of {_shown(get_args(hint)[0])}s"
    if get_origin(hint) in (dict, UnionType):
        return "object"
    return TYPES.get(hint, "text" if hint is str or not hasattr(hint, "__struct_fields__") else "object")
