"""Hats (XEP-0317): titles that a room's admins define and give to people, shown in the presence of occupants."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from xmppd.errors import BadRequest, Forbidden, ItemNotFound, ResourceConstraint
from xmppd.jid import JID

from .elements import muc_user_element
from .model import Affiliation, Effect, Hat, Plan, SaveHat
from .presence import presence_to_all, room_notice
from .room import RoomState

MOST_HATS: Final = 50
"""Of a room."""
WEARERS: Final = 200
"""Of one hat."""
WORN: Final = 10
"""Hats of one person in a room."""
TITLE_LENGTH: Final = 100
URI_LENGTH: Final = 250
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")
"""RFC 3986 section 3: a scheme, and ASCII without spaces behind it."""
_HUE: Final = re.compile(r"[0-9]{1,3}(\.[0-9]{1,6})?")


def check_admin(room: RoomState, who: JID) -> None:
    """Raises Forbidden."""
    if room.affiliation(who) < Affiliation.ADMIN:
        raise Forbidden("hats are given by the admins of the room")


def hats_hash(room: RoomState) -> str:
    """Names the list of hats in the room's form (section 2): it differs when a client's list is outdated."""
    lines = (f"{uri}\0{hat.title}\0{hat.hue}\n" for uri, hat in sorted(room.hats.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:40]


# ---- changes


def define_hat(room: RoomState, uri: str, title: str, hue: str) -> Plan:
    """Decides a new hat, or another title and colour of one that is there (section 3.2).

    `hue`: degrees, from 0 to 360, "" for none. Raises BadRequest, ResourceConstraint.
    """
    title = title.strip()
    if not title or len(title) > TITLE_LENGTH:
        raise BadRequest(f"a title has from 1 to {TITLE_LENGTH} characters")
    if len(uri) > URI_LENGTH or _URI.fullmatch(uri) is None:
        raise BadRequest(f"a hat is named by a URI of at most {URI_LENGTH} characters")
    if hue and (_HUE.fullmatch(hue) is None or float(hue) > 360):
        raise BadRequest("a hue is a number from 0 to 360")
    known = room.hats.get(uri)
    if known is None and len(room.hats) >= MOST_HATS:
        raise ResourceConstraint(f"a room has at most {MOST_HATS} hats")
    return _change(room, uri, Hat(title, hue, known.wearers if known is not None else ()))


def destroy_hat(room: RoomState, uri: str) -> Plan:
    """Decides that a hat is no more: nobody wears it any longer (section 3.3). Raises ItemNotFound."""
    _hat(room, uri)
    return _change(room, uri, None)


def give_hat(room: RoomState, uri: str, bare: str) -> Plan:
    """Decides that somebody wears a hat (section 3.5). Raises ItemNotFound, ResourceConstraint."""
    hat = _hat(room, uri)
    if bare in hat.wearers:
        return Plan()
    if len(hat.wearers) >= WEARERS or sum(bare in each.wearers for each in room.hats.values()) >= WORN:
        raise ResourceConstraint(f"at most {WEARERS} people wear a hat, and one person wears at most {WORN}")
    return _change(room, uri, replace(hat, wearers=(*hat.wearers, bare)), (bare,))


def take_hat(room: RoomState, uri: str, bare: str) -> Plan:
    """Decides that somebody wears a hat no longer (section 3.6). Raises ItemNotFound."""
    hat = _hat(room, uri)
    if bare not in hat.wearers:
        raise ItemNotFound("that hat is worn by others, if at all")
    return _change(room, uri, without_wearer(hat, bare), (bare,))


def without_wearer(hat: Hat, bare: str) -> Hat:
    return replace(hat, wearers=tuple(each for each in hat.wearers if each != bare))


def _hat(room: RoomState, uri: str) -> Hat:
    """Raises ItemNotFound."""
    hat = room.hats.get(uri)
    if hat is None:
        raise ItemNotFound("there is no such hat")
    return hat


def _change(room: RoomState, uri: str, hat: Hat | None, changed: tuple[str, ...] = ()) -> Plan:
    """A changed list of hats is announced by status 104; who wears other hats than before, or a changed one, is shown
    anew. `changed`: the bare JIDs that are given or lose the hat, empty when the hat itself changes."""
    before = room.hats.get(uri)
    if hat == before:
        return Plan()

    def apply() -> list[Effect]:
        if hat is None:
            room.hats.pop(uri, None)
        else:
            room.hats[uri] = hat
        room.forget_worn()
        shown = changed or (before.wearers if before is not None else ())
        effects = [] if changed else room_notice(room, muc_user_element("", (104,)))
        for occupant in list(room.occupants.values()):
            if occupant.bare in shown:
                effects += presence_to_all(room, occupant)
        return effects

    return Plan([SaveHat(uri, hat)], apply)


def hats_without(room: RoomState, bare: str) -> tuple[list[SaveHat], Callable[[], None]]:
    """What takes somebody who is not in the room out of its hats: the writes, and the change behind them."""
    left = {uri: without_wearer(hat, bare) for uri, hat in room.hats.items() if bare in hat.wearers}

    def apply() -> None:
        room.hats.update(left)
        room.forget_worn()

    return [SaveHat(uri, hat) for uri, hat in left.items()], apply


def assigned(room: RoomState) -> Iterable[tuple[str, str, Hat]]:
    """Bare JID, URI and hat, of all who wear one."""
    return ((bare, uri, hat) for uri, hat in room.hats.items() for bare in hat.wearers)
