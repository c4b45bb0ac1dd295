"""What the operator decides about invitations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from xmppd.config import Duration, option

NOBODY: Final = "nobody"
CONTACTS: Final = "contacts"
ACCOUNTS: Final = "accounts"


@dataclass(frozen=True)
class Config:
    users: str = option(
        CONTACTS,
        "What people who are no administrators may invite others to: nothing; becoming a contact (with an account that "
        "they have already); an account here and becoming a contact.",
        choices=(NOBODY, CONTACTS, ACCOUNTS),
    )
    lifetime: Duration = option(Duration("7 days"), "How long an invitation is good.", low=60, high=315_360_000)
    per_account: int = option(20, "Invitations of one account that are open at a time.", low=1, high=1000)
    in_all: int = option(5000, "Invitations of this host that are open at a time.", low=1, high=100_000)
