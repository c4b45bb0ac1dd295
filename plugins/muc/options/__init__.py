"""The options of a room, one file each. A new option is a file here and a place in OPTIONS."""

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
from .member_list import MemberList
from .members_only import MembersOnly
from .moderated import Moderated
from .name import Name
from .password import Password
from .persistent import Persistent
from .presence_broadcast import PresenceBroadcast
from .public import Public
from .pubsub import Pubsub
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
PRESENCE_BROADCAST: Final = PresenceBroadcast()
MEMBER_LIST: Final = MemberList()

OPTIONS: Final[tuple[Option, ...]] = (
    NAME,
    Description(),
    Language(),
    PERSISTENT,
    PUBLIC,
    MEMBERS_ONLY,
    PASSWORD,
    MODERATED,
    WHOIS,
    PRESENCE_BROADCAST,
    MEMBER_LIST,
    ARCHIVING,
    HISTORY,
    MaxUsers(),
    CHANGE_SUBJECT,
    AllowInvites(),
    AllowPm(),
    Pubsub(),
)
"""In the order of the form. Rules for a join are asked in this order too (membership before the password)."""


def overriding(rule: str) -> tuple[Callable[..., Any], ...]:
    """Finds the rules of that name that some option overrides: once, not at every message."""
    return tuple(
        getattr(option, rule) for option in OPTIONS if getattr(type(option), rule) is not getattr(Option, rule)
    )


MAY_JOIN: Final = overriding("may_join")
MAY_SPEAK: Final = overriding("may_speak")
MAY_SEND_PRIVATE: Final = overriding("may_send_private")
MAY_INVITE: Final = overriding("may_invite")
MAY_SET_SUBJECT: Final = overriding("may_set_subject")
INITIAL_ROLE: Final = overriding("initial_role")
