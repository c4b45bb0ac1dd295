"""XEP-0441: which conversations an account wants in its archive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from xmppd.errors import BadRequest, JidMalformed, MalformedJid, NotAcceptable
from xmppd.jid import JID
from xmppd.xep.mam import MAM_NS
from xmppd.xml import E, Element, children, find, text_of

DEFAULTS: Final = ("always", "never", "roster")


@dataclass(frozen=True, slots=True)
class Preferences:
    """`default`: of DEFAULTS, for who is in neither list. A bare JID stands for all its resources (section 2.3.1)."""

    default: str = "always"
    always: tuple[str, ...] = ()
    never: tuple[str, ...] = ()

    def archives(self, bare: str, full: str) -> bool | None:
        """Whether messages with that address are archived; None: look at the contact list."""
        if full in self.never or bare in self.never:
            return False
        if full in self.always or bare in self.always:
            return True
        return None if self.default == "roster" else self.default == "always"


def shown(preferences: Preferences) -> Element:
    """<prefs/> as section 2.1 has it: both lists, even if they are empty."""
    lists = (
        E(name, MAM_NS, {}, *(E("jid", MAM_NS, {}, jid) for jid in jids))
        for name, jids in (("always", preferences.always), ("never", preferences.never))
    )
    return E("prefs", MAM_NS, {"default": preferences.default}, *lists)


def read_preferences(prefs: Element, most: int) -> Preferences:
    """Raises BadRequest, JidMalformed, NotAcceptable (more than `most` addresses)."""
    default = str(prefs.get("default", ""))
    if default not in DEFAULTS:
        raise BadRequest("default is always, never or roster")
    always, never = _jids(prefs, "always"), _jids(prefs, "never")
    if len(always) + len(never) > most:
        raise NotAcceptable(f"at most {most} addresses")
    return Preferences(default, always, never)


def _jids(prefs: Element, name: str) -> tuple[str, ...]:
    found = find(prefs, MAM_NS, name)
    if found is None:
        return ()
    try:
        jids = [JID.parse(text_of(each).strip()).full for each in children(found, MAM_NS, "jid")]
    except MalformedJid:
        raise JidMalformed() from None
    return tuple(dict.fromkeys(jids))
