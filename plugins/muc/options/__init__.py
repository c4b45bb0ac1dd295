"""The options of a room, one file each. A new option is a file here and a place in FEATURES."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from .allow_invites import AllowInvites
from .allow_pm import AllowPm
from .archiving import Archiving
from .base import Option
from .change_subject import ChangeSubject
from .description import Description
from .history import History
from .language import Language
from .max_users import MaxUsers
from .members_only import MembersOnly
from .moderated import Moderated
from .name import Name
from .password import Password
from .persistent import Persistent
from .public import Public
from .whois import Whois

NAME: Final = Name()
PERSISTENT: Final = Persistent()
PUBLIC: Final = Public()
MEMBERS_ONLY: Final = MembersOnly()
MODERATED: Final = Moderated()
PASSWORD: Final = Password()
WHOIS: Final = Whois()
ARCHIVING: Final = Archiving()
HISTORY: Final = History()
CHANGE_SUBJECT: Final = ChangeSubject()

FEATURES: Final[tuple[Option, ...]] = (
    NAME,
    Description(),
    Language(),
    PERSISTENT,
    PUBLIC,
    MEMBERS_ONLY,
    PASSWORD,
    MODERATED,
    WHOIS,
    ARCHIVING,
    HISTORY,
    MaxUsers(),
    CHANGE_SUBJECT,
    AllowInvites(),
    AllowPm(),
)
"""In the order of the form. Refusals to enter are asked in this order too (membership before the password)."""


def if_stored_in(rule: str) -> tuple[Callable[..., Any], ...]:
    """The rules of that name that say something: found once, not at every message."""
    return tuple(
        getattr(option, rule) for option in FEATURES if getattr(type(option), rule) is not getattr(Option, rule)
    )


MAY_ENTER: Final = if_stored_in("may_enter")
MAY_SPEAK: Final = if_stored_in("may_speak")
MAY_WHISPER: Final = if_stored_in("may_whisper")
MAY_INVITE: Final = if_stored_in("may_invite")
MAY_SET_SUBJECT: Final = if_stored_in("may_set_subject")
ROLE: Final = if_stored_in("role")
