"""One command under way, and the elements that show its steps (XEP-0050 sections 2.4 and 3.4)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from xmppd.contracts.commands import NS, Ask, Handler
from xmppd.errors import BadRequest
from xmppd.xep.forms import Submitted, read_form
from xmppd.xml import LANG, E, Element, alone

LANGUAGE: Final = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*")


@dataclass(slots=True)
class Run:
    """A command under way. `steps`: the forms shown so far, the last one is waiting."""

    id: str
    requester: str
    entity: str
    node: str
    until: float
    steps: list[Ask] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    busy: bool = False


def refused(condition: str, text: str = "") -> BadRequest:
    return BadRequest(text, (NS, condition))


def check_language(language: str) -> None:
    """Any language is answered in English; what is no language tag is refused (section 3.7)."""
    if language and LANGUAGE.fullmatch(language) is None:
        raise refused("bad-locale")


def form_of(asked: Element) -> Submitted | None:
    try:
        return read_form(asked)
    except BadRequest as error:
        raise refused("bad-payload", error.text) from None


def chosen(step: Ask, action: str) -> Handler:
    """Section 3.4: `execute` is the default of the step."""
    if action == "execute":
        handler = step.next or step.complete
    else:
        handler = step.next if action == "next" else step.complete
    if handler is None:
        raise refused("bad-action")
    return handler


def answer(run: Run, status: str) -> Element:
    return E("command", NS, {"node": run.node, "sessionid": run.id, "status": status, LANG: "en"})


def show(run: Run) -> Element:
    step, element = run.steps[-1], answer(run, "executing")
    actions = E("actions", NS, {"execute": "next" if step.next is not None else "complete"})
    if len(run.steps) > 1:
        actions.append(E("prev", NS))
    if step.next is not None:
        actions.append(E("next", NS))
    if step.complete is not None:
        actions.append(E("complete", NS))
    element.append(actions)
    element.append(alone(step.form))
    if step.note:
        element.append(E("note", NS, {"type": "info"}, step.note))
    return element
