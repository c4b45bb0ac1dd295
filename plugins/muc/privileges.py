"""Who may do what: the tables of XEP-0045 sections 5.1.1, 5.1.2, 5.2.1 and 5.2.2 as data."""

from __future__ import annotations

from typing import Final

from xmppd.errors import Forbidden, NotAllowed

from .model import Affiliation, Role

ADMINS: Final = frozenset((Affiliation.ADMIN, Affiliation.OWNER))
OWNERS: Final = frozenset((Affiliation.OWNER,))
LOWER: Final = frozenset((Affiliation.OUTCAST, Affiliation.NONE, Affiliation.MEMBER))

MAY_ASSIGN: Final[dict[Affiliation, frozenset[Affiliation]]] = {
    Affiliation.OWNER: frozenset(Affiliation),
    Affiliation.ADMIN: LOWER,
    Affiliation.MEMBER: frozenset(),
    Affiliation.NONE: frozenset(),
    Affiliation.OUTCAST: frozenset(),
}
"""Section 5.2.2: the affiliations that one may give, and take from others."""

MAY_LIST: Final[dict[Affiliation, frozenset[Affiliation]]] = {
    Affiliation.OUTCAST: ADMINS,  # section 9.2
    Affiliation.NONE: frozenset(),
    Affiliation.MEMBER: ADMINS,  # section 9.5
    Affiliation.ADMIN: OWNERS,  # section 10.8
    Affiliation.OWNER: OWNERS,  # section 10.5
}
"""Who may read a list of affiliations in a semi-anonymous room."""

OPEN_LISTS: Final = frozenset((Affiliation.MEMBER, Affiliation.ADMIN, Affiliation.OWNER))
"""Lists that every member may read where real addresses are no secret (section 9.5)."""


def check_affiliation(actor: Affiliation, old: Affiliation, new: Affiliation) -> None:
    """Raises Forbidden, or NotAllowed where the other one's rank forbids it."""
    allowed = MAY_ASSIGN[actor]
    if not allowed or new not in allowed:
        raise Forbidden()
    if old not in allowed:
        raise NotAllowed()


def check_role(actor: Affiliation, actor_role: Role, target: Affiliation, old: Role, new: Role) -> None:
    """Sections 8.2 to 8.5, 9.6, 9.7. Raises Forbidden, or NotAllowed where the other one's rank forbids it."""
    moderation = new is Role.MODERATOR or old is Role.MODERATOR
    if moderation and new is not Role.NONE:
        if actor not in ADMINS:
            raise Forbidden()
    elif actor_role is not Role.MODERATOR:
        raise Forbidden()
    if new is Role.NONE:
        # Section 8.2; a moderator is kicked by admins and owners only (section 5.1.3).
        if target > actor or (old is Role.MODERATOR and actor not in ADMINS):
            raise NotAllowed()
    elif old is Role.MODERATOR and new < old:
        if target in ADMINS:
            raise NotAllowed()
    elif old is Role.PARTICIPANT and new is Role.VISITOR and (target in ADMINS or target >= actor):
        raise NotAllowed()


def check_list(actor: Affiliation, asked: Affiliation, open_room: bool) -> None:
    """Read a list of affiliations. `open_room`: real addresses are no secret. Raises Forbidden."""
    if actor in MAY_LIST[asked]:
        return
    if open_room and asked in OPEN_LISTS and actor >= Affiliation.MEMBER:
        return
    raise Forbidden()
