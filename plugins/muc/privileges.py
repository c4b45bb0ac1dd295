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


def may_give(actor: Affiliation, new: Affiliation) -> None:
    """Whether that rank may give an affiliation to anybody at all. Raises Forbidden."""
    if new not in MAY_ASSIGN[actor]:
        raise Forbidden()


def check_affiliation(actor: Affiliation, old: Affiliation, new: Affiliation) -> None:
    """Raises Forbidden, or NotAllowed for a ban that the other one's rank forbids (section 9.1)."""
    may_give(actor, new)
    if old not in MAY_ASSIGN[actor]:
        # Owners and admins are unmade by owners only: sections 10.4, 10.5, 10.7 and 10.8 say forbidden.
        raise NotAllowed() if new is Affiliation.OUTCAST else Forbidden()


def may_moderate(actor: Affiliation, actor_role: Role, new: Role) -> None:
    """Whether that rank may give a role to anybody at all (sections 5.1.1, 8, 9.6). Raises Forbidden."""
    if actor not in ADMINS and (actor_role is not Role.MODERATOR or new is Role.MODERATOR):
        raise Forbidden()


def check_role(actor: Affiliation, actor_role: Role, target: Affiliation, old: Role, new: Role) -> None:
    """Sections 8.2 to 8.5, 9.6, 9.7. Raises Forbidden, or NotAllowed where the other one's rank forbids it."""
    may_moderate(actor, actor_role, new)
    if actor_role is not Role.MODERATOR and (new is Role.NONE or Role.MODERATOR not in (old, new)):
        raise Forbidden()  # voice and kicks are a moderator's: an admin who is not in the room is none
    if new is Role.NONE:
        # Section 8.2; a moderator is kicked by admins and owners only (section 5.1.3).
        if target > actor or (old is Role.MODERATOR and actor not in ADMINS):
            raise NotAllowed()
    elif new < old:
        # Sections 8.4 and 9.7: nobody takes voice or moderation from an admin, or from one who outranks; nor voice
        # from one "at the moderator's level".
        if target in ADMINS or target > actor or (new is Role.VISITOR and target == actor):
            raise NotAllowed()
        if old is Role.MODERATOR and actor not in ADMINS:
            raise Forbidden()  # section 9: to take moderation is for admins


def check_list(actor: Affiliation, asked: Affiliation, open_room: bool) -> None:
    """Read a list of affiliations. `open_room`: real addresses are no secret, and the owner lets members of that role
    read it. Raises Forbidden."""
    if actor in MAY_LIST[asked]:
        return
    if open_room and asked in OPEN_LISTS and actor >= Affiliation.MEMBER:
        return
    raise Forbidden()
