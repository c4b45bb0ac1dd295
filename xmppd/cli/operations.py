"""Commands that are made from operations: those of the core have their own, `xmppd op` runs every one."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Mapping
from getpass import getpass
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from ..admin.control import ControlClient
from ..admin.operations import AccountOperations
from ..admin.registry import Answer
from ..admin.remote_domains import RemoteDomainOperations
from ..admin.signature import operations_of
from ..config import ServerConfig
from ..contracts.admin import Code, Description, Kind, OperationError, Parameter, Scope
from ..server.exposition import Exposition
from ..server.reload import Reloader
from .common import ConfigOption, Exit, complaints, configuration, fail, printable
from .runner import Runner, do, refuse

CORE: Final[tuple[type, ...]] = (AccountOperations, RemoteDomainOperations, Reloader, Exposition)
"""Each operation of these is a command: `user.add` is `xmppd user add`."""
GROUPS: Final = {
    "user": "Add, list, change and delete accounts.",
    "session": "End sessions.",
    "domain": "Look at other servers.",
}
METAVARS: Final = {Kind.ACCOUNT: "JID", Kind.DEVICE: "JID", Kind.ADDRESS: "JID", Kind.DOMAIN: "DOMAIN"}
Command = Callable[..., None]


def core() -> list[Description]:
    """The operations that have commands of their own."""
    return [operation.description for cls in CORE for operation in operations_of(cls)]


def add_commands(app: typer.Typer, groups: Mapping[str, typer.Typer]) -> None:
    for each in core():
        subject, _, verb = each.name.rpartition(".")
        (groups[subject] if subject else app).command(verb)(command(each))


# ---- one command


def command(description: Description) -> Command:
    """The command of an operation, as Typer wants it: a function whose signature names the options."""
    given = [_typed(each) for each in description.parameters]
    places_host = description.scope is Scope.HOST and not description.tells_host
    options: dict[str, tuple[Any, Any]] = {
        "config": (ConfigOption, None),
        "json": (Annotated[bool, typer.Option("--json", help="For programs: one JSON object.")], False),
    }
    if places_host:
        options["host"] = (Annotated[str, typer.Option("--host", help="The domain, if there are several.")], "")
    if description.dangerous:
        options["yes"] = (Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")], False)
    keyword = inspect.Parameter.KEYWORD_ONLY
    given += [
        inspect.Parameter(name, keyword, default=value, annotation=hint) for name, (hint, value) in options.items()
    ]

    def run(**values: Any) -> None:
        known = {each.name: values[each.name] for each in description.parameters}
        config, json = values["config"], values["json"]
        _run(description, known, configuration(config), json, values.get("host", ""), values.get("yes", True))

    run.__doc__ = description.summary
    run.__annotations__ = {}
    run.__signature__ = inspect.Signature(given)  # type: ignore[attr-defined]
    return run


def _typed(parameter: Parameter) -> inspect.Parameter:
    """Required ones are arguments; passwords are options, since they are asked for."""
    text = parameter.doc
    if parameter.choices:
        text += f" One of {', '.join(parameter.choices)}."
    names = [f"--{parameter.name.replace('_', '-')}", *([parameter.short] if parameter.short else [])]
    kind: Any = list[str] if parameter.many else str
    default: Any = inspect.Parameter.empty
    hint: Any
    if parameter.kind is Kind.SECRET:
        hint = Annotated[str | None, typer.Option(*names, help=f"{text} Asked for when not given.", show_default=False)]
        default = None
    elif parameter.required:
        hint = Annotated[kind, typer.Argument(help=text, metavar=METAVARS.get(parameter.kind, parameter.name.upper()))]
    elif parameter.positional:
        metavar = METAVARS.get(parameter.kind, parameter.name.upper())
        hint, default = Annotated[str | None, typer.Argument(help=text, metavar=f"[{metavar}]")], None
    elif parameter.kind is Kind.FLAG:
        hint, default = Annotated[bool, typer.Option(*names, help=text)], False
    else:
        shown = parameter.default or False
        hint, default = Annotated[kind | None, typer.Option(*names, help=text, show_default=shown)], None
    return inspect.Parameter(parameter.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)


def _run(
    description: Description, values: dict[str, Any], config: ServerConfig, json: bool, host: str, sure: bool
) -> None:
    if not sure and sys.stdin.isatty():
        typer.confirm(f"{description.summary.rstrip('.')}: this cannot be undone. Go on?", abort=True)
    for each in description.parameters:
        if each.kind is Kind.SECRET and values[each.name] is None and each.required:
            values[each.name] = asked()
    arguments = {name: value for name, value in values.items() if value not in (None, [], False)}

    async def ask(found: Runner) -> list[Any]:
        answer = await found.answer(description.name, arguments, host)
        _tell(answer, json)
        results = [answer.result]
        while description.paged and answer.result["next"]:
            answer = await found.answer(description.name, {**arguments, "after": answer.result["next"]}, host)
            _tell(answer, json)
            results.append(answer.result)
        return results

    results = do(config, description.needs, ask, json)
    if json:
        whole = results[0]
        if description.paged:
            whole = {**whole, "items": [item for each in results for item in each["items"]], "next": ""}
        print(msgspec.json.encode(whole).decode())


def _tell(answer: Answer, json: bool) -> None:
    """Each page of a list as it comes."""
    if answer.text and not json:
        shown = answer.terminal if answer.terminal and sys.stdout.isatty() else answer.text
        print(printable(shown.removesuffix("\n")))


def asked() -> str:
    """A password, typed twice."""
    first = getpass("Password: ")
    if getpass("Again: ") != first:
        fail("The two are not the same.")
    return first


# ---- any operation

RAW: Final = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}
"""For `op`: what follows is for the operation's own command."""


def op(context: typer.Context, config: ConfigOption = None) -> None:
    """Run any operation of the running server, those of its plugins included: xmppd op NAME [ARGUMENTS].

    `xmppd op list` says what there is, `xmppd op NAME --help` what it takes.
    """
    words, named = _without_config(context.args)
    loaded = configuration(named if named is not None else config)
    json = "--json" in words[: words.index("--") if "--" in words else None]
    running, descriptions = _descriptions(loaded, json)
    found = {each.name: each for each in descriptions}
    if not words or words[0] in ("list", "--json"):
        if not running:
            complaints.print("The server does not run; the operations of its plugins are not known.", markup=False)
        _list(descriptions, json)
        return
    name, *rest = words
    if name not in found:
        if not running:
            refuse(OperationError(f"{name!r} needs a running server: start it first", Code.NOT_RUNNING), json)
        refuse(
            OperationError(f"there is no operation {name!r}; `xmppd op list` says what there is", Code.UNKNOWN), json
        )
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command(found[name]))
    more = ["--config", str(named or config)] if named or config else []
    app(args=[*more, *rest], prog_name=f"xmppd op {name}")


def invite(context: typer.Context, config: ConfigOption = None) -> None:
    """Invite somebody: a link, with its QR code, that lets people register: xmppd invite [DOMAIN] [OPTIONS].

    `xmppd invite --help` says more while the server runs. The same as `xmppd op invite`.
    """
    context.args = ["invite", *context.args]
    op(context, config)


def _without_config(words: list[str]) -> tuple[list[str], Path | None]:
    """The words, and the file that one of them names."""
    rest: list[str] = []
    named: Path | None = None
    each = iter(words)
    for word in each:
        if word == "--":  # no options behind it
            return [*rest, word, *each], named
        if word in ("--config", "-c"):
            file = next(each, None)
            if file is None:
                fail(f"Option '{word}' requires an argument.", Exit.WRONG)
            named = Path(file)
        elif word.startswith("--config="):
            named = Path(word.partition("=")[2])
        else:
            rest.append(word)
    return rest, named


def _descriptions(config: ServerConfig, json: bool) -> tuple[bool, list[Description]]:
    """Whether the server runs, and its operations; while it does not run, those of the core."""

    async def ask() -> tuple[bool, list[Description]]:
        client = await ControlClient.connect(config.control_socket)
        if client is None:
            return False, core()
        try:
            answer = await client.answer("operation.list", {})
        finally:
            client.close()
        return True, msgspec.convert(answer.result["operations"], list[Description])

    try:
        return asyncio.run(ask())
    except OperationError as error:
        refuse(error, json)


def _list(found: list[Description], json: bool) -> None:
    if json:
        print(msgspec.json.encode(found).decode())
        return
    width = max((len(each.name) for each in found), default=0)
    for each in found:
        print(printable(f"{each.name:{width}}  {each.summary}"))
