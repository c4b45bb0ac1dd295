"""The configuration of a room by its owners (XEP-0045 sections 10.1, 10.2). Each option is in `options`, the lists of
owners and admins are in `owner_lists`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from xmppd.errors import BadRequest, Conflict, Forbidden
from xmppd.jid import JID
from xmppd.xep.forms import Submitted, form, read_form
from xmppd.xml import E, Element, find

from .administration import has_owner
from .affiliation_changes import AffiliationChange, apply_affiliations, set_role
from .affiliations import AffiliationList
from .destruction import destroy_as_asked, destroy_room
from .elements import NO_NOTICE, Notice, muc_user_element
from .invitations import check_affiliations_fit
from .model import (
    MUC_NS,
    OWNER_NS,
    Affiliation,
    AffiliationRecord,
    DeleteRoom,
    Effect,
    Plan,
    Role,
    SaveAffiliation,
    SaveRoom,
    Value,
)
from .options import MEMBERS_ONLY, MODERATED, OPTIONS, PERSISTENT
from .owner_lists import owner_list_fields, submitted_affiliations
from .presence import presence_gone, presence_to_others, remove_occupants, room_notice
from .room import RoomState

CONFIG_FORM: Final = MUC_NS + "#roomconfig"


def _check_owner(room: RoomState, who: JID) -> None:
    if room.affiliation(who) is not Affiliation.OWNER:
        raise Forbidden("only owners may do this")


def config_form(room: RoomState, who: JID) -> Element:
    """Builds the configuration form for an owner (section 10.2). Raises Forbidden."""
    _check_owner(room, who)
    fields = [field for option in OPTIONS for field in option.fields(room)] + owner_list_fields(room.affiliations)
    title = f"Configuration of {room.jid.bare}"
    return E("query", OWNER_NS, {}, form("form", CONFIG_FORM, fields, title))


def configure(room: RoomState, who: JID, query: Element) -> Plan:
    """Decides a set of muc#owner: a filled-in form, its cancellation, or <destroy/> (sections 10.1 to 10.9).

    Raises Forbidden, BadRequest, NotAcceptable, JidMalformed, Conflict, ResourceConstraint.
    """
    _check_owner(room, who)
    destroy = find(query, OWNER_NS, "destroy")
    if destroy is not None:
        return destroy_as_asked(room, destroy)
    submitted = read_form(query)
    if submitted is None:
        raise BadRequest("a form is needed")
    if submitted.type == "cancel":
        return destroy_room(room) if room.record.locked else Plan()
    if submitted.type != "submit":
        raise BadRequest("a form to submit is needed")
    if submitted.values and submitted.form_type not in (CONFIG_FORM, ""):
        raise BadRequest("not the form of a room")
    return _configure(room, who, submitted)


def _configure(room: RoomState, who: JID, submitted: Submitted) -> Plan:
    """Decides a submitted form."""
    options, codes = _submitted_options(room, submitted)
    members_only = bool(options.get(MEMBERS_ONLY.var, MEMBERS_ONLY.default))
    affiliations, saves, changes = _submitted_owners(room, submitted, members_only)
    if changes:
        codes.add(104)
    record = replace(room.record, locked=False, options=options)
    plan = Plan([SaveRoom(record), *saves])
    if not room.sessions and not options.get(PERSISTENT.var, PERSISTENT.default):
        plan.saves = [DeleteRoom()]  # nobody is in it, and it is no longer persistent
    was_members_only, was_moderated = MEMBERS_ONLY.of(room), MODERATED.of(room)
    actor = room.sessions[who.full].nick if who.full in room.sessions else ""

    def apply() -> list[Effect]:
        shown = {each.key: room.is_shown(each) for each in room.occupants.values()}
        room.record, room.options, room.affiliations = record, options, affiliations
        effects = _show_and_hide(room, shown)
        if MEMBERS_ONLY.of(room) and not was_members_only:
            effects += _remove_strangers(room)
        effects += apply_affiliations(room, changes, actor, who)
        if was_moderated and not MODERATED.of(room):
            effects += _give_voice_to_all(room)
        if codes:
            effects += room_notice(room, muc_user_element("", codes))
        return effects

    plan.apply = apply
    return plan


def _submitted_options(room: RoomState, submitted: Submitted) -> tuple[dict[str, Value], set[int]]:
    """Reads the options from a form, with the status codes that announce the changes.

    Raises BadRequest, NotAcceptable.
    """
    options: dict[str, Value] = dict(room.options)
    codes: set[int] = set()
    for option in OPTIONS:
        value, before = option.read(submitted, room), room.options.get(option.var, option.default)
        if value is not None and value != before:
            options[option.var] = value
            codes.update(option.codes(before, value))
    return options, codes


def _submitted_owners(
    room: RoomState, submitted: Submitted, members_only: bool
) -> tuple[AffiliationList, list[SaveAffiliation], list[AffiliationChange]]:
    """Reads the affiliations from a form's lists of owners and admins. Raises Conflict, ResourceConstraint."""
    affiliations = AffiliationList(room.affiliations)
    saves, changes = list[SaveAffiliation](), list[AffiliationChange]()
    for bare, (old, new) in sorted(submitted_affiliations(submitted, affiliations, members_only).items()):
        known = affiliations.get(bare, AffiliationRecord(""))
        if new is Affiliation.NONE:
            affiliations.discard(bare)
        else:
            affiliations[bare] = replace(known, affiliation=new.name.lower())
        saves.append(SaveAffiliation(bare, affiliations.get(bare)))
        changes.append(AffiliationChange(JID.parse(bare), old, new, ""))
    if changes and not has_owner(affiliations):
        raise Conflict("a room has at least one owner")  # section 10.2
    check_affiliations_fit(room, len(affiliations) - len(room.affiliations))
    return affiliations, saves, changes


def _show_and_hide(room: RoomState, shown: Mapping[str, bool]) -> list[Effect]:
    """Shows occupants whose presence is broadcast now, and takes those out of sight whose presence no longer is.

    `shown`: by the key of the nick, whether the others saw the occupant before.
    """
    effects: list[Effect] = []
    for each in room.occupants.values():
        if shown[each.key]:
            effects += presence_gone(room, each)
        else:
            effects += presence_to_others(room, each, each.latest, room.others(each))
    return effects


def _remove_strangers(room: RoomState) -> list[Effect]:
    """Removes those who are no members, when the room becomes members-only (section 10.2)."""
    strangers = [each for each in room.occupants.values() if room.affiliation_of(each) < Affiliation.MEMBER]
    own, rest = remove_occupants(room, [(each, Notice((322,))) for each in strangers])
    return own + rest


def _give_voice_to_all(room: RoomState) -> list[Effect]:
    """Makes visitors participants, when the room is no longer moderated."""
    room.kept_roles.clear()
    effects: list[Effect] = []
    for occupant in room.occupants.values():
        if occupant.role is Role.VISITOR:
            effects += set_role(room, occupant, Role.PARTICIPANT, NO_NOTICE)
    return effects
