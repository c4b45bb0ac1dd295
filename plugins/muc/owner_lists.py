"""The owners and admins of a room as fields of its configuration: full lists, not what changes (XEP-0045 sections 10.5
and 10.8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from xmppd.errors import JidMalformed, MalformedJid, NotAcceptable
from xmppd.jid import JID
from xmppd.xep.forms import MAX_VALUES, Field, Submitted

from .model import AFFILIATIONS, Affiliation, AffiliationRecord

OWNERS: Final = "muc#roomconfig_roomowners"
ADMINS: Final = "muc#roomconfig_roomadmins"


def owner_list_fields(affiliations: Mapping[str, AffiliationRecord]) -> list[Field]:
    """Builds the fields of the form, with all who have that affiliation now."""
    found = []
    for var, label, word in ((ADMINS, "All admins of the room", "admin"), (OWNERS, "All owners of the room", "owner")):
        bares = tuple(sorted(bare for bare, record in affiliations.items() if record.affiliation == word))
        if len(bares) <= MAX_VALUES:  # a client sends back what it gets
            found.append(Field(var, "jid-multi", label, bares))
    return found


def _submitted_jids(submitted: Submitted, var: str) -> set[str] | None:
    """Parses the bare JIDs of a field; None if there is no such field. Raises JidMalformed, NotAcceptable."""
    values = submitted.values.get(var)
    if values is None:
        return None
    found = set()
    for text in filter(None, (each.strip() for each in values)):
        try:
            jid = JID.parse(text)
        except MalformedJid:
            raise JidMalformed(f"{var}: not an address") from None
        if not jid.local:
            raise NotAcceptable(f"{var}: a person's address is needed")
        found.add(jid.bare)
    return found


def submitted_affiliations(
    submitted: Submitted, affiliations: Mapping[str, AffiliationRecord], members_only: bool
) -> dict[str, tuple[Affiliation, Affiliation]]:
    """Finds who gets another affiliation by a form: the former and the new one, by bare JID.

    A list that is not in the form changes nobody's. Who is in both is an owner. Who is no longer an owner is an admin
    (section 10.2), unless the form says who the admins are; who is no longer either is a member where that is needed to
    stay or to keep a nick (`members_only`: of the room as the form makes it).
    """
    owners, admins = _submitted_jids(submitted, OWNERS), _submitted_jids(submitted, ADMINS)
    found = {}
    for bare in {*(owners or ()), *(admins or ()), *affiliations}:
        record = affiliations.get(bare)
        old = AFFILIATIONS.get(record.affiliation, Affiliation.NONE) if record is not None else Affiliation.NONE
        if bare in owners if owners is not None else old is Affiliation.OWNER:
            new = Affiliation.OWNER
        elif bare in admins if admins is not None else old >= Affiliation.ADMIN:
            new = Affiliation.ADMIN
        elif old < Affiliation.ADMIN:
            continue
        else:
            stays = members_only or (record is not None and record.nick)
            new = Affiliation.MEMBER if stays else Affiliation.NONE
        if new is not old:
            found[bare] = (old, new)
    return found
