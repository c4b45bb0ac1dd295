"""Ad-hoc commands (XEP-0050): plugins offer them, the commands plugin lists them, keeps their sessions, runs them."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ..hooks import Collect
from ..jid import JID
from ..xep.forms import Submitted
from ..xml import Element
from .core import Account, Session

NS: Final = "http://jabber.org/protocol/commands"


class Who(enum.Enum):
    """Who sees a command and may run it. Others get <forbidden/>."""

    ADMIN = "admin"
    """The host's `admins`."""
    USER = "user"
    """Accounts of this host."""
    OWNER = "owner"
    """The account itself, for commands of an account."""
    ANYONE = "anyone"


@dataclass(frozen=True, slots=True)
class CommandAsk:
    """`account` None: the host's commands are wanted, otherwise those of that account. `node`: of the one that is
    wanted, "" for a list; a command that stands in no list is given for its node only."""

    requester: JID
    account: Account | None = None
    node: str = ""


@dataclass(slots=True)
class Call:
    """One step of a command.

    `form`: what was filled in, None at the first step. `session`: the requester's local session. `data`: the handler's
    own, kept from step to step, gone with the command's session.
    """

    requester: JID
    account: Account | None
    session: Session | None
    form: Submitted | None = None
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ask:
    """A form to be filled in, and what happens then. At least one of `next`, `complete`.

    `next` leads to another form, `complete` ends the command; <prev/> is the commands plugin's business.
    """

    form: Element
    next: Handler | None = None
    complete: Handler | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """The end. A command that failed has a note of level "error" (section 3.6)."""

    note: str = ""
    level: Literal["info", "warn", "error"] = "info"
    form: Element | None = None


Handler = Callable[[Call], Awaitable[Ask | Done]]
"""Raises StanzaError; the command then stays at its step. BadRequest, NotAcceptable and JidMalformed without an own
condition are told as <bad-payload/> (section 4.4)."""


@dataclass(frozen=True, slots=True)
class Command:
    """`node`: unique for its entity. `handler`: the first step."""

    node: str
    name: str
    who: Who
    handler: Handler


COMMANDS = Collect[CommandAsk, Command]("commands", plain=True)
"""Give all commands of the entity that is asked, whoever asks: `who` decides. Plain functions, called for each step."""
