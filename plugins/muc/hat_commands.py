"""The ad-hoc commands of a room by which its hats are defined and given (XEP-0317 sections 3.2 to 3.7, XEP-0050).

A command has one form at most, and what is submitted says all: nothing is remembered between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from secrets import token_urlsafe
from typing import Final

from xmppd.contracts.commands import NS as COMMANDS_NS
from xmppd.errors import BadRequest, Forbidden, ItemNotFound
from xmppd.jid import JID
from xmppd.xep.forms import NS as DATA_NS
from xmppd.xep.forms import Field, Submitted, form, read_form
from xmppd.xml import E, Element

from .hats import assigned, check_admin, define_hat, destroy_hat, give_hat, take_hat
from .model import Affiliation, Plan
from .room import RoomState

HATS_FORM: Final = "urn:xmpp:hats:commands"
SESSION_LENGTH: Final = 200
JID_FIELD: Final = Field("hats#jid", "jid-single", "Address", required=True)
TITLE_FIELD: Final = Field("hats#title", label="Title", required=True)
URI_FIELD: Final = Field("hats#uri", label="URI", required=True)
HUE_FIELD: Final = Field("hats#hue", label="Colour, as a hue from 0 to 360")


def _choice(room: RoomState) -> Field:
    options = tuple((uri, hat.title) for uri, hat in room.hats.items())
    return Field("hats#uri", "list-single", "Hat", options=options, required=True)


def _text(submitted: Submitted, var: str) -> str:
    return submitted.text(var) or ""


def _bare(submitted: Submitted) -> str:
    """Raises BadRequest, JidMalformed."""
    jid = submitted.jid("hats#jid")
    if jid is None or not jid.local:
        raise BadRequest("a hat is given to an address")
    return jid.bare


def _create(room: RoomState, sent: Submitted) -> Plan:
    return define_hat(room, _text(sent, "hats#uri"), _text(sent, "hats#title"), _text(sent, "hats#hue"))


def _destroy(room: RoomState, sent: Submitted) -> Plan:
    return destroy_hat(room, _text(sent, "hats#uri"))


def _assign(room: RoomState, sent: Submitted) -> Plan:
    return give_hat(room, _text(sent, "hats#uri"), _bare(sent))


def _unassign(room: RoomState, sent: Submitted) -> Plan:
    return take_hat(room, _text(sent, "hats#uri"), _bare(sent))


CHANGES: Final[Mapping[str, tuple[str, Callable[[RoomState], list[Field]], Callable[[RoomState, Submitted], Plan]]]] = {
    f"{HATS_FORM}:create": ("Create or change a hat", lambda _: [TITLE_FIELD, URI_FIELD, HUE_FIELD], _create),
    f"{HATS_FORM}:destroy": ("Destroy a hat", lambda room: [_choice(room)], _destroy),
    f"{HATS_FORM}:assign": ("Give a hat", lambda room: [JID_FIELD, _choice(room)], _assign),
    f"{HATS_FORM}:unassign": ("Take a hat", lambda room: [JID_FIELD, _choice(room)], _unassign),
}
"""By node: name, the form's fields, what is done with the form. For admins."""
LIST: Final = f"{HATS_FORM}:list"
LIST_ASSIGNED: Final = f"{HATS_FORM}:list-assigned"


def commands_for(room: RoomState, who: JID) -> dict[str, str]:
    """Names by node of the commands that somebody may run."""
    if room.affiliation(who) >= Affiliation.ADMIN:
        changes = {node: name for node, (name, _, _) in CHANGES.items()}
        return {**changes, LIST: "Hats", LIST_ASSIGNED: "Who wears which hat"}
    return {LIST: "Hats"} if _may_list(room, who) else {}


def _may_list(room: RoomState, who: JID) -> bool:
    """Whoever sees hats: in the room, or allowed to enter a private one at any time."""
    return who.full in room.sessions or room.affiliation(who) >= Affiliation.MEMBER


def run_command(room: RoomState, who: JID, command: Element) -> Plan | Element:
    """Decides a command: the change, or the payload of the answer.

    Raises ItemNotFound, Forbidden, BadRequest, JidMalformed, ResourceConstraint.
    """
    node, action = str(command.get("node", "")), str(command.get("action", "execute"))
    session = str(command.get("sessionid", "")) or token_urlsafe(18)
    if len(session) > SESSION_LENGTH:
        raise BadRequest("no session has such an id", (COMMANDS_NS, "bad-sessionid"))
    if action not in ("execute", "complete", "next", "cancel"):
        raise BadRequest("the command has one step", (COMMANDS_NS, "bad-action"))
    if node == LIST:
        if not _may_list(room, who):
            raise Forbidden()
        rows = [(("title", hat.title), ("uri", uri), ("hue", hat.hue)) for uri, hat in room.hats.items()]
        return _answer(node, session, "completed", _table("Hats", ("title", "uri", "hue"), rows))
    if node != LIST_ASSIGNED and node not in CHANGES:
        raise ItemNotFound("there is no such command")
    check_admin(room, who)
    if node == LIST_ASSIGNED:
        names = ("jid", "uri", "title", "hue")
        found = [tuple(zip(names, (bare, uri, hat.title, hat.hue), strict=True)) for bare, uri, hat in assigned(room)]
        return _answer(node, session, "completed", _table("Who wears which hat", names, found))
    title, fields, change = CHANGES[node]
    submitted = read_form(command)
    if action == "cancel" or (submitted is not None and submitted.type == "cancel"):
        return _answer(node, session, "canceled")
    if submitted is None:
        actions = E("actions", COMMANDS_NS, {"execute": "complete"}, E("complete", COMMANDS_NS))
        return _answer(node, session, "executing", actions, form("form", HATS_FORM, fields(room), title))
    if submitted.form_type not in (HATS_FORM, ""):
        raise BadRequest("that is the form of something else", (COMMANDS_NS, "bad-payload"))
    plan = change(room, submitted)
    plan.answer = _answer(node, session, "completed")
    return plan


def _answer(node: str, session: str, status: str, *inside: Element) -> Element:
    return E("command", COMMANDS_NS, {"node": node, "sessionid": session, "status": status}, *inside)


def _table(title: str, names: Iterable[str], rows: Iterable[Iterable[tuple[str, str]]]) -> Element:
    """A form with one item for each row (XEP-0004 section 3.4)."""
    x = E("x", DATA_NS, {"type": "result"}, E("title", DATA_NS, {}, title))
    x.append(Field("FORM_TYPE", "hidden", values=(HATS_FORM,)).element())
    x.append(E("reported", DATA_NS, {}, *(E("field", DATA_NS, {"var": f"hats#{name}"}) for name in names)))
    for row in rows:
        cells = (E("field", DATA_NS, {"var": f"hats#{name}"}, E("value", DATA_NS, {}, text)) for name, text in row)
        x.append(E("item", DATA_NS, {}, *cells))
    return x
