"""What the operator decides about registration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from xmppd.config import Duration, option

from .names import RESERVED

CLOSED: Final = "closed"
INVITATION: Final = "invitation"
OPEN: Final = "open"


@dataclass(frozen=True)
class Config:
    mode: str = option(
        INVITATION,
        "Who may make an account without an administrator: nobody; who has an invitation; everybody. Spammers look for "
        "servers that are open.",
        choices=(CLOSED, INVITATION, OPEN),
    )
    captcha: bool = option(
        True, "Strangers without an invitation, where that is allowed, have to read letters in a picture."
    )
    captcha_questions: tuple[str, ...] = option(
        (),
        "Questions of which one is asked as well, so that nobody has to see: 'Which colour is snow? = white'. With "
        "`captcha: false` one of them must be answered.",
    )
    approval: bool = option(False, "Accounts of strangers without an invitation wait for an administrator.")
    waiting: int = option(100, "So many accounts may wait.", low=1, high=10_000)
    waiting_time: Duration = option(Duration("30 days"), "An account that waits for longer is deleted.", low=3600)
    password_change: bool = option(True, "Let people change their own password.")
    removal: bool = option(True, "Let people delete their own account, with all that it owns.")
    removal_grace: Duration = option(
        Duration(0),
        "So long an account stays that its owner has deleted. For the first ten minutes nobody can sign in to it, so "
        "that other devices give up; who signs in later has it back.",
        high=31_536_000,
    )
    instructions: str = option("Choose a name and a password.", "What a stranger is told.", high=1000)
    name_length: int = option(2, "The least number of characters in a name.", low=1, high=64)
    password_length: int = option(8, "The least number of characters in a password.", low=1, high=128)
    ascii_names: bool = option(True, "New names consist of a-z, 0-9, dot, hyphen and underscore only.")
    reserved: tuple[str, ...] = option(RESERVED, "Names that nobody can take.")
    per_address: int = option(
        3,
        "Accounts that one IP address (IPv6: one /64) can make within `interval`; not counting invitations.",
        low=1,
    )
    attempts: int = option(
        20, "Tries of one address within `interval`; of those with an invitation only the failed ones.", low=1
    )
    interval: Duration = option(Duration("1 hour"), "For the two limits above.", low=1)
